"""A provider's sessions, over a real host on loopback: limits that are told, questions, and what of this machine stays here."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import TypeVar

import pytest
import trio
from retrieval_provider.config import Credit, Pricing, ProviderSettings, Serve
from retrieval_provider.content import add_path
from retrieval_provider.new_home import create_home
from retrieval_provider.node import Node, open_node
from retrieval_provider.serving import SessionServer
from trio.testing import trio_test

from retrieval.cid import RAW, Cid, cid_of, format_cid
from retrieval.deal import hello
from retrieval.errors import ErrorCode, LocalProtocolError
from retrieval.home import Home
from retrieval.identity import PeerKey
from retrieval.store.blocks import MemoryBlockStore, Root
from retrieval.store.disk import DiskBlockStore
from retrieval.transport.libp2p import Host, open_host
from retrieval.transport.pump import ByteStream
from retrieval.transport.source import Source
from retrieval.wire import shape
from retrieval.wire.framing import FrameDecoder, encode_frame, new_buffer
from retrieval.wire.messages import Error, Hello, Message, Ping, Pong, Query, Quote, Refuse, Scope, Selection, SignedQuote

M = TypeVar("M", bound=Message)

PATIENCE_S = 20
SECRET_PATH = "/home/operator/disk"


@dataclasses.dataclass(slots=True)
class Caller:
    """A client that speaks frame by frame."""

    stream: ByteStream
    decoder: FrameDecoder = dataclasses.field(default_factory=FrameDecoder)
    heard: list[Message] = dataclasses.field(default_factory=list)

    async def say(self, *messages: Message) -> None:
        await self.stream.send_all(b"".join(map(encode_frame, messages)))

    async def hear(self, kind: type[M]) -> M:
        """The next message of this kind; others before it are passed over."""
        with trio.fail_after(PATIENCE_S):
            while True:
                while self.heard:
                    if isinstance(message := self.heard.pop(0), kind):
                        return message
                n_read = await self.stream.receive_into(self.decoder.room)
                assert n_read, f"the stream ended, and no {kind.__name__} had come"
                self.decoder.received(n_read)
                if self.decoder.has_frame:
                    self.heard += [item for item in self.decoder.cut(new_buffer()).decode() if not isinstance(item, list)]


@dataclasses.dataclass(slots=True)
class Open:
    node: Node
    root: Root
    host: Host

    async def call(self) -> Caller:
        caller = Caller(await self.host.dial(self.node.addresses[0]))
        await caller.say(hello.ours(False))
        return caller


@asynccontextmanager
async def provider(folder: Path, *, denied: str = "", **limits: int) -> AsyncIterator[Open]:
    """A provider with one free file, on a port the system chose, and a client's host. ``denied`` is its denylist."""
    home = Home(folder / "home", "retrieval-provider")
    create_home(home, rpc="")
    (folder / "file").write_bytes(b"x" * 100)
    with closing(DiskBlockStore(home.blocks_path, bytes_max=1 << 20)) as store:
        root = add_path(store, folder / "file")
    (home.path / "list.deny").write_text(denied)
    serve = Serve(listen=("/ip4/127.0.0.1/tcp/0",), denylist="list.deny" if denied else "", **limits)
    settings = ProviderSettings(serve=serve, price=Pricing(default=0), credit=Credit())
    async with open_node(home, settings) as node, open_host(PeerKey.generate().seed) as host:
        yield Open(node, root, host)


def query(root: Cid, query_id: int = 1) -> Query:
    selection = Selection(root=root, path=(), scope=Scope.ALL, range_start=None, range_end=None)
    return Query(query_id=query_id, selection=selection, cursor=0, price_per_gib_max=None, deal_id=None)


# what is withheld


@trio_test
@pytest.mark.parametrize(("hint", "code"), [("", ErrorCode.CONTENT_GONE), (" gateway_status:451", ErrorCode.CONTENT_RESTRICTED)])
async def test_a_query_for_what_the_denylist_names_is_refused_for_that(tmp_path: Path, hint: str, code: ErrorCode) -> None:
    other = cid_of(RAW, b"not held either")
    async with provider(tmp_path, denied=f"/ipfs/{format_cid(cid_of(RAW, b'x' * 100))}{hint}\n") as shop:
        caller = await shop.call()
        await caller.say(query(shop.root.cid), query(other, 2))
        assert [(await caller.hear(Refuse)).code for _ in range(2)] == [code, ErrorCode.NOT_FOUND]


@trio_test
async def test_nothing_is_served_under_a_denylist_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(LocalProtocolError) as refused:
        async with provider(tmp_path, denied="version: 2\n---\n"):
            raise AssertionError("it serves")
    assert refused.value.code is ErrorCode.CONFIG_INVALID


# limits


@trio_test
async def test_a_session_beyond_the_limit_hears_why_and_when_to_come_back(tmp_path: Path) -> None:
    async with provider(tmp_path, sessions_max=1) as shop:
        first, second = await shop.call(), None
        await first.hear(Hello)
        second = await shop.call()
        refused = await second.hear(Error)
        assert (refused.code, refused.detail) == (ErrorCode.TOO_MANY_SESSIONS, "over all clients")
        assert refused.retry_after_s
        await first.say(Ping(nonce=7))
        assert (await first.hear(Pong)).nonce == 7
        (session,) = shop.node.sessions
        await first.stream.close()
        with trio.fail_after(PATIENCE_S):
            await session.ended.wait()
        third = await shop.call()
        await third.hear(Hello)


