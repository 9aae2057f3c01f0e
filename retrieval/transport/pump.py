"""Trio. Carries one session: bytes to messages, messages to the machine, its Steps to disk and then to the wire.

The one rule is the order: store blocks, tell the news of them, commit records, tell the machine, send messages, tell events. Records
are handed to the writer as the machine makes them, before anything else runs: machines share their books, so another session's next
step may rest on them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Final, Protocol

import trio

from retrieval.cid import Cid
from retrieval.deal.events import Event
from retrieval.deal.step import Step
from retrieval.errors import ErrorCode, RemoteProtocolError, RetrievalError
from retrieval.transport.gathering import Gathering
from retrieval.transport.source import Buffer, Plain, Source
from retrieval.transport.writer import Clock, JournalWriter
from retrieval.units import KIB
from retrieval.wire.framing import Block, FrameDecoder, Frames, encode_frame, new_buffer
from retrieval.wire.messages import Message

BUFFERS_MAX: Final = 6
"""Buffers that a session receives into. Those with blocks that wait for the disk are not used again before that, so reading pauses
when all are: verified blocks hold at most so many times ``BUFFER_BYTES``."""
VERIFIED_IN_THREAD_BYTES: Final = 128 * KIB
"""From this much on, what was read is verified in a worker thread: the other core hashes while this one receives and decrypts."""
ITEMS_AT_ONCE_MAX: Final = 256
"""Messages, and runs of blocks, that are decoded before the machine has them: of the smallest, a buffer holds a million."""
UNCOMMITTED_STEPS_MAX: Final = 256
"""Steps that may wait for the disk before reading pauses."""
OUTBOX_BYTES_MAX: Final = 256 * KIB
"""Messages that may wait for a peer that does not read before we stop reading what it says."""
SEND_DUE_S: Final = 30.0
"""How long the peer may at least take to make room for one write."""
SEND_RATE_MIN: Final = 32 * KIB
"""Bytes a second: how long it may take for a longer one."""
FAREWELL_S: Final = 2.0
"""How long the last messages of a session may take to leave."""
NOTHING_TO_SEND: Final = Plain(b"")


class ByteStream(Protocol):
    """A two-way stream of bytes. A broken one raises ``RemoteProtocolError(transfer_truncated)``."""

    @property
    def send_bytes(self) -> int:
        """How much is worth sending at once."""
        ...

    async def send_all(self, data: bytes) -> None: ...
    async def send_source(self, source: Source) -> None: ...
    async def receive_into(self, target: memoryview) -> int: ...
    async def close(self) -> None: ...
    async def reset(self) -> None: ...


class Machine(Protocol):
    """Either side's session."""

    @property
    def is_over(self) -> bool: ...
    def receive(self, message: Message, now: float) -> Step: ...
    def receive_blocks(self, blocks: Sequence[Block], now: float) -> Step: ...
    def committed(self, step: Step) -> None: ...
    def next_deadline(self) -> float | None: ...
    def tick(self, now: float) -> Step: ...
    def fail(self, error: RetrievalError, now: float) -> Step: ...
    def closed(self, now: float) -> Step: ...


