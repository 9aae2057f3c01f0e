"""The socket between the node and the processes that serve HTTP: many questions at once, and what its two ends owe each other."""

from __future__ import annotations

import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
from chain_fixture import devchain  # noqa: F401
from http_desk import FREE_PER_DAY, SELECTION, Desk, open_desk
from retrieval_provider.http_credit.ask import LINE_MAX, Ask, ask_json, read_ask
from retrieval_provider.http_credit.bridge import SOCKET_NAME, serve_bridge
from takings import Takings
from trio.testing import trio_test

from retrieval.wire.messages import Scope, Selection


@pytest.fixture
def takings(devchain: str) -> Takings:  # noqa: F811
    return Takings(url=devchain)


@asynccontextmanager
async def bridged(takings: Takings, folder: Path) -> AsyncIterator[tuple[Desk, Path]]:
    path = folder / SOCKET_NAME
    async with open_desk(takings) as desk, trio.open_nursery() as nursery:
        await nursery.start(partial(serve_bridge, path, desk.counter))
        yield desk, path
        nursery.cancel_scope.cancel()


class Worker:
    """A worker's end, which says what it is told to."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self._stream = stream
        self._unread = b""

    async def say(self, *messages: Any) -> None:
        await self._stream.send_all(b"".join(json.dumps(message).encode() + b"\n" for message in messages))

    async def hear(self) -> Any:
        with trio.fail_after(10):
            while b"\n" not in self._unread:
                part = await self._stream.receive_some()
                if not part:
                    raise EOFError
                self._unread += part
        line, _, self._unread = self._unread.partition(b"\n")
        return json.loads(line)

    async def go(self) -> None:
        await self._stream.aclose()


async def worker(path: Path) -> Worker:
    return Worker(await trio.open_unix_socket(path))


def order(n_bytes: int = 10, **fields: Any) -> Any:
    ask = Ask(prefix="192.0.2.1", target="/ipfs/x", selection=SELECTION, n_bytes=n_bytes, payment=None)
    return ask_json(ask) | fields


def test_a_question_is_read_as_it_was_asked() -> None:
    selection = Selection(root=SELECTION.root, path=("a", "b\u2028"), scope=Scope.ENTITY, range_start=-5, range_end=None)
    for asked in (Ask(prefix="::/64", target="/ipfs/x?format=car", selection=selection, n_bytes=7, payment="e30="),):
        assert read_ask(json.loads(json.dumps(ask_json(asked)))) == asked


@trio_test
async def test_every_question_gets_its_own_answer(takings: Takings, tmp_path: Path) -> None:
    async with bridged(takings, tmp_path) as (_, path):
        asking = await worker(path)
        await asking.say(*({"id": number, "open": order()} for number in range(100)))
        heard = [await asking.hear() for _ in range(100)]
    assert sorted(answer["id"] for answer in heard) == list(range(100))
    assert len({answer["ok"]["order"] for answer in heard}) == 100


@trio_test
async def test_a_refusal_carries_the_whole_answer_for_the_client(takings: Takings, tmp_path: Path) -> None:
    async with bridged(takings, tmp_path) as (_, path):
        asking = await worker(path)
        await asking.say({"id": 1, "open": order(2 * FREE_PER_DAY)}, {"id": 2, "open": order(payment="nonsense")})
        answers = {answer["id"]: answer["refused"] for answer in [await asking.hear(), await asking.hear()]}
    assert (answers[1]["status"], "PAYMENT-REQUIRED" in answers[1]["headers"]) == (402, True)
    assert json.loads(answers[1]["body"])["accepts"][0]["scheme"] == "batch-settlement"
    assert (answers[2]["status"], json.loads(answers[2]["body"])["code"]) == (400, "malformed_payment")


@trio_test
async def test_a_receipt_is_asked_for_by_its_order(takings: Takings, tmp_path: Path) -> None:
    async with bridged(takings, tmp_path) as (_, path):
        asking = await worker(path)
        await asking.say({"id": 1, "receipt": "00" * 16})
        refused = (await asking.hear())["refused"]
    assert (refused["status"], json.loads(refused["body"])["code"]) == (404, "deal_unknown")


@trio_test
async def test_what_a_worker_leaves_open_when_it_goes_is_given_back(takings: Takings, tmp_path: Path) -> None:
    async with bridged(takings, tmp_path) as (desk, path):
        leaving = await worker(path)
        await leaving.say({"id": 1, "open": order(FREE_PER_DAY)})
        await leaving.hear()
        await leaving.go()
        await trio.testing.wait_all_tasks_blocked()
        assert (await desk.ask(n_bytes=FREE_PER_DAY)).order_id is not None


@trio_test
async def test_an_order_is_closed_once_and_by_the_worker_that_has_it(takings: Takings, tmp_path: Path) -> None:
    async with bridged(takings, tmp_path) as (desk, path):
        owner, other = await worker(path), await worker(path)
        await owner.say({"id": 1, "open": order(FREE_PER_DAY)})
        order_id = (await owner.hear())["ok"]["order"]
        await other.say({"close": order_id, "sent": 0}, {"id": 2, "open": order(1)})
        assert "refused" in await other.hear()
        await owner.say({"close": order_id, "sent": FREE_PER_DAY - 1}, {"close": order_id, "sent": 0}, {"id": 3, "open": order(2)})
        assert "refused" in await owner.hear()
        assert (await desk.ask(n_bytes=1)).order_id is not None


@pytest.mark.parametrize("line", [b"nonsense\n", b"[]\n", b'{"id": 1}\n', b'{"close": "zz", "sent": 1}\n', b"x" * (LINE_MAX + 2)])
def test_what_cannot_be_read_ends_that_connection_alone(takings: Takings, tmp_path: Path, line: bytes) -> None:
    @trio_test
    async def check() -> None:
        async with bridged(takings, tmp_path) as (_, path):
            stream = await trio.open_unix_socket(path)
            with trio.fail_after(10):
                try:
                    await stream.send_all(line)
                    assert await stream.receive_some() == b""
                except trio.BrokenResourceError:
                    pass  # it hung up before all of it was said
            asking = await worker(path)
            await asking.say({"id": 1, "open": order()})
            assert (await asking.hear())["id"] == 1

    check()


@trio_test
async def test_only_this_user_reaches_the_socket_and_it_goes_with_the_node(takings: Takings, tmp_path: Path) -> None:
    async with bridged(takings, tmp_path) as (_, path):
        assert path.stat().st_mode & 0o777 == 0o600
    assert not path.exists()
    with socket.socket(socket.AF_UNIX) as knocking, pytest.raises(FileNotFoundError):
        knocking.connect(str(path))
