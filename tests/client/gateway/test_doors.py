"""What the gateway lets in: from whom, by which name, and what a web page may make of it. One gateway for all, with nobody to buy from."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator

import pytest
from counter_gateway import Running, open_counter
from retrieval_client.config import ClientSettings
from retrieval_client.gateway import feed
from shop import new_home

from retrieval.cid import RAW, cid_of, format_cid
from retrieval.gateway.openapi import operations_of
from retrieval.store.disk import DiskBlockStore

HERE = b"this block is here"
HELD = f"/ipfs/{format_cid(cid_of(RAW, HERE))}"
MISSING = f"/ipfs/{format_cid(cid_of(RAW, b'and this one is not'))}"
PAGE = "https://page.example"


@pytest.fixture(scope="module")
def counter(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    home = new_home(tmp_path_factory.mktemp("doors") / "client", "retrieval-client", ClientSettings, {"wallet.per_fetch": "0.5 USD"})
    store = DiskBlockStore(home.blocks_path, bytes_max=1 << 30)
    store.put_many([(cid_of(RAW, HERE), HERE)])
    store.close()
    with open_counter(home) as counter:
        yield counter


def raw(counter: Running, request: str) -> bytes:
    """The whole answer to these lines."""
    with counter.caller.connect() as connection:
        connection.sendall(request.replace("\n", "\r\n").encode())
        answer = b""
        while part := connection.recv(65_536):
            answer += part
        return answer


def test_what_is_here_is_anybodys(counter: Running) -> None:
    reply = counter.get(HELD, Origin=PAGE)
    assert (reply.status, reply.body, reply.headers["access-control-allow-origin"]) == (200, HERE, "*")


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "127.0.0.1", "127.0.0.1:1", "rebound.example"])
def test_a_request_for_another_name_is_misdirected(counter: Running, host: str) -> None:
    for target in (HELD, "/", "/v1/deals", "/healthz", "/openapi.json", "/nothing"):
        answer = raw(counter, f"GET {target} HTTP/1.1\nHost: {host}\nConnection: close\n\n")
        assert answer.startswith(b"HTTP/1.1 421 "), target
        assert HERE not in answer


def test_a_request_without_a_name_or_with_two_is_misdirected(counter: Running) -> None:
    assert raw(counter, f"GET {HELD} HTTP/1.0\n\n").startswith(b"HTTP/1.0 421 ")
    twice = f"GET {HELD} HTTP/1.1\nHost: {counter.authority}\nHost: {counter.authority}\nConnection: close\n\n"
    assert raw(counter, twice).split()[1] in (b"421", b"400")


def test_all_names_of_the_loopback_interface_are_ours(counter: Running) -> None:
    for name in ("127.0.0.1", "localhost", "[::1]", "LocalHost"):
        answer = raw(counter, f"GET /healthz HTTP/1.1\nHost: {name}:{counter.caller.port}\nConnection: close\n\n")
        assert answer.startswith(b"HTTP/1.1 200 ")


def test_a_browser_may_send_a_token_and_reach_a_private_network(counter: Running) -> None:
    reply = counter.ask(
        "OPTIONS",
        HELD,
        Origin=PAGE,
        Access_Control_Request_Method="GET",
        Access_Control_Request_Headers="authorization,range,retrieval-max-spend",
        Access_Control_Request_Private_Network="true",
    )
    allowed = {name.strip().lower() for name in reply.headers["access-control-allow-headers"].split(",")}
    assert reply.status == 204
    assert {"authorization", "range", "retrieval-max-spend", "last-event-id"} <= allowed
    assert reply.headers["access-control-allow-private-network"] == "true"
    assert "access-control-allow-credentials" not in reply.headers


def test_what_is_not_here_needs_somebody_to_ask(counter: Running) -> None:
    assert counter.get(MISSING).code == (404, "not_found")
    assert counter.get(f"{MISSING}?provider=http://127.0.0.1:9", Origin=PAGE).code == (401, "unauthorized")
    assert counter.get(f"{MISSING}?provider=junk", token=counter.new_token()).code == (400, "malformed_request")
    assert counter.get(f"{MISSING}?provider=http://127.0.0.1:9", token=counter.new_token("read")).code == (403, "forbidden")


@pytest.mark.parametrize("target", ["/v1/deals", "/v1/receipts", "/v1/budget", "/v1/events", f"/v1/quote{MISSING[5:]}"])
def test_the_books_are_opened_by_a_token_that_may_read(counter: Running, target: str) -> None:
    refused = counter.get(target, Origin=PAGE)
    assert refused.code == (401, "unauthorized")
    assert refused.headers["www-authenticate"].startswith("Bearer")
    assert counter.get(target, token="rmt_" + "A" * 43).code == (401, "unauthorized")
    assert counter.get(target, token=counter.new_token("retrieve,spend")).code == (403, "forbidden")
    bound = counter.new_token("read", origins=("https://app.example",))
    assert counter.get(target, token=bound, Origin=PAGE).code == (403, "forbidden")


def test_a_bad_token_is_refused_also_for_what_is_free(counter: Running) -> None:
    """Or whoever sent it would not learn that it has expired before something is to be paid."""
    assert counter.get(HELD, token="rmt_" + "A" * 43).code == (401, "unauthorized")


def test_what_a_page_could_make_a_browser_send_changes_nothing(counter: Running) -> None:
    before = counter.gateway.wallet.journal.head
    for method in ("POST", "PUT", "DELETE", "PATCH"):
        for target in (HELD, "/v1/deals", "/v1/budget", "/"):
            assert counter.ask(method, target, Origin=PAGE).status == 405
    for target in (HELD, MISSING, "/v1/deals", "/", f"{MISSING}?provider=http://127.0.0.1:9"):
        counter.get(target, Origin=PAGE)
    assert counter.gateway.wallet.journal.head == before


@pytest.mark.parametrize(
    ("target", "code"),
    [
        ("/ipfs/", "invalid_cid"),
        ("/ipfs/nothing", "invalid_cid"),
        (f"{HELD}/..", "path_not_found"),
        (f"{HELD}/%2e%2e/%2e%2e/etc/passwd", "invalid_path"),
        (f"{HELD}/%00", "invalid_path"),
        (f"{HELD}/%zz", "invalid_path"),
        (f"{HELD}?format=zip", "unsupported_format"),
        (f"{HELD}?format=car&entity-bytes=x", "invalid_range"),
        (f"{HELD}?format=raw&format=car", "malformed_request"),
        ("/../../etc/passwd", "unknown_route"),
        ("/v1/nothing", "unknown_route"),
        ("/" + "a" * 9000, "address_too_long"),
    ],
)
def test_bad_addresses_get_the_registered_error(counter: Running, target: str, code: str) -> None:
    reply = counter.get(target)
    assert reply.problem["code"] in (code, "invalid_path"), reply.problem
    assert 400 <= reply.status < 500


@pytest.mark.parametrize("part", ["bytes=99999999999999999999-", "bytes=-99999999999999999999", "bytes=9-1", "x", "bytes=0-0,1-1,2-2"])
def test_absurd_ranges_are_answered(counter: Running, part: str) -> None:
    assert counter.get(HELD, Range=part).status in (200, 206, 416)


def test_headers_beyond_measure_end_the_connection(counter: Running) -> None:
    request = f"GET {HELD} HTTP/1.1\nHost: {counter.authority}\nX-Long: {'a' * 10_000}\n\n"
    assert raw(counter, request).partition(b"\r\n")[0].split()[1] in (b"431", b"400")
    many = "".join(f"X-{n}: 1\n" for n in range(200))
    assert raw(counter, f"GET {HELD} HTTP/1.1\nHost: {counter.authority}\n{many}\n").partition(b"\r\n")[0].split()[1] in (b"431", b"400")


def test_a_client_that_sends_bit_by_bit_holds_nobody_up(counter: Running) -> None:
    slow = [counter.caller.connect() for _ in range(50)]
    try:
        for each in slow:
            each.sendall(b"GET /ipfs/ba")
        assert counter.get(HELD).body == HERE
    finally:
        for each in slow:
            each.close()


@pytest.mark.parametrize("query", ["limit=0", "limit=-1", "limit=x", "before=zz", "limit=1&limit=2"])
def test_pages_that_make_no_sense_are_refused(counter: Running, query: str) -> None:
    assert counter.get(f"/v1/deals?{query}", token=counter.new_token("read")).code == (400, "malformed_request")


def test_what_was_never_bought_is_not_found(counter: Running) -> None:
    token = counter.new_token("read")
    assert counter.json("/v1/deals", token=token) == {"deals": [], "next": None}
    assert counter.json("/v1/receipts?limit=5", token=token) == {"receipts": [], "next": None}
    for target in ("/v1/deals/" + "0" * 32, "/v1/receipts/" + "0" * 32, "/v1/deals?before=" + "0" * 32):
        assert counter.get(target, token=token).code == (404, "deal_unknown")
    assert counter.get("/v1/deals/xyz", token=token).code == (400, "malformed_request")


def test_a_quote_of_what_is_here_is_nothing(counter: Running) -> None:
    quoted = counter.json(f"/v1/quote{HELD[5:]}", token=counter.new_token("read"))
    assert (quoted["held"], quoted["offers"]) == (True, [])


def test_a_token_hears_what_it_may_spend(counter: Running) -> None:
    spending, reading = counter.new_token(cap=70_000, per_request=60_000, name="shop"), counter.new_token("read")
    budget = counter.json("/v1/budget", token=spending, Origin=PAGE)
    assert budget["may_spend"] == "60000"
    assert budget["left"] == {"request": "60000", "today": "1000000", "origin": "1000000", "token": "70000"}
    assert budget["token"]["name"] == "shop"
    assert counter.json("/v1/budget", token=reading)["may_spend"] == "0"


def test_a_revoked_token_is_no_token(counter: Running) -> None:
    token = counter.new_token("read")
    assert counter.get("/v1/budget", token=token).status == 200
    counter.revoke(counter.json("/v1/budget", token=token)["token"]["id"])
    assert counter.get("/v1/budget", token=token).code == (401, "unauthorized")


def test_a_revoked_token_hears_nothing_more(counter: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed, "KEEP_ALIVE_S", 0.05)
    token = counter.new_token("read")
    token_id = counter.json("/v1/budget", token=token)["token"]["id"]
    with counter.caller.connect() as connection:
        connection.sendall(f"GET /v1/events HTTP/1.1\r\nHost: {counter.authority}\r\nAuthorization: Bearer {token}\r\n\r\n".encode())
        heard = b""
        while b": alive" not in heard:
            heard += connection.recv(65_536)
        counter.revoke(token_id)
        while not heard.endswith(b"\r\n0\r\n\r\n"):
            part = connection.recv(65_536)
            assert part
            heard += part
            assert len(heard) < 4096, "it goes on"


def test_it_says_how_it_is(counter: Running) -> None:
    assert counter.json("/healthz") == {"alive": True}
    assert counter.json("/readyz")["ready"] is True
    document = counter.json("/openapi.json")
    assert {("GET", "/ipfs/{cid}"), ("GET", "/v1/events"), ("GET", "/v1/receipts/{deal_id}")} <= operations_of(document)
    assert document["components"]["securitySchemes"]["token"]["scheme"] == "bearer"


def test_the_page_tells_a_stranger_nothing_and_runs_nothing_of_others(counter: Running) -> None:
    page = counter.get("/")
    policy = page.headers["content-security-policy"]
    assert (page.status, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe-inline" not in policy
    assert json.dumps(str(counter.gateway.wallet.home.path)) not in page.body.decode()


def test_content_cannot_act_for_the_gateways_own_page(counter: Running) -> None:
    """All of it comes from one origin, and the page's token is kept there."""
    assert counter.get(HELD).headers["content-security-policy"].startswith("sandbox")
    assert "allow-same-origin" not in counter.get(HELD).headers["content-security-policy"]


