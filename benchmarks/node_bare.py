"""asyncio. A worker: bare aiohttp that sends so many bytes out of its memory, in the pieces it likes best, until its input ends."""

from __future__ import annotations

import asyncio
import random
import sys
from typing import Final

from aiohttp import web

from benchmarks.processes import say
from retrieval.units import MIB

PIECE: Final = MIB
"""Bytes of one write: smaller ones cost more calls, and of larger ones it copies what the socket does not take."""


async def serve(n_bytes: int) -> None:
    content = memoryview(random.Random(n_bytes).randbytes(PIECE) * (n_bytes // PIECE))

    async def send(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        response.content_length = len(content)
        await response.prepare(request)
        for start in range(0, len(content), PIECE):
            await response.write(content[start : start + PIECE])
        await response.write_eof()
        return response

    app = web.Application()
    app.router.add_get("/", send)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    say(url=f"http://127.0.0.1:{runner.addresses[0][1]}")
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    await runner.cleanup()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1])))
