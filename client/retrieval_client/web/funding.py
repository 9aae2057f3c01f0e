"""Trio. What is settled with a gateway apart from any fetch: a channel for its receiver, and asking what something would cost.

The rule: a channel is on disk before money moves into it, and a deposit that an earlier call sent, and did not live to see mined, counts.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import trio

from retrieval.deal.outlay import opened
from retrieval.errors import ErrorCode, LocalProtocolError, RemoteProtocolError
from retrieval.home import Home
from retrieval.payment.chain import Chain
from retrieval.payment.channel import ChannelId, channel_id
from retrieval.payment.x402.offer import Requirements
from retrieval.transport.writer import JournalWriter, open_writer, steady_clock
from retrieval.units import format_amount

from ..config import ClientSettings
from ..funding import Funded
from ..source import Source
from ..unwrap import one_error
from ..wallet import Wallet, open_wallet_in_turn
from .address import GatewayAddress
from .channel import WebChannel, check_offer, new_config, new_record
from .connection import connect
from .plan import Ask
from .replies import WebQuote
from .replies import quote as ask_quote

INLINE: Final = "bafkqaaik"
"""A CID that is its own content, of one byte: every gateway has it, so its quote shows what a channel has to be."""


async def fund(
    home: Home, settings: ClientSettings, provider: GatewayAddress, amount: int, *, open_chain: Callable[[str], Chain], cid: str = INLINE
) -> Funded:
    """Open a channel with the receiver that a gateway is paid to, or top up the one there is; ``cid`` is content that has a price there.

    Raises ``RetrievalError``: what dialling raises, ``channel_unacceptable`` where it takes no payment from channels, ``config_invalid``
    without an RPC, ``channel_unfunded`` below the gateway's least deposit, and what the chain raises.
    """
    clock = steady_clock()
    began = clock()
    if not settings.chain.rpc:
        raise LocalProtocolError(ErrorCode.CONFIG_INVALID, "chain.rpc is empty, and money needs a chain")
    if amount <= 0:
        raise LocalProtocolError(ErrorCode.INVALID_AMOUNT, "a deposit is above zero")
    offered = await _offer(provider, cid)
    chain = open_chain(settings.chain.rpc)
    with one_error():
        async with (
            open_wallet_in_turn(home, settings, command="retrieval-client fund", now=began) as wallet,
            open_writer(wallet.journal, clock) as writer,
        ):
            check_offer(offered, wallet.deployment, wallet.key.address)
            fitting = [channel for channel in wallet.web_channels.values() if channel.fits(offered)]
            channel = max(fitting, key=lambda channel: channel.outlay.credit, default=None)
            if channel is not None and await refresh(writer, chain, channel, now=clock()) >= amount:
                sent = False
            else:
                held = 0 if channel is None else channel.outlay.channel.balance
                if held + amount < offered.deposit_min:
                    least = format_amount(offered.deposit_min, decimals=wallet.deployment.token_decimals)
                    raise LocalProtocolError(ErrorCode.CHANNEL_UNFUNDED, f"this provider asks for a deposit of at least {least}")
                channel = await open_channel(wallet, writer, chain, offered, amount, channel=channel, now=clock())
                sent = True
    outlay = channel.outlay
    return Funded(
        channel_id=ChannelId(outlay.key),
        balance=outlay.channel.balance,
        left=outlay.credit,
        sent=sent,
        confirmed=True,
        seconds=round(clock() - began, 3),
    )


async def quote(provider: GatewayAddress, source: Source) -> WebQuote:
    """What a gateway asks for a source, all of it.

    Raises ``RemoteProtocolError``: ``capability_missing`` where it quotes nothing, and what dialling and its answer raise.
    """
    whole = Ask(root=source.root, path=source.path, scope=source.scope, byte_range=source.byte_range)
    async with connect(provider) as connection:
        found = await ask_quote(connection, whole.address)
    if found is None:
        raise RemoteProtocolError(ErrorCode.CAPABILITY_MISSING, "this gateway does not say what content costs, or does not have it")
    return found


async def open_channel(
    wallet: Wallet,
    writer: JournalWriter,
    chain: Chain,
    offer: Requirements,
    amount: int,
    *,
    channel: WebChannel | None,
    now: float,
) -> WebChannel:
    """Deposit into ``channel``, or into a new one that the offer takes. Raises what the chain raises."""
    if channel is None:
        config = new_config(offer, wallet.key.address, wallet.settings.wallet.withdraw_delay)
        deployment = wallet.deployment
        outlay, records = opened(channel_id(config, deployment.chain_id, deployment.contract), new_record(config, deployment), now)
        channel = wallet.web_channels[outlay.key] = WebChannel(outlay, wallet.voucher_signer)
        await writer.commit(records)  # before any money moves: a deposit whose config was lost could never be spent or taken back
    config = channel.config
    await trio.to_thread.run_sync(lambda: chain.deposit(config, amount, payer=wallet.key, sender=wallet.key))
    await refresh(writer, chain, channel, now=now)
    return channel


async def refresh(writer: JournalWriter, chain: Chain, channel: WebChannel, *, now: float) -> int:
    """Bring the record of a channel in line with the chain; gives by how much its balance rose."""
    before = channel.outlay.channel.balance
    (state,) = await trio.to_thread.run_sync(chain.channel_states, [ChannelId(channel.outlay.key)])
    await writer.commit(channel.seen(state, now))
    return channel.outlay.channel.balance - before


async def _offer(provider: GatewayAddress, cid: str) -> Requirements:
    offered = (await quote(provider, Source.parse(cid))).batch
    if offered is None:
        detail = "it asks for no payment from channels here; name content that has a price with --cid"
        raise LocalProtocolError(ErrorCode.CHANNEL_UNACCEPTABLE, detail)
    return offered
