"""Trio. What arrives: received into buffers that are used again, verified many blocks at a time in a worker thread, stored, and counted.

The rule: a block counts once its hash is what its CID says and its place is one that was asked for. Gateways may send more than that, in
another order or twice; such blocks are dropped, up to a limit, and a block that is not what its CID says ends everything.
"""

from __future__ import annotations

import io
import math
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Final

import trio

from retrieval import _native
from retrieval._native import BlockStatus, Stop
from retrieval.cid import CID_SIZE_MAX, Cid, format_cid, is_identity, verify_blake3
from retrieval.dag.walk import Walk, fast_forward
from retrieval.errors import ErrorCode, RemoteProtocolError
from retrieval.memory import reserve
from retrieval.store.blocks import BlockStore
from retrieval.store.car import HEADER_SIZE_MAX, CarReader
from retrieval.transport.gathering import ENOUGH_BYTES, FAST_BYTES
from retrieval.transport.pump import VERIFIED_IN_THREAD_BYTES
from retrieval.units import KIB, MIB, format_size
from retrieval.wire.messages import BLOCK_SIZE_MAX

from .connection import Answer

BUFFER_BYTES: Final = 12 * MIB
"""What is received into: the rest of a block, and enough blocks behind it to be worth a call. Memory is taken as far as it was used."""
BUFFERS_MAX: Final = 4
"""One is received into, one verified, one stored, one waits."""
FAST_READ_BYTES: Final = 128 * KIB
PAUSE_S: Final = 0.002
"""A read of so many bytes that left none behind says that more will be here in a moment. Without a pause each brings what came during the
one before: a GiB took eight thousand reads, each with a turn of the loop. With one behind every chunk, a MiB, it never passed 330 MiB/s;
before batches are large each read has one, or on a busy machine receiving takes the time in which the first content is verified."""
GAP_S: Final = 0.005
"""How long nothing may come before what is here is verified: eight blocks side by side cost half of what three do."""
SECTIONS_PER_CALL: Final = 256
EARLY_BYTES_MAX: Final = 64 * MIB
"""Blocks kept that came before their turn; gateways that promise an order have none."""
EXCESS_BYTES_MAX: Final = 64 * MIB
"""Of blocks that nobody asked for, in one answer."""
LENGTH_SIZE_MAX: Final = 9  # bytes of a uvarint
SECTION_SIZE_MAX: Final = LENGTH_SIZE_MAX + CID_SIZE_MAX + BLOCK_SIZE_MAX

Payload = bytes | memoryview


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """Blocks that are verified and in the store."""

    n_blocks: int
    n_bytes: int


