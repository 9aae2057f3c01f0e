"""A trustless gateway in a thread of this process, as small as one can be, that can be told to misbehave."""

from __future__ import annotations

import asyncio
import io
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from aiohttp import web

from retrieval.cid import Cid, parse_cid
from retrieval.dag.walk import Walk, read
from retrieval.store.blocks import BlockStore
from retrieval.store.car import write_car

CAR = "application/vnd.ipld.car"
RAW = "application/vnd.ipld.raw"
Block = tuple[Cid, bytes]
Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(slots=True)
class Gateway:
    """Serves what is in ``store``."""

    store: BlockStore
    alter: Callable[[list[Block]], list[Block]] = list
    """What becomes of the blocks of a CAR before they leave."""
    answer_instead: Answer | None = None
    """Answers every request in place of the gateway."""
    cut_after: int | None = None
    """Bytes of a CAR after which the connection is cut."""
    n_requests: int = 0
    n_connections: int = 0
    url: str = ""
    _seen: set[object] = field(default_factory=set)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.n_requests += 1
        if request.transport not in self._seen:
            self._seen.add(request.transport)
            self.n_connections += 1
        if self.answer_instead is not None:
            return await self.answer_instead(request)
        root, *path = [parse_cid(request.match_info["cid"]), *filter(None, request.match_info["path"].split("/"))]
        if self.store.get(root) is None:
            return web.Response(status=404)
        if request.query["format"] == "raw":
            payload = self.store.get(root)
            return web.Response(body=payload, content_type=RAW)
        body = io.BytesIO()
        write_car(body, (root,), self.alter(list(read(self.store, Walk(root, path)))))
        if self.cut_after is None:
            return web.Response(body=body.getvalue(), content_type=CAR)
        response = web.StreamResponse(headers={"Content-Type": CAR, "Content-Length": str(len(body.getvalue()))})
        await response.prepare(request)
        await response.write(body.getvalue()[: self.cut_after])
        assert request.transport is not None
        request.transport.close()
        return response


@contextmanager
def serving(gateway: Gateway) -> Iterator[Gateway]:
    """Run it while the block runs."""
    ready, loop = threading.Event(), asyncio.new_event_loop()
    stopping = asyncio.Event()

    async def main() -> None:
        app = web.Application()
        app.router.add_get("/ipfs/{cid:[^/]+}{path:.*}", gateway.answer)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        gateway.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        ready.set()
        await stopping.wait()
        await runner.cleanup()

    thread = threading.Thread(target=loop.run_until_complete, args=(main(),))
    thread.start()
    try:
        assert ready.wait(20)
        yield gateway
    finally:
        loop.call_soon_threadsafe(stopping.set)
        thread.join()
        loop.close()
