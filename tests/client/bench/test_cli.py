"""The verb as people and scripts meet it: providers that sell, providers that give, gateways, and the status each outcome ends with."""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import small_gateway as small
from chain_fixture import devchain  # noqa: F401 - a fixture
from gate import Gate
from retrieval_client.cli import cli
from retrieval_provider.node import Node
from shop import DOLLAR, PRICE_PER_GIB, Shop
from terminal import Terminal

from retrieval.cid import format_cid
from retrieval.console import run
from retrieval.dag.importer import import_stream
from retrieval.errors import Exit
from retrieval.home import Home
from retrieval.payment.rate import Rate
from retrieval.store.blocks import MemoryBlockStore, Root
from retrieval.store.disk import DiskBlockStore
from retrieval.transport.libp2p import parse_address
from retrieval.units import MIB

FILE_BYTES = 2 * MIB + 1
ROW = {
    "target", "root", "path", "start", "attempts", "succeeded", "failed", "bytes", "blocks", "connect_ms", "ttfb_ms", "last_byte_ms",
    "total_ms", "mib_per_s", "stall_ms", "overhead", "cpu_s_per_gib", "usd_per_gb", "paid",
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    status: int
    out: str
    err: str

    @property
    def rows(self) -> list[Any]:
        return [json.loads(line) for line in self.out.splitlines()]

    @property
    def error(self) -> Any:
        return json.loads(self.err.splitlines()[-1])["error"]


Client = Callable[..., Ended]


@dataclass(frozen=True, slots=True, kw_only=True)
class Market:
    shop: Shop
    node: Node
    film: Root

    @property
    def address(self) -> str:
        return self.node.addresses[0]

    @property
    def cid(self) -> str:
        return format_cid(self.film.cid)

    @property
    def price(self) -> int:
        return Rate(price_per_gib=PRICE_PER_GIB).owed(self.film.n_bytes)


@pytest.fixture(scope="module")
def market(tmp_path_factory: pytest.TempPathFactory, devchain: str) -> Iterator[Market]:  # noqa: F811
    shop = Shop(folder=tmp_path_factory.mktemp("shop"), rpc=devchain)
    (shop.folder / "film.bin").write_bytes(os.urandom(FILE_BYTES))
    film = shop.add(shop.folder / "film.bin")
    with shop.serving() as node:
        yield Market(shop=shop, node=node, film=film)


@pytest.fixture(scope="module")
def free(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Market]:
    shop = Shop(folder=tmp_path_factory.mktemp("free"), prices={"price.default": "0 USD/GiB"})
    (shop.folder / "film.bin").write_bytes(os.urandom(FILE_BYTES))
    film = shop.add(shop.folder / "film.bin")
    with shop.serving() as node:
        yield Market(shop=shop, node=node, film=film)


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Client:
    monkeypatch.setenv("RETRIEVAL_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("COLUMNS", "80")

    def run_command(*arguments: str | Path, terminal: bool = False) -> Ended:
        out, err = (Terminal(), Terminal()) if terminal else (io.StringIO(), io.StringIO())
        monkeypatch.setattr(sys, "stdout", out)
        monkeypatch.setattr(sys, "stderr", err)
        status = run(cli, program="retrieval-client", arguments=[str(argument) for argument in arguments])
        shown = [stream.text if isinstance(stream, Terminal) else stream.getvalue() for stream in (out, err)]
        return Ended(status=status, out=shown[0], err=shown[1])

    return run_command


@pytest.fixture
def funded(client: Client, market: Market) -> Client:
    assert client("init", "--rpc", market.shop.rpc).status == Exit.OK
    assert client("fund", "1", "USD", "--provider", market.address).status == Exit.OK
    return client


def blocks_held(tmp_path: Path) -> int:
    with closing(DiskBlockStore(Home(tmp_path / "home", "retrieval-client").blocks_path, bytes_max=1 << 30)) as store:
        return store.bytes_used()


def test_what_is_sold_is_paid_receipted_and_not_kept(funded: Client, market: Market, tmp_path: Path) -> None:
    measured = funded("bench", market.address, "--cid", market.cid, "--runs", "2")
    assert measured.status == Exit.OK, measured.err
    cold, warm = measured.rows
    for row in (cold, warm):
        assert set(row) == ROW
        assert (row["attempts"], row["succeeded"], row["failed"]) == (2, 2, {})
        assert (row["bytes"], row["blocks"], row["paid"]) == (FILE_BYTES, market.film.n_blocks, str(2 * market.price))
        assert 0 < row["overhead"]["median"] < 0.05
        assert row["ttfb_ms"]["low"] <= row["ttfb_ms"]["median"] <= row["ttfb_ms"]["p95"] <= row["ttfb_ms"]["high"]
    assert cold["connect_ms"]["median"] < cold["ttfb_ms"]["median"]
    assert warm["connect_ms"] is None
    assert blocks_held(tmp_path) == 0
    assert {(row["status"], row["paid"]) for row in funded("receipts", "list").rows} == {("verified", str(market.price))}
    (line,) = funded("statement").rows[0]["channels"]
    assert (line["paid"], line["agrees"]) == (str(4 * market.price), True)


def test_what_is_kept_is_there_for_the_next_get(funded: Client, market: Market, tmp_path: Path) -> None:
    assert funded("bench", market.address, "--cid", market.cid, "--runs", "1", "--keep").status == Exit.OK
    assert blocks_held(tmp_path) == market.film.n_bytes
    (got,) = funded("get", market.cid, "--from", market.address, "-o", tmp_path / "out").rows
    assert (got["paid"], got["bytes"]) == ("0", FILE_BYTES)


@pytest.mark.parametrize("limit", ["all", "one"])
def test_nothing_is_signed_that_the_budget_does_not_cover_whole(
    funded: Client, market: Market, monkeypatch: pytest.MonkeyPatch, limit: str
) -> None:
    spend = ["--max-spend", f"{(4 * market.price - 1) / DOLLAR:.6f} USD"]
    if limit == "one":
        monkeypatch.setenv("RETRIEVAL_WALLET_PER_FETCH", f"{(market.price - 1) / DOLLAR:.6f} USD")
        spend = []
    refused = funded("bench", market.address, "--cid", market.cid, "--runs", "2", *spend)
    assert (refused.status, refused.error["label"], refused.out) == (Exit.BUDGET, "over_budget", "")
    assert funded("statement").rows[0]["deals"] == []


def test_without_a_channel_the_command_that_opens_one_is_named(client: Client, market: Market) -> None:
    assert client("init", "--rpc", market.shop.rpc).status == Exit.OK
    refused = client("bench", market.address, "--cid", market.cid)
    assert (refused.status, refused.error["label"]) == (Exit.PAYMENT, "channel_missing")
    assert "retrieval-client" in refused.error["detail"]


def test_what_is_free_needs_no_budget_and_the_same_content_counts_once(client: Client, free: Market) -> None:
    assert client("init").status == Exit.OK
    measured = client("bench", free.address, "--cid", free.cid, "--cid", f"ipfs://{free.cid}", "--runs", "1")
    assert measured.status == Exit.OK, measured.err
    assert [(row["start"], row["paid"]) for row in measured.rows] == [("cold", "0"), ("warm", "0")]


def test_content_that_nobody_has_ends_with_its_own_status_beside_what_was_measured(client: Client, free: Market) -> None:
    store = MemoryBlockStore()
    absent = format_cid(import_stream(store, io.BytesIO(b"elsewhere"), "x").cid)
    assert client("init").status == Exit.OK
    measured = client("bench", free.address, "--cid", free.cid, "--cid", absent, "--runs", "2")
    assert (measured.status, measured.error["label"]) == (Exit.NOT_FOUND, "not_found")
    rows = {(row["root"], row["start"]): row for row in measured.rows}
    assert rows[free.cid, "cold"]["succeeded"] == rows[free.cid, "warm"]["succeeded"] == 2
    assert (rows[absent, "cold"]["failed"], rows[absent, "warm"]["attempts"]) == ({"not_found": 2}, 0)


def test_a_provider_that_is_not_there_is_measured_as_such(client: Client, free: Market) -> None:
    assert client("init").status == Exit.OK
    gone = free.address.replace(free.address.split("/")[4], "1", 1)
    measured = client("bench", gone, "--cid", free.cid, "--runs", "1", "--timeout", "1")
    assert (measured.status, measured.error["label"]) == (Exit.PEER, "dial_failed")
    assert measured.rows[0]["failed"] == {"dial_failed": 1}


def test_a_fetch_that_stalls_is_counted_paid_for_what_came_and_leaves_no_deal_behind(funded: Client, market: Market) -> None:
    port = parse_address(market.address).endpoint.port
    with Gate(port) as gate:
        gate.hold_after(MIB + MIB // 2)
        address = market.address.replace(f"/tcp/{port}/", f"/tcp/{gate.port}/")
        measured = funded("bench", address, "--cid", market.cid, "--runs", "1", "--timeout", "1")
    assert (measured.status, measured.error["label"]) == (Exit.RESUMABLE, "transfer_stalled"), measured.err
    assert measured.rows[0]["failed"] == {"transfer_stalled": 1}
    assert [deal["outcome"] for deal in funded("statement").rows[0]["deals"]] == ["failed"]
    assert funded("journal", "check").rows[0]["deals_open"] == 0
    assert funded("bench", market.address, "--cid", market.cid, "--runs", "1").status == Exit.OK


@pytest.fixture
def gateway() -> Iterator[tuple[small.Gateway, str]]:
    store = MemoryBlockStore()
    film = import_stream(store, io.BytesIO(bytes(range(256)) * 1024), "film")
    with small.serving(small.Gateway(store)) as running:
        yield running, format_cid(film.cid)


@pytest.mark.parametrize("form", ["car", "raw"])
def test_a_gateway_needs_no_home(client: Client, gateway: tuple[small.Gateway, str], form: str) -> None:
    running, cid = gateway
    measured = client("bench", running.url, "--cid", cid, "--runs", "2", "--format", form)
    assert measured.status == Exit.OK, measured.err
    assert [(row["succeeded"], row["bytes"], row["paid"]) for row in measured.rows] == [(2, 1 << 18, "0")] * 2


def test_what_a_gateway_gave_can_be_kept(client: Client, gateway: tuple[small.Gateway, str], tmp_path: Path) -> None:
    running, cid = gateway
    assert client("init").status == Exit.OK
    assert client("bench", running.url, "--cid", cid, "--runs", "1", "--keep").status == Exit.OK
    assert blocks_held(tmp_path) >= 1 << 18


def test_what_of_a_broken_fetch_was_to_be_kept_is_dropped(client: Client, gateway: tuple[small.Gateway, str], tmp_path: Path) -> None:
    running, cid = gateway
    running.alter = lambda blocks: blocks[:1]
    running.cut_after = 1000
    assert client("init").status == Exit.OK
    assert client("bench", running.url, "--cid", cid, "--runs", "1", "--keep").status == Exit.RESUMABLE
    assert blocks_held(tmp_path) == 0


@pytest.mark.parametrize(
    "arguments",
    [
        ("ADDR", "--cid", "CID", "--format", "raw"),
        ("URL", "--cid", "CID", "--max-spend", "1 USD"),
        ("ftp://nowhere", "--cid", "CID"),
        ("URL", "--cid", "film.mp4"),
        ("URL",),
        ("URL", "--cid", "CID", "--runs", "0"),
    ],
)
def test_what_makes_no_sense_is_refused(
    client: Client, free: Market, gateway: tuple[small.Gateway, str], arguments: tuple[str, ...]
) -> None:
    words = {"ADDR": free.address, "URL": gateway[0].url, "CID": gateway[1]}
    assert client("init").status == Exit.OK
    assert client("bench", *(words.get(word, word) for word in arguments)).status == Exit.USAGE
    assert gateway[0].n_requests == 0


@pytest.mark.parametrize("columns", ["80", "140"])
def test_a_person_gets_a_table_that_fits(client: Client, free: Market, monkeypatch: pytest.MonkeyPatch, columns: str) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    assert client("init").status == Exit.OK
    shown = client("bench", free.address, "--cid", free.cid, "--runs", "2", terminal=True)
    assert shown.status == Exit.OK, shown.err
    assert "first verified byte" in shown.out
    assert "2 of 2" in shown.out
    assert max(map(len, shown.out.splitlines())) <= int(columns)
    assert "cold 1 of 2" in shown.err
