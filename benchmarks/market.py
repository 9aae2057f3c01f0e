"""Our node as the benchmarks meet it: a development chain, a provider that is paid, one that is free, and clients of either.

Every program runs in a worker process; homes are made here, channels are opened and shown here, so that no chain call is measured.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

import trio
from retrieval_client.config import ClientSettings
from retrieval_client.funding import fund
from retrieval_client.new_home import set_up
from retrieval_client.web.address import parse_gateway
from retrieval_client.web.funding import fund as fund_gateway
from retrieval_provider.new_home import create_home

from benchmarks.pair import Peer, WorkerPair, warm_up
from benchmarks.processes import Worker, start_worker
from benchmarks.workload import write_file
from retrieval.cid import format_cid
from retrieval.dag.importer import import_path
from retrieval.home import Home
from retrieval.settings import load
from retrieval.store.disk import DiskBlockStore
from retrieval.units import GIB

if TYPE_CHECKING:
    from retrieval.devchain.server import RunningDevchain

DEPOSIT: Final = 90_000_000  # of the 100 test dollars a new wallet is given
STORE_BYTES_MAX: Final = 16 * GIB
FREE: Final = {"price.default": "0 USD/GiB"}
CROWD: Final = {
    "serve.sessions_max": 1000,
    "serve.sessions_per_prefix_max": 1000,
    "serve.queries_per_minute": 1_000_000,
    "serve.queries_per_minute_prefix": 1_000_000,
    "serve.queries_per_minute_total": 1_000_000,
}
"""Limits that a benchmark's clients, all of one address, would otherwise meet."""


class Provider:
    """A running provider."""

    def __init__(self, worker: Worker) -> None:
        self.pid: Final = worker.pid
        self.address: Final[str] = worker.ready["address"]
        self.url: Final[str] = worker.ready["url"]
        """Of its gateway; empty where it has none."""


class Market:
    """Made by ``open_market``."""

    def __init__(self, folder: Path, rpc: str, open_until_end: ExitStack) -> None:
        self._folder: Final = folder
        self.rpc: Final = rpc
        """Empty where nothing is sold."""
        self._open: Final = open_until_end
        self._home: Final = Home(folder / "provider", "retrieval-provider")
        self._n_clients = 0
        self._n_twins = 0
        create_home(self._home, rpc=rpc)

    def add(self, size_bytes: int, *, seed: int) -> str:
        """Import a new file, for every provider of this market; returns its CID. Before any provider runs."""
        path = write_file(self._folder / "content", size_bytes, seed=seed)
        with closing(DiskBlockStore(self._home.blocks_path, bytes_max=STORE_BYTES_MAX)) as store:
            root = import_path(store, path)
            store.pin(root)
        path.unlink()
        return format_cid(root.cid)

    def serve(self) -> Provider:
        """Start the provider, which is paid where there is a chain."""
        return self._serve(self._home, {} if self.rpc else FREE)

    def serve_http(self, *, workers: int = 1) -> Provider:
        """Start one that has a gateway, of so many processes. It is paid where there is a chain, from the first byte on.

        Each has a home of its own; all read the same blocks.
        """
        gateway = {"http.listen": "/ip4/127.0.0.1/tcp/0", "http.workers": workers, "http.requests_max": 10_000, "x402.free_per_day": "0 B"}
        return self._serve(self._twin(self.rpc), gateway if self.rpc else {**FREE, **gateway})

    def serve_free(self) -> Provider:
        """Start one that takes no money beside one that does. It has a home of its own; both read the same blocks."""
        return self._serve(self._twin(""), FREE)

    def _twin(self, rpc: str) -> Home:
        """A home of a provider that has the same blocks."""
        self._n_twins += 1
        home = Home(self._folder / f"provider-{self._n_twins}", "retrieval-provider")
        create_home(home, rpc=rpc)
        shutil.rmtree(home.blocks_path)
        home.blocks_path.symlink_to(self._home.blocks_path)
        return home

    def _serve(self, home: Home, settings: Mapping[str, object]) -> Provider:
        warm_up(self._home.blocks_path)
        flags = [f"{key}={value}" for key, value in {**CROWD, **settings}.items()]
        return Provider(self._open.enter_context(start_worker("benchmarks.node_provider", home.path, *flags)))

    def new_client(self, provider: Provider, *, free: bool = False) -> Home:
        """A client's home; one that pays has a channel with the provider, which has seen it."""
        home = self._new_home("" if free else self.rpc)
        if not free:
            from retrieval.payment.evm import EvmChain

            settings, _ = load(ClientSettings, home.config_path, {}, {})
            trio.run(lambda: fund(home, settings, provider.address, DEPOSIT, open_chain=EvmChain))
        return home

    def new_web_client(self, provider: Provider) -> Home:
        """A client's home; where it must pay, it has a channel with the receiver of the provider's gateway."""
        home = self._new_home(self.rpc)
        if self.rpc:
            from retrieval.payment.evm import EvmChain

            settings, _ = load(ClientSettings, home.config_path, {}, {})
            trio.run(lambda: fund_gateway(home, settings, parse_gateway(provider.url), DEPOSIT, open_chain=EvmChain))
        return home

    def _new_home(self, rpc: str) -> Home:
        self._n_clients += 1
        home = Home(self._folder / f"client-{self._n_clients}", "retrieval-client")
        set_up(home, rpc or None)
        return home

    def peer(self, provider: Provider, client: Home, root: str, *, out: Path | None = None, over_http: bool = False) -> Peer:
        """Fetches ``root`` into the client's emptied store, and on to ``out`` where one is given."""
        address = provider.url if over_http else provider.address
        command = {"do": "fetch", "root": root, "address": address, "out": None if out is None else str(out)}
        stored_in = client.blocks_path if out is None else out
        return WorkerPair(provider.pid, lambda: start_worker("benchmarks.node_client", client.path), command, stored_in=stored_in)


@contextmanager
def open_market(folder: Path, *, paid: bool) -> Iterator[Market]:
    """A market in a new folder. Its processes end with the block, the chain last; there is none where nothing is paid."""
    folder.mkdir()
    with ExitStack() as open_until_end:
        rpc = open_until_end.enter_context(_start_chain()).rpc if paid else ""
        yield Market(folder, rpc, open_until_end)


def _start_chain() -> RunningDevchain:
    from retrieval.devchain import start  # with the EVM, which free markets never wait for

    return start()
