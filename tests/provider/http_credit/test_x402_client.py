"""The unmodified ``x402`` client of PyPI buys content by its CID from a serving provider, in both schemes, over a development chain."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from chain_fixture import devchain  # noqa: F401
from jsonschema import Draft202012Validator
from processes import write_file
from retrieval_client.cli import cli
from shop import Shop

from retrieval.cid import format_cid
from retrieval.console import run
from retrieval.deal import audit, fold
from retrieval.deal.records import HttpSaleRecord
from retrieval.identity import EvmKey, format_address, parse_address
from retrieval.payment.chain import DEVCHAIN
from retrieval.payment.evm import EvmChain
from retrieval.payment.http_receipt import SALE_RECEIPT, SaleReceipt, verify_sale
from retrieval.payment.rate import Rate
from retrieval.payment.x402.answer import PAYMENT_RESPONSE, Charged
from retrieval.payment.x402.offer import PAYMENT_REQUIRED, PaymentRequired, Scheme
from retrieval.payment.x402.payment import PAYMENT_SIGNATURE
from retrieval.store.blocks import Root
from retrieval.store.lmdb import LmdbStateStorage
from retrieval.units import MIB

x402 = pytest.importorskip("x402")
Account = pytest.importorskip("eth_account").Account
batch_client = pytest.importorskip("x402.mechanisms.evm.batch_settlement.client")
exact_client = pytest.importorskip("x402.mechanisms.evm.exact.client")
signers = pytest.importorskip("x402.mechanisms.evm.signers")
clients = pytest.importorskip("x402.http.clients")

DOLLAR = 1_000_000
PER_GIB = Rate(price_per_gib=DOLLAR)
NETWORK = f"eip155:{DEVCHAIN.chain_id}"
RAW = {"Accept": "application/vnd.ipld.raw"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Market:
    """A provider with a file, whose free allowance is one MiB a day."""

    shop: Shop
    root: Root
    content: bytes

    @contextmanager
    def serving(self) -> Iterator[str]:
        """The URL of the file."""
        with self.shop.serving() as node:
            yield f"{node.urls[0]}/ipfs/{format_cid(self.root.cid)}"

    @property
    def chain(self) -> EvmChain:
        return EvmChain(self.shop.rpc)

    def wallet(self) -> Any:
        """An account with money, and x402's signer for it."""
        account = Account.create()
        self.chain.mint(parse_address(account.address), 10 * DOLLAR)
        return account

    def check(self) -> audit.Audit:
        """The books, once the provider has stopped."""
        with closing(LmdbStateStorage.open_readonly(self.shop.home.state_path)) as state:
            return audit.check(state)

    def sales(self) -> list[HttpSaleRecord]:
        with closing(LmdbStateStorage.open_readonly(self.shop.home.state_path)) as state:
            return [sale for _, sale in fold.scan(state, HttpSaleRecord)]

    def received(self) -> int:
        receiver = EvmKey.from_secret(bytes.fromhex(self.shop.home.receiver_key_path.read_text()))
        return self.chain.token_balance(receiver.address)


@pytest.fixture
def market(tmp_path: Path, devchain: str) -> Market:  # noqa: F811
    prices = {"price.default": "1 USD/GiB", "http.listen": ("/ip4/127.0.0.1/tcp/0",), "x402.free_per_day": MIB}
    shop = Shop(folder=tmp_path, rpc=devchain, prices=prices)
    path = write_file(tmp_path / "film", 9 * MIB + 17, seed=7)
    return Market(shop=shop, root=shop.add(path), content=path.read_bytes())


class Recorder(httpx.AsyncHTTPTransport):
    """The network below x402's client; remembers the payments that went over it."""

    def __init__(self) -> None:
        super().__init__()
        self.payments: list[str] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if PAYMENT_SIGNATURE in request.headers:
            self.payments.append(request.headers[PAYMENT_SIGNATURE])
        return await super().handle_async_request(request)


def paying(market: Market, scheme: Any, network: httpx.AsyncBaseTransport | None = None) -> Any:
    """x402's own client, which takes the first offer it has a scheme for."""
    client = x402.x402Client()
    client.register(NETWORK, scheme)
    client.set_spend_controls({"allowed_assets": [{"network": NETWORK, "asset": format_address(DEVCHAIN.token)}]})
    return httpx.AsyncClient(transport=clients.x402AsyncTransport(client, network), timeout=60)


