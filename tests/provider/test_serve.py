"""`retrieval-provider serve` as a process: ready, asked by other verbs, paid, stopped, and refused where it must not start."""

from __future__ import annotations

import csv
import io
import json
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from chain_fixture import devchain  # noqa: F401
from processes import write_file
from retrieval_client import Retrieval, get
from shell import Operator
from shop import Shop

from retrieval.cid import format_cid
from retrieval.devchain.children import Child, Children
from retrieval.store.blocks import Root
from retrieval.units import MIB

FREE = {"price.default": "0 USD/GiB"}


@pytest.fixture
def children(tmp_path: Path) -> Iterator[Children]:
    (tmp_path / "output").mkdir()
    with Children(tmp_path / "output") as children:
        yield children


@pytest.fixture
def shop(tmp_path: Path, devchain: str) -> Shop:  # noqa: F811
    return Shop(folder=tmp_path, rpc=devchain)


@pytest.fixture
def operator(shop: Shop, capsys: pytest.CaptureFixture[str]) -> Operator:
    return Operator(path=shop.home.path, capture=capsys)


def serve(children: Children, shop: Shop, *options: str) -> Child:
    child = children.start("retrieval-provider", "--home", shop.home.path, "serve", *options)
    child.ready()
    return child


def refusal(children: Children, shop: Shop, *options: str) -> tuple[int, str]:
    """Exit status and label of a `serve` that does not start."""
    child = children.start("retrieval-provider", "--home", shop.home.path, "serve", *options)
    return child.wait(), child.error["label"]


def stock(shop: Shop, size_bytes: int, seed: int) -> Root:
    return shop.add(write_file(shop.folder / f"content-{seed}", size_bytes, seed=seed))


def buy(shop: Shop, serving: Child, root: Root) -> Retrieval:
    client = shop.client(f"client-{root.name}", wallet__auto_open_max="1 USD")
    (address,) = serving.results[0]["addresses"]
    return get(format_cid(root.cid), address, out=shop.folder / f"got-{root.name}", home=client.path)


def test_a_sale_is_traced_from_the_receipt_to_the_claim_beside_a_running_serve(shop: Shop, children: Children, operator: Operator) -> None:
    root = stock(shop, 6 * MIB, seed=6)
    serving = serve(children, shop, "--verbose")
    ready = serving.results[0]
    assert list(ready) == ["event", "peer_id", "addresses", "urls", "operator", "rpc"]
    assert (ready["event"], ready["rpc"]) == ("ready", shop.rpc)

    bought = buy(shop, serving, root)
    paid = str(bought.paid)
    serving.wait_until(lambda: any(row["event"] == "deal_ended" for row in serving.results), "told of no ended deal")
    assert [row["event"] for row in serving.results][:2] == ["ready", "session_opened"]
    assert sum(int(row["amount"]) for row in serving.results if row["event"] == "payment") == bought.paid

    (status,) = operator.type("status")
    assert (status["serving"], status["pid"], status["addresses"]) == (True, serving.pid, ready["addresses"])
    assert (status["earned"], status["unclaimed"], status["at_risk"], status["deals_open"]) == (paid, paid, "0", 0)

    (claimed,) = operator.type("claim")
    assert (claimed["claimed"], claimed["settled"]) == (paid, paid)
    (deal,) = operator.type("earnings")
    assert (deal["deal_id"], deal["amount"], deal["claimed"], deal["outcome"]) == (bought.deal_id, paid, paid, "done")
    assert (deal["transactions"], [deal["channel"]]) == (claimed["transactions"], claimed["channels"])

    _, text, _ = operator.read("earnings", "--by", "receipt", "--csv")
    receipts = list(csv.DictReader(io.StringIO(text)))
    assert sum(int(row["amount"]) for row in receipts) == bought.paid == int(receipts[-1]["voucher_amount"])
    assert {row["transaction"] for row in receipts} == set(claimed["transactions"])
    for by in ("cid", "payer", "day"):
        (sums,) = operator.type("earnings", "--by", by)
        assert (sums["deals"], sums["amount"], sums["claimed"]) == (1, paid, paid)

    operator.type("price", "default", "2 USD/GiB")  # through the running process, which holds the state
    assert operator.type("price")[0]["price_per_gib"] == "2000000"
    operator.type("rm", format_cid(root.cid))  # no deal of it is open any more
    assert serving.end(signal.SIGINT) == 0
    (checked,) = operator.type("journal", "check")
    assert (checked["earned"], checked["claimed"], checked["deals"], checked["deals_open"]) == (paid, paid, 1, 0)
    assert not operator.type("status")[0]["serving"]
    assert not shop.home.control_path.exists()


