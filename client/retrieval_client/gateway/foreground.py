"""Trio. The gateway with somebody watching: says where it answers, tells of each request if asked to, and goes when it is told to.

One rule: a program that reads us gets the ready line first.
"""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator
from functools import partial
from typing import Final

import trio

from retrieval.console import Console, facts, printable, show_size
from retrieval.home import Home
from retrieval.identity import format_peer_id
from retrieval.transport.control import Json, Verb, serve_control

from ..config import ClientSettings
from .app import Served
from .commands import TOKEN_NEW, TOKEN_REVOKE
from .serve import Gateway, open_gateway

STOP_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)


async def serve(console: Console, home: Home, settings: ClientSettings, *, listen: str, allow_remote: bool) -> None:
    """Serve until SIGINT or SIGTERM: then open answers are cut, and deals left to be taken up. A second signal ends the process at once."""
    on_served = partial(_tell, console)
    async with open_gateway(home, settings, listen=listen, allow_remote=allow_remote, on_served=on_served) as gateway:
        async with trio.open_nursery() as nursery:
            verbs: dict[str, Verb] = {TOKEN_NEW: gateway.keys.make, TOKEN_REVOKE: partial(_revoke, gateway)}
            await nursery.start(partial(serve_control, home.control_path, verbs))
            with trio.open_signal_receiver(*STOP_SIGNALS) as signals:
                _say_ready(console, settings, gateway)
                await _first(signals)
            nursery.cancel_scope.cancel()
        for number in STOP_SIGNALS:
            signal.signal(number, signal.SIG_DFL)
        console.note("Stopping: open answers are cut, and what was not finished can be taken up again.")


async def _revoke(gateway: Gateway, args: Json) -> Json:
    return await gateway.keys.revoke(str(args["id"]))


async def _first(signals: AsyncIterator[int]) -> None:
    async for _ in signals:
        return


def _say_ready(console: Console, settings: ClientSettings, gateway: Gateway) -> None:
    ready = {
        "event": "ready",
        "url": gateway.url,
        "peer_id": format_peer_id(gateway.wallet.peer_key.peer_id),
        "providers": list(settings.gateway.providers),
        "rpc": settings.chain.rpc or None,
    }
    shown = {
        "gateway": f"{gateway.url}/ipfs/CID",
        "page": f"{gateway.url}/",
        "providers": "\n".join(settings.gateway.providers) or "none yet: name them in gateway.providers",
        "paid on": settings.chain.rpc or "nothing: only free content is fetched",
    }
    console.emit(ready, table=lambda: facts(shown))


def _tell(console: Console, served: Served) -> None:
    """A line for a request; called in asyncio's thread, one at a time."""
    if not console.verbose:
        return
    row = {
        "event": "served",
        "target": served.target,
        "status": served.status,
        "bytes": served.n_bytes,
        "whole": served.is_whole,
        "cache": served.from_cache,
    }
    where, end = "from the cache" if served.from_cache else "as it was fetched", "" if served.is_whole else ", and was cut"
    try:
        console.emit(row, table=lambda: printable(f"{served.status} {served.target}: {show_size(served.n_bytes)} {where}{end}"))
    except BrokenPipeError:
        console.verbose = False  # whoever listened has gone; serving goes on
