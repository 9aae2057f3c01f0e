"""The dapp module at the client's gateway: it pays out of its token's budget, and tells what it did."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from chain_fixture import devchain  # noqa: F401
from chromium import open_browser, open_page
from counter_gateway import Running, funded, open_counter
from dapp_pages import DAPP, open_module, serve_folder, serve_http
from retrieval_client.cli import cli
from shop import PRICE_PER_GIB, Shop
from stock_peers import FETCHERS, PATIENCE_S, folder_of

from retrieval.cid import format_cid
from retrieval.console import run
from retrieval.payment.rate import Rate
from retrieval.store.blocks import Root
from retrieval.units import MIB

if TYPE_CHECKING:
    from playwright.sync_api import Browser

PRICE = Rate(price_per_gib=PRICE_PER_GIB)
SIZE = 8 * MIB + 5


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with open_browser() as opened:
        yield opened


@pytest.fixture
def shop(tmp_path: Path, devchain: str) -> Shop:  # noqa: F811
    return Shop(folder=tmp_path, rpc=devchain)


@pytest.fixture
def film(shop: Shop) -> Root:
    (shop.folder / "film.bin").write_bytes(os.urandom(SIZE))
    return shop.add(shop.folder / "film.bin")


def sha256_of(shop: Shop) -> str:
    return hashlib.sha256((shop.folder / "film.bin").read_bytes()).hexdigest()


@contextmanager
def counter_of(shop: Shop) -> Iterator[Running]:
    """A funded gateway at a provider that serves."""
    with shop.serving() as node:
        home = shop.client(gateway__providers=[node.addresses[0]])
        funded(home, node)
        with open_counter(home) as counter:
            yield counter
            counter.until_idle()


@contextmanager
def route_to(counter: Running) -> Iterator[str]:
    """A delegated router (``/routing/v1``) that knows one gateway, and thinks it has everything."""
    record = {
        "Schema": "peer",
        "ID": "12D3KooWPjceQrSwdWXPyLLeABRXmuqt69Rg3sBYbU1Nft9HyQ6X",
        "Addrs": [f"/ip4/127.0.0.1/tcp/{counter.caller.port}/http"],
        "Protocols": ["transport-ipfs-gateway-http"],
    }

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "application/x-ndjson")
            self.end_headers()
            self.wfile.write(json.dumps(record).encode() + b"\n")

        def log_message(self, *words: object) -> None:
            """Tests have their own output."""

    with serve_http(Answer) as origin:
        yield origin


def test_a_page_with_a_token_sees_the_price_buys_and_gets_the_receipt(
    browser: Browser, shop: Shop, film: Root, tmp_path: Path, capsys: Any
) -> None:
    script = """
    ({ what, gateway, token }) => attempt(async () => {
      const local = new dapp.LocalGateway({ gateway, token })
      const listening = new AbortController()
      const happened = []
      const events = (async () => { for await (const event of local.events({ signal: listening.signal })) happened.push(event) })()
      const price = await dapp.quote(what, { gateway, token })
      const file = await dapp.retrieve(what, { gateway, token, maxSpend: price.maxSpend })
      const hash = await sha256(await file.bytes())
      let deal
      do deal = (await local.receipts()).find(({ dealId }) => dealId === file.deals[0])
      while (deal?.status !== 'verified')
      const receipt = await local.receiptFile(deal.dealId)
      const { leftOfToken } = await local.budget()
      listening.abort()
      await events
      return {
        price: `${price.amount}`, sha256: hash, paid: `${deal.paid}`, left: `${leftOfToken}`, receipt: Array.from(receipt),
        ended: happened.filter(({ type }) => type === 'ended').map(({ data }) => data), ids: new Set(happened.map(({ id }) => id)).size
      }
    })"""
    with counter_of(shop) as counter, open_module(browser) as page:
        told = {"what": format_cid(film.cid), "gateway": f"http://{counter.authority}", "token": counter.new_token(cap=100_000)}
        found = page.evaluate(script, told)
        assert "sha256" in found, found
    owed = PRICE.owed(film.n_bytes)
    assert (found["sha256"], found["price"], found["paid"], found["left"]) == (sha256_of(shop), str(owed), str(owed), str(100_000 - owed))
    (receipt := tmp_path / "page.receipt.cbor").write_bytes(bytes(found["receipt"]))
    capsys.readouterr()
    assert run(cli, program="retrieval-client", arguments=["receipts", "verify", str(receipt)]) == 0
    assert json.loads(capsys.readouterr().out)["root"] == format_cid(film.cid)


def test_a_page_without_a_token_or_above_its_limit_spends_nothing(browser: Browser, shop: Shop, film: Root) -> None:
    script = "({ what, options }) => attempt(async () => (await dapp.retrieve(what, options)).bytes())"
    with counter_of(shop) as counter, open_module(browser) as page:
        gateway, what = f"http://{counter.authority}", format_cid(film.cid)

        def code(**options: object) -> str:
            return str(page.evaluate(script, {"what": what, "options": {"gateway": gateway, **options}})["code"])

        assert code() == "spending_not_allowed"
        assert code(token=counter.new_token("read")) == "spending_not_allowed"
        assert code(token=counter.new_token(), maxSpend=1_000) == "over_budget"
        assert code(token="rmt_none") == "unauthorized"
        assert code(token=counter.new_token(origins=("https://other.example",))) == "forbidden"


def test_the_example_page_buys_through_the_gateway(browser: Browser, shop: Shop, film: Root) -> None:
    with counter_of(shop) as counter, serve_folder(DAPP) as origin, open_page(browser) as page:
        page.goto(f"{origin}/example/?what={format_cid(film.cid)}&gateway=http://{counter.authority}")
        page.get_by_text("Gateway", exact=True).last.click()
        page.get_by_label("Token").fill(counter.new_token())
        page.get_by_role("button", name="Show the price").click()
        page.get_by_role("button", name="Pay and fetch").click()
        page.locator("#result").wait_for()
        assert "by your gateway" in page.locator("#facts").inner_text()


def test_helia_buys_block_by_block_with_the_header_hook(shop: Shop, film: Root) -> None:
    program = folder_of("helia")
    if not (program / FETCHERS["helia"].run[0]).exists():
        pytest.skip("verified-fetch is not built here (make interop-env)")
    node, _ = FETCHERS["helia"].run
    with counter_of(shop) as counter, route_to(counter) as router:
        told = {"router": router, "token": counter.new_token(), "maxSpend": 2_000}
        ended = subprocess.run(
            [program / node, "pay.mjs", DAPP / "retrieval.js", json.dumps(told), f"ipfs://{format_cid(film.cid)}"],
            cwd=program,
            capture_output=True,
            text=True,
            timeout=2 * PATIENCE_S,
            check=False,
        )
    assert ended.returncode == 0, ended.stderr
    assert json.loads(ended.stdout) == {"status": 200, "nBytes": SIZE, "sha256": sha256_of(shop)}
