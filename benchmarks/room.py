"""A network namespace with nothing in it but loopback: what runs inside cannot reach anybody, whatever it tries.

For peers that cannot be told to stay on loopback. Linux; needs ``unshare`` and ``nsenter`` and the right to make user namespaces.
"""

from __future__ import annotations

import fcntl
import shutil
import socket
import struct
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Final

from benchmarks.pair import Unavailable
from benchmarks.processes import WorkerFailed, answer_commands, start_worker

_SIOCSIFFLAGS: Final = 0x8914  # linux/sockios.h
_IFF_UP: Final = 1


@contextmanager
def open_room() -> Iterator[list[str]]:
    """The words to put before a command so that it runs inside. Raises ``Unavailable``."""
    if shutil.which("unshare") is None or shutil.which("nsenter") is None:
        raise Unavailable("`unshare` and `nsenter` are not here to keep it on loopback")
    with ExitStack() as opened:
        try:
            keeper = opened.enter_context(start_worker("benchmarks.room", within=["unshare", "--user", "--map-root-user", "--net", "--"]))
        except WorkerFailed as failure:
            raise Unavailable(f"no network namespace can be made to keep it on loopback: {failure}") from failure
        yield ["nsenter", "--target", str(keeper.pid), "--user", "--net", "--preserve-credentials", "--"]


def main() -> int:
    """Inside: bring loopback up, and hold the door open until the input ends."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as anything:
        fcntl.ioctl(anything, _SIOCSIFFLAGS, struct.pack("16sh", b"lo", _IFF_UP))
    answer_commands(lambda command: command)
    return 0


if __name__ == "__main__":
    sys.exit(main())
