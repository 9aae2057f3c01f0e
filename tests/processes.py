"""The three programs as real processes for end-to-end tests: a chain, providers and clients, each with a home of its own.

``Market`` starts them through `retrieval.devchain.children`, so nothing outlives its test; ports are chosen by the system.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from retrieval.devchain.children import Child, ChildFailed, Children, Json
from retrieval.units import MIB, ceil_div

LOOPBACK = "/ip4/127.0.0.1/tcp"
DEPOSIT = "1 USD"
PRICE = "1 USD/GiB"
PRICE_PER_GIB = 1_000_000  # PRICE in the smallest unit: high enough that one block more or less shows
WINDOW_FIRST = 4 * MIB  # what a stranger may owe by default, and so the least that a cut transfer has moved


def owed(n_bytes: int) -> int:
    """What ``n_bytes`` of blocks cost at ``PRICE``."""
    return ceil_div(n_bytes * PRICE_PER_GIB, 1 << 30)


def write_file(path: Path, size_bytes: int, *, seed: int) -> Path:
    """A file whose content follows from its seed, and repeats nowhere."""
    print(f"{path.name}: {size_bytes} bytes from seed {seed}")
    source = random.Random(seed)
    with path.open("wb") as file:
        for start in range(0, size_bytes, MIB):
            file.write(source.randbytes(min(MIB, size_bytes - start)))
    return path


@dataclass(slots=True, kw_only=True)
class Program:
    """One of the two programs, and the home it is run with."""

    children: Children
    name: str
    home: Path

    def start(self, *arguments: str | Path) -> Child:
        return self.children.start(self.name, "--home", self.home, *arguments)

    def run(self, *arguments: str | Path) -> Json:
        """The result of a command that must succeed."""
        return self.start(*arguments).result()

    def fail(self, *arguments: str | Path) -> Child:
        """A command that must not succeed, ended."""
        child = self.start(*arguments)
        if child.wait() == 0:
            raise ChildFailed(child, f"succeeded, and was not to: {child.stdout}")
        return child


@dataclass(slots=True, kw_only=True)
class Provider(Program):
    """A provider, and its `serve` while one runs."""

    name: str = "retrieval-provider"
    serving: Child = field(init=False)
    address: str = ""
    port: int = 0
    peer_id: str = ""

    def serve(self, *options: str) -> Child:
        """Start `serve`, on the port of the last time if there was one, and wait until it can be used."""
        self.serving = self.start("serve", "--listen", f"{LOOPBACK}/{self.port}", *options)
        ready = self.serving.ready()
        (self.address,) = ready["addresses"]
        self.peer_id = ready["peer_id"]
        self.port = int(self.address.split("/")[4])
        return self.serving

    def at(self, port: int) -> str:
        """Its address, with another port before it."""
        return f"{LOOPBACK}/{port}/p2p/{self.peer_id}"


class Market:
    """A chain, and the providers and clients that meet on it. Everything lives in ``folder``."""

    def __init__(self, children: Children, folder: Path) -> None:
        self._children = children
        self.folder = folder
        self.rpc = ""

    def start_chain(self, *options: str | Path) -> Child:
        """Start a chain, on a free port unless an option names one, and wait until it answers."""
        chain = self._children.start("retrieval-devchain", *(("--port", "0") if "--port" not in options else ()), *options)
        self.rpc = str(chain.ready()["rpc"])
        return chain

    def new_provider(self, name: str = "provider") -> Provider:
        provider = Provider(children=self._children, home=self.folder / name)
        provider.run("init", "--rpc", self.rpc)
        provider.run("price", "default", PRICE)
        return provider

    def new_client(self, name: str = "client") -> Program:
        client = Program(children=self._children, name="retrieval-client", home=self.folder / name)
        client.run("init", "--rpc", self.rpc)
        return client


@contextmanager
def open_market(folder: Path) -> Iterator[Market]:
    """A market whose processes end with the block. It has no chain yet."""
    output = folder / "output"
    output.mkdir()
    with Children(output) as children:
        yield Market(children, folder)
