"""asyncio. What the node says of itself, asked as seldom as possible: however many look, it is asked about once a second.

The rate of a transfer is what came between answers. That a node does not answer in time is an answer too, and good for as long: whoever
looks waits for one question at the most.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from typing import Final

from retrieval.errors import LocalProtocolError
from retrieval.gateway.delivery import Threads
from retrieval.home import Home
from retrieval.transport.control import Json, call_control

ASK_S: Final = 4.0
"""The node's own checks have two seconds."""
KEPT_S: Final = 0.9
"""How long an answer is good."""
VERBS: Final = ("live", "health", "counts")
RATE_SAMPLES: Final = 6
"""Answers over which a rate is told, some seconds of them: clients pay, and are served, in bursts."""


class Feed:
    """The answers of one node."""

    def __init__(self, home: Home, clock: Callable[[], float] = time.monotonic) -> None:
        self._path: Final = home.control_path
        self._clock: Final = clock
        self._threads: Final = Threads(len(VERBS))
        """Of its own: whether all is well is told also while a long journal is being read."""
        self._turns: Final[dict[str, asyncio.Lock]] = {}
        self._heard: Final[dict[str, tuple[float, Json | LocalProtocolError]]] = {}
        """Until when each is good, and what it is."""
        self._samples: dict[str, deque[tuple[float, int]]] = {}
        """Of each transfer: when it was how far, the newest last."""

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

    def close(self) -> None:
        self._threads.close()

    async def _ask(self, verb: str) -> Json:
        async with self._turns.setdefault(verb, asyncio.Lock()):
            good_until, heard = self._heard.get(verb, (0.0, None))
            if heard is None or self._clock() >= good_until:
                heard = await self._hear(verb)
                self._heard[verb] = (self._clock() + KEPT_S, heard)
            if isinstance(heard, LocalProtocolError):
                raise heard.with_traceback(None)
            return heard

    async def _hear(self, verb: str) -> Json | LocalProtocolError:
        try:
            heard = await self._threads.run(lambda: call_control(self._path, verb, {}, ASK_S))
        except LocalProtocolError as error:
            return error
        if verb == "live":
            self._rate(heard["transfers"], self._clock())
        return heard

    def _rate(self, transfers: list[Json], now: float) -> None:
        samples = {each["id"]: self._samples.get(each["id"], deque(maxlen=RATE_SAMPLES)) for each in transfers}
        for each in transfers:
            of_this = samples[each["id"]]
            of_this.append((now, each["bytes"]))
            since, at_bytes = of_this[0]
            each["bytes_per_s"] = round(max(0, each["bytes"] - at_bytes) / (now - since)) if now > since else 0
        self._samples = samples
