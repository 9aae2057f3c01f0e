"""Trio. A worker: our provider, serving one home on loopback until its input ends."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

import trio
from retrieval_provider.config import load_settings
from retrieval_provider.node import open_node

from benchmarks.processes import say
from retrieval.home import Home

LISTEN: Final = ("/ip4/127.0.0.1/tcp/0",)


async def serve(home: Home, flags: dict[str, object]) -> None:
    settings, _ = load_settings(home, {"serve.listen": LISTEN, **flags})
    async with open_node(home, settings) as node:
        say(address=node.addresses[0], url="".join(node.urls))
        await trio.to_thread.run_sync(sys.stdin.read)


def main() -> None:
    match sys.argv[1:]:
        case [home, *flags]:
            trio.run(serve, Home(Path(home), "retrieval-provider"), dict(flag.split("=", 1) for flag in flags))
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main()
