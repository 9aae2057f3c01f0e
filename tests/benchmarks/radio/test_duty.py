"""The auditor finds the worst hour wherever it begins, and what the law of a band forbids."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from benchmarks.radio.duty import Auditor, Window
from benchmarks.radio.timeline import HOUR_US, SECOND_US


def sent_by(intervals: list[tuple[int, int]]) -> Window:
    window = Window()
    for start_us, end_us in intervals:
        window.sent(start_us, end_us)
    return window


def overlap_us(interval: tuple[int, int], opens_us: int) -> int:
    return max(0, min(interval[1], opens_us + HOUR_US) - max(interval[0], opens_us))


@given(st.lists(st.tuples(st.integers(0, 1500), st.integers(1, 300)), max_size=20))
def test_the_worst_hour_is_that_of_every_place_an_hour_can_begin(gaps: list[tuple[int, int]]) -> None:
    intervals, now_us = [], 0
    for gap_s, length_s in gaps:
        intervals.append((now_us + gap_s * SECOND_US, now_us + (gap_s + length_s) * SECOND_US))
        now_us = intervals[-1][1]
    edges = [edge for interval in intervals for edge in interval]
    beginnings = {edge for at in edges for edge in (at, at - HOUR_US)}
    worst_us = max((sum(overlap_us(interval, opens_us) for interval in intervals) for opens_us in beginnings), default=0)
    window = sent_by(intervals)
    assert window.worst_us == worst_us
    assert window.total_us == sum(end_us - start_us for start_us, end_us in intervals)


def test_an_hour_that_begins_within_a_transmission_counts_the_part_inside() -> None:
    window = Window()
    window.sent(0, 10 * SECOND_US)
    assert window.sent(HOUR_US, HOUR_US + 4 * SECOND_US) == 10 * SECOND_US


def audit(region: str, *, frequency_hz: int, length_us: int, power_dbm: int = 14, bandwidth_hz: int = 125_000) -> list[str]:
    auditor = Auditor(region)
    auditor.sent("n", frequency_hz=frequency_hz, bandwidth_hz=bandwidth_hz, power_dbm=power_dbm, start_us=0, end_us=length_us)
    return auditor.breaches


def test_ten_per_cent_is_six_minutes_to_the_microsecond() -> None:
    assert audit("EU868", frequency_hz=869_525_000, length_us=360 * SECOND_US) == []
    [breach] = audit("EU868", frequency_hz=869_525_000, length_us=360 * SECOND_US + 1)
    assert "360000001 us within an hour of 360000000 us" in breach


def test_each_band_has_a_budget_of_its_own() -> None:
    auditor = Auditor()
    for frequency_hz in (868_300_000, 867_500_000):
        auditor.sent("n", frequency_hz=frequency_hz, bandwidth_hz=125_000, power_dbm=14, start_us=0, end_us=36 * SECOND_US)
    assert auditor.breaches == []
    assert auditor.worst_share("n") == 1.0
    assert auditor.total_us("n") == 72 * SECOND_US


def test_a_signal_that_leaves_its_band_is_a_breach() -> None:
    assert audit("EU868", frequency_hz=869_650_000, length_us=1)
    assert audit("EU868", frequency_hz=869_525_000, length_us=1, bandwidth_hz=250_000) == []
    assert audit("EU868", frequency_hz=869_525_000, length_us=1, bandwidth_hz=500_000)


def test_power_and_dwell_time_are_audited() -> None:
    assert audit("EU868", frequency_hz=868_300_000, length_us=1, power_dbm=15)
    assert audit("EU868", frequency_hz=869_525_000, length_us=1, power_dbm=22) == []
    assert audit("US915", frequency_hz=915_000_000, length_us=400_000) == []
    assert audit("US915", frequency_hz=915_000_000, length_us=400_001)
