"""Trio. The tokens of a home: made and revoked in the journal, at once for whoever asks the gateway."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping
from typing import Any, Final

from retrieval.console import show_time
from retrieval.deal import allowance, fold
from retrieval.deal.records import TOKEN_NAME_MAX, TokenRecord, record
from retrieval.errors import ErrorCode, LocalProtocolError
from retrieval.ledger.journal import Record
from retrieval.ledger.state import StateView
from retrieval.settings.kinds import SECONDS
from retrieval.transport.writer import Clock, JournalWriter

from .across import Across
from .errands import Errands
from .tokens import SECRET_SIZE, TOKENS_MAX, Scope, Token, TokenId, new_token, parse_scopes

Row = dict[str, Any]  # one JSON object


class Keys:
    """The tokens of a gateway that runs."""

    def __init__(self, state: StateView, writer: JournalWriter, across: Across, errands: Errands, clock: Clock) -> None:
        self._state: Final = state
        self._writer: Final = writer
        self._across: Final = across
        self._errands: Final = errands
        self._clock: Final = clock
        self._load()

    async def make(self, order: Mapping[str, Any]) -> Row:
        """As ``made_token``, and from now on it is good."""
        row, kept = made_token(self._state, order, now_ms=int(self._clock() * 1000))
        await self._writer.commit([kept])
        self._load()
        return row

    async def revoke(self, text: str) -> Row:
        """As ``revoked_token``, and from now on it is not good: what it began is stopped."""
        row, kept = revoked_token(self._state, text)
        await self._writer.commit([kept])
        self._load()
        self._errands.revoke(TokenId(bytes.fromhex(row["id"])))
        return row

    def _load(self) -> None:
        self._across.tokens = {TokenId(key): Token.of(key, kept) for key, kept in fold.scan(self._state, TokenRecord) if not kept.revoked}


def parse_lifetime(text: str) -> int:
    """Seconds, out of ``30 d``. Raises ``LocalProtocolError(usage)``."""
    try:
        lifetime_s = SECONDS.parse_text(text)
    except ValueError as error:
        raise LocalProtocolError(ErrorCode.USAGE, f"--expires: expected {SECONDS.expected}; {error}") from error
    if lifetime_s == 0:
        raise LocalProtocolError(ErrorCode.USAGE, "--expires: a token is good for a while")
    return lifetime_s


def made_token(state: StateView, order: Mapping[str, Any], *, now_ms: int) -> tuple[Row, Record]:
    """A new token: the row that shows it, once, and what is to be written down.

    Raises ``LocalProtocolError(usage)`` as ``new_token``, and where there are too many.
    """
    name, lifetime_s = str(order["name"]), int(order["lifetime_s"])
    if not name.isprintable() or len(name) > TOKEN_NAME_MAX:
        raise LocalProtocolError(ErrorCode.USAGE, f"a name has at most {TOKEN_NAME_MAX} characters that can be printed")
    if sum(not kept.revoked and kept.expires_ms > now_ms for _, kept in fold.scan(state, TokenRecord)) >= TOKENS_MAX:
        raise LocalProtocolError(ErrorCode.USAGE, f"there are {TOKENS_MAX} tokens; revoke one")
    shown, token_id, kept = new_token(
        secrets.token_bytes(SECRET_SIZE),
        name=name,
        scopes=parse_scopes(str(order["scope"])),
        cap=int(order["cap"]),
        per_request=int(order["per_request"]),
        origins=[str(each) for each in order["origins"]],
        now_ms=now_ms,
        expires_ms=now_ms + 1000 * lifetime_s,
    )
    return {"token": shown, **_row(state, token_id, kept, now_ms)}, record(token_id, kept)


def revoked_token(state: StateView, text: str) -> tuple[Row, Record]:
    """The end of the token whose id begins with these digits. Raises ``LocalProtocolError(usage)``."""
    found = [(key, kept) for key, kept in fold.scan(state, TokenRecord) if text and key.hex().startswith(text.lower()) and not kept.revoked]
    if len(found) != 1:
        many = f"{len(found)} ids begin with {text[:32]!r}; give more of it" if found else f"no token's id begins with {text[:32]!r}"
        raise LocalProtocolError(ErrorCode.USAGE, f"{many}; `retrieval-client token list` shows them")
    ((token_id, kept),) = found
    ended = TokenRecord(
        name=kept.name,
        digest=kept.digest,
        scopes=kept.scopes,
        cap=kept.cap,
        per_request=kept.per_request,
        origins=kept.origins,
        created_ms=kept.created_ms,
        expires_ms=kept.expires_ms,
        revoked=True,
    )
    return _row(state, token_id, ended, kept.created_ms), record(token_id, ended)


def token_rows(state: StateView, *, now_ms: int) -> Iterator[Row]:
    """Every token there ever was, the newest first."""
    for token_id, kept in sorted(fold.scan(state, TokenRecord), key=lambda row: -row[1].created_ms):
        yield _row(state, token_id, kept, now_ms)


def _row(state: StateView, token_id: bytes, kept: TokenRecord, now_ms: int) -> Row:
    spent = allowance.used(state, allowance.token_key(token_id))
    return {
        "id": token_id.hex(),
        "name": kept.name,
        "scopes": Scope(kept.scopes).words,
        "cap": str(kept.cap),
        "per_request": str(kept.per_request),
        "spent": str(spent.spent),
        "held": str(spent.held),
        "origins": list(kept.origins),
        "created": show_time(kept.created_ms // 1000),
        "expires": show_time(kept.expires_ms // 1000),
        "state": "revoked" if kept.revoked else "expired" if kept.expires_ms <= now_ms else "good",
    }
