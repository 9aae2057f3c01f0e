"""The page of a `serve` that sells: its figures are what was done, over both doors, whatever falls, and looking changes nothing."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
import trio
from chain_fixture import devchain  # noqa: F401
from http_door import PATIENCE_S, Caller, Reply
from processes import owed, write_file
from prometheus_client.parser import text_string_to_metric_families
from retrieval_client import get
from retrieval_provider.operator import health, metrics
from retrieval_provider.operator.http_counting import ALIVE_S
from shell import Operator
from shop import Shop
from trading_history import History

from retrieval.cid import format_cid
from retrieval.devchain.children import Child, Children
from retrieval.units import MIB

README = Path(__file__).resolve().parents[3] / "provider" / "README.md"
HTTP_MODULE = "retrieval_provider.http.worker"
SELLING = {
    "price.default": "1 USD/GiB",
    "http.listen": ("/ip4/127.0.0.1/tcp/0",),
    "http.workers": 2,
    "operator.listen": ("/ip4/127.0.0.1/tcp/0",),
    "x402.free_per_day": "0 B",
    "chain.claim_above": "1000 USD",
}


@dataclass(slots=True)
class Serving:
    """A provider that serves, and its operator's browser."""

    shop: Shop
    child: Child
    page: Caller
    door: Caller
    address: str

    def get(self, target: str) -> Reply:
        token = (self.shop.home.path / "operator.token").read_text().strip()
        return self.page.get(target, Authorization=f"Bearer {token}")

    def json(self, target: str) -> Any:
        reply = self.get(target)
        assert reply.status == 200, reply.body
        return json.loads(reply.body)

    def metrics(self) -> dict[tuple[str, ...], float]:
        """Every value on the page, by its name and its labels in their order."""
        reply = self.get("/metrics")
        assert reply.status == 200, reply.body
        return {
            (sample.name, *(sample.labels[name] for name in sorted(sample.labels))): sample.value
            for family in text_string_to_metric_families(reply.body.decode())
            for sample in family.samples
        }

    def until(self, holds: Callable[[dict[tuple[str, ...], float]], bool]) -> dict[tuple[str, ...], float]:
        """The metrics, once they are as wanted: processes tell what they counted a little later."""
        deadline = time.monotonic() + PATIENCE_S
        while not holds(found := self.metrics()):
            assert time.monotonic() < deadline, found
            time.sleep(0.1)
        return found

    def http_processes(self) -> list[psutil.Process]:
        return [each for each in psutil.Process(self.child.pid).children() if HTTP_MODULE in each.cmdline()]


@pytest.fixture
def children(tmp_path: Path) -> Iterator[Children]:
    (tmp_path / "output").mkdir()
    with Children(tmp_path / "output") as children:
        yield children


@pytest.fixture
def shop_that_gives(tmp_path: Path) -> Shop:
    return Shop(folder=tmp_path, prices={"price.default": "0 USD/GiB", "http.listen": ("/ip4/127.0.0.1/tcp/0",), "http.workers": 1})


def serve(children: Children, shop: Shop, *options: str) -> Serving:
    child = children.start("retrieval-provider", "--home", shop.home.path, "serve", *options)
    ready = child.ready()
    (page,), (door,), (address,) = ready["operator"], ready["urls"], ready["addresses"]
    return Serving(shop, child, _caller(page), _caller(door), address)


def _caller(url: str) -> Caller:
    return Caller(port=int(url.rpartition(":")[2]))


