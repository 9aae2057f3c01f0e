"""Token buckets: bursts, refills, and a bounded memory."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from retrieval.buckets import BUCKETS_MAX, Buckets


def test_a_burst_is_had_at_once_and_then_the_wait_is_told() -> None:
    buckets = Buckets[str](60, 3)
    for _ in range(3):
        assert buckets.wait_s("a", 0.0) == 0
        buckets.spend("a", 0.0)
    assert buckets.wait_s("a", 0.0) == 1
    assert buckets.wait_s("b", 0.0) == 0
    assert buckets.wait_s("a", 1.0) == 0


def test_what_is_spent_beyond_a_burst_is_waited_for() -> None:
    buckets = Buckets[str](60, 3)
    buckets.spend("a", 0.0, 10)
    assert buckets.wait_s("a", 0.0) == 8
    assert buckets.wait_s("a", 8.0) == 0


def test_what_is_given_back_was_never_spent() -> None:
    buckets = Buckets[str](60, 1)
    buckets.spend("a", 0.0)
    buckets.give_back("a", 0.0)
    assert buckets.wait_s("a", 0.0) == 0
    buckets.give_back("a", 0.0)
    buckets.give_back("nobody", 0.0)
    buckets.spend("a", 0.0)
    assert buckets.wait_s("a", 0.0) == 1, "nobody has more than a burst"


@given(st.integers(1, 600), st.integers(1, 50), st.lists(st.floats(0, 30), max_size=200))
def test_nobody_gets_more_than_a_burst_and_the_refill(per_minute: int, burst: int, pauses: list[float]) -> None:
    buckets, now, had = Buckets[str](per_minute, burst), 0.0, 0
    for pause in pauses:
        now += pause
        if not buckets.wait_s("a", now):
            buckets.spend("a", now)
            had += 1
    assert had <= burst + now * per_minute / 60 + 1e-6


def test_memory_is_bounded() -> None:
    buckets = Buckets[int](60, 1)
    for key in range(BUCKETS_MAX + 5):
        buckets.spend(key, 0.0)
    assert buckets.wait_s(0, 0.0) == 0
    assert buckets.wait_s(BUCKETS_MAX + 4, 0.0) == 1
