"""Budgets, without a gateway: each day has its own, whenever what counts against it is decided."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import trio
from retrieval_client.gateway.budgets import DAY_S, Budgets, Limits
from retrieval_client.gateway.tokens import Scope, Token, TokenId

from retrieval.cid import RAW, cid_of
from retrieval.errors import ErrorCode, LocalProtocolError
from retrieval.ledger.journal import Record
from retrieval.ledger.state import MemoryStateStorage
from retrieval.wire.messages import Scope as Extent
from retrieval.wire.messages import Selection

PAGE = "https://page.example"
SELECTION = Selection(root=cid_of(RAW, b""), path=(), scope=Extent.BLOCK, range_start=None, range_end=None)
TOKEN = Token(
    id=TokenId(bytes(8)), digest=bytes(32), name="", scopes=Scope.SPEND, cap=1000, per_request=1000, origins=(), expires_ms=1 << 50
)


class Writer:
    """It forgets: what counts is what the budgets remember."""

    async def commit(self, records: Sequence[Record]) -> None:
        await trio.lowlevel.checkpoint()


@pytest.mark.parametrize(
    "limits", [Limits(per_request=1000, per_day=100, per_origin=1000), Limits(per_request=1000, per_day=1000, per_origin=100)]
)
def test_what_is_held_over_midnight_counts_against_the_day_on_which_it_began(limits: Limits) -> None:
    now = float(DAY_S - 1)
    writer: Any = Writer()

    async def main() -> None:
        nonlocal now
        budgets = Budgets(MemoryStateStorage(), writer, limits, lambda: now)
        hold = budgets.open(TOKEN, PAGE, SELECTION)
        await hold.raise_to(60, by_deals=True)
        now += 2
        with pytest.raises(LocalProtocolError) as refused:
            await hold.raise_to(101, by_deals=True)
        assert refused.value.code is ErrorCode.OVER_BUDGET
        await hold.raise_to(100, by_deals=True)
        assert min(budgets.left(TOKEN, PAGE).today, limits.per_origin) == 100, "the new day has all of its own"
        await hold.settle(70)
        assert budgets.spent_today() == 0
        now -= 2
        assert budgets.spent_today() == 70

    trio.run(main)
