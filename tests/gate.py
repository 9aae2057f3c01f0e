"""A gate between a client and a provider: a TCP proxy on the loopback interface that lets a set number of bytes through, then holds.

A transfer can so be stopped at a known point for as long as a test needs, which no sleep and no rate limit could promise.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from types import TracebackType
from typing import Final

OPEN: Final = 1 << 62  # bytes; wide enough
CHUNK: Final = 16 * 1024


class Gate:
    """A context manager. Clients connect to ``port``; what comes back from ``upstream_port`` is counted and held at the limit."""

    def __init__(self, upstream_port: int) -> None:
        self._upstream_port: Final = upstream_port
        self._listening: Final = socket.create_server(("127.0.0.1", 0))
        self.port: Final[int] = self._listening.getsockname()[1]
        self._changed: Final = threading.Condition()
        self._pairs: set[tuple[socket.socket, socket.socket]] = set()
        self._n_passed = 0
        self._limit = OPEN

    def __enter__(self) -> Gate:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self.cut()

    def hold_after(self, n_bytes: int) -> None:
        """Let ``n_bytes`` more through to clients, over all connections, and hold what follows."""
        with self._changed:
            self._limit = self._n_passed + n_bytes
            self._changed.notify_all()

    def open(self) -> None:
        """Let everything through."""
        with self._changed:
            self._limit = OPEN
            self._changed.notify_all()

    @property
    def is_holding(self) -> bool:
        """Whether as many bytes have passed as may."""
        with self._changed:
            return self._n_passed >= self._limit

    def until_holding(self, timeout_s: float = 30.0) -> None:
        """Until as many bytes have passed as may."""
        with self._changed:
            assert self._changed.wait_for(lambda: self._n_passed >= self._limit, timeout_s)

    def cut(self) -> None:
        """Break every connection, and lose what was held."""
        with self._changed:
            for ends in self._pairs:
                for end in ends:
                    with contextlib.suppress(OSError):
                        end.shutdown(socket.SHUT_RDWR)
            self._pairs.clear()
            self._changed.notify_all()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listening.accept()
            except OSError:  # closed
                return
            try:
                provider = socket.create_connection(("127.0.0.1", self._upstream_port))
            except ConnectionRefusedError:  # nobody serves now
                client.close()
                continue
            pair = client, provider
            with self._changed:
                self._pairs.add(pair)
            threading.Thread(target=self._pump, args=(pair, client, provider, False), daemon=True).start()
            threading.Thread(target=self._pump, args=(pair, provider, client, True), daemon=True).start()

    def _pump(self, pair: tuple[socket.socket, socket.socket], source: socket.socket, sink: socket.socket, gated: bool) -> None:
        with contextlib.suppress(OSError):
            while chunk := source.recv(CHUNK):
                if not gated:
                    sink.sendall(chunk)
                while gated and chunk:
                    part = self._pass(pair, len(chunk))
                    if not part:
                        return
                    sink.sendall(chunk[:part])
                    chunk = chunk[part:]
        with contextlib.suppress(OSError):
            sink.shutdown(socket.SHUT_WR)

    def _pass(self, pair: tuple[socket.socket, socket.socket], wanted: int) -> int:
        """How many bytes may pass now, once any may; 0 when the connection was cut."""
        with self._changed:
            self._changed.wait_for(lambda: pair not in self._pairs or self._n_passed < self._limit)
            if pair not in self._pairs:
                return 0
            part = min(wanted, self._limit - self._n_passed)
            self._n_passed += part
            self._changed.notify_all()
            return part
