"""Buying from our own provider over HTTP, on a real chain: what is paid, what stays on both sides' books, and what is refused."""

from __future__ import annotations

import json
import secrets
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import trio
from chain_fixture import devchain  # noqa: F401
from processes import write_file
from retrieval_client import get
from retrieval_client.cli import cli
from retrieval_client.config import ClientSettings
from retrieval_client.fetch import Progress
from retrieval_client.source import Source
from retrieval_client.unwrap import one_error
from retrieval_client.wallet import Wallet, open_wallet_in_turn
from retrieval_client.web.address import GatewayAddress, parse_gateway
from retrieval_client.web.fetch import WebFetch, WebWanted
from retrieval_client.web.funding import fund, quote
from shop import DOLLAR, Shop

from retrieval.cid import format_cid
from retrieval.console import run
from retrieval.deal.audit import Audit, check
from retrieval.errors import ErrorCode, RetrievalError
from retrieval.home import Home
from retrieval.payment.evm import EvmChain
from retrieval.settings import load
from retrieval.store.blocks import MemoryBlockStore, Root
from retrieval.store.lmdb import LmdbStateStorage
from retrieval.transport.writer import JournalWriter, open_writer, steady_clock
from retrieval.units import GIB, MIB, ceil_div

SIZE = 35 * MIB + 17
PRICE_PER_GIB = 1_000_000
"""Of ``shop.PRICE``, in the token's smallest unit."""


@dataclass(frozen=True)
class Place:
    shop: Shop
    root: Root
    film: Path
    provider: GatewayAddress

    @property
    def source(self) -> Source:
        return Source(root=self.root.cid)

    def client(self, **values: Any) -> Home:
        """A new client, who may spend a dollar for a fetch."""
        return self.shop.client(f"client-{secrets.token_hex(4)}", wallet__per_fetch="1 USD", **values)

    def fund(self, home: Home, amount: int = DOLLAR) -> None:
        trio.run(lambda: fund(home, settings_of(home), self.provider, amount, open_chain=EvmChain))

    def buy(self, home: Home, *, spend_max: int = DOLLAR, store: MemoryBlockStore | None = None) -> WebFetch:
        """One whole fetch."""

        async def main() -> WebFetch:
            async with opened(home) as (wallet, writer):
                fetch = self.fetch(wallet, writer, spend_max=spend_max, store=store)
                await fetch.run()
                return fetch

        return trio.run(main)

    def fetch(
        self,
        wallet: Wallet,
        writer: JournalWriter,
        *,
        spend_max: int = DOLLAR,
        store: MemoryBlockStore | None = None,
        on_progress: Callable[[Progress], None] = lambda progress: None,
    ) -> WebFetch:
        wanted = WebWanted(source=self.source, provider=self.provider, spend_max=spend_max, timeout_s=20.0)
        kept = MemoryBlockStore() if store is None else store
        return WebFetch(wallet, kept, writer, wanted, clock=steady_clock(), open_chain=EvmChain, on_progress=on_progress)


@asynccontextmanager
async def opened(home: Home) -> AsyncIterator[tuple[Wallet, JournalWriter]]:
    """A wallet with its writer, as a program has them."""
    clock = steady_clock()
    with one_error():
        async with (
            open_wallet_in_turn(home, settings_of(home), command="test", now=clock()) as wallet,
            open_writer(wallet.journal, clock) as writer,
        ):
            yield wallet, writer


def settings_of(home: Home) -> ClientSettings:
    return load(ClientSettings, home.config_path, {}, {})[0]


def audit_of(home: Home) -> Audit:
    with closing(LmdbStateStorage.open_readonly(home.state_path)) as state:
        return check(state)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, devchain: str) -> Iterator[Place]:  # noqa: F811
    tmp_path = tmp_path_factory.mktemp("place")
    prices = {"price.default": "1 USD/GiB", "http.listen": ("/ip4/127.0.0.1/tcp/0",), "x402.free_per_day": 0}
    shop = Shop(folder=tmp_path / "shop", rpc=devchain, prices=prices)
    root = shop.add(write_file(tmp_path / "film", SIZE, seed=3))
    with shop.serving() as node:
        yield Place(shop, root, tmp_path / "film", parse_gateway(node.urls[0]))


def test_what_arrived_is_paid_for_and_proven_and_both_sides_books_agree(place: Place) -> None:
    home = place.client()
    quoted = trio.run(quote, place.provider, place.source)
    place.fund(home)

    fetch = place.buy(home)

    tally = fetch.tally
    assert fetch.are_receipts_verified
    assert tally.verified_bytes == place.root.n_bytes
    assert ceil_div(place.root.n_bytes * PRICE_PER_GIB, GIB) <= tally.spent_sum <= quoted.amount_max + 8
    ours = audit_of(home)
    assert abs(ours.promised - tally.spent_sum) <= 8, "a correction of the last answer's rounding comes with the next"


