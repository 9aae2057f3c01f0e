"""Where a peer listens: the multiaddrs this node dials, binds and shows.

Its rule: only TCP, by IP or by name, and to dial only with the Ed25519 identity that must answer there (libp2p specs, ``addressing``).
That is two or three components of a multiaddr, in text alone, so no library reads them: the one there is takes 30 ms to load and knows
forty kinds more. Sans-IO: belongs to neither event loop.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import Final

from retrieval import multibase
from retrieval.errors import ErrorCode, LocalProtocolError
from retrieval.identity import PeerId, format_peer_id, parse_peer_id

ADDRESS_TEXT_MAX: Final = 512  # characters; a DNS name has at most 253, a peer id 65
DNS_NAME_MAX: Final = 253  # characters (RFC 1035, 2.3.4)
DNS_LABEL_MAX: Final = 63
PORT_MAX: Final = 65_535
IPV6_PREFIX_BITS: Final = 64  # what one subscriber commonly holds whole (RFC 6177), so limits must not count single addresses

_HOSTS: Final = ("ip4", "ip6", "dns", "dns4", "dns6")


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """One TCP endpoint. ``family`` is the first component of its multiaddr: ip4, ip6, dns, dns4 or dns6."""

    family: str
    host: str
    port: int

    def __str__(self) -> str:
        return f"/{self.family}/{self.host}/tcp/{self.port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerAddress:
    """One TCP endpoint, with the only peer that may answer there. ``str()`` gives the multiaddr in its canonical form."""

    endpoint: Endpoint
    peer_id: PeerId

    def __str__(self) -> str:
        return f"{self.endpoint}/p2p/{format_peer_id(self.peer_id)}"


def parse_address(text: str) -> PeerAddress:
    """Read an address to dial: ``/ip4/192.0.2.7/tcp/4001/p2p/12D3KooW…``; ip6, dns, dns4 and dns6 as well.

    Raises ``LocalProtocolError(usage)`` when it is not such an address, and ``RemoteProtocolError(unsupported_key)`` when the peer
    named in it is not an Ed25519 key.
    """
    match _parts(text):
        case [family, host, transport, port, "p2p", peer] if _is_multibase(peer):
            return PeerAddress(endpoint=_endpoint(text, family, host, transport, port), peer_id=parse_peer_id(peer))
    raise _usage(text, "an address to dial looks like /ip4/192.0.2.7/tcp/4001/p2p/12D3KooW…")


def parse_listen(text: str) -> Endpoint:
    """Read an address to listen on: ``/ip4/127.0.0.1/tcp/4001`` or its ip6 form; port 0 lets the system choose.

    Raises ``LocalProtocolError(usage)``.
    """
    match _parts(text):
        case ["ip4" | "ip6" as family, host, transport, port]:
            return _endpoint(text, family, host, transport, port)
    raise _usage(text, "an address to listen on looks like /ip4/127.0.0.1/tcp/4001")


def address_prefix(ip: str) -> str:
    """What limits count a remote IP address under: an IPv4 address alone, an IPv6 address with its whole /64."""
    address = ipaddress.ip_address(ip.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        return str(ipaddress.ip_network((address, IPV6_PREFIX_BITS), strict=False))
    return str(address)


def _parts(text: str) -> list[str]:
    if not 0 < len(text) <= ADDRESS_TEXT_MAX:
        raise LocalProtocolError(ErrorCode.USAGE, f"an address does not have {len(text)} characters")
    empty, *parts = text.rstrip("/").split("/")
    if empty or not parts:
        raise _usage(text, "it is not a multiaddr")
    return parts


def _endpoint(text: str, family: str, host: str, transport: str, port: str) -> Endpoint:
    if family not in _HOSTS or transport != "tcp":
        raise _usage(text, "only TCP over ip4, ip6, dns, dns4 or dns6 is spoken here")
    if not (port.isascii() and port.isdigit() and int(port) <= PORT_MAX):
        raise _usage(text, f"a port is a number up to {PORT_MAX}")
    return Endpoint(family=family, host=_host(text, family, host), port=int(port))


def _host(text: str, family: str, host: str) -> str:
    """The host in its canonical form."""
    try:
        match family:
            case "ip4":
                return str(ipaddress.IPv4Address(host))
            case "ip6" if "%" not in host:  # a zone is another component, and means something on one machine only
                return str(ipaddress.IPv6Address(host))
    except ValueError as error:
        raise _usage(text, f"{host[:64]!r} is not an IP address") from error
    if family == "ip6" or len(host) > DNS_NAME_MAX or not all(map(_is_label, host.split("."))):
        raise _usage(text, "its host is impossible")
    return host


def _is_label(label: str) -> bool:
    """Whether a part of a name can be looked up; letters of every script can, by RFC 5891."""
    return 0 < len(label) <= DNS_LABEL_MAX and all(letter.isalnum() or letter in "-_" for letter in label)


def _is_multibase(peer: str) -> bool:
    try:
        return bool(multibase.decode(f"z{peer}" if peer.startswith(("1", "Qm")) else peer))
    except (ValueError, LookupError):
        return False


def _usage(text: str, why: str) -> LocalProtocolError:
    return LocalProtocolError(ErrorCode.USAGE, f"{text[:120]!r}: {why}")