@trio_test
async def test_queries_beyond_the_rate_are_refused_and_the_session_goes_on(tmp_path: Path) -> None:
    async with provider(tmp_path, queries_per_minute=1) as shop:  # with a burst of ten
        caller = await shop.call()
        for n in range(10):
            await caller.say(query(shop.root.cid, n))
            assert await caller.hear(SignedQuote)
        await caller.say(query(shop.root.cid, 10))
        refused = await caller.hear(Refuse)
        assert (refused.code, refused.query_id) == (ErrorCode.RATE_LIMITED, 10)
        assert refused.retry_after_s == 60
        await caller.say(Ping(nonce=1))
        assert await caller.hear(Pong)


# questions


@trio_test
async def test_what_is_not_here_is_refused_by_its_name(tmp_path: Path) -> None:
    async with provider(tmp_path) as shop:
        caller = await shop.call()
        await caller.say(query(cid_of(RAW, b"elsewhere")))
        refused = await caller.hear(Refuse)
        assert (refused.code, refused.query_id) == (ErrorCode.NOT_FOUND, 1)


@trio_test
async def test_a_range_is_quoted_like_anything_else(tmp_path: Path) -> None:
    async with provider(tmp_path) as shop:
        caller = await shop.call()
        selection = Selection(root=shop.root.cid, path=(), scope=Scope.ENTITY, range_start=-1, range_end=None)
        await caller.say(dataclasses.replace(query(shop.root.cid), selection=selection))
        quote = shape.decode(Quote, (await caller.hear(SignedQuote)).body)
        assert (quote.exact, quote.n_blocks, quote.n_bytes) == (True, 1, 100)


@trio_test
async def test_a_range_of_another_scope_is_refused(tmp_path: Path) -> None:
    async with provider(tmp_path) as shop:
        caller = await shop.call()
        selection = Selection(root=shop.root.cid, path=(), scope=Scope.ALL, range_start=0, range_end=None)
        await caller.say(dataclasses.replace(query(shop.root.cid), selection=selection))
        assert (await caller.hear(Refuse)).code == ErrorCode.UNSUPPORTED_SCOPE


@trio_test
async def test_a_past_deal_nobody_knows_is_refused(tmp_path: Path) -> None:
    async with provider(tmp_path) as shop:
        caller = await shop.call()
        await caller.say(dataclasses.replace(query(shop.root.cid), selection=None, deal_id=bytes(16)))
        assert (await caller.hear(Refuse)).code == ErrorCode.DEAL_UNKNOWN


class BrokenStore(MemoryBlockStore):
    """A store on a disk that died."""

    def root(self, cid: Cid) -> Root | None:
        raise LocalProtocolError(ErrorCode.STORE_BROKEN, f"{SECRET_PATH}/blocks: Input/output error")


@trio_test
async def test_a_client_hears_that_we_are_broken_and_the_log_hears_how(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with provider(tmp_path) as shop, trio.open_nursery() as nursery:
        theirs, ours = trio.testing.memory_stream_pair()
        service = dataclasses.replace(shop.node.service, store=BrokenStore())
        server = SessionServer(service, MemoryStream(ours), shop.host.peer_id, prefix=None)
        nursery.start_soon(server.run)
        caller = Caller(MemoryStream(theirs))
        await caller.say(hello.ours(False), query(shop.root.cid))
        refused = await caller.hear(Refuse)
        assert (refused.code, refused.detail) == (ErrorCode.STORE_BROKEN, "")
        await caller.stream.close()
    errors = [entry.getMessage() for entry in caplog.records if entry.levelno == logging.ERROR]
    assert any(SECRET_PATH in message for message in errors)


class MemoryStream:
    """A Trio stream as the pump wants one."""

    def __init__(self, stream: trio.StapledStream[trio.abc.SendStream, trio.abc.ReceiveStream]) -> None:
        self._stream = stream

    async def send_all(self, data: bytes) -> None:
        await self._stream.send_all(data)

    send_bytes = 1 << 20

    async def send_source(self, source: Source) -> None:
        await self.send_all(source.use(0, len(source), b"".join))

    async def receive_into(self, target: memoryview) -> int:
        data = await self._stream.receive_some(len(target))
        target[: len(data)] = data
        return len(data)

    async def close(self) -> None:
        await self._stream.send_eof()

    async def reset(self) -> None:
        await self._stream.aclose()


# the end


@trio_test
async def test_a_provider_that_goes_tells_its_sessions(tmp_path: Path) -> None:
    async with trio.open_nursery() as nursery:
        callers: list[Caller] = []
        said = trio.Event()

        async def listen(caller: Caller) -> None:
            assert (await caller.hear(Error)).code == ErrorCode.SHUTTING_DOWN
            said.set()

        async with open_host(PeerKey.generate().seed) as host:
            async with provider(tmp_path) as shop:
                callers.append(Caller(await host.dial(shop.node.addresses[0])))
                await callers[0].say(hello.ours(False))
                await callers[0].hear(Hello)
                nursery.start_soon(listen, callers[0])
            with trio.fail_after(PATIENCE_S):
                await said.wait()
