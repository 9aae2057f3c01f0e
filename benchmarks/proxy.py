"""Trio. A worker: a TCP proxy on loopback that behaves like a long or a narrow path.

Every byte leaves ``delay_s`` after it came, and no direction carries more than ``bits_per_s``. What does not fit on the path waits in the
sender's socket, as it would before a real one.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Final

import trio

from benchmarks.processes import Worker, say, start_worker
from retrieval.units import KIB, MIB

READ_BYTES: Final = 16 * KIB
"""One segment of the path: at 200 Mbit/s, 0.7 ms of it."""
ON_THE_WAY_MAX: Final = 8 * MIB
"""Bytes of one direction kept at once: 200 Mbit/s times 100 ms is 2.5 MB, the rest is what a router would queue."""
MBIT: Final = 1_000_000


class Proxy:
    """A running proxy."""

    def __init__(self, address: str, worker: Worker) -> None:
        self.address: Final = address
        """What to dial instead."""
        self._worker: Final = worker

    def carried_bytes(self) -> int:
        """What went through it so far, both ways."""
        return int(self._worker.ask()["carried_bytes"])


@contextmanager
def open_proxy(address: str, *, delay_s: float, bits_per_s: int | None = None) -> Iterator[Proxy]:
    """A proxy before a ``/ip4/…/tcp/…`` multiaddr while the block runs."""
    _, family, host, kind, port, *rest = address.split("/")
    with start_worker(__name__, host, port, str(delay_s), str(bits_per_s or 0)) as worker:
        yield Proxy("/".join(("", family, "127.0.0.1", kind, str(worker.ready["port"]), *rest)), worker)


class Path:
    """One direction."""

    def __init__(self, *, delay_s: float, bits_per_s: int | None, count: Callable[[int], None]) -> None:
        self._count: Final = count
        self._delay_s: Final = delay_s
        self._bytes_per_s: Final = None if bits_per_s is None else bits_per_s / 8
        self._on_the_way: deque[tuple[float, bytes]] = deque()
        self._n_bytes = 0
        self._free_at = 0.0
        """When the path has room for the next byte."""
        self._changed = trio.Event()

    async def carry(self, source: trio.SocketStream, target: trio.SocketStream) -> None:
        """Until the source ends; the target then sees the end, as late as any byte."""
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._let_out, target)
                while data := await source.receive_some(READ_BYTES):
                    await self._let_in(data)
                await self._let_in(b"")
        except* (trio.BrokenResourceError, trio.ClosedResourceError):
            await trio.aclose_forcefully(source)
            await trio.aclose_forcefully(target)

    async def _let_in(self, data: bytes) -> None:
        while self._n_bytes > ON_THE_WAY_MAX:
            await self._wait()
        now = trio.current_time()
        self._free_at = max(now, self._free_at)
        if self._bytes_per_s is not None:
            self._free_at += len(data) / self._bytes_per_s
        self._on_the_way.append((self._free_at + self._delay_s, data))
        self._n_bytes += len(data)
        self._changed.set()

    async def _let_out(self, target: trio.SocketStream) -> None:
        while True:
            while not self._on_the_way:
                await self._wait()
            due, data = self._on_the_way.popleft()
            await trio.sleep_until(due)
            if not data:
                await target.send_eof()
                return
            await target.send_all(data)
            self._count(len(data))
            self._n_bytes -= len(data)
            self._changed.set()

    async def _wait(self) -> None:
        self._changed = trio.Event()
        await self._changed.wait()


class Link:
    """The path to one place, for any number of connections. ``carried_bytes`` counts all of them, both ways."""

    def __init__(self, host: str, port: int, *, delay_s: float, bits_per_s: int | None) -> None:
        self._host: Final = host
        self._port: Final = port
        self._delay_s: Final = delay_s
        self._bits_per_s: Final = bits_per_s
        self.carried_bytes = 0

    async def pass_on(self, near: trio.SocketStream) -> None:
        """One connection, both ways. The far side is reached at once: the delay is in what is said."""
        async with near, await trio.open_tcp_stream(self._host, self._port) as far, trio.open_nursery() as nursery:
            for source, target in ((near, far), (far, near)):
                path = Path(delay_s=self._delay_s, bits_per_s=self._bits_per_s, count=self._count)
                nursery.start_soon(path.carry, source, target)

    def _count(self, n_bytes: int) -> None:
        self.carried_bytes += n_bytes


async def serve(link: Link) -> None:
    async with trio.open_nursery() as nursery:
        (listener,) = await nursery.start(partial(trio.serve_tcp, link.pass_on, 0, host="127.0.0.1"))
        say(port=listener.socket.getsockname()[1])
        while await trio.to_thread.run_sync(sys.stdin.readline):
            say(carried_bytes=link.carried_bytes)
        nursery.cancel_scope.cancel()


def main() -> None:
    match sys.argv[1:]:
        case [host, port, delay_s, bits_per_s]:
            trio.run(serve, Link(host, int(port), delay_s=float(delay_s), bits_per_s=int(bits_per_s) or None))
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main()