class Pump:
    """One machine on one stream."""

    def __init__(
        self,
        machine: Machine,
        stream: ByteStream,
        writer: JournalWriter,
        *,
        store: Callable[[Iterable[tuple[Cid, Buffer]]], None],
        clock: Clock,
        on_event: Callable[[Event], None],
        on_sent: Callable[[Message], None] = lambda message: None,
        next_blocks: Callable[[int], Source] = lambda size_max: NOTHING_TO_SEND,
    ) -> None:
        """``store`` keeps no payload that it is given. ``on_sent`` is told of messages as they leave. ``next_blocks`` gives block frames of
        about ``size_max`` bytes that may leave now (the provider's side)."""
        self._machine: Final = machine
        self._stream: Final = stream
        self._writer: Final = writer
        self._store: Final = store
        self._clock: Final = clock
        self._on_event: Final = on_event
        self._on_sent: Final = on_sent
        self._next_blocks: Final = next_blocks
        self._decoder: Final = FrameDecoder()
        self._gathering: Final = Gathering()
        self._receiving = trio.CancelScope()
        self._frames: Frames | None = None
        """What was cut off and is being taken."""
        self._spare_buffers: Final[list[memoryview]] = []
        self._n_buffers = 1  # the decoder begins with one of its own
        self._unstored: Final = deque[Step | memoryview]()
        """Steps with blocks to be stored, and those behind them; behind the last one of a buffer, the buffer."""
        self._uncommitted: Final = deque[tuple[Step, trio.Event]]()
        self._outbox: Final = bytearray()
        self._sending = trio.CancelScope()
        self._is_torn = False
        """Whether a write was begun and not finished: nothing may follow it."""
        self._is_sound = True
        """False once what is in memory is ahead of what is on disk for good."""
        self._moved = trio.Event()
        """Set and replaced at every change of the above."""
        self.ended: Final = trio.Event()
        """Set when the session is over and its stream is closed."""

    def put(self, step: Step) -> None:
        """Have a Step carried out, after those before it. Call it before the next await after the machine made the step."""
        if step.blocks or self._unstored:
            self._unstored.append(step)
        elif step:
            self._submit(step)
        if self._machine.is_over:
            self._sending.deadline = min(self._sending.deadline, trio.current_time() + FAREWELL_S)
        self._wake()

    async def run(self) -> None:
        """Carry the session until it is over and its last messages have left. The stream is closed on return.

        Raises what the store raises; then nothing more of this session is committed or sent.
        """
        try:
            async with trio.open_nursery() as nursery:
                for task in (self._receive, self._take, self._keep_time, self._store_blocks, self._release):
                    nursery.start_soon(task)
                await self._send()
                nursery.cancel_scope.cancel()
        finally:
            with trio.CancelScope(deadline=trio.current_time() + FAREWELL_S, shield=True) as farewell:
                await self._part()
            if farewell.cancelled_caught:
                with trio.CancelScope(deadline=trio.current_time() + FAREWELL_S, shield=True):
                    await self._stream.reset()
            self.ended.set()

    # in

    async def _receive(self) -> None:
        """Fill one buffer while what came before is verified, until the stream ends."""
        decoder, machine = self._decoder, self._machine
        error: RemoteProtocolError | None = None
        try:
            while not machine.is_over:
                n_read: int | None = None
                with trio.CancelScope(deadline=self._gathering.deadline) as self._receiving:
                    n_read = await self._stream.receive_into(decoder.room)
                if n_read == 0:
                    break
                decoder.received(n_read or 0)
                if not decoder.room:
                    await self._until(self._is_idle)
                await self._until(self._may_read)
                if self._is_idle() and decoder.has_frame and not self._gathering.goes_on(decoder.n_bytes, trio.current_time()):
                    await self._cut()
        except RemoteProtocolError as broken:
            error = broken
        await self._until(self._is_idle)
        if decoder.has_frame and not machine.is_over:  # it came while what was before it was taken
            await self._cut()
            await self._until(self._is_idle)
        if error is None and decoder.is_midway:
            error = RemoteProtocolError(ErrorCode.TRANSFER_TRUNCATED, "the stream ended inside a frame")
        self._end(error)

    async def _cut(self) -> None:
        self._frames = self._decoder.cut(await self._spare_buffer())
        self._gathering.end(self._frames.n_bytes)
        self._wake()

    async def _take(self) -> None:
        """Give the machine what has come."""
        while True:
            await self._until(lambda: not self._is_idle())
            frames = self._frames
            assert frames is not None
            decoded, n_items = frames.decode(), ITEMS_AT_ONCE_MAX
            while n_items == ITEMS_AT_ONCE_MAX and not self._machine.is_over:
                if frames.n_bytes < VERIFIED_IN_THREAD_BYTES:
                    items, error = _next_items(decoded)
                else:
                    items, error = await trio.to_thread.run_sync(_next_items, decoded)
                n_items = len(items)
                for item in items:
                    if self._machine.is_over:
                        break
                    now = self._clock()
                    self.put(self._machine.receive_blocks(item, now) if isinstance(item, list) else self._machine.receive(item, now))
                    await self._until(self._may_read)
                if error is not None:
                    self._end(error)
            self._give_back(frames.buffer)
            self._frames = None
            self._wake()
            if self._decoder.has_frame:  # there is a next batch, though nothing more may come for now
                self._receiving.deadline = trio.current_time() + self._gathering.gap_s

    def _is_idle(self) -> bool:
        """Whether everything that was cut off has been taken."""
        return self._frames is None

    def _end(self, error: RemoteProtocolError | None) -> None:
        """The stream has ended, cleanly or not."""
        now = self._clock()
        if error is None or error.code is ErrorCode.TRANSFER_TRUNCATED:
            self.put(self._machine.closed(now))
        else:
            self.put(self._machine.fail(error, now))

    async def _spare_buffer(self) -> memoryview:
        if not self._spare_buffers and self._n_buffers < BUFFERS_MAX:
            self._n_buffers += 1
            return new_buffer()
        await self._until(lambda: bool(self._spare_buffers))
        return self._spare_buffers.pop()

    def _give_back(self, buffer: memoryview) -> None:
        """Use a buffer again once the blocks in it are stored."""
        if self._unstored:
            self._unstored.append(buffer)
        else:
            self._spare_buffers.append(buffer)

    def _may_read(self) -> bool:
        return len(self._uncommitted) <= UNCOMMITTED_STEPS_MAX and len(self._outbox) <= OUTBOX_BYTES_MAX

    async def _keep_time(self) -> None:
        while not self._machine.is_over:
            deadline, now = self._machine.next_deadline(), self._clock()
            if deadline is not None and deadline <= now:
                self.put(self._machine.tick(now))
                await trio.lowlevel.checkpoint()
                continue
            # Looked at again at least four times a second: a step may have set an earlier deadline, or another session made room.
            await trio.sleep(0.25 if deadline is None else min(0.25, deadline - now))
            self._wake()

    # to disk

    async def _store_blocks(self) -> None:
        while True:
            await self._until(lambda: bool(self._unstored))
            waiting = tuple(self._unstored)
            blocks = [block for step in waiting if isinstance(step, Step) for block in step.blocks]
            try:
                await trio.to_thread.run_sync(self._store, blocks)
            except Exception:
                self._is_sound = False
                raise
            for _, payload in blocks:
                if isinstance(payload, memoryview):
                    payload.release()  # its place is received into again: who still holds it gets an error, and not other bytes
            for each in waiting:
                self._unstored.popleft()
                if isinstance(each, Step):
                    self._submit(each)
                else:
                    self._spare_buffers.append(each)
            self._wake()

    def _submit(self, step: Step) -> None:
        for told in step.news:
            self._on_event(told)
        self._uncommitted.append((step, self._writer.submit(step.records)))

    async def _release(self) -> None:
        while True:
            await self._until(lambda: bool(self._uncommitted))
            step, is_durable = self._uncommitted[0]
            if not is_durable.is_set():  # or what is ready already would leave in a write each
                await is_durable.wait()
            self._uncommitted.popleft()
            self._machine.committed(step)
            for message in step.messages:
                self._outbox.extend(encode_frame(message))
                self._on_sent(message)
            for event in step.events:
                self._on_event(event)
            self._wake()

    # out

    async def _send(self) -> None:
        """Messages first, then blocks, until the session is over or its stream is torn."""
        while not self._is_torn:
            moved = self._moved
            if self._outbox:
                await self._write(Plain(self._drained()))
            elif self._machine.is_over:
                return
            elif blocks := self._next_blocks(self._stream.send_bytes):
                await self._write(blocks)
            else:
                await moved.wait()

    def _drained(self) -> bytes:
        data = bytes(self._outbox)
        self._outbox.clear()
        self._wake()
        return data

    async def _write(self, source: Source) -> None:
        self._is_torn = True
        due_s = FAREWELL_S if self._machine.is_over else max(SEND_DUE_S, len(source) / SEND_RATE_MIN)
        error: RetrievalError | None = RemoteProtocolError(ErrorCode.TRANSFER_STALLED, f"it made no room for {due_s:.0f} s")
        with trio.CancelScope(deadline=trio.current_time() + due_s) as self._sending:
            try:
                await self._stream.send_source(source)
                self._is_torn, error = False, None
            except RemoteProtocolError as broken:
                error = broken
        if error is not None:
            now, is_cut = self._clock(), error.code is ErrorCode.TRANSFER_TRUNCATED
            self.put(self._machine.closed(now) if is_cut else self._machine.fail(error, now))

    async def _part(self) -> None:
        """Commit and send what is left, then let go of the stream."""
        if not self._is_sound:
            await self._stream.reset()
            return
        self.put(self._machine.closed(self._clock()))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._store_blocks)
            nursery.start_soon(self._release)
            await self._until(lambda: not self._unstored and not self._uncommitted)
            nursery.cancel_scope.cancel()
        try:
            if self._is_torn:
                await self._stream.reset()
                return
            if self._outbox:
                await self._stream.send_all(self._drained())
            await self._stream.close()
        except RemoteProtocolError:
            await self._stream.reset()

    # waiting

    def _wake(self) -> None:
        self._moved.set()
        self._moved = trio.Event()

    async def _until(self, holds: Callable[[], bool]) -> None:
        while not holds():
            await self._moved.wait()


def _next_items(decoded: Iterator[Message | list[Block]]) -> tuple[list[Message | list[Block]], RemoteProtocolError | None]:
    """What is next, ``ITEMS_AT_ONCE_MAX`` while there are so many, and the error behind it, if any: what came before a broken frame
    counts."""
    items: list[Message | list[Block]] = []
    try:
        items.extend(islice(decoded, ITEMS_AT_ONCE_MAX))
    except RemoteProtocolError as error:
        return items, error
    return items, None
