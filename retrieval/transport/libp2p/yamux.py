"""Trio: Yamux, many streams with flow control over one authenticated connection (hashicorp/yamux ``spec.md``, ``/yamux/1.0.0``).

Its rule: what a peer may make us hold is what its windows allow, and only a FIN ends a stream cleanly. py-libp2p 0.8.1 has a Yamux of
its own, which this one replaces because it keeps neither: it buffers beyond the window it granted, gives a send up after 5 s without a
window update, and on a lost connection drops what has arrived and then reports a clean end.

One task writes to the connection and one reads from it, so a cancelled ``send_all`` or ``receive_some`` never leaves half a frame behind.
"""

from __future__ import annotations

import logging
import struct
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from enum import IntEnum, IntFlag
from typing import Final, NoReturn

import trio

from retrieval.errors import ErrorCode, LocalProtocolError, RemoteProtocolError
from retrieval.identity import PeerId
from retrieval.transport.source import Buffer, Plain, Range, Source

from .backlog import Backlog
from .channel import Channel, Sealed
from .pace import Pace

WINDOW_INITIAL: Final = 256 * 1024  # bytes either side may send before the first update; fixed by the specification
FRAME_PAYLOAD_MAX: Final = 1 << 20  # bytes we put in one frame: rust-yamux takes no more (its ``DEFAULT_MAX_FRAME_BODY_LEN``)
STREAMS_MAX: Final = 4  # open or served at once on a connection: a session, and the two or three things that stock libp2p peers ask
FRUITLESS_STREAMS_MAX: Final = 60
"""Streams that a peer may open within ``FRUITLESS_S`` and that come to nothing: one costs it 12 bytes, and us 0.3 ms of a processor."""
FRUITLESS_S: Final = 60.0  # an honest peer has few: js-libp2p asks every 10 s whether we live, by a protocol that we do not speak
FRAMES_PER_TURN: Final = 256  # frames that are taken before others have their turn
IGNORED_AT_ONCE: Final = 64 * 1024  # bytes for a stream that has finished here
CONTROL_QUEUED_MAX: Final = 64 * 1024  # bytes of answers (pongs, acknowledgements, resets) waiting for a peer that does not read

_HEADER: Final = struct.Struct("!BBHII")  # version, type, flags, stream, length
_VERSION: Final = 0
_CLOSE_NORMAL: Final = 0

_log: Final = logging.getLogger(__name__)


class _Type(IntEnum):
    DATA = 0
    WINDOW_UPDATE = 1
    PING = 2
    GO_AWAY = 3


class _Flag(IntFlag):
    NONE = 0
    SYN = 1
    ACK = 2
    FIN = 4
    RST = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Remote:
    """Who is at the other end: the authenticated peer, and the address prefix that limits count it under (None when unknown)."""

    peer_id: PeerId
    address: str | None


@dataclass(slots=True, eq=False, kw_only=True)
class _Piece:
    """Bytes of one stream on their way out."""

    stream: Stream
    stream_id: int
    payload: Range
    taken: trio.Event = field(default_factory=trio.Event)
    """Set when it is being sent: all before it has been."""


_Batch = tuple[Sealed, int]
"""What was sealed, and how many bytes of streams are in it."""


