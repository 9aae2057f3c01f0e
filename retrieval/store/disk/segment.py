"""A segment that is read: views of its payloads, where they lie.

One rule: what is indexed of a segment is never written again and never cut off, so a view stays right whatever becomes of the file, its
removal included.
"""

from __future__ import annotations

import errno
import mmap
import os
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import FileIO
from pathlib import Path
from threading import Lock
from typing import Final

from retrieval.errors import ErrorCode, LocalProtocolError
from retrieval.staging import Staging, open_direct
from retrieval.store.lmdb.failure import file_failure
from retrieval.store.lmdb.index import Place

SEGMENTS_OPEN_MAX: Final = 64
"""Segments that are held open, each with two or three descriptors: well below the 1,024 that a process may have by default."""
GONE_CHECK_S: Final = 5.0
"""How often to look for segments that another process removed: held open, they keep their room on the disk."""


class Segment:
    """An open segment. Every call may be made from any thread."""

    def __init__(self, path: Path) -> None:
        """Raises ``FileNotFoundError`` when it was removed, and ``OSError``."""
        self._path: Final = path
        self._file: Final = FileIO(path, "rb")
        self._direct: FileIO | None = None
        self._map = memoryview(b"")

    def view(self, offset: int, size: int) -> memoryview:
        """Raises ``LocalProtocolError(store_broken)`` when the file ends before, since reading a map there would be a SIGBUS."""
        mapped = self._map  # once: another thread may put an older one, which is shorter, in the place of a newer one
        if offset + size > len(mapped):
            mapped = self._map = self._mapped(offset + size)
        return mapped[offset : offset + size]

    def read(self, staging: Staging, offset: int, size: int) -> bytes:
        """The same bytes, without leaving them in the page cache. Raises ``LocalProtocolError(store_broken)``, ``OSError``."""
        if self._direct is None:
            self._direct = open_direct(self._file.fileno())
        if self._direct is None:
            return bytes(self.view(offset, size))
        try:
            payload = bytes(staging.read(self._direct.fileno(), offset, size))
        except OSError as error:
            if error.errno != errno.EINVAL:  # some file systems open a file for direct reads and then give none
                raise
            return bytes(self.view(offset, size))
        if len(payload) < size:
            raise self._broken(offset + size)
        return payload

    @property
    def is_gone(self) -> bool:
        """Whether the file was removed."""
        return os.fstat(self._file.fileno()).st_nlink == 0

    def _mapped(self, end: int) -> memoryview:
        size = os.fstat(self._file.fileno()).st_size
        if size < end:
            raise self._broken(end)
        # The map before lives on for as long as somebody has a view of it.
        return memoryview(mmap.mmap(self._file.fileno(), size, prot=mmap.PROT_READ))

    def _broken(self, end: int) -> LocalProtocolError:
        return LocalProtocolError(ErrorCode.STORE_BROKEN, f"{self._path.name} ends before a block in it does, at {end}")


class OpenSegments:
    """The segments that were read of late. Every call may be made from any thread."""

    def __init__(self, path_of: Callable[[int], Path]) -> None:
        self._path_of: Final = path_of
        self._turn: Final = Lock()
        self._segments: Final = OrderedDict[int, Segment]()
        self._reading: Final = Lock()
        self._staging: Staging | None = None
        self._looked_at = time.monotonic()

    def view(self, place: Place) -> memoryview:
        """The payload. Raises ``FileNotFoundError`` when its segment was removed, ``LocalProtocolError``: ``store_broken``,
        ``file_unreadable``."""
        with self._door(place):
            return self._segment(place.segment).view(place.offset, place.size)

    def read(self, place: Place) -> bytes:
        """A large payload, past the page cache. Raises as ``view`` does."""
        with self._door(place), self._reading:
            if self._staging is None:
                self._staging = Staging()
            return self._segment(place.segment).read(self._staging, place.offset, place.size)

    def let_go(self, number: int) -> None:
        """Close a segment, once nobody has a view of it."""
        with self._turn:
            self._segments.pop(number, None)

    def close(self) -> None:
        """Let go of all of them."""
        with self._turn:
            self._segments.clear()

    @contextmanager
    def _door(self, place: Place) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError:
            raise
        except OSError as error:
            raise file_failure(error, self._path_of(place.segment).parent) from error

    def _segment(self, number: int) -> Segment:
        with self._turn:
            if time.monotonic() >= self._looked_at + GONE_CHECK_S:
                self._drop_gone()
            segment = self._segments.get(number)
            if segment is None:
                segment = self._segments[number] = Segment(self._path_of(number))
                if len(self._segments) > SEGMENTS_OPEN_MAX:
                    self._segments.popitem(last=False)
            else:
                self._segments.move_to_end(number)
            return segment

    def _drop_gone(self) -> None:
        for number in [number for number, segment in self._segments.items() if segment.is_gone]:
            del self._segments[number]
        self._looked_at = time.monotonic()