def test_metrics_are_what_was_done_over_both_doors_and_outlive_a_process(
    tmp_path: Path,
    devchain: str,  # noqa: F811
    children: Children,
    capsys: pytest.CaptureFixture[str],
) -> None:
    shop = Shop(folder=tmp_path, rpc=devchain, prices=SELLING)
    root = shop.add(write_file(tmp_path / "film", 6 * MIB, seed=1))
    gift = shop.add(write_file(tmp_path / "gift", 24 * MIB, seed=2))
    Operator(path=shop.home.path, capture=capsys).type("price", format_cid(gift.cid), "0")
    serving, cid, free = serve(children, shop), format_cid(root.cid), format_cid(gift.cid)

    bought = get(cid, serving.address, out=tmp_path / "by-libp2p", home=shop.client("one", wallet__auto_open_max="1 USD").path)
    found = serving.until(lambda found: found.get(("rm_deals_total", "done"), 0) == 1)
    assert found["rm_sessions_total", "served"] >= 1
    assert found["rm_queries_total", "quoted"] == found["rm_offers_total", "made"] >= 1
    assert found["rm_offers_total", "accepted"] == 1
    assert found["rm_offer_seconds_count",] == found["rm_queries_total", "quoted"]
    assert found["rm_bytes_total", "out", "libp2p", "yes"] == root.n_bytes
    assert found["rm_blocks_total", "out", "sent"] == root.n_blocks
    assert found["rm_ttfb_seconds_count", "libp2p"] == 1
    n_payments = found["rm_vouchers_total", "libp2p", "taken"]
    assert n_payments == found["rm_receipts_total", "taken"] == found["rm_voucher_verify_seconds_count",] >= 1
    assert found["rm_journal_records_total", "receipt"] == n_payments
    assert found["rm_journal_commit_seconds_count",] > 0
    assert found["rm_earned", "USD"] == bought.paid == owed(root.n_bytes) == found["rm_unclaimed", "USD"]
    assert (found["rm_unpaid_bytes",], found["rm_channels", "open"]) == (0, 1)
    assert found["rm_store_bytes",] == root.n_bytes + gift.n_bytes

    refused = serving.door.get(f"/ipfs/{cid}?format=raw")
    assert refused.status == 402
    url = f"http://127.0.0.1:{serving.door.port}"
    over_http = get(cid, url, out=tmp_path / "by-http", home=shop.client("two", wallet__auto_open_max="1 USD").path)
    sent = ("rm_bytes_total", "out", "http", "yes")
    found = serving.until(lambda found: found.get(sent, 0) > 0 and found["rm_connections", "http"] == 0)
    assert found["rm_earned", "USD"] == bought.paid + owed(int(found[sent]))
    assert over_http.paid - 1 <= owed(int(found[sent])) <= over_http.paid, "a client rounds each request up"
    assert found["rm_errors_total", "payment_required", "http"] >= 1
    assert found["rm_vouchers_total", "http", "taken"] >= 1
    assert found["rm_receipts_total", "signed"] >= 1
    assert found["rm_ttfb_seconds_count", "http"] >= 1
    answered = {key: value for key, value in found.items() if key[:2] == ("rm_http_requests_total", "GET")}
    assert {key[2] for key in answered} <= {"/ipfs/{cid}", "/ipfs/{cid}/{path}", "/v1/quote/{cid}", "/v1/quote/{cid}/{path}", "other"}
    assert not any(cid in label for key in found for label in key)

    with closing(serving.door.connect()) as sock:  # somebody who asks for a lot and leaves
        sock.sendall(f"GET /ipfs/{free} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        assert sock.makefile("rb").read(MIB)  # the head, and something of the body
    found = serving.until(lambda found: found.get(("rm_http_requests_total", "GET", "/ipfs/{cid}", "cut"), 0) == 1)
    assert 0 < found["rm_bytes_total", "out", "http", "no"] < gift.n_bytes

    answered = {key: value for key, value in found.items() if key[:2] == ("rm_http_requests_total", "GET")}
    before = serving.http_processes()
    assert len(before) == 2
    for process in before:
        process.kill()
    after = serving.until(lambda found: found.get(("rm_process_restarts_total", "http"), 0) == 2 and found["rm_ready", "listeners"] == 1)
    assert {key: after[key] for key in answered} == answered, "what a process told outlives it"
    n_asked = sum(answered.values())
    for _ in range(10):
        assert serving.door.get("/ipfs/bafkqaaa").status == 200
    found = serving.until(lambda found: sum(found.get(key, 0) for key in answered) == n_asked + 10)
    assert found["rm_earned", "USD"] == sum(int(row["amount"]) for row in serving.json("/v1/deals")["rows"])

    table = metrics.table()
    assert table in README.read_text()
    families = {family.name for family in text_string_to_metric_families(serving.get("/metrics").body.decode())}
    listed = {line.split("`")[1].removesuffix("_total") for line in table.splitlines()[2:]}
    assert families == listed
    assert serving.child.stop() == 0


def test_the_page_says_what_earnings_and_status_say_and_looking_changes_nothing(
    tmp_path: Path,
    devchain: str,  # noqa: F811
    children: Children,
    capsys: pytest.CaptureFixture[str],
) -> None:
    shop = Shop(folder=tmp_path, rpc=devchain, prices=SELLING)
    History(shop).write(now_ms=int(time.time() * 1000) - 60_000, hours=14, n_payers=3)
    serving, operator = serve(children, shop), Operator(path=shop.home.path, capture=capsys)
    serving.until(lambda found: found.get(("rm_settlements_total", "claimed"), 0) == 1)  # a payer is leaving, so all is claimed

    for by in ("cid", "payer", "day", "hour"):
        told, shown = operator.type("earnings", "--by", by), serving.json(f"/v1/earnings/{by}?limit=1000")
        assert sorted(told, key=str) == sorted(shown["rows"], key=str)
        assert shown["n_rows"] == len(told)
    told, shown = operator.type("earnings"), serving.json("/v1/deals?limit=1000")
    assert sorted(told, key=str) == sorted(shown["rows"], key=str)
    assert serving.json("/v1/deals?offset=5&limit=3")["rows"] == shown["rows"][5:8]

    (status,) = operator.type("status")
    sums = {name: status[name] for name in ("earned", "claimed", "unclaimed", "at_risk", "channels", "closing")}
    for path in ("/v1/figures", "/v1/live"):
        figures = serving.json(path)
        assert {name: figures[name] for name in sums} == sums
    assert sums["closing"] == 1
    assert int(sums["earned"]) == sum(int(row["amount"]) for row in told)
    assert int(sums["claimed"]) == sum(int(row["claimed"]) for row in told)
    channels = serving.json("/v1/channels")["rows"]
    assert (channels[0]["closing"], sum(int(row["promised"]) for row in channels)) == (True, int(sums["earned"]))
    assert sum(int(row["amount"]) for row in serving.json("/v1/content")["rows"]) == int(sums["earned"])
    page = serving.get("/").body.decode()
    assert f"{int(sums['earned']) / 1e6:.6f}".rstrip("0") in page

    (before,) = operator.type("journal", "check")
    document = json.loads(serving.get("/openapi.json").body)
    for path, item in document["paths"].items():
        if "get" in item:
            assert serving.get(path.replace("{name}", "deals").replace("{by}", "cid")).status == 200
    assert operator.type("journal", "check") == [before]

    (shown_again,) = operator.type("operator")
    assert (shown_again["serving"], shown_again["urls"]) == (True, [f"http://127.0.0.1:{serving.page.port}"])
    (renewed,) = operator.type("operator", "--renew")
    assert renewed["token"] != shown_again["token"]
    assert serving.page.get("/v1/figures", Authorization=f"Bearer {shown_again['token']}").status == 401
    assert serving.page.get("/v1/figures", Authorization=f"Bearer {renewed['token']}").status == 200


def test_readiness_turns_with_the_chain_and_the_disk_and_says_why(tmp_path: Path, children: Children) -> None:
    chain = children.start("retrieval-devchain", "--port", "0")
    rpc = str(chain.ready()["rpc"])
    shop = Shop(folder=tmp_path, rpc=rpc, prices=SELLING)
    serving = serve(children, shop)
    reply = serving.page.get("/readyz")
    assert (reply.status, json.loads(reply.body)["ready"]) == (200, True)
    chain.kill()
    deadline = time.monotonic() + PATIENCE_S
    while (reply := serving.page.get("/readyz")).status == 200:
        assert time.monotonic() < deadline
        time.sleep(0.2)
    found = json.loads(reply.body)
    assert (reply.status, found["ready"], found["checks"]["chain"]["state"]) == (503, False, "failing")
    assert "chain.rpc" in found["checks"]["chain"]["says"]
    assert found["checks"]["store"]["state"] == "ok"
    assert b"Not ready: chain" in serving.get("/").body
    serving.child.kill()

    free = Shop(folder=tmp_path / "free", prices={**SELLING, "price.default": "0 USD/GiB", "operator.free_space_min": "1000000 TiB"})
    reply = serve(children, free).page.get("/readyz")
    assert (reply.status, json.loads(reply.body)["checks"]["store"]["state"]) == (503, "failing")


def test_the_page_goes_with_its_provider(tmp_path: Path, children: Children) -> None:
    shop = Shop(folder=tmp_path, prices={**SELLING, "price.default": "0 USD/GiB"})
    serving = serve(children, shop)
    shown = [each for each in psutil.Process(serving.child.pid).children() if "retrieval_provider.operator.worker" in each.cmdline()]
    assert len(shown) == 1
    serving.child.kill()
    psutil.wait_procs(shown, timeout=PATIENCE_S)
    assert not shown[0].is_running()


@pytest.mark.parametrize("address", ["/ip4/0.0.0.0/tcp/0", "/ip4/192.0.2.1/tcp/4804", "/ip6/::/tcp/0"])
def test_the_page_is_on_loopback_or_nowhere(tmp_path: Path, children: Children, address: str) -> None:
    shop = Shop(folder=tmp_path, prices={"price.default": "0 USD/GiB"})
    child = children.start("retrieval-provider", "--home", shop.home.path, "serve", "--operator", address)
    assert (child.wait(), child.error["label"]) == (2, "config_invalid")


def test_a_process_that_stands_still_is_not_taken_for_one_that_serves(shop_that_gives: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "SILENT_S", 2 * ALIVE_S)

    async def main() -> None:
        async with shop_that_gives.opened() as node:
            (process,) = [each for each in psutil.Process().children() if HTTP_MODULE in each.cmdline()]

            async def until(state: health.State) -> None:
                with trio.fail_after(PATIENCE_S):
                    while (await node.checks.listeners()).state is not state:  # noqa: ASYNC110  # nobody is told of it
                        await trio.sleep(0.1)

            process.suspend()
            try:
                await until(health.State.FAILING)
            finally:
                process.resume()
            await until(health.State.OK)

    trio.run(main)
