"""The pump and the writer: nothing leaves before it is on disk, everything reaches the disk in order, and no peer holds us up."""

from __future__ import annotations

import gc
import threading
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager

import pytest
import trio
from trio.testing import MockClock, lockstep_stream_pair, memory_stream_pair, trio_test, wait_all_tasks_blocked

from retrieval.cid import RAW, Cid, cid_of
from retrieval.deal import fold
from retrieval.deal.events import BlocksVerified, Event, SessionReady
from retrieval.deal.records import PriceRecord, record
from retrieval.deal.step import NOTHING, Step
from retrieval.errors import ErrorCode, LocalProtocolError, RemoteProtocolError, RetrievalError
from retrieval.ledger.entry import Entry
from retrieval.ledger.journal import APPEND_MAX, Journal
from retrieval.ledger.state import MemoryStateStorage, Row
from retrieval.store.blocks import MemoryBlockStore
from retrieval.transport.pump import (
    BUFFERS_MAX,
    FAREWELL_S,
    ITEMS_AT_ONCE_MAX,
    NOTHING_TO_SEND,
    OUTBOX_BYTES_MAX,
    SEND_DUE_S,
    VERIFIED_IN_THREAD_BYTES,
    Pump,
)
from retrieval.transport.source import Buffer, Plain, Source
from retrieval.transport.writer import JournalWriter
from retrieval.units import MIB
from retrieval.wire.framing import Block, FrameDecoder, block_head, encode_frame
from retrieval.wire.messages import Cancel, DealId, Error, Message, Ping, Pong

TOLD = SessionReady(capabilities=frozenset(), agent="told")


@pytest.fixture
def autojump_clock() -> MockClock:
    """Time passes when every task waits for it. There are no sockets here to wait for, only a thread that writes to memory."""
    return MockClock(autojump_threshold=0.01)


class Stream:
    """One end of a pipe in memory, as the transport would give it."""

    def __init__(self, pipe: trio.StapledStream[trio.abc.SendStream, trio.abc.ReceiveStream]) -> None:
        self._pipe = pipe
        self.end = ""

    send_bytes = 1 << 20

    async def send_source(self, source: Source) -> None:
        await self.send_all(source.use(0, len(source), b"".join))

    async def send_all(self, data: bytes) -> None:
        try:
            await self._pipe.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise RemoteProtocolError(ErrorCode.TRANSFER_TRUNCATED, "broken pipe") from error

    async def receive_into(self, target: memoryview) -> int:
        data = await self._pipe.receive_some(len(target))
        target[: len(data)] = data
        return len(data)

    async def close(self) -> None:
        self.end = "closed"
        await self._pipe.aclose()

    async def reset(self) -> None:
        self.end = "reset"
        await trio.aclose_forcefully(self._pipe)


class Brief(Stream):
    """One from which everything comes at once, piece by piece, and then its end."""

    def __init__(
        self, pipe: trio.StapledStream[trio.abc.SendStream, trio.abc.ReceiveStream], pieces: Sequence[bytes], *, is_cut: bool = False
    ) -> None:
        super().__init__(pipe)
        self.pieces = list(pieces)
        self._is_cut = is_cut

    async def receive_into(self, target: memoryview) -> int:
        await trio.lowlevel.checkpoint()
        if self.pieces:
            piece = self.pieces.pop(0)
            target[: len(piece)] = piece
            return len(piece)
        if self._is_cut:
            raise RemoteProtocolError(ErrorCode.TRANSFER_TRUNCATED, "broken pipe")
        return 0