def channel_payer(market: Market, account: Any) -> Any:
    return batch_client.BatchSettlementEvmScheme(signers.EthAccountSignerWithRPC(account, market.shop.rpc))


def fetch(http: Any, url: str, first: int, last: int) -> httpx.Response:
    return asyncio.run(_fetch(http, url, [(first, last)]))[0]


async def _fetch(http: Any, url: str, ranges: list[tuple[int, int]]) -> list[httpx.Response]:
    async with http as opened:
        return [await opened.get(url, headers={"Range": f"bytes={first}-{last}"}) for first, last in ranges]


def test_what_is_asked_for_first_is_free_and_then_the_price_is_told(market: Market) -> None:
    with market.serving() as url:
        free = httpx.get(url, headers={"Range": f"bytes=0-{MIB - 1}"})
        assert (free.status_code, free.content) == (206, market.content[:MIB])
        refused = httpx.get(url, headers={"Range": "bytes=0-1048575"})
        assert (refused.status_code, refused.headers["Content-Type"]) == (402, "application/problem+json")
        problem = refused.json()
        document = httpx.get(f"{url.partition('/ipfs/')[0]}/openapi.json").json()
        schema = {"$ref": "#/components/schemas/PaymentRequired", "components": document["components"]}
        Draft202012Validator(schema).validate(problem)
        assert "402" in document["paths"]["/ipfs/{cid}"]["get"]["responses"]
        assert (problem["code"], problem["status"], problem["x402Version"]) == ("payment_required", 402, 2)
        offer = PaymentRequired.from_header(refused.headers[PAYMENT_REQUIRED])
        assert [each.scheme for each in offer.accepts] == [Scheme.BATCH, Scheme.EXACT]
        assert [each.amount for each in offer.accepts] == [PER_GIB.owed(MIB), 10_000]
        assert httpx.head(url).status_code == 200
        assert httpx.get(url, headers={"Range": "bytes=99999999-"}).status_code == 416
        assert httpx.get(url, headers={"If-None-Match": free.headers["Etag"]}).status_code == 304
    assert market.check().promised == 0


def test_a_channel_pays_for_range_after_range_and_is_claimed(market: Market) -> None:
    ranges = [(start, start + 2 * MIB - 1) for start in range(0, 8 * MIB, 2 * MIB)]
    with market.serving() as url:
        httpx.get(url, headers={"Range": f"bytes=0-{MIB - 1}"})
        http = paying(market, channel_payer(market, market.wallet()))
        answers = asyncio.run(_fetch(http, url, ranges))
        assert [answer.status_code for answer in answers] == [206] * 4
        assert b"".join(answer.content for answer in answers) == market.content[: 8 * MIB]
        charged = [Charged.from_header(answer.headers[PAYMENT_RESPONSE]) for answer in answers]
        assert charged[-1].charged_total == sum(each.charged for each in charged) == PER_GIB.owed(8 * MIB)
    checked = market.check()
    assert (checked.promised, checked.claimed, market.received()) == (PER_GIB.owed(8 * MIB),) * 3
    assert [sale.n_bytes for sale in market.sales()] == [2 * MIB] * 4


def test_a_transfer_pays_and_what_it_leaves_pays_for_the_next_without_another(market: Market) -> None:
    with market.serving() as url:
        httpx.get(url, headers={"Range": f"bytes=0-{MIB - 1}"})
        http = paying(market, exact_client.ExactEvmScheme(signers.EthAccountSigner(market.wallet())))
        first, second = asyncio.run(_fetch(http, url, [(0, 4 * MIB - 1), (4 * MIB, 8 * MIB - 1)]))
        assert first.content + second.content == market.content[: 8 * MIB]
        assert market.received() == 10_000
    assert sum(sale.amount for sale in market.sales()) == PER_GIB.owed(8 * MIB)
    market.check()


