"""Trio. Group commit: the one writer of a journal, shared by every session of a process.

Steps that wait at the same time share one synced transaction, so that a hundred sessions cost little more than one. Records reach the
journal in the order in which they were submitted, whoever submitted them: sessions share the books, so what one of them records may
rest on what another did a moment ago.

A commit that fails ends the process: what is in memory is then ahead of what is on disk, and only a restart can say which of it counts.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

import trio

from retrieval.ledger.journal import APPEND_MAX, Journal, Record

Clock = Callable[[], float]
"""Seconds since 1970, never going back."""
OnCommit = Callable[[Sequence[Record], float], None]
"""Told of what became durable, and of the seconds that took."""


def steady_clock() -> Clock:
    """The wall clock as it was at this call, carried on by the monotonic one: deadlines and expiries do not jump with NTP."""
    import time

    offset = time.time() - trio.current_time()
    return lambda: trio.current_time() + offset


@asynccontextmanager
async def open_writer(
    journal: Journal, clock: Clock, *, on_commit: OnCommit = lambda records, seconds: None
) -> AsyncIterator[JournalWriter]:
    """A running writer. It outlives a cancellation of the block, whose last records it commits: sessions part while it still runs."""
    writer = JournalWriter(journal, clock, on_commit=on_commit)
    async with trio.open_nursery() as nursery:
        running = trio.CancelScope(shield=True)

        async def run() -> None:
            with running:
                await writer.run()

        nursery.start_soon(run)
        try:
            yield writer
        finally:
            running.cancel()


@dataclass(slots=True, eq=False)
class _Waiting:
    records: tuple[Record, ...]
    done: trio.Event = field(default_factory=trio.Event)


class JournalWriter:
    """Start ``run`` in a nursery, then ``submit`` or ``await commit(records)`` from any task of the same loop."""

    def __init__(self, journal: Journal, clock: Clock, *, on_commit: OnCommit = lambda records, seconds: None) -> None:
        self._journal: Final = journal
        self._clock = clock
        self._on_commit: Final = on_commit
        self.busy_since: float | None = None
        """When the commit that is under way began, by Trio's clock."""
        self._queue: deque[_Waiting] = deque()
        self._wake = trio.Event()

    @property
    def head_sequence(self) -> int:
        """Of the newest entry on disk."""
        return self._journal.head.sequence

    async def run(self) -> None:
        """Commit what waits until cancelled. Raises what the storage raises."""
        while True:
            await self._wake.wait()
            self._wake = trio.Event()
            while batch := self._take():
                records = [record for waiting in batch for record in waiting.records]
                now_ms = int(self._clock() * 1000)
                with trio.CancelScope(shield=True):  # a commit that has begun is finished, and its waiters know
                    self.busy_since = trio.current_time()
                    await trio.to_thread.run_sync(self._journal.append, records, now_ms)
                    self._on_commit(records, trio.current_time() - self.busy_since)
                    self.busy_since = None
                for waiting in batch:
                    waiting.done.set()

    def submit(self, records: Iterable[Record]) -> trio.Event:
        """Take records that stand or fall together; the event is set once they are durable.

        Call it before the next await after whatever made the records, so that the journal's order is the order of what happened.
        """
        waiting = _Waiting(tuple(records))
        assert len(waiting.records) <= APPEND_MAX
        if waiting.records:
            self._queue.append(waiting)
            self._wake.set()
        else:
            waiting.done.set()
        return waiting.done

    async def commit(self, records: Iterable[Record]) -> None:
        """Return when records that stand or fall together are durable."""
        await self.submit(records).wait()

    async def commit_each(self, records: Iterable[Record]) -> None:
        """Return when the records are durable, any number of them: they need not stand or fall together."""
        each = tuple(records)
        for done in [self.submit(each[start : start + APPEND_MAX]) for start in range(0, len(each), APPEND_MAX)]:
            await done.wait()

    def _take(self) -> list[_Waiting]:
        batch: list[_Waiting] = []
        n_records = 0
        while self._queue and n_records + len(self._queue[0].records) <= APPEND_MAX:
            n_records += len(self._queue[0].records)
            batch.append(self._queue.popleft())
        return batch
