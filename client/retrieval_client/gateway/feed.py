"""asyncio. What happens, for programs that listen: server-sent events (WHATWG HTML, 9.2) that can be resumed by id.

The rule: nobody who listens holds anything up. The last happenings are kept in one ring for all; whoever reads too slowly, or was away too
long, is told how many it missed and goes on from the oldest there is.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Final

from aiohttp import web

from retrieval.errors import ErrorCode, RemoteProtocolError

from .happenings import Happening

KEPT: Final = 1024
"""Happenings that are remembered: about a quarter of a MiB."""
LISTENERS_MAX: Final = 16
KEEP_ALIVE_S: Final = 15.0
"""A comment is sent this often, so that whoever listens knows that we live, and we learn that they left."""
STALL_S: Final = 30.0
"""A listener has this long to take what is sent."""
_ID: Final = re.compile(r"([0-9a-f]{8})-([0-9]{1,18})", re.ASCII)


class Feed:
    """Belongs to asyncio's thread."""

    def __init__(self, run_id: str) -> None:
        """``run_id``, eight digits in hex, tells this run's ids from those of another."""
        self._run_id: Final = run_id
        self._kept: Final = deque[bytes](maxlen=KEPT)
        self._n_told = 0
        self._told = asyncio.Event()
        """Set and replaced when there is more."""
        self._n_listeners = 0

    async def tell(self, happenings: Iterable[Happening]) -> None:
        """Let everybody know."""
        for each in happenings:
            self._n_told += 1
            self._kept.append(self._event(self._n_told, each))
        self._told.set()
        self._told = asyncio.Event()

    async def send(self, request: web.Request, may_hear: Callable[[], bool]) -> web.StreamResponse:
        """Answer with what happens from now on, or since ``Last-Event-ID``, until either side ends it, or it ``may_hear`` no more.

        Raises ``RemoteProtocolError(rate_limited)``.
        """
        if self._n_listeners == LISTENERS_MAX:
            raise RemoteProtocolError(ErrorCode.RATE_LIMITED, f"{LISTENERS_MAX} are listening", retry_after_s=5)
        self._n_listeners += 1
        try:
            response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store"})
            await response.prepare(request)
            async for part in self.parts(request.headers.get("Last-Event-ID")):
                if not may_hear():
                    break
                async with asyncio.timeout(STALL_S):
                    await response.write(part)
            return response
        except TimeoutError as error:
            raise ConnectionResetError("a listener does not read") from error
        finally:
            self._n_listeners -= 1

    async def parts(self, last_id: str | None) -> AsyncIterator[bytes]:
        """What somebody hears who heard ``last_id`` before, without end."""
        n_heard, missed = self._position(last_id)
        yield b": listening\n\n"
        if missed:
            yield self._gap(None)
        while True:
            told, first = self._told, self._n_told - len(self._kept)
            if n_heard < first:
                yield self._gap(first - n_heard)
                n_heard = first
            elif n_heard < self._n_told:
                part = self._kept[n_heard - first]
                n_heard += 1
                yield part
            else:
                try:
                    async with asyncio.timeout(KEEP_ALIVE_S):
                        await told.wait()
                except TimeoutError:
                    yield b": alive\n\n"

    def _position(self, last_id: str | None) -> tuple[int, bool]:
        """How much was heard before, and whether nobody knows what was missed since: by an id of another run, or of none."""
        if last_id is None:
            return self._n_told, False
        form = _ID.fullmatch(last_id.strip())
        if form is None or form[1] != self._run_id or int(form[2]) > self._n_told:
            return self._n_told - len(self._kept), True
        return int(form[2]), False

    def _gap(self, n_missed: int | None) -> bytes:
        return f"event: gap\ndata: {json.dumps({'missed': n_missed})}\n\n".encode()

    def _event(self, number: int, happening: Happening) -> bytes:
        return f"id: {self._run_id}-{number}\nevent: {happening.name}\ndata: {json.dumps(happening.data)}\n\n".encode()