class Stream:
    """An ordered pair of byte streams with one peer. One task may send while another receives; both may be cancelled.

    After a cancelled ``send_all`` nobody knows how much has left, so only ``reset`` and ``receive_some`` still make sense.
    """

    def __init__(self, muxer: Muxer, stream_id: int, *, send_window: int) -> None:
        self.finished: Final = trio.Event()
        """Set when nothing more will be sent or received: both sides closed, one side reset, or the connection ended."""
        self.sending_ended: Final = trio.Event()
        self.received_bytes = 0
        """How much was taken by whoever receives: what only arrived does not count."""
        self._muxer: Final = muxer
        self._id: Final = stream_id
        self._backlog: Final = Backlog(muxer.receive_window)
        self._target: memoryview | None = None
        """Where the receiver wants what comes next, while it waits."""
        self._n_filled = 0
        self._before_receiving: Callable[[], Awaitable[None]] | None = None
        self._receiving_ended = False
        self._unacknowledged_bytes = 0
        self._receive_window = muxer.receive_window
        self._send_window = send_window
        self._failure: RemoteProtocolError | None = None
        self._receiver_wakes = trio.Event()
        self._sender_wakes = trio.Event()

    @property
    def peer_id(self) -> PeerId:
        return self._muxer.remote.peer_id

    @property
    def address(self) -> str | None:
        return self._muxer.remote.address

    @property
    def send_bytes(self) -> int:
        """How much is worth sending at once: as much as the peer takes without keeping it waiting in memory."""
        return self._muxer.write_max

    async def send_all(self, data: Buffer) -> None:
        """Return when all of ``data`` is being sent, and all before it has been; waits as long as the peer's window is closed.

        Raises ``RemoteProtocolError(transfer_truncated)`` when the stream or its connection has ended, on whichever side.
        """
        await self.send_source(Plain(data))

    async def send_source(self, source: Source) -> None:
        """As ``send_all``, for bytes that are read when there is room for them. What cannot be read ends the connection."""
        assert not self.sending_ended.is_set() or self._failure is not None, "nothing is sent after close()"
        await trio.lowlevel.checkpoint()
        at = 0
        while at < len(source):
            while self._failure is None and self._send_window == 0:
                self._sender_wakes = trio.Event()
                await self._sender_wakes.wait()
            self._raise_failure()
            end = min(len(source), at + min(self._send_window, self._muxer.write_max))
            self._send_window -= end - at
            await self._muxer.write_data(self, self._id, Range(source, at, end))
            at = end
        self._raise_failure()

    def before_receiving(self, wait: Callable[[], Awaitable[None]]) -> None:
        """Have ``wait`` receive what the peer still owes before anything else is received: an answer that is not waited for."""
        self._before_receiving = wait

    async def receive_some(self, max_bytes: int) -> bytes:
        """Between 1 and ``max_bytes`` bytes, or ``b""`` once the peer has ended its side cleanly.

        Whatever arrived before a failure is delivered first. Raises ``RemoteProtocolError(transfer_truncated)`` for every other end.
        """
        assert max_bytes > 0
        await self._receive_owed()
        while not self._backlog:
            if self._has_ended():
                return b""
            await self._wait_received()
        data = bytes(self._backlog.peek(max_bytes))
        self._backlog.drop(len(data))
        self._acknowledge(len(data))
        return data

    async def receive_into(self, target: memoryview) -> int:
        """As ``receive_some``, into ``target``; returns how many bytes there are now. What comes while it waits is not kept elsewhere."""
        assert target
        await self._receive_owed()
        if self._backlog:
            view = self._backlog.peek(len(target))
            size = len(view)
            target[:size] = view
            self._backlog.drop(size)
        else:
            size = await self._receive_awaited(target)
        self._acknowledge(size)
        return size

    async def _receive_awaited(self, target: memoryview) -> int:
        self._target, self._n_filled = target, 0
        try:
            while not self._n_filled and not self._has_ended():
                await self._wait_received()
        except BaseException:
            self._backlog.put_back(target[: self._n_filled])  # cancelled: who receives next has it
            raise
        finally:
            self._target = None
        return self._n_filled

    async def _receive_owed(self) -> None:
        await trio.lowlevel.checkpoint()
        wait, self._before_receiving = self._before_receiving, None
        if wait is not None:
            try:
                await wait()
            except trio.Cancelled:
                self._before_receiving = wait
                raise

    def _has_ended(self) -> bool:
        """Whether the peer ended its side cleanly; raises for every other end."""
        if not self._receiving_ended:
            self._raise_failure()
        return self._receiving_ended

    async def _wait_received(self) -> None:
        self._receiver_wakes = trio.Event()
        await self._receiver_wakes.wait()

    async def close(self) -> None:
        """End our side cleanly: returns when the end was handed to the operating system. The peer's side stays open.

        What the peer still owes is received first (see ``before_receiving``): before that it may not have begun to listen.
        """
        await self._receive_owed()
        if not self.sending_ended.is_set():
            self.sending_ended.set()
            self._muxer.control(_Type.WINDOW_UPDATE, _Flag.FIN, self._id, 0)
            self._finish_if_both_ended()
        await self._muxer.flush()

    async def reset(self) -> None:
        """Give the stream up in both directions, at once. The peer sees a truncated transfer."""
        if not self.finished.is_set():
            self._muxer.control(_Type.WINDOW_UPDATE, _Flag.RST, self._id, 0)
            self.fail(RemoteProtocolError(ErrorCode.TRANSFER_TRUNCATED, "the stream was given up on this side"))
        await trio.lowlevel.checkpoint()

    def let_go(self) -> None:
        """For whoever was given the stream by ``accept``: through with it. Only then may the peer open another in its place."""
        self._muxer.free_place(self)

    # Below: for the muxer.

    def may_receive(self, size: int) -> bool:
        """Take ``size`` announced bytes off the window that the peer was granted."""
        if size > self._receive_window or self._receiving_ended:
            return False
        self._receive_window -= size
        return True

    def room(self, size_max: int) -> memoryview:
        """Where the next bytes go: to who waits for them, or to the others that nobody has taken. Valid until the next await."""
        if self._target is not None and self._n_filled < len(self._target) and not self._backlog:
            return self._target[self._n_filled : self._n_filled + size_max]
        return self._backlog.room(size_max)

    def filled(self, size: int) -> None:
        """Count bytes that were put to the front of ``room``."""
        if self._target is not None and self._n_filled < len(self._target) and not self._backlog:
            self._n_filled += size
        else:
            self._backlog.grow(size)
        self._receiver_wakes.set()

    def grant(self, size: int) -> None:
        self._send_window += size
        self._sender_wakes.set()

    def end_receiving(self) -> None:
        self._receiving_ended = True
        self._receiver_wakes.set()
        self._finish_if_both_ended()

    def fail(self, failure: RemoteProtocolError) -> None:
        """End the stream in both directions, unless it has ended already."""
        if self.finished.is_set():
            return
        self._failure = failure
        self._finish()

    def _finish_if_both_ended(self) -> None:
        if self.sending_ended.is_set() and self._receiving_ended and not self.finished.is_set():
            self._finish()

    def _finish(self) -> None:
        self.sending_ended.set()
        self.finished.set()
        self._receiver_wakes.set()
        self._sender_wakes.set()
        self._muxer.forget(self, self._id, fruitless=self._failure is not None)

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise RemoteProtocolError(self._failure.code, self._failure.detail) from self._failure

    def _acknowledge(self, size: int) -> None:
        """Let the peer send on, in steps of half a window: fewer frames, and never an idle sender."""
        self.received_bytes += size
        self._unacknowledged_bytes += size
        if self._unacknowledged_bytes * 2 >= self._muxer.receive_window and not self._receiving_ended and not self.finished.is_set():
            self._receive_window += self._unacknowledged_bytes
            self._muxer.control(_Type.WINDOW_UPDATE, _Flag.NONE, self._id, self._unacknowledged_bytes)
            self._unacknowledged_bytes = 0


