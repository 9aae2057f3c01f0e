"""Where the development chain keeps its state: a key-value table in memory, saved to one SQLite file after every change.

One rule: a file always holds the chain as it was after some answered request, whenever the process dies.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Final

from eth.db.backends.base import BaseDB

from retrieval.errors import ErrorCode, LocalProtocolError

FORMAT: Final = 1  # of the file, in SQLite's user_version


class ChainDatabase(BaseDB):  # type: ignore[misc]  # py-evm has no type information
    """py-evm's key-value store, with checkpoints to go back to and a file to survive in."""

    def __init__(self, path: Path | None) -> None:
        """Open or create the file; None keeps the chain in memory only.

        Raises ``LocalProtocolError``: ``state_locked`` when another process has it, ``file_unreadable`` when it is something else.
        """
        self._entries: dict[bytes, bytes] = {}
        self._unsaved: set[bytes] = set()
        self._undo: list[tuple[bytes, bytes | None]] = []
        self._undoing = False
        self._path: Final = path
        self._file: Final = None if path is None else self._open(path)

    def __getitem__(self, key: bytes) -> bytes:
        return self._entries[key]

    def __setitem__(self, key: bytes, value: bytes) -> None:
        self._remember(key)
        self._entries[key] = value

    def __delitem__(self, key: bytes) -> None:
        if key not in self._entries:
            raise KeyError(key)
        self._remember(key)
        del self._entries[key]

    def _exists(self, key: bytes) -> bool:
        return key in self._entries

    def checkpoint(self) -> int:
        """A mark that `rollback` goes back to."""
        self._undoing = True
        return len(self._undo)

    def rollback(self, mark: int) -> None:
        """Make every entry what it was at the mark."""
        while len(self._undo) > mark:
            key, value = self._undo.pop()
            self._unsaved.add(key)
            if value is None:
                self._entries.pop(key, None)
            else:
                self._entries[key] = value

    def save(self) -> None:
        """Bring the file up to date in one synced transaction. Raises ``LocalProtocolError(disk_full)``."""
        if self._file is None or not self._unsaved:
            self._unsaved.clear()
            return
        changed = [(key, self._entries[key]) for key in self._unsaved if key in self._entries]
        gone = [(key,) for key in self._unsaved if key not in self._entries]
        try:
            with self._file:
                self._file.executemany("INSERT OR REPLACE INTO entries VALUES (?, ?)", changed)
                self._file.executemany("DELETE FROM entries WHERE key = ?", gone)
        except sqlite3.OperationalError as error:
            raise LocalProtocolError(ErrorCode.DISK_FULL, f"{self._path}: {error}") from error
        self._unsaved.clear()

    def close(self) -> None:
        """Let go of the file. What was not saved is dropped."""
        if self._file is not None:
            self._file.close()

    def _remember(self, key: bytes) -> None:
        self._unsaved.add(key)
        if self._undoing:
            self._undo.append((key, self._entries.get(key)))

    def _open(self, path: Path) -> sqlite3.Connection:
        try:
            # The chain lives in one worker thread, but is opened and closed by the thread that owns the server.
            file = sqlite3.connect(path, timeout=0, check_same_thread=False)
        except sqlite3.OperationalError as error:
            raise LocalProtocolError(ErrorCode.FILE_UNREADABLE, f"{path}: {error}") from error
        try:
            self._entries = _read_entries(file, path)
        except sqlite3.DatabaseError as error:
            file.close()
            locked = error.sqlite_errorcode in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
            raise LocalProtocolError(ErrorCode.STATE_LOCKED if locked else ErrorCode.FILE_UNREADABLE, f"{path}: {error}") from error
        except LocalProtocolError:
            file.close()
            raise
        return file


def _read_entries(file: sqlite3.Connection, path: Path) -> dict[bytes, bytes]:
    """Take the file for ourselves, and read it."""
    file.execute("PRAGMA locking_mode = EXCLUSIVE")
    file.execute("PRAGMA synchronous = FULL")
    (found,) = file.execute("PRAGMA user_version").fetchone()
    if found not in (0, FORMAT):
        raise LocalProtocolError(ErrorCode.FILE_UNREADABLE, f"{path} has format {found}, and this program writes {FORMAT}")
    with file:
        file.execute("CREATE TABLE IF NOT EXISTS entries (key BLOB PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID")
        file.execute(f"PRAGMA user_version = {FORMAT}")
    return dict(file.execute("SELECT key, value FROM entries"))
