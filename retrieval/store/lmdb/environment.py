"""One LMDB environment: its map, its transactions, and its errors in the registry's words.

One rule: no transaction, and no view of mapped memory, outlives the call it was opened for.

``py-lmdb`` from 1.6 to 3.0 is served: the older ones leave it to the caller that no transaction is open while the map is replaced, so a
gate here lets transactions in together and a resize in alone.
"""

from __future__ import annotations

import errno
import os
import resource
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Condition
from typing import Final, TypeAlias, TypeVar

import lmdb

from retrieval.errors import ErrorCode, LocalProtocolError

T = TypeVar("T")
Transaction: TypeAlias = "lmdb.Transaction[memoryview]"
Table: TypeAlias = "lmdb._Database"

MAP_BYTES_INITIAL: Final = 1 << 30  # address space, not disk: without MDB_WRITEMAP the file grows by what is written
MAP_BYTES_MAX: Final = 1 << 46  # half of what x86-64 gives a process
READERS_MAX: Final = 512  # concurrent read transactions, over all processes
DISK_RESERVE_BYTES: Final = 1 << 20  # a short write with less than this free is taken for a full disk
TABLES_MAX: Final = 8
DATA_NAME: Final = "data.mdb"

_FULL_WORDS: Final = tuple(os.strerror(number) for number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG))


