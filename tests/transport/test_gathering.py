"""A batch waits for more only on a fast stream, and only for a moment."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from retrieval.transport.gathering import ENOUGH_BYTES, FAST_BYTES, GAP_S, WHOLE_S, Gathering


def fast() -> Gathering:
    gathering = Gathering()
    gathering.end(FAST_BYTES)
    return gathering


def test_the_first_batch_waits_for_nothing() -> None:
    gathering = Gathering()
    assert gathering.gap_s == 0
    assert not gathering.goes_on(1, now=5)
    assert gathering.deadline == math.inf


def test_a_stream_that_brought_little_waits_for_nothing() -> None:
    gathering = fast()
    gathering.end(FAST_BYTES - 1)
    assert not gathering.goes_on(1, now=5)


def test_a_fast_stream_waits_until_nothing_came_for_a_moment() -> None:
    gathering = fast()
    assert gathering.goes_on(1, now=5)
    assert gathering.deadline == 5 + GAP_S
    assert not gathering.goes_on(1, now=gathering.deadline)


def test_enough_waits_no_longer() -> None:
    assert not fast().goes_on(ENOUGH_BYTES, now=5)


@given(st.lists(st.floats(0, 2 * GAP_S), max_size=50))
def test_no_batch_is_held_up_longer_than_its_whole_time(gaps: list[float]) -> None:
    gathering, now = fast(), 0.0
    for gap in gaps:
        if not gathering.goes_on(1, now):
            break
        assert now < gathering.deadline <= WHOLE_S
        now += gap
