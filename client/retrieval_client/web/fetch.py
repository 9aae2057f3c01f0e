"""Trio. One fetch from a gateway: plan, ask, pay, receive, and again after every break until everything is verified or nothing moves.

While an answer's body comes on one connection, the next is asked for, and paid for, on another: so the head of the next is here before the
last byte of this one. What was verified is in the store, so that every attempt, in this process or a later one, goes on where the last one
stopped.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Final

import trio

from retrieval.dag.walk import Walk, fast_forward
from retrieval.errors import ErrorCode, RemoteProtocolError, RetrievalError
from retrieval.payment.chain import Chain
from retrieval.store.blocks import BlockStore
from retrieval.transport.writer import Clock, JournalWriter
from retrieval.units import KIB
from retrieval.wire.messages import Scope

from ..content import make_room as make_room_in
from ..fetch import BACKOFF_FIRST_S, BACKOFF_MAX_S, TRANSIENT, Progress, Tally
from ..source import Source
from ..unwrap import one_error
from ..wallet import Wallet
from .address import GatewayAddress
from .connection import DIAL_TIMEOUT_S, Answer, Connection, dial
from .intake import Arriving, Intake, Stored
from .plan import ASK_BYTES, Ask, asks
from .till import Order, Till

log: Final = logging.getLogger("retrieval_client.web")

CONNECTIONS_MAX: Final = 2
"""One whose answer is received, and one on which the next is asked for."""
AGAIN: Final = TRANSIENT | {ErrorCode.PAYMENT_IN_FLIGHT, ErrorCode.CHANNEL_UNFUNDED, ErrorCode.CONTROL_UNAVAILABLE}
"""After these the same gateway is asked again, until nothing has moved for a while. A deposit may not have been seen yet."""
AHEAD_S: Final = 5.0
"""How long before the end of one answer the next is asked for, at the rate at which the one comes."""
RATE_BYTES_MIN: Final = 128 * KIB
"""Before so many have come, nobody can tell a rate."""
LOOK_AGAIN_S: Final = 0.01
REFUSALS_MAX: Final = 5
"""How often in a row it may say that a channel holds nothing: then it is believed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WebWanted:
    """What one fetch is about."""

    source: Source
    provider: GatewayAddress
    spend_max: int
    """For everything this fetch costs, in the token's smallest unit."""
    timeout_s: float
    """How long it goes on without verified progress."""


