"""asyncio. One process of the HTTP door: ``python -m retrieval_provider.http.worker``, started by ``workers``.

It opens the block store for reading only, beside the node and the other workers, and holds no state of its own. It is told what to do
in the first line of its standard input and goes when that ends; signals that ask to stop, which often reach a whole group, are for the
node to hear.
"""

from __future__ import annotations

import asyncio
import logging
import resource
import signal
import socket
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Final

from retrieval.console import configure_logging
from retrieval.gateway.denylist import denied_by
from retrieval.gateway.guests import Guests, Limits, networks
from retrieval.gateway.listening import serving
from retrieval.store.disk import DiskBlockStore

from ..http_credit.paid_till import PaidTill
from ..operator.http_counting import HttpCounts
from .app import Door
from .routing import Reach
from .till import FreeTill
from .workers import READY, Assignment

DRAIN_S: Final = 3.0
"""How long answers may take to end once the worker is to go; the node waits a little longer, and then kills it."""


def main() -> None:
    """Serve until standard input ends."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    assignment = Assignment.decode(sys.stdin.buffer.readline())
    configure_logging(assignment.log_level, form="json" if assignment.log_form == "json" else "text")
    logging.getLogger("aiohttp").setLevel(logging.CRITICAL)  # it logs every request that is no HTTP, with a traceback
    _allow_descriptors()
    asyncio.run(_serve(assignment))


async def _serve(assignment: Assignment) -> None:
    with closing(DiskBlockStore(Path(assignment.blocks), bytes_max=assignment.store_bytes_max, readonly=True)) as store:
        reach = Reach(peer_id=assignment.peer_id, http=assignment.http, libp2p=assignment.libp2p)
        till = PaidTill(Path(assignment.till)) if assignment.till else FreeTill()
        counts = HttpCounts()
        denylist = denied_by(Path(assignment.denylist) if assignment.denylist else None)
        door = Door(store, counts.around(till), reach, requests_max=assignment.requests_max, denylist=denylist)
        limits = Limits(
            connections_max=assignment.connections_max,
            connections_per_prefix_max=assignment.connections_per_prefix_max,
            requests_per_minute=assignment.requests_per_minute,
            proxies=networks(assignment.proxies),
        )
        sockets = [socket.socket(fileno=descriptor) for descriptor in assignment.sockets]
        to_node = await _output()
        async with serving(counts.watch(door.app()), sockets, shutdown_s=DRAIN_S, guests=Guests(limits, time.monotonic)):
            to_node.write(READY)
            reporting = asyncio.create_task(counts.report(to_node))
            await _input_ended()
            reporting.cancel()
        await counts.tell(to_node)


async def _output() -> asyncio.StreamWriter:
    """Standard output, to be written to without ever waiting for the node in the middle of serving."""
    loop = asyncio.get_running_loop()
    transport, protocol = await loop.connect_write_pipe(asyncio.streams.FlowControlMixin, sys.stdout.buffer)
    return asyncio.StreamWriter(transport, protocol, None, loop)


async def _input_ended() -> None:
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin.buffer)
    await reader.read()


def _allow_descriptors() -> None:
    """As many open files as the system lets this process have: a connection takes one, and two while content is sent."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


if __name__ == "__main__":
    main()