def test_the_same_bytes_are_not_paid_twice_after_a_break(place: Place) -> None:
    home, store = place.client(), MemoryBlockStore()
    place.fund(home)

    async def break_off() -> int:
        async with opened(home) as (wallet, writer):
            with trio.CancelScope() as scope:
                fetch = place.fetch(
                    wallet, writer, store=store, on_progress=lambda at: scope.cancel() if at.verified_bytes >= 10 * MIB else None
                )
                await fetch.run()
            assert scope.cancelled_caught
            return fetch.tally.spent_sum

    spent_before = trio.run(break_off)
    assert spent_before > 0

    fetch = place.buy(home, store=store)

    assert fetch.tally.resumed_bytes >= 10 * MIB
    price = ceil_div(place.root.n_bytes * PRICE_PER_GIB, GIB)
    # What was on its way when it broke off was charged, and came or not: at most two answers.
    assert spent_before + fetch.tally.spent_sum <= price + 2 * ceil_div(17 * MIB * PRICE_PER_GIB, GIB)
    audit_of(home)


def test_a_budget_below_the_price_is_told_before_anything_is_signed(place: Place) -> None:
    home = place.client()
    place.fund(home)
    with pytest.raises(RetrievalError) as caught:
        place.buy(home, spend_max=20_000)
    assert caught.value.code is ErrorCode.OVER_BUDGET
    assert audit_of(home).promised == 0


def test_a_price_above_the_wallets_is_refused(place: Place) -> None:
    home = place.client(wallet__price_max="0.5 USD/GiB")
    place.fund(home)
    with pytest.raises(RetrievalError) as caught:
        place.buy(home)
    assert caught.value.code is ErrorCode.PRICE_TOO_HIGH


def test_without_a_channel_the_command_that_opens_one_is_named(place: Place) -> None:
    home = place.client()
    with pytest.raises(RetrievalError) as caught:
        place.buy(home)
    assert caught.value.code is ErrorCode.CHANNEL_MISSING
    assert f"--provider {place.provider}" in caught.value.detail


def test_a_get_opens_a_channel_where_its_owner_lets_it(place: Place) -> None:
    home = place.client(wallet__auto_open_max="0.5 USD")
    fetch = place.buy(home)
    assert fetch.are_receipts_verified
    assert fetch.tally.channel_open_s > 0


def test_a_deposit_of_an_earlier_call_is_found(place: Place) -> None:
    home = place.client()
    first = trio.run(lambda: fund(home, settings_of(home), place.provider, DOLLAR, open_chain=EvmChain))
    again = trio.run(lambda: fund(home, settings_of(home), place.provider, DOLLAR, open_chain=EvmChain))
    assert (first.channel_id, again.balance, again.sent) == (again.channel_id, 2 * DOLLAR, True)


def test_fetches_at_the_same_time_share_a_channel(place: Place) -> None:
    home = place.client()
    place.fund(home)

    async def main() -> list[WebFetch]:
        async with opened(home) as (wallet, writer):
            fetches = [place.fetch(wallet, writer) for _ in range(3)]
            async with trio.open_nursery() as nursery:
                for fetch in fetches:
                    nursery.start_soon(fetch.run)
            return fetches

    fetches = trio.run(main)
    assert all(fetch.are_receipts_verified for fetch in fetches)
    assert audit_of(home).promised >= 3 * ceil_div(place.root.n_bytes * PRICE_PER_GIB, GIB) - 50


def test_the_library_and_the_command_line_take_a_url_for_a_provider(
    place: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home, url, cid = place.client(), str(place.provider), format_cid(place.root.cid)

    def type_in(*arguments: str) -> Any:
        """The result of a command that succeeds."""
        capsys.readouterr()
        assert run(cli, program="retrieval-client", arguments=[*arguments, "--home", str(home.path), "--json"]) == 0
        return [json.loads(line) for line in capsys.readouterr().out.splitlines()]

    [asked] = type_in("quote", cid, "--from", url)
    assert (asked["price_per_gib"], asked["within_per_fetch"]) == (str(PRICE_PER_GIB), True)
    type_in("fund", "1", "USD", "--provider", url)
    film = get(cid, url, home=home.path, out=tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == place.film.read_bytes()
    assert film.receipt_verified

    rows = type_in("receipts", "list")
    assert {row["status"] for row in rows} == {"provider_signed"}
    type_in("receipts", "export", "-o", str(tmp_path / "proofs"))
    files = [str(path) for path in (tmp_path / "proofs").iterdir()]
    assert len(files) == len(rows)
    assert len(type_in("receipts", "verify", *files)) == len(rows)
    type_in("journal", "check")
    [channel] = type_in("channels")
    assert (channel["balance"], channel["state"]) == (str(DOLLAR), "open")
    [closing] = type_in("close", channel["channel_id"][:8])
    assert closing["state"] == "closing"
    assert int(closing["amount"]) == DOLLAR - int(channel["promised"])
    type_in("journal", "check")