class Scripted:
    """A machine that does what a test says, and remembers what it was told."""

    def __init__(self, answer: Callable[[Message], Step] = lambda message: NOTHING) -> None:
        self.is_over = False
        self.received: list[Message] = []
        self.committed_steps: list[Step] = []
        self.ends: list[ErrorCode | None] = []
        self.deadline: float | None = None
        self.last_step = NOTHING
        self.n_blocks = 0
        self.stored: list[tuple[Cid, memoryview]] = []
        self._answer = answer

    def receive(self, message: Message, now: float) -> Step:
        self.received.append(message)
        return self._answer(message)

    def receive_blocks(self, blocks: Sequence[Block], now: float) -> Step:
        self.n_blocks += len(blocks)
        self.stored += [(block.cid, block.payload) for block in blocks]
        return Step(blocks=tuple((block.cid, block.payload) for block in blocks))

    def committed(self, step: Step) -> None:
        self.committed_steps.append(step)

    def next_deadline(self) -> float | None:
        return self.deadline

    def tick(self, now: float) -> Step:
        self.deadline = None
        return Step(messages=(Ping(nonce=99),))

    def fail(self, error: RetrievalError, now: float) -> Step:
        return self._end(error.code, Step(messages=(Error(code=error.code, detail=""),)))

    def closed(self, now: float) -> Step:
        return self._end(None, NOTHING)

    def _end(self, code: ErrorCode | None, step: Step) -> Step:
        if self.is_over:
            return NOTHING
        self.is_over = True
        self.ends.append(code)
        return self.last_step + step


def payload_of(n: int) -> bytes:
    return bytes((n,)) * 1000


def block_frame(n: int) -> bytes:
    payload = payload_of(n)
    return block_head(DealId(bytes(16)), n, cid_of(RAW, payload), len(payload)) + payload


class GatedStorage(MemoryStateStorage):
    """A disk that writes when the test lets it."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = threading.Event()
        self.gate.set()
        self.fails = False

    def commit(self, entries: Sequence[Entry], rows: Iterable[Row]) -> None:
        assert self.gate.wait(30)
        if self.fails:
            raise LocalProtocolError(ErrorCode.DISK_FULL)
        super().commit(entries, rows)


class Bench:
    """A journal with its writer, a store, and as many sessions as a test needs."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self.nursery = nursery
        self.storage = GatedStorage()
        self.writer = JournalWriter(Journal(self.storage, fold.reduce), trio.current_time)
        self.store = MemoryBlockStore()
        self.events: list[Event] = []

    def pump(self, machine: Scripted, stream: Stream, next_blocks: Callable[[int], Source] = lambda size_max: NOTHING_TO_SEND) -> Pump:
        return Pump(
            machine,
            stream,
            self.writer,
            store=self.store.put_many,
            clock=trio.current_time,
            on_event=self.events.append,
            next_blocks=next_blocks,
        )

    def prices(self) -> list[int]:
        """The prices in the journal, in its order."""
        return [
            int.from_bytes(entry.record.subject, "big")
            for entry in Journal(self.storage, fold.reduce).iterate()  # each test's records are prices named by a number
        ]


def saying(n: int) -> Step:
    """A step with one record, the price of ``n``."""
    price = record(n.to_bytes(2, "big"), PriceRecord(price_per_gib=n, flat_fee=0))
    return Step(records=(price,), messages=(Pong(nonce=n),), events=(TOLD,))


@asynccontextmanager
async def bench() -> AsyncIterator[Bench]:
    async with trio.open_nursery() as nursery:
        made = Bench(nursery)
        nursery.start_soon(made.writer.run)
        try:
            yield made
        finally:
            made.storage.gate.set()
            nursery.cancel_scope.cancel()


async def heard(far: trio.StapledStream[trio.abc.SendStream, trio.abc.ReceiveStream], n: int = 1) -> list[Message]:
    """The next ``n`` messages at the other end."""
    decoder, messages = FrameDecoder(), list[Message]()
    while len(messages) < n:
        data = bytes(await far.receive_some(1 << 16))
        assert data, "the stream ended"
        messages += [item for item in decoder.feed(data) if not isinstance(item, list)]
    return messages


async def said(far: trio.StapledStream[trio.abc.SendStream, trio.abc.ReceiveStream]) -> bytes:
    """Everything until the stream's end."""
    data = bytearray()
    while received := await far.receive_some(1 << 16):
        data += received
    return bytes(data)


# the order


@trio_test
async def test_nothing_is_sent_or_told_before_its_records_are_on_disk() -> None:
    async with bench() as made:
        near, far = memory_stream_pair()
        machine = Scripted()
        pump = made.pump(machine, Stream(near))
        made.nursery.start_soon(pump.run)
        made.storage.gate.clear()
        pump.put(saying(1))
        pump.put(Step(messages=(Pong(nonce=2),)))  # without records, and still behind those before it
        with trio.move_on_after(0.1):
            await heard(far)
            pytest.fail("a message overtook its record")
        assert (made.events, machine.committed_steps) == ([], [])
        made.storage.gate.set()
        assert [message.nonce for message in await heard(far, 2)] == [1, 2]  # type: ignore[union-attr]
        assert made.events == [TOLD]
        assert len(machine.committed_steps) == 2


