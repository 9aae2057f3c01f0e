"""Trio: Yamux, many streams with flow control over one authenticated connection (hashicorp/yamux ``spec.md``, ``/yamux/1.0.0``).

Its rule: what a peer may make us hold is what its windows allow, and only a FIN ends a stream cleanly. py-libp2p 0.8.1 has a Yamux of
its own, which this one replaces because it keeps neither: it buffers beyond the window it granted, gives a send up after 5 s without a
window update, and on a lost connection drops what has arrived and then reports a clean end.

One task writes to the connection and one reads from it, so a cancelled ``send_all`` or ``receive_some`` never leaves half a frame behind.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from enum import IntEnum, IntFlag
from typing import Final, NoReturn, Protocol

import trio

from retrieval.errors import ErrorCode, RemoteProtocolError
from retrieval.identity import PeerId

WINDOW_INITIAL: Final = 256 * 1024  # bytes either side may send before the first update; fixed by the specification
FRAME_PAYLOAD_MAX: Final = 512 * 1024  # bytes we put in one frame: large enough to cost little, small enough for streams to take turns
STREAMS_MAX: Final = 4  # open at once on a connection; a session needs one, and stock libp2p peers ask two or three things besides
CONTROL_QUEUED_MAX: Final = 64 * 1024  # bytes of answers (pongs, acknowledgements, resets) waiting for a peer that does not read

_HEADER: Final = struct.Struct("!BBHII")  # version, type, flags, stream, length
_VERSION: Final = 0
_CLOSE_NORMAL: Final = 0


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


class Channel(Protocol):
    """The authenticated connection below. All verbs raise ``RemoteProtocolError`` when it breaks."""

    async def send_all(self, *parts: bytes | bytearray | memoryview) -> None:
        """Send the parts one after another; they are not joined first."""
        ...

    async def send_eof(self) -> None: ...

    async def receive_some(self) -> bytes | bytearray:
        """The next bytes, in pieces of the channel's choosing; ``b""`` when the connection has ended."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Remote:
    """Who is at the other end: the authenticated peer, and the address prefix that limits count it under (None when unknown)."""

    peer_id: PeerId
    address: str | None


@dataclass(slots=True, eq=False, kw_only=True)
class _Piece:
    """One data frame on its way out."""

    stream: Stream
    header: bytes
    payload: memoryview
    written: trio.Event = field(default_factory=trio.Event)


