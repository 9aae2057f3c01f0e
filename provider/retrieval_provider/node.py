"""Trio. The composition root of a serving provider: opens everything, runs it, and closes it in the right order."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, closing
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

import trio

from retrieval.deal.events import Event
from retrieval.errors import ErrorCode, LocalProtocolError, RemoteProtocolError, RetrievalError
from retrieval.gateway.denylist import denied_by
from retrieval.home import Home
from retrieval.identity import EvmKey, PeerId, assert_fast_signatures, format_peer_id
from retrieval.payment.chain import Deployment
from retrieval.store.disk import DiskBlockStore
from retrieval.store.lmdb import LmdbStateStorage
from retrieval.transport.libp2p import Stream, open_host
from retrieval.transport.writer import open_writer, steady_clock
from retrieval.wire.messages import Settlement

from .admission import QueryRates, SessionLimits
from .config import ProviderSettings
from .http.workers import Worker, open_workers
from .http_credit.bridge import SOCKET_NAME, serve_bridge
from .http_credit.counter import Counter
from .http_credit.opening import open_counter
from .ledger import Ledger, open_ledger
from .operator.counting import count_commit, count_event, count_turned_away
from .operator.health import Checks, Health
from .operator.metrics import SETTLEMENTS
from .operator.recent import Recent
from .operator.tally import Tally
from .pricing import PriceList
from .serving import Listener, Service, SessionServer, turn_away
from .settlement import Claimed, Settler

if TYPE_CHECKING:
    from retrieval.payment.evm import EvmChain

    from .radio.desk import Desk

log: Final = logging.getLogger("retrieval.provider")

DRAIN_S: Final = 3.0
"""After a stop was asked for, how long sessions may take to hear of it; the host takes 2 s more to close what is left."""
EXPIRE_EVERY_S: Final = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A provider that is usable."""

    peer_id: PeerId
    addresses: tuple[str, ...]
    urls: tuple[str, ...]
    """Of the HTTP gateway; none where there is none."""
    service: Service
    settler: Settler | None
    sessions: set[SessionServer]
    workers: tuple[Worker, ...]
    """The processes of the HTTP gateway."""
    checks: Checks
    health: Health
    recent: Recent
    desk: Desk | None
    """Of the radio; None where there is none."""
    receiver: EvmKey | None
    """Who is paid, and pays relays; None where nothing is sold."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Money:
    """What a node is paid by. Where everything is free, there is only the ledger."""

    ledger: Ledger
    chain: EvmChain | None
    settler: Settler | None
    counter: Counter | None
    """Of the HTTP gateway."""


@asynccontextmanager
async def open_node(
    home: Home,
    settings: ProviderSettings,
    *,
    listener: Listener = lambda peer, event: None,
    on_claimed: Callable[[Claimed], None] = lambda claimed: None,
) -> AsyncIterator[Node]:
    """Serve from ``home`` while the block runs.

    On leaving, sessions are told, what was earned is claimed, and the state is closed. Raises ``LocalProtocolError``: ``state_locked``,
    ``slow_signatures``, ``wrong_chain``, ``rpc_unavailable``, ``journal_broken`` and what keys and stores raise.
    """
    clock = steady_clock()
    denylist = denied_by(home.path / settings.serve.denylist if settings.serve.denylist else None)
    async with AsyncExitStack() as opened:
        state = opened.enter_context(closing(LmdbStateStorage.open(home.state_path, command="retrieval-provider serve")))
        store = opened.enter_context(closing(DiskBlockStore(home.blocks_path, bytes_max=settings.store.bytes_max)))
        prices = PriceList(state, settings.price)
        chain = await _reach_chain(settings, prices)
        ledger = open_ledger(home, settings, state, deployment=None if chain is None else chain.deployment, now=clock())
        tally, recent = Tally(), Recent()
        opened.enter_context(recent.listening())
        writer = await opened.enter_async_context(open_writer(ledger.journal, clock, on_commit=partial(count_commit, tally)))
        settler = None
        if chain is not None:
            settler = ledger.settler(
                chain,
                writer,
                settings,
                clock=clock,
                on_claimed=lambda claimed: _tell_claimed(tally, claimed, on_claimed),
                on_held_up=lambda error: tally.count(SETTLEMENTS, "held_up"),
            )
        service = Service(
            books=ledger.books,
            store=store,
            state=state,
            writer=writer,
            prices=prices,
            settlement=None if chain is None else _settlement(chain.deployment, ledger, settings),
            lookout=None if settler is None else settler.lookout,
            quote_lifetime_s=settings.price.quote_lifetime,
            query_rates=QueryRates(settings.serve),
            clock=clock,
            listener=lambda peer, event: _tell(tally, recent, peer, event, listener),
            denylist=denylist,
            tally=tally,
        )
        counter = None if chain is None or not settings.http.listen else open_counter(chain, ledger, service, settings)
        money = _Money(ledger=ledger, chain=chain, settler=settler, counter=counter)
        yield await opened.enter_async_context(_running(home, settings, service, money, recent))


def _tell(tally: Tally, recent: Recent, peer: PeerId, event: Event, listener: Listener) -> None:
    count_event(tally, event)
    recent.tell(peer, event)
    listener(peer, event)


def _tell_claimed(tally: Tally, claimed: Claimed, on_claimed: Callable[[Claimed], None]) -> None:
    tally.count(SETTLEMENTS, "claimed")
    on_claimed(claimed)


async def _reach_chain(settings: ProviderSettings, prices: PriceList) -> EvmChain | None:
    """The chain this provider is paid on, known to be the right one; None where everything is free."""
    if not settings.chain.rpc:
        if not prices.is_all_free:
            detail = "content has a price and chain.rpc is empty: name an RPC, or run `retrieval-provider price default 0`"
            raise LocalProtocolError(ErrorCode.CONFIG_INVALID, detail)
        return None
    from retrieval.payment.evm import EvmChain  # with web3, which a free provider never waits for

    assert_fast_signatures()
    chain = EvmChain(settings.chain.rpc)
    await trio.to_thread.run_sync(chain.check)
    return chain


@asynccontextmanager
async def _running(home: Home, settings: ProviderSettings, service: Service, money: _Money, recent: Recent) -> AsyncIterator[Node]:
    key, settler, counter, till = money.ledger.books.key, money.settler, money.counter, home.path / SOCKET_NAME
    sessions = set[SessionServer]()
    async with trio.open_nursery() as background:
        background.start_soon(_expire, service)
        if settler is not None:
            await settler.warn_without_gas()
            background.start_soon(settler.run)
        if counter is not None:
            background.start_soon(counter.transfers.resume_when_possible)
            await background.start(partial(serve_bridge, till, counter))
        async with open_host(key.seed, settings.serve.listen) as host:
            host.serve(_session_handler(service, SessionLimits(settings.serve), sessions))
            name = format_peer_id(key.peer_id)
            log.info("%s serves on %s", name, ", ".join(host.addresses))
            asked_at = None if counter is None else till
            door_opened = open_workers(home, settings, peer_id=name, libp2p=host.addresses, till=asked_at, tally=service.tally)
            async with _desk_of(service, money.ledger, settings) as desk, door_opened as door:
                checks = Checks(
                    home,
                    settings,
                    store=service.store,
                    writer=service.writer,
                    settler=settler,
                    chain=money.chain,
                    receiver=None if money.ledger.receiver is None else money.ledger.receiver.address,
                    addresses=host.addresses,
                    workers=door.workers,
                    clock=service.clock,
                )
                yield Node(
                    peer_id=key.peer_id,
                    addresses=host.addresses,
                    urls=door.urls,
                    service=service,
                    settler=settler,
                    sessions=sessions,
                    workers=door.workers,
                    checks=checks,
                    health=Health(checks.all()),
                    recent=recent,
                    desk=desk,
                    receiver=money.ledger.receiver,
                )
            if counter is not None:
                with trio.move_on_after(DRAIN_S):  # the workers have ended; what they said last is charged before it is claimed
                    await counter.settled()
            await _drain(sessions)
        if settler is not None and settler.unclaimed():
            try:
                await settler.claim()
            except RetrievalError as error:
                log.error("what was earned is not claimed yet; `retrieval-provider claim` will: %s", error)
        background.cancel_scope.cancel()


def _session_handler(service: Service, limits: SessionLimits, sessions: set[SessionServer]) -> Callable[[Stream], Awaitable[None]]:
    async def serve_stream(stream: Stream) -> None:
        with ExitStack() as place:
            try:
                place.enter_context(limits.admit(stream.peer_id, stream.address))
            except RemoteProtocolError as refusal:
                log.info("%s was turned away: %s", format_peer_id(stream.peer_id), refusal)
                count_turned_away(service.tally, refusal)
                await turn_away(stream, refusal, is_paid=service.settlement is not None)
                return
            server = SessionServer(service, stream, stream.peer_id, prefix=stream.address)
            sessions.add(server)
            place.callback(sessions.discard, server)
            await server.run()

    return serve_stream


@asynccontextmanager
async def _desk_of(service: Service, ledger: Ledger, settings: ProviderSettings) -> AsyncIterator[Desk | None]:
    """The radio, where a port is named."""
    if not settings.radio.port:
        yield None
        return
    from .radio.desk import open_desk

    async with open_desk(service, ledger.books.key, settings.radio, ledger.receiver) as desk:
        yield desk


async def _drain(sessions: set[SessionServer]) -> None:
    for server in tuple(sessions):
        server.shut_down()
    with trio.move_on_after(DRAIN_S):
        for server in tuple(sessions):
            await server.ended.wait()


async def _expire(service: Service) -> None:
    while True:
        await trio.sleep(EXPIRE_EVERY_S)
        step = service.books.expire(service.clock())
        await service.writer.commit_each(step.records)


def _settlement(deployment: Deployment, ledger: Ledger, settings: ProviderSettings) -> Settlement:
    """What quotes say of how to pay."""
    terms = ledger.books.channel_terms
    assert terms is not None
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
