"""asyncio. Bare aiohttp over plain TCP: nothing is read from a disk, encrypted, verified, stored or paid.

The upper end of what a Python server moves.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import aiohttp
from aiohttp import web

from benchmarks.pair import Peer, WorkerPair
from benchmarks.processes import Json, answer_commands, say, start_worker
from retrieval.units import MIB

LABEL: Final = "bare aiohttp"
WRITE_BYTES: Final = MIB


@contextmanager
def open_peer(n_bytes: int) -> Iterator[Peer]:
    """A pair that moves ``n_bytes`` of zeros."""
    with start_worker(__name__, "serve") as server:
        yield WorkerPair(server.pid, lambda: start_worker(__name__, "fetch"), {"url": f"{server.ready['url']}/{n_bytes}"})


async def serve() -> None:
    piece = bytes(WRITE_BYTES)

    async def send(request: web.Request) -> web.StreamResponse:
        left = int(request.match_info["n_bytes"])
        response = web.StreamResponse(headers={"Content-Length": str(left)})
        await response.prepare(request)
        while left:
            await response.write(piece if left >= WRITE_BYTES else piece[:left])
            left -= min(left, WRITE_BYTES)
        await response.write_eof()
        return response

    app = web.Application()
    app.router.add_get("/{n_bytes}", send)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    say(url=f"http://127.0.0.1:{runner.addresses[0][1]}")
    await asyncio.to_thread(sys.stdin.read)
    await runner.cleanup()


async def fetch(url: str) -> Json:
    async with aiohttp.ClientSession() as session:
        began, first_s, received = time.perf_counter(), None, 0
        async with session.get(url) as response:
            async for data in response.content.iter_any():
                received += len(data)
                first_s = first_s or time.perf_counter() - began
        return {"n_bytes": received, "seconds": time.perf_counter() - began, "first_s": first_s}


def main() -> None:
    match sys.argv[1:]:
        case ["serve"]:
            asyncio.run(serve())
        case ["fetch"]:
            answer_commands(lambda command: asyncio.run(fetch(command["url"])))
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main()
