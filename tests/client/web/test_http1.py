"""Answers of HTTP/1.1: bodies are found whatever way they come in pieces, and what could be read in two ways is refused."""

from __future__ import annotations

import http.client
import io
import socket
from typing import cast

import pytest
import trio
from hypothesis import example, given
from hypothesis import strategies as st
from refusals import may_refuse
from retrieval_client.web.address import parse_gateway
from retrieval_client.web.connection import Answer, Connection
from retrieval_client.web.http1 import HEAD_SIZE_MAX, HEADERS_MAX, LINE_SIZE_MAX, read_head, write_request

from retrieval.errors import ErrorCode, RemoteProtocolError

GATEWAY = parse_gateway("http://gateway.example")


class Script:
    """A wire with an answer for each request; it gives them in pieces of the sizes that are named, over and over."""

    def __init__(self, answers: list[bytes], pieces: list[int]) -> None:
        self.answers = answers
        self.data = b""
        self.pieces = pieces
        self.sent = b""
        self.n_reads = 0

    async def send(self, data: bytes) -> None:
        await trio.lowlevel.checkpoint()
        self.sent += data
        self.data += self.answers.pop(0)

    async def receive_into(self, first: memoryview, second: memoryview) -> int:
        await trio.lowlevel.checkpoint()
        size = min(self.pieces[self.n_reads % len(self.pieces)], len(first) + len(second), len(self.data))
        self.n_reads += 1
        piece, self.data = self.data[:size], self.data[size:]
        n_first = min(len(first), len(piece))
        first[:n_first] = piece[:n_first]
        second[: len(piece) - n_first] = piece[n_first:]
        return size

    async def close(self) -> None:
        await trio.lowlevel.checkpoint()


async def body_of(answer: Answer, room: int) -> bytes:
    body, buffer = b"", memoryview(bytearray(room))
    while n_bytes := await answer.receive_into(buffer):
        body += bytes(buffer[:n_bytes])
    return body


def read(*answers: bytes, pieces: list[int] | None = None, room: int = 1000) -> tuple[list[tuple[int, bytes]], bool]:
    """Statuses and bodies, and whether the connection can be used again."""

    async def main() -> tuple[list[tuple[int, bytes]], bool]:
        connection = Connection(Script(list(answers), pieces or [1 << 20]), GATEWAY)
        found = []
        for _ in answers:
            answer = await connection.ask("/ipfs/x", {})
            found.append((answer.head.status, await body_of(answer, room)))
        return found, connection.is_usable

    return trio.run(main)


def code_of(data: bytes) -> ErrorCode:
    with pytest.raises(RemoteProtocolError) as caught:
        read(data)
    return caught.value.code


def chunked(parts: list[bytes], *, extension: bytes = b"", trailers: bytes = b"") -> bytes:
    chunks = b"".join(b"%x%s\r\n%s\r\n" % (len(part), extension, part) for part in parts if part)
    return b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\n" + trailers + b"\r\n"


PARTS = st.lists(st.binary(min_size=1, max_size=300), max_size=6)
PIECES = st.lists(st.integers(1, 200), min_size=1, max_size=6)


@given(parts=PARTS, pieces=PIECES, room=st.integers(1, 400), extension=st.sampled_from([b"", b";x=y", b" "]), is_chunked=st.booleans())
@example(parts=[b"a" * 100, b"b"], pieces=[1], room=1, extension=b"", is_chunked=True)
def test_a_body_is_the_same_in_whatever_pieces_it_comes(
    parts: list[bytes], pieces: list[int], room: int, extension: bytes, is_chunked: bool
) -> None:
    body = b"".join(parts)
    if is_chunked:
        answer = chunked(parts, extension=extension, trailers=b"X: y\r\n")
    else:
        answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    assert read(answer, answer, pieces=pieces, room=room) == ([(200, body), (200, body)], True)


