"""The journal: everything that moves money or promises, in an append-only chain, with the state it folds into.

One rule: what a call appends is durable when the call returns, and only then may its effect leave the node. State is written by nobody
else: the rows of every table come from the reducer the journal was opened with, in the commit of the entries that changed them, so that
``check`` can replay the entries and must arrive at the rows on disk.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, zip_longest
from typing import Final, TypeAlias

from retrieval.errors import ErrorCode, LocalProtocolError
from retrieval.ledger.entry import GENESIS_HASH, Entry, Record, RecordKind, broken, chain
from retrieval.ledger.state import MemoryStateStorage, Overlay, Row, StateSnapshot, StateStorage, StateView

__all__ = ["APPEND_MAX", "Entry", "Head", "Journal", "Record", "RecordKind", "Reducer", "export_lines", "replay", "verified"]

APPEND_MAX: Final = 512  # records of one append; beyond it a group commit gains little and delays its first session
PAGE_ENTRIES: Final = 256  # entries read in one transaction by ``iterate``

Reducer: TypeAlias = Callable[[StateView, Entry], Iterable[Row]]
"""Pure: the rows an entry changes, given the state before it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """The place of the newest entry: sequence 0 and the genesis hash while there is none."""

    sequence: int
    time_ms: int
    hash: bytes


class Journal:
    """The one writer of a storage. Appending belongs to one thread; reading may be done from any."""

    def __init__(self, storage: StateStorage, reduce: Reducer) -> None:
        """Raises ``LocalProtocolError(journal_broken)`` when the newest entry cannot be trusted."""
        self._storage = storage
        self._reduce = reduce
        with storage.snapshot() as stored:
            self._head = _head_of(stored.last_entry())

    @property
    def head(self) -> Head:
        return self._head

    @property
    def state(self) -> StateView:
        """The state after the head, as committed."""
        return self._storage

    def append(self, records: Sequence[Record], now_ms: int) -> list[Entry]:
        """Chain ``records`` behind the head and commit them with the rows they change, as one durable transaction.

        A clock that went back does not take the journal with it: time never falls from one entry to the next. Raises
        ``LocalProtocolError(disk_full)`` with nothing appended.
        """
        assert len(records) <= APPEND_MAX
        if not records:
            return []
        sequence, prev_hash = self._head.sequence, self._head.hash
        time_ms = max(now_ms, self._head.time_ms)
        entries: list[Entry] = []
        with self._storage.snapshot() as stored:  # nobody else commits, so one look at the disk serves all records
            state = Overlay(stored)
            for record in records:
                sequence += 1
                entry = chain(record, sequence=sequence, time_ms=time_ms, prev_hash=prev_hash)
                state.write(self._reduce(state, entry))
                entries.append(entry)
                prev_hash = entry.hash
        self._storage.commit(entries, state.changes())
        self._head = _head_of(entries[-1])
        return entries

    def iterate(self, from_sequence: int = 1) -> Iterator[Entry]:
        """Entries from ``from_sequence`` on, read page by page: no transaction stays open while the caller works on one."""
        while True:
            with self._storage.snapshot() as stored:
                page = list(islice(stored.entries(from_sequence), PAGE_ENTRIES))
            yield from page
            if len(page) < PAGE_ENTRIES:
                return
            from_sequence = page[-1].sequence + 1

    def check(self) -> Head:
        """Verify every link of the chain, replay it, and compare the outcome with every row on disk.

        Raises ``LocalProtocolError(journal_broken)`` naming the first sequence or row that does not fit. Returns the head it reached.
        """
        with self._storage.snapshot() as stored:
            return _checked(stored, self._reduce)


def verified(entries: Iterable[Entry], after: Head) -> Iterator[Entry]:
    """Pass on entries that continue the chain behind ``after``; each has proven its own hash when it was decoded.

    Raises ``LocalProtocolError(journal_broken)`` naming the first that does not.
    """
    for entry in entries:
        if entry.sequence != after.sequence + 1:
            raise broken(after.sequence + 1, f"is missing; entry {entry.sequence} follows entry {after.sequence}")
        if entry.prev_hash != after.hash:
            raise broken(entry.sequence, "does not follow from the entry before it")
        if entry.time_ms < after.time_ms:
            raise broken(entry.sequence, "is older than the entry before it")
        yield entry
        after = _head_of(entry)


def replay(entries: Iterable[Entry], reduce: Reducer) -> MemoryStateStorage:
    """The state that ``entries`` fold into."""
    state = MemoryStateStorage()
    for entry in entries:
        state.write(list(reduce(state, entry)))
    return state


def export_lines(entries: Iterable[Entry]) -> Iterator[str]:
    """Entries as JSON lines, whole: whoever holds them can recompute every hash. Bytes are lower-case hex."""
    for entry in entries:
        line = {
            "v": 1,
            "sequence": entry.sequence,
            "time_ms": entry.time_ms,
            "kind": entry.record.kind.name.lower(),
            "subject": entry.record.subject.hex(),
            "body": entry.record.body.hex(),
            "prev_hash": entry.prev_hash.hex(),
            "hash": entry.hash.hex(),
        }
        yield json.dumps(line, separators=(",", ":"))


def _checked(stored: StateSnapshot, reduce: Reducer) -> Head:
    """Replay a snapshot from its first entry and compare the rows."""
    reached = GENESIS

    def walked() -> Iterator[Entry]:
        nonlocal reached
        for entry in verified(stored.entries(), GENESIS):
            yield entry
            reached = _head_of(entry)

    replayed = replay(walked(), reduce)
    for expected, found in zip_longest(replayed.rows(), stored.rows()):
        if expected != found:
            first = min((row for row in (expected, found) if row is not None), key=lambda row: (row.table, row.key))
            raise LocalProtocolError(
                ErrorCode.JOURNAL_BROKEN,
                f"row {first.key.hex()} of {first.table} is not what entries 1 to {reached.sequence} fold into",
            )
    return reached


def _head_of(entry: Entry | None) -> Head:
    return GENESIS if entry is None else Head(sequence=entry.sequence, time_ms=entry.time_ms, hash=entry.hash)


GENESIS: Final = Head(sequence=0, time_ms=0, hash=GENESIS_HASH)
