"""What TCP carried, as the kernel counts it: a figure that holds whatever framing and encryption add, and no segment twice.

Linux says it of each connection (``struct tcp_info`` in linux/tcp.h); elsewhere it is not known.
"""

from __future__ import annotations

import os
import socket
import stat
import struct
import sys
from collections.abc import Iterator
from typing import Final

_TCP_INFO_BYTES: Final = 136
_COUNTS: Final = struct.Struct("=QQ")
_COUNTS_AT: Final = 120  # tcpi_bytes_acked, tcpi_bytes_received
_DESCRIPTORS: Final = "/proc/self/fd"


def carried_bytes(connection: socket.socket) -> int | None:
    """Payload of TCP in both directions so far; what was sent counts when it is acknowledged. None where nobody counts."""
    if sys.platform != "linux":
        return None
    info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO_BYTES)
    if len(info) < _TCP_INFO_BYTES:  # a kernel before 4.1
        return None
    n_acknowledged, n_received = _COUNTS.unpack_from(info, _COUNTS_AT)
    return int(n_acknowledged + n_received)


def carried_bytes_to(port: int) -> int | None:
    """The same for all connections of this process to a ``port`` elsewhere: a libp2p host keeps its sockets to itself."""
    if not os.path.isdir(_DESCRIPTORS):
        return None
    counts = [carried_bytes(connection) for connection in _connections() if connection.getpeername()[1] == port]
    known = [count for count in counts if count is not None]
    return sum(known) if known else None


def _connections() -> Iterator[socket.socket]:
    """TCP connections of this process, each open only until the next is asked for."""
    for name in os.listdir(_DESCRIPTORS):
        try:
            descriptor = os.dup(int(name))
        except OSError:  # closed meanwhile: the one that lists the folder is
            continue
        if not stat.S_ISSOCK(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            continue
        with socket.socket(fileno=descriptor) as each:
            if each.type is socket.SOCK_STREAM and each.family in (socket.AF_INET, socket.AF_INET6) and _is_connected(each):
                yield each


def _is_connected(each: socket.socket) -> bool:
    try:
        each.getpeername()
    except OSError:
        return False
    return True