def test_who_listens_hears_from_now_on_and_can_go_on(counter: Running) -> None:
    token = counter.new_token("read")
    with listening(counter, token) as first:
        counter.get(MISSING)
        ended = first.event()
        assert (ended["event"], json.loads(ended["data"])["error"]) == ("ended", "not_found")
    counter.get(MISSING)
    with listening(counter, token, last_id=ended["id"]) as second:
        missed = second.event()
        assert missed["event"] == "ended"
        assert int(missed["id"].partition("-")[2]) == int(ended["id"].partition("-")[2]) + 1


@pytest.mark.parametrize("last_id", ["nonsense", "-1", "00000000-1", "9" * 400, "../..", "ffffffff-999999999999999999"])
def test_an_id_of_nothing_is_told_that_something_was_missed(counter: Running, last_id: str) -> None:
    with listening(counter, counter.new_token("read"), last_id=last_id) as listener:
        gap = listener.event()
        assert (gap["event"], json.loads(gap["data"])) == ("gap", {"missed": None})


def test_so_many_may_listen(counter: Running) -> None:
    token = counter.new_token("read")
    listeners = [listening(counter, token) for _ in range(16)]
    try:
        assert counter.get("/v1/events", token=token).code == (429, "rate_limited")
    finally:
        for each in listeners:
            each.close()


class listening:
    """One who listens to events, from when it is told that it does."""

    def __init__(self, counter: Running, token: str, last_id: str | None = None) -> None:
        self._socket = counter.caller.connect()
        self._read = b""
        last = f"Last-Event-ID: {last_id}\r\n" if last_id is not None else ""
        request = f"GET /v1/events HTTP/1.1\r\nHost: {counter.authority}\r\nAuthorization: Bearer {token}\r\n{last}\r\n"
        self._socket.sendall(request.encode())
        self._until(b": listening\n\n")

    def event(self) -> dict[str, str]:
        """The next one."""
        part = self._until(b"\n\n")
        while b"data:" not in part:
            part = self._until(b"\n\n")
        lines = [line for line in part.decode().splitlines() if ": " in line]
        return dict(line.split(": ", 1) for line in lines)

    def close(self) -> None:
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        self._socket.close()

    def __enter__(self) -> listening:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()

    def _until(self, end: bytes) -> bytes:
        while end not in self._read:
            part = self._socket.recv(65_536)
            assert part, self._read
            self._read += part
        found, _, self._read = self._read.partition(end)
        return found + end
