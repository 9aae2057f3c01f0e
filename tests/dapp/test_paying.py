"""A web page in Chromium buys content from a serving provider of another origin, through a wallet, over a development chain."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from chain_fixture import devchain  # noqa: F401
from chromium import open_browser
from dapp_pages import HELPERS, Wallet, open_module
from processes import write_file
from retrieval_client.cli import cli
from shop import Shop

from retrieval.cid import format_cid
from retrieval.console import run
from retrieval.deal import audit, fold
from retrieval.deal.records import HttpSaleRecord
from retrieval.identity import EvmKey
from retrieval.payment.evm import EvmChain
from retrieval.payment.rate import Rate
from retrieval.store.blocks import Root
from retrieval.store.lmdb import LmdbStateStorage
from retrieval.units import KIB, MIB

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

DOLLAR = 1_000_000
PER_GIB = Rate(price_per_gib=DOLLAR)
FREE = MIB  # a day
DEPOSIT = 100_000  # the least that the door takes
SIZE = 9 * MIB + 17

RETRIEVE = """
({ what, options }) => attempt(async () => {
  const progress = []
  const wallet = options.wallet === false ? undefined : window.ethereum
  const file = await dapp.retrieve(what, { ...options, wallet, onProgress: (each) => progress.push(each.receivedBytes) })
  const bytes = await file.bytes()
  const payments = file.payments.map(({ scheme, charged }) => ({ scheme, charged: `${charged}` }))
  const receipts = file.receipts.map(({ status, bytes }) => ({ status, file: btoa(String.fromCharCode(...bytes)) }))
  return { sha256: await sha256(bytes), size: bytes.length, progress, spent: `${file.spent}`, payments, receipts }
})
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Market:
    """A provider with a file, and a wallet with money."""

    shop: Shop
    root: Root
    content: bytes
    wallet: Wallet = field(default_factory=Wallet)

    @property
    def what(self) -> str:
        return format_cid(self.root.cid)

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.content).hexdigest()

    @contextmanager
    def serving(self) -> Iterator[str]:
        """The gateway's URL, once the free allowance of this address is used up."""
        with self.shop.serving() as node:
            (url,) = node.urls
            httpx.get(f"{url}/ipfs/{self.what}", headers={"Range": f"bytes=0-{FREE - 1}"})
            yield url

    def sales(self) -> list[HttpSaleRecord]:
        with closing(LmdbStateStorage.open_readonly(self.shop.home.state_path)) as state:
            return [sale for _, sale in fold.scan(state, HttpSaleRecord)]

    def promised(self) -> int:
        """What vouchers promise, once the books were checked."""
        with closing(LmdbStateStorage.open_readonly(self.shop.home.state_path)) as state:
            return audit.check(state).promised

    def received(self) -> int:
        receiver = EvmKey.from_secret(bytes.fromhex(self.shop.home.receiver_key_path.read_text()))
        return EvmChain(self.shop.rpc).token_balance(receiver.address)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with open_browser() as opened:
        yield opened


@pytest.fixture
def market(tmp_path: Path, devchain: str) -> Market:  # noqa: F811
    prices = {"price.default": "1 USD/GiB", "http.listen": ("/ip4/127.0.0.1/tcp/0",), "x402.free_per_day": FREE}
    shop = Shop(folder=tmp_path, rpc=devchain, prices=prices)
    path = write_file(tmp_path / "film", SIZE, seed=7)
    market = Market(shop=shop, root=shop.add(path), content=path.read_bytes())
    EvmChain(devchain).mint(market.wallet.key.address, 10 * DOLLAR)
    return market


def retrieve(page: Page, what: str, **options: Any) -> dict[str, Any]:
    found: dict[str, Any] = page.evaluate(RETRIEVE, {"what": what, "options": options})
    print(json.dumps({**found, "progress": None, "receipts": None}))
    return found


