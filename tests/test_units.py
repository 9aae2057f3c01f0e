from __future__ import annotations

import contextlib
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval.errors import ErrorCode, LocalProtocolError
from retrieval.units import (
    AMOUNT_MAX,
    AMOUNT_TEXT_MAX,
    GIB,
    KIB,
    MIB,
    SIZE_BYTES_MAX,
    ceil_div,
    floor_div,
    format_amount,
    format_price,
    format_size,
    parse_amount,
    parse_price,
    parse_size,
)

amounts = st.integers(0, AMOUNT_MAX)
decimals_of_tokens = st.integers(0, 18)
naturals = st.integers(0, 1 << 200)
divisors = st.integers(1, 1 << 100)


@given(naturals, divisors)
def test_the_two_divisions_enclose_the_exact_quotient(numerator: int, denominator: int) -> None:
    exact = Fraction(numerator, denominator)
    assert floor_div(numerator, denominator) <= exact <= ceil_div(numerator, denominator)
    assert ceil_div(numerator, denominator) - floor_div(numerator, denominator) == (exact.denominator != 1)


@pytest.mark.parametrize("divide", [floor_div, ceil_div])
@pytest.mark.parametrize(("numerator", "denominator"), [(-1, 2), (1, 0), (1, -2)])
def test_division_is_for_sums_and_sizes_alone(divide, numerator: int, denominator: int) -> None:
    with pytest.raises(AssertionError):
        divide(numerator, denominator)


@given(amounts, decimals_of_tokens)
def test_an_amount_reads_back_as_it_was_written(amount: int, decimals: int) -> None:
    assert parse_amount(format_amount(amount, decimals=decimals), decimals=decimals) == amount


@pytest.mark.parametrize(
    ("text", "amount"),
    [
        ("0", 0),
        ("0.05", 50_000),
        ("0.05 USD", 50_000),
        ("0.05USD", 50_000),
        (" 1_000 usd ", 1_000_000_000),
        ("0.000001", 1),
        ("2.500000000", 2_500_000),
    ],
)
def test_people_write_amounts_in_several_ways(text: str, amount: int) -> None:
    assert parse_amount(text, decimals=6) == amount


@pytest.mark.parametrize(
    "text",
    [
        "",
        "USD",
        "-1",
        "+1",
        "1,5",
        ".5",
        "5.",
        "1e3",
        "1 EUR",
        "1 USD/GiB",
        "0x10",
        "٣",
        "NaN",
        "Infinity",
        "0.0000001",
        str(AMOUNT_MAX + 1),
        "0" * 65,
    ],
)
def test_what_is_no_amount_of_this_token_is_refused(text: str) -> None:
    with pytest.raises(LocalProtocolError) as caught:
        parse_amount(text, decimals=6 if len(text) < 30 else 0)
    assert caught.value.code is ErrorCode.INVALID_AMOUNT


@given(
    st.text(max_size=AMOUNT_TEXT_MAX + 2) | st.from_regex(r"[0-9_]{1,30}(\.[0-9]{0,9})? ?[A-Za-zıİK/]{0,5}", fullmatch=True),
    decimals_of_tokens,
)
def test_any_text_is_an_amount_and_a_price_or_refused(text: str, decimals: int) -> None:
    for parse in (parse_amount, parse_price):
        with contextlib.suppress(LocalProtocolError):
            assert 0 <= parse(text, decimals=decimals) <= AMOUNT_MAX


@given(st.text(max_size=AMOUNT_TEXT_MAX + 2) | st.from_regex(r"[0-9]{1,20}(\.[0-9]{0,9})? ?[KMGTkmgtK]?[iıİ]?[bB]?", fullmatch=True))
def test_any_text_is_a_size_or_refused(text: str) -> None:
    with contextlib.suppress(LocalProtocolError):
        assert 0 <= parse_size(text) <= SIZE_BYTES_MAX


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        (0, "0.00 USD"),
        (50_000, "0.05 USD"),
        (1, "0.000001 USD"),
        (1_500_000, "1.50 USD"),
        (-1_500_000, "-1.50 USD"),
        (10**12, "1000000.00 USD"),
    ],
)
def test_amounts_show_every_digit_that_counts_and_at_least_two(amount: int, text: str) -> None:
    assert format_amount(amount, decimals=6) == text


