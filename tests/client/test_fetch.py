"""Whole fetches against a provider in this process, on the development chain."""

from __future__ import annotations

import os
import shutil
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path
from typing import TypeVar

import pytest
import trio
from chain_fixture import devchain  # noqa: F401 - a fixture
from gate import Gate
from retrieval_client import Retrieval, aget
from retrieval_client.api import Order, retrieve
from retrieval_client.config import ClientSettings
from retrieval_client.content import held_of
from retrieval_client.fetch import Progress
from retrieval_client.funding import Funded, fund, quote
from retrieval_client.source import Source
from retrieval_provider.node import Node
from shop import DOLLAR, PRICE_PER_GIB, Shop

from retrieval.cid import format_cid
from retrieval.deal import fold
from retrieval.deal.audit import check
from retrieval.deal.records import DealRecord, Outcome, OutcomeRecord
from retrieval.errors import ErrorCode, LocalProtocolError, RetrievalError
from retrieval.home import Home
from retrieval.identity import EvmKey
from retrieval.payment.chain import Chain
from retrieval.payment.evm import EvmChain
from retrieval.payment.rate import Rate
from retrieval.settings import load
from retrieval.store.blocks import Root
from retrieval.store.car import CarReader
from retrieval.store.disk import DiskBlockStore
from retrieval.store.lmdb import LmdbStateStorage
from retrieval.transport.libp2p import parse_address
from retrieval.units import MIB

T = TypeVar("T")
PRICE = Rate(price_per_gib=PRICE_PER_GIB)
FILE_BYTES = 12 * MIB + 5


@pytest.fixture
def shop(tmp_path: Path, devchain: str) -> Shop:  # noqa: F811
    return Shop(folder=tmp_path, rpc=devchain)


@pytest.fixture
def film(shop: Shop) -> Root:
    (shop.folder / "film.bin").write_bytes(os.urandom(FILE_BYTES))
    return shop.add(shop.folder / "film.bin")


def no_chain(rpc: str) -> Chain:
    raise AssertionError("no chain call belongs here")


async def funded(home: Home, address: str, amount: int = DOLLAR) -> Funded:
    settings, _ = load(ClientSettings, home.config_path, {}, {})
    return await fund(home, settings, address, amount, open_chain=EvmChain)


def with_provider(shop: Shop, use: Callable[[Node], Awaitable[T]]) -> T:
    """What ``use`` makes of the open shop."""

    async def main() -> T:
        async with shop.opened() as node:
            return await use(node)

    return trio.run(main)


def deals(home: Home) -> list[OutcomeRecord | None]:
    """The outcome of every deal in the order they were made; the journal has checked."""
    with closing(LmdbStateStorage.open_readonly(home.state_path)) as state:
        check(state)
        made = sorted(fold.scan(state, DealRecord), key=lambda row: row[1].opened_ms)
        return [fold.get(state, OutcomeRecord, deal_id) for deal_id, _ in made]


def stored_bytes(home: Home) -> int:
    with closing(DiskBlockStore(home.blocks_path, bytes_max=1 << 32)) as store:
        return store.bytes_used()


def gated(node: Node, gate: Gate) -> str:
    """The node's address through a gate."""
    target = parse_address(node.addresses[0])
    return node.addresses[0].replace(f"/tcp/{target.endpoint.port}/", f"/tcp/{gate.port}/")


def port_of(node: Node) -> int:
    return parse_address(node.addresses[0]).endpoint.port


def test_a_funded_client_gets_a_file_for_its_price_without_a_chain_call(shop: Shop, film: Root) -> None:
    home, out = shop.client(), shop.folder / "out"

    async def use(node: Node) -> Retrieval:
        await funded(home, node.addresses[0])
        (home.config_path).write_text(home.config_path.read_text().replace(shop.rpc, "http://127.0.0.1:9"))
        return await aget(format_cid(film.cid), node.addresses[0], out=out, home=home.path)

    got = with_provider(shop, use)
    assert out.read_bytes() == (shop.folder / "film.bin").read_bytes()
    assert (got.paid, got.blocks, got.bytes) == (PRICE.owed(film.n_bytes), film.n_blocks, FILE_BYTES)
    assert got.verified
    assert got.receipt_verified
    assert (got.resumed_bytes, got.channel_open_ms) == (0, 0)
    assert [ended.outcome for ended in deals(home) if ended] == [Outcome.DONE]
    assert stored_bytes(home) == 0


