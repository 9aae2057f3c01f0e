"""How often a client waits for the other side before it has the first block: counted on a far link, not timed."""

from __future__ import annotations

import math
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Final

import pytest
import trio
from chain_fixture import devchain  # noqa: F401 - a fixture
from retrieval_client.api import Order, retrieve
from retrieval_client.config import ClientSettings
from retrieval_client.fetch import Progress
from retrieval_client.funding import fund
from retrieval_client.source import Source
from shop import DOLLAR, Shop
from trio.testing import MockClock, trio_test

from retrieval.cid import format_cid
from retrieval.payment.evm import EvmChain
from retrieval.settings import load

DELAY_S: Final = 0.05
ROUNDS_TO_FIRST_BLOCK: Final = 3
"""Noise's first two messages; the third, with Hello and Query, and the Quote; Accept, and the block."""


@pytest.fixture
def autojump_clock() -> MockClock:
    """Time passes when every task waits for it, and has for so long that sockets and threads have had their turn."""
    return MockClock(autojump_threshold=0.1)


class FarLink:
    """A path to a provider on which nothing arrives before both sides have said all they can say without it."""

    def __init__(self, address: str) -> None:
        self.n_rounds = 0
        """Of words and answers, each of which waited for the one before: how many have come back to the client."""
        self._n_rounds_there = 0
        self._address: Final = address

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[str]:
        """The address to dial instead, while the block runs."""
        async with trio.open_nursery() as nursery:
            (listener,) = await nursery.start(partial(trio.serve_tcp, self._pass_on, 0, host="127.0.0.1"))
            parts = self._address.split("/")
            parts[4] = str(listener.socket.getsockname()[1])
            yield "/".join(parts)
            nursery.cancel_scope.cancel()

    async def _pass_on(self, near: trio.SocketStream) -> None:
        async with near, await trio.open_tcp_stream("127.0.0.1", int(self._address.split("/")[4])) as far, trio.open_nursery() as nursery:
            for source, target in ((near, far), (far, near)):
                leaving, arriving = trio.open_memory_channel[tuple[float, int, bytes]](math.inf)
                nursery.start_soon(self._take_in, source, leaving, source is near)
                nursery.start_soon(self._let_out, arriving, target, target is near)

    async def _take_in(self, source: trio.SocketStream, leaving: trio.MemorySendChannel[tuple[float, int, bytes]], is_ours: bool) -> None:
        data = b"more"
        while data:
            data = bytes(await source.receive_some())
            n_rounds = self.n_rounds + 1 if is_ours else self._n_rounds_there
            leaving.send_nowait((trio.current_time() + DELAY_S, n_rounds, data))

    async def _let_out(
        self, arriving: trio.MemoryReceiveChannel[tuple[float, int, bytes]], target: trio.SocketStream, is_ours: bool
    ) -> None:
        async for due, n_rounds, data in arriving:
            await trio.sleep_until(due)
            if is_ours:
                self.n_rounds = max(self.n_rounds, n_rounds)
            else:
                self._n_rounds_there = max(self._n_rounds_there, n_rounds)
            await (target.send_all(data) if data else target.send_eof())


async def rounds_of(shop: Shop, cid: str, *, funded: bool) -> tuple[int, int]:
    """How many rounds a cold ``get`` takes to the first verified block, and to its end but for the parting."""
    home, at_progress = shop.client(), list[int]()
    async with shop.opened() as node:
        if funded:
            await fund(home, load(ClientSettings, home.config_path, {}, {})[0], node.addresses[0], DOLLAR, open_chain=EvmChain)
        link = FarLink(node.addresses[0])

        def watch(progress: Progress) -> None:
            if progress.verified_bytes:
                at_progress.append(link.n_rounds)

        async with link.opened() as address:
            got = await retrieve(home, Order(source=Source.parse(cid), provider=address, out=None, keep=True), on_progress=watch)
    assert got.verified
    assert got.receipt_verified
    return at_progress[0], link.n_rounds


@trio_test
async def test_free_content_comes_in_three_round_trips(tmp_path: Path, autojump_clock: MockClock) -> None:
    shop = Shop(folder=tmp_path, prices={"price.default": "0 USD/GiB"})
    (tmp_path / "page").write_bytes(os.urandom(5000))
    first, _ = await rounds_of(shop, format_cid(shop.add(tmp_path / "page").cid), funded=False)

    assert first == ROUNDS_TO_FIRST_BLOCK


@trio_test
async def test_a_first_block_that_is_paid_for_costs_no_round_trip_more(tmp_path: Path, devchain: str, autojump_clock: MockClock) -> None:  # noqa: F811
    shop = Shop(folder=tmp_path, rpc=devchain)
    (tmp_path / "page").write_bytes(os.urandom(5000))
    first, last = await rounds_of(shop, format_cid(shop.add(tmp_path / "page").cid), funded=True)

    assert first == ROUNDS_TO_FIRST_BLOCK
    assert last <= ROUNDS_TO_FIRST_BLOCK + 2  # payment and countersignature, then the parting
