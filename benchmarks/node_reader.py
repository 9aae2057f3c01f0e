"""A worker: reads answers of HTTP servers into one buffer and throws them away, so that next to nothing of what is measured is its own."""

from __future__ import annotations

import socket
import time
from typing import Final
from urllib.parse import urlsplit

from benchmarks.processes import Json, answer_commands
from retrieval.memory import reserve
from retrieval.units import MIB

BUFFER_BYTES: Final = MIB
HEAD_MAX: Final = 16 << 10  # bytes of an answer's status and headers


def read(command: Json) -> Json:
    """GET ``url`` on a connection of its own: bytes of the body, seconds to its first and to its last."""
    url = urlsplit(command["url"])
    target = f"{url.path or '/'}?{url.query}"
    with memoryview(reserve(BUFFER_BYTES)) as buffer:
        began = time.perf_counter()
        with socket.create_connection((url.hostname, url.port)) as sock:
            sock.sendall(f"GET {target} HTTP/1.1\r\nHost: {url.netloc}\r\nConnection: close\r\n\r\n".encode())
            head = b""
            while b"\r\n\r\n" not in head:
                part = sock.recv(HEAD_MAX)
                assert part, "it closed before it answered"
                head += part
            head, _, body = head.partition(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200 "), head[:80]
            n_bytes, first_s = len(body), time.perf_counter() - began
            while n := sock.recv_into(buffer):
                n_bytes += n
        return {"n_bytes": n_bytes, "first_s": first_s, "seconds": time.perf_counter() - began}


if __name__ == "__main__":
    answer_commands(read)
