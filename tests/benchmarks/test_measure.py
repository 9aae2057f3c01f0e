"""Medians, spreads, ratios and targets are what README.md says they are."""

from __future__ import annotations

import pytest

from benchmarks.measure import Sheet, take_turns


def test_a_figure_is_the_median_and_its_spread_a_share_of_it() -> None:
    record = Sheet("x").add("rate", [8.0, 10.0, 11.0], "MiB/s")
    assert (record.value, record.spread, record.ratio, record.met) == (10.0, 0.3, None, None)


@pytest.mark.parametrize(("unit", "value", "met"), [("MiB/s", 9.0, False), ("MiB/s", 10.0, True), ("ms", 11.0, False), ("ms", 10.0, True)])
def test_a_target_is_a_floor_where_more_is_better_and_else_a_ceiling(unit: str, value: float, met: bool) -> None:
    assert Sheet("x").add("figure", [value], unit, target=10.0).met is met


def test_with_a_baseline_the_target_is_for_the_ratio() -> None:
    record = Sheet("x").add("rate", [30.0], "MiB/s", baseline=20.0, target=1.4)
    assert (record.ratio, record.met) == (1.5, True)


def test_what_is_compared_takes_turns() -> None:
    order: list[str] = []
    measured = take_turns(2, {"a": lambda: order.append("a") or 1, "b": lambda: order.append("b") or 2})
    assert order == ["a", "b", "a", "b"]
    assert measured == {"a": [1, 1], "b": [2, 2]}
