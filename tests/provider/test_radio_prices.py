"""What is asked over the radio pays for the relays on the way back, and nothing is begun that the operator's budget does not cover."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pair import Prices
from radio_pair import RadioPair
from retrieval_provider.radio.desk import Desk, carriage_to, per_gib

from retrieval.cid import RAW, cid_of
from retrieval.deal.terms import Rate
from retrieval.errors import ErrorCode, RemoteProtocolError
from retrieval.radio.budget import RelayBudget
from retrieval.radio.carriage import packets_of
from retrieval.radio.station import CONTENT_BYTES_MAX
from retrieval.units import GIB

FEES = 11 + 12


@pytest.fixture
def pair() -> RadioPair:
    """The provider has heard the client's want, over two relays."""
    pair = RadioPair(prices=Prices(), n_relays=2)
    pair.find(cid_of(RAW, b"what nobody has"), seconds=10)
    return pair


def desk_of(pair: RadioPair, *, per_day: int, fee_cap: int = 100, charges_relays: bool = True) -> Desk:
    station = pair.provider_end.station
    station.settings = replace(station.settings, fee_cap=fee_cap)
    station.account.budget = RelayBudget(per_day)
    return Desk(station=station, board=None, operator=bytes(20), charges_relays=charges_relays)


def asked(pair: RadioPair, desk: Desk) -> int:
    return carriage_to(desk, pair.client.key.peer_id, 330, 1, now=pair.now)


def test_a_client_is_asked_what_its_relays_will_ask(pair: RadioPair) -> None:
    assert asked(pair, desk_of(pair, per_day=100_000)) == FEES * packets_of(330, 1, hops=2)


def test_an_operator_may_bear_it(pair: RadioPair) -> None:
    assert asked(pair, desk_of(pair, per_day=100_000, charges_relays=False)) == 0


@pytest.mark.parametrize(("per_day", "fee_cap"), [(0, 0), (FEES * packets_of(330, 1, hops=2) - 1, 100), (100_000, FEES - 1)])
def test_nothing_is_quoted_that_could_not_be_promised_to_the_end(pair: RadioPair, per_day: int, fee_cap: int) -> None:
    for charges_relays in (True, False):
        with pytest.raises(RemoteProtocolError) as refused:
            asked(pair, desk_of(pair, per_day=per_day, fee_cap=fee_cap, charges_relays=charges_relays))
        assert refused.value.code is ErrorCode.RATE_LIMITED


@given(st.integers(1, CONTENT_BYTES_MAX), st.integers(0, 10**9), st.integers(0, 10**9), st.integers(0, 10**9))
def test_the_price_covers_the_carriage_whatever_else_is_asked(n_bytes: int, carriage: int, price_per_gib: int, flat_fee: int) -> None:
    without = Rate(price_per_gib=price_per_gib, flat_fee=flat_fee).owed(n_bytes)
    total = Rate(price_per_gib=price_per_gib + per_gib(carriage, n_bytes), flat_fee=flat_fee).owed(n_bytes)
    assert without + carriage <= total <= without + carriage + 1
    assert per_gib(GIB, 1) == GIB * GIB
