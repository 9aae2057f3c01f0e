"""The index of the block store: which block lies where, what is known of each segment, and what is pinned.

Its tables are ``places/1`` (CID → segment, offset, size), ``segments/1`` (number → end, live bytes), ``roots/1`` (CID → CBOR) and
``meta/1`` (counters, kept in the transaction that changes them, so that they hold over all processes). It holds no payload: that is the
business of ``retrieval.store.disk``, which keeps the one rule both live by, that an entry is written after the bytes it names are safe.

How durable: every commit flushes its data pages, but its meta page, 4 KiB that make the commit count, goes out with the next commit or
``sync`` (LMDB's MDB_NOMETASYNC). A machine that loses power then falls back by whole commits, and finds the blocks of those it lost again
where segments are recovered; the tree itself stays sound, because the pages a commit frees are not reused before the commit after next,
whose flush carried the meta page. The two faster ways are refused. Without any flush (MDB_NOSYNC) the kernel may write the meta page
before the pages it names, and the whole environment is lost, pinned content included. With MDB_WRITEMAP a full disk is a SIGBUS instead
of an error.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from retrieval.cid import Cid
from retrieval.errors import ErrorCode, LocalProtocolError, RemoteProtocolError
from retrieval.store.blocks import Root
from retrieval.store.lmdb.environment import MAP_BYTES_INITIAL, Environment, Transaction
from retrieval.wire import cbor

_PLACES: Final = b"places/1"
_SEGMENTS: Final = b"segments/1"
_ROOTS: Final = b"roots/1"
_META: Final = b"meta/1"
_TABLES: Final = (_PLACES, _SEGMENTS, _ROOTS, _META)
_PAYLOADS: Final = b"blocks/1"  # of a store from before there were segments

_BYTES_USED: Final = b"bytes_used"
_LAST_SEGMENT: Final = b"last_segment"

_PLACE: Final = struct.Struct(">IQI")
_SEGMENT: Final = struct.Struct(">QQ")
_NUMBER: Final = struct.Struct(">I")
_HEAD_BYTES: Final = 26  # of a record, beside its CID: what a block takes in a segment is its payload, its CID and these


class Place(NamedTuple):
    """Where a payload lies."""

    segment: int
    offset: int
    size: int


class SegmentRow(NamedTuple):
    """What is known of a segment."""

    end: int
    """Below it, everything is indexed or dead; from it on, there may be blocks that a writer has not indexed yet."""
    live_bytes: int
    """Bytes of the records that are indexed here."""

    @property
    def dead_bytes(self) -> int:
        return max(0, self.end - self.live_bytes)


_UNKNOWN: Final = SegmentRow(0, 0)


class BlockIndex:
    """Every call is synchronous, may be made from any thread, and is one transaction."""

    def __init__(self, path: Path, *, readonly: bool, map_bytes: int = MAP_BYTES_INITIAL) -> None:
        """Open or make the index in folder ``path``.

        Raises ``LocalProtocolError`` as ``Environment`` does, and ``store_broken`` for a store that keeps payloads in LMDB.
        """
        self._environment = Environment(path, _TABLES, sync_meta=False, readonly=readonly, map_bytes=map_bytes)
        if self._environment.has_table(_PAYLOADS):
            self._environment.close()
            detail = f"{path.name}/ was made by a version that kept payloads in LMDB; move it away, then add or get its content again"
            raise LocalProtocolError(ErrorCode.STORE_BROKEN, detail)
        self._places, self._segments, self._roots, self._meta = map(self._environment.table, _TABLES)

    # blocks

    def place(self, cid: Cid) -> Place | None:
        (encoded,) = self._environment.get_many(_PLACES, (cid,))
        return None if encoded is None else Place._make(_PLACE.unpack(encoded))

    def places(self, cids: Sequence[Cid]) -> list[Place | None]:
        """In the order of ``cids``."""
        found = self._environment.get_many(_PLACES, cids)
        return [None if encoded is None else Place._make(_PLACE.unpack(encoded)) for encoded in found]

    def cids(self) -> list[Cid]:
        """Of all blocks."""
        with self._environment.read() as transaction:
            return [Cid(bytes(cid)) for cid in transaction.cursor(db=self._places).iternext(values=False)]

    def bytes_used(self) -> int:
        """Payload bytes of all blocks."""
        (encoded,) = self._environment.get_many(_META, (_BYTES_USED,))
        return int.from_bytes(encoded or b"", "big")

    def add(self, segment: int, end: int, places: Mapping[Cid, Place]) -> None:
        """Enter blocks of one segment, which reaches to ``end``. A block that has a place keeps it."""

        def work(transaction: Transaction) -> None:
            live_bytes, used = self._row(transaction, segment).live_bytes, self._counter(transaction, _BYTES_USED)
            for cid, place in places.items():
                assert place.segment == segment
                assert place.offset + place.size <= end
                if transaction.put(cid, _PLACE.pack(*place), overwrite=False, db=self._places):
                    live_bytes += _record_bytes(cid, place)
                    used += place.size
            self._set_row(transaction, segment, SegmentRow(end, live_bytes))
            self._set_counter(transaction, _BYTES_USED, used)

        self._environment.write(work)

    def move(self, moves: Mapping[Cid, tuple[Place, Place]], end: int) -> None:
        """Let blocks that still lie in the first place lie in the second, in a segment which then reaches to ``end``."""

        def work(transaction: Transaction) -> None:
            for cid, (old, new) in moves.items():
                assert new.offset + new.size <= end
                lies_there = transaction.get(cid, b"", db=self._places) == _PLACE.pack(*old)
                if lies_there:
                    transaction.put(cid, _PLACE.pack(*new), db=self._places)
                    self._weigh(transaction, old.segment, -_record_bytes(cid, old))
                self._weigh(transaction, new.segment, _record_bytes(cid, new) if lies_there else 0, end)

        self._environment.write(work)

    def remove(self, cids: Sequence[Cid]) -> tuple[int, set[int]]:
        """Forget blocks; returns how many there were, and the segments that have no other."""

        def work(transaction: Transaction) -> tuple[int, set[int]]:
            n_removed, used, touched = 0, self._counter(transaction, _BYTES_USED), set[int]()
            for cid in cids:
                encoded = transaction.get(cid, db=self._places)
                if encoded is not None:
                    place = Place._make(_PLACE.unpack(encoded))
                    n_removed += transaction.delete(cid, db=self._places)
                    used -= place.size
                    touched.add(place.segment)
                    self._weigh(transaction, place.segment, -_record_bytes(cid, place))
            self._set_counter(transaction, _BYTES_USED, used)
            return n_removed, {number for number in touched if not self._row(transaction, number).live_bytes}

        return self._environment.write(work)

    # segments

    def segment(self, number: int) -> SegmentRow:
        (encoded,) = self._environment.get_many(_SEGMENTS, (_NUMBER.pack(number),))
        return _UNKNOWN if encoded is None else SegmentRow._make(_SEGMENT.unpack(encoded))

    def segments(self) -> dict[int, SegmentRow]:
        """By their numbers, in that order."""
        with self._environment.read() as transaction:
            rows = transaction.cursor(db=self._segments)
            return {_NUMBER.unpack(number)[0]: SegmentRow._make(_SEGMENT.unpack(row)) for number, row in rows}

    def new_segment(self) -> int:
        """A number that no segment ever had."""

        def work(transaction: Transaction) -> int:
            number = self._counter(transaction, _LAST_SEGMENT) + 1
            self._set_counter(transaction, _LAST_SEGMENT, number)
            return number

        return self._environment.write(work)

    def forget_segments(self, numbers: Iterable[int]) -> None:
        """Forget segments whose files are gone, unless blocks should be in them: then it stays known that they are missing."""
        gone = list(numbers)

        def work(transaction: Transaction) -> None:
            for number in gone:
                if not self._row(transaction, number).live_bytes:
                    transaction.delete(_NUMBER.pack(number), db=self._segments)

        self._environment.write(work)

    # roots

    def pin(self, root: Root) -> None:
        encoded = cbor.encode({0: root.name, 1: root.n_bytes, 2: root.n_blocks, 3: root.file_bytes})
        self._environment.write(lambda transaction: transaction.put(root.cid, encoded, db=self._roots))

    def unpin(self, cid: Cid) -> bool:
        return self._environment.write(lambda transaction: bool(transaction.delete(cid, db=self._roots)))

    def root(self, cid: Cid) -> Root | None:
        (encoded,) = self._environment.get_many(_ROOTS, (cid,))
        return None if encoded is None else _decode_root(cid, encoded)

    def roots(self) -> Iterator[Root]:
        with self._environment.read() as transaction:
            return iter([_decode_root(bytes(cid), bytes(encoded)) for cid, encoded in transaction.cursor(db=self._roots)])

    # the environment

    def sync(self) -> None:
        """Make the newest commit durable."""
        self._environment.sync()

    def close(self) -> None:
        self._environment.close()

    # within a transaction

    def _row(self, transaction: Transaction, number: int) -> SegmentRow:
        encoded = transaction.get(_NUMBER.pack(number), db=self._segments)
        return _UNKNOWN if encoded is None else SegmentRow._make(_SEGMENT.unpack(encoded))

    def _set_row(self, transaction: Transaction, number: int, row: SegmentRow) -> None:
        assert row.live_bytes >= 0
        transaction.put(_NUMBER.pack(number), _SEGMENT.pack(*row), db=self._segments)

    def _weigh(self, transaction: Transaction, number: int, change_bytes: int, end: int = 0) -> None:
        row = self._row(transaction, number)
        self._set_row(transaction, number, SegmentRow(max(row.end, end), row.live_bytes + change_bytes))

    def _counter(self, transaction: Transaction, name: bytes) -> int:
        return int.from_bytes(transaction.get(name, b"", db=self._meta), "big")

    def _set_counter(self, transaction: Transaction, name: bytes, value: int) -> None:
        assert value >= 0
        transaction.put(name, value.to_bytes(8, "big"), db=self._meta)


def _record_bytes(cid: Cid, place: Place) -> int:
    return _HEAD_BYTES + len(cid) + place.size


def _decode_root(cid: bytes, encoded: bytes) -> Root:
    try:
        fields = cbor.decode(encoded)
    except RemoteProtocolError as error:
        raise LocalProtocolError(ErrorCode.STORE_BROKEN, f"the root {cid.hex()} cannot be read: {error.detail}") from error
    return Root(cid=Cid(cid), name=fields[0], n_bytes=fields[1], n_blocks=fields[2], file_bytes=fields[3])
