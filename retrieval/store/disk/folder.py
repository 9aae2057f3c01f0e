"""``blocks/segments/``: which segments there are, who may write to them, and what of them is left.

One rule: whoever recovers, goes on with or removes a segment holds its lock, and looks at the index only once it does.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from retrieval.staging import STAGING_BYTES
from retrieval.store.disk.tail import Tail, lock_segment
from retrieval.store.lmdb.folder import make_folder, sync_folder
from retrieval.store.lmdb.index import BlockIndex, SegmentRow
from retrieval.units import GIB, MIB

TAKE_OVER_MAX: Final = 4  # segments that are looked at for room before a new one is begun

_SUFFIX: Final = ".seg"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much of each a store has."""

    segment_bytes_max: int = GIB
    """Where a segment is full. A TiB is then a thousand files, and what is copied together at once is half of this at most."""
    waste_bytes_max: int = 64 * MIB
    """Dead bytes that a segment may always hold; above, as many as live ones."""
    unindexed_bytes_max: int = 64 * MIB
    """Payload bytes that are put before they are entered: at 3 ms for a commit, a twentieth of the time it takes to write them. It bounds
    what is verified after a kill, and by how much each process may pass ``bytes_max``."""
    unindexed_blocks_max: int = 1 << 16
    """Bounds the memory that they are remembered in, and the transaction that enters them."""

    def is_mostly_dead(self, row: SegmentRow) -> bool:
        """Whether a segment is worth copying together."""
        return row.dead_bytes > max(self.waste_bytes_max, row.live_bytes)


LIMITS: Final = Limits()


class SegmentFolder:
    """The folder, beside its index. Whoever writes calls it, one thread at a time."""

    def __init__(self, path: Path, index: BlockIndex, limits: Limits) -> None:
        self._path: Final = path
        self._index: Final = index
        self._limits: Final = limits

    def path_of(self, number: int) -> Path:
        return self._path / f"{number:08}{_SUFFIX}"

    def recover(self) -> None:
        """Make the folder, enter what dead writers left in it, and remove what is empty. Raises ``LocalProtocolError``."""
        make_folder(self._path)
        rows, empty = self._index.segments(), []
        for number in self._numbers():
            row = rows.pop(number, None)
            if row is None or not row.live_bytes or _size(self.path_of(number)) > row.end:
                tail = self.locked(number)
                if tail is not None:
                    with closing(tail):
                        self._enter_recovered(tail)
                    empty.append(number)
        self.remove(empty)
        if gone := [number for number, row in rows.items() if not row.live_bytes]:
            self._index.forget_segments(gone)

    def tail(self) -> Tail:
        """Where to append: the newest segment that has room and no writer, or a new one. Raises ``LocalProtocolError``."""
        rows = self._index.segments().items()
        roomy = [number for number, row in rows if row.end < self._limits.segment_bytes_max and not self._limits.is_mostly_dead(row)]
        for number in reversed(roomy[-TAKE_OVER_MAX:]):
            tail = self.locked(number)
            if tail is None:
                continue
            if _size(self.path_of(number)) >= tail.end:
                self._enter_recovered(tail)
                return tail
            tail.close()  # it was cut, by a bad restore or a bad disk: to write behind the gap would make it look whole
        return self._begun()

    def locked(self, number: int) -> Tail | None:
        """The end of a segment, to go on there; None when it has a writer, or is gone."""
        file = lock_segment(self.path_of(number))
        return None if file is None else Tail(file, self.path_of(number), number, self._index.segment(number).end)

    def mostly_dead(self) -> Iterator[int]:
        """Segments that are worth copying together, and that the disk has the room to copy."""
        for number, row in self._index.segments().items():
            is_whole = _size(self.path_of(number)) >= row.end
            if self._limits.is_mostly_dead(row) and is_whole and _room(self._path) >= row.live_bytes + STAGING_BYTES:
                yield number

    def remove(self, numbers: Iterable[int]) -> list[int]:
        """Remove those of ``numbers`` in which nothing lives and nobody writes; returns them. Raises ``LocalProtocolError``."""
        removed: list[int] = []
        for number in numbers:
            tail = self.locked(number)
            if tail is None:
                continue
            with closing(tail):
                if not self._index.segment(number).live_bytes and _size(self.path_of(number)) <= tail.end:
                    if not removed:
                        self._index.sync()  # or a power cut could bring back entries of what is gone
                    tail.remove()
                    removed.append(number)
        if removed:
            sync_folder(self._path)  # or it could bring back files that look as if nobody had entered them yet
            self._index.forget_segments(removed)
        return removed

    def _begun(self) -> Tail:
        while True:
            number = self._index.new_segment()
            file = lock_segment(self.path_of(number), create=True)
            if file is not None:
                return Tail(file, self.path_of(number), number, 0)

    def _enter_recovered(self, tail: Tail) -> None:
        places = tail.recover()
        if places:
            tail.sync()
            self._index.add(tail.number, tail.end, places)

    def _numbers(self) -> list[int]:
        """Of the segments that have a file, oldest first."""
        return sorted(int(path.stem) for path in self._path.glob(f"*{_SUFFIX}") if path.stem.isdecimal())


def _size(path: Path) -> int:
    """Of a file; 0 when it is gone."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _room(folder: Path) -> int:
    """Bytes that the disk still takes."""
    disk = os.statvfs(folder)
    return disk.f_bavail * disk.f_frsize