@given(parts=PARTS, cut=st.integers(0, 10_000), pieces=PIECES)
def test_a_body_that_is_cut_is_never_taken_for_whole(parts: list[bytes], cut: int, pieces: list[int]) -> None:
    answer = chunked(parts)
    with pytest.raises(RemoteProtocolError) as caught:
        read(answer[: cut % len(answer)], pieces=pieces)
    assert caught.value.code is ErrorCode.TRANSFER_TRUNCATED


@given(parts=PARTS, at=st.integers(0, 10_000), byte=st.integers(0, 255), pieces=PIECES)
def test_whatever_is_accepted_the_standard_library_reads_alike(parts: list[bytes], at: int, byte: int, pieces: list[int]) -> None:
    answer = bytearray(chunked(parts))
    answer[at % len(answer)] = byte
    try:
        [(status, body)], _ = read(bytes(answer), pieces=pieces)
    except RemoteProtocolError:
        return
    response = http.client.HTTPResponse(cast(socket.socket, _Socket(bytes(answer))))
    response.begin()
    assert response.status == status
    if response.chunked:
        assert response.read() == body


class _Socket:
    def __init__(self, data: bytes) -> None:
        self._data = data

    def makefile(self, mode: str) -> io.BytesIO:
        return io.BytesIO(self._data)


def test_a_read_that_fills_its_room_says_that_more_may_be_here() -> None:
    async def main() -> list[tuple[int, bool]]:
        connection = Connection(Script([b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n" + bytes(9)], [38, 4, 3, 2]), GATEWAY)
        answer, buffer = await connection.ask("/ipfs/x", {}), memoryview(bytearray(4))
        return [(await answer.receive_into(buffer), answer.is_drained) for _ in range(3)]

    assert trio.run(main) == [(4, False), (3, True), (2, True)]


def test_a_body_without_a_length_ends_with_its_connection() -> None:
    assert read(b"HTTP/1.1 200 OK\r\n\r\nabc") == ([(200, b"abc")], False)


@pytest.mark.parametrize("status", [204, 304])
def test_some_answers_have_no_body_whatever_they_say(status: int) -> None:
    assert read(b"HTTP/1.1 %d X\r\nContent-Length: 5\r\n\r\n" % status) == ([(status, b"")], True)


def test_interim_answers_are_passed_over() -> None:
    assert read(b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx") == ([(200, b"x")], True)


@pytest.mark.parametrize("head", [b"HTTP/1.1 200 OK\r\nConnection: keep-alive, Close\r\n", b"HTTP/1.0 200 OK\r\n"])
def test_a_connection_that_the_server_closes_is_not_used_again(head: bytes) -> None:
    assert read(head + b"Content-Length: 1\r\n\r\nx") == ([(200, b"x")], False)


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/2 200\r\n\r\n",
        b"HTTP/1.1 99 X\r\n\r\n",
        b"SSH-2.0-x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
        b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: a\r\n b\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX : a\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * (HEADERS_MAX + 1) + b"\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * (HEAD_SIZE_MAX + 1),
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nabc",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;" + b"x" * LINE_SIZE_MAX + b"\r\na\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n" + b"X: yyyyyyyyyyyyyyyy\r\n" * 2_000,
        b"HTTP/1.1 100 Continue\r\n\r\n" * 20,
    ],
)
def test_what_could_be_read_in_two_ways_or_has_no_end_is_refused(answer: bytes) -> None:
    assert code_of(answer) is ErrorCode.MALFORMED_MESSAGE


@given(st.binary(max_size=200).map(lambda data: b"HTTP/1.1 200 OK\r\n" + data + b"\r\n\r\n") | st.binary(max_size=100))
def test_any_bytes_are_a_head_or_an_error_of_the_registry(data: bytes) -> None:
    with may_refuse(ErrorCode.MALFORMED_MESSAGE):
        assert all(name == name.lower() for name in read_head(data).headers)


def test_a_request_is_what_a_server_expects() -> None:
    assert write_request("/ipfs/x?format=car", {"Host": "a:1", "Accept": "b"}) == (
        b"GET /ipfs/x?format=car HTTP/1.1\r\nHost: a:1\r\nAccept: b\r\n\r\n"
    )
