"""Trio. A raw stream of stock py-libp2p over TCP, Noise and Yamux: nothing is read from a disk, verified, stored or paid.

What our transport would give if it were only ever used as it comes. ``max_connections_per_peer=1`` spares it 250 ms of every dial.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import multiaddr
import trio
from libp2p import new_host
from libp2p.custom_types import TProtocol
from libp2p.network.config import ConnectionConfig
from libp2p.network.stream.exceptions import StreamEOF
from libp2p.peer.peerinfo import info_from_p2p_addr

from benchmarks.pair import Peer, WorkerPair
from benchmarks.processes import Json, answer_commands, say, start_worker
from retrieval.units import MIB

LABEL: Final = "stock py-libp2p stream"
PROTOCOL: Final = TProtocol("/benchmark/bytes/1.0.0")
WRITE_BYTES: Final = 65_535 - 16 - 12  # with its Yamux header it fills one Noise message: the fastest of the sizes tried
READ_BYTES: Final = MIB
LOOPBACK: Final = multiaddr.Multiaddr("/ip4/127.0.0.1/tcp/0")


@contextmanager
def open_peer(n_bytes: int) -> Iterator[Peer]:
    """A pair that moves ``n_bytes`` of zeros."""
    with start_worker(__name__, "serve") as server:
        yield WorkerPair(server.pid, lambda: start_worker(__name__, "fetch"), {"address": server.ready["address"], "n_bytes": n_bytes})


async def serve() -> None:
    host = new_host(connection_config=ConnectionConfig(max_connections_per_peer=1))

    async def send(stream: Any) -> None:
        left, piece = int.from_bytes(await stream.read(8), "big"), bytes(WRITE_BYTES)
        while left:
            await stream.write(piece[: min(left, WRITE_BYTES)])
            left -= min(left, WRITE_BYTES)
        await stream.close()

    async with host.run(listen_addrs=[LOOPBACK]):
        host.set_stream_handler(PROTOCOL, send)
        (address, *_) = host.get_addrs()
        say(address=str(address))
        await trio.to_thread.run_sync(sys.stdin.read)


async def fetch(address: str, n_bytes: int) -> Json:
    host = new_host(connection_config=ConnectionConfig(max_connections_per_peer=1))
    async with host.run(listen_addrs=[]):
        began, first_s, received = time.perf_counter(), None, 0
        info = info_from_p2p_addr(multiaddr.Multiaddr(address))
        await host.connect(info)
        stream = await host.new_stream(info.peer_id, [PROTOCOL])
        await stream.write(n_bytes.to_bytes(8, "big"))
        while received < n_bytes:
            try:
                data = await stream.read(READ_BYTES)
            except StreamEOF:
                break
            received += len(data)
            first_s = first_s or time.perf_counter() - began
        return {"n_bytes": received, "seconds": time.perf_counter() - began, "first_s": first_s}


def main() -> None:
    match sys.argv[1:]:
        case ["serve"]:
            trio.run(serve)
        case ["fetch"]:
            answer_commands(lambda command: trio.run(fetch, command["address"], command["n_bytes"]))
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main()
