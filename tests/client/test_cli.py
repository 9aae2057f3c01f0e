"""The program as people and scripts meet it: what each verb prints, and the status it ends with."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from chain_fixture import devchain, rpc  # noqa: F401 - a fixture
from gate import Gate
from retrieval_client.cli import cli
from retrieval_provider.node import Node
from shop import DOLLAR, PRICE_PER_GIB, Shop
from terminal import Terminal

from retrieval.cid import format_cid
from retrieval.console import run
from retrieval.errors import Exit
from retrieval.payment.rate import Rate
from retrieval.store.blocks import Root
from retrieval.transport.libp2p import parse_address
from retrieval.units import MIB

FILE_BYTES = 2 * MIB + 1
CONTRACT_OF_GET = {
    "root", "bytes", "blocks", "verified", "paid", "receipt_verified", "ttfb_ms", "seconds", "path", "deal_id", "resumed_bytes",
    "channel_open_ms",
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    status: int
    out: str
    err: str

    @property
    def rows(self) -> list[Any]:
        """What a script reads; a command that failed shows what it said."""
        assert self.status == Exit.OK, self.err
        return [json.loads(line) for line in self.out.splitlines()]

    @property
    def row(self) -> Any:
        (row,) = self.rows
        return row

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


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Client:
    """Run a command of a client whose home is in the test's folder, in which it runs; on a terminal or in a pipe."""
    monkeypatch.setenv("RETRIEVAL_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.chdir(tmp_path)

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
    assert client("init", "--rpc", market.shop.rpc).row["minted"] == str(100 * DOLLAR)
    assert client("fund", "1", "USD", "--provider", market.address).row["balance"] == str(DOLLAR)
    return client


def test_a_life_of_a_client_in_json(funded: Client, market: Market, tmp_path: Path) -> None:
    offer = funded("quote", market.cid, "--from", market.address).row
    assert (offer["total"], offer["exact"], offer["left_after"]) == (str(market.price), True, str(DOLLAR - market.price))

    got = funded("get", market.cid, "--from", market.address).row
    assert set(got) == CONTRACT_OF_GET
    assert (got["paid"], got["path"], got["bytes"], got["verified"]) == (str(market.price), market.cid, FILE_BYTES, True)
    assert (tmp_path / market.cid).read_bytes() == (market.shop.folder / "film.bin").read_bytes()

    channel = funded("channels").row
    assert (channel["balance"], channel["promised"], channel["claimed"], channel["state"]) == (str(DOLLAR), got["paid"], "0", "open")
    assert funded("channels", "--offline").row == channel

    statement = funded("statement").row
    assert statement["paid"] == got["paid"]
    assert [(deal["deal_id"], deal["outcome"], deal["countersigned"]) for deal in statement["deals"]] == [(got["deal_id"], "done", True)]
    assert [line["agrees"] for line in statement["channels"]] == [True]
    (line,) = csv.DictReader(io.StringIO(funded("statement", "--csv").out))
    assert (line["root"], line["paid"]) == (market.cid, got["paid"])

    assert [(row["deal_id"], row["status"]) for row in funded("receipts", "list").rows] == [(got["deal_id"], "verified")]
    assert funded("journal", "check").row["paid"] == got["paid"]


def test_a_receipt_is_handed_out_and_checked_without_a_home(funded: Client, market: Market, tmp_path: Path) -> None:
    got = funded("get", market.cid, "--from", market.address).row
    exported = funded("receipts", "export", got["deal_id"][:8], "-o", "proof.receipt.cbor").row
    assert funded("receipts", "export", "-o", "all").row["path"] == f"all/{got['deal_id']}.receipt.cbor"
    proven = funded("--home", tmp_path / "nowhere", "receipts", "verify", exported["path"]).row
    assert (proven["status"], proven["root"], proven["paid"]) == ("verified", market.cid, got["paid"])
    altered = bytearray((tmp_path / "proof.receipt.cbor").read_bytes())
    altered[-10] ^= 1
    (tmp_path / "altered").write_bytes(altered)
    assert funded("receipts", "verify", "altered").error["label"] == "bad_voucher"


def test_a_receipt_that_only_we_signed_needs_leave_to_pass(funded: Client, market: Market, tmp_path: Path) -> None:
    from retrieval.payment.receipt import ReceiptBundle
    from retrieval.wire import shape

    funded("get", market.cid, "--from", market.address)
    path = Path(funded("receipts", "export").row["path"])
    bundle = ReceiptBundle.decode(path.read_bytes())
    fields = {name: getattr(bundle, name) for name in bundle.__slots__ if name != "done"}
    path.write_bytes(shape.encode(ReceiptBundle(**fields)))
    refused = funded("receipts", "verify", path)
    assert (refused.status, refused.error["label"]) == (Exit.PEER, "receipt_unsigned")
    assert json.loads(refused.out)["status"] == "client_signed_only"
    assert funded("receipts", "verify", path, "--allow-unsigned").row["status"] == "client_signed_only"


def test_a_channel_is_left_in_two_runs(funded: Client, market: Market) -> None:
    channel = funded("channels").row["channel_id"]
    begun = funded("close", channel[:8]).row
    assert (begun["state"], begun["amount"]) == ("closing", str(DOLLAR))
    assert funded("close", channel).row["state"] == "closing"
    assert funded("channels").row["withdraw_at"] == begun["withdraw_at"]
    rpc(market.shop.rpc, "evm_increaseTime", 86_400)
    rpc(market.shop.rpc, "evm_mine")
    ended = funded("close", channel).row
    assert (ended["state"], ended["amount"]) == ("closed", str(DOLLAR))
    assert funded("channels").row["state"] == "closed"
    assert funded("fund", "1 USD", "--provider", market.address).row["channel_id"] != channel


@pytest.mark.parametrize(
    ("arguments", "status", "label"),
    [
        (("get", "film.mp4", "--from", "ADDR"), Exit.USAGE, "invalid_cid"),
        (("get", "CID", "--from", "/ip4/127.0.0.1/tcp/1"), Exit.USAGE, "usage"),
        (("get", "CID/nothing/here", "--from", "ADDR"), Exit.NOT_FOUND, "path_not_found"),
        (("get", "CID", "--from", "ADDR", "--max-spend", "a lot"), Exit.USAGE, "invalid_amount"),
        (("get", "CID", "--from", "ADDR", "--max-spend", "0"), Exit.BUDGET, "over_budget"),
        (("get", "CID", "--from", "ADDR", "-o", "no/such/folder"), Exit.USAGE, "file_unreadable"),
        (("get", "CID"), Exit.USAGE, "usage"),
        (("fund", "0 USD", "--provider", "ADDR"), Exit.USAGE, "invalid_amount"),
        (("fund", "1000000 USD", "--provider", "ADDR"), Exit.PAYMENT, "wallet_insufficient"),
        (("close", "0123"), Exit.USAGE, "usage"),
        (("receipts", "export", "0123"), Exit.PEER, "deal_unknown"),
        (("receipts", "verify", "nothing"), Exit.USAGE, "file_unreadable"),
        (("init",), Exit.USAGE, "already_initialised"),
    ],
)
def test_each_failure_has_its_status(funded: Client, market: Market, arguments: tuple[str, ...], status: Exit, label: str) -> None:
    given = [word.replace("CID", market.cid).replace("ADDR", market.address) for word in arguments]
    refused = funded(*given)
    assert (refused.status, refused.error["label"]) == (status, label)
    assert refused.out == ""


def test_before_init_a_verb_names_the_command(client: Client) -> None:
    refused = client("statement")
    assert (refused.status, refused.error["label"]) == (Exit.USAGE, "not_initialised")
    assert "retrieval-client init" in refused.error["detail"]


def test_a_file_that_stands_under_a_paths_name_is_not_overwritten(funded: Client, market: Market, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    refused = funded("get", f"{market.cid}/notes.txt", "--from", market.address)
    assert (refused.status, refused.error["label"]) == (Exit.USAGE, "file_unreadable")
    assert (tmp_path / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize("columns", ["80", "140"])
def test_a_person_gets_tables_that_fit(funded: Client, market: Market, monkeypatch: pytest.MonkeyPatch, columns: str) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    screens = [
        funded(*arguments, terminal=True)
        for arguments in (
            ("quote", market.cid, "--from", market.address),
            ("get", market.cid, "--from", market.address, "-o", "out"),
            ("channels",),
            ("statement",),
            ("receipts", "list"),
            ("receipts", "export"),
            ("journal", "check"),
        )
    ]
    assert [screen.status for screen in screens] == [Exit.OK] * len(screens)
    for screen in screens:
        assert not screen.out.startswith("{")
        assert max(map(len, screen.out.splitlines())) <= int(columns)


# as processes of their own


def command(home: Path, *arguments: str | Path) -> list[str]:
    program = "import sys; from retrieval_client.cli import main; main()"
    return [sys.executable, "-c", program, "--home", str(home), *map(str, arguments)]


def test_an_interrupted_get_says_how_to_go_on_and_goes_on(funded: Client, market: Market, tmp_path: Path) -> None:
    port = parse_address(market.address).endpoint.port
    with Gate(port) as gate:
        gate.hold_after(MIB)
        address = market.address.replace(f"/tcp/{port}/", f"/tcp/{gate.port}/")
        getting = subprocess.Popen(command(tmp_path / "home", "get", market.cid, "--from", address, "-o", "out"), stderr=subprocess.PIPE)
        while not gate.is_holding:
            assert getting.poll() is None
            time.sleep(0.01)
        getting.send_signal(signal.SIGINT)
        _, err = getting.communicate(timeout=30)
    assert getting.returncode == Exit.RESUMABLE
    assert json.loads(err.splitlines()[-1])["error"]["label"] == "cancelled"
    assert funded("get", market.cid, "--from", market.address, "-o", "out").row["paid"] == str(market.price)


def test_free_content_is_fetched_without_a_chains_libraries(tmp_path: Path) -> None:
    shop = Shop(folder=tmp_path, prices={"price.default": "0 USD/GiB"})
    (tmp_path / "film.bin").write_bytes(os.urandom(MIB))
    film, home = shop.add(tmp_path / "film.bin"), shop.client()
    program = (
        "import sys; from retrieval.console import run; from retrieval_client.cli import cli\n"
        "status = run(cli, program='retrieval-client')\n"
        "sys.exit(status or 100 * any(name in sys.modules for name in ('web3', 'eth_account', 'retrieval.devchain')))"
    )
    with shop.serving() as node:
        got = subprocess.run(
            [
                sys.executable,
                "-c",
                program,
                "--home",
                home.path,
                "get",
                format_cid(film.cid),
                "--from",
                node.addresses[0],
                "-o",
                tmp_path / "out",
            ],
            check=False,
            capture_output=True,
        )
    assert got.returncode == 0, got.stderr
    assert (tmp_path / "out").stat().st_size == MIB


def test_on_an_open_channel_content_is_bought_without_a_chains_libraries(funded: Client, market: Market, tmp_path: Path) -> None:
    program = (
        "import sys; from retrieval.console import run; from retrieval_client.cli import cli\n"
        "status = run(cli, program='retrieval-client')\n"
        "sys.exit(status or 100 * any(name in sys.modules for name in ('web3', 'eth_account', 'eth_abi', 'libp2p')))"
    )
    arguments = ["--home", tmp_path / "home", "get", market.cid, "--from", market.address, "-o", tmp_path / "bought"]
    got = subprocess.run([sys.executable, "-c", program, *arguments], check=False, capture_output=True)
    assert got.returncode == 0, got.stderr
    assert json.loads(got.stdout)["paid"] == str(market.price)


@pytest.mark.parametrize("arguments", [("--help",), ("get", "--help"), ("receipts", "--help")])
def test_help_loads_no_transport_and_no_chain(arguments: tuple[str, ...]) -> None:
    program = (
        "import sys; from retrieval.console import run; from retrieval_client.cli import cli\n"
        "status = run(cli, program='retrieval-client')\n"
        "sys.exit(status or 100 * any(name in sys.modules for name in ('web3', 'libp2p', 'trio', 'lmdb', 'nacl')))"
    )
    assert subprocess.run([sys.executable, "-c", program, *arguments], check=False, capture_output=True).returncode == 0