class Arriving:
    """Blocks on their way through a walk, which the answers to one or several requests bring. For one thread at a time."""

    def __init__(self, store: BlockStore, walk: Walk, everything: Callable[[], Walk]) -> None:
        """``walk`` names what is asked for, from its beginning; ``everything`` the walk of all that is wanted, for what comes beyond."""
        self.is_beyond = False
        """Whether it brought more than was asked for."""
        self.is_enough = False
        """Whether nothing more of the answer is of use."""
        self._store: Final = store
        self._walk = walk
        self._everything: Final = everything
        self._taken: Final[set[Cid]] = set()
        self._early: Final[dict[Cid, bytes]] = {}
        self._early_bytes = 0
        self._excess_bytes = 0
        self._pass_held()

    @property
    def is_done(self) -> bool:
        """Whether all that the walk names has come, or was here."""
        return self.is_beyond or self._walk.done

    def end(self, *, is_last: bool) -> None:
        """An answer has ended, ``is_last`` of those that the walk is about. Raises ``RemoteProtocolError(transfer_truncated)``."""
        self._excess_bytes = 0
        self._pass_held()
        is_skipped = bool(self._early) and any(link.cid in self._early for link in self._walk.pending())
        if is_skipped or (is_last and not self.is_done):
            raise RemoteProtocolError(ErrorCode.TRANSFER_TRUNCATED, "the CAR ends before its DAG does")
        self._early.clear()
        self._early_bytes = 0

    def take(self, cid: Cid, payload: memoryview) -> Iterator[tuple[Cid, Payload]]:
        """A block that matches its CID: gives what is to be stored, in the walk's order. Raises ``RemoteProtocolError``."""
        if cid != self._walk.expected:
            self._pass_held()  # only now: what is in the store already seldom lies in the way
            if self._walk.done and not self.is_beyond and cid not in self._taken:
                # More than was asked for: from a gateway that knows no ranges, all of it.
                self.is_beyond, self._walk = True, self._everything()
                self._pass_held()
        if cid == self._walk.expected:
            yield self._advance(cid, payload)
            yield from self._advance_early()
        elif cid in self._taken or cid in self._early or is_identity(cid) or self._store.size(cid) is not None or self.is_beyond:
            self._count_excess(len(payload))
        else:
            self._early[cid] = bytes(payload)
            self._early_bytes += len(payload)
            if self._early_bytes > EARLY_BYTES_MAX:
                raise RemoteProtocolError(ErrorCode.UNEXPECTED_BLOCK, f"{format_size(self._early_bytes)} came out of their order")

    def _advance(self, cid: Cid, payload: Payload) -> tuple[Cid, Payload]:
        if self._walk.needs_payload:
            self._walk.advance(payload)
        else:
            self._walk.skip(len(payload))
        self._taken.add(cid)
        return cid, payload

    def _advance_early(self) -> Iterator[tuple[Cid, Payload]]:
        while self._early:
            self._pass_held()
            early = None if self._walk.expected is None else self._early.pop(self._walk.expected, None)
            if early is None:
                return
            assert self._walk.expected is not None
            self._early_bytes -= len(early)
            yield self._advance(self._walk.expected, early)

    def _pass_held(self) -> None:
        """Go past what need not come again."""
        fast_forward(self._store, self._walk)

    def _count_excess(self, n_bytes: int) -> None:
        self._excess_bytes += n_bytes
        if self._excess_bytes <= EXCESS_BYTES_MAX:
            return
        self.is_enough = self.is_done
        if not self.is_enough:
            raise RemoteProtocolError(ErrorCode.UNEXPECTED_BLOCK, f"{format_size(self._excess_bytes)} came that nobody asked for")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Batch:
    """Whole sections in the buffer they were received into."""

    arriving: Arriving
    buffer: memoryview
    start: int
    stop: int


class _Filling:
    """A buffer that a CAR is being received into."""

    def __init__(self, buffer: memoryview) -> None:
        self.buffer = buffer
        self._is_header_read = False
        self._start, self._whole, self._end = 0, 0, 0
        """Where the first section starts, where the last whole one ends, and where the bytes do."""

    @property
    def room(self) -> memoryview:
        """Where to receive."""
        return self.buffer[self._end :]

    @property
    def whole_bytes(self) -> int:
        """Of sections that can be verified."""
        return self._whole - self._start

    @property
    def is_midway(self) -> bool:
        """Whether a CAR that ends here was cut."""
        return not self._is_header_read or self._end > self._start

    def received(self, n_bytes: int) -> None:
        """Count bytes at the front of ``room``. Raises ``RemoteProtocolError``."""
        self._end += n_bytes
        if not self._is_header_read:
            self._start = self._whole = _header_size(self.buffer[: self._end])
            self._is_header_read = self._start > 0
        if self._is_header_read:
            self._whole = _whole_sections(self.buffer, self._whole, self._end)

    def cut(self, arriving: Arriving, fresh: memoryview) -> _Batch:
        """What is whole; the rest goes on in ``fresh``."""
        batch = _Batch(arriving=arriving, buffer=self.buffer, start=self._start, stop=self._whole)
        rest = self.buffer[self._whole : self._end]
        fresh[: len(rest)] = rest
        self.buffer, self._start, self._whole, self._end = fresh, 0, 0, len(rest)
        return batch


@dataclass(frozen=True, slots=True, kw_only=True)
class _End:
    """All of an answer has been handed over."""

    arriving: Arriving
    is_last: bool
    settled: trio.Event


