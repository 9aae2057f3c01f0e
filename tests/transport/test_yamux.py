"""Yamux: flow control, ends and hostile frames, over a pipe in memory."""

from __future__ import annotations

import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
import trio
from trio.testing import MockClock, trio_test, wait_all_tasks_blocked

from retrieval.errors import ErrorCode, RemoteProtocolError
from retrieval.identity import PeerKey
from retrieval.transport.libp2p.channel import Sealed
from retrieval.transport.libp2p.yamux import (
    FRAME_PAYLOAD_MAX,
    FRAMES_PER_TURN,
    FRUITLESS_S,
    FRUITLESS_STREAMS_MAX,
    STREAMS_MAX,
    WINDOW_INITIAL,
    Muxer,
    Remote,
    Stream,
)
from retrieval.transport.source import Buffer, Range

REMOTE = Remote(peer_id=PeerKey.from_seed(bytes(32)).peer_id, address="192.0.2.7")
DATA, WINDOW_UPDATE, PING, GO_AWAY = range(4)
SYN, ACK, FIN, RST = 1, 2, 4, 8

INTERESTING_SIZES = {
    1: "the shortest",
    WINDOW_INITIAL: "exactly the first window",
    WINDOW_INITIAL + 1: "one byte beyond it",
    FRAME_PAYLOAD_MAX * 4 + 7: "several frames and a rest",
    5 * 1024 * 1024: "many windows",
}


class Pipe:
    """A channel over one end of a pair of in-memory streams; it moves at most ``n_at_once`` bytes in one read."""

    def __init__(self, stream: trio.StapledStream[trio.abc.SendStream, trio.abc.ReceiveStream], n_at_once: int = 100_000) -> None:
        self._stream = stream
        self._n_at_once = n_at_once
        self._here = b""

    async def seal(self, *parts: Buffer | Range) -> Sealed:
        sealed = b"".join(part.use(b"".join) if isinstance(part, Range) else part for part in parts)
        return memoryview(sealed), len(sealed)

    async def send(self, sealed: Sealed) -> None:
        try:
            await self._stream.send_all(bytes(sealed[0]))
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise RemoteProtocolError(ErrorCode.TRANSFER_TRUNCATED, "broken pipe") from error

    async def send_eof(self) -> None:
        await self._stream.send_eof()

    async def ready(self) -> None: ...

    def take_into(self, out: memoryview) -> int:
        size = min(len(out), len(self._here))
        out[:size] = self._here[:size]
        self._here = self._here[size:]
        return size

    async def fill(self) -> None:
        self._here = bytes(await self._stream.receive_some(self._n_at_once))
        if not self._here:
            raise RemoteProtocolError(ErrorCode.TRANSFER_TRUNCATED, "the peer closed the connection")


@dataclass
class Two:
    """Two muxers over one pipe. ``accepted`` gives the streams that the listener was opened."""

    dialer: Muxer
    listener: Muxer
    accepted: trio.MemoryReceiveChannel[Stream] = field(repr=False)

    async def open(self) -> tuple[Stream, Stream]:
        ours = self.dialer.open_stream()
        return ours, await self.accepted.receive()


@asynccontextmanager
async def two(*, window: int = WINDOW_INITIAL, n_at_once: int = 100_000) -> AsyncIterator[Two]:
    near, far = trio.testing.memory_stream_pair()
    accepting, accepted = trio.open_memory_channel[Stream](STREAMS_MAX)
    dialer = Muxer(Pipe(near, n_at_once), remote=REMOTE, is_dialer=True, receive_window=window)
    listener = Muxer(Pipe(far, n_at_once), remote=REMOTE, is_dialer=False, receive_window=window, accept=accepting.send_nowait)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(dialer.run)
        nursery.start_soon(listener.run)
        yield Two(dialer, listener, accepted)
        nursery.cancel_scope.cancel()


