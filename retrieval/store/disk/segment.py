"""A segment that is read: views of its payloads, where they lie.

One rule: what is indexed of a segment is never written again and never cut off, so a view stays right whatever becomes of the file, its
removal included.
"""

from __future__ import annotations

import mmap
import os
import time
from collections import OrderedDict
from io import FileIO
from pathlib import Path
from threading import Lock
from typing import Final

from retrieval.errors import ErrorCode, LocalProtocolError
from retrieval.store.lmdb.failure import file_failure
from retrieval.store.lmdb.index import Place

SEGMENTS_OPEN_MAX: Final = 64
"""Segments that are held open, each with two descriptors: well below the 1,024 that a process may have by default."""
GONE_CHECK_S: Final = 5.0
"""How often to look for segments that another process removed: held open, they keep their room on the disk."""

_SUFFIX: Final = ".seg"


class Segment:
    """An open segment. Every call may be made from any thread."""

    def __init__(self, path: Path) -> None:
        """Raises ``FileNotFoundError`` when it was removed, and ``OSError``."""
        self._path: Final = path
        self._file: Final = FileIO(path, "rb")
        self._map = memoryview(b"")

    def view(self, offset: int, size: int) -> memoryview:
        """Raises ``LocalProtocolError(store_broken)`` when the file ends before, since reading a map there would be a SIGBUS."""
        if offset + size > len(self._map):
            self._map = self._mapped(offset + size)
        return self._map[offset : offset + size]

    @property
    def is_gone(self) -> bool:
        """Whether the file was removed."""
        return os.fstat(self._file.fileno()).st_nlink == 0

    def _mapped(self, end: int) -> memoryview:
        size = os.fstat(self._file.fileno()).st_size
        if size < end:
            raise LocalProtocolError(ErrorCode.STORE_BROKEN, f"{self._path.name} has {size} bytes, and a block in it ends at {end}")
        # The map before lives on for as long as somebody has a view of it.
        return memoryview(mmap.mmap(self._file.fileno(), size, prot=mmap.PROT_READ)) if size else memoryview(b"")


class OpenSegments:
    """The segments of a folder that were read of late. Every call may be made from any thread."""

    def __init__(self, folder: Path) -> None:
        self._folder: Final = folder
        self._turn: Final = Lock()
        self._segments: Final = OrderedDict[int, Segment]()
        self._looked_at = time.monotonic()

    def view(self, place: Place) -> memoryview:
        """The payload. Raises ``FileNotFoundError`` when its segment was removed, ``LocalProtocolError``: ``store_broken``,
        ``file_unreadable``."""
        try:
            return self._segment(place.segment).view(place.offset, place.size)
        except FileNotFoundError:
            raise
        except OSError as error:
            raise file_failure(error, self._folder) from error

    def let_go(self, number: int) -> None:
        """Close a segment, once nobody has a view of it."""
        with self._turn:
            self._segments.pop(number, None)

    def close(self) -> None:
        """Let go of all of them."""
        with self._turn:
            self._segments.clear()

    def _segment(self, number: int) -> Segment:
        with self._turn:
            if time.monotonic() >= self._looked_at + GONE_CHECK_S:
                self._drop_gone()
            segment = self._segments.get(number)
            if segment is None:
                segment = self._segments[number] = Segment(segment_path(self._folder, number))
                if len(self._segments) > SEGMENTS_OPEN_MAX:
                    self._segments.popitem(last=False)
            else:
                self._segments.move_to_end(number)
            return segment

    def _drop_gone(self) -> None:
        for number in [number for number, segment in self._segments.items() if segment.is_gone]:
            del self._segments[number]
        self._looked_at = time.monotonic()


def segment_path(folder: Path, number: int) -> Path:
    return folder / f"{number:08}{_SUFFIX}"


def segment_numbers(folder: Path) -> list[int]:
    """The segments that have a file, oldest first."""
    return sorted(int(path.stem) for path in folder.glob(f"*{_SUFFIX}") if path.stem.isdecimal())
