"""A session searches a few times, ever more seldom, and only one that was begun."""

from __future__ import annotations

from itertools import pairwise

from retrieval.cid import RAW, cid_of
from retrieval.radio.packet import RadioId
from retrieval.radio.searches import SEARCH_EVERY_S, SEARCHES_MAX, Searches

CID = cid_of(RAW, b"content")
SESSION = (RadioId(b"provider"), 7)


def test_a_session_searches_ever_more_seldom_and_then_no_more() -> None:
    searches = Searches()
    searches.begin(SESSION, CID, 5)
    at = [now for now in range(10_000) if searches.due(SESSION, float(now)) == (CID, 5)]
    assert len(at) == SEARCHES_MAX
    assert at[0] == 0
    assert [later - sooner for sooner, later in pairwise(at)] == [SEARCH_EVERY_S * (1 << number) for number in range(SEARCHES_MAX - 1)]


def test_only_a_session_that_lasts_searches() -> None:
    searches = Searches()
    assert searches.due(SESSION, 0.0) is None
    searches.begin(SESSION, CID, 5)
    searches.end(SESSION)
    assert searches.due(SESSION, 0.0) is None