class Environment:
    """An open environment with its tables. Every method may be called from any thread."""

    def __init__(
        self,
        path: Path,
        tables: Sequence[bytes],
        *,
        sync_meta: bool,
        readonly: bool = False,
        map_bytes: int = MAP_BYTES_INITIAL,
    ) -> None:
        """Open or make the environment in folder ``path``.

        ``sync_meta`` False leaves the newest commit to the kernel's leisure (see ``LmdbBlockStore``). Raises ``LocalProtocolError``:
        ``not_initialised`` when there is nothing to read, ``disk_full``, ``store_broken``.
        """
        self._path = path
        self._gate = _Gate()
        self._readonly = readonly
        if readonly and not (path / DATA_NAME).exists():
            raise LocalProtocolError(ErrorCode.NOT_INITIALISED, f"{path.name}/ holds no data yet")
        with self._door():
            if not readonly:
                path.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._env = lmdb.open(
                str(path),
                map_size=map_bytes,
                max_dbs=TABLES_MAX,
                max_readers=READERS_MAX,
                metasync=sync_meta,
                readonly=readonly,
                mode=0o600,
                create=not readonly,
            )
        try:
            self._free_dead_readers()
            self._tables = self._read_tables(tables) if readonly else self._make_tables(tables)
        except BaseException:
            self._env.close()
            raise

    def table(self, name: bytes) -> Table:
        return self._tables[name]

    @contextmanager
    def read(self) -> Iterator[Transaction]:
        """A read transaction that gives memoryviews; copy what must live on."""
        with self._door(), self._transaction(write=False) as transaction:
            yield transaction

    def write(self, work: Callable[[Transaction], T]) -> T:
        """Run ``work`` in a write transaction and commit it.

        ``work`` starts again from nothing when the map had to grow, so it must not consume what it is given.
        """
        assert not self._readonly, "opened for reading"
        while True:
            try:
                with self._door(), self._transaction(write=True) as transaction:
                    return work(transaction)
            except lmdb.MapFullError:
                self._grow()

    def sync(self) -> None:
        """Make everything committed durable."""
        with self._door(), self._gate.shared():
            self._env.sync(True)

    def close(self) -> None:
        with self._gate.alone():
            self._env.close()

    @contextmanager
    def _transaction(self, *, write: bool) -> Iterator[Transaction]:
        while True:
            with self._gate.shared():
                transaction = self._begin(write)
                if transaction is not None:
                    with transaction:
                        yield transaction
                    return
            with self._gate.alone():
                self._env.set_mapsize(0)  # takes the size from the file

    def _begin(self, write: bool) -> Transaction | None:
        """A transaction, or None when another process has made the map larger than ours."""
        try:
            return self._env.begin(write=write, buffers=True)
        except lmdb.MapResizedError:
            return None
        except lmdb.ReadersFullError:
            self._env.reader_check()
            return self._env.begin(write=write, buffers=True)

    def _read_tables(self, names: Sequence[bytes]) -> dict[bytes, Table]:
        with self._door():
            try:
                return {name: self._env.open_db(name, create=False) for name in names}
            except lmdb.NotFoundError as error:
                raise LocalProtocolError(ErrorCode.NOT_INITIALISED, f"{self._path.name}/ has no tables of this version") from error

    def _make_tables(self, names: Sequence[bytes]) -> dict[bytes, Table]:
        with self._door():
            self._fill_to_claimed_end()
        return self.write(lambda transaction: {name: self._env.open_db(name, txn=transaction) for name in names})

    def _fill_to_claimed_end(self) -> None:
        """Make the file as long as its meta page says, with a hole.

        Reading a page behind the end of a file that was cut, by a bad restore or a bad disk, is a SIGBUS; in a hole it is an empty page,
        which LMDB reports. A shorter file is not yet a broken one: pages allocated and freed in one transaction are never written. The
        write transaction keeps other writers from lengthening the file meanwhile.
        """
        file = self._path / DATA_NAME
        with self._env.begin(write=True):
            claimed_bytes = (self._env.info()["last_pgno"] + 1) * self._env.stat()["psize"]
            if file.stat().st_size < claimed_bytes:
                os.truncate(file, claimed_bytes)

    def _free_dead_readers(self) -> None:
        """A reader killed in a transaction keeps its slot, and with it every page freed since from being used again."""
        with self._door(), self._gate.shared():
            self._env.reader_check()

    def _grow(self) -> None:
        """Take the size the file knows of, from another process or an earlier run; when that is ours already, double it."""
        self._free_dead_readers()
        with self._door(), self._gate.alone():
            ours = self._env.info()["map_size"]
            self._env.set_mapsize(0)
            if self._env.info()["map_size"] > ours:
                return
            if 2 * ours > MAP_BYTES_MAX:
                raise LocalProtocolError(ErrorCode.STORE_FULL, f"{self._path.name}/ would need a map above {MAP_BYTES_MAX} bytes")
            self._env.set_mapsize(2 * ours)

    @contextmanager
    def _door(self) -> Iterator[None]:
        """Turn LMDB's errors into the registry's; ``MapFullError`` passes, since ``write`` answers it."""
        try:
            yield
        except lmdb.MapFullError:
            raise
        except (lmdb.Error, OSError) as error:
            raise self._translated(error) from error

    def _translated(self, error: lmdb.Error | OSError) -> LocalProtocolError:
        text = str(error)  # ends in the C library's words for an errno; py-lmdb before 3.0 gives no number
        if any(words in text for words in _FULL_WORDS) or (os.strerror(errno.EIO) in text and self._disk_is_full()):
            return LocalProtocolError(ErrorCode.DISK_FULL, f"while writing {self._path.name}/")
        if isinstance(error, lmdb.MemoryError):
            return LocalProtocolError(ErrorCode.STORE_FULL, f"{self._path.name}/ finds no address space for its map")
        return LocalProtocolError(ErrorCode.STORE_BROKEN, f"{self._path.name}/: {text}")

    def _disk_is_full(self) -> bool:
        """Whether LMDB's EIO was a write cut short by a full disk, which it does not tell from a broken one."""
        disk, (size_max, _) = os.statvfs(self._path), resource.getrlimit(resource.RLIMIT_FSIZE)
        if disk.f_bavail * disk.f_frsize < DISK_RESERVE_BYTES:
            return True
        return size_max != resource.RLIM_INFINITY and (self._path / DATA_NAME).stat().st_size + DISK_RESERVE_BYTES > size_max


class _Gate:
    """Many may be inside together, or one alone. Whoever waits to be alone keeps newcomers out."""

    def __init__(self) -> None:
        self._changed = Condition()
        self._n_inside = 0
        self._closed = False

    @contextmanager
    def shared(self) -> Iterator[None]:
        with self._changed:
            self._changed.wait_for(lambda: not self._closed)
            self._n_inside += 1
        try:
            yield
        finally:
            with self._changed:
                self._n_inside -= 1
                self._changed.notify_all()

    @contextmanager
    def alone(self) -> Iterator[None]:
        with self._changed:
            self._changed.wait_for(lambda: not self._closed)
            self._closed = True
            self._changed.wait_for(lambda: self._n_inside == 0)
        try:
            yield
        finally:
            with self._changed:
                self._closed = False
                self._changed.notify_all()
