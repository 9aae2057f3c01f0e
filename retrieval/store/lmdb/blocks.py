"""The block store on disk: ``blocks/``, which several processes may open, one store object each.

Its tables are ``blocks/1`` (CID → payload), ``roots/1`` (CID → CBOR) and ``meta/1`` (the payload bytes held, kept in the transaction that
changes them, so that the limit holds over all processes).

How durable: every commit flushes its data pages, but its meta page, 4 KiB that make the commit count, goes out with the next commit or
``sync`` (LMDB's MDB_NOMETASYNC). A machine that loses power then falls back by whole commits and loses blocks that can be fetched again;
the tree itself stays sound, because the pages a commit frees are not reused before the commit after next, whose flush carried the meta
page. The two faster ways are refused. Without any flush (MDB_NOSYNC) the kernel may write the meta page before the pages it names, and
the whole environment is lost, pinned content included. With MDB_WRITEMAP a full disk is a SIGBUS instead of an error.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final, TypeVar

from retrieval._native import Buffer
from retrieval.cid import Cid
from retrieval.errors import ErrorCode, LocalProtocolError, RemoteProtocolError
from retrieval.store.blocks import Root, use_views
from retrieval.store.lmdb.environment import MAP_BYTES_INITIAL, Environment, Transaction
from retrieval.wire import cbor

T = TypeVar("T")

_BLOCKS: Final = b"blocks/1"
_ROOTS: Final = b"roots/1"
_META: Final = b"meta/1"
_BYTES_USED: Final = b"bytes_used"


class LmdbBlockStore:
    """``BlockStore`` in an LMDB environment. Every call is synchronous, may be made from any thread, and is one transaction."""

    def __init__(self, path: Path, *, bytes_max: int, readonly: bool = False, map_bytes: int = MAP_BYTES_INITIAL) -> None:
        """Open or make the store in folder ``path``. Raises ``LocalProtocolError`` as ``Environment`` does."""
        self._environment = Environment(path, (_BLOCKS, _ROOTS, _META), sync_meta=False, readonly=readonly, map_bytes=map_bytes)
        self._blocks, self._roots, self._meta = map(self._environment.table, (_BLOCKS, _ROOTS, _META))
        self._bytes_max = bytes_max

    def get(self, cid: Cid) -> bytes | None:
        return self.view(cid, bytes)

    def read_many(self, cids: Sequence[Cid]) -> list[bytes | None]:
        """The payloads of ``cids`` in their order, None where there is none, read in one transaction."""
        with self._environment.read() as transaction:
            found = [transaction.get(cid, db=self._blocks) for cid in cids]
            return [None if payload is None else bytes(payload) for payload in found]

    def view(self, cid: Cid, use: Callable[[memoryview], T]) -> T | None:
        """What ``use`` makes of the payload where it lies in the map, or None when the block is not held.

        The view, and every slice of it, is dead when ``use`` returns: hash, copy or encrypt inside.
        """
        with self._environment.read() as transaction:
            payload = transaction.get(cid, db=self._blocks)
            if payload is None:
                return None
            with memoryview(payload) as view:
                return use(view)

    def view_many(self, cids: Sequence[Cid], use: Callable[[Sequence[memoryview | None]], T]) -> T:
        with self._environment.read() as transaction:
            return use_views([transaction.get(cid, db=self._blocks) for cid in cids], use)

    def size(self, cid: Cid) -> int | None:
        return self.view(cid, len)

    def put_many(self, blocks: Iterable[tuple[Cid, Buffer]]) -> None:
        batch = dict(blocks)
        self._environment.write(lambda transaction: self._put(transaction, batch))

    def delete_many(self, cids: Iterable[Cid]) -> int:
        doomed = list(cids)
        return self._environment.write(lambda transaction: self._delete(transaction, doomed))

    def pin(self, root: Root) -> None:
        encoded = cbor.encode({0: root.name, 1: root.n_bytes, 2: root.n_blocks, 3: root.file_bytes})
        self._environment.write(lambda transaction: transaction.put(root.cid, encoded, db=self._roots))

    def unpin(self, cid: Cid) -> bool:
        return self._environment.write(lambda transaction: bool(transaction.delete(cid, db=self._roots)))

    def root(self, cid: Cid) -> Root | None:
        with self._environment.read() as transaction:
            encoded = transaction.get(cid, db=self._roots)
            return None if encoded is None else _decode_root(cid, bytes(encoded))

    def roots(self) -> Iterator[Root]:
        with self._environment.read() as transaction:
            return iter([_decode_root(bytes(cid), bytes(encoded)) for cid, encoded in transaction.cursor(db=self._roots)])

    def bytes_used(self) -> int:
        with self._environment.read() as transaction:
            return self._used(transaction)

    @property
    def bytes_max(self) -> int:
        return self._bytes_max

    def sync(self) -> None:
        self._environment.sync()

    def close(self) -> None:
        """Make everything durable and let go of the files."""
        self._environment.close()

    def _put(self, transaction: Transaction, batch: dict[Cid, Buffer]) -> None:
        fresh = {cid: payload for cid, payload in batch.items() if transaction.get(cid, db=self._blocks) is None}
        grown = self._used(transaction) + sum(map(len, fresh.values()))
        if grown > self._bytes_max:
            raise LocalProtocolError(ErrorCode.STORE_FULL, f"{grown} bytes would be above the limit of {self._bytes_max}")
        for cid, payload in fresh.items():
            transaction.put(cid, payload, db=self._blocks)
        self._set_used(transaction, grown)

    def _delete(self, transaction: Transaction, cids: Sequence[Cid]) -> int:
        n_dropped, used = 0, self._used(transaction)
        for cid in cids:
            payload = transaction.get(cid, db=self._blocks)
            if payload is not None:
                used -= len(payload)
                n_dropped += transaction.delete(cid, db=self._blocks)
        self._set_used(transaction, used)
        return n_dropped

    def _used(self, transaction: Transaction) -> int:
        return int.from_bytes(transaction.get(_BYTES_USED, b"", db=self._meta), "big")

    def _set_used(self, transaction: Transaction, used: int) -> None:
        assert used >= 0
        transaction.put(_BYTES_USED, used.to_bytes(8, "big"), db=self._meta)


def _decode_root(cid: bytes, encoded: bytes) -> Root:
    try:
        fields = cbor.decode(encoded)
    except RemoteProtocolError as error:
        raise LocalProtocolError(ErrorCode.STORE_BROKEN, f"the root {cid.hex()} cannot be read: {error.detail}") from error
    return Root(cid=Cid(cid), name=fields[0], n_bytes=fields[1], n_blocks=fields[2], file_bytes=fields[3])
