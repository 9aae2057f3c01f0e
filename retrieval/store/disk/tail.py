"""The end of a segment, where one store object appends, and nobody else.

One rule: the kernel's ``flock`` on the segment says that its writer lives. It ends with the process however that ends, so whoever gets
it may take over what lies behind the last indexed record: verify it, keep what is whole and right, and cut off the rest.
"""

from __future__ import annotations

import fcntl
import mmap
import os
from collections.abc import Mapping
from io import FileIO
from pathlib import Path
from typing import Final

from retrieval._native import Buffer
from retrieval.cid import Cid
from retrieval.staging import DIRECT_BYTES_MIN, Staging, align, open_direct, write_cached
from retrieval.store.disk.record import record_head, verified_records
from retrieval.store.lmdb.failure import file_failure
from retrieval.store.lmdb.folder import sync_folder
from retrieval.store.lmdb.index import Place


class Tail:
    """It belongs to one thread at a time. Closing it, or dropping it, gives up the lock."""

    def __init__(self, file: FileIO, path: Path, number: int, end: int) -> None:
        """Of a file that ``lock_segment`` gave; ``end`` is what the index says of it."""
        self.number: Final = number
        self.end = end
        """Where the next record may begin."""
        self._path: Final = path
        self._file: Final = file
        self._is_named = end > 0
        """Whether its name is on the disk, where it must be before anything in the file is entered."""
        self._direct: Final = open_direct(file.fileno())
        self._sync_error: OSError | None = None

    def recover(self) -> dict[Cid, Place]:
        """What a writer that died left behind ``end``, verified; what is not whole and right is cut off. Raises ``LocalProtocolError``."""
        size = os.fstat(self._file.fileno()).st_size
        places: dict[Cid, Place] = {}
        if size <= self.end:
            return places
        try:
            with mmap.mmap(self._file.fileno(), size, prot=mmap.PROT_READ) as mapped, memoryview(mapped) as log:
                for record in verified_records(log, self.end):
                    places[record.cid] = Place(self.number, record.payload_start, record.size)
                    self.end = record.payload_end
            os.ftruncate(self._file.fileno(), self.end)  # nothing from here on was ever indexed, so nobody has a view of it
        except OSError as error:
            raise file_failure(error, self._path.parent) from error
        return places

    def append(self, staging: Staging, blocks: Mapping[Cid, Buffer]) -> dict[Cid, Place]:
        """Write all of ``blocks``, or nothing. Raises ``LocalProtocolError``: ``disk_full``, ``file_unreadable``."""
        heads = [record_head(cid, len(payload)) for cid, payload in blocks.items()]
        n_bytes = sum(map(len, heads)) + sum(map(len, blocks.values()))
        direct = self._direct if n_bytes >= DIRECT_BYTES_MIN else None
        at = start = self.end if direct is None else align(self.end)
        places: dict[Cid, Place] = {}
        parts: list[Buffer] = []
        for head, (cid, payload) in zip(heads, blocks.items(), strict=True):
            parts += (head, payload)
            places[cid] = Place(self.number, at + len(head), len(payload))
            at += len(head) + len(payload)
        try:
            if direct is None:
                self.end = write_cached(self._file.fileno(), parts, start)
            else:
                self.end = staging.write(self._file.fileno(), direct.fileno(), parts, start)
        except OSError as error:
            os.ftruncate(self._file.fileno(), self.end)
            raise file_failure(error, self._path.parent) from error
        return places

    def sync(self) -> None:
        """Make what was appended durable, and the name it is found under.

        Raises ``LocalProtocolError``, ever after it did once: the kernel reports a page that it could not write one time, and then takes
        it for written.
        """
        try:
            if self._sync_error is not None:
                raise self._sync_error
            os.fdatasync(self._file.fileno())
        except OSError as error:
            self._sync_error = error
            raise file_failure(error, self._path.parent) from error
        if not self._is_named:
            sync_folder(self._path.parent)  # not when it is made: the first block of a fetch would wait for it
            self._is_named = True

    def remove(self) -> None:
        """Remove the file: no block lives in it. Raises ``LocalProtocolError(file_unreadable)``."""
        try:
            self._path.unlink()
        except OSError as error:
            raise file_failure(error, self._path.parent) from error

    def close(self) -> None:
        """Leave the segment to whoever appends next."""
        if self._direct is not None:
            self._direct.close()
        self._file.close()


def lock_segment(path: Path, *, create: bool = False) -> FileIO | None:
    """Open a segment for appending, and take its lock. None when another has it, when it is gone, or, to create it, when it is there.

    Raises ``LocalProtocolError``: ``file_unreadable``, ``disk_full``.
    """
    kind = os.O_CREAT | os.O_EXCL if create else 0
    try:
        file = FileIO(os.open(path, os.O_RDWR | os.O_CLOEXEC | kind, 0o600), "r+b")
    except (FileExistsError, FileNotFoundError):
        return None
    except OSError as error:
        raise file_failure(error, path.parent) from error
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    if os.fstat(file.fileno()).st_nlink == 0:  # removed before the lock was ours
        file.close()
        return None
    return file