@trio_test
async def test_records_reach_the_journal_in_the_order_of_the_steps_whatever_their_peers_do() -> None:
    """A session whose peer does not read had kept its records to itself, and others' that rest on them had broken the journal."""
    async with bench() as made:
        machines = [Scripted(), Scripted()]
        ends = [lockstep_stream_pair() for _ in machines]  # a lockstep pipe moves nothing until the other end reads
        pumps = [made.pump(machine, Stream(near)) for machine, (near, _) in zip(machines, ends, strict=True)]
        for pump in pumps:
            made.nursery.start_soon(pump.run)
        for n in range(1, 9):
            pumps[n % 2].put(saying(n))
            await wait_all_tasks_blocked()
        await made.writer.commit(saying(9).records)
        assert made.prices() == list(range(1, 10))
        await wait_all_tasks_blocked()
        assert sum(len(machine.committed_steps) for machine in machines) == 8, "windows open whether or not a peer reads"


@trio_test
async def test_a_step_made_when_its_session_is_over_reaches_the_journal() -> None:
    """The books have changed with it: an answer from the chain may come a moment after the client has left."""
    async with bench() as made:
        near, far = memory_stream_pair()
        machine = Scripted()
        pump = made.pump(machine, Stream(near))
        await far.send_eof()
        await pump.run()
        pump.put(saying(5))
        await made.writer.commit(saying(6).records)
        assert made.prices() == [5, 6]


@trio_test
async def test_many_records_are_submitted_before_anybody_elses() -> None:
    async with bench() as made:
        each = [saying(n).records[0] for n in range(APPEND_MAX + 10)]
        async with trio.open_nursery() as nursery:
            nursery.start_soon(made.writer.commit_each, each)
            await trio.lowlevel.checkpoint()
            nursery.start_soon(made.writer.commit, saying(9999).records)
        assert made.prices() == [*range(APPEND_MAX + 10), 9999]


@trio_test
async def test_blocks_are_stored_before_the_payment_for_them_is_written() -> None:
    async with bench() as made:
        near, far = memory_stream_pair()
        machine = Scripted()
        stored_when_paid: list[bool] = []
        block = (cid_of(RAW, b"block"), b"block")

        def store(blocks: Iterable[tuple[Cid, bytes]]) -> None:
            stored_when_paid.append(not made.prices())
            made.store.put_many(blocks)

        pump = Pump(machine, Stream(near), made.writer, store=store, clock=trio.current_time, on_event=made.events.append)
        made.nursery.start_soon(pump.run)
        pump.put(Step(blocks=(block,)))
        pump.put(saying(1))
        assert await heard(far) == [Pong(nonce=1)]
        assert stored_when_paid == [True]
        assert made.store.get(block[0]) == block[1]


@trio_test
async def test_verified_blocks_are_told_once_they_are_stored_while_their_payment_waits_for_the_disk() -> None:
    news = BlocksVerified(deal_id=DealId(bytes(16)), n_bytes=5, n_blocks=1)
    block = (cid_of(RAW, b"block"), b"block")
    async with bench() as made:
        near, far = memory_stream_pair()
        told, heard_of = trio.open_memory_channel[tuple[Event, bool]](9)

        def tell(event: Event) -> None:
            told.send_nowait((event, made.store.get(block[0]) is not None))

        pump = Pump(Scripted(), Stream(near), made.writer, store=made.store.put_many, clock=trio.current_time, on_event=tell)
        made.nursery.start_soon(pump.run)
        made.storage.gate.clear()
        pump.put(Step(blocks=(block,), news=(news,)) + saying(1))
        assert await heard_of.receive() == (news, True)
        assert made.prices() == []
        made.storage.gate.set()
        assert await heard(far) == [Pong(nonce=1)]
        assert await heard_of.receive() == (TOLD, True)


