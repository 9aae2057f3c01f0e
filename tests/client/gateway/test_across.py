"""Questions over the bridge: what was joined for a client that has left meanwhile is left again."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import trio
from retrieval_client.gateway.across import Across
from retrieval_client.gateway.errands import Permit
from retrieval_client.source import Source

from retrieval.cid import RAW, cid_of
from retrieval.transport.bridge import Bridge, open_asyncio
from retrieval.wire.messages import Scope

SOURCE = Source(root=cid_of(RAW, b""), path=(), scope=Scope.BLOCK)
NOBODY = Permit(token=None, origin="", spend_max=0, providers=())
NOTHING: Any = None


class Errands:
    """One errand, joined when a test says so, whoever still waits for it."""

    def __init__(self) -> None:
        self.n_joined = 0
        self.n_left = 0
        self.is_asked = trio.Event()
        self.may_join = trio.Event()

    async def join(self, source: Source, permit: Permit, *, alone: bool) -> str:
        self.is_asked.set()
        with trio.CancelScope(shield=True):
            await self.may_join.wait()
        self.n_joined += 1
        return "the errand"

    async def leave(self, errand: str) -> None:
        self.n_left += 1


async def join_and_go(bridge: Bridge, errands: Any) -> None:
    """A client that leaves while its errand is joined."""
    joining = asyncio.create_task(Across(bridge, errands, NOTHING, NOTHING).join(SOURCE, NOBODY, alone=False))
    await bridge.in_trio(errands.is_asked.wait)
    joining.cancel()
    await asyncio.sleep(0)

    async def let_join() -> None:
        errands.may_join.set()

    await bridge.in_trio(let_join)
    with pytest.raises(asyncio.CancelledError):
        await joining


def test_an_errand_that_was_joined_for_a_client_that_left_is_left_again() -> None:
    """Or it would be read by nobody, and bought to its end."""

    async def main() -> None:
        errands = Errands()
        async with open_asyncio() as bridge:
            await bridge.run(join_and_go, bridge, errands)
        assert (errands.n_joined, errands.n_left) == (1, 1)

    trio.run(main)
