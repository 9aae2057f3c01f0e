"""The door when too many come, too fast, or without taking what they asked for: real sockets, from several addresses of this machine."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace

import pytest
from dag_builder import Builder
from http_door import PATIENCE_S, Caller, open_door
from retrieval_provider.http.till import Till
from tills import Ledger

from retrieval.cid import format_cid
from retrieval.gateway import delivery, guests, listening
from retrieval.gateway.guests import Guests, Limits, networks
from retrieval.units import KIB, MIB

DAG = Builder()
TEXT = f"/ipfs/{format_cid(DAG.raw(b'text'))}"
SMALL = f"/ipfs/{format_cid(DAG.raw(bytes(60 * KIB)))}"
LARGE = f"/ipfs/{format_cid(DAG.file(*[DAG.raw(bytes(MIB))] * 32, sizes=(MIB,) * 32))}"
STRANGER, OTHER = "127.0.0.2", "127.0.0.3"


@pytest.fixture(autouse=True)
def _short_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever asks too fast hears so at once."""
    monkeypatch.setattr(listening, "LIMITED_PAUSE_S", 0.0)


@contextmanager
def door_with(
    *, connections_max: int = 64, connections_per_prefix_max: int = 64, requests_per_minute: int = 10_000, till: Till | None = None
) -> Iterator[Caller]:
    limits = Limits(
        connections_max=connections_max,
        connections_per_prefix_max=connections_per_prefix_max,
        requests_per_minute=requests_per_minute,
        proxies=networks(["/ip4/127.0.0.1"]),
    )
    with open_door(DAG.store, till, guests=Guests(limits, time.monotonic)) as caller:
        yield replace(caller, source=STRANGER)


def is_closed(sock: socket.socket) -> bool:
    """Whether the other end hangs up, in time."""
    try:
        while sock.recv(65536):
            pass
    except ConnectionResetError:
        pass
    return True


def test_an_address_with_too_many_connections_is_told_so_and_others_are_not() -> None:
    with door_with(connections_per_prefix_max=2) as door, ExitStack() as held:
        for _ in range(2):
            held.enter_context(door.connect()).sendall(b"GET /")
        with door.connect() as turned_away:
            head, _, body = turned_away.recv(65536).partition(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 429 Too Many Requests")
            assert b"Retry-After: " in head
            assert json.loads(body)["code"] == "too_many_sessions"
            assert is_closed(turned_away)
        assert replace(door, source=OTHER).get(TEXT).status == 200
        assert replace(door, source="127.0.0.1").get(TEXT).status == 200


def test_places_are_given_back() -> None:
    with door_with(connections_per_prefix_max=1) as door:
        for _ in range(5):
            with door.connect() as sock:
                sock.sendall(f"GET {TEXT} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
                assert is_closed(sock)


def test_idle_connections_make_room_for_those_who_ask() -> None:
    with door_with(connections_max=3) as door, ExitStack() as held:
        idle = [held.enter_context(door.connect()) for _ in range(3)]
        for sock in idle:
            sock.sendall(f"HEAD {TEXT} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            assert b" 200 OK" in sock.recv(65536)
        assert door.get(TEXT).status == 200
        assert is_closed(idle[0])
        idle[2].sendall(f"GET {TEXT} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        assert b" 200 OK" in idle[2].recv(65536)


ASKED = [("GET", TEXT), ("HEAD", TEXT), ("GET", "/none"), ("OPTIONS", "/"), ("POST", TEXT), ("GET", "/healthz")]


@pytest.mark.parametrize(("method", "target"), ASKED)
def test_whatever_is_asked_counts_and_the_answer_says_when_to_come_back(method: str, target: str) -> None:
    with door_with(requests_per_minute=3) as door:
        for _ in range(3):
            assert door.ask(method, target).status != 429
        reply = door.ask(method, target)
        assert reply.status == 429
        assert 0 < int(reply.headers["retry-after"]) <= 60
        assert method == "HEAD" or reply.code == (429, "rate_limited")
        assert replace(door, source=OTHER).get(TEXT).status == 200
        assert replace(door, source="127.0.0.1").get(TEXT, x_forwarded_for=STRANGER).status == 429


def test_a_proxy_has_the_last_word_about_who_asks_whatever_its_client_wrote_before() -> None:
    said = f"GET {TEXT} HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 192.0.2.9\r\nX-Forwarded-For: {STRANGER}\r\n\r\n".encode()
    with door_with(requests_per_minute=2) as door, replace(door, source="127.0.0.1").connect() as proxy:
        for status in (b"200", b"200", b"429"):
            proxy.sendall(said)
            assert proxy.recv(65536).split(b" ")[1] == status


def test_what_is_paid_for_does_not_count() -> None:
    with door_with(requests_per_minute=1, till=Ledger()) as door:
        assert {door.get(TEXT).status for _ in range(5)} == {200}
    with door_with(requests_per_minute=1, till=Ledger(headers={})) as door:
        assert [door.get(TEXT).status for _ in range(2)] == [200, 429]


def test_a_request_that_takes_long_counts_as_several_unless_it_is_paid(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guests, "REQUEST_CPU_S", 1e-5)
    with door_with(requests_per_minute=20) as door:
        assert [door.get(LARGE).status for _ in range(2)] == [200, 429]
    with door_with(requests_per_minute=20, till=Ledger()) as door:
        assert [door.get(LARGE).status for _ in range(2)] == [200, 200]


def test_a_client_that_asks_and_asks_and_takes_nothing_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listening, "STALL_S", 0.2)
    with door_with(till=(till := Ledger())) as door, door.connect() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        request = f"GET {SMALL} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
        sock.settimeout(PATIENCE_S)
        try:
            for _ in range(1_000):
                sock.sendall(request)
        except (ConnectionResetError, BrokenPipeError):
            pass  # it was cut while it asked
        assert is_closed(sock)
        assert till.settled.qsize() < 200, "what is not taken is not prepared either"


def test_a_small_body_that_is_not_taken_is_not_charged_as_if_it_were(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivery, "STALL_S", 0.2)
    with door_with(till=(till := Ledger())) as door, door.connect() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        for _ in range(100):
            sock.sendall(f"GET {SMALL} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        while (ended := till.ended())[1]:
            assert ended == (60 * KIB, True)
        assert ended[0] < 60 * KIB


def test_a_large_body_that_is_not_taken_is_cut_and_charged_as_far_as_it_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivery, "STALL_S", 0.2)
    with door_with(till=(till := Ledger())) as door, door.connect() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.sendall(f"GET {LARGE} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        sent_bytes, is_whole = till.ended()
        assert not is_whole
        assert sent_bytes < 32 * MIB
