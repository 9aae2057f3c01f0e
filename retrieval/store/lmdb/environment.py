"""One LMDB environment: its map, its transactions, and its errors in the registry's words.

One rule: no transaction, and no view of mapped memory, outlives the call it was opened for.

``py-lmdb`` from 1.6 to 3.0 is served: the older ones leave it to the caller that no transaction is open while the map is replaced, so a
gate here lets transactions in together and a resize in alone.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Condition, get_ident
from typing import Final, TypeAlias, TypeVar

import lmdb

from retrieval.errors import ErrorCode, LocalProtocolError
from retrieval.store.lmdb.failure import DATA_NAME, lmdb_failure
from retrieval.store.lmdb.folder import make_folder, sync_folder

T = TypeVar("T")
Transaction: TypeAlias = "lmdb.Transaction[memoryview]"
Table: TypeAlias = "lmdb._Database"

MAP_BYTES_INITIAL: Final = 1 << 30  # address space, not disk: without MDB_WRITEMAP the file grows by what is written
MAP_BYTES_MAX: Final = 1 << 46  # half of what x86-64 gives a process
READERS_MAX: Final = 512  # concurrent read transactions, over all processes
TABLES_MAX: Final = 8


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

        ``sync_meta`` False leaves the newest commit to the kernel's leisure (see ``BlockIndex``). Raises ``LocalProtocolError``:
        ``not_initialised`` when there is nothing to read, ``disk_full``, ``file_unreadable``, ``store_broken``.
        """
        self._path = path
        self._gate = _Gate()
        self._readonly = readonly
        if readonly and not (path / DATA_NAME).exists():
            raise LocalProtocolError(ErrorCode.NOT_INITIALISED, f"{path.name}/ holds no data yet")
        if not readonly:
            make_folder(path)
        with self._door():
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

    def has_table(self, name: bytes) -> bool:
        """Whether the environment holds a table, one that was not asked for included."""
        with self.read() as transaction:
            return transaction.get(name) is not None

    @contextmanager
    def read(self) -> Iterator[Transaction]:
        """A read transaction that gives memoryviews; copy what must live on."""
        with self._door(), self._transaction(write=False) as transaction:
            yield transaction

    def get_many(self, name: bytes, keys: Sequence[bytes]) -> list[bytes | None]:
        """The values of ``keys`` in one table, in their order, copied: ``read`` by the shortest way, for what is asked once a block."""
        table = self._tables[name]
        try:
            with self._gate.shared, self._env.begin(db=table) as transaction:
                return [transaction.get(key) for key in keys]
        except (lmdb.MapResizedError, lmdb.ReadersFullError):  # rare, and answered there
            with self.read() as transaction:
                found = [transaction.get(key, db=table) for key in keys]
                return [None if value is None else bytes(value) for value in found]
        except lmdb.Error as error:
            raise lmdb_failure(error, self._path) from error

    def write(self, work: Callable[[Transaction], T]) -> T:
        """Run ``work`` in a write transaction and commit it.

        ``work`` starts again from nothing when the map had to grow, so it must not consume what it is given.
        """
        assert not self._readonly, "opened for reading"
        assert not self._gate.holds_this_thread, "a growing map would wait for this thread's own reading for ever"
        while True:
            try:
                with self._door(), self._transaction(write=True) as transaction:
                    return work(transaction)
            except lmdb.MapFullError:
                self._grow()

    def sync(self) -> None:
        """Make everything committed durable."""
        with self._door(), self._gate.shared:
            self._env.sync(True)

    def close(self) -> None:
        with self._gate.alone():
            self._env.close()

    @contextmanager
    def _transaction(self, *, write: bool) -> Iterator[Transaction]:
        while True:
            with self._gate.shared:
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
            with suppress(lmdb.NotFoundError):
                return {name: self._env.open_db(name, create=False) for name in names}
        # LMDB syncs the new file, but not its name. This comes before the tables, so that whoever finds them need not do it again.
        for folder in (self._path, self._path.parent):
            sync_folder(folder)
        return self.write(lambda transaction: {name: self._env.open_db(name, txn=transaction) for name in names})

    def _fill_to_claimed_end(self) -> None:
        """Make the file as long as its meta page says, with a hole.

        Reading a page behind the end of a file that was cut, by a bad restore or a bad disk, is a SIGBUS; in a hole it is an empty page,
        which LMDB reports. A shorter file is not yet a broken one: pages allocated and freed in one transaction are never written. The
        write transaction keeps other writers from lengthening the file meanwhile.
        """
        file = self._path / DATA_NAME
        with self._transaction(write=True):
            claimed_bytes = (self._env.info()["last_pgno"] + 1) * self._env.stat()["psize"]
            if file.stat().st_size < claimed_bytes:
                os.truncate(file, claimed_bytes)

    def _free_dead_readers(self) -> None:
        """A reader killed in a transaction keeps its slot, and with it every page freed since from being used again."""
        with self._door(), self._gate.shared:
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
        except lmdb.Error as error:
            raise lmdb_failure(error, self._path) from error


class _Gate:
    """Many may be inside together, by ``with gate.shared``, or one alone. Whoever waits to be alone keeps newcomers out."""

    def __init__(self) -> None:
        self.shared: Final = _SharedEntrance(self)
        self._changed = Condition()
        self._inside: list[int] = []  # thread ids
        self._closed = False

    @property
    def holds_this_thread(self) -> bool:
        return get_ident() in self._inside

    def enter(self) -> None:
        thread = get_ident()
        with self._changed:
            # A thread that is inside may go in again: to make it wait would be to wait for it.
            if self._closed and thread not in self._inside:
                self._changed.wait_for(lambda: not self._closed)
            self._inside.append(thread)

    def leave(self) -> None:
        with self._changed:
            self._inside.remove(get_ident())
            if self._closed:
                self._changed.notify_all()

    @contextmanager
    def alone(self) -> Iterator[None]:
        with self._changed:
            self._changed.wait_for(lambda: not self._closed)
            self._closed = True
            self._changed.wait_for(lambda: not self._inside)
        try:
            yield
        finally:
            with self._changed:
                self._closed = False
                self._changed.notify_all()


class _SharedEntrance:
    """A class, since a generator would take as long as the lookup it guards."""

    __slots__ = ("_gate",)

    def __init__(self, gate: _Gate) -> None:
        self._gate: Final = gate

    def __enter__(self) -> None:
        self._gate.enter()

    def __exit__(self, *error: object) -> None:
        self._gate.leave()
