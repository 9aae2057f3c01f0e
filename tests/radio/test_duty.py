"""No hour, wherever it begins, holds more airtime than its budget."""

from __future__ import annotations

import golden
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval.radio.duty import BUCKETS, MINUTE_US, DutyWindow
from retrieval.radio.regions import HOUR_US

VECTORS = golden.load("radio_airtime")
BUDGET_US = 36_000_000


@pytest.mark.parametrize("vector", VECTORS["duty"], ids=lambda vector: vector["why"])
def test_a_window_does_what_its_vector_says(vector):
    budget_us = vector["budget_us"]
    window = DutyWindow.after_restart(budget_us, vector["start_us"]) if vector["restart"] else DutyWindow(budget_us)
    for step in vector["steps"]:
        if "tighten_us" in step:
            window.tighten(step["tighten_us"])
            continue
        assert window.may_send(step["airtime_us"], step["now_us"]) is step["may_send"]
        if step["may_send"]:
            window.charge(step["airtime_us"], step["now_us"])
        assert window.spent_us(step["now_us"]) == step["spent_us"]


@given(st.lists(st.tuples(st.integers(0, 40 * MINUTE_US), st.integers(1, 9_000_000)), max_size=60))
def test_no_hour_holds_more_than_the_budget(frames):
    window, now_us, sent = DutyWindow(BUDGET_US), 0, []
    for pause_us, airtime_us in frames:
        now_us += pause_us
        if window.may_send(airtime_us, now_us):
            window.charge(airtime_us, now_us)
            sent.append((now_us, now_us + airtime_us))
            now_us += airtime_us
    for hour_end in {end for _, end in sent} | {start + HOUR_US for start, _ in sent}:
        within = sum(max(0, min(end, hour_end) - max(start, hour_end - HOUR_US)) for start, end in sent)
        assert within <= BUDGET_US


@given(st.lists(st.integers(1, 9_000_000), max_size=30), st.integers(1, BUDGET_US), st.integers(0, HOUR_US))
def test_a_frame_may_start_when_it_was_said_and_not_a_minute_before(airtimes, airtime_us, now_us):
    window = DutyWindow(BUDGET_US)
    for at, spent_us in enumerate(airtimes):
        if window.may_send(spent_us, at * 2 * MINUTE_US):
            window.charge(spent_us, at * 2 * MINUTE_US)
    now_us += len(airtimes) * 2 * MINUTE_US
    next_us = window.next_us(airtime_us, now_us)
    assert next_us is not None
    if next_us > now_us:
        assert not window.may_send(airtime_us, next_us - 1)
    assert window.may_send(airtime_us, next_us)


def test_a_frame_above_the_budget_may_never_start():
    assert DutyWindow(BUDGET_US).next_us(BUDGET_US + 1, 0) is None


def test_a_restart_counts_as_an_hour_that_is_spent():
    window = DutyWindow.after_restart(BUDGET_US, 5 * MINUTE_US)
    assert not window.may_send(1, 5 * MINUTE_US + HOUR_US - 1)
    assert window.next_us(1, 5 * MINUTE_US) == (5 + BUCKETS) * MINUTE_US


def test_a_host_may_only_tighten():
    window = DutyWindow(BUDGET_US)
    for asked, in_force in ((BUDGET_US + 1, BUDGET_US), (10, 10), (-1, 0), (BUDGET_US, BUDGET_US)):
        window.tighten(asked)
        assert window.budget_us == in_force
