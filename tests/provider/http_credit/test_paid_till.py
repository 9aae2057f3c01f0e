"""A worker's till against a node that answers late, hangs up, or is not there, and against clients that go away."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from retrieval_provider.http.till import NO_PRICE, Order, Refused
from retrieval_provider.http_credit.paid_till import PaidTill

from retrieval.cid import RAW, cid_of
from retrieval.errors import ErrorCode, LocalProtocolError
from retrieval.wire.messages import Scope

CID = cid_of(RAW, b"content")
Answer = Callable[[Any], Any]


class Node:
    """The node's end: ``answer`` maps a question to an answer, None to none yet."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self.heard: list[Any] = []
        self.writers: list[asyncio.StreamWriter] = []

    async def converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writers.append(writer)
        async for line in reader:
            self.heard.append(message := json.loads(line))
            if "id" in message and (answer := self._answer(message)) is not None:
                self.say(message["id"], answer)
        writer.close()

    def say(self, question: int, answer: Any) -> None:
        self.writers[-1].write(json.dumps({"id": question, **answer}).encode() + b"\n")


@asynccontextmanager
async def till_of(folder: Path, answer: Answer) -> AsyncIterator[tuple[PaidTill, Node]]:
    node, till = Node(answer), PaidTill(folder / "http.sock")
    server = await asyncio.start_unix_server(node.converse, folder / "http.sock")
    try:
        yield till, node
    finally:
        await till.close()
        server.close()


async def weigh() -> int:
    return 77


def order(*, n_bytes: int | None = 5, **headers: str) -> Order:
    return Order(
        client="192.0.2.7",
        headers=headers,
        target="/ipfs/x",
        root=CID,
        path=("caf\udce9",),
        form=None,
        scope=Scope.ALL,
        byte_range=None,
        n_bytes=n_bytes,
        weigh=weigh,
    )


def granted(order_id: str | None, **headers: str) -> Any:
    return {"ok": {"order": order_id, "headers": headers}}


async def settled(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not holds():  # noqa: ASYNC110 - what is waited for happens at the other end of a socket
            await asyncio.sleep(0.001)


def test_an_order_is_opened_and_its_end_is_told(tmp_path: Path) -> None:
    async def check() -> None:
        async with till_of(tmp_path, lambda _: granted("aa", Paid="yes")) as (till, node):
            sale = await till.open(order(**{"payment-signature": "e30="}))
            assert sale.headers == {"Paid": "yes"}
            await sale.ended(3, is_whole=False)
            await settled(lambda: len(node.heard) == 2)
            opened, closed = node.heard
            assert (opened["open"]["prefix"], opened["open"]["payment"], opened["open"]["path"]) == ("192.0.2.7", "e30=", ["caf\ufffd"])
            assert closed == {"close": "aa", "sent": 3}

    asyncio.run(check())


def test_answers_find_the_questions_they_belong_to(tmp_path: Path) -> None:
    async def check() -> None:
        waiting: list[int] = []
        async with till_of(tmp_path, lambda message: waiting.append(message["id"])) as (till, node):
            asking = [asyncio.create_task(till.open(order())) for _ in range(3)]
            await settled(lambda: len(waiting) == 3)
            for question in reversed(waiting):
                node.say(question, granted(f"{question:02x}", Number=str(question)))
            assert [(await each).headers["Number"] for each in asking] == [str(question) for question in waiting]

    asyncio.run(check())


def test_a_payment_under_the_headers_old_name_is_one_too(tmp_path: Path) -> None:
    async def check() -> None:
        async with till_of(tmp_path, lambda _: granted("aa")) as (till, node):
            await till.open(order(**{"x-payment": "old"}))
            await till.open(order(**{"x-payment": "old", "payment-signature": "new"}))
            assert [message["open"]["payment"] for message in node.heard] == ["old", "new"]

    asyncio.run(check())


def test_what_has_no_size_yet_is_weighed_by_the_worker_and_only_where_there_is_a_price(tmp_path: Path) -> None:
    async def check() -> None:
        async with till_of(tmp_path, lambda _: granted("aa")) as (till, node):
            await till.open(order(n_bytes=None))
            await till.open(order())
            await till.quote(order(n_bytes=None))
            asked = [message.get("open", message.get("estimate")) for message in node.heard]
            assert [each["n_bytes"] for each in asked] == [77, 5, 77]
        async with till_of(tmp_path, lambda _: granted(None)) as (till, node):
            for _ in range(3):
                await till.open(order(n_bytes=None))
            assert len(node.heard) == 1

    asyncio.run(check())


def test_a_refusal_is_passed_on_as_it_is(tmp_path: Path) -> None:
    async def check() -> None:
        answer = {"refused": {"status": 402, "headers": {"A": "b"}, "body": "{}"}}
        async with till_of(tmp_path, lambda _: answer) as (till, _):
            with pytest.raises(Refused) as refused:
                await till.open(order())
            assert (refused.value.status, refused.value.headers, refused.value.body) == (402, {"A": "b"}, b"{}")

    asyncio.run(check())


def test_a_receipt_comes_as_the_file_it_is(tmp_path: Path) -> None:
    async def check() -> None:
        async with till_of(tmp_path, lambda _: {"ok": {"receipt": "AAEC"}}) as (till, node):
            assert await till.receipt(bytes(16)) == b"\0\1\2"
            assert node.heard[0]["receipt"] == "00" * 16

    asyncio.run(check())


def test_content_without_a_price_is_asked_about_now_and_then_only(tmp_path: Path) -> None:
    async def check() -> None:
        async with till_of(tmp_path, lambda _: granted(None)) as (till, node):
            for _ in range(10):
                await (await till.open(order())).ended(5, is_whole=True)
            assert len(node.heard) == 1

    asyncio.run(check())


def test_a_client_that_goes_away_while_it_is_decided_leaves_no_order_open(tmp_path: Path) -> None:
    async def check() -> None:
        waiting: list[int] = []
        async with till_of(tmp_path, lambda message: waiting.append(message["id"])) as (till, node):
            leaving = asyncio.create_task(till.open(order()))
            await settled(lambda: len(waiting) == 1)
            leaving.cancel()
            await asyncio.wait([leaving])
            node.say(waiting[0], granted("aa"))
            await settled(lambda: {"close": "aa", "sent": 0} in node.heard)

    asyncio.run(check())


def test_a_node_that_hangs_up_fails_what_was_asked_and_is_found_again(tmp_path: Path) -> None:
    async def check() -> None:
        waiting: list[int] = []
        async with till_of(tmp_path, lambda message: waiting.append(message["id"])) as (till, node):
            asking = asyncio.create_task(till.open(order()))
            await settled(lambda: len(waiting) == 1)
            node.writers[0].close()
            with pytest.raises(LocalProtocolError) as failed:
                await asking
            assert failed.value.code is ErrorCode.CONTROL_UNAVAILABLE
            again = asyncio.create_task(till.open(order()))
            await settled(lambda: len(waiting) == 2)
            node.say(waiting[1], granted("bb"))
            await again

    asyncio.run(check())


def test_without_a_node_nothing_is_sold_but_what_nobody_is_charged_for_is_known(tmp_path: Path) -> None:
    async def check() -> None:
        till = PaidTill(tmp_path / "http.sock")
        with pytest.raises(LocalProtocolError) as failed:
            await till.open(order())
        assert failed.value.code is ErrorCode.CONTROL_UNAVAILABLE
        assert await till.quote(None) == NO_PRICE

    asyncio.run(check())