def test_one_signature_of_the_wallet_pays_for_window_after_window(browser: Browser, market: Market) -> None:
    with market.serving() as url, open_module(browser, market.wallet) as page:
        bought = retrieve(page, market.what, gateway=url, maxSpend=50_000, depositMax=DEPOSIT, windowBytes=2 * MIB)
        assert (bought["sha256"], bought["size"]) == (market.sha256, SIZE)
        assert [each["primaryType"] for each in market.wallet.shown] == ["ReceiveWithAuthorization"]
        assert len(bought["payments"]) == 5
        assert bought["progress"] == sorted(bought["progress"])
        assert bought["progress"][-1] == SIZE
        assert {each["status"] for each in bought["receipts"]} == {"verified"}
    sales = market.sales()
    total = sum(sale.amount for sale in sales)
    assert market.promised() == total == PER_GIB.owed(sum(sale.n_bytes for sale in sales)) == market.received()
    assert 0 <= int(bought["spent"]) - total <= len(sales)  # of a CAR the most is told before its size is known


def test_a_page_that_comes_again_spends_from_the_channel_it_has(browser: Browser, market: Market) -> None:
    with market.serving() as url, open_module(browser, market.wallet) as page:
        for first in (0, 2 * MIB, 4 * MIB):
            wanted = {"first": first, "last": first + 2 * MIB - 1}
            bought = retrieve(page, market.what, gateway=url, maxSpend=5_000, depositMax=DEPOSIT, range=wanted)
            assert bought["sha256"] == hashlib.sha256(market.content[first : first + 2 * MIB]).hexdigest()
            page.reload()
            page.evaluate("async () => { window.dapp = await import('/retrieval.js') }")
            page.evaluate(HELPERS)
        assert len(market.wallet.shown) == 1
    assert market.promised() == sum(sale.amount for sale in market.sales()) == market.received()


def test_a_transfer_pays_for_the_whole_file_with_one_signature(browser: Browser, market: Market) -> None:
    with market.serving() as url, open_module(browser, market.wallet) as page:
        bought = retrieve(page, market.what, gateway=url, maxSpend=10_000, scheme="exact")
        assert bought["sha256"] == market.sha256
        assert [each["primaryType"] for each in market.wallet.shown] == ["TransferWithAuthorization"]
        assert market.wallet.shown[0]["message"]["value"] == "10000"
    assert market.received() == 10_000
    assert [each["status"] for each in bought["receipts"]] == ["verified"]


def test_the_receipts_are_files_that_the_client_program_accepts(browser: Browser, market: Market, tmp_path: Path, capsys: Any) -> None:
    with market.serving() as url, open_module(browser, market.wallet) as page:
        bought = retrieve(page, market.what, gateway=url, maxSpend=50_000, depositMax=DEPOSIT)
    (receipt,) = bought["receipts"]
    (file := tmp_path / "page.receipt.cbor").write_bytes(base64.b64decode(receipt["file"]))
    capsys.readouterr()
    assert run(cli, program="retrieval-client", arguments=["receipts", "verify", str(file)]) == 0
    row = json.loads(capsys.readouterr().out)
    assert (row["root"], row["paid"], row["payer"]) == (market.what, bought["spent"], market.wallet.address)


def test_nothing_is_signed_for_more_than_may_be_spent(browser: Browser, market: Market) -> None:
    with market.serving() as url, open_module(browser, market.wallet) as page:
        dear = retrieve(page, market.what, gateway=url, maxSpend=8_000, depositMax=DEPOSIT)
        assert (dear["code"], dear["number"]) == ("over_budget", 304)
        no_deposit = retrieve(page, market.what, gateway=url, maxSpend=50_000)
        assert no_deposit["code"] == "over_budget"
        unnamed = retrieve(page, market.what, gateway=url)
        assert unnamed["code"] == "invalid_amount"
    assert market.wallet.shown == []
    assert market.sales() == []


def test_a_budget_holds_over_the_retrievals_of_a_page(browser: Browser, market: Market) -> None:
    script = """
    ({ what, gateway }) => attempt(async () => {
      const budget = new dapp.Budget(4_000n)
      const take = async (first) => await (await dapp.retrieve(what, {
        gateway, wallet: ethereum, maxSpend: 50_000n, depositMax: 100_000n, budget, range: { first, last: first + (1 << 21) - 1 }
      })).bytes()
      await take(0)
      await take(1 << 22)
      return { left: `${budget.left}`, third: await attempt(() => take(3 << 21)) }
    })"""
    with market.serving() as url, open_module(browser, market.wallet) as page:
        found = page.evaluate(script, {"what": market.what, "gateway": url})
    assert found["third"]["code"] == "over_budget"
    total = sum(sale.amount for sale in market.sales())
    assert 4_000 - int(found["left"]) - 2 <= total <= 4_000 - int(found["left"])


