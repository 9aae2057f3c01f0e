"""Closing a channel from which gateways are paid: as any other, announce the withdrawal of what is left, wait out the delay, take it.

A gateway may claim up to the largest voucher that ever left, so only what no voucher promises is announced. Blocks on the chain.
"""

from __future__ import annotations

from dataclasses import replace

from retrieval.payment.chain import Chain
from retrieval.payment.channel import ChannelId

from ..leaving import Leaving, Stage
from ..wallet import Wallet


def refresh_all(wallet: Wallet, chain: Chain, *, now: float) -> None:
    """Bring the records of all channels in line with the chain. Raises what the chain raises."""
    channels = wallet.web_channels
    states = chain.channel_states([ChannelId(key) for key in channels]) if channels else []
    for channel, state in zip(channels.values(), states, strict=True):
        wallet.journal.append(channel.seen(state, now), int(now * 1000))


def leave_web(wallet: Wallet, chain: Chain, channel_id: ChannelId, *, now: float) -> Leaving:
    """Take the next step out of a channel, as ``leaving.leave`` does. Raises what the chain raises."""
    channel = wallet.web_channels[channel_id]
    outlay, config = channel.outlay, channel.config
    wallet.journal.append(outlay.channel_seen(replace(outlay.channel, closing=True), now), int(now * 1000))
    (state,) = chain.channel_states([channel_id])
    wallet.journal.append(channel.seen(state, now), int(now * 1000))
    finalizes_at = state.withdraw_finalizes_at(config)
    if finalizes_at is None:
        left = max(0, state.balance - max(outlay.signed, state.total_claimed))
        if left == 0:
            return Leaving(stage=Stage.CLOSED, amount=0, withdraw_at=None, transaction=None)
        sent = chain.initiate_withdraw(config, left, sender=wallet.key)
        (state,) = chain.channel_states([channel_id])
        wallet.journal.append(channel.seen(state, now), int(now * 1000))
        return Leaving(stage=Stage.CLOSING, amount=left, withdraw_at=outlay.channel.withdraw_at, transaction=sent)
    if state.block_timestamp < finalizes_at:
        return Leaving(stage=Stage.CLOSING, amount=state.withdraw_amount, withdraw_at=finalizes_at, transaction=None)
    sent = chain.finalize_withdraw(config, sender=wallet.key)
    (after,) = chain.channel_states([channel_id])
    wallet.journal.append(channel.seen(after, now), int(now * 1000))
    return Leaving(stage=Stage.CLOSED, amount=state.balance - after.balance, withdraw_at=None, transaction=sent)