def test_a_wallet_that_allows_it_opens_the_channel_by_itself(shop: Shop, film: Root) -> None:
    home = shop.client(wallet__auto_open_max="1 USD")
    got = with_provider(shop, lambda node: aget(format_cid(film.cid), node.addresses[0], out=shop.folder / "out", home=home.path))
    assert got.channel_open_ms > 0
    assert got.paid == PRICE.owed(film.n_bytes)


def test_a_used_up_channel_is_not_filled_again_by_itself(shop: Shop, film: Root) -> None:
    enough_once = f"{(PRICE.owed(film.n_bytes) + 10) / DOLLAR:.6f} USD"
    home = shop.client(wallet__auto_open_max=enough_once)

    async def use(node: Node) -> None:
        await aget(format_cid(film.cid), node.addresses[0], out=shop.folder / "out", home=home.path)
        with pytest.raises(RetrievalError) as refused:
            await aget(format_cid(film.cid), node.addresses[0], out=shop.folder / "out", home=home.path)
        assert refused.value.code is ErrorCode.CHANNEL_UNFUNDED
        assert "retrieval-client fund" in refused.value.detail

    with_provider(shop, use)


def test_without_a_channel_nothing_is_fetched_and_the_command_is_named(shop: Shop, film: Root) -> None:
    home = shop.client()

    async def use(node: Node) -> None:
        with pytest.raises(RetrievalError) as refused:
            await aget(format_cid(film.cid), node.addresses[0], home=home.path)
        assert refused.value.code is ErrorCode.CHANNEL_MISSING
        assert f"--provider {node.addresses[0]}" in refused.value.detail

    with_provider(shop, use)
    assert deals(home) == []


def test_a_deposit_that_the_journal_missed_is_found_before_paying(shop: Shop, film: Root) -> None:
    home = shop.client()

    async def use(node: Node) -> Retrieval:
        await funded(home, node.addresses[0], 1)  # far too little, and then somebody else's process puts more
        settings, _ = load(ClientSettings, home.config_path, {}, {})
        key = EvmKey.from_secret(bytes.fromhex(home.wallet_key_path.read_text()))
        from retrieval.deal.records import ChannelRecord
        from retrieval.payment.channel import ChannelConfig

        with closing(LmdbStateStorage.open_readonly(home.state_path)) as state:
            ((_, channel),) = fold.scan(state, ChannelRecord)
        config = ChannelConfig.from_bytes(channel.config)
        await trio.to_thread.run_sync(lambda: EvmChain(settings.chain.rpc).deposit(config, DOLLAR, payer=key, sender=key))
        return await aget(format_cid(film.cid), node.addresses[0], out=shop.folder / "out", home=home.path)

    assert with_provider(shop, use).verified


@pytest.mark.parametrize("limit", ["max_spend", "per_fetch"])
def test_above_the_budget_nothing_is_signed(shop: Shop, film: Root, limit: str) -> None:
    price = PRICE.owed(film.n_bytes)
    home = shop.client(wallet__per_fetch="0.5 USD" if limit == "max_spend" else f"{(price - 1) / DOLLAR:.6f} USD")

    async def use(node: Node) -> None:
        await funded(home, node.addresses[0])
        with pytest.raises(LocalProtocolError) as refused:
            await aget(format_cid(film.cid), node.addresses[0], home=home.path, max_spend=price - 1 if limit == "max_spend" else 0)
        assert refused.value.code is ErrorCode.OVER_BUDGET

    with_provider(shop, use)
    assert deals(home) == []