class Wire:
    """The peer of one muxer, written by hand."""

    def __init__(self, stream: trio.StapledStream[trio.abc.SendStream, trio.abc.ReceiveStream], muxer: Muxer) -> None:
        self._stream = stream
        self.muxer = muxer
        self.accepted: list[Stream] = []

    async def send(self, kind: int, flags: int, stream_id: int, length: int, payload: bytes = b"", version: int = 0) -> None:
        await self._stream.send_all(struct.pack("!BBHII", version, kind, flags, stream_id, length) + payload)

    async def receive(self) -> tuple[int, int, int, int, bytes]:
        kind, flags, stream_id, length = struct.unpack("!xBHII", await self._exactly(12))
        return kind, flags, stream_id, length, await self._exactly(length) if kind == DATA else b""

    async def aclose(self) -> None:
        await self._stream.aclose()

    async def _exactly(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            part = await self._stream.receive_some(size - len(data))
            assert part, "the muxer ended the connection"
            data += part
        return data


@asynccontextmanager
async def wire() -> AsyncIterator[Wire]:
    near, far = trio.testing.memory_stream_pair()
    accepted: list[Stream] = []
    muxer = Muxer(Pipe(far), remote=REMOTE, is_dialer=False, accept=accepted.append)
    by_hand = Wire(near, muxer)
    by_hand.accepted = accepted
    async with trio.open_nursery() as nursery:
        nursery.start_soon(muxer.run)
        yield by_hand
        nursery.cancel_scope.cancel()


async def receive_all(stream: Stream, max_bytes: int = 70_000) -> bytes:
    received = bytearray()
    while part := await stream.receive_some(max_bytes):
        received += part
    return bytes(received)


async def truncated(verb: Callable[[], object]) -> str:
    """Assert that it fails as a truncated transfer, and return why."""
    with pytest.raises(RemoteProtocolError) as caught:
        await verb()  # type: ignore[misc]
    assert caught.value.code is ErrorCode.TRANSFER_TRUNCATED
    return caught.value.detail


@pytest.mark.parametrize("size", INTERESTING_SIZES)
@pytest.mark.parametrize("n_at_once", [1000, 100_000])
@trio_test
async def test_bytes_arrive_whole_and_in_order_both_ways(size: int, n_at_once: int) -> None:
    data = bytes(range(251)) * (size // 251 + 1)
    async with two(n_at_once=n_at_once) as pair:
        ours, theirs = await pair.open()
        received: dict[Stream, bytes] = {}

        async def send(stream: Stream) -> None:
            await stream.send_all(data[:size])
            await stream.close()

        async def receive(stream: Stream) -> None:
            received[stream] = await receive_all(stream)

        async with trio.open_nursery() as nursery:
            for stream in (ours, theirs):
                nursery.start_soon(send, stream)
                nursery.start_soon(receive, stream)

        assert received[ours] == received[theirs] == data[:size]
        assert ours.finished.is_set()
        assert not pair.dialer.open_streams


@trio_test
async def test_one_byte_reads_give_the_same_bytes() -> None:
    async with two() as pair:
        ours, theirs = await pair.open()
        await ours.send_all(b"a few bytes")
        await ours.close()

        assert await receive_all(theirs, max_bytes=1) == b"a few bytes"


@pytest.mark.parametrize("window", [WINDOW_INITIAL, 4 * WINDOW_INITIAL])
@trio_test
async def test_a_reader_that_does_not_read_holds_the_sender_at_the_window(window: int) -> None:
    async with two(window=window) as pair:
        ours, theirs = await pair.open()
        n_accepted = 0

        async def send() -> None:
            nonlocal n_accepted
            while True:
                await ours.send_all(bytes(10_000))
                n_accepted += 10_000

        async with trio.open_nursery() as nursery:
            nursery.start_soon(send)
            await wait_all_tasks_blocked()
            held = n_accepted
            await theirs.receive_some(window // 2)
            await wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()

        assert window - 10_000 <= held <= window
        assert held + window // 2 - 10_000 <= n_accepted <= window + window // 2


@trio_test
async def test_a_closed_window_is_waited_out_however_long(autojump_clock: trio.testing.MockClock) -> None:
    async with two() as pair:
        ours, theirs = await pair.open()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ours.send_all, bytes(WINDOW_INITIAL + 1))
            await trio.sleep(3600)
            n_received = 0
            while n_received <= WINDOW_INITIAL:
                n_received += len(await theirs.receive_some(WINDOW_INITIAL))


@trio_test
async def test_a_cancelled_send_costs_its_stream_and_no_other() -> None:
    async with two() as pair:
        ours, theirs = await pair.open()
        other_ours, other_theirs = await pair.open()
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(ours.send_all, bytes(4 * WINDOW_INITIAL))
                await wait_all_tasks_blocked()
                scope.cancel()
        await ours.reset()
        await other_ours.send_all(b"still here")

        assert await other_theirs.receive_some(100) == b"still here"
        assert "gave the stream up" in await truncated(lambda: receive_all(theirs))


@trio_test
async def test_a_cancelled_receive_loses_nothing() -> None:
    async with two() as pair:
        ours, theirs = await pair.open()
        with trio.move_on_after(0):
            await theirs.receive_some(10)
        await ours.send_all(b"later")
        with trio.CancelScope() as scope:
            scope.cancel()
            await theirs.receive_some(10)

        assert await theirs.receive_some(10) == b"later"


@trio_test
async def test_a_closed_side_still_receives() -> None:
    async with two() as pair:
        ours, theirs = await pair.open()
        await ours.close()
        assert await theirs.receive_some(1) == b""
        await theirs.send_all(b"answer")
        await theirs.close()

        assert await receive_all(ours) == b"answer"
        await ours.close()  # closing twice says nothing twice


@trio_test
async def test_a_lost_connection_is_never_a_clean_end_but_what_arrived_is_delivered() -> None:
    async with wire() as peer:
        await peer.send(WINDOW_UPDATE, SYN, 1, 0)
        await peer.send(DATA, 0, 1, 10, b"half")
        await peer.aclose()
        await peer.muxer.ended.wait()
        (stream,) = peer.accepted

        assert await stream.receive_some(100) == b"half"
        assert "closed the connection" in await truncated(lambda: stream.receive_some(100))
        await truncated(lambda: stream.send_all(b"x"))


@trio_test
async def test_a_clean_end_stays_clean_when_the_connection_ends_after_it() -> None:
    async with wire() as peer:
        await peer.send(DATA, SYN, 1, 3, b"all")
        await peer.send(DATA, FIN, 1, 4, b" ok.")
        await peer.send(GO_AWAY, 0, 0, 0)
        await peer.aclose()
        await peer.muxer.ended.wait()

        assert await receive_all(peer.accepted[0]) == b"all ok."


@trio_test
async def test_a_blocked_sender_and_receiver_hear_of_the_end() -> None:
    async with wire() as peer:
        await peer.send(WINDOW_UPDATE, SYN, 1, 0)
        await wait_all_tasks_blocked()
        (stream,) = peer.accepted
        async with trio.open_nursery() as nursery:
            nursery.start_soon(truncated, lambda: stream.send_all(bytes(2 * WINDOW_INITIAL)))
            nursery.start_soon(truncated, lambda: stream.receive_some(1))
            await wait_all_tasks_blocked()
            await peer.aclose()


@trio_test
async def test_our_own_reset_wakes_our_own_receiver() -> None:
    async with two() as pair:
        ours, _theirs = await pair.open()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(truncated, lambda: ours.receive_some(1))
            await wait_all_tasks_blocked()
            await ours.reset()


@trio_test
async def test_our_own_reset_wakes_our_own_sender_even_from_a_connection_that_stands_still() -> None:
    near, _far = trio.testing.lockstep_stream_pair()  # nobody reads the far end
    muxer = Muxer(Pipe(near), remote=REMOTE, is_dialer=True)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(muxer.run)
        stream = muxer.open_stream()
        await wait_all_tasks_blocked()  # the frame that opens it is being sent, for ever
        with trio.fail_after(5):
            async with trio.open_nursery() as sending:
                sending.start_soon(truncated, lambda: stream.send_all(bytes(1000)))
                await wait_all_tasks_blocked()
                await stream.reset()
        nursery.cancel_scope.cancel()


@trio_test
async def test_frames_for_a_stream_we_gave_up_are_dropped() -> None:
    async with wire() as peer:
        await peer.send(WINDOW_UPDATE, SYN, 1, 0)
        await wait_all_tasks_blocked()
        await peer.accepted[0].reset()
        await peer.send(DATA, 0, 1, 5, b"stale")
        await peer.send(DATA, SYN, 3, 5, b"fresh")
        await wait_all_tasks_blocked()

        assert await peer.accepted[1].receive_some(10) == b"fresh"


@trio_test
async def test_pings_are_answered() -> None:
    async with wire() as peer:
        await peer.send(PING, SYN, 0, 0xDEAD)

        assert await peer.receive() == (PING, ACK, 0, 0xDEAD, b"")


@trio_test
async def test_more_streams_than_the_limit_are_reset() -> None:
    async with wire() as peer:
        for n in range(STREAMS_MAX + 1):
            await peer.send(WINDOW_UPDATE, SYN, 2 * n + 1, 0)
        answers = [await peer.receive() for _ in range(STREAMS_MAX + 1)]

        assert [flags for _, flags, *_ in answers] == [ACK] * STREAMS_MAX + [RST]


@trio_test
async def test_a_stream_that_was_reset_keeps_its_place_until_its_handler_is_through() -> None:
    async with wire() as peer:
        for n in range(STREAMS_MAX + 1):
            await peer.send(WINDOW_UPDATE, SYN, 2 * n + 1, 0)
            await peer.send(WINDOW_UPDATE, RST, 2 * n + 1, 0)
        answers = [await peer.receive() for _ in range(STREAMS_MAX + 1)]
        assert [flags for _, flags, *_ in answers] == [ACK] * STREAMS_MAX + [RST]

        peer.accepted[0].let_go()
        await peer.send(WINDOW_UPDATE, SYN, 101, 0)
        await peer.send(WINDOW_UPDATE, SYN, 103, 0)
        answers = [await peer.receive() for _ in range(2)]
        assert [flags for _, flags, *_ in answers] == [ACK, RST]


@trio_test
async def test_a_handler_that_is_through_leaves_a_stream_its_place_until_both_sides_have_ended() -> None:
    async with wire() as peer:
        for n in range(STREAMS_MAX):
            await peer.send(WINDOW_UPDATE, SYN, 2 * n + 1, 0)
            assert (await peer.receive())[1] == ACK
        (first, *_) = peer.accepted
        await first.close()
        first.let_go()
        assert (await peer.receive())[1] == FIN

        await peer.send(WINDOW_UPDATE, SYN, 101, 0)
        assert (await peer.receive())[1] == RST
        await peer.send(WINDOW_UPDATE, FIN, 1, 0)
        await peer.send(WINDOW_UPDATE, SYN, 103, 0)
        assert (await peer.receive())[1] == ACK


async def open_in_vain(peer: Wire, n: int) -> None:
    """Have the peer open stream ``n``, and reset it or, every other time, have it reset by us."""
    await peer.send(WINDOW_UPDATE, SYN, 2 * n + 1, 0)
    assert (await peer.receive())[1] == ACK
    if n % 2:
        await peer.send(WINDOW_UPDATE, RST, 2 * n + 1, 0)
        await wait_all_tasks_blocked()
    else:
        await peer.accepted[n].reset()
        assert (await peer.receive())[1] == RST
    peer.accepted[n].let_go()


@trio_test
async def test_a_peer_whose_streams_all_come_to_nothing_is_let_go(autojump_clock: MockClock) -> None:
    async with wire() as peer:
        for n in range(FRUITLESS_STREAMS_MAX):
            await open_in_vain(peer, n)
        await peer.send(WINDOW_UPDATE, SYN, 2 * FRUITLESS_STREAMS_MAX + 1, 0)
        await peer.muxer.ended.wait()

        assert len(peer.accepted) == FRUITLESS_STREAMS_MAX


@trio_test
async def test_a_peer_may_ask_now_and_then_what_is_not_answered(autojump_clock: MockClock) -> None:
    async with wire() as peer:
        for n in range(2 * FRUITLESS_STREAMS_MAX):
            await open_in_vain(peer, n)
            await trio.sleep(FRUITLESS_S / FRUITLESS_STREAMS_MAX)

        assert not peer.muxer.ended.is_set()


@trio_test
async def test_streams_that_end_well_are_not_counted(autojump_clock: MockClock) -> None:
    async with wire() as peer:
        for n in range(2 * FRUITLESS_STREAMS_MAX):
            await peer.send(WINDOW_UPDATE, SYN | FIN, 2 * n + 1, 0)
            assert (await peer.receive())[1] == ACK
            await peer.accepted[n].close()
            assert (await peer.receive())[1] == FIN
            peer.accepted[n].let_go()

        assert not peer.muxer.ended.is_set()


@trio_test
async def test_a_dialer_accepts_no_streams() -> None:
    near, far = trio.testing.memory_stream_pair()
    dialer = Muxer(Pipe(near), remote=REMOTE, is_dialer=True)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(dialer.run)
        peer = Wire(far, dialer)
        await peer.send(WINDOW_UPDATE, SYN, 2, 0)

        assert await peer.receive() == (WINDOW_UPDATE, RST, 2, 0, b"")
        nursery.cancel_scope.cancel()


HOSTILE_FRAMES = {
    "beyond its window": [(DATA, SYN, 1, WINDOW_INITIAL + 1, b"", 0)],
    "four gigabytes announced": [(DATA, SYN, 1, 0xFFFFFFFF, b"", 0)],
    "beyond its window in two frames": [(DATA, SYN, 1, WINDOW_INITIAL, bytes(WINDOW_INITIAL), 0), (DATA, 0, 1, 1, b"x", 0)],
    "data after the end": [(DATA, SYN | FIN, 1, 1, b"x", 0), (DATA, 0, 1, 1, b"x", 0)],
    "stream zero": [(WINDOW_UPDATE, SYN, 0, 0, b"", 0)],
    "our parity": [(WINDOW_UPDATE, SYN, 2, 0, b"", 0)],
    "a stream twice": [(WINDOW_UPDATE, SYN, 1, 0, b"", 0), (WINDOW_UPDATE, SYN, 1, 0, b"", 0)],
    "another version": [(WINDOW_UPDATE, SYN, 1, 0, b"", 1)],
    "an unknown type": [(4, 0, 0, 0, b"", 0)],
}


@pytest.mark.parametrize("frames", HOSTILE_FRAMES.values(), ids=HOSTILE_FRAMES)
@trio_test
async def test_a_broken_rule_ends_the_connection(frames: list[tuple[int, int, int, int, bytes, int]]) -> None:
    async with wire() as peer:
        await peer.send(WINDOW_UPDATE, SYN, 101, 0)
        for kind, flags, stream_id, length, payload, version in frames:
            await peer.send(kind, flags, stream_id, length, payload, version)
        with trio.fail_after(5):
            await peer.muxer.ended.wait()

        assert "broke the multiplexing protocol" in await truncated(lambda: peer.accepted[0].receive_some(1))


@trio_test
async def test_a_peer_that_asks_and_does_not_listen_is_cut_off() -> None:
    near, far = trio.testing.lockstep_stream_pair()  # no buffer: our answers wait until they are read
    muxer = Muxer(Pipe(far), remote=REMOTE, is_dialer=False)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(muxer.run)
        ping = struct.pack("!BBHII", 0, PING, SYN, 0, 1)

        async def ask() -> None:
            while True:
                await near.send_all(ping)

        nursery.start_soon(ask)
        with trio.fail_after(5):
            await muxer.ended.wait()
        nursery.cancel_scope.cancel()


@trio_test
async def test_parting_says_what_is_queued_and_then_nothing() -> None:
    async with wire() as peer:
        await peer.send(PING, SYN, 0, 7)
        await wait_all_tasks_blocked()
        await peer.muxer.part()
        await peer.send(PING, SYN, 0, 8)

        assert await peer.receive() == (PING, ACK, 0, 7, b"")
        assert await peer.receive() == (GO_AWAY, 0, 0, 0, b"")
        with pytest.raises(AssertionError, match="ended the connection"):
            await peer.receive()


@trio_test
async def test_a_hundred_thousand_frames_in_one_read_leave_turns_to_others() -> None:
    near, far = trio.testing.memory_stream_pair()
    muxer = Muxer(Pipe(far, 10_000_000), remote=REMOTE, is_dialer=False)
    n_turns = 0

    async def count_turns() -> None:
        nonlocal n_turns
        while not muxer.ended.is_set():
            n_turns += 1
            await trio.lowlevel.checkpoint()

    await near.send_all(struct.pack("!BBHII", 0, WINDOW_UPDATE, 0, 1, 0) * 100_000)
    await near.aclose()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(count_turns)
        await muxer.run()
    assert n_turns >= 100_000 // FRAMES_PER_TURN