class Muxer:
    """The streams of one connection. ``run`` must be running for any of them to move.

    ``accept`` is given every stream that the peer opens, until ``let_go``; None refuses them all. ``receive_window`` is the number of
    bytes each stream may hold for a reader that does not read.
    """

    def __init__(
        self,
        channel: Channel,
        *,
        remote: Remote,
        is_dialer: bool,
        receive_window: int = WINDOW_INITIAL,
        accept: Callable[[Stream], None] | None = None,
    ) -> None:
        assert receive_window >= WINDOW_INITIAL
        self.remote: Final = remote
        self.receive_window: Final = receive_window
        self.ended: Final = trio.Event()
        self._pace: Final = Pace()
        self._channel: Final = channel
        self._accept: Final = accept
        self._failure: RemoteProtocolError = RemoteProtocolError(ErrorCode.TRANSFER_TRUNCATED, "the connection was closed on this side")
        self._streams: Final[dict[int, Stream]] = {}
        self._streams_changed = trio.Event()
        self._served: Final[set[Stream]] = set()
        """Those given away by ``accept``: a reset ends a stream at once, and whoever serves it only after a while."""
        self._fruitless_at: Final = deque[float](maxlen=FRUITLESS_STREAMS_MAX)
        """When the last streams ended that the peer had opened and that came to nothing."""
        self._next_id = 1 if is_dialer else 2  # the dialer's streams are odd
        self._peer_parity: Final = 0 if is_dialer else 1
        self._control = bytearray()
        self._pieces: list[_Piece] = []  # waiting; a stream has one at most
        self._writing: list[_Piece] = []
        self._is_parting = False
        self._n_batches_begun = 0
        self._n_batches_written = 0
        self._queued = trio.Event()
        self._written = trio.Event()
        self._reading: Final = trio.CancelScope()
        self._ignored: Final = bytearray(IGNORED_AT_ONCE)
        """Where bytes go that come for a stream which has finished here."""

    async def run(self) -> None:
        """Move bytes until the connection ends, from either side. All streams still open then have failed."""
        try:
            async with trio.open_nursery() as nursery:
                to_send, sealed = trio.open_memory_channel[_Batch](0)
                nursery.start_soon(self._seal_until_broken, to_send)
                nursery.start_soon(self._send_until_broken, sealed)
                await self._read_until_ended()
                nursery.cancel_scope.cancel()
        finally:
            self.ended.set()
            self._written.set()
            self._streams_changed.set()
            for stream in self.open_streams:
                stream.fail(self._failure)
            self._pace.end()  # last: a stream that fails gives back what it still wanted to send

    @property
    def write_max(self) -> int:
        """How many bytes of a stream are read and sealed at once."""
        return self._pace.write_max(len(self._streams))

    @property
    def open_streams(self) -> tuple[Stream, ...]:
        return tuple(self._streams.values())

    def open_stream(self, first_words: bytes = b"") -> Stream:
        """A new stream to the peer, which may be written to at once. Raises ``RemoteProtocolError(transfer_truncated)``.

        ``first_words`` leave with the frame that opens it.
        """
        assert len(first_words) <= WINDOW_INITIAL
        if self.ended.is_set():
            raise RemoteProtocolError(ErrorCode.TRANSFER_TRUNCATED, "the connection has ended")
        stream_id = self._next_id
        self._next_id += 2
        self.control(_Type.WINDOW_UPDATE, _Flag.SYN, stream_id, self.receive_window - WINDOW_INITIAL)
        if first_words:
            self._control += _HEADER.pack(_VERSION, _Type.DATA, _Flag.NONE, stream_id, len(first_words)) + first_words
        return self._add(stream_id, send_window=WINDOW_INITIAL - len(first_words))

    async def wait_streams(self, *, any_open: bool) -> None:
        """Wait until some stream is open, or until none is; or until the connection has ended."""
        while bool(self._streams) is not any_open and not self.ended.is_set():
            self._streams_changed = trio.Event()
            await self._streams_changed.wait()

    async def part(self) -> None:
        """Send what is queued, a last GO_AWAY, and nothing after; returns when that was handed to the operating system."""
        self.control(_Type.GO_AWAY, _Flag.NONE, 0, _CLOSE_NORMAL)
        self._is_parting = True
        await self.flush()

    async def flush(self) -> None:
        """Wait until every frame queued so far was handed to the operating system, or the connection has ended."""
        await trio.lowlevel.checkpoint()
        last = self._n_batches_begun + self._queued.is_set()
        while self._n_batches_written < last and not self.ended.is_set():
            await self._written.wait()

    # Below: for the streams.

    def control(self, kind: _Type, flags: _Flag, stream_id: int, length: int) -> None:
        """Queue a frame without payload. Such frames overtake data that waits for its turn."""
        self._control += _HEADER.pack(_VERSION, kind, flags, stream_id, length)
        self._queued.set()

    async def write_data(self, stream: Stream, stream_id: int, payload: Range) -> None:
        """Write data frames. The writer finishes them even when the caller is cancelled; a connection that has ended drops them."""
        piece = _Piece(stream=stream, stream_id=stream_id, payload=payload)
        self._pieces.append(piece)
        self._pace.take(len(payload))
        self._queued.set()
        await piece.taken.wait()

    def forget(self, stream: Stream, stream_id: int, *, fruitless: bool) -> None:
        """Drop a finished stream with what it still wanted to send, and wake its sender."""
        self._streams.pop(stream_id, None)
        if fruitless and stream_id % 2 == self._peer_parity:
            self._fruitless_at.append(trio.current_time())
        self._streams_changed.set()
        for piece in (*self._pieces, *self._writing):
            if piece.stream is stream:
                piece.taken.set()
        for piece in [piece for piece in self._pieces if piece.stream is stream]:
            self._pieces.remove(piece)
            self._pace.give_back(len(piece.payload))

    def free_place(self, stream: Stream) -> None:
        self._served.discard(stream)

    # Below: the three tasks.

    async def _seal_until_broken(self, to_send: trio.MemorySendChannel[_Batch]) -> None:
        try:
            await self._seal(to_send)
        except LocalProtocolError as failure:  # bytes that were to be sent cannot be had, and a frame of them has been announced
            _log.error("a connection is given up: %s", failure)
            self._reading.cancel()

    async def _send_until_broken(self, sealed: trio.MemoryReceiveChannel[_Batch]) -> None:
        with suppress(RemoteProtocolError):  # the reader meets it too, and before that what has arrived already
            await self._send(sealed)

    async def _read_until_ended(self) -> None:
        try:
            with self._reading:
                await self._read()
        except RemoteProtocolError as failure:
            self._failure = failure

    async def _seal(self, to_send: trio.MemorySendChannel[_Batch]) -> None:
        """Everything that waits goes out in one write: the fewer Noise messages and system calls, the faster.

        One batch is sealed while the one before it is being sent, and waits for it.
        """
        while True:
            await self._queued.wait()
            is_last = self._is_parting
            self._queued = trio.Event()
            self._n_batches_begun += 1
            control, self._control = self._control, bytearray()
            self._writing, self._pieces = self._pieces, []
            batch: list[bytearray | Range] = []
            head = control  # the frames without payload, then the header of the first with one
            for piece in self._writing:
                for payload in piece.payload.split(FRAME_PAYLOAD_MAX):
                    head += _HEADER.pack(_VERSION, _Type.DATA, _Flag.NONE, piece.stream_id, len(payload))
                    batch += (head, payload)
                    head = bytearray()
            n_taken = sum(len(piece.payload) for piece in self._writing)
            await to_send.send((await self._channel.seal(*batch, head), n_taken))
            for piece in self._writing:
                piece.taken.set()
            if is_last:
                await to_send.aclose()
                return

    async def _send(self, batches: trio.MemoryReceiveChannel[_Batch]) -> None:
        async for sealed, n_taken in batches:
            began = trio.current_time()
            await self._channel.send(sealed)
            self._pace.sent(n_taken, trio.current_time() - began)
            self._n_batches_written += 1
            self._written.set()
            self._written = trio.Event()
        await self._channel.send_eof()

    async def _read(self) -> NoReturn:
        """Feed frames to their streams as they come, whole or in parts, so that a frame's announced length costs nothing."""
        await self._channel.ready()
        header = bytearray(_HEADER.size)
        n_frames = 0
        while True:
            n_frames = (n_frames + 1) % FRAMES_PER_TURN
            if n_frames == 0:
                await trio.lowlevel.checkpoint()  # what was read at once can be a hundred thousand frames
            await self._take_all(header)
            version, kind, flags, stream_id, length = _HEADER.unpack(header)
            if version != _VERSION:
                raise _broken(f"it speaks version {version} of Yamux")
            stream = self._begin_frame(kind, flags, stream_id, length)
            n_missing = length if kind == _Type.DATA else 0
            while n_missing:
                # No await between asking for the place and filling it: who waits may be cancelled, and want it back.
                room = memoryview(self._ignored)[:n_missing] if stream is None else stream.room(n_missing)
                if n_taken := self._channel.take_into(room):
                    n_missing -= n_taken
                    if stream is not None:
                        stream.filled(n_taken)
                else:
                    await self._channel.fill()
            if stream is not None and flags & _Flag.RST:
                stream.fail(RemoteProtocolError(ErrorCode.TRANSFER_TRUNCATED, "the peer gave the stream up"))
            elif stream is not None and flags & _Flag.FIN:
                stream.end_receiving()

    async def _take_all(self, out: bytearray) -> None:
        at = 0
        with memoryview(out) as view:
            while at < len(out):
                if n_taken := self._channel.take_into(view[at:]):
                    at += n_taken
                else:
                    await self._channel.fill()

    def _begin_frame(self, kind: int, flags: int, stream_id: int, length: int) -> Stream | None:
        """Act on a header. Returns the stream it speaks of, or None: not ours to know, or finished on this side already."""
        match kind:
            case _Type.PING:
                if flags & _Flag.SYN:
                    self._answer(_Type.PING, _Flag.ACK, 0, length)
                return None
            case _Type.GO_AWAY:  # a notice; the streams that are open go on until the peer ends them or the connection
                return None
            case _Type.DATA | _Type.WINDOW_UPDATE:
                if flags & _Flag.SYN:
                    self._accept_stream(stream_id)
                stream = self._streams.get(stream_id)
                if stream is None:
                    return None
                if kind == _Type.WINDOW_UPDATE:
                    stream.grant(length)
                elif not stream.may_receive(length):
                    raise _broken("it sent more than its window allows")
                return stream
            case _:
                raise _broken(f"it sent a Yamux frame of type {kind}")

    def _accept_stream(self, stream_id: int) -> None:
        if stream_id == 0 or stream_id % 2 != self._peer_parity or stream_id in self._streams:
            raise _broken("it opened a stream under an impossible number")
        if len(self._fruitless_at) == FRUITLESS_STREAMS_MAX and trio.current_time() < self._fruitless_at[0] + FRUITLESS_S:
            raise _broken("it opens streams and gives them up")
        if self._accept is None or len(self._served.union(self._streams.values())) >= STREAMS_MAX:
            self._answer(_Type.WINDOW_UPDATE, _Flag.RST, stream_id, 0)
            return
        self._answer(_Type.WINDOW_UPDATE, _Flag.ACK, stream_id, self.receive_window - WINDOW_INITIAL)
        stream = self._add(stream_id)
        self._served.add(stream)
        self._accept(stream)

    def _answer(self, kind: _Type, flags: _Flag, stream_id: int, length: int) -> None:
        """Queue a frame that the peer made us send."""
        if len(self._control) >= CONTROL_QUEUED_MAX:
            raise _broken("it does not read the answers to what it sends")
        self.control(kind, flags, stream_id, length)

    def _add(self, stream_id: int, *, send_window: int = WINDOW_INITIAL) -> Stream:
        stream = self._streams[stream_id] = Stream(self, stream_id, send_window=send_window)
        self._streams_changed.set()
        return stream


def _broken(what: str) -> RemoteProtocolError:
    return RemoteProtocolError(ErrorCode.TRANSFER_TRUNCATED, f"the peer broke the multiplexing protocol: {what}")
