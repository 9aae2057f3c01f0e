"""The HTTP door in a thread of this process, and a client that shows exactly what came back."""

from __future__ import annotations

import asyncio
import http.client
import json
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from foreign import fixtures
from retrieval_provider.http.app import Door
from retrieval_provider.http.routing import Reach
from retrieval_provider.http.till import FreeTill, Till

from retrieval.gateway.denylist import NOTHING_DENIED, Denylist
from retrieval.gateway.guests import Guests
from retrieval.gateway.listening import serving
from retrieval.store.blocks import BlockStore, MemoryBlockStore
from retrieval.store.car import import_car

PATIENCE_S = 20
PEER_ID = "12D3KooWPjceQrSwdWXPyLLeABRXmuqt69Rg3sBYbU1Nft9HyQ6X"
REACH = Reach(peer_id=PEER_ID, http=("/ip4/127.0.0.1/tcp/4802/http",), libp2p=("/ip4/127.0.0.1/tcp/4801",))


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What came back."""

    status: int
    headers: Mapping[str, str]
    """By their names in small letters."""
    body: bytes
    is_whole: bool
    """False when the connection broke before the end."""

    @property
    def problem(self) -> dict[str, Any]:
        assert self.headers["content-type"] == "application/problem+json"
        return dict(json.loads(self.body))

    @property
    def code(self) -> tuple[int, str]:
        """Status and label of a refusal."""
        return self.status, self.problem["code"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """A client of the door at this port. Each request has a connection of its own."""

    port: int
    source: str = "127.0.0.1"
    """The address it calls from: any below 127 is this machine's."""

    def get(self, target: str, **headers: str) -> Reply:
        return self.ask("GET", target, **headers)

    def head(self, target: str, **headers: str) -> Reply:
        return self.ask("HEAD", target, **headers)

    def ask(self, method: str, target: str, **headers: str) -> Reply:
        """``headers`` are written with underscores."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_S, source_address=(self.source, 0))
        try:
            connection.putrequest(method, target, skip_accept_encoding=True)
            for name, value in headers.items():
                connection.putheader(name.replace("_", "-"), value)
            connection.endheaders()
            response = connection.getresponse()
            try:
                body, is_whole = response.read(), True
            except (http.client.IncompleteRead, ConnectionError) as error:
                body, is_whole = getattr(error, "partial", b""), False
            named = {name.lower(): value for name, value in response.getheaders()}
            return Reply(status=response.status, headers=named, body=body, is_whole=is_whole)
        finally:
            connection.close()

    def connect(self) -> socket.socket:
        """A bare connection."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE_S, source_address=(self.source, 0))


@contextmanager
def open_door(
    store: BlockStore,
    till: Till | None = None,
    *,
    requests_max: int = 64,
    guests: Guests | None = None,
    denylist: Callable[[], Denylist] = lambda: NOTHING_DENIED,
) -> Iterator[Caller]:
    """The door of a store, while the block runs."""
    loop = asyncio.new_event_loop()
    stopping, opened = asyncio.Event(), threading.Event()
    listening = socket.create_server(("127.0.0.1", 0))
    port = listening.getsockname()[1]

    async def serve() -> None:
        door = Door(store, till or FreeTill(), REACH, requests_max=requests_max, denylist=denylist)
        async with serving(door.app(), [listening], shutdown_s=0.1, guests=guests):
            opened.set()
            await stopping.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    try:
        assert opened.wait(PATIENCE_S)
        yield Caller(port=port)
    finally:
        loop.call_soon_threadsafe(stopping.set)
        thread.join()
        loop.close()


def fixture_store(*patterns: str) -> MemoryBlockStore:
    """A store with the blocks of these CARs of the public conformance suite; skips the test where they are not here."""
    store = MemoryBlockStore()
    for pattern in patterns:
        for path in fixtures(f"gateway-conformance/fixtures/{pattern}"):
            with path.open("rb") as stream:
                import_car(store, stream)
    return store
