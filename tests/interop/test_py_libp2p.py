"""py-libp2p's own hosts, with their Swarm and their Yamux, on either side of a session stream that carries megabytes."""

from __future__ import annotations

import logging
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
from libp2p import new_host
from libp2p.abc import IHost, INetStream
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.peer.peerinfo import info_from_p2p_addr
from multiaddr import Multiaddr
from stock_peers import pattern
from trio.testing import trio_test

from retrieval.transport.libp2p import PROTOCOL_ID, Stream, open_host

LARGE = 3 * 1024 * 1024 + 17  # bytes: many windows, of which the stock muxer moves few a second
PIECE = 64 * 1024  # bytes; what the stock muxer is given at once it must send within 5 s
PATIENCE_S = 60


@pytest.fixture(autouse=True)
def _quiet_stock_hosts() -> None:
    logging.getLogger("libp2p").setLevel(logging.CRITICAL)


@asynccontextmanager
async def open_stock_host() -> AsyncIterator[IHost]:
    host = new_host(key_pair=create_new_key_pair(os.urandom(32)))
    async with host.run([Multiaddr("/ip4/127.0.0.1/tcp/0")]):
        yield host


async def echo(stream: Stream) -> None:
    while data := await stream.receive_some(PIECE):
        await stream.send_all(data)


async def echo_stock(stream: INetStream) -> None:
    while data := await stream.read(PIECE):
        await stream.write(data)


@trio_test
async def test_a_stock_host_that_is_dialled_gives_megabytes_back() -> None:
    received = bytearray()
    async with open_stock_host() as stock, open_host(os.urandom(32)) as host:
        stock.set_stream_handler(PROTOCOL_ID, echo_stock)
        with trio.fail_after(PATIENCE_S):
            stream = await host.dial(str(stock.get_addrs()[0]))
            async with trio.open_nursery() as nursery:
                nursery.start_soon(stream.send_all, pattern(LARGE))
                while len(received) < LARGE:
                    part = await stream.receive_some(PIECE)
                    assert part
                    received += part
            await stream.close()
    assert received == pattern(LARGE)


@trio_test
async def test_a_stock_host_that_dials_gets_megabytes_back() -> None:
    received = bytearray()
    async with open_host(os.urandom(32), ["/ip4/127.0.0.1/tcp/0"]) as host, open_stock_host() as stock:
        host.serve(echo)
        peer = info_from_p2p_addr(Multiaddr(host.addresses[0]))
        with trio.fail_after(PATIENCE_S):
            await stock.connect(peer)
            stream = await stock.new_stream(peer.peer_id, [PROTOCOL_ID])

            async def send() -> None:
                for start in range(0, LARGE, PIECE):
                    await stream.write(pattern(LARGE)[start : min(LARGE, start + PIECE)])

            async with trio.open_nursery() as nursery:
                nursery.start_soon(send)
                while len(received) < LARGE:
                    part = await stream.read(PIECE)
                    assert part
                    received += part
    assert received == pattern(LARGE)