@trio_test
async def test_what_is_ready_at_the_same_time_leaves_in_one_write() -> None:
    async with bench() as made:
        near, far = memory_stream_pair()
        pump = made.pump(Scripted(), Stream(near))
        pump.put(Step(messages=(Ping(nonce=1),)))
        pump.put(Step(messages=(Ping(nonce=2),)))
        made.nursery.start_soon(pump.run)
        assert bytes(await far.receive_some(1 << 16)) == encode_frame(Ping(nonce=1)) + encode_frame(Ping(nonce=2))


# failures of ours


@trio_test
async def test_a_store_that_is_full_ends_the_session_and_nothing_behind_it_is_written_or_sent() -> None:
    async with bench() as made:
        near, far = memory_stream_pair()
        stream = Stream(near)

        def store(blocks: Iterable[tuple[Cid, bytes]]) -> None:
            raise LocalProtocolError(ErrorCode.STORE_FULL)

        pump = Pump(Scripted(), stream, made.writer, store=store, clock=trio.current_time, on_event=made.events.append)
        pump.put(Step(blocks=((cid_of(RAW, b"b"), b"b"),)))
        pump.put(saying(1))
        with pytest.raises(ExceptionGroup) as caught:
            await pump.run()
        (error,) = caught.value.exceptions
        assert isinstance(error, LocalProtocolError)
        assert error.code is ErrorCode.STORE_FULL
        pump.put(saying(2))
        await wait_all_tasks_blocked()
        assert (made.prices(), made.events, stream.end) == ([], [], "reset")
        assert await said(far) == b""


@trio_test
async def test_a_journal_that_cannot_be_written_ends_the_process_and_releases_nothing(autojump_clock: MockClock) -> None:
    near, far = memory_stream_pair()
    events: list[Event] = []

    async def process() -> None:
        async with bench() as made:
            made.events, made.storage.fails = events, True
            pump = made.pump(Scripted(), Stream(near))
            made.nursery.start_soon(pump.run)
            pump.put(saying(1))
            await trio.sleep_forever()

    with pytest.raises(ExceptionGroup) as caught:
        await process()
    assert caught.group_contains(LocalProtocolError)
    assert events == []
    assert await said(far) == b""


@trio_test
async def test_a_fault_of_ours_cuts_the_session_and_its_deals_are_written_down() -> None:
    def fault(message: Message) -> Step:
        raise ZeroDivisionError

    async with bench() as made:
        near, far = memory_stream_pair()
        machine = Scripted(fault)
        machine.last_step = saying(7)
        pump = made.pump(machine, Stream(near))
        await far.send_all(encode_frame(Ping(nonce=1)))
        with pytest.raises(ExceptionGroup):
            await pump.run()
        assert machine.ends == [None]
        assert made.prices() == [7]


@trio_test
async def test_a_cancelled_session_writes_what_it_owes_and_says_it() -> None:
    async with bench() as made:
        near, far = memory_stream_pair()
        machine = Scripted()
        machine.last_step = saying(3)
        pump = made.pump(machine, Stream(near))
        with trio.CancelScope() as scope:
            made.nursery.start_soon(_cancel_soon, scope)
            await pump.run()
        assert made.prices() == [3]
        assert await heard(far) == [Pong(nonce=3)]
        assert pump.ended.is_set()


async def _cancel_soon(scope: trio.CancelScope) -> None:
    await wait_all_tasks_blocked()
    scope.cancel()


@trio_test
async def test_a_write_that_was_cancelled_half_way_is_followed_by_nothing() -> None:
    """Half a frame and then another would be read as one: a broken stream is cut."""
    async with bench() as made:
        near, far = lockstep_stream_pair()
        machine, stream = Scripted(), Stream(near)
        machine.last_step = saying(3)
        pump = made.pump(machine, stream, next_blocks=lambda size_max: Plain(bytes(MIB)))
        with trio.CancelScope() as scope:
            made.nursery.start_soon(_cancel_soon, scope)
            await pump.run()
        assert stream.end == "reset"
        assert made.prices() == [3]
        assert not (await said(far)).strip(b"\0"), "no message stands behind the half of a block"


# peers that hold us up


