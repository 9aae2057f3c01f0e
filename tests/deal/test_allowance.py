"""What counts against a budget: worst cases while they are open, then what was spent, whatever happens in between."""

from __future__ import annotations

import os
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from retrieval.deal import allowance, fold
from retrieval.deal.allowance import NOTHING_USED, Used
from retrieval.deal.records import HoldRecord, record
from retrieval.ledger.journal import Journal
from retrieval.ledger.state import MemoryStateStorage

TOKENS = (b"token-01", b"token-02")
ORIGINS = ("", "https://a.example", "https://b.example")


def hold(*, token: bytes = TOKENS[0], origin: str = "", day: int = 20_000, held: int = 0, spent: int = 0) -> HoldRecord:
    return HoldRecord(token=token, origin=origin, day=day, held=held, spent=spent, selection_digest=bytes(32), before=0, opened_ms=0)


def journal_of(*holds: tuple[bytes, HoldRecord]) -> Journal:
    journal = Journal(MemoryStateStorage(), fold.reduce)
    for subject, each in holds:
        journal.append([record(subject, each)], 0)
    journal.check()
    return journal


def test_a_hold_counts_at_its_worst_until_its_end_is_known() -> None:
    subject = os.urandom(16)
    opened = journal_of((subject, hold(held=100)))
    ended = journal_of((subject, hold(held=100)), (subject, hold(spent=30)))
    assert allowance.used(opened.state, allowance.token_key(TOKENS[0])) == Used(spent=0, held=100)
    assert allowance.used(ended.state, allowance.token_key(TOKENS[0])) == Used(spent=30, held=0)
    assert [len(list(fold.scan(each.state, HoldRecord))) for each in (opened, ended)] == [1, 0]


def test_a_hold_counts_against_its_day_its_page_and_its_token() -> None:
    state = journal_of((os.urandom(16), hold(origin=ORIGINS[1], held=7))).state
    for key in (allowance.day_key(20_000), allowance.origin_key(20_000, ORIGINS[1]), allowance.token_key(TOKENS[0])):
        assert allowance.used(state, key).total == 7
    for key in (allowance.day_key(20_001), allowance.origin_key(20_000, ORIGINS[2]), allowance.token_key(TOKENS[1])):
        assert allowance.used(state, key) == NOTHING_USED


@given(
    st.lists(
        st.tuples(
            st.integers(0, 5), st.sampled_from(TOKENS), st.sampled_from(ORIGINS), st.integers(0, 2), st.integers(0, 99), st.integers(0, 99)
        )
    )
)
def test_budgets_are_the_sums_of_the_last_words_on_each_hold(words: list[tuple[int, bytes, str, int, int, int]]) -> None:
    """An id is of one hold: where it comes again it is the same token, page and day."""
    whose: dict[int, tuple[bytes, str, int]] = {}
    last: dict[int, tuple[int, int]] = {}
    journal = Journal(MemoryStateStorage(), fold.reduce)
    for number, token, origin, day, held, spent in words:
        if number in last and last[number][0] == 0:
            continue  # it has ended
        token, origin, day = whose.setdefault(number, (token, origin, day))
        last[number] = (held, spent)
        journal.append([record(bytes([number]) * 16, hold(token=token, origin=origin, day=day, held=held, spent=spent))], 0)
    journal.check()
    sums = Counter[bytes]()
    for number, (held, spent) in last.items():
        token, origin, day = whose[number]
        for key in allowance.keys_of(hold(token=token, origin=origin, day=day)):
            sums[key] += held + spent
    assert all(allowance.used(journal.state, key).total == total for key, total in sums.items())