class Intake:
    """Takes answers one after another; several stages work at the same time."""

    def __init__(self, store: BlockStore, on_stored: Callable[[Stored], None]) -> None:
        self._store: Final = store
        self._on_stored: Final = on_stored
        self._spare: Final[list[memoryview]] = []
        self._n_buffers = 0
        self._unverified: Final = deque[_Batch | _End]()
        self._unstored: Final = deque[tuple[_Batch, list[tuple[Cid, Payload]]] | _End]()
        self._is_verifying = False
        self._is_fast = False
        """Whether the last batch was so large that more will be here in a moment."""
        self._receiving = trio.CancelScope()
        self._moved = trio.Event()
        """Set and replaced at every change of the above."""

    async def run(self) -> None:
        """Verify and store until cancelled. Raises ``RemoteProtocolError`` for what cannot be, and what the store raises."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._verify)
            nursery.start_soon(self._keep)

    @property
    def _is_idle(self) -> bool:
        """Whether whatever was handed over has been verified."""
        return not self._is_verifying and not self._unverified

    async def receive(self, answer: Answer, arriving: Arriving, *, is_last: bool) -> trio.Event:
        """Receive a whole CAR, ``is_last`` of those that ``arriving`` is about; the event is set when it is verified and stored.

        Raises ``RemoteProtocolError``: ``transfer_truncated`` where it ends early, ``malformed_car``, ``block_too_large``.
        """
        filling = _Filling(await self._buffer())
        try:
            n_read: int | None = None
            wait_s = math.inf
            while n_read != 0:
                n_read = None
                with trio.CancelScope(deadline=trio.current_time() + wait_s) as self._receiving:
                    n_read = await answer.receive_into(filling.room)
                filling.received(n_read or 0)
                if arriving.is_enough:
                    await answer.close()
                    break
                is_due = n_read is None or not self._is_fast or filling.whole_bytes >= ENOUGH_BYTES
                if filling.whole_bytes and (n_read == 0 or not filling.room or (is_due and self._is_idle)):
                    buffer = await self._buffer()
                    self._is_fast = filling.whole_bytes >= FAST_BYTES
                    self._hand_over(filling.cut(arriving, buffer))
                elif n_read is not None and n_read >= FAST_READ_BYTES and (answer.is_drained or not self._is_fast):
                    await trio.sleep(PAUSE_S)
                # Nothing waits that is awaited: only on a fast stream, while blocks are here, and while more come.
                wait_s = GAP_S if filling.whole_bytes and self._is_idle else math.inf
            if filling.is_midway and not arriving.is_enough:
                raise RemoteProtocolError(ErrorCode.TRANSFER_TRUNCATED, "the answer ends inside a block")
        finally:
            self._spare.append(filling.buffer)
        ended = _End(arriving=arriving, is_last=is_last, settled=trio.Event())
        self._hand_over(ended)
        return ended.settled

    def _hand_over(self, what: _Batch | _End) -> None:
        self._unverified.append(what)
        self._wake()

    async def _verify(self) -> None:
        while True:
            await self._until(lambda: bool(self._unverified))
            self._is_verifying = True
            what = self._unverified.popleft()
            if isinstance(what, _Batch):
                is_small = what.stop - what.start < VERIFIED_IN_THREAD_BYTES
                self._unstored.append((what, _verified(what) if is_small else await trio.to_thread.run_sync(_verified, what)))
            else:
                self._unstored.append(what)
            self._is_verifying = False
            self._receiving.deadline = trio.current_time() + GAP_S  # there may be a next batch, though nothing more comes
            self._wake()

    async def _keep(self) -> None:
        while True:
            await self._until(lambda: bool(self._unstored))
            what = self._unstored[0]
            if isinstance(what, _End):
                await trio.to_thread.run_sync(partial(what.arriving.end, is_last=what.is_last))
                what.settled.set()
            else:
                batch, blocks = what
                if blocks:
                    await trio.to_thread.run_sync(self._store.put_many, blocks)
                    stored = Stored(n_blocks=len(blocks), n_bytes=sum(len(payload) for _, payload in blocks))
                    for _, payload in blocks:
                        if isinstance(payload, memoryview):
                            payload.release()  # its place is received into again: who still holds it gets an error, and not other bytes
                    self._on_stored(stored)
                self._spare.append(batch.buffer)
            self._unstored.popleft()
            self._wake()

    async def _buffer(self) -> memoryview:
        if not self._spare and self._n_buffers < BUFFERS_MAX:
            self._n_buffers += 1
            return memoryview(reserve(BUFFER_BYTES))
        await self._until(lambda: bool(self._spare))
        return self._spare.pop()

    async def _until(self, holds: Callable[[], bool]) -> None:
        while not holds():
            await self._moved.wait()

    def _wake(self) -> None:
        self._moved.set()
        self._moved = trio.Event()


def _verified(batch: _Batch) -> list[tuple[Cid, Payload]]:
    """The blocks of a batch that are to be stored. Raises ``RemoteProtocolError``."""
    found: list[tuple[Cid, Payload]] = []
    view, at = batch.buffer[: batch.stop], batch.start
    while at < batch.stop:
        table, _, at, stop = _native.verify_sections(view, at, SECTIONS_PER_CALL)
        for row in _native.block_rows(table):
            cid, payload = Cid(bytes(view[row.cid_start : row.payload_start])), view[row.payload_start : row.payload_end]
            status = BlockStatus(row.status)
            if status is BlockStatus.UNSUPPORTED_HASH:
                status = verify_blake3(cid, payload)
            if status is not BlockStatus.OK:
                raise RemoteProtocolError(_ERROR_OF_STATUS[status], format_cid(cid) if cid else "a block's CID cannot be read")
            found.extend(batch.arriving.take(cid, payload))
        assert stop in (Stop.FULL, Stop.NEED_MORE), "whole sections were handed over"
    return found


def _header_size(data: memoryview) -> int:
    """Bytes of a CARv1's header; 0 while it is not all here. Raises ``RemoteProtocolError(malformed_message)``."""
    try:
        size, start = _native.decode_uvarint(bytes(data[:LENGTH_SIZE_MAX]))
    except ValueError as error:
        if len(data) < LENGTH_SIZE_MAX:
            return 0
        raise _no_car(str(error)) from error
    if not 0 < size <= HEADER_SIZE_MAX:
        raise _no_car(f"its header has {size} bytes")
    if len(data) < start + size:
        return 0
    try:
        CarReader(io.BytesIO(bytes(data[: start + size])))
    except RemoteProtocolError as error:
        raise _no_car(error.detail) from error  # the row of a malformed CAR speaks of a file of ours
    return start + size


