"""@helia/verified-fetch as it comes, which finds our gateway by our routing, verifies every block, and knows nothing else of us."""

from __future__ import annotations

import hashlib
import json
import subprocess
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
from processes import write_file
from shop import Shop
from stock_peers import FETCHERS, PATIENCE_S, folder_of

from retrieval.cid import format_cid
from retrieval.units import KIB, MIB

HTTP = {"price.default": "0 USD/GiB", "http.listen": ("/ip4/127.0.0.1/tcp/0",)}
LARGE = 5 * MIB + 17  # bytes: several blocks and the node above them


@pytest.fixture(scope="module")
def program() -> Path:
    """The folder it is built in; skips where it is not, or Node 22 does not run here."""
    folder = folder_of("helia")
    if not (folder / FETCHERS["helia"].run[0]).exists():
        pytest.skip("verified-fetch is not built here (make interop-env)")
    return folder


def fetch(program: Path, *words: str) -> list[dict[str, Any]]:
    finished = subprocess.run(
        [*FETCHERS["helia"].run, *words], cwd=program, capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )
    assert finished.returncode == 0, finished.stderr
    return [json.loads(line) for line in finished.stdout.splitlines()]


def test_files_are_found_by_routing_and_verified_block_by_block(program: Path, tmp_path: Path) -> None:
    shop = Shop(folder=tmp_path, prices=HTTP)
    site = tmp_path / "site"
    site.mkdir()
    contents = [write_file(site / "small.txt", KIB, seed=1), write_file(site / "large", LARGE, seed=2)]
    root = format_cid(shop.add(site).cid)

    async def main() -> list[dict[str, Any]]:
        async with shop.opened() as node:
            resources = [f"ipfs://{root}/{path.name}" for path in contents]
            return await trio.to_thread.run_sync(partial(fetch, program, node.urls[0], *resources, f"ipfs://{root}/none"))

    *fetched, missing = trio.run(main)
    expected = [(200, path.stat().st_size, hashlib.sha256(path.read_bytes()).hexdigest()) for path in contents]
    assert [(each["status"], each["nBytes"], each["sha256"]) for each in fetched] == expected
    assert missing["status"] == 404
