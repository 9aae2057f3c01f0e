"""js-libp2p and go-libp2p as they come, on either side of a session stream."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

import pytest
import trio
from stock_peers import KINDS, PATIENCE_S, StockPeer, Unable, heard, pattern, run
from trio.testing import trio_test

from retrieval.errors import ErrorCode, RemoteProtocolError
from retrieval.transport.libp2p import Host, Stream, open_host
from retrieval.transport.libp2p.yamux import STREAMS_MAX, WINDOW_INITIAL

LOOPBACK = ("/ip4/127.0.0.1/tcp/0",)
LARGE = 6 * 1024 * 1024 + 17  # bytes: many windows of every peer, and no multiple of anything
IN_ONE_WINDOW = WINDOW_INITIAL - 1024  # bytes that leave before anybody reads, with the words that name the protocol
BEYOND_EVERY_WINDOW = 251 * 128 * 1024  # go-libp2p lets its windows grow to 16 MiB; and half of it is a whole number of patterns
HALF = BEYOND_EVERY_WINDOW // 2
SEVERAL = STREAMS_MAX - 1  # sessions at once on one connection: what a stock peer asks when it connects (identify) may take a stream


@pytest.fixture(scope="module", params=sorted(KINDS))
def peer(request: pytest.FixtureRequest) -> Iterator[StockPeer]:
    with run(request.param) as peer:
        yield peer


@dataclass(frozen=True, slots=True, kw_only=True)
class Ends:
    """One stream, from both sides: ours, and the number the stock peer knows it by."""

    ours: Stream
    theirs: int


@asynccontextmanager
async def dialled(peer: StockPeer) -> AsyncIterator[Ends]:
    """A stream that we opened to the peer."""
    async with open_host(os.urandom(32)) as host:
        with trio.fail_after(PATIENCE_S):
            ours = await host.dial(peer.address)
            yield Ends(ours=ours, theirs=(await peer.ask("accept"))["stream"])


class Server:
    """A host of ours that hands over the streams it is opened."""

    def __init__(self, host: Host) -> None:
        self.address = host.addresses[0]
        self._sending, self._accepted = trio.open_memory_channel[Stream](0)
        host.serve(self._welcome)

    async def _welcome(self, stream: Stream) -> None:
        await self._sending.send(stream)
        await stream.finished.wait()

    async def opened_by(self, peer: StockPeer) -> Ends:
        theirs = (await peer.ask("open", address=self.address))["stream"]
        return Ends(ours=await self._accepted.receive(), theirs=theirs)


@asynccontextmanager
async def serving() -> AsyncIterator[Server]:
    async with open_host(os.urandom(32), LOOPBACK) as host:
        with trio.fail_after(PATIENCE_S):
            yield Server(host)


@asynccontextmanager
async def accepted(peer: StockPeer) -> AsyncIterator[Ends]:
    """A stream that the peer opened to us."""
    async with serving() as server:
        yield await server.opened_by(peer)


OneStream: TypeAlias = Callable[[StockPeer], AbstractAsyncContextManager[Ends]]
DIRECTIONS = pytest.mark.parametrize("one_stream", [dialled, accepted])


async def receive(stream: Stream, n_bytes: int | None = None) -> bytes:
    """So many bytes, or all to the clean end."""
    received = bytearray()
    while n_bytes is None or len(received) < n_bytes:
        part = await stream.receive_some(1024 * 1024 if n_bytes is None else n_bytes - len(received))
        if not part:
            break
        received += part
    return bytes(received)


async def say(stream: Stream, n_bytes: int) -> None:
    """Send so much, then end our side."""
    await stream.send_all(pattern(n_bytes))
    await stream.close()


async def talk(peer: StockPeer, ends: Ends, n_bytes: int) -> None:
    """Both sides send so much and end at the same time, and hear all of the other."""

    async def hear() -> None:
        assert await peer.hear(ends.theirs, n_bytes + 1) == heard(n_bytes)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(say, ends.ours, n_bytes)
        nursery.start_soon(peer.say, ends.theirs, n_bytes)
        nursery.start_soon(hear)
        assert await receive(ends.ours) == pattern(n_bytes)


@DIRECTIONS
@trio_test
async def test_megabytes_go_both_ways_at_once(peer: StockPeer, one_stream: OneStream) -> None:
    async with one_stream(peer) as ends:
        await talk(peer, ends, LARGE)


@DIRECTIONS
@trio_test
async def test_what_was_said_last_is_heard_by_a_peer_that_reads_after_both_have_ended(peer: StockPeer, one_stream: OneStream) -> None:
    async with one_stream(peer) as ends:
        await say(ends.ours, IN_ONE_WINDOW)
        await peer.say(ends.theirs, 1000)
        assert await receive(ends.ours) == pattern(1000)
        assert await peer.hear(ends.theirs, IN_ONE_WINDOW + 1) == heard(IN_ONE_WINDOW)


@DIRECTIONS
@trio_test
async def test_a_side_that_has_ended_still_hears_the_other(peer: StockPeer, one_stream: OneStream) -> None:
    async with one_stream(peer) as ends:
        await ends.ours.close()
        assert await peer.hear(ends.theirs, 1) == heard(0)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(peer.say, ends.theirs, LARGE)
            assert await receive(ends.ours) == pattern(LARGE)

    async with one_stream(peer) as ends:
        await peer.say(ends.theirs, 0)
        assert await receive(ends.ours) == b""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ends.ours.send_all, pattern(LARGE))
            assert await peer.hear(ends.theirs, LARGE) == heard(LARGE, end="open")
        await ends.ours.close()
        assert await peer.hear(ends.theirs, 1) == heard(0)


@DIRECTIONS
@trio_test
async def test_a_reset_is_never_a_clean_end(peer: StockPeer, one_stream: OneStream) -> None:
    async with one_stream(peer) as ends:
        await peer.ask("send", stream=ends.theirs, n_bytes=1000)
        assert await receive(ends.ours, 1000) == pattern(1000)
        await peer.ask("reset", stream=ends.theirs)
        with pytest.raises(RemoteProtocolError) as caught:
            await receive(ends.ours)
        assert caught.value.code is ErrorCode.TRANSFER_TRUNCATED

    async with one_stream(peer) as ends:
        await ends.ours.send_all(pattern(1000))
        assert await peer.hear(ends.theirs, 1000) == heard(1000, end="open")
        await ends.ours.reset()
        assert await peer.hear(ends.theirs, 1) == heard(0, end="broken")


@DIRECTIONS
@trio_test
async def test_a_slow_reader_of_ours_holds_their_sender_back(peer: StockPeer, one_stream: OneStream) -> None:
    sent = trio.Event()
    async with one_stream(peer) as ends, trio.open_nursery() as nursery:

        async def send() -> None:
            await peer.say(ends.theirs, BEYOND_EVERY_WINDOW)
            sent.set()

        nursery.start_soon(send)
        first = await receive(ends.ours, HALF)
        assert not sent.is_set()  # it cannot be, however long this took
        assert first + await receive(ends.ours) == pattern(BEYOND_EVERY_WINDOW)


@DIRECTIONS
@trio_test
async def test_a_slow_reader_of_theirs_holds_our_sender_back(peer: StockPeer, one_stream: OneStream) -> None:
    sent = trio.Event()
    async with one_stream(peer) as ends, trio.open_nursery() as nursery:

        async def send() -> None:
            await say(ends.ours, BEYOND_EVERY_WINDOW)
            sent.set()

        nursery.start_soon(send)
        assert await peer.hear(ends.theirs, HALF) == heard(HALF, end="open")
        assert not sent.is_set()
        assert await peer.hear(ends.theirs, BEYOND_EVERY_WINDOW) == heard(HALF, end="clean")


@trio_test
async def test_streams_of_one_connection_do_not_wait_for_each_other(peer: StockPeer) -> None:
    async with serving() as server:
        several = [await server.opened_by(peer) for _ in range(SEVERAL)]
        stalled, *others = several
        async with trio.open_nursery() as nursery:
            nursery.start_soon(partial(peer.ask, "send", stream=stalled.theirs, n_bytes=BEYOND_EVERY_WINDOW))
            async with trio.open_nursery() as talking:
                for ends in others:
                    talking.start_soon(talk, peer, ends, LARGE)
            assert await receive(stalled.ours, BEYOND_EVERY_WINDOW) == pattern(BEYOND_EVERY_WINDOW)
        assert (await peer.ask("connections"))["n_open"] == 1


@trio_test
async def test_a_stream_too_many_is_refused_and_costs_the_others_nothing(peer: StockPeer) -> None:
    async with serving() as server:
        several = [await server.opened_by(peer) for _ in range(SEVERAL)]

        async def open_too_many() -> None:
            for _ in range(STREAMS_MAX):
                await server.opened_by(peer)

        with pytest.raises(Unable):
            await open_too_many()
        for ends in several:
            await talk(peer, ends, 1000)
        await talk(peer, await server.opened_by(peer), 1000)


@trio_test
async def test_many_connections_at_once(peer: StockPeer) -> None:
    several = []
    async with open_host(os.urandom(32)) as host:
        for _ in range(4):
            ours = await host.dial(peer.address)
            several.append(Ends(ours=ours, theirs=(await peer.ask("accept"))["stream"]))
        async with trio.open_nursery() as nursery:
            for ends in several:
                nursery.start_soon(talk, peer, ends, LARGE // 4)


@trio_test
async def test_a_peer_that_asks_what_we_do_not_speak_keeps_its_session(peer: StockPeer) -> None:
    async with serving() as server:
        ends = await server.opened_by(peer)  # stock peers ask who we are (identify) on every new connection
        with pytest.raises(Unable):
            await peer.ask("ping", address=server.address)
        await talk(peer, ends, 1000)
