"""asyncio. What the node says of itself, asked as seldom as possible: however many look, it is asked about once a second.

The rate of a transfer is what came between two answers. A node that does not answer in time is an answer too.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Final

from retrieval.errors import LocalProtocolError
from retrieval.home import Home
from retrieval.transport.control import Json, call_control

ASK_S: Final = 4.0
"""The node's own checks have two seconds."""
KEPT_S: Final = 0.9
RATE_OVER_S: Final = 2.0
"""Rates are told over at least so long: a client pays, and is served, in bursts."""


class Feed:
    """The answers of one node."""

    def __init__(self, home: Home, clock: Callable[[], float] = time.monotonic) -> None:
        self._path: Final = home.control_path
        self._clock: Final = clock
        self._turns: Final[dict[str, asyncio.Lock]] = {}
        self._heard: Final[dict[str, tuple[float, Json]]] = {}
        self._marks: dict[str, tuple[float, int, float]] = {}
        """Of each transfer: when and at how many bytes its rate was counted from, and the rate before."""

    async def live(self) -> Json:
        """What goes on now, each transfer with its ``bytes_per_s``. Raises ``LocalProtocolError(control_unavailable)``."""
        return await self._ask("live")

    async def health(self) -> Json:
        """The body of ``/readyz``, also when the node cannot be asked."""
        try:
            return await self._ask("health")
        except LocalProtocolError as error:
            return {"ready": False, "checks": {"node": {"state": "failing", "says": f"it does not answer: {error.detail}"}}}

    async def counts(self) -> Json:
        """All sums and gauges. Raises ``LocalProtocolError(control_unavailable)``."""
        return await self._ask("counts")

    async def _ask(self, verb: str) -> Json:
        async with self._turns.setdefault(verb, asyncio.Lock()):
            asked_at, heard = self._heard.get(verb, (0.0, None))
            now = self._clock()
            if heard is None or now - asked_at >= KEPT_S:
                heard = await asyncio.to_thread(call_control, self._path, verb, {}, ASK_S)
                if verb == "live":
                    self._rate(heard["transfers"], self._clock())
                self._heard[verb] = (now, heard)
            return heard

    def _rate(self, transfers: list[Json], now: float) -> None:
        marks: dict[str, tuple[float, int, float]] = {}
        for each in transfers:
            since, at_bytes, rate = self._marks.get(each["id"], (now, each["bytes"], 0.0))
            if now - since >= RATE_OVER_S:
                rate = (each["bytes"] - at_bytes) / (now - since)
                since, at_bytes = now, each["bytes"]
            marks[each["id"]] = (since, at_bytes, rate)
            each["bytes_per_s"] = max(0, round(rate))
        self._marks = marks
