"""The duty window in C: what Python decides, to the microsecond, and never more than the law in any hour."""

from __future__ import annotations

import ctypes
from typing import Any

import golden
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval.radio.duty import MINUTE_US, DutyWindow
from retrieval.radio.regions import BANDS, HOUR_US, RELAY_HZ, band_of

VECTORS = golden.load("radio_airtime")
EU868 = [band for band in BANDS if band.region == "EU868"]
DUTY_SIZE_MAX = 4096  # bytes, more than struct duty has
NONE = len(EU868)
NEVER = (1 << 64) - 1
AIRTIME_MAX_US = 10_000_000

steps = st.lists(
    st.tuples(
        st.one_of(st.integers(0, 90_000_000), st.integers(0, HOUR_US)), st.one_of(st.integers(1, AIRTIME_MAX_US), st.just(AIRTIME_MAX_US))
    ),
    max_size=60,
)


class Window:
    """One struct duty, for one band."""

    def __init__(self, relay: ctypes.CDLL, band: int, *, now_us: int = 0, inherited_us: int = 0) -> None:
        self._relay, self._band = relay, band
        self._duty = ctypes.create_string_buffer(DUTY_SIZE_MAX)
        spent = (ctypes.c_uint32 * NONE)()
        spent[band] = inherited_us
        relay.duty_start(self._duty, now_us, ctypes.byref(spent))

    def limit(self, limit_us: int) -> None:
        self._relay.duty_limit(self._duty, limit_us)

    def budget_us(self) -> int:
        return int(self._relay.duty_budget_us(self._duty, self._band))

    def spent_us(self, now_us: int) -> int:
        return int(self._relay.duty_spent_us(self._duty, self._band, now_us))

    def may_send(self, airtime_us: int, now_us: int) -> bool:
        return bool(self._relay.duty_allows(self._duty, self._band, airtime_us, now_us))

    def charge(self, airtime_us: int, now_us: int) -> None:
        self._relay.duty_charge(self._duty, self._band, airtime_us, now_us)

    def next_us(self, airtime_us: int, now_us: int) -> int | None:
        found = int(self._relay.duty_free_at_us(self._duty, self._band, airtime_us, now_us))
        return None if found == NEVER else found


def band_with_budget(budget_us: int) -> int | None:
    return next((number for number, band in enumerate(EU868) if band.budget_us == budget_us), None)


@pytest.mark.parametrize("case", VECTORS["bands"], ids=lambda case: case["why"])
def test_band_vectors(relay: ctypes.CDLL, case: dict[str, Any]) -> None:
    found = relay.band_of(case["frequency_hz"], case["bandwidth_hz"])
    in_europe = 863_000_000 <= case["frequency_hz"] <= 870_000_000
    if case["budget_us"] is None or not in_europe:
        assert found == NONE
    else:
        assert relay.band_budget_us(found) == case["budget_us"]


@given(
    st.one_of(st.integers(862_000_000, 871_000_000), st.integers(0, 0xFFFFFFFF)),
    st.sampled_from([31_250, 62_500, 125_000, 250_000, 500_000]),
)
def test_a_channel_lies_in_the_band_that_python_finds(relay: ctypes.CDLL, frequency_hz: int, bandwidth_hz: int) -> None:
    expected = band_of(frequency_hz, bandwidth_hz)
    found = relay.band_of(frequency_hz, bandwidth_hz)
    assert found == (EU868.index(expected) if expected in EU868 else NONE)


@pytest.mark.parametrize("case", VECTORS["duty"], ids=lambda case: case["why"])
def test_duty_vectors(relay: ctypes.CDLL, case: dict[str, Any]) -> None:
    band = band_with_budget(case["budget_us"])
    if band is None:
        pytest.skip(f"no band of the firmware has {case['budget_us']} us")
    window = Window(relay, band, now_us=case["start_us"], inherited_us=case["budget_us"] if case["restart"] else 0)
    for step in case["steps"]:
        if "tighten_us" in step:
            window.limit(step["tighten_us"])
            continue
        assert window.may_send(step["airtime_us"], step["now_us"]) == step["may_send"]
        if step["may_send"]:
            window.charge(step["airtime_us"], step["now_us"])
        assert window.spent_us(step["now_us"]) == step["spent_us"]


