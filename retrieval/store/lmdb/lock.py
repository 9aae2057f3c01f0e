"""``state/lock``: at most one process writes a home's state, and the others can say which.

One rule: the kernel's ``flock`` decides, never the file's content. It ends with the process however that ends, ``kill -9`` included; what
is written inside only names the holder. (A POSIX ``fcntl`` lock would end as soon as this process closed *any* descriptor of the file,
which reading the holder's name does.)
"""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path
from typing import Final

from retrieval.errors import ErrorCode, LocalProtocolError
from retrieval.store.lmdb.failure import file_failure
from retrieval.store.lmdb.folder import make_folder

COMMAND_SIZE_MAX: Final = 128  # bytes of the holder's command that are written and read
POLL_S: Final = 0.02  # between two attempts; flock has no wait with a deadline


class StateLock:
    """The held lock."""

    def __init__(self, path: Path, *, command: str, wait_s: float = 0.0) -> None:
        """Take the lock file ``path``, waiting up to ``wait_s`` for its turn (in the calling thread).

        ``command`` is what others are told about us, such as ``retrieval-provider serve``: no secrets. Raises
        ``LocalProtocolError``: ``state_locked`` naming the holder's process and command, ``disk_full``, ``file_unreadable``.
        """
        make_folder(path.parent)
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise file_failure(error, path.parent) from error
        try:
            _take(descriptor, time.monotonic() + wait_s)
            _write_holder(descriptor, command)
        except OSError as error:
            os.close(descriptor)
            raise file_failure(error, path.parent) from error
        except BaseException:
            os.close(descriptor)
            raise
        self._descriptor: int | None = descriptor

    def release(self) -> None:
        """Let the next one in; releasing twice is once. The file stays, since deleting it would let two in."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def _take(descriptor: int, deadline: float) -> None:
    while True:
        try:
            return fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                raise LocalProtocolError(ErrorCode.STATE_LOCKED, _holder(descriptor)) from None
            time.sleep(POLL_S)


def _write_holder(descriptor: int, command: str) -> None:
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"{os.getpid()} {command}".encode()[:COMMAND_SIZE_MAX], 0)


def _holder(descriptor: int) -> str:
    pid, _, command = os.pread(descriptor, COMMAND_SIZE_MAX, 0).decode(errors="replace").partition(" ")
    return f"process {pid} ({command})" if pid else "a process that has not written its name yet"
