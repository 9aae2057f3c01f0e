"""Where a peer listens: the multiaddrs this node dials, binds and shows.

Its rule: only TCP, by IP or by name, and to dial only with the Ed25519 identity that must answer there (libp2p specs, ``addressing``).
Sans-IO: belongs to neither event loop.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import Final

from multiaddr import Multiaddr
from multiaddr.exceptions import Error as MultiaddrError

from retrieval.errors import ErrorCode, LocalProtocolError
from retrieval.identity import PeerId, format_peer_id, parse_peer_id

ADDRESS_TEXT_MAX: Final = 512  # characters; a DNS name has at most 253, a peer id 65
DNS_NAME_MAX: Final = 253  # characters (RFC 1035, 2.3.4)
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
    components = _components(text)
    if len(components) != 3 or components[2][0] != "p2p":
        raise _usage(text, "an address to dial looks like /ip4/192.0.2.7/tcp/4001/p2p/12D3KooW…")
    return PeerAddress(endpoint=_endpoint(text, components), peer_id=parse_peer_id(components[2][1]))


def parse_listen(text: str) -> Endpoint:
    """Read an address to listen on: ``/ip4/127.0.0.1/tcp/4001`` or its ip6 form; port 0 lets the system choose.

    Raises ``LocalProtocolError(usage)``.
    """
    components = _components(text)
    if len(components) != 2 or components[0][0] not in ("ip4", "ip6"):
        raise _usage(text, "an address to listen on looks like /ip4/127.0.0.1/tcp/4001")
    return _endpoint(text, components)


def address_prefix(ip: str) -> str:
    """What limits count a remote IP address under: an IPv4 address alone, an IPv6 address with its whole /64."""
    address = ipaddress.ip_address(ip.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        return str(ipaddress.ip_network((address, IPV6_PREFIX_BITS), strict=False))
    return str(address)


def _components(text: str) -> list[tuple[str, str]]:
    if not 0 < len(text) <= ADDRESS_TEXT_MAX:
        raise LocalProtocolError(ErrorCode.USAGE, f"an address does not have {len(text)} characters")
    try:
        items = list(Multiaddr(text).items())
    except (MultiaddrError, ValueError) as error:
        raise _usage(text, "it is not a multiaddr") from error
    return [(protocol.name, value or "") for protocol, value in items]


def _endpoint(text: str, components: list[tuple[str, str]]) -> Endpoint:
    (family, host), (transport, port) = components[:2]
    if family not in _HOSTS or transport != "tcp":
        raise _usage(text, "only TCP over ip4, ip6, dns, dns4 or dns6 is spoken here")
    if not 0 < len(host) <= DNS_NAME_MAX:
        raise _usage(text, "the host name has an impossible length")
    return Endpoint(family=family, host=host, port=int(port))


def _usage(text: str, why: str) -> LocalProtocolError:
    return LocalProtocolError(ErrorCode.USAGE, f"{text[:120]!r}: {why}")