def test_the_price_of_a_request_can_be_asked_before_and_is_what_it_costs(market: Market) -> None:
    with market.serving() as url:
        quote_url = url.replace("/ipfs/", "/v1/quote/")
        quoted = httpx.get(quote_url).json()
        document = httpx.get(f"{url.partition('/ipfs/')[0]}/openapi.json").json()
        Draft202012Validator({"$ref": "#/components/schemas/Quote", "components": document["components"]}).validate(quoted)
        assert (quoted["bytes_max"], quoted["amount_max"]) == (len(market.content), str(PER_GIB.owed(len(market.content))))
        assert (quoted["price_per_gib"], quoted["symbol"], quoted["free_bytes_per_day"]) == (str(DOLLAR), "USD", MIB)
        assert [each["scheme"] for each in quoted["accepts"]] == ["batch-settlement", "exact"]
        part = httpx.get(quote_url, headers={"Range": "bytes=0-1048575"}).json()
        assert (part["bytes_max"], part["amount_max"]) == (MIB, str(PER_GIB.owed(MIB)))
        as_car = httpx.get(f"{quote_url}?format=car").json()
        assert len(httpx.get(f"{url}?format=car&dag-scope=block").content) < as_car["bytes_max"] < 1.1 * len(market.content)
        assert httpx.get(f"{quote_url[:-4]}").status_code == 400
        assert httpx.get(url, headers={"Range": f"bytes=0-{MIB - 1}"}).status_code == 402  # a question costs none of what is free


def test_the_receipt_in_the_header_is_one_that_the_client_program_accepts(market: Market, tmp_path: Path, capsys: Any) -> None:
    with market.serving() as url:
        httpx.get(url, headers={"Range": f"bytes=0-{MIB - 1}"})
        account = market.wallet()
        schemes = {"channel": channel_payer(market, account), "transfer": exact_client.ExactEvmScheme(signers.EthAccountSigner(account))}
        for name, scheme in schemes.items():
            answer = fetch(paying(market, scheme), url, 0, 2 * MIB - 1)
            (file := tmp_path / f"{name}.receipt.cbor").write_bytes(base64.b64decode(answer.headers[SALE_RECEIPT]))
            capsys.readouterr()
            assert run(cli, program="retrieval-client", arguments=["receipts", "verify", str(file)]) == 0
            row = json.loads(capsys.readouterr().out)
            assert (row["status"], row["root"], row["bytes"]) == ("provider_signed", format_cid(market.root.cid), 2 * MIB)
            assert (row["paid"], row["payer"]) == (str(PER_GIB.owed(2 * MIB)), account.address)
            assert (row["channel_amount"] is None) == (name == "transfer")


def test_a_payment_that_comes_again_is_not_taken_again(market: Market) -> None:
    with market.serving() as url:
        httpx.get(url, headers={"Range": f"bytes=0-{MIB - 1}"})
        account = market.wallet()
        for scheme in (channel_payer(market, account), exact_client.ExactEvmScheme(signers.EthAccountSigner(account))):
            network = Recorder()
            assert fetch(paying(market, scheme, network), url, 0, 2 * MIB - 1).status_code == 206
            again = httpx.get(url, headers={"Range": "bytes=0-2097151", PAYMENT_SIGNATURE: network.payments[-1]})
            assert (again.status_code, again.json()["code"]) in [(402, "stale_voucher"), (402, "payment_used")]
    assert len(market.sales()) == 2
    market.check()


def test_a_client_that_lost_its_count_is_put_right_by_a_corrective_402(market: Market) -> None:
    account = market.wallet()
    with market.serving() as url:
        httpx.get(url, headers={"Range": f"bytes=0-{MIB - 1}"})
        first = fetch(paying(market, channel_payer(market, account)), url, 0, 2 * MIB - 1)
        forgetful = fetch(paying(market, channel_payer(market, account)), url, 2 * MIB, 4 * MIB - 1)
        assert (first.status_code, forgetful.status_code) == (206, 206)
    assert sum(sale.amount for sale in market.sales()) == PER_GIB.owed(4 * MIB)
    market.check()


