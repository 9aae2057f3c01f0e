"""Fetching from gateways that ask for no money: ours, and small ones that misbehave."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import small_gateway
import trio
from aiohttp import web
from http_door import open_door
from processes import write_file
from retrieval_client.source import Source
from retrieval_client.web.address import parse_gateway
from retrieval_client.web.fetch import WebFetch, WebWanted
from small_gateway import Block, Gateway

from retrieval.cid import DAG_PB, RAW, cid_of
from retrieval.dag.byterange import ByteRange
from retrieval.dag.importer import import_path
from retrieval.dag.walk import fast_forward, read
from retrieval.errors import ErrorCode, RetrievalError
from retrieval.payment.chain import Chain
from retrieval.store.blocks import MemoryBlockStore, Root
from retrieval.transport.writer import steady_clock
from retrieval.units import KIB, MIB
from retrieval.wire.messages import Scope

PATIENCE_S = 30.0


def no_chain(rpc: str) -> Chain:
    raise AssertionError("nothing here costs anything")


def fetch_from(url: str, source: Source, *, store: MemoryBlockStore | None = None, timeout_s: float = PATIENCE_S) -> WebFetch:
    """Fetch, and see that everything is there."""
    kept = MemoryBlockStore() if store is None else store

    async def main() -> WebFetch:
        wanted = WebWanted(source=source, provider=parse_gateway(url), spend_max=0, timeout_s=timeout_s)
        fetch = WebFetch(None, kept, None, wanted, clock=steady_clock(), open_chain=no_chain)
        with trio.fail_after(2 * PATIENCE_S):
            await fetch.run()
        return fetch

    fetch = trio.run(main)
    walk = source.walk()
    fast_forward(kept, walk)
    assert walk.done
    assert fetch.tally.verified_bytes == walk.n_bytes
    return fetch


def code_of(url: str, source: Source, *, store: MemoryBlockStore | None = None, timeout_s: float = PATIENCE_S) -> ErrorCode:
    with pytest.raises(RetrievalError) as caught:
        fetch_from(url, source, store=store, timeout_s=timeout_s)
    return caught.value.code


@dataclass(frozen=True)
class Content:
    store: MemoryBlockStore
    file: Root
    """Larger than two requests."""
    small: Root
    folder: Root
    """With both, names that must be escaped, and one thing twice."""


@pytest.fixture(scope="module")
def content(tmp_path_factory: pytest.TempPathFactory) -> Content:
    folder: Path = tmp_path_factory.mktemp("content")
    (folder / "all" / "ä & #%25?").mkdir(parents=True)
    store = MemoryBlockStore()
    large = write_file(folder / "all" / "large film.bin", 37 * MIB + 5, seed=1)
    small = write_file(folder / "all" / "ä & #%25?" / "small", 300 * KIB, seed=2)
    (folder / "all" / "again").write_bytes(small.read_bytes())
    return Content(store, import_path(store, large), import_path(store, small), import_path(store, folder / "all"))


@pytest.fixture(scope="module")
def door(content: Content) -> Iterator[str]:
    with open_door(content.store) as caller:
        yield f"http://127.0.0.1:{caller.port}"


@pytest.fixture
def gateway(content: Content) -> Iterator[Gateway]:
    with small_gateway.serving(Gateway(content.store)) as gateway:
        yield gateway


def test_a_file_comes_in_parts(door: str, content: Content) -> None:
    fetch_from(door, Source(root=content.file.cid))


def test_a_directory_comes_with_all_below_it(door: str, content: Content) -> None:
    fetch_from(door, Source(root=content.folder.cid))


@pytest.mark.parametrize("path", [("large film.bin",), ("ä & #%25?", "small"), ("ä & #%25?",)])
def test_what_a_path_leads_to_comes_with_the_proof_of_the_path(door: str, content: Content, path: tuple[str, ...]) -> None:
    fetch_from(door, Source(root=content.folder.cid, path=path))


@pytest.mark.parametrize(
    ("scope", "byte_range"),
    [
        (Scope.BLOCK, None),
        (Scope.ENTITY, None),
        (Scope.ENTITY, ByteRange(first=5 * MIB, last=6 * MIB)),
        (Scope.ENTITY, ByteRange(first=3 * MIB, last=30 * MIB)),
        (Scope.ENTITY, ByteRange(first=-2 * MIB)),
        (Scope.ENTITY, ByteRange(first=MIB)),
    ],
)
def test_parts_of_a_file_and_narrower_scopes_come_alone(door: str, content: Content, scope: Scope, byte_range: ByteRange | None) -> None:
    store = MemoryBlockStore()
    fetch_from(door, Source(root=content.file.cid, scope=scope, byte_range=byte_range), store=store)
    if scope is Scope.BLOCK or byte_range is not None:
        assert store.bytes_used() < content.file.n_bytes


def test_what_is_held_is_not_asked_for_again(door: str, content: Content) -> None:
    source, store = Source(root=content.file.cid), MemoryBlockStore()
    blocks = list(read(content.store, source.walk()))
    store.put_many([*blocks[:10], *blocks[20:]])
    fetch = fetch_from(door, source, store=store)
    assert fetch.tally.resumed_bytes == sum(len(payload) for _, payload in blocks[:10])


def test_nothing_is_asked_where_all_is_held(content: Content) -> None:
    fetch_from("http://127.0.0.1:1", Source(root=content.file.cid), store=content.store)


def test_content_that_is_its_own_cid_needs_no_gateway() -> None:
    fetch_from("http://127.0.0.1:1", Source.parse("bafkqabtimvwgy3yk"))


def test_a_gateway_that_knows_no_ranges_is_taken_as_it_is(gateway: Gateway, content: Content) -> None:
    fetch_from(gateway.url, Source(root=content.file.cid))
    assert gateway.n_requests <= 3, "one answer had it all"


def test_blocks_may_come_twice_and_out_of_order(gateway: Gateway, content: Content) -> None:
    gateway.alter = lambda blocks: [blocks[0], blocks[0], *reversed(blocks[1:]), *blocks]
    fetch_from(gateway.url, Source(root=content.small.cid))


def test_blocks_nobody_asked_for_are_dropped(gateway: Gateway, content: Content) -> None:
    payload = b"unasked"
    gateway.alter = lambda blocks: [(cid_of(RAW, payload), payload), *blocks, (cid_of(RAW, payload), payload)]
    store = MemoryBlockStore()
    fetch_from(gateway.url, Source(root=content.small.cid), store=store)
    assert store.get(cid_of(RAW, payload)) is None


def test_a_block_that_is_not_what_its_cid_says_is_the_gateways_fault(gateway: Gateway, content: Content) -> None:
    def alter(blocks: list[Block]) -> list[Block]:
        cid, payload = blocks[-1]
        return [*blocks[:-1], (cid, payload[:-1] + bytes([payload[-1] ^ 1]))]

    gateway.alter = alter
    store = MemoryBlockStore()
    assert code_of(gateway.url, Source(root=content.small.cid), store=store) is ErrorCode.CORRUPT_BLOCK
    assert all(cid_of(DAG_PB if cid[1] == DAG_PB else RAW, payload) == cid for cid, payload in store._blocks.items())


def test_an_answer_that_leaves_blocks_out_is_asked_for_again_until_nothing_moves(gateway: Gateway, content: Content) -> None:
    gateway.alter = lambda blocks: blocks[:-1]
    assert code_of(gateway.url, Source(root=content.small.cid), timeout_s=0.5) is ErrorCode.TRANSFER_STALLED
    assert gateway.n_requests > 1


def test_a_cut_is_resumed_where_it_was(gateway: Gateway, content: Content) -> None:
    gateway.cut_after = 5 * MIB
    store, source = MemoryBlockStore(), Source(root=content.file.cid)

    def mend(blocks: list[Block]) -> list[Block]:
        if gateway.n_requests > 1:
            gateway.cut_after = None
        return blocks

    gateway.alter = mend
    fetch_from(gateway.url, source, store=store)
    assert gateway.n_requests > 1


@pytest.mark.parametrize(
    ("status", "code"),
    [(404, ErrorCode.NOT_FOUND), (410, ErrorCode.NOT_FOUND), (451, ErrorCode.NOT_FOUND), (301, ErrorCode.UNEXPECTED_MESSAGE)],
)
def test_a_refusal_is_told_in_the_registrys_words(gateway: Gateway, content: Content, status: int, code: ErrorCode) -> None:
    async def refuse(request: web.Request) -> web.StreamResponse:
        return web.Response(status=status)

    gateway.answer_instead = refuse
    assert code_of(gateway.url, Source(root=content.small.cid)) is code
    assert gateway.n_requests == 1


def test_our_own_doors_refusals_keep_their_code(door: str, content: Content) -> None:
    assert code_of(door, Source(root=content.folder.cid, path=("nothing",))) is ErrorCode.PATH_NOT_FOUND
    assert code_of(door, Source(root=cid_of(RAW, b"elsewhere"))) is ErrorCode.NOT_FOUND


def test_a_page_is_no_car(gateway: Gateway, content: Content) -> None:
    async def page(request: web.Request) -> web.StreamResponse:
        return web.Response(text="<html>", content_type="text/html")

    gateway.answer_instead = page
    assert code_of(gateway.url, Source(root=content.small.cid)) is ErrorCode.UNEXPECTED_MESSAGE


@pytest.mark.parametrize("body", [b"", b"\x00", b"\xff" * 20, b"\x10" + b"x" * 40, bytes(100)])
def test_what_is_called_a_car_and_is_none_is_refused_or_cut(gateway: Gateway, content: Content, body: bytes) -> None:
    async def nonsense(request: web.Request) -> web.StreamResponse:
        return web.Response(body=body, content_type=small_gateway.CAR)

    gateway.answer_instead = nonsense
    code = code_of(gateway.url, Source(root=content.small.cid), timeout_s=0.3)
    assert code in (ErrorCode.MALFORMED_MESSAGE, ErrorCode.TRANSFER_STALLED)


def test_a_gateway_that_falls_silent_is_given_up_after_a_while(gateway: Gateway, content: Content) -> None:
    async def silent(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": small_gateway.CAR})
        await response.prepare(request)
        await asyncio.sleep(2 * PATIENCE_S)
        return response

    gateway.answer_instead = silent
    assert code_of(gateway.url, Source(root=content.small.cid), timeout_s=0.3) is ErrorCode.TRANSFER_STALLED


def test_a_busy_gateway_is_asked_again(gateway: Gateway, content: Content) -> None:
    async def busy(request: web.Request) -> web.StreamResponse:
        gateway.answer_instead = None
        return web.Response(status=429, headers={"Retry-After": "0"})

    gateway.answer_instead = busy
    fetch_from(gateway.url, Source(root=content.small.cid))


def test_nobody_there_is_told_as_such_when_patience_ends(content: Content) -> None:
    assert code_of("http://127.0.0.1:1", Source(root=content.small.cid), timeout_s=0.2) is ErrorCode.TRANSFER_STALLED


def test_what_costs_something_is_refused_without_a_wallet(gateway: Gateway, content: Content) -> None:
    async def priced(request: web.Request) -> web.StreamResponse:
        return web.Response(status=402)

    gateway.answer_instead = priced
    assert code_of(gateway.url, Source(root=content.small.cid)) is ErrorCode.PAYMENT_REQUIRED
