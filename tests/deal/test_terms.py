"""Prices, windows and sums, over all the integers they may meet."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from retrieval.deal import terms
from retrieval.deal.terms import Claim, Position, Rate
from retrieval.errors import ErrorCode, RemoteProtocolError
from retrieval.units import GIB, KIB, MIB
from retrieval.wire.receipt import Receipt

sizes = st.integers(0, 1 << 50)
prices = st.integers(0, 1 << 64)
fees = st.integers(0, 1 << 40)


@given(sizes, prices, fees)
def test_what_is_owed_is_the_exact_price_rounded_up_once(n_bytes: int, price: int, fee: int) -> None:
    owed = Rate(price_per_gib=price, flat_fee=fee).owed(n_bytes)
    if n_bytes == 0:
        assert owed == 0
    else:
        assert 0 <= (owed - fee) * GIB - n_bytes * price < GIB


@given(sizes, sizes, prices, fees)
def test_more_bytes_never_cost_less(one: int, other: int, price: int, fee: int) -> None:
    rate = Rate(price_per_gib=price, flat_fee=fee)
    assert rate.owed(min(one, other)) <= rate.owed(max(one, other))


@given(st.lists(st.integers(1, 2 * MIB), min_size=1, max_size=50), prices)
def test_payments_in_parts_sum_to_the_price_of_the_whole(blocks: list[int], price: int) -> None:
    """Rounding each part would overcharge; on the running total it cannot."""
    rate, paid, n_bytes = Rate(price_per_gib=price), 0, 0
    for block in blocks:
        n_bytes += block
        paid += rate.owed(n_bytes) - paid
    assert paid == rate.owed(sum(blocks))


@given(sizes, st.integers(1, 64 * MIB), st.integers(1, 1 << 32))
def test_a_window_is_between_the_first_and_the_largest_and_at_most_half_of_what_was_paid(paid: int, first: int, most: int) -> None:
    window = terms.window_bytes(paid, window_first=first, window_max=max(first, most))
    assert first <= window <= max(first, most)
    assert window == first or window <= paid / 2


@given(st.integers(1, 1 << 30), st.integers(1, 2 * MIB))
def test_a_payment_is_due_before_the_window_is_used_up(window: int, block: int) -> None:
    interval = terms.pay_interval(window, block)
    assert 0 < interval <= window
    assert interval >= min(window, block)


def honest(*, best: int = 1000) -> tuple[list[Claim], int]:
    """Two deals paid for with one voucher."""
    rates = (Rate(price_per_gib=1_000_000), Rate(price_per_gib=500_000, flat_fee=10))
    befores = (Position(n_bytes=256 * KIB, n_blocks=4, deal_amount=rates[0].owed(256 * KIB), sequence=2), Position())
    n_bytes = (512 * KIB, 128 * KIB)
    amounts = [rate.owed(size) for rate, size in zip(rates, n_bytes, strict=True)]
    total = best + sum(amount - before.deal_amount for amount, before in zip(amounts, befores, strict=True))
    claims = [
        Claim(
            Receipt(
                deal_id=bytes((n,)) * 16,
                root=bytes(32),
                prev=bytes(32),
                n_bytes=size,
                n_blocks=8,
                deal_amount=amount,
                channel_amount=total,
                sequence=before.sequence + 1,
                time=0,
            ),
            before,
            rate,
        )
        for n, (size, amount, before, rate) in enumerate(zip(n_bytes, amounts, befores, rates, strict=True))
    ]
    return claims, total


def test_honest_sums_are_accepted() -> None:
    claims, total = honest()
    terms.check_sums(claims, best_amount=1000, voucher_amount=total)


@given(
    st.sampled_from(["n_bytes", "n_blocks", "deal_amount", "channel_amount", "sequence"]),
    st.integers(0, 1),
    st.integers(-(1 << 20), 1 << 20).filter(bool),
)
def test_any_number_changed_by_anything_is_a_mismatch_or_covers_other_blocks(name: str, which: int, change: int) -> None:
    claims, total = honest()
    value = getattr(claims[which].receipt, name) + change
    assume(value >= 0)
    # What the sums alone cannot see is checked against the blocks sent: how many blocks the bytes are, and later sequences.
    assume(not (name == "n_blocks" and value > claims[which].before.n_blocks))
    assume(not (name == "sequence" and value > claims[which].before.sequence))
    altered = dataclasses.replace(claims[which].receipt, **{name: value})
    assume(not (name == "n_bytes" and value >= claims[which].before.n_bytes and claims[which].rate.owed(value) == altered.deal_amount))
    claims[which] = Claim(altered, claims[which].before, claims[which].rate)
    with pytest.raises(RemoteProtocolError) as caught:
        terms.check_sums(claims, best_amount=1000, voucher_amount=total)
    assert caught.value.code is ErrorCode.PAYMENT_MISMATCH


def test_two_receipts_of_one_deal_in_one_payment_are_a_mismatch() -> None:
    claims, total = honest()
    with pytest.raises(RemoteProtocolError):
        terms.check_sums([claims[0], claims[0]], best_amount=1000, voucher_amount=total)
