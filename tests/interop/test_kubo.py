"""Kubo as it is built, on either side of a session stream: its ``p2p`` commands carry ours to and from a local socket."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from functools import partial

import pytest
import trio
from stock_peers import pattern
from trio.testing import trio_test

from benchmarks.pair import Unavailable
from benchmarks.peers.kubo_bitswap import RELEASES, Repository, binaries
from retrieval.errors import ErrorCode, RemoteProtocolError
from retrieval.identity import format_peer_id
from retrieval.transport.libp2p import PROTOCOL_ID, Stream, open_host

LOOPBACK = ("/ip4/127.0.0.1/tcp/0",)
LARGE = 6 * 1024 * 1024 + 17  # bytes: many windows
PATIENCE_S = 60  # a test that waits this long has failed


@pytest.fixture(scope="module", params=[release.number for release in RELEASES])
def kubo(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Repository]:
    """A daemon on loopback that nobody else knows."""
    try:
        binary = binaries().get(request.param)
    except Unavailable as error:
        pytest.skip(str(error))
    if binary is None:
        pytest.skip(f"Kubo {request.param} is not built here (make interop-env)")
    repository = Repository(binary, tmp_path_factory.mktemp("kubo") / "repository")
    repository.run("config", "--json", "Experimental.Libp2pStreamMounting", "true")
    with repository.daemon():
        yield repository


async def tell(kubo: Repository, *arguments: str) -> str:
    """What a command prints. Raises ``Unavailable`` with what it complains of."""
    return await trio.to_thread.run_sync(partial(kubo.run, *arguments))


async def echo(stream: Stream | trio.SocketStream) -> None:
    while data := await stream.receive_some(64 * 1024):
        await stream.send_all(data)


async def exchange(stream: Stream | trio.SocketStream) -> None:
    """Send megabytes to one who echoes, and hear them all."""
    received = bytearray()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(stream.send_all, pattern(LARGE))
        while len(received) < LARGE:
            part = await stream.receive_some(1024 * 1024)
            assert part
            received += part
    assert received == pattern(LARGE)


@trio_test
async def test_kubo_can_be_dialled_and_carries_megabytes_both_ways(kubo: Repository) -> None:
    with trio.fail_after(PATIENCE_S):
        (address,) = kubo.ask("id")["Addresses"]
        async with open_host(os.urandom(32)) as host, trio.open_nursery() as nursery:
            stream = await host.dial(address)
            with pytest.raises(RemoteProtocolError) as caught:
                await stream.receive_some(1)
            assert caught.value.code is ErrorCode.CAPABILITY_MISSING

            (listener,) = await nursery.start(partial(trio.serve_tcp, echo, 0, host="127.0.0.1"))
            port = listener.socket.getsockname()[1]
            await tell(kubo, "p2p", "listen", "--allow-custom-protocol", PROTOCOL_ID, f"/ip4/127.0.0.1/tcp/{port}")
            for _ in range(2):
                stream = await host.dial(address)
                await exchange(stream)
                await stream.close()
            await tell(kubo, "p2p", "close", "--all")
            nursery.cancel_scope.cancel()


@trio_test
async def test_kubo_can_dial_asks_what_we_do_not_speak_and_stays(kubo: Repository) -> None:
    with trio.fail_after(PATIENCE_S):
        async with open_host(os.urandom(32), LOOPBACK) as host:
            host.serve(echo)
            peer = format_peer_id(host.peer_id)
            assert "success" in await tell(kubo, "swarm", "connect", host.addresses[0])  # on which it asks who we are (identify)
            with pytest.raises(Unavailable, match="ping failed"):
                await tell(kubo, "ping", "-n", "1", peer)

            port = free_port()
            await tell(kubo, "p2p", "forward", "--allow-custom-protocol", PROTOCOL_ID, f"/ip4/127.0.0.1/tcp/{port}", f"/p2p/{peer}")
            for _ in range(2):
                async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
                    await exchange(stream)
            assert peer in await tell(kubo, "swarm", "peers")
            await tell(kubo, "p2p", "close", "--all")


def free_port() -> int:
    """One that nobody listens on just now: Kubo does not tell which it has chosen."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
