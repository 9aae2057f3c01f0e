"""Who asks: what may be believed of a request before anything is done for it.

Pure. Any web page can have a browser send us requests, and with a name of its own point it at this machine. So the ``Host`` must be a
name of the loopback interface; what a request may do follows from its token alone; and an ``Origin`` can only take away from that.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qsl

from retrieval.deal.records import ORIGIN_MAX
from retrieval.errors import ErrorCode, LocalProtocolError, RemoteProtocolError, RetrievalError
from retrieval.gateway.ask import QUERY_FIELDS_MAX
from retrieval.units import AMOUNT_MAX

from ..web.address import provider_of
from .errands import Permit
from .market import NAMED_MAX, Provider
from .tokens import Scope, Token, TokenId, find_token, spelled

MAX_SPEND: Final = "Retrieval-Max-Spend"
"""Header by which a request lowers what may be spent for it, in the token's smallest unit."""
PROVIDER: Final = "provider"
"""Query parameter that names who is to be asked."""
LOOPBACK_NAMES: Final = ("127.0.0.1", "localhost", "[::1]")

_BEARER: Final = re.compile(r"Bearer +([A-Za-z0-9._~+/=-]{1,512})", re.ASCII | re.IGNORECASE)
_AMOUNT: Final = re.compile(r"[0-9]{1,39}", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Whoever sent a request."""

    token: Token | None
    origin: str
    """The web page, as its browser says; empty where there is none."""

    def require(self, scope: Scope) -> Token:
        """Raises ``RemoteProtocolError``: ``unauthorized`` without a token, ``forbidden`` with one that lacks the scope."""
        if self.token is None:
            raise RemoteProtocolError(ErrorCode.UNAUTHORIZED, f"a token with the scope {scope.words[0]!r} is needed")
        if scope not in self.token.scopes:
            raise RemoteProtocolError(ErrorCode.FORBIDDEN, f"the token lacks the scope {scope.words[0]!r}")
        return self.token


def check_host(hosts: Sequence[str], allowed: Collection[str]) -> None:
    """Refuse a request that was meant for another name, as one is after DNS was rebound.

    ``hosts`` are the values of its ``Host`` headers, ``allowed`` names with ports. Raises ``RemoteProtocolError(misdirected_request)``.
    """
    if len(hosts) != 1 or hosts[0].strip().lower() not in allowed:
        raise RemoteProtocolError(ErrorCode.MISDIRECTED_REQUEST, f"Host is {', '.join(hosts)[:64]!r}")


def read_caller(headers: Mapping[str, str], tokens: Mapping[TokenId, Token], *, now_ms: int) -> Caller:
    """Who asks. ``headers`` are by their names in small letters.

    Raises ``RemoteProtocolError``: ``unauthorized`` for a token that is not good, ``forbidden`` where it is not good for this web page.
    """
    origin = spelled(headers.get("origin", "").strip())
    if len(origin) > ORIGIN_MAX or not origin.isprintable() or not origin.isascii():
        raise RemoteProtocolError(ErrorCode.MALFORMED_REQUEST, "Origin is none that a browser writes")
    said = headers.get("authorization")
    if said is None:
        return Caller(token=None, origin=origin)
    form = _BEARER.fullmatch(said.strip())
    token = find_token(tokens, form[1], now_ms=now_ms) if form is not None else None
    if token is None:
        raise RemoteProtocolError(ErrorCode.UNAUTHORIZED, "the token is unknown, revoked or expired")
    if token.origins and origin not in token.origins:
        raise RemoteProtocolError(ErrorCode.FORBIDDEN, f"the token is not good for {origin or 'a request without an Origin'!r}")
    return Caller(token=token, origin=origin)


def split_providers(target: str) -> tuple[str, tuple[str, ...]]:
    """An address without its ``provider`` parameters, and what they say. Raises ``RemoteProtocolError(malformed_request)``."""
    path, mark, query = target.partition("?")
    fields = query.split("&") if mark else []
    if len(fields) > QUERY_FIELDS_MAX:
        raise RemoteProtocolError(ErrorCode.MALFORMED_REQUEST, "the query has too many parameters")
    named = []
    rest = []
    for field in fields:
        try:
            parsed = parse_qsl(field, keep_blank_values=True, errors="strict")
        except ValueError as error:
            raise RemoteProtocolError(ErrorCode.MALFORMED_REQUEST, "the query is no text") from error
        if parsed and parsed[0][0] == PROVIDER:
            named.append(parsed[0][1])
        else:
            rest.append(field)
    if len(named) > NAMED_MAX:
        raise RemoteProtocolError(ErrorCode.MALFORMED_REQUEST, f"a request names at most {NAMED_MAX} providers")
    return (f"{path}?{'&'.join(rest)}" if rest else path), tuple(dict.fromkeys(named))


def read_permit(caller: Caller, headers: Mapping[str, str], named: Sequence[str], configured: Collection[Provider], limit: int) -> Permit:
    """What may be done for a request that names these providers, where a request may cost at most ``limit``.

    Whoever names a provider that the configuration does not has this machine connect somewhere, which a web page may not. Raises
    ``RemoteProtocolError``: ``malformed_request``, and as ``Caller.require``.
    """
    try:
        providers = tuple(map(provider_of, named))
    except RetrievalError as error:
        raise RemoteProtocolError(ErrorCode.MALFORMED_REQUEST, f"provider: {error.detail}") from error
    known = {str(each) for each in configured}
    if any(str(each) not in known for each in providers):
        caller.require(Scope.RETRIEVE)
    spend_max = 0
    if caller.token is not None and Scope.SPEND in caller.token.scopes:
        spend_max = min(limit, caller.token.per_request, _max_spend(headers.get(MAX_SPEND.lower())))
    return Permit(token=caller.token, origin=caller.origin, spend_max=spend_max, providers=providers)


def allowed_hosts(names: Sequence[str], port: int) -> frozenset[str]:
    """``Host`` headers that name this gateway. A browser leaves out the port that is HTTP's own."""
    return frozenset(f"{name.lower()}:{port}" for name in names) | (frozenset(map(str.lower, names)) if port == 80 else frozenset())


def require_loopback(host: str) -> None:
    """Raises ``LocalProtocolError(usage)`` for an address that others can reach."""
    if host not in ("127.0.0.1", "::1", "localhost"):
        detail = f"{host} is not a loopback address; whoever reaches it can use what is free here: say --allow-remote if they may"
        raise LocalProtocolError(ErrorCode.USAGE, detail)


def _max_spend(text: str | None) -> int:
    if text is None:
        return AMOUNT_MAX
    if _AMOUNT.fullmatch(text.strip()) is None:
        raise RemoteProtocolError(ErrorCode.MALFORMED_REQUEST, f"{MAX_SPEND} is a whole number of the token's smallest unit")
    return int(text)
