"""Looks at the chain: shared, in turn, and never an older one after a newer one."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import pytest
import trio
from retrieval_provider.lookout import Lookout
from trio.testing import trio_test, wait_all_tasks_blocked

from retrieval.errors import ErrorCode, RemoteProtocolError
from retrieval.payment.chain import Chain, ChannelState
from retrieval.payment.channel import ChannelId


class Slow:
    """A chain whose balances are the number of the look, and which answers when told to."""

    def __init__(self) -> None:
        self.asked: list[list[ChannelId]] = []
        self.may_answer = threading.Event()
        self.failure: RemoteProtocolError | None = None
        self.buried: dict[ChannelId, int] = {}

    def channel_states(self, channel_ids: Sequence[ChannelId], *, confirmations: int = 0) -> list[ChannelState]:
        self.asked.append(list(channel_ids))
        number = len(self.asked)
        assert self.may_answer.wait(10)
        if self.failure:
            raise self.failure
        balances = [self.buried.get(each, number) if confirmations else number for each in channel_ids]
        return [
            ChannelState(balance=b, total_claimed=0, refund_nonce=0, withdraw_amount=0, withdraw_started_at=0, block_timestamp=number)
            for b in balances
        ]


def lookout_on(chain: Slow, confirmations: int = 0) -> Lookout:
    port: Chain = chain  # type: ignore[assignment]  # only the one method is called
    return Lookout(port, confirmations=confirmations)


A, B, C = (ChannelId(bytes([n]) * 32) for n in range(3))


@trio_test
async def test_whoever_comes_during_a_look_shares_the_next_one() -> None:
    chain, seen = Slow(), []
    lookout = lookout_on(chain)

    async def look(*channels: ChannelId) -> None:
        states = await lookout.look(channels)
        seen.append([state.balance for state in states])

    async with trio.open_nursery() as nursery:
        nursery.start_soon(look, A)
        await wait_all_tasks_blocked()
        for channels in ((B, C), (C, B), (A,)):
            nursery.start_soon(look, *channels)
        await wait_all_tasks_blocked()
        chain.may_answer.set()
    assert [sorted(asked) for asked in chain.asked] == [[A], [A, B, C]]
    assert seen[0] == [1]
    assert sorted(seen[1:]) == [[2], [2, 2], [2, 2]]


@trio_test
async def test_a_chain_that_fails_fails_everybody_who_waited_and_nobody_after() -> None:
    chain = Slow()
    chain.may_answer.set()
    chain.failure = RemoteProtocolError(ErrorCode.RPC_UNAVAILABLE)
    lookout = lookout_on(chain)
    with pytest.raises(RemoteProtocolError):
        await lookout.look([A])
    chain.failure = None
    assert (await lookout.look([A]))[0].balance == 2


@trio_test
async def test_one_who_gives_up_does_not_take_the_others_with_them() -> None:
    chain, seen = Slow(), []
    lookout = lookout_on(chain)

    async def look() -> None:
        seen.append((await lookout.look([B]))[0].balance)

    async with trio.open_nursery() as nursery:
        with trio.CancelScope() as impatient:
            nursery.start_soon(look)
            await wait_all_tasks_blocked()
            nursery.start_soon(look)
            await wait_all_tasks_blocked()
            chain.may_answer.set()
            impatient.cancel()
            await lookout.look([A])
    assert sorted(seen) == [1, 2]


@trio_test
async def test_a_deposit_counts_only_as_deep_as_asked_and_never_more_than_there_is() -> None:
    chain = Slow()
    chain.may_answer.set()
    chain.buried = {A: 0, B: 99}
    states = await lookout_on(chain, confirmations=3).look([A, B])
    assert [state.balance for state in states] == [0, 1]


@trio_test
async def test_asking_for_nothing_asks_nobody() -> None:
    chain = Slow()
    assert await lookout_on(chain).look([]) == []
    assert chain.asked == []
