"""Trio. A worker: many clients of one free provider in one process, each with a peer key, a connection and a session of its own.

What they receive is verified and dropped: the provider is what is measured.
"""

from __future__ import annotations

import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Final, cast

import trio
from retrieval_client.conversation import Conversation, converse
from retrieval_client.source import Source

from benchmarks.processes import Json, answer_commands, say
from benchmarks.session import buy
from retrieval.cid import Cid
from retrieval.deal import fold
from retrieval.identity import PeerKey
from retrieval.ledger.journal import Journal
from retrieval.ledger.state import MemoryStateStorage
from retrieval.transport.libp2p import Host, Stream, open_host, parse_address
from retrieval.transport.writer import Clock, JournalWriter, steady_clock
from retrieval.units import KIB

SLOW_READ_BYTES: Final = 64 * KIB
QUOTES_PER_SESSION: Final = 50  # a client remembers 64 that it has not accepted


@dataclass(slots=True)
class Client:
    """One of the crowd."""

    conversation: Conversation
    n_bytes: int = 0
    done: trio.Event = field(default_factory=trio.Event)


class Crowd:
    """Clients of the provider at an address, all connected."""

    def __init__(self, address: str, clients: list[Client], clock: Clock) -> None:
        self._provider: Final = parse_address(address)
        self._clock: Final = clock
        self.clients: Final = clients

    async def buy(self, client: Client, root: str) -> None:
        def count(n_bytes: int) -> None:
            client.n_bytes += n_bytes

        await buy(client.conversation, self._provider.peer_id, Source.parse(root), clock=self._clock, on_bytes=count)
        client.done.set()

    async def ask(self, client: Client, root: str) -> float:
        """Seconds from a query to its signed quote."""
        source, began = Source.parse(root), time.perf_counter()
        await client.conversation.ask_quote(source.selection, source.walk(), price_per_gib_max=None, now=self._clock())
        return time.perf_counter() - began


async def fetch_together(address: str, root: str, n: int) -> Json:
    """``n`` clients fetch ``root`` at once; measured from when all are connected."""
    async with gather(address, n) as crowd:
        began = time.perf_counter()
        at_first_end: list[int] = []

        async def run(client: Client) -> None:
            await crowd.buy(client, root)
            if not at_first_end:
                at_first_end.extend(each.n_bytes for each in crowd.clients)

        async with trio.open_nursery() as nursery:
            for client in crowd.clients:
                nursery.start_soon(run, client)
        seconds = time.perf_counter() - began
        n_bytes = sum(client.n_bytes for client in crowd.clients)
    return {"n_bytes": n_bytes, "seconds": seconds, "shares": [share * n / sum(at_first_end) for share in at_first_end]}


async def ask_quotes(address: str, root: str, n: int) -> Json:
    """``n`` quotes, one after the other, in sessions that are open already."""
    quotes_s: list[float] = []
    while len(quotes_s) < n:
        async with gather(address, 1) as crowd:
            (client,) = crowd.clients
            quotes_s += [await crowd.ask(client, root) for _ in range(min(n - len(quotes_s), QUOTES_PER_SESSION))]
    return {"quotes_s": quotes_s}


async def keep_busy(address: str, root: str, n: int) -> Json:
    """``n`` clients fetch ``root`` again and again, from the moment this is said until the next line of input."""

    async def run(client: Client) -> None:
        while True:
            await crowd.buy(client, root)

    async with gather(address, n) as crowd, trio.open_nursery() as nursery:
        for client in crowd.clients:
            nursery.start_soon(run, client)
        say(busy=True)
        await trio.to_thread.run_sync(sys.stdin.readline)
        nursery.cancel_scope.cancel()
    return {"n_bytes": sum(client.n_bytes for client in crowd.clients)}


async def read_slowly(address: str, root: str, n: int, rate: int, fast_root: str) -> Json:
    """``n`` clients fetch ``root`` at ``rate`` bytes a second each, and one more fetches ``fast_root`` as fast as it can."""
    async with gather(address, n, rate=rate) as slow, gather(address, 1) as fast:
        async with trio.open_nursery() as nursery:
            for client in slow.clients:
                nursery.start_soon(slow.buy, client, root)
            for client in fast.clients:
                nursery.start_soon(fast.buy, client, fast_root)
        return {"n_bytes": sum(client.n_bytes for client in (*slow.clients, *fast.clients))}


@asynccontextmanager
async def gather(address: str, n: int, *, rate: int | None = None) -> AsyncIterator[Crowd]:
    """``n`` new clients, connected one after the other."""
    clock = steady_clock()
    async with trio.open_nursery() as nursery, AsyncExitStack() as sessions:
        clients = []
        for _ in range(n):
            key = PeerKey.generate()
            host = await sessions.enter_async_context(open_host(key.seed))
            writer = JournalWriter(Journal(MemoryStateStorage(), fold.reduce), clock)
            nursery.start_soon(writer.run)
            dialer = host if rate is None else cast(Host, _SlowHost(host, rate))
            conversing = converse(dialer, parse_address(address), key, signer=None, writer=writer, store=_drop, clock=clock)
            clients.append(Client(await sessions.enter_async_context(conversing)))
        yield Crowd(address, clients, clock)
        await sessions.aclose()
        nursery.cancel_scope.cancel()


class _SlowHost:
    """A host whose streams are read slowly. Only what a conversation uses of a host."""

    def __init__(self, host: Host, rate: int) -> None:
        self._host: Final = host
        self._rate: Final = rate

    async def dial(self, address: str, timeout_s: float) -> _SlowStream:
        return _SlowStream(await self._host.dial(address, timeout_s), self._rate)


class _SlowStream:
    """A stream whose reader takes ``rate`` bytes a second, in small pieces."""

    def __init__(self, stream: Stream, rate: int) -> None:
        self._stream: Final = stream
        self._rate: Final = rate
        self.send_all: Final = stream.send_all
        self.send_source: Final = stream.send_source
        self.send_bytes: Final = stream.send_bytes
        self.close: Final = stream.close
        self.reset: Final = stream.reset

    async def receive_into(self, target: memoryview) -> int:
        n_read = await self._stream.receive_into(target[:SLOW_READ_BYTES])
        await trio.sleep(n_read / self._rate)
        return n_read


def _drop(blocks: Iterable[tuple[Cid, bytes | bytearray | memoryview]]) -> None:
    """What is verified is not kept."""


def main() -> None:
    verbs: dict[str, Callable[..., Awaitable[Json]]] = {
        "together": fetch_together,
        "quotes": ask_quotes,
        "busy": keep_busy,
        "slowly": read_slowly,
    }
    answer_commands(lambda command: trio.run(partial(verbs[command.pop("do")], **command)))


if __name__ == "__main__":
    main()
