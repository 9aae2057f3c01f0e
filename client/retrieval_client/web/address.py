"""Where a gateway is: its URL, or the multiaddr that says the same.

One rule: an address names a server and nothing else. Query, fragment and user are refused rather than dropped.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from retrieval.errors import ErrorCode, LocalProtocolError
from retrieval.transport.libp2p.address import ADDRESS_TEXT_MAX, PORT_MAX, PeerAddress, parse_address, parse_listen

_DEFAULT_PORTS: Final = {"http": 80, "https": 443}
_HOST: Final = re.compile(r"[0-9a-z._-]{1,253}|[0-9a-f:.]{2,45}", re.ASCII)
_PREFIX: Final = re.compile(r"(?:/[A-Za-z0-9._~-]+)*", re.ASCII)
_SECURE: Final = ("/https", "/tls/http")


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayAddress:
    """One gateway. ``str()`` gives its URL without a slash at the end."""

    is_secure: bool
    host: str
    """A name or an IP address, in small letters; IPv6 without brackets."""
    port: int
    prefix: str = ""
    """Before ``/ipfs/``; empty, or begins with a slash."""

    @property
    def scheme(self) -> str:
        return "https" if self.is_secure else "http"

    @property
    def authority(self) -> str:
        """What goes into ``Host``."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"

    def __str__(self) -> str:
        return f"{self.scheme}://{self.authority}{self.prefix}"


def provider_of(text: str) -> PeerAddress | GatewayAddress:
    """Who is meant: a multiaddr that ends in ``/p2p/`` is a peer, a URL or a multiaddr with ``/http`` a gateway.

    Raises ``LocalProtocolError(usage)``, and ``RemoteProtocolError(unsupported_key)`` as ``parse_address``.
    """
    return parse_gateway(text) if is_gateway(text) else parse_address(text)


def is_gateway(text: str) -> bool:
    """Whether an address is meant for a gateway, well-formed or not."""
    return text.lower().startswith(("http://", "https://")) or text.rstrip("/").endswith(("/http", "/https"))


def parse_gateway(text: str) -> GatewayAddress:
    """Read ``http[s]://host[:port][/prefix]``, ``/dns4/host/tcp/443/https``, or the latter with ``/tls/http`` or ``/http``.

    Raises ``LocalProtocolError(usage)``.
    """
    if not 0 < len(text) <= ADDRESS_TEXT_MAX:
        raise LocalProtocolError(ErrorCode.USAGE, f"an address does not have {len(text)} characters")
    if not text.isprintable():  # which the standard library would leave out
        raise _usage(text)
    return _from_multiaddr(text) if text.startswith("/") else _from_url(text)


def _from_url(text: str) -> GatewayAddress:
    try:
        parts = urlsplit(text)
        host, port = parts.hostname or "", parts.port
    except ValueError as error:
        raise _usage(text) from error
    prefix = parts.path.rstrip("/")
    is_plain = not (parts.query or parts.fragment or "@" in parts.netloc) and _PREFIX.fullmatch(prefix)
    if parts.scheme not in _DEFAULT_PORTS or not is_plain or not _HOST.fullmatch(host) or port == 0:
        raise _usage(text)
    return GatewayAddress(is_secure=parts.scheme == "https", host=host, port=port or _DEFAULT_PORTS[parts.scheme], prefix=prefix)


def _from_multiaddr(text: str) -> GatewayAddress:
    address = text.rstrip("/")
    is_secure = address.endswith(_SECURE)
    for end in (*_SECURE, "/http"):
        if address.endswith(end):
            address = address.removesuffix(end)
            break
    match address.split("/"):
        case ["", "ip4" | "ip6", _, "tcp", _]:
            endpoint = parse_listen(address)
            return GatewayAddress(is_secure=is_secure, host=endpoint.host, port=endpoint.port)
        case ["", "dns" | "dns4" | "dns6", host, "tcp", port] if _HOST.fullmatch(host.lower()) and port.isascii() and port.isdigit():
            if 0 < int(port) <= PORT_MAX:
                return GatewayAddress(is_secure=is_secure, host=host.lower(), port=int(port))
    raise _usage(text)


def _usage(text: str) -> LocalProtocolError:
    return LocalProtocolError(ErrorCode.USAGE, f"a gateway looks like https://gateway.example, not {text[:64]!r}")
