"""The operator's page without its provider: who is let in, what every answer forbids, and that asking changes nothing."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from http_door import PATIENCE_S, Caller, Reply
from retrieval_provider.config import Pricing
from retrieval_provider.operator import app, interface, page
from retrieval_provider.operator.app import COMMON, OPEN, OperatorPage
from retrieval_provider.operator.feed import Feed
from retrieval_provider.operator.html import h
from retrieval_provider.operator.reports import Reports
from retrieval_provider.operator.token import PASS_S, ensure_token, is_pass, new_pass, read_token, renew_token

from retrieval.errors import ErrorCode, LocalProtocolError
from retrieval.gateway.listening import serving
from retrieval.home import Home
from retrieval.ledger.state import MemoryStateStorage
from retrieval.store.blocks import MemoryBlockStore

PATHS = ("/", "/v1/live", "/v1/figures", "/v1/deals", "/v1/earnings/cid", "/part/deals", "/metrics", "/openapi.json")
"""What is for the operator alone."""


@dataclass(frozen=True, slots=True)
class Page:
    caller: Caller
    home: Home

    @property
    def token(self) -> str:
        return read_token(self.home)

    def get(self, target: str, **headers: str) -> Reply:
        return self.caller.get(target, Authorization=f"Bearer {self.token}", **headers)

    def say(self, request: str | bytes) -> bytes:
        """What comes back to bytes written by hand."""
        with self.caller.connect() as sock:
            sock.sendall(request if isinstance(request, bytes) else request.encode())
            heard = b""
            while part := sock.recv(65536):
                heard += part
            return heard


@contextmanager
def open_page(folder: Path) -> Iterator[Page]:
    """The page of a provider that does not run."""
    home = Home(folder, "retrieval-provider")
    ensure_token(home)
    loop = asyncio.new_event_loop()
    stopping, opened = asyncio.Event(), threading.Event()
    listening = socket.create_server(("127.0.0.1", 0))
    port = listening.getsockname()[1]

    async def serve() -> None:
        shown = OperatorPage(home, "12D3KooW", Reports(MemoryStateStorage(), MemoryBlockStore(), Pricing()), Feed(home))
        async with serving(shown.app(), [listening], shutdown_s=0.1, common=COMMON):
            opened.set()
            await stopping.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    try:
        assert opened.wait(PATIENCE_S)
        yield Page(Caller(port=port), home)
    finally:
        loop.call_soon_threadsafe(stopping.set)
        thread.join()
        loop.close()


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with open_page(tmp_path_factory.mktemp("home")) as page:
        yield page


@pytest.mark.parametrize("path", PATHS)
def test_without_a_token_there_is_nothing_to_see(shown: Page, path: str) -> None:
    assert path not in OPEN
    for headers in ({}, {"Authorization": "Bearer no"}, {"Authorization": shown.token}, {"Cookie": "operator=1999999999.00"}):
        reply = shown.caller.get(path, **headers)
        assert reply.status == 401
        assert b"0.00" not in reply.body
    if path != "/":
        assert reply.code == (401, "unauthorized")
        assert reply.headers["www-authenticate"] == "Bearer"


def test_the_token_opens_it(shown: Page) -> None:
    assert b"Nothing is being sent" not in shown.get("/").body, "there is no node to say so"
    assert b"does not answer" in shown.get("/").body
    assert shown.get("/v1/figures").status == 200
    assert shown.caller.get("/v1/figures", Authorization=f"bearer {shown.token}").status == 200


def test_a_link_with_the_token_gives_a_browser_a_pass_and_goes_on_without_it(shown: Page) -> None:
    reply = shown.caller.get(f"/?token={shown.token}")
    assert (reply.status, reply.headers["location"]) == (303, "/")
    cookie = reply.headers["set-cookie"]
    assert all(word in cookie for word in ("HttpOnly", "SameSite=Strict", "Path=/", f"Max-Age={PASS_S}"))
    assert shown.token not in cookie
    carried = cookie.partition(";")[0]
    assert shown.caller.get("/v1/figures", Cookie=carried).status == 200
    for site in ("cross-site", "same-site"):  # what another page makes a browser ask for, one on another port among them
        assert shown.caller.get("/v1/figures", Cookie=carried, Sec_Fetch_Site=site).status == 401


def test_the_form_lets_in_and_out(shown: Page) -> None:
    def post(path: str, body: str) -> str:
        head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/x-www-form-urlencoded\r\n"
        return shown.say(f"{head}Content-Length: {len(body)}\r\n\r\n{body}").decode()

    assert post("/login", f"token={shown.token}").startswith("HTTP/1.1 303")
    refused = post("/login", "token=wrong")
    assert refused.startswith("HTTP/1.1 401")
    assert "That was not the token" in refused
    assert 'operator="";' in post("/logout", "")
    assert "body_too_large" in post("/login", "token=" + "x" * 8192)


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": "Bearer \xff"},
        {"Cookie": "operator=9999999999.\xff"},
        {"Cookie": "operator=\xff.00"},
        {"Cookie": 'operator="\\377.\\377"'},
        {"Cookie": "operator=" + "9" * 5000 + ".00"},
    ],
)
def test_bytes_that_are_no_text_open_nothing_and_are_no_fault_of_ours(shown: Page, headers: dict[str, str]) -> None:
    assert shown.caller.get("/v1/figures", **headers).code == (401, "unauthorized")


@pytest.mark.parametrize(
    ("media_type", "form"),
    [
        ("application/x-www-form-urlencoded", b"token=\xff"),
        ("application/x-www-form-urlencoded; charset=undefined", b"token=a"),
        ("application/x-www-form-urlencoded; charset=utf-7", b"token=+2AA-"),
        ("application/x-www-form-urlencoded", b"&=;%" * 1000),
        ("multipart/form-data", b"x"),
        ("multipart/form-data; boundary=a", b"junk"),
    ],
)
def test_what_is_no_form_signs_nobody_in(shown: Page, media_type: str, form: bytes) -> None:
    head = (
        f"POST /login HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: {media_type}\r\nContent-Length: {len(form)}\r\n\r\n"
    )
    assert shown.say(head.encode() + form).startswith(b"HTTP/1.1 401")


def test_a_form_that_never_ends_is_not_waited_for(shown: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app, "BODY_S", 0.1)
    heard = shown.say("POST /login HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 100\r\n\r\ntoken=")
    assert b"malformed_request" in heard


def test_another_page_signs_nobody_out(shown: Page) -> None:
    for site in ("cross-site", "same-site"):
        reply = shown.caller.ask("POST", "/logout", Sec_Fetch_Site=site)
        assert reply.code == (403, "forbidden")
        assert "set-cookie" not in reply.headers
    assert shown.caller.ask("POST", "/logout", Sec_Fetch_Site="same-origin").status == 303


def test_a_new_token_ends_the_old_one_and_its_passes(tmp_path: Path) -> None:
    with open_page(tmp_path) as shown:
        old, cookie = shown.token, shown.caller.get(f"/?token={shown.token}").headers["set-cookie"].partition(";")[0]
        assert renew_token(shown.home) != old
        assert shown.caller.get("/v1/figures", Authorization=f"Bearer {old}").status == 401
        assert shown.caller.get("/v1/figures", Cookie=cookie).status == 401
        assert shown.get("/v1/figures").status == 200


def test_a_pass_ends_by_itself_and_cannot_be_made_longer(tmp_path: Path) -> None:
    home = Home(tmp_path, "retrieval-provider")
    token = ensure_token(home)
    given = new_pass(token, 1000.0)
    until, _, seal = given.partition(".")
    assert is_pass(token, given, 1000.0 + PASS_S - 1)
    assert not is_pass(token, given, 1000.0 + PASS_S)
    assert not is_pass(token, f"{int(until) + 1}.{seal}", 1000.0)
    assert not any(is_pass(token, wrong, 1000.0) for wrong in ("", ".", given[:-1], "x" * 1000, "9" * 40, "é.é"))


def test_the_token_is_for_its_owner_only(tmp_path: Path) -> None:
    home = Home(tmp_path, "retrieval-provider")
    ensure_token(home)
    (tmp_path / "operator.token").chmod(0o644)
    with pytest.raises(LocalProtocolError) as refused:
        read_token(home)
    assert refused.value.code is ErrorCode.SECRET_EXPOSED


@pytest.mark.parametrize(
    "host", ["retrieval.example", "127.0.0.1.example.org", "127.0.0.1@evil.org", "192.0.2.1", "", "localhost.example:80"]
)
def test_another_hosts_name_is_answered_by_421(shown: Page, host: str) -> None:
    for path in ("/", "/readyz", "/page.js"):
        heard = shown.say(f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nAuthorization: Bearer {shown.token}\r\n\r\n")
        assert heard.startswith(b"HTTP/1.1 421")


@pytest.mark.parametrize("host", ["127.0.0.1:4804", "localhost", "LOCALHOST:80", "[::1]:4804", "127.0.0.2"])
def test_loopback_names_are_answered(shown: Page, host: str) -> None:
    assert shown.say(f"GET /healthz HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("path", ["/", "/healthz", "/page.css", "/v1/deals", "/nothing"])
def test_every_answer_keeps_other_pages_out(shown: Page, path: str) -> None:
    for reply in (shown.get(path, Origin="http://127.0.0.1:4802"), shown.caller.get(path)):
        assert "access-control-allow-origin" not in reply.headers
        assert reply.headers["cross-origin-resource-policy"] == "same-origin"
        assert reply.headers["cache-control"] == "no-store"
        policy = reply.headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; ")
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert "http" not in policy


def test_nothing_but_signing_in_and_out_takes_a_post(shown: Page) -> None:
    document = json.loads(shown.get("/openapi.json").body)
    posts = [path for path, item in document["paths"].items() if set(item) - {"get", "head"}]
    assert posts == ["/login", "/logout"]
    for method in ("POST", "PUT", "DELETE"):
        reply = shown.caller.ask(method, "/healthz")
        assert reply.code == (405, "unsupported_method")
        assert reply.headers["allow"] == "GET, HEAD, OPTIONS"


def test_other_pages_are_allowed_nothing_when_they_ask_before(shown: Page) -> None:
    reply = shown.caller.ask("OPTIONS", "/v1/deals", Origin="https://page.example", Access_Control_Request_Method="GET")
    assert (reply.status, reply.body) == (204, b"")
    assert not any(name.startswith("access-control") for name in reply.headers)


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("/v1/deals?offset=-1", (400, "malformed_request")),
        ("/v1/deals?limit=9999999999", (400, "malformed_request")),
        ("/v1/deals?offset=" + "9" * 30, (400, "malformed_request")),
        ("/?deals=x", (400, "malformed_request")),
        ("/v1/earnings/mood", (404, "unknown_route")),
        ("/part/nothing", (404, "unknown_route")),
        ("/nothing", (404, "unknown_route")),
        ("/v1/live", (503, "control_unavailable")),
        ("/metrics", (503, "control_unavailable")),
    ],
)
def test_what_cannot_be_answered_is_a_problem_of_the_registry(shown: Page, target: str, expected: tuple[int, str]) -> None:
    assert shown.get(target).code == expected


def test_a_provider_that_does_not_answer_is_not_ready(shown: Page) -> None:
    reply = shown.caller.get("/readyz")
    assert reply.status == 503
    found = json.loads(reply.body)
    assert found["ready"] is False
    assert found["checks"]["node"]["state"] == "failing"


@pytest.mark.parametrize("part", interface.PARTS)
def test_every_section_stands_alone_and_is_there_when_there_is_nothing_yet(shown: Page, part: str) -> None:
    assert shown.get(f"/part/{part}").status == 200


def test_text_from_outside_stays_text() -> None:
    nasty = '"><script>alert(1)</script>'
    row = {"root": nasty, "name": nasty, "pinned": True, "size": 1, "price_per_gib": "1", "flat_fee": "0", "bytes": 1, "amount": "1"}
    error = {"time": 0.0, "kind": "warning", "says": nasty}
    live = {"errors": [error], "transfers": [], "n_transfers": 0, "sessions": 0, "requests": 0}
    for shown in (page.content([row], 1, 0), page.errors(live), h("p", nasty, title=nasty)):
        assert "<script" not in shown
        assert "&lt;script&gt;" in shown
