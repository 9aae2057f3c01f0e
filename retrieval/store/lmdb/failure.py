"""What LMDB and the operating system say when they fail, in the registry's words."""

from __future__ import annotations

import errno
import os
import resource
from pathlib import Path
from typing import Final

import lmdb

from retrieval.errors import ErrorCode, LocalProtocolError

DATA_NAME: Final = "data.mdb"
DISK_RESERVE_BYTES: Final = 1 << 20  # a short write with less than this free is taken for a full disk

_FULL: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_FULL_WORDS: Final = tuple(map(os.strerror, _FULL))


def file_failure(error: OSError, folder: Path) -> LocalProtocolError:
    """The error for a file of the store in ``folder`` that cannot be made or opened."""
    if error.errno in _FULL:
        return _disk_full(folder)
    return LocalProtocolError(ErrorCode.FILE_UNREADABLE, f"{folder.name}/: {error.strerror or error}")


def lmdb_failure(error: lmdb.Error, folder: Path) -> LocalProtocolError:
    """The error for what LMDB could not do with the environment in ``folder``."""
    text = str(error)  # ends in the C library's words for an errno; py-lmdb before 3.0 gives no number
    if any(words in text for words in _FULL_WORDS) or (os.strerror(errno.EIO) in text and _cut_by_a_full_disk(folder)):
        return _disk_full(folder)
    if os.strerror(errno.EACCES) in text:
        return LocalProtocolError(ErrorCode.FILE_UNREADABLE, f"{folder.name}/: {text}")
    if isinstance(error, lmdb.MemoryError):
        return LocalProtocolError(ErrorCode.STORE_FULL, f"{folder.name}/ finds no address space for its map")
    return LocalProtocolError(ErrorCode.STORE_BROKEN, f"{folder.name}/: {text}")


def _disk_full(folder: Path) -> LocalProtocolError:
    return LocalProtocolError(ErrorCode.DISK_FULL, f"while writing {folder.name}/")


def _cut_by_a_full_disk(folder: Path) -> bool:
    """Whether an EIO was a write that ended short of room: LMDB does not tell it from a broken disk."""
    disk, (size_max, _) = os.statvfs(folder), resource.getrlimit(resource.RLIMIT_FSIZE)
    if disk.f_bavail * disk.f_frsize < DISK_RESERVE_BYTES:
        return True
    return size_max != resource.RLIM_INFINITY and (folder / DATA_NAME).stat().st_size + DISK_RESERVE_BYTES > size_max
