"""What a prefix may have for nothing: never more than a day's, refilled steadily, in bounded memory."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from retrieval_provider.http_credit import allowance
from retrieval_provider.http_credit.allowance import DAY_MS, Allowance

NOW = 1_800_000_000_000


def test_a_day_gives_it_all_back() -> None:
    free = Allowance(1_000)
    assert free.take("a", 1_000, NOW)
    assert not free.take("a", 1, NOW)
    assert free.left("a", NOW + DAY_MS // 2) == 500
    assert free.take("a", 1_000, NOW + DAY_MS)


def test_prefixes_do_not_share_it() -> None:
    free = Allowance(1_000)
    assert free.take("a", 1_000, NOW)
    assert free.take("b", 1_000, NOW)


def test_what_is_larger_than_a_day_is_never_had_and_takes_nothing() -> None:
    free = Allowance(1_000)
    assert not free.take("a", 1_001, NOW)
    assert free.left("a", NOW) == 1_000


def test_the_prefix_not_seen_for_longest_is_forgotten() -> None:
    free = Allowance(10)
    for number in range(allowance.PREFIXES_MAX + 1):
        free.take(str(number), 10, NOW)
    assert free.left("0", NOW) == 10
    assert free.left("1", NOW) == 0
    assert len(free._spent) == allowance.PREFIXES_MAX


@given(
    st.integers(0, 10_000),
    st.lists(st.tuples(st.booleans(), st.integers(0, 12_000), st.integers(0, DAY_MS // 4)), max_size=40),
)
def test_in_no_time_is_more_had_than_a_day_and_what_the_time_gave(per_day: int, moves: list[tuple[bool, int, int]]) -> None:
    free, had, now_ms = Allowance(per_day), 0, NOW
    taken: list[int] = []
    for is_taking, n, wait_ms in moves:
        now_ms += wait_ms
        if is_taking:
            if free.take("a", n, now_ms):
                taken.append(n)
                had += n
        elif taken:
            back = min(n, taken.pop())
            free.give_back("a", back, now_ms)
            had -= back
        assert 0 <= free.left("a", now_ms) <= per_day
    # What is given back after its bucket has been refilled meanwhile is lost, not doubled.
    assert had <= per_day + (now_ms - NOW) * per_day // DAY_MS + 1
