"""The storage port of the journal, and its smallest implementation.

A storage keeps entries by sequence, and rows: the current state in named tables, which the entries fold into. One commit writes both, so
that the state on disk is never ahead of the journal or behind it. A table's name ends in its version, as in ``vouchers/1``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import cache
from typing import Final, NamedTuple, Protocol

from retrieval.ledger.entry import Entry, decode_entry

TABLE_NAME_SIZE_MAX: Final = 32  # bytes of ASCII
ROW_KEY_SIZE_MAX: Final = 256  # bytes; LMDB allows 511 for table name, separator and key together
ROW_VALUE_SIZE_MAX: Final = 256 * 1024  # bytes; a deal's quote, accept and last receipt together


class Row(NamedTuple):
    """One row of the current state to write, or with ``value`` None to delete. (A tuple: a payment writes ten.)"""

    table: str
    key: bytes
    value: bytes | None


def check_row(row: Row) -> Row:
    """Assert that a storage may keep this row; both storages ask as they write it."""
    assert _is_table_name(row.table)
    assert 0 < len(row.key) <= ROW_KEY_SIZE_MAX
    assert row.value is None or len(row.value) <= ROW_VALUE_SIZE_MAX
    return row


@cache
def _is_table_name(table: str) -> bool:
    """The names are constants of this program, and few."""
    return 0 < len(table) <= TABLE_NAME_SIZE_MAX and table.isascii() and "\x00" not in table  # a NUL ends it in LMDB keys


class StateView(Protocol):
    """The current state, as reducers and machines read it."""

    def get(self, table: str, key: bytes) -> bytes | None:
        """The row's value, or None."""
        ...

    def scan(self, table: str, prefix: bytes = b"") -> list[tuple[bytes, bytes]]:
        """The rows whose key starts with ``prefix``, in key order."""
        ...


class StateSnapshot(StateView, Protocol):
    """Everything stored, as of one moment."""

    def entries(self, from_sequence: int = 1) -> Iterator[Entry]:
        """Entries in sequence order. Raises ``LocalProtocolError(journal_broken)`` at one that cannot be read."""
        ...

    def last_entry(self) -> Entry | None:
        """The newest entry."""
        ...

    def rows(self) -> Iterator[Row]:
        """All rows, in the order of table names, then keys."""
        ...


class StateStorage(StateView, Protocol):
    """What the journal asks of a disk. Reading may be done from any thread, committing from one."""

    def commit(self, entries: Sequence[Entry], rows: Iterable[Row]) -> None:
        """Write all of it or none of it, durably before returning; of several rows with one key the last counts.

        Raises ``LocalProtocolError(disk_full)``, after which nothing of this call is stored and the next call may succeed.
        """
        ...

    def snapshot(self) -> AbstractContextManager[StateSnapshot]:
        """A frozen view. Neither it nor its iterators live on after the ``with``; its thread must not commit meanwhile."""
        ...


class MemoryStateStorage:
    """Entries and rows in dicts, for tests and for replaying a journal."""

    def __init__(self) -> None:
        self._entries: list[bytes] = []
        self._tables: dict[str, dict[bytes, bytes]] = {}
        self._n_snapshots = 0
        """That are open: what they show is replaced by the next change, and not changed itself."""

    def get(self, table: str, key: bytes) -> bytes | None:
        return self._tables.get(table, {}).get(key)

    def scan(self, table: str, prefix: bytes = b"") -> list[tuple[bytes, bytes]]:
        return sorted((key, value) for key, value in self._tables.get(table, {}).items() if key.startswith(prefix))

    def commit(self, entries: Sequence[Entry], rows: Iterable[Row]) -> None:
        self._leave_snapshots()
        for entry in entries:
            assert entry.sequence == len(self._entries) + 1
            self._entries.append(entry.encode())
        self.write(rows)

    def write(self, rows: Iterable[Row]) -> None:
        """Change rows alone, as a replay does."""
        self._leave_snapshots()
        for row in map(check_row, rows):
            table = self._tables.setdefault(row.table, {})
            if row.value is None:
                table.pop(row.key, None)
            else:
                table[row.key] = row.value

    @contextmanager
    def snapshot(self) -> Iterator[MemoryStateStorage]:
        frozen = MemoryStateStorage()
        frozen._entries, frozen._tables = self._entries, self._tables
        self._n_snapshots += 1
        try:
            yield frozen
        finally:
            self._n_snapshots -= 1

    def _leave_snapshots(self) -> None:
        if self._n_snapshots:
            self._entries = list(self._entries)
            self._tables = {name: dict(table) for name, table in self._tables.items()}

    def entries(self, from_sequence: int = 1) -> Iterator[Entry]:
        for sequence in range(max(1, from_sequence), len(self._entries) + 1):
            yield decode_entry(sequence, self._entries[sequence - 1])

    def last_entry(self) -> Entry | None:
        return decode_entry(len(self._entries), self._entries[-1]) if self._entries else None

    def rows(self) -> Iterator[Row]:
        for name in sorted(self._tables):
            for key, value in sorted(self._tables[name].items()):
                yield Row(table=name, key=key, value=value)


class Overlay:
    """A state with rows on top that are not committed yet: each record of an append sees what those before it did."""

    def __init__(self, below: StateView) -> None:
        self._below = below
        self._changes: dict[tuple[str, bytes], Row] = {}

    def get(self, table: str, key: bytes) -> bytes | None:
        changed = self._changes.get((table, key))
        return self._below.get(table, key) if changed is None else changed.value

    def scan(self, table: str, prefix: bytes = b"") -> list[tuple[bytes, bytes]]:
        merged: dict[bytes, bytes | None] = dict(self._below.scan(table, prefix))
        merged |= {row.key: row.value for row in self._changes.values() if row.table == table and row.key.startswith(prefix)}
        return sorted((key, value) for key, value in merged.items() if value is not None)

    def write(self, rows: Iterable[Row]) -> None:
        for row in rows:
            self._changes[row.table, row.key] = row

    def changes(self) -> list[Row]:
        """What has been written on top: one row a key."""
        return list(self._changes.values())
