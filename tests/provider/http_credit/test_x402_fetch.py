"""x402's packages of npm, unmodified, buy content by its CID from a serving provider, in both schemes."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest
from chain_fixture import devchain  # noqa: F401
from processes import write_file
from shop import Shop
from stock_peers import PATIENCE_S, PAYERS, folder_of

from retrieval.cid import format_cid
from retrieval.deal import audit
from retrieval.identity import EvmKey
from retrieval.payment.chain import DEVCHAIN
from retrieval.payment.evm import EvmChain
from retrieval.payment.rate import Rate
from retrieval.payment.x402.answer import Charged
from retrieval.store.lmdb import LmdbStateStorage
from retrieval.units import MIB

PER_GIB = Rate(price_per_gib=1_000_000)
RANGES = [(start, start + MIB - 1) for start in range(0, 3 * MIB, MIB)]


def pay(url: str, scheme: str, secret: bytes, rpc: str) -> list[Any]:
    """What the payer got for each range; skips the test where it is not built."""
    folder = folder_of("x402")
    if not folder.is_dir():
        pytest.skip("no x402 payer is built here (make interop-env)")
    if shutil.which("node") is None:
        pytest.skip("there is no node here")
    told = {"url": url, "ranges": RANGES, "scheme": scheme, "secret": f"0x{secret.hex()}", "rpc": rpc, "chain": DEVCHAIN.chain_id}
    ended = subprocess.run(
        PAYERS["x402"].run, cwd=folder, input=json.dumps(told), capture_output=True, text=True, timeout=2 * PATIENCE_S, check=False
    )
    assert ended.returncode == 0, ended.stderr
    return [json.loads(line) for line in ended.stdout.splitlines()]


@pytest.mark.parametrize("scheme", ["batch-settlement", "exact"])
def test_a_web_pages_fetch_pays_for_range_after_range(tmp_path: Path, devchain: str, scheme: str) -> None:  # noqa: F811
    prices = {"price.default": "1 USD/GiB", "http.listen": ("/ip4/127.0.0.1/tcp/0",), "x402.free_per_day": MIB}
    shop = Shop(folder=tmp_path, rpc=devchain, prices=prices)
    path = write_file(tmp_path / "film", 4 * MIB, seed=11)
    root, payer = shop.add(path), EvmKey.generate()
    EvmChain(devchain).mint(payer.address, 10_000_000)
    with shop.serving() as node:
        url = f"{node.urls[0]}/ipfs/{format_cid(root.cid)}"
        httpx.get(url, headers={"Range": f"bytes=0-{MIB - 1}"})
        answers = pay(url, scheme, payer.secret, devchain)
    content = path.read_bytes()
    assert [answer["status"] for answer in answers] == [206] * 3
    assert [answer["sha256"] for answer in answers] == [hashlib.sha256(content[first : last + 1]).hexdigest() for first, last in RANGES]
    assert sum(Charged.from_header(answer["paid"]).charged for answer in answers) == PER_GIB.owed(3 * MIB)
    with closing(LmdbStateStorage.open_readonly(shop.home.state_path)) as state:
        assert audit.check(state).promised == (PER_GIB.owed(3 * MIB) if scheme == "batch-settlement" else 0)