class WebFetch:
    """One fetch over any number of connections to one gateway."""

    def __init__(
        self,
        wallet: Wallet | None,
        store: BlockStore,
        writer: JournalWriter | None,
        wanted: WebWanted,
        *,
        clock: Clock,
        open_chain: Callable[[str], Chain],
        on_progress: Callable[[Progress], None] = lambda progress: None,
        make_room: Callable[[int], None] | None = None,
    ) -> None:
        """``open_chain`` connects to an RPC URL, and is called only where a channel must be opened or looked at. Without a wallet, whose
        journal ``writer`` writes, only free content is fetched. ``make_room`` sees to it, in a thread, that so many bytes fit, or raises;
        where it is None, whatever nothing else needs may go for them."""
        self.store: Final = store
        self.wanted: Final = wanted
        self.tally: Final = Tally()
        self._wallet: Final = wallet
        self._clock: Final = clock
        self._on_progress: Final = on_progress
        self._room_maker: Final = make_room
        self._scope = trio.CancelScope()
        """Of the attempt under way; its deadline is where patience ends."""
        self._till: Final = Till(
            wallet,
            writer,
            wanted.source,
            wanted.provider,
            self.tally,
            spend_max=wanted.spend_max,
            clock=clock,
            open_chain=open_chain,
            on_paid=self.tell,
            make_room=self._make_room,
            patience=self._patience,
        )

    @property
    def are_receipts_verified(self) -> bool:
        """Whether something was paid, and every payment was answered with the provider's receipt for it."""
        return self._till.n_paid > 0 and self._till.n_receipts == self._till.n_paid

    @property
    def unanswered(self) -> int:
        """Signed for answers that never came: the gateway may have charged it, and says so when it is asked the next time."""
        return self._till.unanswered

    async def run(self) -> None:
        """Return when the whole selection is in the store, verified and paid for.

        Raises ``RetrievalError``: the gateway's refusal, our own limits, or ``transfer_stalled`` when nothing moved for ``timeout_s``.
        """
        try:
            await self._run()
        finally:
            await self._till.settled()

    async def _run(self) -> None:
        held = await self._held()
        tally = self.tally
        tally.resumed_bytes = tally.verified_bytes = held.n_bytes
        backoff_s, seen_bytes, n_refusals = BACKOFF_FIRST_S, tally.verified_bytes, 0
        moved_at = self._clock()
        while not held.done:
            try:
                await self._attempt()
                held = await self._held()
                if not held.done:
                    raise RemoteProtocolError(ErrorCode.TRANSFER_TRUNCATED, "not all that was asked for came")
            except RetrievalError as error:
                n_refusals = n_refusals + 1 if error.code is ErrorCode.CHANNEL_UNFUNDED else 0
                if error.code not in AGAIN or not isinstance(error, RemoteProtocolError) or n_refusals > REFUSALS_MAX:
                    raise
                if tally.verified_bytes > seen_bytes:
                    moved_at, backoff_s, seen_bytes = self._clock(), BACKOFF_FIRST_S, tally.verified_bytes
                await self._back_off(error, max(backoff_s, error.retry_after_s or 0), moved_at)
                backoff_s = min(BACKOFF_MAX_S, backoff_s * 2)
            held = await self._held()
        tally.verified_bytes = held.n_bytes  # what came twice, or was held behind a gap, counts once

    def tell(self, trouble: str = "") -> None:
        """Show how far it is."""
        tally = self.tally
        self._on_progress(
            Progress(
                verified_bytes=tally.verified_bytes,
                total_bytes=tally.total_bytes,
                resumed_bytes=tally.resumed_bytes,
                spent=tally.spent_sum,
                trouble=trouble,
            )
        )

    async def _held(self) -> Walk:
        """The walk, past everything of the selection that is in the store."""
        walk = self.wanted.source.walk()
        await trio.to_thread.run_sync(fast_forward, self.store, walk)
        return walk

    async def _attempt(self) -> None:
        """Ask for what is missing, all of it, once."""
        with trio.CancelScope(deadline=trio.current_time() + self.wanted.timeout_s) as self._scope, one_error():
            await _Attempt(self, self._till).run()
        if self._scope.cancelled_caught:
            raise RemoteProtocolError(ErrorCode.TRANSFER_STALLED, f"nothing moved for {self.wanted.timeout_s:.0f} s")

    def stored(self, stored: Stored) -> None:
        """Blocks were verified and are in the store."""
        tally = self.tally
        if tally.first_verified_at is None:
            tally.first_verified_at = self._clock()
        tally.verified_bytes += stored.n_bytes
        self._scope.deadline = trio.current_time() + self.wanted.timeout_s
        self.tell()

    async def _make_room(self, n_bytes: int) -> None:
        """Before anything is paid. Raises ``LocalProtocolError(store_full)``."""
        assert self._wallet is not None
        make = self._room_maker or partial(make_room_in, self.store, self._wallet.state, in_use=(self.wanted.source,))
        await trio.to_thread.run_sync(make, n_bytes)

    @asynccontextmanager
    async def _patience(self) -> AsyncIterator[None]:
        """While the block runs, no progress is expected: the chain is asked, which has deadlines of its own."""
        self._scope.deadline = float("inf")
        try:
            yield
        finally:
            self._scope.deadline = trio.current_time() + self.wanted.timeout_s

    async def _back_off(self, error: RetrievalError, pause_s: float, moved_at: float) -> None:
        left_s = moved_at + self.wanted.timeout_s - self._clock()
        if left_s <= 0:
            stalled = f"nothing moved for {self.wanted.timeout_s:.0f} s; last: {error}"
            raise RemoteProtocolError(ErrorCode.TRANSFER_STALLED, stalled) from error
        log.info("trying again in %.1f s: %s", min(pause_s, left_s), error)
        self.tell(str(error))
        await trio.sleep(min(pause_s, left_s))


