"""One page-aligned buffer through which bytes go to a disk past the page cache, and come back from it.

One rule: the buffer is used again and again. Fresh memory costs more than copying into memory that is warm, and a page cache that is
filled with what nobody reads costs most of all: on a virtual machine, writing a new GiB through it took 3.5 s of a processor, and past it
0.15 s, 0.05 s of which are the copy into this buffer.
"""

from __future__ import annotations

import errno
import mmap
import os
from collections.abc import Sequence
from typing import Final

from retrieval._native import Buffer
from retrieval.units import MIB

ALIGNMENT: Final = 4096
"""What address, offset and length of an unbuffered write are multiples of: the largest sector in use, and the smallest page."""
STAGING_BYTES: Final = 4 * MIB
"""Bytes of one write. From 1 MiB on the disk is as fast as it gets; this is a whole batch, and fits the processor's cache."""

_O_DIRECT: Final[int] = getattr(os, "O_DIRECT", 0)  # Linux has it
_UNSUPPORTED: Final = (errno.EINVAL, errno.EOPNOTSUPP)
_PARTS_MAX: Final = 512  # buffers in one system call; Linux takes 1,024


class Staging:
    """The buffer. It belongs to one thread at a time."""

    def __init__(self) -> None:
        self._buffer: Final = memoryview(mmap.mmap(-1, STAGING_BYTES))

    def write(self, descriptor: int, parts: Sequence[Buffer], offset: int) -> int:
        """Write ``parts`` one behind another from ``offset`` on, padded with zeros to the alignment; returns where that ends.

        ``descriptor`` is one of ``open_direct``, and ``offset`` a multiple of ``ALIGNMENT``. Raises ``OSError``.
        """
        assert offset % ALIGNMENT == 0
        buffer, n_staged = self._buffer, 0
        for part in parts:
            left = memoryview(part)
            while len(left) > STAGING_BYTES - n_staged:
                room = STAGING_BYTES - n_staged
                buffer[n_staged:] = left[:room]
                offset = _write_all(descriptor, [buffer], offset)
                left, n_staged = left[room:], 0
            buffer[n_staged : n_staged + len(left)] = left
            n_staged += len(left)
        padded = align(n_staged)
        buffer[n_staged:padded] = bytes(padded - n_staged)
        return _write_all(descriptor, [buffer[:padded]], offset)


def open_direct(descriptor: int) -> int | None:
    """Another descriptor of the same open file, for unbuffered writes; None where the system or the file system has none."""
    if not _O_DIRECT:
        return None
    try:
        return os.open(f"/proc/self/fd/{descriptor}", os.O_RDWR | os.O_CLOEXEC | _O_DIRECT)
    except OSError:  # tmpfs, or no /proc: the page cache serves as well, only dearer
        return None


def is_unsupported(error: OSError) -> bool:
    """Whether a file system opened a file for unbuffered writes and then did not take one."""
    return error.errno in _UNSUPPORTED


def write_cached(descriptor: int, parts: Sequence[Buffer], offset: int) -> int:
    """Write ``parts`` one behind another from ``offset`` on, through the page cache; returns where that ends. Raises ``OSError``."""
    for start in range(0, len(parts), _PARTS_MAX):
        offset = _write_all(descriptor, parts[start : start + _PARTS_MAX], offset)
    return offset


def align(offset: int) -> int:
    """The first multiple of ``ALIGNMENT`` that is not below ``offset``."""
    return -(-offset // ALIGNMENT) * ALIGNMENT


def _write_all(descriptor: int, parts: Sequence[Buffer], offset: int) -> int:
    n_bytes = sum(map(len, parts))
    if os.pwritev(descriptor, parts, offset) < n_bytes:  # a regular file takes all, or there is no room for it
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    return offset + n_bytes
