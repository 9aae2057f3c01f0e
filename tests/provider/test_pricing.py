"""Prices: whose counts, from when, and whether a chain is needed at all."""

from __future__ import annotations

import pytest
from retrieval_provider.config import Pricing
from retrieval_provider.pricing import PriceList, repriced

from retrieval.cid import RAW, Cid, cid_of
from retrieval.deal import fold
from retrieval.deal.records import DEFAULT_PRICE, PriceRecord, record
from retrieval.errors import ErrorCode, LocalProtocolError
from retrieval.ledger.journal import Journal
from retrieval.ledger.state import MemoryStateStorage
from retrieval.units import Amount

ROOT, OTHER = cid_of(RAW, b"root"), cid_of(RAW, b"other")
CHEAP, DEAR, FREE = (PriceRecord(price_per_gib=price, flat_fee=0) for price in (10, 10_000, 0))
CONFIGURED = Pricing(default=500, flat_fee=Amount(7))


@pytest.fixture
def journal() -> Journal:
    return Journal(MemoryStateStorage(), fold.reduce)


def set_price(journal: Journal, subject: bytes, price: PriceRecord) -> None:
    journal.append([record(subject, price)], 0)


def test_a_root_costs_its_own_price_else_the_one_set_for_all_else_the_configured_one(journal: Journal) -> None:
    prices = PriceList(journal.state, CONFIGURED)
    assert prices.of(ROOT) == PriceRecord(price_per_gib=500, flat_fee=7)
    set_price(journal, DEFAULT_PRICE, CHEAP)
    assert prices.of(ROOT) == CHEAP
    set_price(journal, ROOT, DEAR)
    assert (prices.of(ROOT), prices.of(OTHER), prices.default) == (DEAR, CHEAP, CHEAP)
    assert prices.own() == {Cid(ROOT): DEAR}


def test_the_newest_price_counts_at_once(journal: Journal) -> None:
    prices = PriceList(journal.state, CONFIGURED)
    for price in (DEAR, FREE, CHEAP):
        set_price(journal, ROOT, price)
        assert prices.of(ROOT) == price


@pytest.mark.parametrize(
    ("default", "own", "free"),
    [(FREE, None, True), (FREE, FREE, True), (FREE, CHEAP, False), (CHEAP, FREE, False), (None, None, False)],
)
def test_nothing_needs_a_chain_while_nothing_has_a_price(
    journal: Journal, default: PriceRecord | None, own: PriceRecord | None, free: bool
) -> None:
    if default:
        set_price(journal, DEFAULT_PRICE, default)
    if own:
        set_price(journal, ROOT, own)
    assert PriceList(journal.state, CONFIGURED).is_all_free is free


def test_a_fee_alone_is_a_price() -> None:
    assert not PriceList(MemoryStateStorage(), Pricing(default=0, flat_fee=Amount(1))).is_all_free


def test_what_a_person_does_not_mention_stays() -> None:
    before = PriceRecord(price_per_gib=5, flat_fee=6)
    assert repriced(before, "0.02 USD/GiB", None) == PriceRecord(price_per_gib=20_000, flat_fee=6)
    assert repriced(before, "", "0.5") == PriceRecord(price_per_gib=5, flat_fee=500_000)


def test_a_price_nobody_can_read_is_refused() -> None:
    with pytest.raises(LocalProtocolError) as refused:
        repriced(FREE, "cheap", None)
    assert refused.value.code is ErrorCode.INVALID_AMOUNT
