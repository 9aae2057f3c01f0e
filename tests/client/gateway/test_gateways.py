"""Content from other gateways: for nothing where they ask nothing, by x402 where they do, and beside peers in the order of price."""

from __future__ import annotations

import os
from contextlib import closing
from pathlib import Path

import pytest
import trio
from chain_fixture import devchain  # noqa: F401 - a fixture
from counter_gateway import DOLLAR, funded, open_counter
from http_door import open_door
from retrieval_client.config import ClientSettings
from retrieval_client.web.address import parse_gateway
from retrieval_client.web.funding import fund
from shop import PRICE_PER_GIB, Shop

from retrieval.cid import format_cid
from retrieval.dag.importer import import_path
from retrieval.deal import fold
from retrieval.deal.audit import check
from retrieval.deal.records import HoldRecord, HttpPurchaseRecord
from retrieval.home import Home
from retrieval.payment.evm import EvmChain
from retrieval.payment.rate import Rate
from retrieval.settings import load
from retrieval.store.blocks import MemoryBlockStore
from retrieval.store.lmdb import LmdbStateStorage
from retrieval.units import MIB

PRICE = Rate(price_per_gib=PRICE_PER_GIB)
SIZE = 6 * MIB + 7
DOOR = "/ip4/127.0.0.1/tcp/0"


@pytest.fixture
def film(tmp_path: Path) -> Path:
    film = tmp_path / "film.bin"
    film.write_bytes(os.urandom(SIZE))
    return film


def web_funded(home: Home, url: str) -> None:
    settings, _ = load(ClientSettings, home.config_path, {}, {})
    trio.run(lambda: fund(home, settings, parse_gateway(url), DOLLAR, open_chain=EvmChain))


def test_what_another_gateway_gives_needs_no_token(film: Path, tmp_path: Path) -> None:
    store = MemoryBlockStore()
    root = import_path(store, film)
    with open_door(store) as door:
        home = Shop(folder=tmp_path).client(gateway__providers=[f"http://127.0.0.1:{door.port}"])
        with open_counter(home) as counter:
            reply = counter.get(f"/ipfs/{format_cid(root.cid)}")
            assert (reply.status, reply.body) == (200, film.read_bytes())
            part = counter.get(f"/ipfs/{format_cid(root.cid)}", Range="bytes=100-199")
            assert (part.status, part.body) == (206, film.read_bytes()[100:200])


def test_what_another_gateway_sells_is_paid_within_a_token(film: Path, tmp_path: Path, devchain: str) -> None:  # noqa: F811
    selling = {"price.default": "1 USD/GiB", "http.listen": (DOOR,), "x402.free_per_day": 0}
    shop = Shop(folder=tmp_path, rpc=devchain, prices=selling)
    root = shop.add(film)
    with shop.serving() as node:
        (url,) = node.urls
        home = shop.client(gateway__providers=[url])
        web_funded(home, url)
        with open_counter(home) as counter:
            token, target = counter.new_token(), f"/ipfs/{format_cid(root.cid)}"
            refused = counter.get(target)
            assert refused.code == (402, "spending_not_allowed")
            assert int(refused.problem["price"]["amount_max"]) >= PRICE.owed(root.n_bytes)
            assert counter.get(target, token=token, Retrieval_Max_Spend="0").code == (402, "over_budget")
            reply = counter.get(target, token=token)
            assert (reply.status, reply.body) == (200, film.read_bytes())
            counter.until_idle()
            left = counter.json("/v1/budget", token=token)["left"]["token"]
    with closing(LmdbStateStorage.open_readonly(home.state_path)) as state:
        check(state)
        paid = sum(each.amount for _, each in fold.scan(state, HttpPurchaseRecord))
        assert not list(fold.scan(state, HoldRecord))
    assert paid >= PRICE.owed(root.n_bytes)
    assert DOLLAR - int(left) == paid


def test_who_gives_it_is_asked_before_who_sells_it(film: Path, tmp_path: Path, devchain: str) -> None:  # noqa: F811
    shop = Shop(folder=tmp_path, rpc=devchain)
    root = shop.add(film)
    giving = Shop(folder=tmp_path / "giving", prices={"price.default": "0 USD/GiB"})
    giving.add(film)
    with shop.serving() as node, giving.serving() as free:
        home = shop.client(gateway__providers=[node.addresses[0], free.addresses[0]])
        funded(home, node)
        with open_counter(home) as counter:
            reply = counter.get(f"/ipfs/{format_cid(root.cid)}", token=counter.new_token())
            assert reply.body == film.read_bytes()
            counter.until_idle()
            ((_, deal),) = counter.deals()
            assert deal.peer == free.peer_id


def test_a_token_may_name_a_provider_that_nobody_configured(film: Path, tmp_path: Path) -> None:
    store = MemoryBlockStore()
    root = import_path(store, film)
    with open_door(store) as door:
        home = Shop(folder=tmp_path).client()
        with open_counter(home) as counter:
            target = f"/ipfs/{format_cid(root.cid)}"
            assert counter.get(target).status == 404
            reply = counter.get(f"{target}?provider=http://127.0.0.1:{door.port}", token=counter.new_token("retrieve"))
            assert reply.body == film.read_bytes()


def test_what_came_for_nothing_makes_room_for_what_is_bought(tmp_path: Path, devchain: str) -> None:  # noqa: F811
    shop, store = Shop(folder=tmp_path, rpc=devchain), MemoryBlockStore()
    free = []
    for number in range(3):
        (path := tmp_path / f"free-{number}.bin").write_bytes(os.urandom(3 * MIB))
        free.append((path, import_path(store, path).cid))
    (bought := tmp_path / "bought.bin").write_bytes(os.urandom(6 * MIB))
    root = shop.add(bought)
    with open_door(store) as door, shop.serving() as node:
        home = shop.client(gateway__providers=[f"http://127.0.0.1:{door.port}"], store__bytes_max="8 MiB")
        funded(home, node)
        with open_counter(home) as counter:
            for path, cid in free:
                assert counter.get(f"/ipfs/{format_cid(cid)}").body == path.read_bytes()
                counter.until_idle()
            reply = counter.get(f"/ipfs/{format_cid(root.cid)}?provider={node.addresses[0]}", token=counter.new_token())
            assert (reply.status, reply.body) == (200, bought.read_bytes())
            counter.until_idle()
            assert counter.get(f"/ipfs/{format_cid(free[0][1])}", Cache_Control="only-if-cached").status == 412


def test_a_quote_says_what_a_gateway_gives_for_nothing_first(film: Path, tmp_path: Path, devchain: str) -> None:  # noqa: F811
    selling = {"price.default": "1 USD/GiB", "http.listen": (DOOR,), "x402.free_per_day": 64 * MIB}
    shop = Shop(folder=tmp_path, rpc=devchain, prices=selling)
    root = shop.add(film)
    with shop.serving() as node:
        home = shop.client(gateway__providers=list(node.urls))
        with open_counter(home) as counter:
            token = counter.new_token()
            (offer,) = counter.json(f"/v1/quote/{format_cid(root.cid)}", token=token)["offers"]
            assert int(offer["amount_max"]) >= PRICE.owed(root.n_bytes)
            assert offer["free_bytes_per_day"] == 64 * MIB
            assert counter.get(f"/ipfs/{format_cid(root.cid)}", token=token).body == film.read_bytes()
            counter.until_idle()
            assert counter.json("/v1/budget", token=token)["spent_today"] == "0"