@trio_test
async def test_a_peer_that_asks_and_does_not_read_is_no_longer_read() -> None:
    async with bench() as made:
        near, far = memory_stream_pair()
        silent, _ = lockstep_stream_pair()
        machine = Scripted(lambda message: Step(messages=(Error(code=901, detail="x" * 256),)))
        pump = made.pump(machine, Stream(trio.StapledStream(silent.send_stream, near.receive_stream)))
        made.nursery.start_soon(pump.run)
        n_pings = 4 * OUTBOX_BYTES_MAX // 256
        await far.send_all(encode_frame(Ping(nonce=1)) * n_pings)
        await wait_all_tasks_blocked()
        assert len(machine.received) < n_pings // 2


@trio_test
async def test_of_a_flood_from_a_peer_that_does_not_read_little_is_received_and_less_decoded() -> None:
    async with bench() as made:
        silent, _ = lockstep_stream_pair()
        machine = Scripted(lambda message: Step(messages=(Error(code=901, detail="x" * 256),)))
        pings = encode_frame(Ping(nonce=1)) * (VERIFIED_IN_THREAD_BYTES // 8)
        stream = Brief(silent, [pings] * 20)
        made.nursery.start_soon(made.pump(machine, stream).run)
        await wait_all_tasks_blocked()
        assert len(machine.received) < 2 * OUTBOX_BYTES_MAX // 256
        assert len(stream.pieces) >= 10
        assert sum(isinstance(each, Ping) for each in gc.get_objects()) <= len(machine.received) + ITEMS_AT_ONCE_MAX


@trio_test
async def test_a_peer_that_makes_no_room_is_let_go(autojump_clock: MockClock) -> None:
    async with bench() as made:
        near, _ = lockstep_stream_pair()
        machine, stream, began = Scripted(), Stream(near), trio.current_time()
        pump = made.pump(machine, stream, next_blocks=lambda size_max: Plain(bytes(MIB)))
        await pump.run()
        assert machine.ends == [ErrorCode.TRANSFER_STALLED]
        assert stream.end == "reset"
        assert trio.current_time() - began <= SEND_DUE_S + FAREWELL_S + 1


@trio_test
async def test_a_session_that_is_over_does_not_wait_for_a_peer_that_makes_no_room(autojump_clock: MockClock) -> None:
    async with bench() as made:
        near, _ = lockstep_stream_pair()
        machine, stream, began = Scripted(), Stream(near), trio.current_time()
        pump = made.pump(machine, stream, next_blocks=lambda size_max: Plain(bytes(MIB)))
        made.nursery.start_soon(pump.run)
        await wait_all_tasks_blocked()
        pump.put(machine.fail(LocalProtocolError(ErrorCode.SHUTTING_DOWN), 0))
        await pump.ended.wait()
        assert trio.current_time() - began <= 2 * FAREWELL_S + 1
        assert stream.end == "reset"


@trio_test
async def test_blocks_that_wait_for_the_disk_stop_the_reading() -> None:
    gate, stored = threading.Event(), list[bytes]()
    async with bench() as made:
        near, far = lockstep_stream_pair()
        machine = Scripted()

        def store(blocks: Iterable[tuple[Cid, Buffer]]) -> None:
            assert gate.wait(30)
            stored.extend(bytes(payload) for _, payload in blocks)

        async def send() -> None:
            for n in range(20):
                await far.send_all(block_frame(n))
            await far.send_eof()

        pump = Pump(machine, Stream(near), made.writer, store=store, clock=trio.current_time, on_event=made.events.append)
        made.nursery.start_soon(pump.run)
        made.nursery.start_soon(send)
        await wait_all_tasks_blocked()
        assert machine.n_blocks == BUFFERS_MAX - 1  # one more waits where it was received, for a place to go on in
        gate.set()
        await pump.ended.wait()
        assert machine.n_blocks == 20
        assert stored == [payload_of(n) for n in range(20)]


@trio_test
async def test_a_payload_that_somebody_kept_is_dead_once_it_is_stored() -> None:
    """Its place is received into again; other bytes under the same name would be worse than an error."""
    async with bench() as made:
        near, far = memory_stream_pair()
        machine = Scripted()
        pump = made.pump(machine, Stream(near))
        made.nursery.start_soon(pump.run)
        await far.send_all(block_frame(1))
        await far.send_eof()
        await pump.ended.wait()
        [(cid, payload)] = machine.stored
        assert made.store.get(cid) == payload_of(1)
        with pytest.raises(ValueError, match="released"):
            bytes(payload)


# time and turns


@trio_test
async def test_a_deadline_is_acted_on_even_when_a_later_step_brought_it_forward(autojump_clock: MockClock) -> None:
    async with bench() as made:
        near, far = memory_stream_pair()
        machine = Scripted()
        made.nursery.start_soon(made.pump(machine, Stream(near)).run)
        await wait_all_tasks_blocked()
        machine.deadline = trio.current_time() + 3
        assert await heard(far) == [Ping(nonce=99)]
        assert machine.deadline is None


@trio_test
async def test_blocks_are_asked_for_again_when_a_commit_may_have_opened_a_window() -> None:
    async with bench() as made:
        near, far = memory_stream_pair()
        machine = Scripted()
        block = encode_frame(Cancel(deal_id=bytes(16), code=0))  # any frame will do
        pump = made.pump(machine, Stream(near), next_blocks=lambda size_max: Plain(block * bool(machine.committed_steps and block_once())))
        once = iter([True])

        def block_once() -> bool:
            return next(once, False)

        made.nursery.start_soon(pump.run)
        await wait_all_tasks_blocked()
        pump.put(Step(records=saying(1).records))
        assert await heard(far) == [Cancel(deal_id=bytes(16), code=0)]


@trio_test
async def test_blocks_are_asked_for_again_when_another_session_may_have_made_room(autojump_clock: MockClock) -> None:
    async with bench() as made:
        near, far = memory_stream_pair()
        room = list[bytes]()
        pump = made.pump(Scripted(), Stream(near), next_blocks=lambda size_max: Plain(room.pop()) if room else NOTHING_TO_SEND)
        made.nursery.start_soon(pump.run)
        await wait_all_tasks_blocked()
        room.append(encode_frame(Ping(nonce=4)))
        assert await heard(far) == [Ping(nonce=4)]


# ends


@pytest.mark.parametrize(
    ("bytes_before", "end"),
    [
        (b"", None),
        (encode_frame(Ping(nonce=1))[:2], None),
        (b"\x00", ErrorCode.MALFORMED_FRAME),
    ],
    ids=["between frames", "inside a frame", "garbage"],
)
@trio_test
async def test_a_stream_that_ends_is_told_to_the_machine_once(bytes_before: bytes, end: ErrorCode | None) -> None:
    async with bench() as made:
        near, far = memory_stream_pair()
        machine, stream = Scripted(), Stream(near)
        if bytes_before:
            await far.send_all(bytes_before)
        await far.send_eof()
        pump = made.pump(machine, stream)
        await pump.run()
        assert machine.ends == [end]
        assert stream.end == "closed"
        if end is not None:
            assert await heard(far) == [Error(code=end, detail="")]


@pytest.mark.parametrize("is_cut", [False, True], ids=["ended", "broken"])
@trio_test
async def test_what_came_whole_before_the_stream_ended_is_taken_though_the_batch_before_it_is_still_verified(is_cut: bool) -> None:
    async with bench() as made:
        near, _ = memory_stream_pair()
        machine, stream = Scripted(), Brief(near, [b"".join(map(block_frame, range(200))), encode_frame(Ping(nonce=1))], is_cut=is_cut)
        await made.pump(machine, stream).run()
        assert machine.n_blocks == 200
        assert machine.received == [Ping(nonce=1)]
        assert machine.ends == [None]


@trio_test
async def test_garbage_behind_a_batch_that_is_still_verified_is_told_to_the_machine() -> None:
    async with bench() as made:
        near, _ = memory_stream_pair()
        machine, stream = Scripted(), Brief(near, [b"".join(map(block_frame, range(200))), encode_frame(Ping(nonce=1)) + b"\x00"])
        await made.pump(machine, stream).run()
        assert machine.received == [Ping(nonce=1)]
        assert machine.ends == [ErrorCode.MALFORMED_FRAME]


@trio_test
async def test_what_follows_the_end_of_a_session_is_not_read() -> None:
    async with bench() as made:
        near, far = memory_stream_pair()

        def end(message: Message) -> Step:
            return machine.fail(RemoteProtocolError(ErrorCode.UNEXPECTED_MESSAGE), 0)

        machine = Scripted(end)
        await far.send_all(encode_frame(Ping(nonce=1)) * 5)
        await made.pump(machine, Stream(near)).run()
        assert len(machine.received) == 1
