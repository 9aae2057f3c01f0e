"""A worker: many connections to an HTTP server that each read a little a second, in one thread, until it is told to stop."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from threading import Event, Thread
from typing import Final
from urllib.parse import urlsplit

from benchmarks.processes import Json, answer_commands

TURN_S: Final = 0.5
HEAD_MAX: Final = 16 << 10
RECEIVED_AHEAD_BYTES: Final = 64 << 10
"""What the system may hold for a reader: with more, most of an answer would wait here and not at the server."""


class Readers:
    """Everybody who reads."""

    def __init__(self, url: str, n: int, rate: int) -> None:
        self._rate: Final = rate
        self._open: Final = list(_connected(url, n))
        self._stopping: Final = Event()
        self._n_bytes: Final = [0] * n
        self._thread: Final = Thread(target=self._read)
        self._began: Final = time.monotonic()
        self._thread.start()

    def stop(self) -> Json:
        """Hang up; says how much each had."""
        self._stopping.set()
        self._thread.join()
        for each in self._open:
            each.close()
        return {"least_bytes": min(self._n_bytes), "most_bytes": max(self._n_bytes), "seconds": time.monotonic() - self._began}

    def _read(self) -> None:
        buffer = bytearray(max(1, int(self._rate * TURN_S)))
        due = time.monotonic()
        while not self._stopping.wait(max(0.0, due - time.monotonic())):
            due += TURN_S
            for number, each in enumerate(self._open):
                try:
                    n_bytes = each.recv_into(buffer)
                except BlockingIOError:
                    continue
                assert n_bytes, "the server hung up on a slow reader"
                self._n_bytes[number] += n_bytes


def _connected(url: str, n: int) -> Iterator[socket.socket]:
    """Connections whose answers have begun."""
    parts = urlsplit(url)
    assert parts.hostname is not None
    assert parts.port is not None
    for _ in range(n):
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVED_AHEAD_BYTES)
        sock.connect((parts.hostname, parts.port))
        sock.sendall(f"GET {parts.path}?{parts.query} HTTP/1.1\r\nHost: {parts.netloc}\r\n\r\n".encode())
        assert sock.recv(HEAD_MAX).startswith(b"HTTP/1.1 200 ")
        sock.setblocking(False)
        yield sock


def main() -> None:
    readers: list[Readers] = []

    def answer(command: Json) -> Json:
        if "stop" in command:
            return readers.pop().stop()
        readers.append(Readers(command["url"], command["n"], command["rate"]))
        return {}

    answer_commands(answer)


if __name__ == "__main__":
    main()
