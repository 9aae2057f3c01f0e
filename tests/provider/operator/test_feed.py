"""What the page asks of the node: seldom, and with rates made of the answers."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest
import trio
from retrieval_provider.operator import feed
from retrieval_provider.operator.feed import KEPT_S, Feed
from retrieval_provider.operator.live import COST_SHARE, Frugal

from retrieval.home import Home
from retrieval.transport.control import Json, serve_control


class Node:
    """One that sends a transfer of 1,000 bytes with each answer."""

    def __init__(self) -> None:
        self.n_asked = 0

    async def live(self, args: Json) -> Json:
        self.n_asked += 1
        return {"transfers": [{"id": "a", "bytes": 1000 * self.n_asked}]}

    async def health(self, args: Json) -> Json:
        """It hangs."""
        self.n_asked += 1
        await trio.sleep_forever()


@contextmanager
def answering(home: Home, node: Node) -> Iterator[None]:
    started, stop = threading.Event(), trio.Event()
    token: list[trio.lowlevel.TrioToken] = []

    async def main() -> None:
        token.append(trio.lowlevel.current_trio_token())
        async with trio.open_nursery() as nursery:
            await nursery.start(partial(serve_control, home.control_path, {"live": node.live, "health": node.health}))
            started.set()
            await stop.wait()
            nursery.cancel_scope.cancel()

    thread = threading.Thread(target=trio.run, args=(main,))
    thread.start()
    assert started.wait(10)
    try:
        yield
    finally:
        token[0].run_sync_soon(stop.set)
        thread.join()


def test_many_who_look_ask_once_and_a_rate_is_what_came_between_answers(tmp_path: Path) -> None:
    home, node, now = Home(tmp_path, "retrieval-provider"), Node(), 0.0

    async def main() -> None:
        nonlocal now
        asked = Feed(home, clock=lambda: now)
        found = await asyncio.gather(*(asked.live() for _ in range(20)))
        assert (node.n_asked, found[0]["transfers"][0]["bytes_per_s"]) == (1, 0)
        now = KEPT_S / 2
        assert (await asked.live()) is found[0]
        for _ in range(8):
            now += 2.0
            assert (await asked.live())["transfers"][0]["bytes_per_s"] in range(400, 501)
        assert node.n_asked == 9

    with answering(home, node):
        asyncio.run(main())


def test_a_node_that_hangs_is_waited_for_once_however_many_look(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed, "ASK_S", 0.1)
    home, node, now = Home(tmp_path, "retrieval-provider"), Node(), 0.0

    async def main() -> None:
        nonlocal now
        asked = Feed(home, clock=lambda: now)
        found = await asyncio.gather(*(asked.health() for _ in range(20)))
        assert node.n_asked == 1
        assert {each["ready"] for each in found} == {False}
        assert "no answer within" in found[0]["checks"]["node"]["says"]
        now = KEPT_S
        await asked.health()
        assert node.n_asked == 2, "it may have come to itself"

    with answering(home, node):
        asyncio.run(main())


def test_a_node_that_is_gone_is_not_ready(tmp_path: Path) -> None:
    found = asyncio.run(Feed(Home(tmp_path, "retrieval-provider")).health())
    assert found["ready"] is False
    assert "no process serves this home" in found["checks"]["node"]["says"]


def test_a_dear_answer_is_given_again_until_it_has_cost_its_share() -> None:
    now, made = 0.0, 0

    def make() -> Json:
        nonlocal now, made
        now, made = now + 0.1, made + 1
        return {"n": made}

    told = Frugal(make, clock=lambda: now)
    assert told.now() == {"n": 1}
    now = 0.1 * COST_SHARE - 0.01
    assert told.now() == {"n": 1}
    now = 0.1 * COST_SHARE + 0.01
    assert told.now() == {"n": 2}
