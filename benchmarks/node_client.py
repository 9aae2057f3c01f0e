"""Trio. A worker: our client with one home. ``fetch`` is what ``get`` does; ``warm`` buys many things in one session that stays open."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import closing
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Final

import trio
from retrieval_client.api import Order, retrieve
from retrieval_client.config import ClientSettings
from retrieval_client.conversation import converse
from retrieval_client.fetch import Progress
from retrieval_client.source import Source
from retrieval_client.wallet import open_wallet_in_turn

from benchmarks.processes import Json, answer_commands
from benchmarks.session import buy
from retrieval.home import Home
from retrieval.settings import load
from retrieval.store.disk import DiskBlockStore
from retrieval.transport.libp2p import open_host, parse_address
from retrieval.transport.writer import JournalWriter, steady_clock
from retrieval.units import KIB

NODE_BYTES_MAX: Final = 128 * KIB  # the root of a file of 1 GiB in blocks of 1 MiB has 52 KiB


async def fetch(home: Home, root: str, address: str, out: str | None) -> Json:
    """One ``get`` into an emptied store. Times run from the call."""
    shutil.rmtree(home.blocks_path, ignore_errors=True)
    arrived: list[tuple[float, int]] = []

    def watch(progress: Progress) -> None:
        if progress.verified_bytes > (arrived[-1][1] if arrived else 0):
            arrived.append((time.perf_counter() - began, progress.verified_bytes))

    order = Order(source=Source.parse(root), provider=address, out=None if out is None else Path(out), keep=out is None)
    began = time.perf_counter()
    got = await retrieve(home, order, on_progress=watch)
    ended = time.perf_counter() - began
    assert got.verified
    assert got.receipt_verified or not got.paid  # a gateway gives none for what is free
    # A file of more than one block begins with a node that names the others: content comes with the first byte behind it.
    first_s, first_bytes = arrived[0] if len(arrived) == 1 or arrived[0][1] > NODE_BYTES_MAX else arrived[1]
    return {
        "n_bytes": got.bytes,
        "seconds": ended,
        "verified_s": arrived[-1][0],
        "first_s": first_s,
        "steady_bytes": arrived[-1][1] - first_bytes,
        "steady_s": arrived[-1][0] - first_s,
        "stall_s": max((later - earlier for (earlier, _), (later, _) in pairwise(arrived)), default=0.0),
        "paid": got.paid,
    }


async def warm(home: Home, roots: list[str], address: str) -> Json:
    """Buy each of ``roots`` in turn, in one session; the first is not counted, because it shows the channel."""
    shutil.rmtree(home.blocks_path, ignore_errors=True)
    settings, _ = load(ClientSettings, home.config_path, {}, {})
    clock = steady_clock()
    bought, provider = [], parse_address(address)
    async with open_wallet_in_turn(home, settings, command="benchmark", now=clock()) as wallet:
        with closing(DiskBlockStore(home.blocks_path, bytes_max=settings.store.bytes_max)) as store:
            async with trio.open_nursery() as nursery, open_host(wallet.peer_key.seed) as host:
                writer = JournalWriter(wallet.journal, clock)
                nursery.start_soon(writer.run)
                conversing = converse(
                    host,
                    provider,
                    wallet.peer_key,
                    signer=wallet.voucher_signer,
                    writer=writer,
                    store=store.put_many,
                    clock=clock,
                )
                began = clock()
                async with conversing as conversation:
                    connect_s = clock() - began
                    for root in roots:
                        bought.append(await buy(conversation, provider.peer_id, Source.parse(root), clock=clock, wallet=wallet))
                nursery.cancel_scope.cancel()
    return {"connect_s": connect_s, "first_s": [each.first_s for each in bought[1:]]}


def main() -> None:
    match sys.argv[1:]:
        case [folder]:
            home = Home(Path(folder), "retrieval-client")
            verbs: dict[str, Callable[..., Awaitable[Json]]] = {"fetch": fetch, "warm": warm}

            def answer(command: Json) -> Json:
                return trio.run(partial(verbs[command.pop("do")], home, **command))

            answer_commands(answer)
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main()
