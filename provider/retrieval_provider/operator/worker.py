"""asyncio. The process that shows the operator's page: ``python -m retrieval_provider.operator.worker``, started by ``opening``.

It opens both stores for reading only, and knows no key but the page's token. It is told what to do in the first line of its standard input
and goes when that ends; signals that ask to stop, which often reach a whole group, are for the node to hear.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import sys
import time
from pathlib import Path
from typing import Final

from retrieval.console import configure_logging
from retrieval.gateway.guests import ONE_MACHINE, Guests
from retrieval.gateway.listening import serving
from retrieval.home import Home
from retrieval.units import Amount

from ..config import Pricing
from ..http.workers import READY
from .app import COMMON, OperatorPage
from .feed import Feed
from .opening import Assignment
from .reports import open_reports

SHUTDOWN_S: Final = 0.5


def main() -> None:
    """Serve until standard input ends."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    assignment = Assignment.decode(sys.stdin.buffer.readline())
    configure_logging(assignment.log_level, form="json" if assignment.log_form == "json" else "text")
    logging.getLogger("aiohttp").setLevel(logging.CRITICAL)  # it logs every request that is no HTTP, with a traceback
    asyncio.run(_serve(assignment))


async def _serve(assignment: Assignment) -> None:
    home = Home(Path(assignment.home), assignment.program)
    pricing = Pricing(default=assignment.price_per_gib, flat_fee=Amount(assignment.flat_fee))
    with open_reports(home.state_path, home.blocks_path, store_bytes_max=assignment.store_bytes_max, pricing=pricing) as reports:
        shown = OperatorPage(home, assignment.peer_id, reports, Feed(home))
        sockets = [socket.socket(fileno=descriptor) for descriptor in assignment.sockets]
        async with serving(shown.app(), sockets, shutdown_s=SHUTDOWN_S, guests=Guests(ONE_MACHINE, time.monotonic), common=COMMON):
            sys.stdout.buffer.write(READY)
            sys.stdout.buffer.flush()
            await _input_ended()


async def _input_ended() -> None:
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin.buffer)
    await reader.read()


if __name__ == "__main__":
    main()
