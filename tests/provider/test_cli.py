"""The verbs of `retrieval-provider`, called in this process: what they print, and how they end."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from chain_fixture import devchain  # noqa: F401
from retrieval_provider.cli import PROGRAM, cli
from shell import Operator
from shop import Shop
from takings import channel_record, new_payer
from terminal import Terminal

from retrieval.cid import Cid, format_cid, parse_cid
from retrieval.console import run
from retrieval.dag.walk import Walk, read
from retrieval.deal import fold
from retrieval.deal.records import DealRecord, OutcomeRecord, PriceRecord, record
from retrieval.home import Home
from retrieval.identity import EvmKey, PeerKey, format_address
from retrieval.ledger.journal import Journal
from retrieval.payment.evm import EvmChain
from retrieval.store.car import write_car
from retrieval.store.disk import DiskBlockStore
from retrieval.store.lmdb import LmdbStateStorage
from retrieval.units import MIB
from retrieval.wire.messages import Scope, Selection, Signed

NOBODY_LISTENS = "http://127.0.0.1:9"


@pytest.fixture
def operator(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Operator:
    """An operator whose provider is set up to serve for free: no chain is named."""
    monkeypatch.setattr("os.environ", {name: value for name, value in os.environ.items() if not name.startswith("RETRIEVAL_")})
    operator = Operator(path=tmp_path / "home", capture=capsys)
    operator.type("init")
    return operator


@contextmanager
def journal_of(home: Home) -> Iterator[Journal]:
    with closing(LmdbStateStorage.open(home.state_path, command="a test")) as state:
        yield Journal(state, fold.reduce)


def write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


# init


def test_init_makes_a_home_that_only_its_owner_can_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    operator = Operator(path=tmp_path / "deep" / "home", capture=capsys)
    (made,) = operator.type("init")
    assert made["peer_id"].startswith("12D3KooW")
    assert (made["rpc"], made["gas_wei"], made["gas_transaction"]) == (None, "0", None)
    home = operator.home
    files = (home.config_path, home.identity_key_path, home.receiver_key_path)
    assert [path.stat().st_mode & 0o777 for path in files] == [0o600] * 3
    assert home.path.stat().st_mode & 0o777 == 0o700


def test_init_twice_is_refused_and_changes_nothing(operator: Operator) -> None:
    before = operator.home.identity_key_path.read_bytes()
    status, error = operator.fail("init")
    assert (status, error["label"]) == (2, "already_initialised")
    assert operator.home.identity_key_path.read_bytes() == before


def test_init_on_the_development_chain_takes_gas_money_once(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    devchain: str,  # noqa: F811
) -> None:
    operator = Operator(path=tmp_path, capture=capsys)
    (made,) = operator.type("init", "--rpc", devchain)
    receiver = EvmKey.from_secret(bytes.fromhex(operator.home.receiver_key_path.read_text())).address
    assert made["receiver"] == format_address(receiver)
    assert int(made["gas_wei"]) == EvmChain(devchain).native_balance(receiver) > 0
    assert made["gas_transaction"].startswith("0x")
    operator.home.config_path.unlink()  # as if it had been interrupted before the end
    (again,) = operator.type("init", "--rpc", devchain)
    assert (again["peer_id"], again["receiver"], again["gas_transaction"]) == (made["peer_id"], made["receiver"], None)


def test_init_with_a_chain_that_is_down_leaves_a_home_that_can_be_set_up_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    operator = Operator(path=tmp_path, capture=capsys)
    status, error = operator.fail("init", "--rpc", NOBODY_LISTENS)
    assert (status, error["label"]) == (5, "rpc_unavailable")
    operator.type("init")


def test_init_refuses_what_is_no_url(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, error = Operator(path=tmp_path, capture=capsys).fail("init", "--rpc", "ftp://x")
    assert (status, error["label"]) == (2, "config_invalid")


@pytest.mark.parametrize("verb", ["add README", "ls", "rm bafkqaaa", "price", "serve", "status", "earnings", "claim", "journal check"])
def test_every_verb_wants_a_home_that_is_set_up(tmp_path: Path, capsys: pytest.CaptureFixture[str], verb: str) -> None:
    status, error = Operator(path=tmp_path, capture=capsys).fail(*verb.split())
    assert (status, error["label"]) == (2, "not_initialised")
    assert "retrieval-provider init --home" in error["detail"]


# content


def test_add_gives_a_line_for_each_path_and_ls_the_same(operator: Operator, tmp_path: Path) -> None:
    one, two = write(tmp_path / "one", b"1" * 10), write(tmp_path / "two", os.urandom(2 * MIB))
    added = operator.type("add", one, two)
    assert [row["path"] for row in added] == [str(one), str(two)]
    assert [(row["bytes"], row["blocks"]) for row in added] == [(10, 1), (2 * MIB, 3)]
    assert added[1]["block_bytes"] > 2 * MIB
    listed = {row["root"]: row for row in operator.type("ls")}
    assert {row["root"] for row in added} == set(listed)
    assert all(listed[row["root"]]["bytes"] == row["bytes"] for row in added)
    assert listed[added[0]["root"]]["price_per_gib"] == "10000"


def test_a_path_that_fails_leaves_those_before_it_added(operator: Operator, tmp_path: Path) -> None:
    status, rows, error = operator.try_to("add", write(tmp_path / "one", b"1"), tmp_path / "nowhere")
    assert (status, error["label"]) == (2, "file_unreadable")
    assert [row["root"] for row in rows] == [row["root"] for row in operator.type("ls")]


def test_a_car_is_added_under_the_roots_it_names(operator: Operator, tmp_path: Path) -> None:
    (added,) = operator.type("add", write(tmp_path / "two", os.urandom(2 * MIB)))
    root = parse_cid(added["root"])
    with closing(DiskBlockStore(operator.home.blocks_path, bytes_max=MIB)) as store, open(tmp_path / "two.car", "wb") as stream:
        write_car(stream, [root], read(store, Walk(root)))
    operator.type("rm", added["root"])
    (imported,) = operator.type("add", "--car", tmp_path / "two.car")
    assert {**imported, "path": ""} == {**added, "path": ""}


def test_content_above_the_stores_limit_is_refused(operator: Operator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(os.environ, "RETRIEVAL_STORE_BYTES_MAX", "1 MiB")
    status, error = operator.fail("add", write(tmp_path / "two", os.urandom(2 * MIB)))
    assert (status, error["label"]) == (3, "store_full")
    assert operator.type("ls") == []


def test_rm_says_what_it_freed(operator: Operator, tmp_path: Path) -> None:
    (added,) = operator.type("add", write(tmp_path / "two", os.urandom(2 * MIB)))
    (removed,) = operator.type("rm", added["root"])
    assert removed == {"root": added["root"], "removed_blocks": added["blocks"], "removed_bytes": added["block_bytes"]}
    assert operator.type("ls") == []
    status, error = operator.fail("rm", added["root"])
    assert (status, error["label"]) == (4, "not_found")


def test_rm_is_refused_while_a_deal_is_open(operator: Operator, tmp_path: Path) -> None:
    (added,) = operator.type("add", write(tmp_path / "one", b"1"))
    deal = deal_of(parse_cid(added["root"]))
    with journal_of(operator.home) as journal:
        journal.append([record(bytes(16), deal)], 0)
    status, error = operator.fail("rm", added["root"])
    assert (status, error["label"]) == (1, "content_in_use")
    operator.type("rm", added["root"], "--force")


def deal_of(root: Cid) -> DealRecord:
    return DealRecord(
        selection=Selection(root=root, path=(), scope=Scope.ALL, range_start=None, range_end=None),
        quote=Signed(body=b"x", signature=bytes(64)),
        accept=Signed(body=b"x", signature=bytes(64)),
        peer=bytes(38),
        line_key=bytes(38),
        opened_ms=0,
        expires_ms=0,
    )


def test_what_is_no_cid_is_a_mistake_of_usage(operator: Operator) -> None:
    for verb in (("rm", "README"), ("price", "README", "1/GiB")):
        status, error = operator.fail(*verb)
        assert (status, error["label"]) == (2, "invalid_cid")


# prices


def test_prices_are_set_shown_and_journalled(operator: Operator, tmp_path: Path) -> None:
    (added,) = operator.type("add", write(tmp_path / "one", b"1"))
    assert operator.type("price", "default", "0.02", "USD/GiB") == [{"cid": "default", "price_per_gib": "20000", "flat_fee": "0"}]
    assert operator.type("price", added["root"], "1 USD/GiB", "--flat-fee", "0.5 USD") == [
        {"cid": added["root"], "price_per_gib": "1000000", "flat_fee": "500000"}
    ]
    assert [row["cid"] for row in operator.type("price")] == ["default", added["root"]]
    assert operator.type("ls")[0]["price_per_gib"] == "1000000"
    with journal_of(operator.home) as journal:
        found = sorted((row.price_per_gib, row.flat_fee) for _, row in fold.scan(journal.state, PriceRecord))
    assert found == [(20_000, 0), (1_000_000, 500_000)]


def test_a_price_nobody_can_read_changes_nothing(operator: Operator) -> None:
    status, error = operator.fail("price", "default", "cheap")
    assert (status, error["label"]) == (2, "invalid_amount")
    assert operator.type("price")[0]["price_per_gib"] == "10000"


# money


def test_a_home_in_which_nothing_happened_is_all_zeros(operator: Operator) -> None:
    (status,) = operator.type("status")
    assert (status["serving"], status["earned"], status["at_risk_bytes"], status["deals_open"]) == (False, "0", 0, 0)
    assert operator.type("earnings") == []
    (checked,) = operator.type("journal", "check")
    assert (checked["ok"], checked["entries"]) == (True, 0)
    assert operator.type("journal", "export") == []


def test_a_claim_needs_a_chain(operator: Operator) -> None:
    status, error = operator.fail("claim")
    assert (status, error["label"]) == (2, "config_invalid")
    assert "--rpc" in error["detail"]


def test_a_claim_with_the_chain_down_says_whose_doing_it_is_and_what_to_try(operator: Operator) -> None:
    payer = new_payer(EvmKey.generate().address)
    with journal_of(operator.home) as journal:
        journal.append([record(payer.channel, channel_record(payer, PeerKey.generate(), 100))], 0)
    status, error = operator.fail("claim", "--rpc", NOBODY_LISTENS)
    assert (status, error["label"], error["blame"]) == (5, "rpc_unavailable", "chain")
    assert "--rpc" in error["hint"]


def test_a_channel_nobody_knows_cannot_be_claimed(operator: Operator, devchain: str) -> None:  # noqa: F811
    status, error = operator.fail("claim", "abcdef", "--rpc", devchain)
    assert (status, error["label"]) == (2, "usage")


def test_a_journal_that_was_tampered_with_does_not_check(operator: Operator) -> None:
    operator.type("price", "default", "0")
    with journal_of(operator.home) as journal:
        storage = journal.state
        assert isinstance(storage, LmdbStateStorage)
        (row,) = storage.scan("prices/1")
        from retrieval.ledger.state import Row

        storage.commit([], [Row(table="prices/1", key=row[0], value=row[1] + b"\x00")])
    status, error = operator.fail("journal", "check")
    assert (status, error["label"]) == (1, "journal_broken")
    assert "prices/1" in error["detail"]


def test_a_deal_that_ended_with_another_sum_than_its_receipt_says_does_not_check(operator: Operator) -> None:
    ended = OutcomeRecord(outcome=1, code=0, n_bytes=1, n_blocks=1, amount=7, done=None, detail="", ended_ms=0)
    with journal_of(operator.home) as journal:
        journal.append([record(bytes(16), deal_of(parse_cid("bafkqaaa"))), record(bytes(16), ended)], 0)
    status, error = operator.fail("journal", "check")
    assert (status, error["label"]) == (1, "journal_broken")


def test_an_export_holds_every_entry_whole(operator: Operator) -> None:
    operator.type("price", "default", "0")
    operator.type("price", "default", "1 USD/GiB")
    lines = operator.type("journal", "export")
    assert [line["sequence"] for line in lines] == [1, 2]
    assert lines[1]["prev_hash"] == lines[0]["hash"]
    (checked,) = operator.type("journal", "check")
    assert checked["head"] == lines[1]["hash"]


# settings


@pytest.mark.parametrize(
    ("variable", "value", "complaint"),
    [
        ("CHAIN_WITHDRAW_DELAY", "59 min", "under an hour"),
        ("CHAIN_WITHDRAW_DELAY", "31 d", "above 30 days"),
        ("CHAIN_POLL", "0", "without a pause"),
        ("CREDIT_WINDOW_FIRST", "1 MiB", "one block could not be sent"),
        ("CREDIT_WINDOW_FIRST", "65 MiB", "above credit.window_max"),
        ("PRICE_QUOTE_LIFETIME", "8 d", "above 7 days"),
        ("SERVE_SESIONS_MAX", "8", "did you mean RETRIEVAL_SERVE_SESSIONS_MAX"),
    ],
)
def test_settings_that_would_cost_money_are_refused(
    operator: Operator, monkeypatch: pytest.MonkeyPatch, variable: str, value: str, complaint: str
) -> None:
    monkeypatch.setitem(os.environ, f"RETRIEVAL_{variable}", value)
    status, error = operator.fail("status")
    assert (status, error["label"]) == (2, "config_invalid")
    assert complaint in error["detail"]


def test_config_show_says_where_each_setting_comes_from(operator: Operator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(os.environ, "RETRIEVAL_SERVE_SESSIONS_MAX", "7")
    rows = {row["key"]: row for row in operator.type("config", "show")}
    assert rows["serve.sessions_max"] == {
        "key": "serve.sessions_max",
        "kind": "integer",
        "value": 7,
        "from": "environment RETRIEVAL_SERVE_SESSIONS_MAX",
    }
    assert rows["chain.poll"]["from"] == "default"


# what a person sees


@pytest.mark.parametrize("columns", [80, 140])
def test_every_screen_fits_its_terminal(operator: Operator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
    (added,) = operator.type("add", write(tmp_path / ("long name " * 12), b"1"))
    monkeypatch.setitem(os.environ, "COLUMNS", str(columns))
    for arguments in (["ls"], ["status"], ["price"], ["earnings"], ["journal", "check"], ["config", "show"], ["rm", added["root"]]):
        screen = Terminal()
        monkeypatch.setattr(sys, "stdout", screen)
        assert run(cli, program=PROGRAM, arguments=["--home", str(operator.path), *arguments]) == 0
        assert screen.text.strip()
        assert max(map(len, screen.text.splitlines())) <= columns, arguments


# how it starts


def test_a_free_provider_serves_without_a_library_of_the_chain(tmp_path: Path) -> None:
    """Nor does either side load py-libp2p, which takes longer than all the rest together."""
    shop = Shop(folder=tmp_path, prices={"price.default": "0 USD/GiB"})
    root, client = shop.add(write(tmp_path / "free.txt", b"free")), shop.client()
    program = """
import sys
from pathlib import Path
import trio
import retrieval_provider.foreground, retrieval_provider.overview
from retrieval.home import Home
from retrieval_client import aget
from retrieval_provider.config import load_settings
from retrieval_provider.node import open_node

async def main(path, client, cid):
    home = Home(Path(path), "retrieval-provider")
    async with open_node(home, load_settings(home)[0]) as node:
        assert (await aget(cid, node.addresses[0], home=client)).verified

trio.run(main, *sys.argv[1:])
heavy = {"web3", "eth_account", "eth_abi", "libp2p"} & set(sys.modules)
sys.exit(f"loaded: {heavy}" if heavy else 0)
"""
    subprocess.run([sys.executable, "-c", program, shop.home.path, client.path, format_cid(root.cid)], check=True)


def test_help_loads_neither_the_transport_nor_the_stores() -> None:
    program = "import sys, retrieval_provider.cli; sys.exit(bool({'trio', 'lmdb', 'libp2p', 'nacl'} & set(sys.modules)))"
    subprocess.run([sys.executable, "-c", program], check=True)