class Stream:
    """An ordered pair of byte streams with one peer. One task may send while another receives; both may be cancelled.

    After a cancelled ``send_all`` nobody knows how much has left, so only ``reset`` and ``receive_some`` still make sense.
    """

    def __init__(self, muxer: Muxer, stream_id: int) -> None:
        self.finished: Final = trio.Event()
        """Set when nothing more will be sent or received: both sides closed, one side reset, or the connection ended."""
        self.sending_ended: Final = trio.Event()
        self._muxer: Final = muxer
        self._id: Final = stream_id
        self._received = bytearray()
        self._receiving_ended = False
        self._unacknowledged_bytes = 0
        self._receive_window = muxer.receive_window
        self._send_window = WINDOW_INITIAL
        self._failure: RemoteProtocolError | None = None
        self._receiver_wakes = trio.Event()
        self._sender_wakes = trio.Event()

    @property
    def peer_id(self) -> PeerId:
        return self._muxer.remote.peer_id

    @property
    def address(self) -> str | None:
        return self._muxer.remote.address

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Return when all of ``data`` was handed to the operating system; waits as long as the peer's window is closed.

        Raises ``RemoteProtocolError(transfer_truncated)`` when the stream or its connection has ended, on whichever side.
        """
        assert not self.sending_ended.is_set() or self._failure is not None, "nothing is sent after close()"
        await trio.lowlevel.checkpoint()
        rest = memoryview(data).cast("B")
        while rest:
            while self._failure is None and self._send_window == 0:
                self._sender_wakes = trio.Event()
                await self._sender_wakes.wait()
            self._raise_failure()
            size = min(len(rest), self._send_window, FRAME_PAYLOAD_MAX)
            self._send_window -= size
            await self._muxer.write_data(self, self._id, rest[:size])
            rest = rest[size:]
        self._raise_failure()

    async def receive_some(self, max_bytes: int) -> bytes | bytearray:
        """Between 1 and ``max_bytes`` bytes, or ``b""`` once the peer has ended its side cleanly.

        Whatever arrived before a failure is delivered first. Raises ``RemoteProtocolError(transfer_truncated)`` for every other end.
        """
        assert max_bytes > 0
        await trio.lowlevel.checkpoint()
        while not self._received:
            if self._receiving_ended:
                return b""
            self._raise_failure()
            self._receiver_wakes = trio.Event()
            await self._receiver_wakes.wait()
        if len(self._received) <= max_bytes:
            data, self._received = self._received, bytearray()
        else:
            data = self._received[:max_bytes]
            del self._received[:max_bytes]
        self._acknowledge(len(data))
        return data

    async def close(self) -> None:
        """End our side cleanly: returns when the end was handed to the operating system. The peer's side stays open."""
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

    # Below: for the muxer.

    def may_receive(self, size: int) -> bool:
        """Take ``size`` announced bytes off the window that the peer was granted."""
        if size > self._receive_window or self._receiving_ended:
            return False
        self._receive_window -= size
        return True

    def feed(self, data: memoryview) -> None:
        self._received += data
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
        self._muxer.forget(self, self._id)

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise RemoteProtocolError(self._failure.code, self._failure.detail) from self._failure

    def _acknowledge(self, size: int) -> None:
        """Let the peer send on, in steps of half a window: fewer frames, and never an idle sender."""
        self._unacknowledged_bytes += size
        if self._unacknowledged_bytes * 2 >= self._muxer.receive_window and not self._receiving_ended and not self.finished.is_set():
            self._receive_window += self._unacknowledged_bytes
            self._muxer.control(_Type.WINDOW_UPDATE, _Flag.NONE, self._id, self._unacknowledged_bytes)
            self._unacknowledged_bytes = 0


