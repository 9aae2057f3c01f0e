"""Closing a channel: announce the withdrawal of what is left, wait out the delay, take it.

The rule: from the moment we decide to leave, nothing more is promised on the channel, and its salt is never used again.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from retrieval.deal import fold
from retrieval.deal.records import ChannelRecord, HttpChannelRecord
from retrieval.deal.spending import SpendingLine
from retrieval.errors import ErrorCode, LocalProtocolError
from retrieval.ledger.state import StateView
from retrieval.payment.chain import Chain
from retrieval.payment.channel import ChannelConfig, ChannelId

from .wallet import Wallet


class Stage(StrEnum):
    CLOSING = "closing"
    """The withdrawal is announced; the receiver has until ``withdraw_at`` to claim."""
    CLOSED = "closed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaving:
    """How far the closing of a channel is. Amounts in the token's smallest unit."""

    stage: Stage
    amount: int
    """On its way back, or back."""
    withdraw_at: int | None
    """Block time from which the withdrawal can be taken."""
    transaction: bytes | None
    """What this call sent."""


def leave(wallet: Wallet, chain: Chain, channel_id: ChannelId, *, now: float) -> Leaving:
    """Take the next step out of a channel: announce, wait, or take what is left. Blocks on the chain.

    Called again it goes on from wherever the chain says it is. Raises what the chain raises.
    """
    line = wallet.line(channel_id)
    assert line.channel is not None
    wallet.mark_leaving(line, now=now)
    wallet.refresh(chain, [line], now=now)
    (state,) = chain.channel_states([channel_id])
    config = ChannelConfig.from_bytes(line.channel.config)
    finalizes_at = state.withdraw_finalizes_at(config)
    if finalizes_at is None:
        left = _left(line)
        if left == 0:
            return Leaving(stage=Stage.CLOSED, amount=0, withdraw_at=None, transaction=None)
        sent = chain.initiate_withdraw(config, left, sender=wallet.key)
        wallet.refresh(chain, [line], now=now)
        return Leaving(stage=Stage.CLOSING, amount=left, withdraw_at=line.channel.withdraw_at, transaction=sent)
    if state.block_timestamp < finalizes_at:
        return Leaving(stage=Stage.CLOSING, amount=state.withdraw_amount, withdraw_at=finalizes_at, transaction=None)
    sent = chain.finalize_withdraw(config, sender=wallet.key)
    wallet.refresh(chain, [line], now=now)
    return Leaving(stage=Stage.CLOSED, amount=state.balance - line.channel.balance, withdraw_at=None, transaction=sent)


def find_channel(state: StateView, text: str) -> ChannelId:
    """The channel whose id begins with these hex digits. Raises ``LocalProtocolError``: ``channel_missing``, ``usage``."""
    prefix = text.lower().removeprefix("0x")
    known = [channel_id for kind in (ChannelRecord, HttpChannelRecord) for channel_id, _ in fold.scan(state, kind)]
    found = [channel_id for channel_id in known if channel_id.hex().startswith(prefix)]
    if not prefix or not found:
        raise LocalProtocolError(ErrorCode.USAGE, f"no channel's id begins with {text[:64]!r}; `retrieval-client channels` shows them")
    if len(found) > 1:
        raise LocalProtocolError(ErrorCode.USAGE, f"{len(found)} channels begin with {text[:64]!r}; give more of the id")
    return ChannelId(found[0])


def _left(line: SpendingLine) -> int:
    """What no voucher promises, whatever deals may still be open: what they cost is promised when it is paid, and no longer here."""
    assert line.channel is not None
    return max(0, line.channel.balance - max(line.best_amount, line.channel.total_claimed))
