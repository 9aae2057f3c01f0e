"""Twice heard, in C: the rule of ``retrieval.radio`` in a dozen lines of Python is the oracle."""

from __future__ import annotations

import ctypes

from hypothesis import given
from hypothesis import strategies as st

SEEN_SIZE_MAX = 8192  # bytes, more than struct seen has
REMEMBERED = 128
REMEMBERED_S = 600
CARRIED_MAX = 3

events = st.lists(
    st.tuples(st.integers(0, 200), st.sampled_from([5, 6, 7, 100]), st.booleans(), st.one_of(st.integers(0, 20), st.integers(0, 1000))),
    max_size=60,
)


class Oracle:
    """What was sent on: hash to (lowest price, times, when last), in the order in which it was first sent on."""

    def __init__(self) -> None:
        self.sent: dict[bytes, tuple[int, int, int]] = {}

    def allows(self, hash_: bytes, price: int, direct: bool, now_s: int) -> bool:
        if hash_ not in self.sent or now_s - self.sent[hash_][2] >= REMEMBERED_S:
            return True
        lowest, times, _ = self.sent[hash_]
        return not direct and price < lowest and times < CARRIED_MAX

    def mark(self, hash_: bytes, price: int, now_s: int) -> None:
        lowest, times, at_s = self.sent.get(hash_, (price, 0, now_s))
        if now_s - at_s >= REMEMBERED_S:
            del self.sent[hash_]
            lowest, times = price, 0
        self.sent[hash_] = (min(lowest, price), times + 1, now_s)


@given(events)
def test_what_may_be_sent_on_again_is_what_the_rule_says(relay: ctypes.CDLL, heard: list[tuple[int, int, bool, int]]) -> None:
    seen, oracle, now_s = ctypes.create_string_buffer(SEEN_SIZE_MAX), Oracle(), 0
    for number, price, direct, pause_s in heard:
        now_s += pause_s
        hash_ = number.to_bytes(8, "big") + bytes(8)
        allowed = relay.seen_allows(seen, hash_, price, direct, now_s)
        assert allowed == oracle.allows(hash_, price, direct, now_s)
        if allowed:
            relay.seen_mark(seen, hash_, price, now_s)
            oracle.mark(hash_, price, now_s)


def test_a_copy_that_was_only_heard_blocks_nothing(relay: ctypes.CDLL) -> None:
    seen = ctypes.create_string_buffer(SEEN_SIZE_MAX)
    assert relay.seen_allows(seen, bytes(16), 900, False, 0)
    assert relay.seen_allows(seen, bytes(16), 10, False, 1)


def test_the_129th_packet_makes_the_first_one_forgotten_and_no_other(relay: ctypes.CDLL) -> None:
    seen = ctypes.create_string_buffer(SEEN_SIZE_MAX)
    hashes = [number.to_bytes(8, "big") + bytes(8) for number in range(1, REMEMBERED + 2)]
    for hash_ in hashes:
        relay.seen_mark(seen, hash_, 5, 0)
    assert [relay.seen_allows(seen, hash_, 5, False, 0) for hash_ in hashes] == [True] + [False] * REMEMBERED
