"""Holds, by what a journal keeps of them: after a crash, from deals to gateways, and for many errands at a time."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
import trio
from retrieval_client.gateway.budgets import DAY_S, Budgets, Limits
from retrieval_client.gateway.tokens import Scope, Token, TokenId

from retrieval.deal import allowance, fold
from retrieval.deal.records import DealRecord, ReceiptRecord, record
from retrieval.errors import ErrorCode, LocalProtocolError
from retrieval.ledger.journal import Journal
from retrieval.ledger.state import MemoryStateStorage
from retrieval.transport.writer import open_writer
from retrieval.wire.messages import DealId, Selection, Signed, SignedReceipt
from retrieval.wire.messages import Scope as Part
from retrieval.wire.receipt import Receipt

SELECTION = Selection(root=b"\x01\x55\x12\x20" + bytes(32), path=(), scope=Part.ENTITY)
TOKEN = Token(
    id=TokenId(b"token-01"), digest=bytes(32), name="", scopes=Scope.SPEND, cap=1_000, per_request=100, origins=(), expires_ms=1 << 40
)
LIMITS = Limits(per_request=100, per_day=150, per_origin=120)
DAY = 20_000
PAGE = "https://a.example"


class Gateway:
    """Budgets over a journal that outlives them."""

    def __init__(self) -> None:
        self.journal = Journal(MemoryStateStorage(), fold.reduce)
        self.now = float(DAY * DAY_S)

    def used(self) -> int:
        return allowance.used(self.journal.state, allowance.day_key(DAY)).total

    def run(self, errand: Callable[[Budgets], Awaitable[None]]) -> None:
        trio.run(self._run, errand)

    async def _run(self, errand: Callable[[Budgets], Awaitable[None]]) -> None:
        """One process: it finds out what the last one held, and then does the errand."""
        async with open_writer(self.journal, lambda: self.now) as writer:
            budgets = Budgets(self.journal.state, writer, LIMITS, lambda: self.now)
            await budgets.find_out()
            await errand(budgets)


async def nothing(budgets: Budgets) -> None:
    """Only what a start does."""


@pytest.fixture
def gateway() -> Gateway:
    return Gateway()


@pytest.mark.parametrize("amount", [1, 60, 100])
def test_what_was_signed_for_a_gateway_counts_after_a_crash_also_where_a_deal_had_held_as_much(gateway: Gateway, amount: int) -> None:
    """A deal came to nothing, and then a gateway was asked: what it charged is in no deal, so all that was held counts."""

    async def errand(budgets: Budgets) -> None:
        hold = budgets.open(TOKEN, "", SELECTION)
        await hold.raise_to(100, by_deals=True)
        await hold.raise_to(amount, by_deals=False)

    gateway.run(errand)
    gateway.run(nothing)
    assert gateway.used() == 100


def test_what_a_process_that_died_held_for_deals_that_never_began_is_free_again(gateway: Gateway) -> None:
    gateway.run(lambda budgets: budgets.open(TOKEN, PAGE, SELECTION).raise_to(100, by_deals=True))
    assert gateway.used() == 100
    gateway.run(nothing)
    assert gateway.used() == 0


def test_what_an_open_deal_had_cost_is_taken_off_that_deal_alone(gateway: Gateway) -> None:
    """An errand that never takes the old deal up pays all of its new one; one that does pays what is new of it."""
    old, new = DealId(bytes(16)), DealId(b"\x01" * 16)
    nobody = Signed(body=b"-", signature=bytes(64))
    agreed = DealRecord(
        selection=SELECTION, quote=nobody, accept=nobody, peer=bytes(38), line_key=bytes(32), opened_ms=0, expires_ms=1 << 40
    )
    receipt = Receipt(
        deal_id=old, root=bytes(32), prev=bytes(32), n_bytes=1, n_blocks=1, deal_amount=100, channel_amount=100, sequence=1, time=0
    )
    signed = ReceiptRecord(receipt=SignedReceipt(body=receipt.encode(), signature=bytes(64)))
    gateway.journal.append([record(old, agreed), record(old, signed)], 1)
    grown: list[int] = []

    async def errand(budgets: Budgets) -> None:
        hold = budgets.open(TOKEN, "", SELECTION)
        grown.extend(hold.grown(costs) for costs in ({new: 80}, {old: 100, new: 80}, {old: 130}, {}))

    gateway.run(errand)
    assert grown == [80, 80, 30, 0]


def test_errands_that_raise_at_the_same_time_stay_within_the_day_together(gateway: Gateway) -> None:
    n_refused = 0

    async def one(budgets: Budgets) -> None:
        nonlocal n_refused
        try:
            await budgets.open(TOKEN, "", SELECTION).raise_to(40, by_deals=True)
        except LocalProtocolError as error:
            n_refused += error.code is ErrorCode.OVER_BUDGET

    async def errand(budgets: Budgets) -> None:
        async with trio.open_nursery() as nursery:
            for _ in range(8):
                nursery.start_soon(one, budgets)

    gateway.run(errand)
    assert (gateway.used(), n_refused) == (120, 5)
