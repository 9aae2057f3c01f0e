"""Limits: who is turned away, what they are told, and that places are given back."""

from __future__ import annotations

from contextlib import ExitStack

import pytest
from hypothesis import given
from hypothesis import strategies as st
from retrieval_provider.admission import QueryRates, SessionLimits
from retrieval_provider.config import Serve

from retrieval.buckets import BUCKETS_MAX
from retrieval.errors import ErrorCode, RemoteProtocolError

LIMITS = Serve(sessions_max=4, sessions_per_peer_max=2, sessions_per_prefix_max=3)


def fill(limits: SessionLimits, *comers: tuple[bytes, str]) -> ExitStack:
    places = ExitStack()
    for peer, prefix in comers:
        places.enter_context(limits.admit(peer, prefix))
    return places


@pytest.mark.parametrize(
    ("comers", "next_comer", "whose"),
    [
        ([(b"a", "1"), (b"a", "2")], (b"a", "3"), "of this peer"),
        ([(b"a", "1"), (b"b", "1"), (b"c", "1")], (b"d", "1"), "of this address range"),
        ([(b"a", "1"), (b"b", "2"), (b"c", "3"), (b"d", "4")], (b"e", "5"), "over all clients"),
    ],
)
def test_a_session_beyond_a_limit_is_refused_until_one_ends(
    comers: list[tuple[bytes, str]], next_comer: tuple[bytes, str], whose: str
) -> None:
    limits = SessionLimits(LIMITS)
    with fill(limits, *comers), pytest.raises(RemoteProtocolError) as refused, limits.admit(*next_comer):
        pass
    assert (refused.value.code, refused.value.detail) == (ErrorCode.TOO_MANY_SESSIONS, whose)
    assert refused.value.retry_after_s
    with limits.admit(*next_comer):
        pass


def test_a_place_is_given_back_when_its_session_fails() -> None:
    limits = SessionLimits(Serve(sessions_max=1))
    for _ in range(3):
        with pytest.raises(ZeroDivisionError), limits.admit(b"a", None):
            raise ZeroDivisionError
    assert not limits._by_peer
    assert not limits._by_prefix


@pytest.mark.parametrize(
    ("limits", "who", "whose"),
    [
        (Serve(queries_per_minute=60), lambda n: (b"a", f"{n}"), "of one peer"),
        (Serve(queries_per_minute_prefix=60), lambda n: (bytes([n]), "1"), "of one address range"),
        (Serve(queries_per_minute_total=60), lambda n: (bytes([n]), f"{n}"), "in all"),
    ],
)
def test_a_burst_is_answered_and_then_a_query_a_second(limits: Serve, who: object, whose: str) -> None:
    rates = QueryRates(limits)
    assert callable(who)
    for n in range(10):
        rates.admit(*who(n), now=0.0)
    with pytest.raises(RemoteProtocolError) as refused:
        rates.admit(*who(10), now=0.0)
    assert (refused.value.code, refused.value.retry_after_s) == (ErrorCode.RATE_LIMITED, 1)
    assert whose in refused.value.detail
    rates.admit(*who(11), now=1.0)


@given(st.lists(st.floats(min_value=0, max_value=5), max_size=200))
def test_no_pattern_of_queries_gets_more_than_the_burst_and_the_rate(pauses: list[float]) -> None:
    rates, now, n_admitted = QueryRates(Serve(queries_per_minute=60)), 0.0, 0
    for pause in pauses:
        now += pause
        try:
            rates.admit(b"a", None, now)
            n_admitted += 1
        except RemoteProtocolError:
            continue
    assert n_admitted <= 10 + now + 1e-6


def test_waiting_as_long_as_the_refusal_says_is_enough() -> None:
    rates = QueryRates(Serve(queries_per_minute=7))
    now = 0.0
    for _ in range(10):
        rates.admit(b"a", None, now)
    for _ in range(10):
        with pytest.raises(RemoteProtocolError) as refused:
            rates.admit(b"a", None, now)
        assert refused.value.retry_after_s
        now += refused.value.retry_after_s
        rates.admit(b"a", None, now)


def test_peers_that_come_once_do_not_fill_the_memory() -> None:
    rates = QueryRates(Serve(queries_per_minute_total=10_000_000))
    for n in range(BUCKETS_MAX + 100):
        rates.admit(n.to_bytes(4, "big"), f"{n}", now=0.0)
    assert len(rates._of_peer._spent) == BUCKETS_MAX