def test_a_token_without_decimals_shows_none() -> None:
    assert format_amount(7, decimals=0, symbol="PTS") == "7 PTS"


@given(amounts, decimals_of_tokens)
def test_a_price_reads_back_as_it_was_written(price_per_gib: int, decimals: int) -> None:
    assert parse_price(format_price(price_per_gib, decimals=decimals), decimals=decimals) == price_per_gib


@pytest.mark.parametrize(
    ("text", "price_per_gib"),
    [
        ("0.01 USD/GiB", 10_000),
        ("0.01", 10_000),
        ("0.01/gib", 10_000),
        ("0.01 USD / MiB", 10_240_000),
        ("0.01 USD/GB", 10_738),  # 10,737.41824, and the seller's rounding is upwards
        ("0.01 USD/TiB", 10),  # 9.765625
        ("0 USD/GiB", 0),
    ],
)
def test_prices_are_per_gib_whatever_they_were_written_per(text: str, price_per_gib: int) -> None:
    assert parse_price(text, decimals=6) == price_per_gib


@pytest.mark.parametrize("text", ["0.01 USD/", "0.01 USD/s", "/GiB", "0.01/GiB/GiB", "0.01 USD/GıB", f"{AMOUNT_MAX // 10**6} USD/B"])
def test_what_is_no_price_is_refused(text: str) -> None:
    with pytest.raises(LocalProtocolError) as caught:
        parse_price(text, decimals=6)
    assert caught.value.code is ErrorCode.INVALID_AMOUNT


@pytest.mark.parametrize(
    ("text", "size_bytes"),
    [
        ("0", 0),
        ("512", 512),
        ("512 B", 512),
        ("10 GiB", 10 * GIB),
        ("4MB", 4_000_000),
        ("1.5 kib", 1536),
        ("0.5TiB", 512 * GIB),
        (str(SIZE_BYTES_MAX), SIZE_BYTES_MAX),
    ],
)
def test_people_write_sizes_in_several_ways(text: str, size_bytes: int) -> None:
    assert parse_size(text) == size_bytes


@pytest.mark.parametrize(
    "text", ["", "B", "-1", "1.5", "0.3 KiB", "1 PiB", "1 KıB", "1 GiBs", str(SIZE_BYTES_MAX + 1), "9" * 64, "1" + " " * 64]
)
def test_what_is_no_size_in_whole_bytes_is_refused(text: str) -> None:
    with pytest.raises(LocalProtocolError) as caught:
        parse_size(text)
    assert caught.value.code is ErrorCode.INVALID_SIZE


@pytest.mark.parametrize(
    ("size_bytes", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (KIB, "1 KiB"),
        (1536, "1.5 KiB"),
        (64 * MIB, "64 MiB"),
        (MIB - 1, "1023.99 KiB"),  # and not "1024 KiB", which is more than there is
        (GIB + GIB // 100 + 1, "1.01 GiB"),
        (100 * KIB, "100 KiB"),
        (SIZE_BYTES_MAX, "8388607.99 TiB"),
    ],
)
def test_sizes_show_in_the_largest_unit_that_fits(size_bytes: int, text: str) -> None:
    assert format_size(size_bytes) == text


@given(st.integers(0, SIZE_BYTES_MAX))
def test_a_shown_size_is_never_more_than_there_is_and_close_to_it(size_bytes: int) -> None:
    number, unit = format_size(size_bytes).split()
    shown = Fraction(number) * {"B": 1, "KiB": KIB, "MiB": MIB, "GiB": GIB, "TiB": GIB * KIB}[unit]
    assert 0 <= size_bytes - shown <= Fraction(size_bytes, 100)
