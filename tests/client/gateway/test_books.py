"""What a program learns of what was bought: deals, receipts that anybody can check, prices, and events while it happens."""

from __future__ import annotations

import http.client
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from chain_fixture import devchain  # noqa: F401 - a fixture
from counter_gateway import PATIENCE_S, Running, funded, open_counter
from shop import PRICE_PER_GIB, Shop

from retrieval.cid import format_cid
from retrieval.payment.rate import Rate
from retrieval.payment.receipt import ReceiptBundle, verify_bundle
from retrieval.store.blocks import Root
from retrieval.units import MIB

PRICE = Rate(price_per_gib=PRICE_PER_GIB)
FILES = 3


@pytest.fixture(scope="module")
def bought(tmp_path_factory: pytest.TempPathFactory, devchain: str) -> Iterator[tuple[Running, list[Root], str]]:  # noqa: F811
    """A gateway that bought files, one after another; the files, and a token that may do everything."""
    shop = Shop(folder=tmp_path_factory.mktemp("books"), rpc=devchain)
    roots = []
    for n in range(FILES):
        (shop.folder / f"{n}.bin").write_bytes(os.urandom(1 * MIB + n))
        roots.append(shop.add(shop.folder / f"{n}.bin"))
    with shop.serving() as node:
        home = shop.client(gateway__providers=[node.addresses[0]])
        funded(home, node)
        with open_counter(home) as counter:
            token = counter.new_token()
            for root in roots[:-1]:
                assert counter.get(f"/ipfs/{format_cid(root.cid)}", token=token).status == 200
                counter.until_idle()
            yield counter, roots, token


def test_deals_are_listed_the_newest_first_a_page_at_a_time(bought: tuple[Running, list[Root], str]) -> None:
    counter, roots, token = bought
    first = counter.json("/v1/deals?limit=1", token=token)
    second = counter.json(f"/v1/deals?limit=1&before={first['next']}", token=token)
    deals = [*first["deals"], *second["deals"]]
    assert [deal["root"] for deal in deals] == [format_cid(root.cid) for root in reversed(roots[:-1])]
    assert [(deal["paid"], deal["outcome"]) for deal in deals] == [(str(PRICE.owed(root.n_bytes)), "done") for root in reversed(roots[:-1])]
    assert second["next"] is None
    assert counter.json(f"/v1/deals/{deals[0]['deal_id']}", token=token) == deals[0]


def test_a_receipt_is_one_that_anybody_can_check(bought: tuple[Running, list[Root], str]) -> None:
    counter, roots, token = bought
    rows = counter.json("/v1/receipts", token=token)["receipts"]
    assert [row["status"] for row in rows] == ["verified", "verified"]
    reply = counter.get(f"/v1/receipts/{rows[0]['deal_id']}", token=token)
    proven = verify_bundle(ReceiptBundle.decode(reply.body))
    assert (proven.root, proven.n_bytes, proven.countersigned) == (roots[1].cid, roots[1].n_bytes, True)
    assert reply.headers["content-disposition"] == f'attachment; filename="{rows[0]["deal_id"]}.receipt.cbor"'


def test_a_quote_says_what_is_not_here_would_cost(bought: tuple[Running, list[Root], str]) -> None:
    counter, roots, token = bought
    quoted = counter.json(f"/v1/quote/{format_cid(roots[-1].cid)}", token=token)
    (offer,) = quoted["offers"]
    assert (quoted["held"], offer["amount_max"], offer["bytes"]) == (False, str(PRICE.owed(roots[-1].n_bytes)), roots[-1].n_bytes)
    part = counter.json(f"/v1/quote/{format_cid(roots[-1].cid)}", token=token, Range="bytes=0-9")
    assert 0 < part["offers"][0]["bytes"] <= roots[-1].n_bytes
    assert counter.json(f"/v1/quote/{format_cid(roots[0].cid)}", token=token)["held"] is True


def test_events_tell_of_a_fetch_while_it_goes_on(tmp_path: Path, devchain: str) -> None:  # noqa: F811
    shop = Shop(folder=tmp_path, rpc=devchain)
    (tmp_path / "film.bin").write_bytes(os.urandom(4 * MIB))
    film = shop.add(tmp_path / "film.bin")
    with shop.serving() as node:
        home = shop.client(gateway__providers=[node.addresses[0]])
        funded(home, node)
        with open_counter(home) as counter:
            token = counter.new_token()
            connection = http.client.HTTPConnection("127.0.0.1", counter.caller.port, timeout=PATIENCE_S)
            connection.request("GET", "/v1/events", headers={"Authorization": f"Bearer {token}"})
            events = connection.getresponse()
            assert events.getheader("content-type") == "text/event-stream"
            counter.get(f"/ipfs/{format_cid(film.cid)}", token=token)
            heard = []
            while not heard or heard[-1][0] != "ended":
                line = events.readline().decode().strip()
                if line.startswith("event: "):
                    heard.append((line[7:], json.loads(events.readline().decode()[6:])))
            connection.close()
    assert {name for name, _ in heard} == {"progress", "ended"}
    assert all(data["cid"] == format_cid(film.cid) for _, data in heard)
    verified = [data["verified_bytes"] for name, data in heard if name == "progress"]
    assert (verified == sorted(verified), verified[-1]) == (True, film.n_bytes)
    assert (heard[-1][1]["paid"], heard[-1][1]["error"]) == (str(PRICE.owed(film.n_bytes)), None)
