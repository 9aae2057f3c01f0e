"""Paying relays: an operator's claim in, a voucher on the channel to that operator out.

The rule: what is not proven by a delivery receipt of our own packets is not paid, and nothing is paid twice.
"""

from __future__ import annotations

from typing import Final

from retrieval.home import Home
from retrieval.identity import public_key_of
from retrieval.radio.account import Claim, RelayAccount, Settlement, tables_of
from retrieval.radio.packet import radio_id
from retrieval.radio.station import trail_key_of
from retrieval.wire import shape

from .config import ClientSettings
from .wallet import open_wallet

FILE_SIZE_MAX: Final = 64 * 1024  # bytes; the most that a control message of the protocol has


def settle(home: Home, settings: ClientSettings, claim: bytes, *, now: float) -> Settlement:
    """Pay what a claim proves. Raises ``RetrievalError`` as ``RelayAccount.settle`` does, and ``malformed_message``."""
    asked = shape.decode(Claim, claim)
    with open_wallet(home, settings, command="retrieval-client radio settle", now=now) as wallet:
        key = wallet.peer_key
        origin = radio_id(public_key_of(key.peer_id))
        account = RelayAccount(origin, trail_key_of(key), wallet.voucher_signer, tables_of(wallet.state), now=now)
        settlement, step = account.settle(asked, wallet.line(asked.channel_id))
        wallet.journal.append(step.records, int(now * 1000))
    return settlement