def test_a_directory_a_path_and_a_car(shop: Shop) -> None:
    album = shop.folder / "album"
    (album / "discs").mkdir(parents=True)
    (album / "discs" / "song").write_bytes(os.urandom(3 * MIB))
    (album / "cover").write_bytes(bytes(8192))
    root = shop.add(album)
    home, out = shop.client(), shop.folder / "out"
    out.mkdir()

    async def use(node: Node) -> tuple[Retrieval, Retrieval, Retrieval]:
        address, cid = node.addresses[0], format_cid(root.cid)
        await funded(home, address)
        whole = await aget(cid, address, out=out / "album", home=home.path)
        part = await aget(f"{cid}/discs/song", address, out=out / "song", home=home.path)
        order = Order(source=Source.parse(cid), provider=address, out=out / "album.car", as_car=True)
        return whole, part, await retrieve(home, order)

    whole, part, car = with_provider(shop, use)
    assert (out / "album" / "cover").read_bytes() == bytes(8192)
    assert (out / "song").read_bytes() == (out / "album" / "discs" / "song").read_bytes() == (album / "discs" / "song").read_bytes()
    assert (whole.bytes, part.bytes) == (3 * MIB + 8192, 3 * MIB)
    assert part.paid < whole.paid == car.paid
    with open(out / "album.car", "rb") as file:
        reader = CarReader(file)
        assert reader.roots == (root.cid,)
        assert len(list(reader)) == car.blocks == root.n_blocks
    assert car.bytes == (out / "album.car").stat().st_size


def test_kept_content_costs_nothing_the_second_time_and_makes_no_deal(shop: Shop, film: Root) -> None:
    home = shop.client()

    async def use(node: Node) -> tuple[Retrieval, Retrieval]:
        await funded(home, node.addresses[0])
        first = await aget(format_cid(film.cid), node.addresses[0], home=home.path)
        return first, await aget(format_cid(film.cid), node.addresses[0], out=shop.folder / "out", home=home.path)

    first, second = with_provider(shop, use)
    assert (first.path, first.paid) == (None, PRICE.owed(film.n_bytes))
    assert (second.paid, second.deal_id, second.receipt_verified, second.resumed_bytes) == (0, None, False, film.n_bytes)
    assert len(deals(home)) == 1
    assert stored_bytes(home) == film.n_bytes


def test_content_that_would_not_fit_is_refused_before_it_is_paid(shop: Shop, film: Root) -> None:
    home = shop.client(store__bytes_max="10 MiB")

    async def use(node: Node) -> None:
        await funded(home, node.addresses[0])
        with pytest.raises(LocalProtocolError) as refused:
            await aget(format_cid(film.cid), node.addresses[0], home=home.path)
        assert refused.value.code is ErrorCode.STORE_FULL

    with_provider(shop, use)
    assert deals(home) == []


def test_an_output_that_cannot_be_written_is_refused_before_anything_is_asked(shop: Shop, film: Root) -> None:
    home = shop.client()
    with pytest.raises(LocalProtocolError) as refused:
        trio.run(lambda: aget(format_cid(film.cid), f"/ip4/127.0.0.1/tcp/9/p2p/{'x' * 52}", out=shop.folder / "no" / "out", home=home.path))
    assert refused.value.code is ErrorCode.FILE_UNREADABLE


def test_a_transfer_that_breaks_goes_on_by_itself_and_is_paid_once(shop: Shop, film: Root) -> None:
    home, told = shop.client(), list[Progress]()

    async def use(node: Node) -> Retrieval:
        await funded(home, node.addresses[0])
        with Gate(port_of(node)) as gate:
            gate.hold_after(6 * MIB)

            def watch(progress: Progress) -> None:
                told.append(progress)
                if progress.verified_bytes >= 3 * MIB and gate.is_holding:
                    gate.cut()
                    gate.open()

            return await aget(format_cid(film.cid), gated(node, gate), out=shop.folder / "out", home=home.path, on_progress=watch)

    got = with_provider(shop, use)
    assert (shop.folder / "out").read_bytes() == (shop.folder / "film.bin").read_bytes()
    assert got.paid == PRICE.owed(film.n_bytes)
    assert got.receipt_verified
    assert [ended.outcome for ended in deals(home) if ended] == [Outcome.DONE]
    assert any(progress.trouble for progress in told)
    assert told[-1].verified_bytes == told[-1].total_bytes == film.n_bytes


async def cut_short(node: Node, home: Home, film: Root, n_bytes: int) -> None:
    """A get that is given up by its caller after about so many bytes; its deal stays open."""
    with Gate(port_of(node)) as gate:
        gate.hold_after(n_bytes)
        with trio.CancelScope() as giving_up:

            def watch(progress: Progress) -> None:
                if progress.verified_bytes >= n_bytes - 3 * MIB:
                    giving_up.cancel()

            await aget(format_cid(film.cid), gated(node, gate), home=home.path, on_progress=watch)
        assert giving_up.cancelled_caught


