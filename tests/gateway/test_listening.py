"""What reaches the door before it is a request: whatever it is, it is answered or the connection ends."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator

import pytest
from dag_builder import Builder
from http_door import Caller, open_door
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from retrieval.cid import RAW, cid_of, format_cid
from retrieval.gateway import listening
from retrieval.gateway.listening import HEADER_LINE_MAX, HEADERS_MAX

CONTENT = b"content"
TARGET = f"/ipfs/{format_cid(cid_of(RAW, CONTENT))}"
FOLDER = Builder()
FOLDER_PATH = f"/ipfs/{format_cid(FOLDER.directory(('a', FOLDER.raw(CONTENT))))}"
BEGIN = f"GET {TARGET} HTTP/1.1\r\nHost: x\r\n".encode()


@pytest.fixture(scope="module")
def door() -> Iterator[Caller]:
    with open_door(FOLDER.store) as caller:
        yield caller


def hear(door: Caller, said: bytes) -> bytes:
    """All that comes back until the door closes the connection."""
    with door.connect() as sock:
        sock.sendall(said)
        heard = b""
        try:
            while part := sock.recv(65536):
                heard += part
        except ConnectionResetError:
            pass  # it did not read all that was said
    return heard


@pytest.mark.parametrize(
    ("said", "status", "code"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n", 400, "malformed_request"),
        (b"GET / HTTP/3.0\r\nHost: x\r\n\r\n", 400, "malformed_request"),
        (f"GET {TARGET} HTTP/1.1\r\n\r\n".encode(), 400, "malformed_request"),
        (b"GET /ipfs/a\x00b HTTP/1.1\r\nHost: x\r\n\r\n", 400, "malformed_request"),
        (b"GET /ipfs/\xff\xfe HTTP/1.1\r\nHost: x\r\n\r\n", 400, "malformed_request"),
        (BEGIN + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabc", 400, "malformed_request"),
        (BEGIN + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400, "malformed_request"),
        (BEGIN + b"".join(b"X-%d: a\r\n" % n for n in range(2 * HEADERS_MAX)) + b"\r\n", 400, "malformed_request"),
        (BEGIN + b"X: " + b"a" * 2 * HEADER_LINE_MAX + b"\r\n\r\n", 431, "request_too_large"),
        (b"GET /ipfs/" + b"a" * 9000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 414, "address_too_long"),
    ],
)
def test_what_is_no_request_is_told_so_and_nothing_else(door: Caller, said: bytes, status: int, code: str) -> None:
    head, _, body = hear(door, said).partition(b"\r\n\r\n")
    assert head.split(b" ")[1] == str(status).encode()
    assert json.loads(body)["code"] == code
    assert b"application/problem+json" in head
    assert b"Access-Control-Allow-Origin: *" in head
    for leaked in (b"aiohttp", b"Python", b"Traceback"):
        assert leaked not in head + body


def parsed(heard: bytes) -> tuple[int, str]:
    """Status and code of the first problem in what was heard."""
    head, _, body = heard.partition(b"\r\n\r\n")
    assert b"application/problem+json" in head
    return int(head.split(b" ")[1]), json.JSONDecoder().raw_decode(body.decode())[0]["code"]


@pytest.mark.parametrize(
    ("further", "body", "status", "code"),
    [
        (b"Content-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n", b"5\r\nhello\r\n0\r\n\r\n", 415, "body_encoded"),
        (b"Content-Encoding: deflate, br\r\n", b"", 415, "body_encoded"),
        (b"Content-Length: 300000000\r\n", b"a" * 1000, 413, "body_too_large"),
        (b"Transfer-Encoding: chunked\r\n", b"5\r\nhello\r\n0\r\n\r\n", 413, "body_too_large"),
        (b"Transfer-Encoding: chunked\r\n", b"", 400, "malformed_request"),
        (b"Expect: 100-continue\r\nContent-Length: 5\r\n", b"", 400, "malformed_request"),
        (b"Expect: something\r\n", b"", 400, "malformed_request"),
    ],
)
def test_a_body_that_nobody_asked_for_is_refused_unread(door: Caller, further: bytes, body: bytes, status: int, code: str) -> None:
    smuggled = f"GET {TARGET} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
    heard = hear(door, BEGIN + further + b"\r\n" + body + smuggled)
    assert parsed(heard.removeprefix(b"HTTP/1.1 100 Continue\r\n\r\n")) == (status, code)
    assert CONTENT not in heard, "what follows is not taken for a request"


@pytest.mark.parametrize(
    "further",
    [
        b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n",
        b"Content-Length: 3\r\nContent-Length: 3\r\n",
        b"Content-Length: +3\r\n",
        b"Content-Length: 3, 3\r\n",
        b"Content-Length: -1\r\n",
        b"Transfer-Encoding: chunked, identity\r\n",
        b"Transfer-Encoding: gzip\r\n",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        b"Transfer-Encoding:\x0bchunked\r\n",
        b"Transfer-Encoding : chunked\r\n",
        b"X: a\r\n Transfer-Encoding: chunked\r\n",
        b"X: a\nContent-Length: 5\r\n",
        b"X: a\r\nHost: y\r\n",
    ],
)
def test_what_two_servers_could_read_differently_ends_the_connection(door: Caller, further: bytes) -> None:
    smuggled = f"GET {TARGET} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
    heard = hear(door, BEGIN + further + b"\r\n" + smuggled)
    assert parsed(heard)[0] in (400, 413)
    assert CONTENT not in heard


@pytest.mark.parametrize(
    "said",
    [
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"CONNECT example.org:443 HTTP/1.1\r\nHost: example.org:443\r\nConnection: close\r\n\r\n",
        b"GET http://example.org/ipfs/bafkqaaa HTTP/1.1\r\nHost: example.org\r\nConnection: close\r\n\r\n",
        b"GET //example.org/ipfs/bafkqaaa HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        b"GET * HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        b"TRACE / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        b"BREW /ipfs/bafkqaaa HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        b"get /ipfs/bafkqaaa HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    ],
)
def test_what_a_gateway_does_not_do_is_a_problem_too(door: Caller, said: bytes) -> None:
    assert parsed(hear(door, said))[0] in (400, 404, 405)


H2C = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AA\r\n"


@pytest.mark.parametrize("further", [H2C, b"Connection: upgrade\r\nUpgrade: websocket\r\n"])
def test_an_upgrade_is_not_taken_up(door: Caller, further: bytes) -> None:
    with door.connect() as sock:
        sock.sendall(BEGIN + further + b"\r\n")
        assert sock.recv(65536).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("version", [b"1.0", b"1.1"])
def test_requests_in_a_row_are_answered_in_a_row(door: Caller, version: bytes) -> None:
    one = f"GET {TARGET} HTTP/".encode() + version + b"\r\nHost: x\r\n"
    heard = hear(door, (one + b"Connection: keep-alive\r\n\r\n") * 4 + one + b"Connection: close\r\n\r\n")
    assert heard.count(b" 200 OK\r\n") == heard.count(CONTENT) == 5


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("%2e%2e", 400),
        ("..", 400),
        ("%2E", 400),
        ("a%2fb", 400),
        ("a%5c..%5cb", 404),
        ("%00", 400),
        ("a%00.txt", 400),
        ("%c0%ae%c0%ae", 404),
        ("%c0%af", 404),
        ("%252e%252e", 404),
        ("%ff", 404),
        ("%", 400),
        ("%u002e", 400),
        ("x" * 256, 400),
        ("a/" * 200, 400),
    ],
)
def test_no_spelling_of_a_path_leads_out_of_it(door: Caller, path: str, status: int) -> None:
    for prefix in (FOLDER_PATH, FOLDER_PATH.replace("/ipfs/", "/v1/quote/")):
        reply = door.get(f"{prefix}/{path}")
        assert (reply.status, reply.headers["content-type"]) == (status, "application/problem+json")


MANY_RANGES = ",".join(f"{n}-{n}" for n in range(800))


@pytest.mark.parametrize("ranges", ["0-0," * 1600, "-" * 8000, MANY_RANGES, "0-" + "9" * 8000, "9" * 19 + "-"])
def test_absurd_ranges_are_one_range_or_none(door: Caller, ranges: str) -> None:
    reply = door.get(TARGET, range=f"bytes={ranges}")
    assert (reply.status, reply.body) in ((200, CONTENT), (206, CONTENT[:1])) or reply.status == 416


FRAGMENTS = [
    b"GET ",
    b"HEAD ",
    b"POST ",
    TARGET.encode(),
    b"/",
    b"/openapi.json",
    b" HTTP/1.1",
    b" HTTP/1.0",
    b"\r\n",
    b"\r\n\r\n",
    b"\n",
    b"\0",
    b"Host: x",
    b"Content-Length: 5",
    b"Transfer-Encoding: chunked",
    b"Connection: close",
    b"Expect: 100-continue",
    b"Upgrade: h2c",
    b"Range: bytes=0-",
    b"5\r\nhello\r\n0\r\n\r\n",
    b"\xff\xfe",
    b" ",
]


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from(FRAGMENTS) | st.binary(max_size=8), max_size=24), st.booleans())
def test_whatever_is_said_is_answered_in_http_or_not_at_all(door: Caller, said: list[bytes], begins_well: bool) -> None:
    with door.connect() as sock:
        sock.sendall((BEGIN if begins_well else b"") + b"".join(said))
        sock.shutdown(socket.SHUT_WR)
        heard = b""
        try:
            while part := sock.recv(65536):
                heard += part
        except ConnectionResetError:
            pass  # it did not read all that was said
    while heard:
        head, _, rest = heard.partition(b"\r\n\r\n")
        status = int(head.split(b" ", 2)[1])
        assert head.startswith(b"HTTP/1.")
        assert status == 100 or status < 400 or b"application/problem+json" in head
        assert status < 500
        heard = rest[rest.find(b"HTTP/1.") :] if b"HTTP/1." in rest else b""


def test_a_request_in_bits_and_pieces_runs_out_of_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listening, "IDLE_S", 0.2)
    with open_door(Builder().store) as door:
        assert hear(door, BEGIN + b"X-Slow: ") == b""
        assert hear(door, b"") == b""