class Muxer:
    """The streams of one connection. ``run`` must be running for any of them to move.

    ``accept`` is told of every stream that the peer opens; None refuses them all. ``receive_window`` is the number of bytes each stream
    may hold for a reader that does not read.
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
        self._channel: Final = channel
        self._accept: Final = accept
        self._failure: RemoteProtocolError = RemoteProtocolError(ErrorCode.TRANSFER_TRUNCATED, "the connection was closed on this side")
        self._streams: Final[dict[int, Stream]] = {}
        self._streams_changed = trio.Event()
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

    async def run(self) -> None:
        """Move bytes until the connection ends, from either side. All streams still open then have failed."""
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._write_until_broken)
                await self._read_until_ended()
                nursery.cancel_scope.cancel()
        finally:
            self.ended.set()
            self._written.set()
            self._streams_changed.set()
            for stream in self.open_streams:
                stream.fail(self._failure)

    @property
    def open_streams(self) -> tuple[Stream, ...]:
        return tuple(self._streams.values())

    def open_stream(self) -> Stream:
        """A new stream to the peer, which may be written to at once. Raises ``RemoteProtocolError(transfer_truncated)``."""
        if self.ended.is_set():
            raise RemoteProtocolError(ErrorCode.TRANSFER_TRUNCATED, "the connection has ended")
        stream_id = self._next_id
        self._next_id += 2
        self.control(_Type.WINDOW_UPDATE, _Flag.SYN, stream_id, self.receive_window - WINDOW_INITIAL)
        return self._add(stream_id)

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

    async def write_data(self, stream: Stream, stream_id: int, payload: memoryview) -> None:
        """Write one data frame. The writer finishes it even when the caller is cancelled; a connection that has ended drops it."""
        header = _HEADER.pack(_VERSION, _Type.DATA, _Flag.NONE, stream_id, len(payload))
        piece = _Piece(stream=stream, header=header, payload=payload)
        self._pieces.append(piece)
        self._queued.set()
        await piece.written.wait()

    def forget(self, stream: Stream, stream_id: int) -> None:
        """Drop a finished stream with what it still wanted to send, and wake its sender."""
        self._streams.pop(stream_id, None)
        self._streams_changed.set()
        for piece in (*self._pieces, *self._writing):
            if piece.stream is stream:
                piece.written.set()
        self._pieces = [piece for piece in self._pieces if piece.stream is not stream]

    # Below: the two tasks.

    async def _write_until_broken(self) -> None:
        with suppress(RemoteProtocolError):  # the reader meets it too, and before that what has arrived already
            await self._write()

    async def _read_until_ended(self) -> None:
        try:
            await self._read()
        except RemoteProtocolError as failure:
            self._failure = failure

    async def _write(self) -> NoReturn:
        """Everything that waits goes out in one write: the fewer Noise messages and system calls, the faster."""
        while True:
            await self._queued.wait()
            self._queued = trio.Event()
            self._n_batches_begun += 1
            control, self._control = self._control, bytearray()
            self._writing, self._pieces = self._pieces, []
            batch: list[bytearray | memoryview] = []
            head = control  # the frames without payload, then the header of the first with one
            for piece in self._writing:
                head += piece.header
                batch += (head, piece.payload)
                head = bytearray()
            await self._channel.send_all(*batch, head)
            if self._is_parting:
                await self._channel.send_eof()
            for piece in self._writing:
                piece.written.set()
            self._n_batches_written += 1
            self._written.set()
            self._written = trio.Event()
            if self._is_parting:
                await trio.sleep_forever()

    async def _read(self) -> NoReturn:
        """Feed frames to their streams as they come, whole or in parts, so that a frame's announced length costs nothing."""
        data: bytes | bytearray = b""
        start = 0
        while True:
            while len(data) - start < _HEADER.size:
                data, start = data[start:] + await self._receive(), 0
            version, kind, flags, stream_id, length = _HEADER.unpack_from(data, start)
            start += _HEADER.size
            if version != _VERSION:
                raise _broken(f"it speaks version {version} of Yamux")
            stream = self._begin_frame(kind, flags, stream_id, length)
            n_missing = length if kind == _Type.DATA else 0
            while n_missing:
                if start == len(data):
                    data, start = await self._receive(), 0
                part = memoryview(data)[start : start + n_missing]
                start += len(part)
                n_missing -= len(part)
                if stream is not None:
                    stream.feed(part)
            if stream is not None and flags & _Flag.RST:
                stream.fail(RemoteProtocolError(ErrorCode.TRANSFER_TRUNCATED, "the peer gave the stream up"))
            elif stream is not None and flags & _Flag.FIN:
                stream.end_receiving()

    async def _receive(self) -> bytes | bytearray:
        data = await self._channel.receive_some()
        if not data:
            raise RemoteProtocolError(ErrorCode.TRANSFER_TRUNCATED, "the peer closed the connection")
        return data

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
        if self._accept is None or len(self._streams) >= STREAMS_MAX:
            self._answer(_Type.WINDOW_UPDATE, _Flag.RST, stream_id, 0)
            return
        self._answer(_Type.WINDOW_UPDATE, _Flag.ACK, stream_id, self.receive_window - WINDOW_INITIAL)
        self._accept(self._add(stream_id))

    def _answer(self, kind: _Type, flags: _Flag, stream_id: int, length: int) -> None:
        """Queue a frame that the peer made us send."""
        if len(self._control) >= CONTROL_QUEUED_MAX:
            raise _broken("it does not read the answers to what it sends")
        self.control(kind, flags, stream_id, length)

    def _add(self, stream_id: int) -> Stream:
        stream = self._streams[stream_id] = Stream(self, stream_id)
        self._streams_changed.set()
        return stream


def _broken(what: str) -> RemoteProtocolError:
    return RemoteProtocolError(ErrorCode.TRANSFER_TRUNCATED, f"the peer broke the multiplexing protocol: {what}")