def test_a_cut_answer_costs_what_was_sent_and_the_client_is_put_right(market: Market) -> None:
    path = write_file(market.shop.folder / "long", 48 * MIB, seed=9)
    long = market.shop.add(path)

    promised: list[SaleReceipt] = []

    async def read_a_little_then_ask_again(url: str) -> httpx.Response:
        async with paying(market, channel_payer(market, market.wallet())) as http:
            async with http.stream("GET", url) as answer:
                assert answer.status_code == 200
                promised.append(SaleReceipt.decode(base64.b64decode(answer.headers[SALE_RECEIPT])))
                assert len(await anext(answer.aiter_raw(MIB))) == MIB
            return await http.get(url, headers={"Range": "bytes=0-1048575"})

    with market.serving() as url:
        httpx.get(url, headers={"Range": f"bytes=0-{MIB - 1}"})
        answer = asyncio.run(read_a_little_then_ask_again(url.replace(format_cid(market.root.cid), format_cid(long.cid))))
        assert (answer.status_code, answer.content) == (206, path.read_bytes()[:MIB])
        order = verify_sale(promised[0]).statement.order_id.hex()
        receipt = httpx.get(f"{url.partition('/ipfs/')[0]}/v1/receipts/{order}")
        assert (receipt.status_code, receipt.headers["Content-Type"]) == (200, "application/cbor")
        truth = verify_sale(SaleReceipt.decode(receipt.content)).statement
    cut, whole = sorted(market.sales(), key=lambda sale: -sale.n_bytes)
    assert MIB <= cut.n_bytes < 48 * MIB
    assert whole.n_bytes == MIB
    assert (truth.n_bytes, truth.amount) == (cut.n_bytes, cut.amount)
    assert truth.amount < verify_sale(promised[0]).statement.amount
    assert market.check().promised == cut.amount + whole.amount == PER_GIB.owed(cut.n_bytes + MIB)


def test_what_a_killed_worker_was_sending_is_forgiven(market: Market) -> None:
    path = write_file(market.shop.folder / "long", 48 * MIB, seed=9)
    long = market.shop.add(path)

    async def read_until_it_breaks(url: str) -> None:
        async with paying(market, channel_payer(market, market.wallet())) as http, http.stream("GET", url) as answer:
            assert answer.status_code == 200
            workers = [each for each in psutil.Process().children() if "retrieval_provider.http.worker" in " ".join(each.cmdline())]
            assert len(workers) == 1
            workers[0].kill()
            with pytest.raises(httpx.HTTPError):
                async for _ in answer.aiter_raw():
                    pass

    with market.serving() as url:
        asyncio.run(read_until_it_breaks(url.replace(format_cid(market.root.cid), format_cid(long.cid))))
    assert market.sales() == []
    assert market.check().promised == 0


def test_requests_at_the_same_time_on_one_channel_are_not_all_paid_for_twice(market: Market) -> None:
    async def all_at_once(url: str) -> list[httpx.Response]:
        async with paying(market, channel_payer(market, market.wallet())) as http:
            assert (await http.get(url, headers={"Range": "bytes=0-1048575"})).status_code == 206
            return await asyncio.gather(*(http.get(url, headers={"Range": f"bytes={n}-{MIB + n - 1}"}) for n in range(6)))

    with market.serving() as url:
        httpx.get(url, headers={"Range": f"bytes=0-{MIB - 1}"})
        answers = asyncio.run(all_at_once(url))
        assert {answer.status_code for answer in answers} <= {206, 402}
        n_served = sum(answer.status_code == 206 for answer in answers)
        assert n_served >= 1
    assert len(market.sales()) == 1 + n_served
    assert market.check().promised == PER_GIB.owed((1 + n_served) * MIB)


def test_a_restart_forgets_nothing(market: Market) -> None:
    scheme = channel_payer(market, market.wallet())
    transfer = exact_client.ExactEvmScheme(signers.EthAccountSigner(market.wallet()))
    for turn in range(2):
        with market.serving() as url:
            httpx.get(url, headers={"Range": f"bytes=0-{MIB - 1}"})
            for each in (scheme, transfer):
                answer = fetch(paying(market, each), url, turn * MIB, turn * MIB + MIB - 1)
                assert answer.content == market.content[turn * MIB : turn * MIB + MIB]
    assert market.received() == 10_000 + PER_GIB.owed(2 * MIB)
    assert [sale.n_bytes for sale in market.sales()] == [MIB] * 4
    market.check()
