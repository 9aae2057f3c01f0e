"""A trustless gateway is measured by what was verified of it, and every way in which it fails has its name."""

from __future__ import annotations

import asyncio
import io
import random
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
import small_gateway as small
import trio
from aiohttp import web
from retrieval_client.bench.gateway import Form, Gateway
from retrieval_client.bench.rounds import Measured, Start, measure
from retrieval_client.source import Source

from retrieval.cid import RAW, Cid, cid_of
from retrieval.dag.importer import Profile, import_stream
from retrieval.errors import ErrorCode, LocalProtocolError
from retrieval.store.blocks import MemoryBlockStore
from retrieval.units import KIB

CONTENT = random.Random(5).randbytes(40 * KIB)
SMALL_BLOCKS = Profile(chunk_bytes=4 * KIB, links_per_node=4, directory_block_bytes_max=KIB)


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    gateway: small.Gateway
    film: Source
    n_blocks: int


@pytest.fixture
def server() -> Iterator[Server]:
    store = MemoryBlockStore()
    film = import_stream(store, io.BytesIO(CONTENT), "film", SMALL_BLOCKS)
    with small.serving(small.Gateway(store)) as running:
        yield Server(gateway=running, film=Source(root=film.cid), n_blocks=film.n_blocks)


def measured(
    server: Server, *, form: Form = Form.CAR, runs: int = 1, timeout_s: float = 20, source: Source | None = None
) -> list[Measured]:
    target = Gateway.parse(server.gateway.url, form=form, timeout_s=timeout_s)
    return trio.run(lambda: measure(target, [source or server.film], runs=runs))


@pytest.mark.parametrize("form", Form)
def test_content_is_verified_and_counted_once(server: Server, form: Form) -> None:
    cold, warm = measured(server, form=form, runs=2)
    assert (cold.start, warm.start) == (Start.COLD, Start.WARM)
    for each in (cold, warm):
        assert each.failed == {}
        for run in each.runs:
            assert (run.n_bytes, run.n_blocks, run.paid) == (len(CONTENT), server.n_blocks, 0)
    assert server.gateway.n_requests == 4 * (1 if form is Form.CAR else server.n_blocks)
    assert server.gateway.n_connections == 2, "one for each run"


def test_connecting_belongs_to_the_cold_fetch_alone(server: Server) -> None:
    cold, warm = measured(server)
    assert cold.runs[0].connect_s is not None
    assert warm.runs[0].connect_s is None


def test_what_tcp_carried_is_a_little_more_than_the_content(server: Server) -> None:
    for each in measured(server):
        carried = each.runs[0].carried_bytes
        assert carried is not None
        assert len(CONTENT) < carried < len(CONTENT) + 4 * KIB


def test_blocks_in_another_order_and_some_of_them_twice_are_followed_all_the_same(server: Server) -> None:
    server.gateway.alter = lambda blocks: [*reversed(blocks), blocks[0]]
    assert [len(each.runs) for each in measured(server)] == [1, 1]


def test_a_path_is_asked_for_as_one(server: Server) -> None:
    asked = []

    async def refuse(request: web.Request) -> web.StreamResponse:
        asked.append(request.raw_path)
        return web.Response(status=404)

    server.gateway.answer_instead = refuse
    (cold, _) = measured(server, source=Source(root=server.film.root, path=("a b", "ü?")))
    assert cold.failed == {"not_found": 1}
    assert asked[0].split("/ipfs/")[1].split("/", 1)[1] == "a%20b/%C3%BC%3F?format=car&dag-scope=all"


def _other_bytes(blocks: list[small.Block]) -> list[small.Block]:
    cid, payload = blocks[2]
    return [*blocks[:2], (cid, payload[:-1] + bytes([payload[-1] ^ 1])), *blocks[3:]]


def _a_block_left_out(blocks: list[small.Block]) -> list[small.Block]:
    return [*blocks[:2], *blocks[3:]]


def _a_stranger(blocks: list[small.Block]) -> list[small.Block]:
    return [*blocks[:-1], (cid_of(RAW, b"nobody asked"), b"nobody asked")]


