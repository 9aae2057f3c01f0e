"""Who may connect and ask: places, rates, and proxies that speak for others."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval.errors import ErrorCode, LocalProtocolError, RemoteProtocolError
from retrieval.gateway.guests import ONE_MACHINE, REQUEST_CPU_S, Guests, Limits, networks

PROXIES = networks(["/ip4/127.0.0.1", "/ip6/2001:db8::/ipcidr/32"])


class Connected:
    """A connection that remembers being sent away."""

    def __init__(self) -> None:
        self.is_away = False

    def send_away(self) -> None:
        self.is_away = True


class Hall:
    """Guests, and the time."""

    def __init__(self, *, connections_max: int = 4, connections_per_prefix_max: int = 2, requests_per_minute: int = 60) -> None:
        self.now = 0.0
        limits = Limits(
            connections_max=connections_max,
            connections_per_prefix_max=connections_per_prefix_max,
            requests_per_minute=requests_per_minute,
            proxies=PROXIES,
        )
        self.guests = Guests(limits, lambda: self.now)

    def arrive(self, address: str) -> Connected:
        guest = Connected()
        self.guests.arrive(guest, address)
        return guest


def code(act: Callable[[str], object], address: str) -> ErrorCode | None:
    try:
        act(address)
    except RemoteProtocolError as error:
        return error.code
    return None


def test_an_address_range_has_so_many_places_and_no_more() -> None:
    hall = Hall()
    first = hall.arrive("192.0.2.1")
    hall.arrive("192.0.2.1")
    assert code(hall.arrive, "192.0.2.1") is ErrorCode.TOO_MANY_SESSIONS
    assert code(hall.arrive, "192.0.2.2") is None
    hall.guests.leave(first)
    assert code(hall.arrive, "192.0.2.1") is None


def test_an_ipv6_network_is_one_guest() -> None:
    hall = Hall()
    hall.arrive("2001:db9::1")
    hall.arrive("2001:db9::2")
    assert code(hall.arrive, "2001:db9::3") is ErrorCode.TOO_MANY_SESSIONS
    assert code(hall.arrive, "2001:db9:0:1::3") is None


def test_who_was_idle_for_longest_makes_room() -> None:
    hall = Hall(connections_max=3)
    working, idle, later = (hall.arrive(f"192.0.2.{n}") for n in range(3))
    hall.guests.work(working)
    hall.arrive("192.0.2.9")
    assert (working.is_away, idle.is_away, later.is_away) == (False, True, False)
    hall.guests.leave(idle)  # its connection ends a moment afterwards
    assert hall.guests.n_connected == 3


def test_nobody_at_work_is_sent_away() -> None:
    hall = Hall(connections_max=2)
    first, second = hall.arrive("192.0.2.1"), hall.arrive("192.0.2.2")
    for guest in (first, second):
        hall.guests.work(guest)
    assert code(hall.arrive, "192.0.2.3") is ErrorCode.TOO_MANY_SESSIONS
    hall.guests.rest(second)
    hall.arrive("192.0.2.3")
    assert (first.is_away, second.is_away) == (False, True)


def test_who_was_sent_away_does_not_come_to_rest() -> None:
    hall = Hall(connections_max=1)
    gone = hall.arrive("192.0.2.1")
    hall.arrive("192.0.2.2")
    hall.guests.rest(gone)
    hall.arrive("192.0.2.3")
    assert hall.guests.n_connected == 1


def test_requests_beyond_the_rate_are_told_when_to_come_back() -> None:
    hall = Hall(requests_per_minute=3)
    for _ in range(3):
        hall.guests.count_request("192.0.2.1")
    with pytest.raises(RemoteProtocolError) as refused:
        hall.guests.count_request("192.0.2.1")
    assert (refused.value.code, refused.value.retry_after_s) == (ErrorCode.RATE_LIMITED, 20)
    assert code(hall.guests.count_request, "192.0.2.2") is None
    hall.now += 20
    assert code(hall.guests.count_request, "192.0.2.1") is None


def test_a_request_that_takes_long_counts_as_several() -> None:
    hall = Hall(requests_per_minute=60)
    hall.guests.count_request("192.0.2.1")
    hall.guests.count_work("192.0.2.1", 0.9 * REQUEST_CPU_S)
    assert code(hall.guests.count_request, "192.0.2.1") is None
    hall.guests.count_work("192.0.2.1", 60 * REQUEST_CPU_S)
    assert code(hall.guests.count_request, "192.0.2.1") is ErrorCode.RATE_LIMITED
    assert code(hall.guests.count_request, "192.0.2.2") is None


def test_a_request_that_was_paid_for_does_not_count() -> None:
    hall = Hall(requests_per_minute=1)
    for _ in range(5):
        hall.guests.count_request("192.0.2.1")
        hall.guests.forgive_request("192.0.2.1")


def test_no_limit_counts_for_a_proxy_itself() -> None:
    hall = Hall(connections_max=10, requests_per_minute=1)
    for _ in range(5):
        hall.arrive("127.0.0.1")
        hall.guests.count_request("2001:db8::7")
        hall.guests.forgive_request("2001:db8::7")


@pytest.mark.parametrize(
    ("peer", "forwarded_for", "client"),
    [
        ("127.0.0.1", "192.0.2.7", "192.0.2.7"),
        ("127.0.0.1", "10.9.9.9, 192.0.2.7", "192.0.2.7"),
        ("127.0.0.1", "192.0.2.7, 2001:db8::1", "192.0.2.7"),
        ("127.0.0.1", "", "127.0.0.1"),
        ("127.0.0.1", "nonsense", "127.0.0.1"),
        ("127.0.0.1", "192.0.2.7, nonsense", "127.0.0.1"),
        ("192.0.2.1", "192.0.2.7", "192.0.2.1"),
        ("", "192.0.2.7", ""),
        ("127.0.0.1", "127.0.0.1", "127.0.0.1"),
    ],
)
def test_a_proxy_is_believed_about_who_asks_and_nobody_else_is(peer: str, forwarded_for: str, client: str) -> None:
    assert Hall().guests.client(peer, forwarded_for) == client


@given(st.text(max_size=200), st.sampled_from(["127.0.0.1", "192.0.2.1", ""]))
def test_any_header_names_an_address_or_nobody(forwarded_for: str, peer: str) -> None:
    hall = Hall()
    hall.guests.count_request(hall.guests.client(peer, forwarded_for))


@pytest.mark.parametrize("text", ["/ip4/127.0.0.1/tcp/80", "127.0.0.1", "/ip4/1.2.3.4/ipcidr/8", "/ip4/10.0.0.0/ipcidr/40", "/ip6/x"])
def test_what_is_no_range_of_addresses_is_refused(text: str) -> None:
    with pytest.raises(LocalProtocolError) as refused:
        networks([text])
    assert refused.value.code is ErrorCode.USAGE


def test_on_one_machine_whoever_has_been_idle_for_longest_makes_room() -> None:
    guests = Guests(ONE_MACHINE, lambda: 0.0)
    visitors = [Connected() for _ in range(ONE_MACHINE.connections_max + 1)]
    for visitor in visitors:
        guests.arrive(visitor, "127.0.0.1")
    assert [visitor.is_away for visitor in visitors] == [True] + [False] * ONE_MACHINE.connections_max