@given(st.integers(0, NONE - 1), st.booleans(), steps)
def test_c_and_python_decide_alike(relay: ctypes.CDLL, band: int, restarted: bool, sent: list[tuple[int, int]]) -> None:
    budget_us, now_us = EU868[band].budget_us, 123_456_789
    python = DutyWindow.after_restart(budget_us, now_us) if restarted else DutyWindow(budget_us)
    window = Window(relay, band, now_us=now_us, inherited_us=budget_us if restarted else 0)
    for pause_us, airtime_us in sent:
        now_us += pause_us
        assert window.may_send(airtime_us, now_us) == python.may_send(airtime_us, now_us)
        assert window.next_us(airtime_us, now_us) == python.next_us(airtime_us, now_us)
        if python.may_send(airtime_us, now_us):
            python.charge(airtime_us, now_us)
            window.charge(airtime_us, now_us)
        assert window.spent_us(now_us) == python.spent_us(now_us)
        now_us += airtime_us


@given(st.integers(0, NONE - 1), st.lists(st.tuples(st.integers(0, 3 * MINUTE_US), st.integers(1, AIRTIME_MAX_US)), max_size=120))
def test_no_hour_holds_more_than_its_budget_however_greedy_the_sender(relay: ctypes.CDLL, band: int, wanted: list[tuple[int, int]]) -> None:
    window, now_us, on_air = Window(relay, band), 0, list[tuple[int, int]]()
    for pause_us, airtime_us in wanted:
        now_us += pause_us
        free_us = window.next_us(airtime_us, now_us)
        if free_us is None:
            continue
        now_us = free_us
        window.charge(airtime_us, now_us)
        on_air.append((now_us, now_us + airtime_us))
        now_us += airtime_us
    for _, until_us in on_air:  # an hour is fullest where it ends with a frame
        since_us = until_us - HOUR_US
        assert sum(end - max(start, since_us) for start, end in on_air if end > since_us and end <= until_us) <= EU868[band].budget_us


@given(st.integers(0, 0xFFFFFFFF))
def test_a_host_tightens_every_budget_and_widens_none(relay: ctypes.CDLL, limit_us: int) -> None:
    for band, of_law in enumerate(EU868):
        window = Window(relay, band)
        window.limit(limit_us)
        assert window.budget_us() == min(limit_us, of_law.budget_us)


def test_a_limit_below_what_was_spent_silences_at_once_and_gives_nothing_back(relay: ctypes.CDLL) -> None:
    window = Window(relay, relay.band_of(RELAY_HZ, 125_000))
    window.charge(9_000_000, 0)
    window.limit(3_600_000)
    assert not window.may_send(1, 1)
    window.limit(HOUR_US)
    assert window.spent_us(2) == 9_000_000
    assert window.may_send(1, 2)


@given(
    st.sampled_from([band.budget_us for band in EU868]),
    st.lists(st.tuples(st.integers(0, 600_000_000), st.integers(1, 400_000)), max_size=150),
)
def test_adverts_take_a_tenth_of_a_budget_at_most(relay: ctypes.CDLL, budget_us: int, wanted: list[tuple[int, int]]) -> None:
    bucket, now_us, sent = ctypes.create_string_buffer(64), 0, list[tuple[int, int]]()
    for pause_us, airtime_us in wanted:
        now_us += pause_us
        if relay.routing_free_at_us(bucket, budget_us, airtime_us, now_us) <= now_us:
            relay.routing_charge(bucket, budget_us, airtime_us, now_us)
            sent.append((now_us, airtime_us))
    longest_us = max((airtime_us for _, airtime_us in sent), default=0)
    for until_us, _ in sent:
        in_hour = sum(airtime_us for at_us, airtime_us in sent if until_us - HOUR_US < at_us <= until_us)
        assert in_hour <= budget_us // 10 + longest_us  # one advert of any length, where the share is shorter than an advert


@given(st.integers(1, HOUR_US // 10), st.integers(1, 400_000), st.lists(st.integers(1, 400_000), max_size=20))
def test_an_advert_that_has_to_wait_may_leave_when_it_was_told(
    relay: ctypes.CDLL, budget_us: int, airtime_us: int, before: list[int]
) -> None:
    bucket = ctypes.create_string_buffer(64)
    for spent_us in before:
        relay.routing_charge(bucket, budget_us, spent_us, 0)
    at_us = relay.routing_free_at_us(bucket, budget_us, airtime_us, 0)
    assert relay.routing_free_at_us(bucket, budget_us, airtime_us, at_us) == at_us
