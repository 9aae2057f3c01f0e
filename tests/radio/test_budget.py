"""Within any day relays are promised no more than the budget, over restarts too."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from radio_relays import Parties, id_of

from retrieval.deal import fold
from retrieval.deal.records import PacketRecord
from retrieval.errors import ErrorCode, LocalProtocolError
from retrieval.radio.account import RelayAccount, tables_of
from retrieval.radio.budget import DAY_MS, RelayBudget

DAY_S = DAY_MS / 1000


def promise(sent_ms: int, fee_cap: int) -> PacketRecord:
    return PacketRecord(packet_id=0, destination=bytes(8), fee_cap=fee_cap, sent_ms=sent_ms, delivery=b"", relays=b"")


@given(st.integers(0, 100), st.lists(st.tuples(st.integers(0, DAY_MS), st.integers(0, 60), st.booleans()), max_size=30))
def test_no_sliding_day_holds_more_promises_than_the_budget(per_day: int, steps: list[tuple[int, int, bool]]) -> None:
    kept: list[PacketRecord] = []
    budget, now_ms = RelayBudget(per_day), 0
    for pause_ms, fee_cap, restarts in steps:
        now_ms += pause_ms
        if restarts:
            budget = RelayBudget(per_day, kept)
        if fee_cap <= budget.left(now_ms / 1000):
            budget.promise(fee_cap, now_ms / 1000)
            kept.append(promise(now_ms, fee_cap))
        within = [row.fee_cap for row in kept if row.sent_ms > now_ms - DAY_MS]
        assert sum(within) <= per_day
        assert budget.left(now_ms / 1000) == per_day - sum(within)


def test_a_budget_that_was_lowered_is_overdrawn_and_recovers() -> None:
    budget = RelayBudget(5, [promise(0, 20)])
    assert budget.left(1.0) == -15
    assert budget.left(DAY_S) == 5


def test_a_packet_above_what_is_left_of_the_day_does_not_leave() -> None:
    parties = Parties()

    def account(per_day: int) -> RelayAccount:
        tables = tables_of(parties.origin.storage)
        return RelayAccount(id_of(parties.origin.key), b"\xaa" * 32, None, tables, now=parties.now, per_day=per_day)

    parties.account = account(150)
    parties.send(cap=100)
    parties.account = account(150)
    with pytest.raises(LocalProtocolError) as refused:
        parties.send(cap=100)
    assert refused.value.code is ErrorCode.OVER_BUDGET
    assert len(dict(fold.scan(parties.origin.storage, PacketRecord))) == 1
    parties.now += DAY_S
    parties.send(cap=100)


def test_without_a_budget_what_is_free_still_leaves() -> None:
    parties = Parties()
    parties.account = RelayAccount(
        id_of(parties.origin.key), b"\xaa" * 32, None, tables_of(parties.origin.storage), now=parties.now, per_day=0
    )
    parties.send(cap=0)
    with pytest.raises(LocalProtocolError):
        parties.send(cap=1)
