"""Tokens: what a program shows to be served more than what is free.

Pure. A token is 256 random bits and is shown once, when it is made; what is kept is its digest. So it cannot be guessed, nor read out of
the state, and comparing it takes as long whatever is wrong with it.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import IntFlag
from typing import Final, NewType

from retrieval.deal.records import ORIGIN_MAX, TOKEN_ID_SIZE, TokenRecord
from retrieval.errors import ErrorCode, LocalProtocolError

TokenId = NewType("TokenId", bytes)

PREFIX: Final = "rmt_"
"""By which people, and programs that look for secrets where none should be, know one."""
SECRET_SIZE: Final = 32
TOKENS_MAX: Final = 256
"""Tokens that are good at one time: a person keeps a few."""
_TEXT_SIZE: Final = len(PREFIX) + 43
_ORIGIN: Final = re.compile(r"(https?|[a-z][a-z0-9+.-]{0,30}-extension)://[a-z0-9.\-\[\]:_]{1,200}", re.ASCII)
_OWN_PORTS: Final = {"http": ":80", "https": ":443"}


class Scope(IntFlag):
    """What a token allows. The numbers are on disk."""

    READ = 1
    """To see quotes, deals, receipts, budgets and events."""
    RETRIEVE = 2
    """To name providers that the configuration does not."""
    SPEND = 4
    """To buy, within its budgets."""

    @property
    def words(self) -> list[str]:
        return [str(each.name).lower() for each in Scope if each in self]


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """A token that is good until it expires."""

    id: TokenId
    digest: bytes
    name: str
    scopes: Scope
    cap: int
    per_request: int
    origins: tuple[str, ...]
    expires_ms: int

    @classmethod
    def of(cls, token_id: bytes, kept: TokenRecord) -> Token:
        return cls(
            id=TokenId(token_id),
            digest=kept.digest,
            name=kept.name,
            scopes=Scope(kept.scopes),
            cap=kept.cap,
            per_request=kept.per_request,
            origins=kept.origins,
            expires_ms=kept.expires_ms,
        )


def new_token(
    secret: bytes,
    *,
    name: str,
    scopes: Scope,
    cap: int,
    per_request: int,
    origins: Iterable[str],
    now_ms: int,
    expires_ms: int,
) -> tuple[str, TokenId, TokenRecord]:
    """A token as it is shown, its id, and what is kept of it.

    Raises ``LocalProtocolError(usage)`` for limits without the scope to spend, or the other way round, and for what is no origin.
    """
    assert len(secret) == SECRET_SIZE
    if (Scope.SPEND in scopes) != (cap > 0):
        raise LocalProtocolError(ErrorCode.USAGE, "the scope 'spend' goes with a --cap above zero, and a cap with that scope")
    digest = hashlib.sha256(secret).digest()
    kept = TokenRecord(
        name=name,
        digest=digest,
        scopes=scopes,
        cap=cap,
        per_request=min(per_request, cap),
        origins=tuple(map(parse_origin, origins)),
        created_ms=now_ms,
        expires_ms=expires_ms,
        revoked=False,
    )
    return PREFIX + base64.urlsafe_b64encode(secret).rstrip(b"=").decode(), TokenId(digest[:TOKEN_ID_SIZE]), kept


def find_token(tokens: Mapping[TokenId, Token], text: str, *, now_ms: int) -> Token | None:
    """The token whose text this is; None for one that is unknown, revoked or expired, or no token."""
    if len(text) != _TEXT_SIZE or not text.startswith(PREFIX):
        return None
    try:
        secret = base64.b64decode(text[len(PREFIX) :] + "=", altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        return None
    digest = hashlib.sha256(secret).digest()
    token = tokens.get(TokenId(digest[:TOKEN_ID_SIZE]))
    if token is None or not hmac.compare_digest(token.digest, digest) or not is_good(tokens, token, now_ms=now_ms):
        return None
    return token


def is_good(tokens: Mapping[TokenId, Token], token: Token, *, now_ms: int) -> bool:
    """Whether a token that was good is so still: neither revoked nor expired."""
    return token.id in tokens and token.expires_ms > now_ms


def parse_scopes(text: str) -> Scope:
    """``read,retrieve,spend``. Raises ``LocalProtocolError(usage)``."""
    scopes = Scope(0)
    for word in text.split(","):
        try:
            scopes |= Scope[word.strip().upper()]
        except KeyError as error:
            raise LocalProtocolError(ErrorCode.USAGE, f"{word[:32]!r} is no scope; they are read, retrieve and spend") from error
    return scopes


def parse_origin(text: str) -> str:
    """A web page's origin as browsers write it, without a path. Raises ``LocalProtocolError(usage)``."""
    origin = spelled(text.strip().rstrip("/"))
    if len(origin) > ORIGIN_MAX or _ORIGIN.fullmatch(origin) is None:
        raise LocalProtocolError(ErrorCode.USAGE, f"{text[:64]!r} is no origin; one looks like https://app.example")
    return origin


def spelled(origin: str) -> str:
    """An origin as browsers write it: in small letters, and without the port that is its scheme's own."""
    origin = origin.lower()
    return origin.removesuffix(_OWN_PORTS.get(origin.partition(":")[0], ""))