def _whole_sections(buffer: memoryview, at: int, end: int) -> int:
    """Where the last whole section behind ``at`` ends. Raises ``RemoteProtocolError`` for one that cannot be."""
    while at < end:
        try:
            size, start = _native.decode_uvarint(bytes(buffer[at : min(end, at + LENGTH_SIZE_MAX)]))
        except ValueError as error:
            if end - at < LENGTH_SIZE_MAX:
                return at
            raise _no_car(str(error)) from error
        if size == 0:
            raise _no_car("a section is empty")
        if start + size > SECTION_SIZE_MAX:
            raise RemoteProtocolError(ErrorCode.BLOCK_TOO_LARGE, "a block has at most 2 MiB")
        if at + start + size > end:
            return at
        at += start + size
    return at


def _no_car(why: str) -> RemoteProtocolError:
    return RemoteProtocolError(ErrorCode.MALFORMED_MESSAGE, f"this is no CAR: {why}")


_ERROR_OF_STATUS: Final = {
    BlockStatus.CORRUPT: ErrorCode.CORRUPT_BLOCK,
    BlockStatus.UNSUPPORTED_HASH: ErrorCode.UNSUPPORTED_CODEC,
    BlockStatus.MALFORMED: ErrorCode.MALFORMED_MESSAGE,
}
