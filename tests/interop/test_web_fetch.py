"""Our client fetches from gateways of others: Kubo's, old and current, which gives a CAR as it likes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import trio
from processes import write_file
from retrieval_client.source import Source
from retrieval_client.web.address import parse_gateway
from retrieval_client.web.fetch import WebFetch, WebWanted

from benchmarks.pair import Unavailable
from benchmarks.peers.kubo_bitswap import RELEASES, Repository, binaries
from retrieval.dag.byterange import ByteRange
from retrieval.errors import ErrorCode, RetrievalError
from retrieval.payment.chain import Chain
from retrieval.store.blocks import MemoryBlockStore
from retrieval.transport.writer import steady_clock
from retrieval.units import KIB, MIB
from retrieval.wire.messages import Scope

PATIENCE_S = 60


@dataclass(frozen=True)
class Served:
    url: str
    file: str
    folder: str


@pytest.fixture(scope="module", params=[release.number for release in RELEASES])
def kubo(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A daemon with content, and its gateway on loopback."""
    try:
        binary = binaries().get(request.param)
    except Unavailable as error:
        pytest.skip(str(error))
    if binary is None:
        pytest.skip(f"Kubo {request.param} is not built here (make interop-env)")
    folder: Path = tmp_path_factory.mktemp("kubo")
    repository = Repository(binary, folder / "repository")
    (folder / "content").mkdir()
    write_file(folder / "content" / "film", 37 * MIB + 5, seed=1)
    write_file(folder / "content" / "page", 300 * KIB, seed=2)
    root = repository.run("add", "-Q", "-r", "--cid-version=1", str(folder / "content")).strip()
    repository.run("config", "Addresses.Gateway", "/ip4/127.0.0.1/tcp/0")
    with repository.daemon():
        listening = re.search(
            r"Gateway .*server listening on (/ip4/127.0.0.1/tcp/[0-9]+)", (folder / "repository" / "daemon.log").read_text()
        )
        assert listening is not None
        yield Served(f"{listening[1]}/http", repository.run("resolve", f"/ipfs/{root}/film").strip(), root)


def fetch(url: str, source: Source, *, timeout_s: float = PATIENCE_S) -> MemoryBlockStore:
    store = MemoryBlockStore()

    def no_chain(rpc: str) -> Chain:
        raise AssertionError("Kubo sells nothing")

    async def main() -> None:
        wanted = WebWanted(source=source, provider=parse_gateway(url), spend_max=0, timeout_s=timeout_s)
        with trio.fail_after(PATIENCE_S):
            await WebFetch(None, store, None, wanted, clock=steady_clock(), open_chain=no_chain).run()

    trio.run(main)
    return store


def test_a_file_a_directory_and_a_path_come_whole(kubo: Served) -> None:
    assert fetch(kubo.url, Source.parse(kubo.file)).bytes_used() > 37 * MIB
    assert fetch(kubo.url, Source.parse(kubo.folder)).bytes_used() > 37 * MIB + 300 * KIB
    assert fetch(kubo.url, Source.parse(f"{kubo.folder}/page")).bytes_used() > 300 * KIB


def test_a_part_of_a_file_comes(kubo: Served) -> None:
    source = Source(root=Source.parse(kubo.file).root, scope=Scope.ENTITY, byte_range=ByteRange(first=5 * MIB, last=6 * MIB))
    assert fetch(kubo.url, source).bytes_used() >= MIB


def test_what_is_not_there_is_told(kubo: Served) -> None:
    with pytest.raises(RetrievalError) as caught:
        fetch(kubo.url, Source.parse(f"{kubo.folder}/nothing"))
    assert caught.value.code in (ErrorCode.PATH_NOT_FOUND, ErrorCode.NOT_FOUND, ErrorCode.TRANSFER_TRUNCATED, ErrorCode.TRANSFER_STALLED)
