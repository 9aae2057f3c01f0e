"""asyncio. iroh-blobs 0.35 through its Python package: QUIC, BLAKE3 verified while it streams, stored on disk at both ends. Not paid.

Its binding cannot be told to leave relays alone, so both nodes live in a room with nothing but loopback.
"""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from benchmarks.pair import Peer, Unavailable, WorkerPair, warm_up
from benchmarks.processes import Json, answer_commands, say, start_worker
from benchmarks.room import open_room

LABEL: Final = "iroh-blobs 0.35"


@contextmanager
def open_peer(folder: Path, file: Path) -> Iterator[Peer]:
    """A pair that moves ``file``. Raises ``Unavailable``."""
    if importlib.util.find_spec("iroh") is None:
        raise Unavailable("the package `iroh` is not installed: run `make bench-env`")
    with open_room() as within, start_worker(__name__, "serve", folder / "iroh-provider", file, within=within) as server:
        warm_up(folder / "iroh-provider")
        yield WorkerPair(
            server.pid,
            lambda: start_worker(__name__, "fetch", folder / "iroh-client", within=within),
            {"address": server.ready},
            stored_in=folder / "iroh-client",
        )


def load() -> Any:
    """The package; it has no types."""
    return importlib.import_module("iroh")


async def open_node(folder: Path) -> Any:
    iroh = load()
    iroh.iroh_ffi.uniffi_set_event_loop(asyncio.get_running_loop())
    options = iroh.NodeOptions(
        gc_interval_millis=None,
        blob_events=None,
        enable_docs=False,
        ipv4_addr="127.0.0.1:0",
        ipv6_addr="[::1]:0",
        node_discovery=iroh.NodeDiscoveryConfig.NONE,
        secret_key=None,
        protocols=None,
    )
    return await iroh.Iroh.persistent_with_options(str(folder), options)


async def serve(folder: Path, file: Path) -> None:
    iroh = load()
    node, added = await open_node(folder), asyncio.get_running_loop().create_future()

    class Adding(iroh.AddCallback):  # type: ignore[misc,name-defined]  # known at run time only
        async def progress(self, progress: Any) -> None:
            if progress.type() == iroh.AddProgressType.ALL_DONE:
                added.set_result(progress.as_all_done().hash)

    await node.blobs().add_from_path(str(file), True, iroh.SetTagOption.auto(), iroh.WrapOption.no_wrap(), Adding())
    address = await node.net().node_addr()
    say(node_id=str(await node.net().node_id()), addresses=list(address.direct_addresses()), hash=str(await added))
    await asyncio.to_thread(sys.stdin.read)
    await node.node().shutdown()


async def fetch(folder: Path, server: Json) -> Json:
    iroh = load()
    node = await open_node(folder)
    blob = iroh.Hash.from_string(server["hash"])
    address = iroh.NodeAddr(iroh.PublicKey.from_string(server["node_id"]), None, server["addresses"])
    first_s: float | None = None

    class Watching(iroh.DownloadCallback):  # type: ignore[misc,name-defined]  # known at run time only
        async def progress(self, progress: Any) -> None:
            nonlocal first_s
            if first_s is None and progress.type() == iroh.DownloadProgressType.PROGRESS:
                first_s = time.perf_counter() - began

    began = time.perf_counter()
    options = iroh.BlobDownloadOptions(iroh.BlobFormat.RAW, [address], iroh.SetTagOption.auto())
    await node.blobs().download(blob, options, Watching())
    seconds = time.perf_counter() - began
    size = await node.blobs().size(blob)
    await node.node().shutdown()
    return {"n_bytes": size, "seconds": seconds, "first_s": first_s}


def new_folder(name: str) -> Path:
    folder = Path(name)
    folder.mkdir()
    return folder


def main() -> None:
    match sys.argv[1:]:
        case ["serve", folder, file]:
            asyncio.run(serve(new_folder(folder), Path(file)))
        case ["fetch", folder]:
            answer_commands(lambda command: asyncio.run(fetch(new_folder(folder), command["address"])))
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main()
