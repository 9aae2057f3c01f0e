"""One page-aligned buffer through which bytes go to a disk past the page cache, and come back from it.

One rule: the buffer is used again and again. Fresh memory costs more than copying into memory that is warm, and a page cache that is
filled with what nobody reads costs most of all: on a virtual machine, 3.5 s of a processor for a new GiB, where past it 0.15 s do, the
copy into this buffer included.
"""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
from collections.abc import Iterable, Sequence
from io import FileIO
from typing import Final

from retrieval._native import Buffer
from retrieval.units import KIB, MIB

ALIGNMENT: Final = 4096
"""What address, offset and length of direct reads and writes are multiples of: the largest sector in use, and the smallest page."""
STAGING_BYTES: Final = 4 * MIB
"""Bytes of one write, and the most that is read at once. From 1 MiB on the disk is as fast as it gets, and this fits the processor's
cache."""
DIRECT_BYTES_MIN: Final = 64 * KIB
"""What is smaller goes through the page cache: padding, and waiting for the disk, would cost it more than that does."""

_O_DIRECT: Final[int] = getattr(os, "O_DIRECT", 0)  # Linux has it
_MODES: Final = {os.O_RDONLY: "rb", os.O_WRONLY: "wb", os.O_RDWR: "r+b"}
_PARTS_MAX: Final = 512  # buffers in one system call; Linux takes 1,024


class Staging:
    """The buffer. It belongs to one thread at a time."""

    def __init__(self) -> None:
        self._buffer: Final = memoryview(mmap.mmap(-1, STAGING_BYTES))

    def write(self, file: int, direct: int | None, parts: Iterable[Buffer], offset: int) -> int:
        """Write ``parts`` one behind another from ``offset`` on, a multiple of ``ALIGNMENT``, padded with zeros to the next one.

        ``direct`` is what ``open_direct`` gave for ``file``; where it is None, or takes nothing after all, ``file`` itself is written.
        Returns where the padding ends. Raises ``OSError``; what is there then is undefined.
        """
        assert offset % ALIGNMENT == 0
        buffer, n_staged = self._buffer, 0
        for part in parts:
            left = memoryview(part)
            while len(left) > STAGING_BYTES - n_staged:
                room = STAGING_BYTES - n_staged
                buffer[n_staged:] = left[:room]
                direct, offset = _write_either(file, direct, buffer, offset)
                left, n_staged = left[room:], 0
            buffer[n_staged : n_staged + len(left)] = left
            n_staged += len(left)
        padded = align(n_staged)
        buffer[n_staged:padded] = bytes(padded - n_staged)
        return _write_either(file, direct, buffer[:padded], offset)[1]

    def read(self, direct: int, offset: int, size: int) -> memoryview:
        """What ``open_direct`` gave for a file holds at ``offset``, shorter where the file ends; until the buffer is used again.

        At most ``STAGING_BYTES`` less one ``ALIGNMENT``. Raises ``OSError``.
        """
        start = offset - offset % ALIGNMENT
        n_read = os.preadv(direct, [self._buffer[: align(offset + size) - start]], start)
        return self._buffer[offset - start : min(n_read, offset - start + size)]


def open_direct(file: int) -> FileIO | None:
    """An open file once more, with the same rights, for ``Staging``; None where the system or the file system has no such thing."""
    if not _O_DIRECT:
        return None
    rights = fcntl.fcntl(file, fcntl.F_GETFL) & os.O_ACCMODE
    try:
        direct = os.open(f"/proc/self/fd/{file}", rights | os.O_CLOEXEC | _O_DIRECT)
    except OSError:  # no /proc, or a file system in memory: the page cache serves as well, only dearer
        return None
    return FileIO(direct, _MODES[rights])


def write_cached(file: int, parts: Sequence[Buffer], offset: int) -> int:
    """Write ``parts`` one behind another from ``offset`` on, through the page cache; returns where that ends. Raises ``OSError``."""
    for start in range(0, len(parts), _PARTS_MAX):
        offset = _write_all(file, parts[start : start + _PARTS_MAX], offset)
    return offset


def align(offset: int) -> int:
    """The first multiple of ``ALIGNMENT`` that is not below ``offset``."""
    return -(-offset // ALIGNMENT) * ALIGNMENT


def _write_either(file: int, direct: int | None, data: memoryview, offset: int) -> tuple[int | None, int]:
    """Write directly where that works; returns what to try next time, and where this ends."""
    if direct is not None:
        try:
            return direct, _write_all(direct, [data], offset)
        except OSError as error:
            if error.errno != errno.EINVAL:  # some file systems open a file for direct writes and then take none
                raise
    return None, _write_all(file, [data], offset)


def _write_all(file: int, parts: Sequence[Buffer], offset: int) -> int:
    n_bytes = sum(map(len, parts))
    if os.pwritev(file, parts, offset) < n_bytes:  # a regular file takes all, or there is no room for it
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    return offset + n_bytes