def test_a_later_call_resumes_what_an_earlier_one_left_and_pays_nothing_twice(shop: Shop, film: Root) -> None:
    home = shop.client()

    async def use(node: Node) -> Retrieval:
        await funded(home, node.addresses[0])
        await cut_short(node, home, film, 8 * MIB)
        assert deals(home) == [None]
        return await aget(format_cid(film.cid), node.addresses[0], out=shop.folder / "out", home=home.path)

    got = with_provider(shop, use)
    assert got.resumed_bytes >= 5 * MIB
    assert got.paid == PRICE.owed(film.n_bytes)
    assert got.receipt_verified
    assert [ended.outcome for ended in deals(home) if ended] == [Outcome.DONE]


def test_a_provider_that_forgot_the_deal_sells_the_rest_in_a_new_one(shop: Shop, film: Root) -> None:
    home = shop.client()

    async def begin(node: Node) -> None:
        await funded(home, node.addresses[0])
        await cut_short(node, home, film, 8 * MIB)

    async def go_on(node: Node) -> Retrieval:
        return await aget(format_cid(film.cid), node.addresses[0], out=shop.folder / "out", home=home.path, max_spend=price + 1)

    price = PRICE.owed(film.n_bytes)
    with_provider(shop, begin)
    for file in shop.home.state_path.iterdir():
        file.unlink()
    got = with_provider(shop, go_on)
    assert (shop.folder / "out").read_bytes() == (shop.folder / "film.bin").read_bytes()
    first, second = deals(home)
    assert first is not None
    assert second is not None
    assert (first.outcome, second.outcome) == (Outcome.FAILED, Outcome.DONE)
    assert got.paid == first.amount + second.amount
    assert got.paid <= price + 1  # each deal rounds up once


@pytest.mark.parametrize("something_else_first", [False, True])
def test_a_provider_restored_from_an_older_copy_is_paid_what_it_counts(shop: Shop, film: Root, something_else_first: bool) -> None:
    (shop.folder / "song.bin").write_bytes(os.urandom(MIB))
    song, home = shop.add(shop.folder / "song.bin"), shop.client()
    old_copy = shop.folder / "old"

    async def begin(node: Node) -> None:
        await funded(home, node.addresses[0])
        await cut_short(node, home, film, 6 * MIB)

    async def go_on(node: Node) -> None:
        await cut_short(node, home, film, 5 * MIB)

    async def finish(node: Node) -> Retrieval:
        if something_else_first:
            await aget(format_cid(song.cid), node.addresses[0], out=shop.folder / "song", home=home.path)
        return await aget(format_cid(film.cid), node.addresses[0], out=shop.folder / "out", home=home.path)

    with_provider(shop, begin)
    shutil.copytree(shop.home.state_path, old_copy)
    with_provider(shop, go_on)
    shutil.rmtree(shop.home.state_path)
    shutil.copytree(old_copy, shop.home.state_path)
    got = with_provider(shop, finish)
    assert (shop.folder / "out").read_bytes() == (shop.folder / "film.bin").read_bytes()
    assert got.receipt_verified
    codes = [ended.code for ended in deals(home) if ended is not None]
    assert codes == ([ErrorCode.STALE_VOUCHER, 0, 0] if something_else_first else [0])


def test_a_fetch_that_was_killed_before_the_countersignature_asks_for_it(shop: Shop, film: Root) -> None:
    home = shop.client()

    async def use(node: Node) -> tuple[Retrieval, Retrieval]:
        await funded(home, node.addresses[0])
        with trio.CancelScope() as killed:

            def watch(progress: Progress) -> None:
                if progress.verified_bytes == film.n_bytes:
                    killed.cancel()  # everything has come; what the provider says last is not waited for

            await aget(format_cid(film.cid), node.addresses[0], home=home.path, on_progress=watch)
        assert deals(home) == [None]
        return await aget(format_cid(film.cid), node.addresses[0], out=shop.folder / "out", home=home.path), await aget(
            format_cid(film.cid), node.addresses[0], out=shop.folder / "again", home=home.path
        )

    got, again = with_provider(shop, use)
    assert (got.paid, got.resumed_bytes) == (PRICE.owed(film.n_bytes), film.n_bytes)
    assert got.receipt_verified
    assert got.ttfb_ms is None
    assert again.resumed_bytes == 0
    assert [ended.outcome for ended in deals(home) if ended] == [Outcome.DONE, Outcome.DONE]


