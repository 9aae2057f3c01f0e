"""Trio. Carries one session: bytes to messages, messages to the machine, its Steps to disk and then to the wire.

The one rule is the order: store blocks, commit records, tell the machine, send messages, tell events. Steps that pile up while a commit
runs are carried out together.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Final, Protocol

import trio

from retrieval.cid import Cid
from retrieval.deal.events import Event
from retrieval.deal.step import NOTHING, Step
from retrieval.errors import ErrorCode, RemoteProtocolError, RetrievalError
from retrieval.transport.writer import Clock, JournalWriter
from retrieval.units import MIB
from retrieval.wire.framing import Block, FrameDecoder, encode_frame
from retrieval.wire.messages import Message

READ_BYTES: Final = 1 * MIB
"""One read: large enough that verifying a batch of blocks costs one call."""
QUEUED_BYTES_MAX: Final = 4 * MIB
"""Verified blocks that may wait for the disk before reading pauses."""
SEND_BYTES_MAX: Final = 1 * MIB
"""Block frames handed to the transport in one write, and so queued below us (PROTOCOL.md, "A session")."""
FAREWELL_S: Final = 2.0
"""How long the last messages of a session may take to leave."""


class ByteStream(Protocol):
    """A two-way stream of bytes. A broken one raises ``RemoteProtocolError(transfer_truncated)``."""

    async def send_all(self, data: bytes) -> None: ...
    async def receive_some(self, max_bytes: int) -> bytes | bytearray: ...
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
        store: Callable[[Iterable[tuple[Cid, bytes]]], None],
        clock: Clock,
        on_event: Callable[[Event], None],
        next_blocks: Callable[[int], list[bytes]] = lambda size_max: [],
    ) -> None:
        """``next_blocks`` gives block frames of about ``size_max`` bytes that may leave now (the provider's side)."""
        self._machine = machine
        self._stream = stream
        self._writer = writer
        self._store = store
        self._clock = clock
        self._on_event = on_event
        self._next_blocks = next_blocks
        self._steps: deque[Step] = deque()
        self._queued_bytes = 0
        self._outbox: deque[bytes] = deque()
        self._work = trio.Event()
        """Set when there is a step to carry out, something to send, or a deadline to look at again."""
        self._roomy = trio.Event()
        self._finished = False
        self.ended: Final = trio.Event()
        """Set when the session is over and its stream is closed."""

    def put(self, step: Step) -> None:
        """Queue a Step; it is carried out after those before it."""
        if step:
            self._steps.append(step)
            self._queued_bytes += sum(len(payload) for _, payload in step.blocks)
        self._work.set()

    async def run(self) -> None:
        """Carry the session until it is over and its last messages have left. The stream is closed on return."""
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._receive)
                nursery.start_soon(self._keep_time)
                await self._carry()
                nursery.cancel_scope.cancel()
        finally:
            with trio.CancelScope(deadline=trio.current_time() + FAREWELL_S, shield=True):
                await self._part()
            self.ended.set()

    # in

    async def _receive(self) -> None:
        decoder = FrameDecoder()
        machine = self._machine
        try:
            while not machine.is_over:
                data = await self._stream.receive_some(READ_BYTES)
                if not data:
                    if decoder.is_midway:
                        raise RemoteProtocolError(ErrorCode.TRANSFER_TRUNCATED, "the stream ended inside a frame")
                    break
                for item in decoder.feed(data):
                    if machine.is_over:
                        break
                    now = self._clock()
                    self.put(machine.receive_blocks(item, now) if isinstance(item, list) else machine.receive(item, now))
                while self._queued_bytes > QUEUED_BYTES_MAX:
                    self._roomy = trio.Event()
                    await self._roomy.wait()
            self._end(machine.closed(self._clock()))
        except RemoteProtocolError as error:
            is_cut = error.code is ErrorCode.TRANSFER_TRUNCATED
            self._end(machine.closed(self._clock()) if is_cut else machine.fail(error, self._clock()))

    def _end(self, step: Step) -> None:
        self.put(step)
        self._finished = True
        self._work.set()

    async def _keep_time(self) -> None:
        while True:
            deadline = self._machine.next_deadline()
            now = self._clock()
            if deadline is None or deadline > now:
                # Looked at again at least four times a second: a step may have set an earlier deadline.
                await trio.sleep(0.25 if deadline is None else min(0.25, deadline - now))
                continue
            self.put(self._machine.tick(now))
            await trio.lowlevel.checkpoint()

    # out

    async def _carry(self) -> None:
        while True:
            if self._steps:
                await self._carry_out(self._take_steps())
                continue
            if self._outbox:
                await self._send(b"".join(self._drain()))
                continue
            if self._finished or self._machine.is_over:
                return
            if frames := self._next_blocks(SEND_BYTES_MAX):
                await self._send(b"".join(frames))
                continue
            if self._steps:
                continue
            self._work = trio.Event()
            await self._work.wait()

    def _take_steps(self) -> Step:
        step = NOTHING
        while self._steps:
            step += self._steps.popleft()
        return step

    async def _carry_out(self, step: Step) -> None:
        if step.blocks:
            await trio.to_thread.run_sync(self._store, step.blocks)
            self._queued_bytes -= sum(len(payload) for _, payload in step.blocks)
            self._roomy.set()
        await self._writer.commit(step.records)
        self._machine.committed(step)
        self._outbox.extend(map(encode_frame, step.messages))
        for event in step.events:
            self._on_event(event)

    def _drain(self) -> list[bytes]:
        frames = list(self._outbox)
        self._outbox.clear()
        return frames

    async def _send(self, data: bytes) -> None:
        try:
            await self._stream.send_all(data)
        except RemoteProtocolError:
            self._end(self._machine.closed(self._clock()))

    async def _part(self) -> None:
        """Commit and send what is left, then let go of the stream."""
        self.put(self._machine.closed(self._clock()))
        if self._steps:
            await self._carry_out(self._take_steps())
        try:
            if self._outbox:
                await self._stream.send_all(b"".join(self._drain()))
            await self._stream.close()
        except RemoteProtocolError:
            await self._stream.reset()
