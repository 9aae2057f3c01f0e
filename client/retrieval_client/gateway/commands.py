"""What short commands do with tokens: through the gateway where one runs, since it has the wallet; else on the state themselves."""

from __future__ import annotations

import time
from contextlib import closing
from typing import Final

from retrieval.errors import ErrorCode, LocalProtocolError
from retrieval.home import Home
from retrieval.store.lmdb import LmdbStateStorage
from retrieval.transport.control import Json, call_control

from ..config import ClientSettings
from ..wallet import open_wallet
from .keys import Row, made_token, revoked_token, token_rows

TOKEN_NEW: Final = "token_new"
TOKEN_REVOKE: Final = "token_revoke"


def new(home: Home, settings: ClientSettings, order: Json) -> Row:
    """Make a token. Raises as ``made_token``, and ``state_locked`` while a ``get`` runs."""
    if (row := _ask(home, TOKEN_NEW, order)) is not None:
        return row
    now = time.time()
    with open_wallet(home, settings, command="retrieval-client token", now=now) as wallet:
        row, kept = made_token(wallet.state, order, now_ms=int(now * 1000))
        wallet.journal.append([kept], int(now * 1000))
    return row


def revoke(home: Home, settings: ClientSettings, text: str) -> Row:
    """Revoke the token whose id begins with ``text``. Raises as ``revoked_token``, and ``state_locked`` while a ``get`` runs."""
    if (row := _ask(home, TOKEN_REVOKE, {"id": text})) is not None:
        return row
    now = time.time()
    with open_wallet(home, settings, command="retrieval-client token", now=now) as wallet:
        row, kept = revoked_token(wallet.state, text)
        wallet.journal.append([kept], int(now * 1000))
    return row


def listed(home: Home) -> list[Row]:
    """Every token, the newest first."""
    with closing(LmdbStateStorage.open_readonly(home.require().state_path)) as state:
        return list(token_rows(state, now_ms=int(time.time() * 1000)))


def _ask(home: Home, verb: str, args: Json) -> Row | None:
    """What a running gateway answers; None where none runs."""
    try:
        return call_control(home.require().control_path, verb, args)
    except LocalProtocolError as error:
        if error.code is not ErrorCode.CONTROL_UNAVAILABLE or home.control_path.exists():
            raise
        return None