def test_what_is_earned_is_claimed_when_it_stops(shop: Shop, children: Children, operator: Operator) -> None:
    serving = serve(children, shop)
    paid = str(buy(shop, serving, stock(shop, 1 * MIB, seed=1)).paid)
    assert serving.stop() == 0
    assert len(serving.results) == 1, "events are told only to those who ask for them"
    (status,) = operator.type("status")
    assert (status["earned"], status["claimed"], status["unclaimed"]) == (paid, paid, "0")
    assert operator.type("claim")[0]["transactions"] == []


def test_a_claim_takes_its_turn_itself_when_nobody_serves(shop: Shop, children: Children, operator: Operator) -> None:
    serving = serve(children, shop)
    paid = str(buy(shop, serving, stock(shop, 1 * MIB, seed=2)).paid)
    serving.kill()
    assert operator.type("status")[0]["unclaimed"] == paid
    channel = operator.type("earnings")[0]["channel"]
    assert operator.type("claim", channel[:8])[0]["settled"] == paid
    assert operator.type("journal", "check")[0]["claimed"] == paid


def test_a_second_serve_of_a_home_is_refused_and_names_the_first(shop: Shop, children: Children) -> None:
    serving = serve(children, shop)
    second = children.start("retrieval-provider", "--home", shop.home.path, "serve")
    assert (second.wait(), second.error["label"]) == (1, "state_locked")
    assert str(serving.pid) in second.error["detail"]


def test_free_content_is_served_without_a_chain(tmp_path: Path, children: Children, capsys: pytest.CaptureFixture[str]) -> None:
    shop = Shop(folder=tmp_path, prices=FREE)
    serving = serve(children, shop)
    assert serving.results[0]["rpc"] is None
    bought = buy(shop, serving, stock(shop, 1 * MIB, seed=3))
    assert (bought.paid, bought.receipt_verified) == (0, True)
    operator = Operator(path=shop.home.path, capture=capsys)
    _, error = operator.fail("price", "default", "1 USD/GiB")
    assert error["label"] == "config_invalid", "nobody could pay it, so the running process refuses it"


def test_priced_content_is_not_served_without_a_chain(tmp_path: Path, children: Children) -> None:
    assert refusal(children, Shop(folder=tmp_path)) == (2, "config_invalid")


def test_a_chain_that_is_down_at_the_start_ends_it_with_status_5(tmp_path: Path, children: Children) -> None:
    assert refusal(children, Shop(folder=tmp_path), "--rpc", "http://127.0.0.1:9") == (5, "rpc_unavailable")


def test_another_chain_than_ours_is_refused(tmp_path: Path, children: Children) -> None:
    with chain_with_id(1) as url:
        assert refusal(children, Shop(folder=tmp_path), "--rpc", url) == (5, "wrong_chain")


def test_an_address_that_cannot_be_listened_on_is_a_mistake_of_usage(tmp_path: Path, children: Children) -> None:
    assert refusal(children, Shop(folder=tmp_path, prices=FREE), "--listen", "/ip4/127.0.0.1/udp/1") == (2, "usage")


@contextmanager
def chain_with_id(chain_id: int) -> Iterator[str]:
    """An RPC that knows nothing but its chain's id."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            answer = json.dumps({"jsonrpc": "2.0", "id": asked["id"], "result": hex(chain_id)}).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, format: str, *arguments: object) -> None:
            """Nobody wants to read it."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
