from __future__ import annotations

import re
from collections import Counter

import golden
import pytest

from retrieval.errors import (
    DETAIL_MAX,
    REGISTRY,
    Blame,
    ErrorCode,
    Exit,
    LocalProtocolError,
    RemoteProtocolError,
    RetrievalError,
    Retry,
)

every_error = pytest.mark.parametrize("code", ErrorCode, ids=lambda code: code.label)
RANGES = {1, 2, 3, 4, 5, 6, 7, 9}  # 8xx is not assigned


def test_numbers_and_labels_stay_what_they_were_ever_given() -> None:
    """They are on the wire, in journals and on dashboards. A new error is a new line in the vector file; no line ever changes."""
    assert {str(code.value): code.label for code in ErrorCode} == golden.load("errors")["labels"]


def test_no_number_is_given_twice() -> None:
    assert [name for name, code in ErrorCode.__members__.items() if name != code.name] == []


def test_the_registry_has_one_row_an_error_in_the_order_of_their_numbers() -> None:
    assert list(ErrorCode) == sorted(ErrorCode)
    assert sorted(REGISTRY) == list(ErrorCode)


def test_two_errors_are_never_described_in_the_same_words() -> None:
    counts = Counter(row.summary for row in REGISTRY.values())
    assert [summary for summary, count in counts.items() if count > 1] == []


@every_error
def test_a_number_lies_in_an_assigned_range(code: ErrorCode) -> None:
    assert code // 100 in RANGES


@every_error
def test_a_label_can_name_a_metric_and_a_problem_type(code: ErrorCode) -> None:
    assert re.fullmatch(r"[a-z]+(_[a-z]+)*", code.label)


@every_error
def test_a_row_says_what_happened_and_what_to_try_in_one_clause_each(code: ErrorCode) -> None:
    for words in (REGISTRY[code].summary, REGISTRY[code].hint):
        assert words.isprintable()
        assert words == words.strip()
        assert 8 <= len(words) <= 100
        assert not words.endswith(".")
    assert REGISTRY[code].summary != REGISTRY[code].hint


@every_error
def test_an_error_never_exits_or_answers_as_a_success(code: ErrorCode) -> None:
    assert REGISTRY[code].exit_status is not Exit.OK
    assert 400 <= REGISTRY[code].http_status <= 599


@every_error
def test_an_error_is_resumable_only_where_trying_again_makes_sense(code: ErrorCode) -> None:
    row = REGISTRY[code]
    if row.exit_status is Exit.RESUMABLE:
        assert row.retry is Retry.LATER
        assert "again" in row.hint
    if row.exit_status is Exit.USAGE:
        assert row.retry is Retry.NO
        assert row.blame in (Blame.OPERATOR, Blame.CLIENT)


@every_error
def test_the_exit_status_follows_the_range(code: ErrorCode) -> None:
    expected = {
        1: {Exit.PEER},
        2: {Exit.NOT_FOUND, Exit.USAGE, Exit.PEER},
        3: {Exit.BUDGET, Exit.USAGE, Exit.PEER},
        4: {Exit.PAYMENT},
        5: {Exit.PEER, Exit.RESUMABLE, Exit.USAGE},
        6: {Exit.PEER, Exit.USAGE},
        7: {Exit.BUDGET, Exit.RESUMABLE},
        9: {Exit.INTERNAL, Exit.USAGE, Exit.BUDGET},
    }
    assert REGISTRY[code].exit_status in expected[code // 100]


@every_error
def test_an_error_shows_its_row_and_what_happened_this_time(code: ErrorCode) -> None:
    error = RemoteProtocolError(code, "block 7")
    assert error.row is REGISTRY[code]
    assert str(error) == f"{REGISTRY[code].summary}: block 7"
    assert str(LocalProtocolError(code)) == REGISTRY[code].summary


def test_what_the_other_side_says_cannot_grow_a_log() -> None:
    error = RemoteProtocolError(ErrorCode.MALFORMED_FRAME, "x" * 10_000)
    assert len(error.detail) == DETAIL_MAX
    assert len(repr(error)) < 2 * DETAIL_MAX


def test_the_two_families_are_caught_apart_and_together() -> None:
    assert issubclass(LocalProtocolError, RetrievalError)
    assert issubclass(RemoteProtocolError, RetrievalError)
    assert not issubclass(LocalProtocolError, RemoteProtocolError)
    assert not issubclass(RemoteProtocolError, LocalProtocolError)


def test_a_refusal_says_when_to_come_back() -> None:
    assert RemoteProtocolError(ErrorCode.RATE_LIMITED, retry_after_s=30).retry_after_s == 30
    assert RemoteProtocolError(ErrorCode.RATE_LIMITED).retry_after_s is None
