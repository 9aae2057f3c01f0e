"""What reaches the door before it is a request: whatever it is, it is answered or the connection ends."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from dag_builder import Builder
from http_door import Caller, open_door

from retrieval.cid import RAW, cid_of, format_cid
from retrieval.gateway import listening
from retrieval.gateway.listening import HEADER_LINE_MAX, HEADERS_MAX

CONTENT = b"content"
TARGET = f"/ipfs/{format_cid(cid_of(RAW, CONTENT))}"
BEGIN = f"GET {TARGET} HTTP/1.1\r\nHost: x\r\n".encode()


@pytest.fixture(scope="module")
def door() -> Iterator[Caller]:
    dag = Builder()
    dag.raw(CONTENT)
    with open_door(dag.store) as caller:
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
        (b"GET /ipfs/" + b"a" * 9000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 431, "request_too_large"),
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


def test_a_body_that_nobody_asked_for_is_not_unpacked(door: Caller) -> None:
    said = BEGIN + b"Connection: close\r\nContent-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
    assert hear(door, said).endswith(b"\r\n\r\n" + CONTENT)


def test_a_large_body_ends_its_connection(door: Caller) -> None:
    assert b"HTTP/1.1 200" in hear(door, BEGIN + b"Content-Length: 300000000\r\n\r\n" + b"a" * 1000)


def test_a_request_in_bits_and_pieces_runs_out_of_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listening, "IDLE_S", 0.2)
    with open_door(Builder().store) as door:
        assert hear(door, BEGIN + b"X-Slow: ") == b""
        assert hear(door, b"") == b""
