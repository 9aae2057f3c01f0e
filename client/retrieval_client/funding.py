"""Trio. What is settled with a provider apart from any fetch: funding a channel with it, and asking what something would cost.

A funded channel is shown to the provider at once, so that a later ``get`` makes no chain call.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

import trio

from retrieval.deal import fold
from retrieval.errors import ErrorCode, LocalProtocolError, RemoteProtocolError
from retrieval.home import Home, read_secret
from retrieval.identity import PeerKey
from retrieval.ledger.journal import Journal
from retrieval.ledger.state import MemoryStateStorage
from retrieval.payment.chain import Chain
from retrieval.payment.channel import ChannelId
from retrieval.store.blocks import MemoryBlockStore
from retrieval.transport.libp2p import open_host, parse_address
from retrieval.transport.writer import open_writer, steady_clock
from retrieval.wire.messages import DealId, Quote, Settlement

from .config import ClientSettings
from .conversation import Conversation, converse
from .source import Source
from .unwrap import one_error
from .wallet import Wallet, open_wallet_in_turn

CONFIRM_WAIT_S: Final = 120.0  # for a fresh deposit to lie as deep as the provider asks
CONFIRM_POLL_S: Final = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Funded:
    """A channel after it was funded. Amounts in the token's smallest unit."""

    channel_id: ChannelId
    balance: int
    left: int
    """What the deposit covers beyond what was promised."""
    sent: bool
    """False where the deposit of an earlier, interrupted call was found, and nothing new was sent."""
    confirmed: bool
    """Whether the provider has seen it; if not yet, the first ``get`` shows it again."""
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """A signed quote, and the deal that accepting it would make."""

    quote: Quote
    deal_id: DealId


async def fund(home: Home, settings: ClientSettings, address: str, amount: int, *, open_chain: Callable[[str], Chain]) -> Funded:
    """Open a channel with the provider at a multiaddr, or top up the one there is.

    Raises ``RetrievalError``: what dialling raises, ``channel_unacceptable`` where the provider takes no payment, ``config_invalid``
    without an RPC, and what ``Wallet.fund`` raises.
    """
    provider, clock = parse_address(address), steady_clock()
    began = clock()
    if not settings.chain.rpc:
        raise LocalProtocolError(ErrorCode.CONFIG_INVALID, "chain.rpc is empty, and money needs a chain")
    if amount <= 0:
        raise LocalProtocolError(ErrorCode.INVALID_AMOUNT, "a deposit is above zero")
    with one_error():
        async with open_wallet_in_turn(home, settings, command="retrieval-client fund", now=began) as wallet:
            async with _talk(wallet.peer_key, wallet.journal, address) as conversation:
                settlement = await conversation.learn_terms()
            if settlement is None:
                raise LocalProtocolError(ErrorCode.CHANNEL_UNACCEPTABLE, "this provider takes no payment: all it has is free")
            chain, now = open_chain(settings.chain.rpc), clock()
            funding = await trio.to_thread.run_sync(
                lambda: wallet.fund(chain, settlement, provider.peer_id, str(provider), amount, now=now)
            )
            # A new session: the deposit may have taken longer than a provider waits for somebody who says nothing.
            async with _talk(wallet.peer_key, wallet.journal, address) as conversation:
                confirmed = await _show(conversation, wallet, ChannelId(funding.line.key), settlement, now=clock())
            line = funding.line
            assert line.channel is not None
            return Funded(
                channel_id=ChannelId(line.key),
                balance=line.channel.balance,
                left=line.credit,
                sent=funding.sent,
                confirmed=confirmed,
                seconds=round(clock() - began, 3),
            )


async def quote(home: Home, settings: ClientSettings, source: Source, address: str) -> Offer:
    """What a provider asks for a source, all of it. Nothing is signed by us, and nothing is written."""
    key = PeerKey.from_seed(read_secret(home.require().identity_key_path).reveal())
    nothing = Journal(MemoryStateStorage(), fold.reduce)
    price_max = settings.wallet.price_max or None
    with one_error():
        async with _talk(key, nothing, address) as conversation:
            clock = steady_clock()
            quoted = await conversation.ask_quote(source.selection, source.walk(), price_per_gib_max=price_max, now=clock())
            return Offer(quote=quoted.quote, deal_id=quoted.deal_id)


async def _show(conversation: Conversation, wallet: Wallet, channel: ChannelId, settlement: Settlement, *, now: float) -> bool:
    """Show the channel until the provider sees its deposit; False when that takes too long."""
    line = wallet.line(channel)
    presentation = await trio.to_thread.run_sync(lambda: wallet.presentation(line, needed_until=now, now=now))
    with trio.move_on_after(CONFIRM_WAIT_S):
        while True:
            try:
                await conversation.present(presentation)
                return True
            except RemoteProtocolError as error:
                if error.code is not ErrorCode.CHANNEL_UNFUNDED or settlement.confirmations == 0:
                    raise
            await trio.sleep(CONFIRM_POLL_S)
    return False


@asynccontextmanager
async def _talk(key: PeerKey, journal: Journal, address: str) -> AsyncIterator[Conversation]:
    """A session in which nothing is bought."""
    clock = steady_clock()
    async with open_writer(journal, clock) as writer, open_host(key.seed) as host:
        store = MemoryBlockStore(bytes_max=0)
        async with converse(
            host, parse_address(address), key, signer=None, writer=writer, store=store.put_many, clock=clock
        ) as conversation:
            yield conversation
