"""How bodies leave: whole, or visibly not."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator

import pytest
from dag_builder import Builder
from http_door import PATIENCE_S, Caller, open_door
from hypothesis import given
from hypothesis import strategies as st
from tills import Closed, Ledger

from retrieval.cid import RAW, Cid, cid_of, format_cid
from retrieval.dag.reader import RawPart
from retrieval.errors import RemoteProtocolError
from retrieval.gateway import delivery
from retrieval.gateway.bodies import SO_FAR, Piece
from retrieval.gateway.delivery import Outflow, Progress, Threads
from retrieval.store.blocks import MemoryBlockStore
from retrieval.units import KIB, MIB

CHUNK = 256 * KIB
N_CHUNKS = 24


def chunk(n: int) -> bytes:
    return n.to_bytes(4, "big") * (CHUNK // 4)


class Shop:
    """A file of many blocks, and the same with one of them gone."""

    def __init__(self) -> None:
        dag = Builder()
        self.store = dag.store
        leaves = [dag.raw(chunk(n)) for n in range(N_CHUNKS)]
        self.file = dag.file(*leaves, sizes=(CHUNK,) * N_CHUNKS)
        self.content = b"".join(map(chunk, range(N_CHUNKS)))
        gone = [*leaves[:8], cid_of(RAW, b"gone"), *leaves[9:]]
        self.broken = dag.file(*gone, sizes=(CHUNK,) * N_CHUNKS)
        self.longer = dag.file(*leaves, sizes=(CHUNK,) * (N_CHUNKS - 1) + (CHUNK - 1,))
        self.shorter = dag.file(*leaves, sizes=(CHUNK,) * (N_CHUNKS - 1) + (CHUNK + 1,))


SHOP = Shop()


@pytest.fixture
def till() -> Ledger:
    return Ledger()


@pytest.fixture
def door(till: Ledger) -> Iterator[Caller]:
    with open_door(SHOP.store, till) as caller:
        yield caller


def at(cid: Cid, rest: str = "") -> str:
    return f"/ipfs/{format_cid(cid)}{rest}"


def raw_get(caller: Caller, target: str, version: str) -> tuple[bytes, bytes, bool]:
    """Head and body as they come, and whether the connection was reset."""
    with caller.connect() as sock:
        sock.sendall(f"GET {target} HTTP/{version}\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        received = bytearray()
        try:
            while part := sock.recv(MIB):
                received += part
            is_reset = False
        except ConnectionResetError:
            is_reset = True
    head, _, body = bytes(received).partition(b"\r\n\r\n")
    return head, body, is_reset


def test_a_large_file_leaves_whole(door: Caller, till: Ledger) -> None:
    reply = door.get(at(SHOP.file))
    assert (reply.status, reply.body, reply.is_whole) == (200, SHOP.content, True)
    assert reply.headers["content-length"] == str(len(SHOP.content))
    assert door.get(at(SHOP.file), range=f"bytes={CHUNK - 5}-{3 * CHUNK + 4}").body == SHOP.content[CHUNK - 5 : 3 * CHUNK + 5]
    assert [till.ended(), till.ended()] == [(len(SHOP.content), True), (2 * CHUNK + 10, True)]


def test_a_connection_serves_again_after_a_body(door: Caller) -> None:
    with door.connect() as sock, sock.makefile("rb") as file:
        for _ in range(2):
            sock.sendall(f"GET {at(SHOP.file, '?format=car')} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            while file.readline() != b"\r\n":
                pass
            while size := int(file.readline(), 16):
                assert len(file.read(size + 2)) == size + 2
            assert file.readline() == b"\r\n"


@pytest.mark.parametrize("cid", [SHOP.broken, SHOP.longer, SHOP.shorter], ids=["gone", "longer", "shorter"])
def test_a_file_that_cannot_be_finished_is_cut_before_its_announced_end(door: Caller, till: Ledger, cid: Cid) -> None:
    reply = door.get(at(cid))
    assert (reply.status, reply.is_whole) == (200, False)
    assert SHOP.content.startswith(reply.body)
    assert len(reply.body) < int(reply.headers["content-length"])
    if cid == SHOP.broken:
        assert len(reply.body) == 8 * CHUNK
    assert till.ended() == (len(reply.body), False)


def test_a_car_that_cannot_be_finished_lacks_its_last_chunk(door: Caller, till: Ledger) -> None:
    head, body, _ = raw_get(door, at(SHOP.broken, "?format=car"), "1.1")
    assert b"Transfer-Encoding: chunked" in head
    assert not body.endswith(b"0\r\n\r\n")
    assert chunk(7) in body
    sent_bytes, is_whole = till.ended()
    assert not is_whole
    assert 8 * CHUNK < sent_bytes < len(body)


def test_a_body_without_framing_is_cut_by_a_reset(door: Caller) -> None:
    head, body, is_reset = raw_get(door, at(SHOP.broken, "?format=car"), "1.0")
    assert b"chunked" not in head
    assert is_reset
    head, body, is_reset = raw_get(door, at(SHOP.file, "?format=car"), "1.0")
    assert (is_reset, body.endswith(chunk(N_CHUNKS - 1))) == (False, True)


def test_a_client_that_leaves_is_settled_with(door: Caller, till: Ledger) -> None:
    with door.connect() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.sendall(f"GET {at(SHOP.file)} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        assert sock.recv(1024)
    sent_bytes, is_whole = till.ended()
    assert not is_whole
    assert sent_bytes < len(SHOP.content)


def test_a_client_that_takes_nothing_is_cut_in_time(door: Caller, till: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivery, "STALL_S", 0.2)
    with door.connect() as sock:
        sock.sendall(f"GET {at(SHOP.file)} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        assert till.ended()[1] is False
        assert door.get(at(SHOP.file)).is_whole


def test_only_content_is_put_to_the_till(door: Caller, till: Ledger) -> None:
    tag = door.head(at(SHOP.file)).headers["etag"]
    door.get(at(SHOP.file), if_none_match=tag)
    door.get(at(SHOP.file), range="bytes=99999999-")
    door.get(at(cid_of(RAW, b"none")))
    door.get("/ipfs/bafkqaaa?format=raw")
    door.get("/healthz")
    assert till.orders == []
    reply = door.get(at(SHOP.file, "?format=raw"), x_payment="voucher")
    [order] = till.orders
    assert (order.root, order.n_bytes, order.headers["x-payment"], order.client) == (SHOP.file, len(reply.body), "voucher", "127.0.0.1")
    assert reply.headers["payment-response"] == "paid"
    assert till.ended() == (len(reply.body), True)


def test_what_the_till_refuses_is_not_sent() -> None:
    with open_door(SHOP.store, Closed()) as door:
        reply = door.get(at(SHOP.file))
        assert (reply.status, reply.headers["payment-required"], reply.body) == (402, "some", b"pay")
        assert door.head(at(SHOP.file)).status == 200


def test_a_request_too_many_is_told_when_to_come_back() -> None:
    with open_door(SHOP.store, requests_max=1) as door, door.connect() as slow:
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        slow.sendall(f"GET {at(SHOP.file)} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        assert slow.recv(1024)
        reply = door.get("/healthz")
        assert reply.code == (429, "rate_limited")
        assert int(reply.headers["retry-after"]) > 0


def test_whoever_asks_for_much_at_once_waits_for_himself() -> None:
    async def ask() -> None:
        threads, going_on = Threads(4), threading.Event()
        many = [asyncio.create_task(threads.run_for("a", lambda: going_on.wait(PATIENCE_S))) for _ in range(10)]
        await asyncio.sleep(0)
        assert await asyncio.wait_for(threads.run_for("b", lambda: "at once"), PATIENCE_S) == "at once"
        assert not any(task.done() for task in many)
        going_on.set()
        assert all(await asyncio.gather(*many))
        threads.close()

    asyncio.run(ask())


# the pieces themselves


@given(
    blocks=st.lists(st.tuples(st.binary(max_size=300), st.integers(0, 300), st.integers(0, 300)), max_size=30),
    is_chunked=st.booleans(),
    takes=st.integers(1, 999),
)
def test_pieces_leave_in_order_whatever_the_socket_takes(blocks: list[tuple[bytes, int, int]], is_chunked: bool, takes: int) -> None:
    store = MemoryBlockStore()
    pieces: list[Piece] = []
    expected = b""
    for n, (content, start, stop) in enumerate(blocks):
        cid = cid_of(RAW, content)
        store.put_many([(cid, content)])
        start, stop = min(start, len(content)), max(min(start, len(content)), min(stop, len(content)))
        pieces.append(content if n % 3 == 0 else RawPart(cid, start, stop, len(content)))
        expected += content if n % 3 == 0 else content[start:stop]
    taker = Taker(takes)
    outflow = Outflow(store, iter(pieces), taker, size=None if is_chunked else len(expected), is_chunked=is_chunked)  # type: ignore[arg-type]
    while outflow.push() is not Progress.DONE:
        pass
    assert outflow.body_bytes == len(expected)
    assert outflow.sent_bytes == len(taker.taken)
    assert (unchunked(bytes(taker.taken)) if is_chunked else bytes(taker.taken)) == expected


class Taker:
    """A socket that takes a little at a time, and nothing every other time."""

    def __init__(self, takes: int) -> None:
        self.taken = bytearray()
        self._takes = takes
        self._is_full = False

    def sendmsg(self, buffers: list[memoryview]) -> int:
        self._is_full = not self._is_full
        if self._is_full:
            raise BlockingIOError
        data = b"".join(buffers)[: self._takes]
        self.taken += data
        return len(data)


def unchunked(body: bytes) -> bytes:
    content = b""
    while body:
        size, _, body = body.partition(b"\r\n")
        content += body[: int(size, 16)]
        assert body[int(size, 16) :][:2] == b"\r\n"
        body = body[int(size, 16) + 2 :]
    return content


def test_pieces_have_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivery, "PIECES_MAX", 100)
    outflow = Outflow(MemoryBlockStore(), iter([b""] * 101), Taker(1), size=0, is_chunked=False)  # type: ignore[arg-type]
    with pytest.raises(RemoteProtocolError, match="100 pieces"):
        outflow.push()


def test_what_there_is_leaves_before_the_next_piece_is_asked_for() -> None:
    """A body whose next block is on its way here must not hold back those that came."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)

        def pieces() -> Iterator[Piece]:
            yield b"first"
            yield SO_FAR
            assert theirs.recv(64) == b"first"
            yield SO_FAR
            yield b" second"

        outflow = Outflow(SHOP.store, pieces(), ours, size=12, is_chunked=False)
        assert outflow.push() is Progress.DONE
        assert theirs.recv(64) == b" second"
