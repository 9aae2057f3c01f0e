"""A provider in this process, and homes of clients that buy from it: for tests of the client program that need no second process."""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import trio
from retrieval_client.config import ClientSettings
from retrieval_provider.config import ProviderSettings
from retrieval_provider.node import Node, open_node

from retrieval.dag.importer import import_path
from retrieval.home import Home, Secret, create_file, write_secret
from retrieval.identity import EvmKey
from retrieval.payment.evm import EvmChain
from retrieval.settings import load, write_default
from retrieval.store.blocks import Root
from retrieval.store.disk import DiskBlockStore
from retrieval.store.lmdb import LmdbStateStorage

DOLLAR = 1_000_000
PRICE = "1 USD/GiB"
PRICE_PER_GIB = 1_000_000


@dataclass(slots=True, kw_only=True)
class Shop:
    """A provider's home with content in it, and the chain it is paid on; ``rpc`` empty sells nothing."""

    folder: Path
    rpc: str = ""
    prices: dict[str, object] = field(default_factory=lambda: {"price.default": PRICE})
    home: Home = field(init=False)

    def __post_init__(self) -> None:
        values = {"serve.listen": ("/ip4/127.0.0.1/tcp/0",)} | self.prices | ({"chain.rpc": self.rpc} if self.rpc else {})
        self.home = new_home(self.folder / "provider", "retrieval-provider", ProviderSettings, values)
        if self.rpc:
            EvmChain(self.rpc).send_gas(EvmKey.from_secret(bytes.fromhex(self.home.receiver_key_path.read_text())).address)

    def add(self, path: Path) -> Root:
        """Put a file or directory on sale."""
        with closing(DiskBlockStore(self.home.blocks_path, bytes_max=1 << 32)) as store:
            root = import_path(store, path)
            store.pin(root)
            return root

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[Node]:
        """Serve while the block runs."""
        settings, _ = load(ProviderSettings, self.home.config_path, {}, {})
        async with open_node(self.home, settings) as node:
            yield node

    @contextmanager
    def serving(self) -> Iterator[Node]:
        """Serve from a thread while the block runs, for tests of commands that start an event loop of their own."""
        opened: queue.Queue[tuple[Node, Callable[[], None]] | BaseException] = queue.Queue()

        async def main() -> None:
            async with self.opened() as node:
                stopping, token = trio.Event(), trio.lowlevel.current_trio_token()
                opened.put((node, lambda: token.run_sync_soon(stopping.set)))
                await stopping.wait()

        def serve() -> None:
            try:
                trio.run(main)
            except BaseException as error:
                opened.put(error)
                raise

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            found = opened.get()
            if isinstance(found, BaseException):
                raise found
            node, stop = found
            try:
                yield node
            finally:
                stop()
        finally:
            thread.join()

    def client(self, name: str = "client", *, money: int = 100 * DOLLAR, **values: object) -> Home:
        """A client's home with ``money`` in its wallet; settings by dotted key with ``__`` for the dot."""
        chosen: dict[str, object] = {"wallet.per_fetch": "0.5 USD"} | {key.replace("__", "."): value for key, value in values.items()}
        home = new_home(self.folder / name, "retrieval-client", ClientSettings, chosen | ({"chain.rpc": self.rpc} if self.rpc else {}))
        if self.rpc and money:
            chain, address = EvmChain(self.rpc), EvmKey.from_secret(bytes.fromhex(home.wallet_key_path.read_text())).address
            chain.send_gas(address)
            chain.mint(address, money)
        return home


def new_home(path: Path, program: str, declaration: type, values: dict[str, object]) -> Home:
    """What ``init`` makes, without its chain."""
    home = Home(path, program)
    home.create()
    write_secret(home.identity_key_path, Secret(os.urandom(32)))
    write_secret(home.wallet_key_path if program == "retrieval-client" else home.receiver_key_path, Secret(os.urandom(32)))
    LmdbStateStorage.open(home.state_path, command="test").close()
    create_file(home.config_path, write_default(declaration, values).encode(), mode=0o600)
    return home
