"""The block store on disk: ``blocks/``, which several processes may open, one store object each.

``blocks/segments/NNNNNNNN.seg`` hold the blocks, each written once, where it stays (``record`` has the layout); the index beside them is
LMDB (``retrieval.store.lmdb.index``). Each writing store object appends to a segment of its own. One rule: a block is entered into the
index after its bytes are safe on the disk, so an entry never names what a power cut can take.

What was put and not yet entered is known to this object alone: others see it after ``sync``, ``pin``, ``close``, or 64 MiB more. A
process that dies loses none of it, since opening the store for writing verifies and enters what dead writers left; a machine that dies
loses what the disk had not taken, which can be fetched again. ``bytes_max`` holds over all processes but for what each has not entered.

Deleting takes entries out of the index. A segment in which nothing lives is removed at once, one that is mostly dead is copied together
at ``sync`` and ``close``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from threading import Lock
from typing import Final, TypeVar

from retrieval._native import Buffer
from retrieval.cid import Cid
from retrieval.errors import ErrorCode, LocalProtocolError
from retrieval.staging import DIRECT_BYTES_MIN, Staging
from retrieval.store.batch import BATCH_BLOCKS, BATCH_BYTES
from retrieval.store.blocks import Root, use_views
from retrieval.store.disk.folder import LIMITS, Limits, SegmentFolder
from retrieval.store.disk.record import listed_records
from retrieval.store.disk.segment import OpenSegments, Segment
from retrieval.store.disk.tail import Tail
from retrieval.store.lmdb.index import BlockIndex, Place
from retrieval.wire.messages import BLOCK_SIZE_MAX

T = TypeVar("T")

LOOKUPS_MAX: Final = 4  # of a block that is moved whenever it is looked up

_FOLDER_NAME: Final = "segments"


class DiskBlockStore:
    """``BlockStore`` of segments and an index. Every call is synchronous and may be made from any thread."""

    def __init__(self, path: Path, *, bytes_max: int, readonly: bool = False, limits: Limits = LIMITS) -> None:
        """Open or make the store in folder ``path``. Opening for writing enters what dead writers left.

        Raises ``LocalProtocolError``: ``not_initialised`` when there is nothing to read, ``disk_full``, ``file_unreadable``,
        ``store_broken``.
        """
        self._index: Final = BlockIndex(path, readonly=readonly)
        self._folder: Final = SegmentFolder(path / _FOLDER_NAME, self._index, limits)
        self._segments: Final = OpenSegments(self._folder.path_of)
        self._bytes_max: Final = bytes_max
        self._readonly: Final = readonly
        self._limits: Final = limits
        self._turn: Final = Lock()  # of whoever writes
        self._staging: Staging | None = None
        self._tail: Tail | None = None
        self._unindexed: dict[Cid, Place] = {}
        self._unindexed_bytes = 0
        self._written: Final = set[int]()
        """Segments that this object wrote to: past the page cache, so that their blocks are not in it."""
        self._is_thinned = True
        """Whether it may be worth copying a segment together: after a deletion, which may be one of a process that died."""
        try:
            if not readonly:
                self._folder.recover()
        except BaseException:
            self._index.close()
            raise

    # reading

    def get(self, cid: Cid) -> bytes | None:
        place = self._place(cid)
        if place is None:
            return None
        if place.segment in self._written and place.size >= DIRECT_BYTES_MIN:
            return self._look(cid, place, self._segments.read)
        return self._look(cid, place, lambda place: bytes(self._segments.view(place)))

    def size(self, cid: Cid) -> int | None:
        place = self._place(cid)
        return None if place is None else place.size

    def view_many(self, cids: Sequence[Cid], use: Callable[[Sequence[memoryview | None]], T]) -> T:
        places = self._places(cids)
        view = self._segments.view
        return use_views([None if place is None else self._look(cid, place, view) for cid, place in zip(cids, places, strict=True)], use)

    def root(self, cid: Cid) -> Root | None:
        return self._index.root(cid)

    def roots(self) -> Iterator[Root]:
        return self._index.roots()

    def cids(self) -> list[Cid]:
        with self._turn:
            return [*self._index.cids(), *self._unindexed]

    def bytes_used(self) -> int:
        return self._index.bytes_used() + self._unindexed_bytes

    @property
    def bytes_max(self) -> int:
        return self._bytes_max

    # writing

    def put_many(self, blocks: Iterable[tuple[Cid, Buffer]]) -> None:
        batch = dict(blocks)
        with self._turn:
            places = self._places([*batch])
            fresh = {cid: payload for (cid, payload), place in zip(batch.items(), places, strict=True) if place is None}
            if not fresh:
                return
            n_bytes = sum(map(len, fresh.values()))
            assert all(len(payload) <= BLOCK_SIZE_MAX for payload in fresh.values())
            grown = self.bytes_used() + n_bytes
            if grown > self._bytes_max:
                raise LocalProtocolError(ErrorCode.STORE_FULL, f"{grown} bytes would be above the limit of {self._bytes_max}")
            if self._unindexed_bytes >= self._limits.unindexed_bytes_max or len(self._unindexed) >= self._limits.unindexed_blocks_max:
                self._enter()
            places_of_fresh = self._append(fresh)  # which may enter what came before, and begin anew
            self._unindexed.update(places_of_fresh)
            self._unindexed_bytes += n_bytes

    def delete_many(self, cids: Iterable[Cid]) -> int:
        doomed = list(cids)
        with self._turn:
            self._enter()
            n_removed, dead = self._index.remove(doomed)
            self._is_thinned = self._is_thinned or n_removed > 0
            if dead:
                self._remove(dead)
            return n_removed

    def pin(self, root: Root) -> None:
        with self._turn:
            self._enter()
            self._index.pin(root)

    def unpin(self, cid: Cid) -> bool:
        return self._index.unpin(cid)

    def sync(self) -> None:
        """Make what was put durable and known to all, and give back the room of what was deleted."""
        with self._turn:
            self._enter()
            if self._is_thinned:
                self._is_thinned = False
                self._thin_out()
            self._index.sync()

    def close(self) -> None:
        """``sync``, and let go of the files."""
        try:
            if not self._readonly:
                self.sync()
        finally:
            if self._tail is not None:
                self._tail.close()
            self._segments.close()
            self._index.close()

    # finding

    def _place(self, cid: Cid) -> Place | None:
        # In this order: what is entered meanwhile is found in the index. (The other way round it would be missed.)
        return self._unindexed.get(cid) or self._index.place(cid)

    def _places(self, cids: Sequence[Cid]) -> list[Place | None]:
        unindexed = self._unindexed
        if not unindexed:
            return self._index.places(cids)
        ours = [unindexed.get(cid) for cid in cids]
        return ours if None not in ours else [place or entered for place, entered in zip(ours, self._index.places(cids), strict=True)]

    def _look(self, cid: Cid, place: Place, at: Callable[[Place], T]) -> T | None:
        """What is ``at`` a block's place, also when it is moved just now; None when it is deleted."""
        for _ in range(LOOKUPS_MAX):
            try:
                return at(place)
            except FileNotFoundError as error:
                now = self._place(cid)
                if now is None:
                    return None
                if now == place:
                    detail = f"{self._folder.path_of(place.segment).name}, with {cid.hex()} in it, is gone"
                    raise LocalProtocolError(ErrorCode.STORE_BROKEN, detail) from error
                place = now
        raise LocalProtocolError(ErrorCode.STORE_BROKEN, f"{cid.hex()} is never where the index says")

    # entering

    def _append(self, blocks: Mapping[Cid, Buffer]) -> dict[Cid, Place]:
        if self._tail is not None and self._tail.end >= self._limits.segment_bytes_max:
            self._enter()
            self._release_tail()
        if self._tail is None:
            self._tail = self._folder.tail()
            self._written.add(self._tail.number)
        if self._staging is None:
            self._staging = Staging()
        return self._tail.append(self._staging, blocks)

    def _enter(self) -> None:
        """Make what was put safe, then known to all."""
        if self._unindexed:
            assert self._tail is not None
            self._tail.sync()
            self._index.add(self._tail.number, self._tail.end, self._unindexed)
            self._unindexed, self._unindexed_bytes = {}, 0

    def _release_tail(self) -> None:
        assert not self._unindexed
        if self._tail is not None:
            self._tail.close()
            self._tail = None

    # giving back

    def _remove(self, segments: Iterable[int]) -> None:
        """Remove segments in which nothing lives, as far as nobody else writes to them."""
        dead = set(segments)
        if self._tail is not None and self._tail.number in dead:
            self._release_tail()
        for number in self._folder.remove(dead):
            self._segments.let_go(number)

    def _thin_out(self) -> None:
        """Copy segments together that are mostly dead, as far as the disk has room for the copy."""
        for number in self._folder.mostly_dead():
            if self._tail is not None and self._tail.number == number:
                self._release_tail()
            tail = self._folder.locked(number)
            if tail is not None:
                with closing(tail):
                    self._copy_out(number)
                self._remove([number])

    def _copy_out(self, number: int) -> None:
        """Append what lives in a segment to another one. The caller holds its lock."""
        log = Segment(self._folder.path_of(number)).view(0, self._index.segment(number).end)
        batch: dict[Cid, Place] = {}
        n_bytes = 0
        for record in listed_records(log):
            place = Place(number, record.payload_start, record.size)
            if self._index.place(record.cid) == place:
                batch[record.cid] = place
                n_bytes += record.size
            if n_bytes >= BATCH_BYTES or len(batch) == BATCH_BLOCKS:
                self._copy(log, batch)
                batch, n_bytes = {}, 0
        self._copy(log, batch)

    def _copy(self, log: memoryview, batch: Mapping[Cid, Place]) -> None:
        if batch:
            copies = self._append({cid: log[place.offset : place.offset + place.size] for cid, place in batch.items()})
            assert self._tail is not None
            self._tail.sync()
            self._index.move({cid: (place, copies[cid]) for cid, place in batch.items()}, self._tail.end)