@pytest.mark.parametrize(
    ("alter", "cause"),
    [(_other_bytes, "corrupt_block"), (_a_block_left_out, "transfer_truncated"), (_a_stranger, "transfer_truncated")],
)
def test_a_car_that_is_not_the_content_is_no_success(server: Server, alter: object, cause: str) -> None:
    server.gateway.alter = alter  # type: ignore[assignment]
    cold, warm = measured(server, runs=2)
    assert (cold.failed, warm.n_attempts) == ({cause: 2}, 0), "what fails cold is not tried warm"


def test_a_connection_that_is_cut_is_no_success(server: Server) -> None:
    server.gateway.cut_after = 20 * KIB
    cold, _ = measured(server)
    assert cold.failed == {"transfer_truncated": 1}


@pytest.mark.parametrize(
    ("answer", "cause"),
    [
        (web.Response(status=404), "not_found"),
        (web.Response(status=410), "not_found"),
        (web.Response(status=402), "over_budget"),
        (web.Response(status=429), "rate_limited"),
        (web.Response(status=500), "unexpected_message"),
        (web.Response(status=301, headers={"Location": "/elsewhere"}), "unexpected_message"),
        (web.Response(text="<html>", content_type="text/html"), "unexpected_message"),
        (web.Response(body=b"", content_type=small.CAR), "corrupt_block"),
        (web.Response(body=b"no CAR", content_type=small.CAR), "corrupt_block"),
    ],
)
def test_every_answer_that_is_no_content_has_its_cause(server: Server, answer: web.Response, cause: str) -> None:
    async def say(_request: web.Request) -> web.StreamResponse:
        return answer

    server.gateway.answer_instead = say
    cold, _ = measured(server)
    assert cold.failed == {cause: 1}


def test_a_raw_block_that_is_another_is_no_success(server: Server) -> None:
    async def say(_request: web.Request) -> web.StreamResponse:
        return web.Response(body=b"something else", content_type=small.RAW)

    server.gateway.answer_instead = say
    cold, _ = measured(server, form=Form.RAW)
    assert cold.failed == {"corrupt_block": 1}


def test_a_gateway_that_says_nothing_has_failed_after_the_timeout(server: Server) -> None:
    async def wait(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": small.CAR})
        await response.prepare(request)
        await asyncio.Event().wait()  # until the server ends
        return response

    server.gateway.answer_instead = wait
    cold, _ = measured(server, timeout_s=0.3)
    assert cold.failed == {"transfer_stalled": 1}


def test_nobody_there_is_a_failed_dial() -> None:
    target = Gateway.parse("http://127.0.0.1:1", form=Form.CAR, timeout_s=1)
    cold, warm = trio.run(lambda: measure(target, [Source(root=cid_of(RAW, b"x"))], runs=2))
    assert (cold.failed, warm.n_attempts) == ({"dial_failed": 2}, 0)


def test_blocks_are_handed_to_whoever_keeps_them_in_the_last_cold_fetch(server: Server) -> None:
    kept: list[Cid] = []
    target = Gateway.parse(server.gateway.url, form=Form.CAR, timeout_s=20)
    trio.run(lambda: measure(target, [server.film], runs=3, keep=lambda blocks: kept.extend(cid for cid, _ in blocks)))
    assert len(kept) == server.n_blocks == len(set(kept))


def test_content_that_is_in_the_cid_is_nothing_to_measure(server: Server) -> None:
    with pytest.raises(LocalProtocolError) as refused:
        measured(server, source=Source.parse("bafkqaaa"))
    assert refused.value.code is ErrorCode.USAGE
    assert server.gateway.n_requests == 0


@pytest.mark.parametrize(
    ("url", "port", "prefix"),
    [("http://gateway.example", None, ""), ("https://gateway.example:8443/a/", 8443, "/a"), ("HTTP://[::1]:80", 80, "")],
)
def test_a_url_is_taken_apart(url: str, port: int | None, prefix: str) -> None:
    target = Gateway.parse(url, form=Form.CAR, timeout_s=1)
    assert (target.port, target.prefix) == (port, prefix)


@pytest.mark.parametrize("url", ["http://", "https://host:port", "http://user@host", "http://host/?format=car", "http://host:99999"])
def test_what_is_no_gateway_is_refused(url: str) -> None:
    with pytest.raises(LocalProtocolError) as refused:
        Gateway.parse(url, form=Form.CAR, timeout_s=1)
    assert refused.value.code is ErrorCode.USAGE
