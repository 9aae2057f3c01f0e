"""The words for values."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval.console import printable, short_cid, show_amount, show_duration, show_price, show_rate, show_size, show_time

CID = "bafybeigdyrzt5sfp7udm7hu76uh7y26nf3efuylqabf3oclgtqy55fbzdi"


def test_amounts_prices_sizes_and_rates_carry_their_units() -> None:
    assert (show_amount(1_200), show_price(10_000)) == ("0.0012 USD", "0.01 USD/GiB")
    assert (show_size(67_108_864), show_rate(1_572_864.4)) == ("64 MiB", "1.5 MiB/s")


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0, "0 ms"),
        (0.25, "250 ms"),
        (0.9996, "1 s"),
        (4.24, "4.2 s"),
        (9.97, "10 s"),
        (42.4, "42 s"),
        (59.6, "1 min"),
        (200, "3 min 20 s"),
        (7_500, "2 h 5 min"),
        (86_400, "1 d"),
        (273_600, "3 d 4 h"),
    ],
)
def test_a_duration_is_told_in_two_units_at_most(seconds: float, shown: str) -> None:
    assert show_duration(seconds) == shown


def test_a_moment_is_told_in_utc_whatever_the_zone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    assert show_time(0.9) == "1970-01-01T00:00:00Z"


def test_a_cid_is_shortened_to_its_ends_and_a_short_text_is_not() -> None:
    assert short_cid(CID) == "bafybeigdy…5fbzdi"
    assert short_cid("bafkqaaa") == "bafkqaaa"


def test_what_a_terminal_would_obey_is_shown_as_an_escape() -> None:
    assert printable("a\x1b[2Jb\r\n\u202ec\udc80") == r"a\x1b[2Jb\r\n\u202ec\udc80"
    assert printable("größe 鍵") == "größe 鍵"


@given(text=st.text())
def test_nothing_printed_is_more_than_one_line_or_not_encodable(text: str) -> None:
    shown = printable(text)
    assert shown.isprintable()
    shown.encode()
