"""Content through the client's gateway, from real providers: bought, kept, and in parts."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import trio
from chain_fixture import devchain  # noqa: F401 - a fixture
from counter_gateway import DOLLAR, open_counter
from retrieval_client.config import ClientSettings
from retrieval_client.funding import fund
from retrieval_provider.node import Node
from shop import PRICE_PER_GIB, Shop

from retrieval.cid import format_cid
from retrieval.home import Home
from retrieval.payment.evm import EvmChain
from retrieval.payment.rate import Rate
from retrieval.settings import load
from retrieval.store.blocks import Root
from retrieval.units import MIB

PRICE = Rate(price_per_gib=PRICE_PER_GIB)
FILE_BYTES = 8 * MIB + 5


def funded(home: Home, node: Node) -> None:
    settings, _ = load(ClientSettings, home.config_path, {}, {})
    trio.run(lambda: fund(home, settings, node.addresses[0], DOLLAR, open_chain=EvmChain))


@pytest.fixture
def shop(tmp_path: Path, devchain: str) -> Shop:  # noqa: F811
    return Shop(folder=tmp_path, rpc=devchain)


@pytest.fixture
def film(shop: Shop) -> Root:
    (shop.folder / "film.bin").write_bytes(os.urandom(FILE_BYTES))
    return shop.add(shop.folder / "film.bin")


def test_a_file_is_bought_streamed_and_kept(shop: Shop, film: Root) -> None:
    with shop.serving() as node:
        home = shop.client(gateway__providers=[node.addresses[0]])
        funded(home, node)
        with open_counter(home) as counter:
            token, target = counter.new_token(), f"/ipfs/{format_cid(film.cid)}"
            first = counter.get(target, token=token)
            assert (first.status, first.is_whole) == (200, True)
            assert first.body == (shop.folder / "film.bin").read_bytes()
            again = counter.get(target)
            assert (again.status, again.body, again.headers["retrieval-paid"]) == (200, first.body, "0")