def test_a_wallet_that_refuses_or_is_elsewhere_pays_nothing(browser: Browser, market: Market) -> None:
    with market.serving() as url, open_module(browser, market.wallet) as page:
        market.wallet.is_willing = False
        assert retrieve(page, market.what, gateway=url, maxSpend=50_000, depositMax=DEPOSIT)["code"] == "cancelled"
        market.wallet.chain_id = 8453
        assert retrieve(page, market.what, gateway=url, maxSpend=50_000, depositMax=DEPOSIT)["code"] == "wrong_chain"
        assert retrieve(page, market.what, gateway=url, wallet=False)["code"] == "payment_required"
    assert market.sales() == []


def test_the_count_is_put_right_after_an_answer_that_was_cut(browser: Browser, market: Market) -> None:
    script = """
    ({ what, gateway }) => attempt(async () => {
      const options = { gateway, wallet: ethereum, maxSpend: 50_000n, depositMax: 100_000n, windowBytes: 64 << 20 }
      const file = await dapp.retrieve(what, options)
      const reader = file.body.getReader()
      await reader.read()
      await reader.cancel()
      const rest = await dapp.retrieve(what, { ...options, range: { first: 1 << 20, last: (3 << 20) - 1 } })
      return { sha256: await sha256(await rest.bytes()) }
    })"""
    path = write_file(market.shop.folder / "long", 48 * MIB, seed=9)
    long = format_cid(market.shop.add(path).cid)
    with market.serving() as url, open_module(browser, market.wallet) as page:
        found = page.evaluate(script, {"what": long, "gateway": url})
    assert found["sha256"] == hashlib.sha256(path.read_bytes()[MIB : 3 * MIB]).hexdigest()
    cut, whole = sorted(market.sales(), key=lambda sale: -sale.n_bytes)
    assert cut.n_bytes < 48 * MIB
    assert 2 * MIB <= whole.n_bytes < 2 * MIB + 64 * KIB
    assert market.promised() == cut.amount + whole.amount == market.received()


def test_retrievals_at_the_same_time_take_turns_on_one_channel(browser: Browser, market: Market) -> None:
    script = """
    ({ what, gateway }) => attempt(async () => {
      const take = async (first) => (await (await dapp.retrieve(what, {
        gateway, wallet: ethereum, maxSpend: 50_000n, depositMax: 100_000n, range: { first, last: first + (1 << 20) - 1 }
      })).bytes()).length
      return { sizes: await Promise.all([0, 1, 2, 3, 4].map((n) => take(n << 20))) }
    })"""
    with market.serving() as url, open_module(browser, market.wallet) as page:
        found = page.evaluate(script, {"what": market.what, "gateway": url})
    assert found.get("sizes") == [MIB] * 5, found
    assert len(market.wallet.shown) == 1
    assert market.promised() == sum(sale.amount for sale in market.sales()) == market.received()


def test_a_fetch_that_pays_serves_whoever_only_knows_fetch(browser: Browser, market: Market) -> None:
    script = """
    ({ what, gateway }) => attempt(async () => {
      const payments = []
      globalThis.fetch = dapp.payingFetch({
        wallet: ethereum, maxSpend: 50_000n, depositMax: 100_000n, onPayment: ({ charged }) => payments.push(`${charged}`)
      })
      const get = async (first) => {
        const answer = await fetch(`${gateway}/ipfs/${what}`, { headers: { Range: `bytes=${first}-${first + (1 << 20) - 1}` } })
        return [answer.status, (await answer.arrayBuffer()).byteLength]
      }
      return { answers: [await get(0), await get(1 << 20)], payments }
    })"""
    with market.serving() as url, open_module(browser, market.wallet) as page:
        found = page.evaluate(script, {"what": market.what, "gateway": url})
    assert found["answers"] == [[206, MIB]] * 2, found
    assert len(market.wallet.shown) == 1
    assert market.promised() == sum(map(int, found["payments"])) == PER_GIB.owed(2 * MIB) == market.received()
