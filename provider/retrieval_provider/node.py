"""Trio. The composition root of a serving provider: opens everything, runs it, and closes it in the right order."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from typing import Final

import trio

from retrieval.deal import fold
from retrieval.deal.books import ProviderBooks
from retrieval.deal.events import DealEnded, Event, PaymentTaken, SessionFailed
from retrieval.errors import ErrorCode, LocalProtocolError
from retrieval.home import Home, read_secret
from retrieval.identity import EvmKey, PeerId, PeerKey, assert_fast_signatures, format_peer_id
from retrieval.ledger.journal import Journal
from retrieval.payment.chain import Deployment
from retrieval.payment.channel import WITHDRAW_DELAY_MAX_S, ChannelTerms
from retrieval.store.lmdb import LmdbBlockStore, LmdbStateStorage
from retrieval.transport.libp2p import Stream, open_host
from retrieval.transport.writer import JournalWriter, steady_clock
from retrieval.wire.messages import Settlement

from .admission import QueryRate, SessionLimits
from .config import ProviderSettings
from .pricing import PriceList
from .serving import Service, SessionServer
from .settlement import Settler

log: Final = logging.getLogger("retrieval.provider")

DRAIN_S: Final = 5.0
"""After a stop was asked for, how long running sessions may take to hear of it."""
EXPIRE_EVERY_S: Final = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A provider that is usable."""

    peer_id: PeerId
    addresses: tuple[str, ...]
    service: Service
    settler: Settler | None
    sessions: set[SessionServer]


@asynccontextmanager
async def open_node(
    home: Home, settings: ProviderSettings, *, listener: Callable[[PeerId, Event], None] | None = None
) -> AsyncIterator[Node]:
    """Serve from ``home`` while the block runs.

    On leaving, sessions are told, what was earned is claimed, and the state is closed. Raises ``LocalProtocolError``: ``state_locked``,
    ``slow_signatures``, ``wrong_chain``, ``rpc_unavailable``, ``journal_broken`` and what keys and stores raise.
    """
    key = PeerKey.from_seed(read_secret(home.identity_key_path).reveal())
    wallet = EvmKey.from_secret(read_secret(home.receiver_key_path).reveal())
    with (
        closing(LmdbStateStorage.open(home.state_path, command="retrieval-provider serve")) as state,
        closing(LmdbBlockStore(home.blocks_path, bytes_max=settings.store.bytes_max)) as store,
    ):
        clock = steady_clock()
        journal = Journal(state, fold.reduce)
        prices = PriceList(state, settings.price)
        terms, settlement, chain = None, None, None
        if settings.chain.rpc:
            from retrieval.payment.evm import EvmChain

            assert_fast_signatures()
            chain = EvmChain(settings.chain.rpc)
            await trio.to_thread.run_sync(chain.check)
            terms = _terms(chain.deployment, wallet, settings)
            settlement = _settlement(chain.deployment, terms, settings)
        elif not prices.is_all_free:
            raise LocalProtocolError(
                ErrorCode.CONFIG_INVALID, "content has a price and chain.rpc is empty: name an RPC, or set the price to 0"
            )
        books = ProviderBooks(
            key,
            channel_terms=terms,
            window_first=settings.credit.window_first,
            window_max=settings.credit.window_max,
            tables=fold.load_tables(state),
        )
        journal.append(books.start().records, int(clock() * 1000))
        writer = JournalWriter(journal, clock)
        settler = None
        if chain is not None:
            settler = Settler(chain, books, writer, wallet, clock=clock, poll_s=settings.chain.poll, claim_above=settings.chain.claim_above)
        confirmations = settings.chain.confirmations
        service = Service(
            books=books,
            store=store,
            state=state,
            writer=writer,
            prices=prices,
            settlement=settlement,
            read_channel=None if chain is None else lambda channel: chain.channel_states([channel], confirmations=confirmations)[0],
            quote_lifetime_s=settings.price.quote_lifetime,
            query_rate=QueryRate(settings.serve.queries_per_minute),
            clock=clock,
            listener=listener or _log_event,
        )
        async with _running(service, settler, key, settings) as node:
            yield node


@asynccontextmanager
async def _running(service: Service, settler: Settler | None, key: PeerKey, settings: ProviderSettings) -> AsyncIterator[Node]:
    limits, sessions = SessionLimits(settings.serve), set[SessionServer]()

    async def serve_stream(stream: Stream) -> None:
        server = SessionServer(service, stream, stream.peer_id)
        with limits.admit(stream.peer_id, stream.address):
            sessions.add(server)
            try:
                await server.run()
            finally:
                sessions.discard(server)

    async with trio.open_nursery() as background:
        background.start_soon(service.writer.run)
        background.start_soon(_expire, service)
        if settler is not None:
            background.start_soon(settler.run)
        async with open_host(key.seed, settings.serve.listen) as host:
            host.serve(serve_stream)
            log.info("%s serves on %s", format_peer_id(key.peer_id), ", ".join(host.addresses))
            yield Node(peer_id=key.peer_id, addresses=host.addresses, service=service, settler=settler, sessions=sessions)
            await _drain(sessions)
        if settler is not None and settler.unclaimed():
            try:
                await settler.claim()
            except LocalProtocolError as error:
                log.error("what was earned is not claimed yet; `retrieval-provider claim` will: %s", error)
        background.cancel_scope.cancel()


async def _drain(sessions: set[SessionServer]) -> None:
    for server in tuple(sessions):
        server.shut_down()
    with trio.move_on_after(DRAIN_S):
        while sessions:
            await trio.sleep(0.02)


async def _expire(service: Service) -> None:
    while True:
        await trio.sleep(EXPIRE_EVERY_S)
        step = service.books.expire(service.clock())
        await service.writer.commit(step.records)


def _terms(deployment: Deployment, wallet: EvmKey, settings: ProviderSettings) -> ChannelTerms:
    return ChannelTerms(
        receiver=wallet.address,
        receiver_authorizer=wallet.address,
        token=deployment.token,
        chain_id=deployment.chain_id,
        contract=deployment.contract,
        withdraw_delay_min_s=settings.chain.withdraw_delay,
        withdraw_delay_max_s=WITHDRAW_DELAY_MAX_S,
        deposit_min=settings.chain.deposit_min,
    )


def _settlement(deployment: Deployment, terms: ChannelTerms, settings: ProviderSettings) -> Settlement:
    return Settlement(
        chain_id=terms.chain_id,
        contract=terms.contract,
        token=terms.token,
        collector=deployment.collector,
        receiver=terms.receiver,
        receiver_authorizer=terms.receiver_authorizer,
        withdraw_delay_min_s=terms.withdraw_delay_min_s,
        withdraw_delay_max_s=terms.withdraw_delay_max_s,
        deposit_min=terms.deposit_min,
        confirmations=settings.chain.confirmations,
        decimals=deployment.token_decimals,
        symbol=deployment.token_symbol,
    )


def _log_event(peer: PeerId, event: Event) -> None:
    match event:
        case DealEnded():
            log.info(
                "%s deal %s ended %s: %d bytes in %d blocks, earned %d",
                format_peer_id(peer), event.deal_id.hex(), event.outcome.name.lower(), event.n_bytes, event.n_blocks, event.amount,
            )  # fmt: skip
        case PaymentTaken():
            log.debug("%s deal %s paid %d for %d bytes", format_peer_id(peer), event.deal_id.hex(), event.amount, event.n_bytes)
        case SessionFailed(code=code) if code is not ErrorCode.TRANSFER_TRUNCATED:
            log.warning("%s session ended: %s %s", format_peer_id(peer), code.label, event.detail)
        case _:
            pass
