"""Screens of rows with nothing in them yet: what a newcomer sees first."""

from __future__ import annotations

import io
from typing import Any

import pytest
from retrieval_client import screens
from rich.console import Console as Terminal

OFFER: dict[str, Any] = {
    "root": "bafy", "path": "", "provider": "/ip4/127.0.0.1/tcp/1", "deal_id": "00", "bytes": 1 << 20, "blocks": 2, "exact": True,
    "price_per_gib": "10000", "flat_fee": "0", "total": "10", "lifetime_s": 3600, "receiver": "0x00", "channel_id": None,
    "channel_left": None, "left_after": None, "within_per_fetch": True,
}  # fmt: skip


def shown(row: dict[str, Any]) -> str:
    terminal = Terminal(width=100, file=io.StringIO(), record=True)
    terminal.print(screens.offer(row))
    return terminal.export_text()


def test_a_quote_without_a_channel_says_how_to_open_one() -> None:
    assert "`retrieval-client fund` opens one" in shown(OFFER)


def test_a_quote_of_free_content_speaks_of_no_channel() -> None:
    assert "channel" not in shown(OFFER | {"receiver": None, "total": "0", "price_per_gib": "0"})


@pytest.mark.parametrize(("left", "after"), [("1000000", "999990"), ("5", "-5")])
def test_a_quote_on_a_known_channel_says_what_it_leaves(left: str, after: str) -> None:
    assert "free now" in shown(OFFER | {"channel_id": "00" * 32, "channel_left": left, "left_after": after})


def test_a_gateways_price_is_said_to_be_less_where_it_gives_something_for_nothing() -> None:
    row = OFFER | {"pays_by": ["batch-settlement"], "free_bytes_per_day": 64 << 20}
    terminal = Terminal(width=200, file=io.StringIO(), record=True)
    terminal.print(screens.price(row))
    terminal.print(screens.price(row | {"free_bytes_per_day": 0}))
    assert terminal.export_text().count("a day for nothing") == 1