def test_an_expired_deal_ends_and_the_rest_is_bought_anew(tmp_path: Path, devchain: str) -> None:  # noqa: F811
    shop = Shop(folder=tmp_path, rpc=devchain, prices={"price.default": "1 USD/GiB", "price.quote_lifetime": 2})
    (shop.folder / "film.bin").write_bytes(os.urandom(FILE_BYTES))
    film, home = shop.add(shop.folder / "film.bin"), shop.client()

    async def use(node: Node) -> Retrieval:
        await funded(home, node.addresses[0])
        await cut_short(node, home, film, 8 * MIB)
        await trio.sleep(2.1)  # the quote's lifetime, which the clock decides
        return await aget(format_cid(film.cid), node.addresses[0], out=shop.folder / "out", home=home.path)

    got = with_provider(shop, use)
    first, second = deals(home)
    assert first is not None
    assert second is not None
    assert (first.outcome, first.code, second.outcome) == (Outcome.FAILED, ErrorCode.QUOTE_EXPIRED, Outcome.DONE)
    assert got.verified


def test_a_corrupt_block_is_not_paid_and_ends_the_fetch(shop: Shop, film: Root) -> None:
    with closing(DiskBlockStore(shop.home.blocks_path, bytes_max=1 << 32)) as store:
        bad = held_of(store, Source(root=film.cid)).cids[5]
        size = store.size(bad)
        assert size is not None
        store.delete_many([bad])
        store.put_many([(bad, bytes(size))])
    home = shop.client()

    async def use(node: Node) -> None:
        await funded(home, node.addresses[0])
        with pytest.raises(RetrievalError) as failed:
            await aget(format_cid(film.cid), node.addresses[0], home=home.path)
        assert failed.value.code is ErrorCode.CORRUPT_BLOCK

    with_provider(shop, use)
    (ended,) = deals(home)
    assert ended is not None
    assert (ended.outcome, ended.n_blocks) == (Outcome.FAILED, 5)


def test_a_provider_that_is_gone_is_asked_until_the_timeout(shop: Shop, film: Root) -> None:
    home = shop.client()

    async def address(node: Node) -> str:
        return node.addresses[0]

    gone = with_provider(shop, address)
    with pytest.raises(RetrievalError) as failed:
        trio.run(lambda: aget(format_cid(film.cid), gone, home=home.path, timeout_s=0.5))
    assert failed.value.code is ErrorCode.TRANSFER_STALLED


def test_free_content_needs_no_chain_on_either_side(tmp_path: Path) -> None:
    shop = Shop(folder=tmp_path, prices={"price.default": "0 USD/GiB"})
    (tmp_path / "film.bin").write_bytes(os.urandom(FILE_BYTES))
    film, home = shop.add(tmp_path / "film.bin"), shop.client()
    got = with_provider(shop, lambda node: aget(format_cid(film.cid), node.addresses[0], out=tmp_path / "out", home=home.path))
    assert (got.paid, got.verified, got.receipt_verified) == (0, True, True)


def test_a_quote_signs_nothing_and_says_what_it_would_cost(shop: Shop, film: Root) -> None:
    home = shop.client()
    settings, _ = load(ClientSettings, home.config_path, {}, {})
    offer = with_provider(shop, lambda node: quote(home, settings, Source(root=film.cid), node.addresses[0]))
    assert (offer.quote.amount_max, offer.quote.exact, offer.quote.n_blocks) == (PRICE.owed(film.n_bytes), True, film.n_blocks)
    assert deals(home) == []


def test_a_provider_that_takes_no_payment_is_not_funded(tmp_path: Path, devchain: str) -> None:  # noqa: F811
    free = Shop(folder=tmp_path, prices={"price.default": "0 USD/GiB"})
    home = free.client(chain__rpc=devchain, money=0)

    async def use(node: Node) -> None:
        with pytest.raises(LocalProtocolError) as refused:
            await funded(home, node.addresses[0])
        assert refused.value.code is ErrorCode.CHANNEL_UNACCEPTABLE

    with_provider(free, use)
