"""The state on disk: ``state/``, with its one writer. What ``commit`` returned from is still there after ``kill -9`` or a power cut.

Its tables are ``journal/1`` (big-endian sequence → entry) and ``rows/1`` (table name ‖ 0x00 ‖ key → value). Rows of all tables share one
LMDB table: a new kind of row needs no new handle, and a reader beside the writer never meets a table it has not opened.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from retrieval.errors import ErrorCode, LocalProtocolError
from retrieval.ledger.entry import Entry, decode_entry
from retrieval.ledger.state import Row, check_row
from retrieval.store.lmdb.environment import MAP_BYTES_INITIAL, Environment, Table, Transaction
from retrieval.store.lmdb.lock import StateLock

LOCK_NAME: Final = "lock"

_JOURNAL: Final = b"journal/1"
_ROWS: Final = b"rows/1"
_SEPARATOR: Final = b"\x00"


class LmdbStateStorage:
    """``StateStorage`` in an LMDB environment. Commits belong to one thread, reads to any; readers never wait for the writer."""

    def __init__(self, path: Path, *, lock: StateLock | None, map_bytes: int = MAP_BYTES_INITIAL) -> None:
        self._lock = lock
        try:
            self._environment = Environment(path, (_JOURNAL, _ROWS), sync_meta=True, readonly=lock is None, map_bytes=map_bytes)
        except BaseException:
            if lock is not None:
                lock.release()
            raise
        self._journal, self._rows = map(self._environment.table, (_JOURNAL, _ROWS))

    @classmethod
    def open(cls, path: Path, *, command: str, wait_s: float = 0.0, map_bytes: int = MAP_BYTES_INITIAL) -> LmdbStateStorage:
        """Take ``path/lock``, waiting up to ``wait_s`` for it, and open or make the environment for writing.

        Raises ``LocalProtocolError``: ``state_locked`` naming the holder, ``disk_full``, ``store_broken``.
        """
        return cls(path, lock=StateLock(path / LOCK_NAME, command=command, wait_s=wait_s), map_bytes=map_bytes)

    @classmethod
    def open_readonly(cls, path: Path) -> LmdbStateStorage:
        """Open for reading, beside a writer or without one. Raises ``LocalProtocolError(not_initialised)``, ``store_broken``."""
        return cls(path, lock=None)

    def get(self, table: str, key: bytes) -> bytes | None:
        with self.snapshot() as stored:
            return stored.get(table, key)

    def scan(self, table: str, prefix: bytes = b"") -> list[tuple[bytes, bytes]]:
        with self.snapshot() as stored:
            return stored.scan(table, prefix)

    def commit(self, entries: Sequence[Entry], rows: Iterable[Row]) -> None:
        encoded = [(_sequence_key(entry.sequence), entry.encode()) for entry in entries]
        changed = [(_row_key(row.table, row.key), row.value) for row in map(check_row, rows)]

        def work(transaction: Transaction) -> None:
            for key, entry in encoded:
                # Appending checks the order: LMDB refuses a key that is not above the last one.
                if not transaction.put(key, entry, append=True, overwrite=False, db=self._journal):
                    raise LocalProtocolError(ErrorCode.JOURNAL_BROKEN, f"entry {int.from_bytes(key, 'big')} is already there")
            for key, value in changed:
                if value is None:
                    transaction.delete(key, db=self._rows)
                else:
                    transaction.put(key, value, db=self._rows)

        self._environment.write(work)

    @contextmanager
    def snapshot(self) -> Iterator[LmdbStateSnapshot]:
        with self._environment.read() as transaction:
            yield LmdbStateSnapshot(transaction, self._journal, self._rows)

    def close(self) -> None:
        """Let go of the files, then of the lock."""
        self._environment.close()
        if self._lock is not None:
            self._lock.release()


class LmdbStateSnapshot:
    """``StateSnapshot`` of one read transaction, which it does not outlive."""

    def __init__(self, transaction: Transaction, journal: Table, rows: Table) -> None:
        self._transaction = transaction
        self._journal = journal
        self._rows = rows

    def get(self, table: str, key: bytes) -> bytes | None:
        value = self._transaction.get(_row_key(table, key), db=self._rows)
        return None if value is None else bytes(value)

    def scan(self, table: str, prefix: bytes = b"") -> list[tuple[bytes, bytes]]:
        start = _row_key(table, prefix)
        key_at = len(start) - len(prefix)
        found = []
        for key, value in self._cursor_from(self._rows, start):
            if key[: len(start)] != start:
                break
            found.append((bytes(key[key_at:]), bytes(value)))
        return found

    def entries(self, from_sequence: int = 1) -> Iterator[Entry]:
        for key, encoded in self._cursor_from(self._journal, _sequence_key(max(1, from_sequence))):
            yield decode_entry(int.from_bytes(key, "big"), bytes(encoded))

    def last_entry(self) -> Entry | None:
        cursor = self._transaction.cursor(db=self._journal)
        return decode_entry(int.from_bytes(cursor.key(), "big"), bytes(cursor.value())) if cursor.last() else None

    def rows(self) -> Iterator[Row]:
        for key, value in self._cursor_from(self._rows, _SEPARATOR):
            name, _, row_key = bytes(key).partition(_SEPARATOR)
            yield Row(table=name.decode("ascii"), key=row_key, value=bytes(value))

    def _cursor_from(self, table: Table, key: bytes) -> Iterator[tuple[memoryview, memoryview]]:
        cursor = self._transaction.cursor(db=table)
        return iter(cursor.iternext()) if cursor.set_range(key) else iter(())


def _sequence_key(sequence: int) -> bytes:
    return sequence.to_bytes(8, "big")


def _row_key(table: str, key: bytes) -> bytes:
    return table.encode("ascii") + _SEPARATOR + key