class _Attempt:
    """All of what is missing, asked for once: a task that asks, and one that receives."""

    def __init__(self, fetch: WebFetch, till: Till) -> None:
        self._fetch: Final = fetch
        self._till: Final = till
        self._store: Final = fetch.store
        self._intake: Final = Intake(fetch.store, self._stored)
        self._idle: Final[list[Connection]] = []
        self._all: Final[list[Connection]] = []
        self._before: tuple[Arriving, trio.Event] | None = None
        """The answer that was received last, and whether it is settled."""
        self._file: tuple[tuple[str, ...], Arriving] | None = None
        """The file of which parts come."""
        self._receiving: tuple[Answer, float] | None = None
        """The answer whose body comes, and since when."""
        self._n_unsettled = 0
        """Answers that were asked for and are not all verified and stored."""
        self._moved = trio.Event()
        """Set and replaced when more is stored."""

    async def run(self) -> None:
        """Raises ``RetrievalError``, perhaps in a group."""
        send, receive = trio.open_memory_channel[tuple[Ask, Order, Connection]](0)
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._intake.run)
                nursery.start_soon(self._ask, send)
                nursery.start_soon(self._hear_price)
                async with receive, trio.open_nursery() as settling:
                    async for ask, order, connection in receive:
                        settling.start_soon(self._settle, await self._receive(ask, order, connection), order)
                nursery.cancel_scope.cancel()
        finally:
            for connection in self._all:
                await connection.close()

    async def _ask(self, send: trio.MemorySendChannel[tuple[Ask, Order, Connection]]) -> None:
        """Open one answer after another, each while the one before it is received."""
        async with send:
            planned = asks(self._store, self._fetch.wanted.source)
            while True:
                moved = self._moved
                found = await trio.to_thread.run_sync(_next, planned)
                if found is _NO_MORE:
                    return
                if isinstance(found, Ask):
                    await self._near_its_end()
                    self._n_unsettled += 1
                    connection, order = await self._open(found)
                    await send.send((found, order, connection))
                elif self._n_unsettled:
                    await moved.wait()
                else:
                    raise RemoteProtocolError(ErrorCode.TRANSFER_TRUNCATED, "the gateway ended its answer without what was asked for")

    async def _hear_price(self) -> None:
        """Ask for the price beside the first request, on the connection that the second will need: so the limits are known by the time that
        money is asked for."""
        if not self._till.expects_price:
            return
        try:
            connection = await self._dial()
            await self._till.hear(connection)
        except RetrievalError as error:  # asked again, and told, once money is asked for: what is free needs no price
            log.info("the price was not heard ahead: %s", error)
        else:
            await self._put_by(connection)

    async def _near_its_end(self) -> None:
        """Until the answer that is received has so little to come that the next will not wait long: servers cut who does not read."""
        while self._receiving is not None:
            answer, began = self._receiving
            left, elapsed_s = max(0, ASK_BYTES - answer.n_bytes), trio.current_time() - began
            if answer.n_bytes >= RATE_BYTES_MIN and left * elapsed_s <= AHEAD_S * answer.n_bytes:
                return
            with trio.move_on_after(LOOK_AGAIN_S):
                await self._moved.wait()

    async def _open(self, ask: Ask) -> tuple[Connection, Order]:
        """An answer's head. A connection that was kept open may have been closed meanwhile, which is nobody's fault."""
        while True:
            is_kept = bool(self._idle)
            connection = self._idle.pop() if is_kept else await self._dial()
            try:
                return connection, await self._till.open(connection, ask)
            except RetrievalError as error:
                await connection.close()
                if not is_kept or error.code is not ErrorCode.TRANSFER_TRUNCATED:
                    raise

    async def _dial(self) -> Connection:
        connection = await dial(self._fetch.wanted.provider, timeout_s=min(DIAL_TIMEOUT_S, self._fetch.wanted.timeout_s))
        self._all.append(connection)
        return connection

    async def _receive(self, ask: Ask, order: Order, connection: Connection) -> trio.Event:
        if self._before is not None and self._before[0].is_beyond:  # this answer may be of no more use
            await self._before[1].wait()
        arriving = await self._arriving(ask)
        if arriving.is_done:
            await order.answer.close()
            settled = trio.Event()
            settled.set()
        else:
            self._receiving = order.answer, trio.current_time()
            settled = await self._intake.receive(order.answer, arriving, is_last=not ask.is_part)
            self._receiving = None
            self._wake()
        self._before = arriving, settled
        await self._put_by(connection)
        return settled

    async def _put_by(self, connection: Connection) -> None:
        """For the next request, where it can be sent one."""
        if connection.is_usable and len(self._idle) < CONNECTIONS_MAX:
            self._idle.append(connection)
        else:
            await connection.close()
            self._all.remove(connection)

    async def _arriving(self, ask: Ask) -> Arriving:
        """The parts of a file come one after another: one walk serves them all."""
        if ask.is_part and self._file is not None and self._file[0] == ask.path and not self._file[1].is_beyond:
            return self._file[1]
        source = self._fetch.wanted.source
        walk = source.walk() if ask.is_part and source.scope is Scope.ENTITY else ask.walk()
        arriving = await trio.to_thread.run_sync(Arriving, self._store, walk, source.walk)
        if ask.is_part:
            self._file = ask.path, arriving
        return arriving

    async def _settle(self, settled: trio.Event, order: Order) -> None:
        await settled.wait()
        self._till.ended(order)
        self._n_unsettled -= 1
        self._wake()

    def _stored(self, stored: Stored) -> None:
        self._fetch.stored(stored)
        self._wake()

    def _wake(self) -> None:
        self._moved.set()
        self._moved = trio.Event()


class _NoMore:
    """Everything that is missing has been asked for."""


_NO_MORE: Final = _NoMore()


def _next(planned: Iterator[Ask | None]) -> Ask | _NoMore | None:
    return next(planned, _NO_MORE)
