"""Both programs over radio boards on ptys: content is found on the air, paid from a channel, receipted, and relays are owed."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from pathlib import Path

import pytest
import trio
from chain_fixture import devchain  # noqa: F401 - a fixture
from pty_board import PtyBoard
from radio_air import RelayNode
from radio_relays import Relay
from retrieval_client import Retrieval
from retrieval_client.api import Order, retrieve
from retrieval_client.config import ClientSettings
from retrieval_client.funding import fund
from retrieval_client.source import Source
from retrieval_provider.config import ProviderSettings
from retrieval_provider.node import Node, open_node
from retrieval_provider.radio.status import status_of
from shop import DOLLAR, Shop

from retrieval.cid import format_cid
from retrieval.deal import fold
from retrieval.deal.audit import check
from retrieval.deal.records import OutcomeRecord, PacketRecord
from retrieval.errors import ErrorCode, RetrievalError
from retrieval.home import Home
from retrieval.identity import PeerKey
from retrieval.payment.evm import EvmChain
from retrieval.settings import load
from retrieval.store.blocks import Root
from retrieval.store.lmdb import LmdbStateStorage
from retrieval.units import KIB

RELAY_FEE = 30
FAST = {"radio.bandwidth": "500000"}
"""Stations pace themselves by the airtime of what they send."""
DUE_S = 90.0


@dataclass
class Airfield:
    """Two boards that only hear a relay between them, and the relay."""

    client: PtyBoard
    provider: PtyBoard
    relay: RelayNode

    @classmethod
    def at(cls, folder: Path, *, fee: int = RELAY_FEE) -> Airfield:
        relay = RelayNode(Relay(PeerKey.from_seed(b"r" * 32), fee=fee))
        field = cls(PtyBoard(folder / "client-port"), PtyBoard(folder / "provider-port"), relay)
        field.client.on_sent = field.provider.on_sent = field._carry
        return field

    def _carry(self, frame: bytes) -> None:
        if (onward := self.relay.hear(frame, 0.3)) is not None:
            self.client.hear(onward)
            self.provider.hear(onward)


@asynccontextmanager
async def open_shop(shop: Shop, field: Airfield) -> AsyncIterator[Node]:
    settings, _ = load(ProviderSettings, shop.home.config_path, {}, {"radio.port": str(field.provider.link), **FAST})
    async with trio.open_nursery() as nursery:
        nursery.start_soon(field.provider.run)
        nursery.start_soon(field.client.run)
        async with open_node(shop.home, settings) as node:
            yield node
        nursery.cancel_scope.cancel()


async def get(home: Home, root: Root, field: Airfield, out: Path) -> Retrieval:
    order = Order(source=Source.parse(format_cid(root.cid)), provider="", radio=str(field.client.link), out=out)
    return await retrieve(home, order)


def add(shop: Shop, size: int) -> Root:
    (shop.folder / f"{size}.bin").write_bytes(os.urandom(size))
    return shop.add(shop.folder / f"{size}.bin")


def test_a_file_is_bought_over_the_air(tmp_path: Path, devchain: str) -> None:  # noqa: F811
    prices = {"price.default": "0 USD/GiB", "radio.relay_budget": "0.01 USD"}
    shop, field = Shop(folder=tmp_path, rpc=devchain, prices=prices), Airfield.at(tmp_path)
    root, home = add(shop, 330), shop.client(radio__bandwidth=500_000)

    async def main() -> tuple[Retrieval, dict]:
        async with open_shop(shop, field) as node:
            settings, _ = load(ClientSettings, home.config_path, {}, {})
            await fund(home, settings, node.addresses[0], DOLLAR, open_chain=EvmChain)
            bought = await get(home, root, field, tmp_path / "bought")
            return bought, status_of(node.desk, node.service)

    bought, status = trio.run(_bounded, main)
    assert (tmp_path / "bought").read_bytes() == (tmp_path / "330.bin").read_bytes()
    assert bought.receipt_verified
    with closing(LmdbStateStorage.open_readonly(shop.home.state_path)) as state:
        owed = sum(row.fee_cap for _, row in fold.scan(state, PacketRecord))
    assert bought.paid >= owed > 0
    assert status["online"]
    assert [node["hops"] for node in status["nodes"]] == [1]
    assert status["packets_delivered"] == status["packets_promised"] > 0
    with closing(LmdbStateStorage.open_readonly(home.state_path)) as state:
        packets = [row for _, row in fold.scan(state, PacketRecord)]
        assert packets
        assert all(row.delivery for row in packets)
        assert all(row.done is not None for _, row in fold.scan(state, OutcomeRecord))
        assert check(state).promised == bought.paid


@pytest.mark.parametrize("size", [17 * KIB, 8 * KIB])
def test_what_the_radio_does_not_carry_is_refused_before_it_is_paid(tmp_path: Path, size: int) -> None:
    shop, field = Shop(folder=tmp_path, prices={"price.default": "0 USD/GiB"}), Airfield.at(tmp_path, fee=0)
    root, home = add(shop, size), shop.client(radio__bandwidth=500_000)

    async def main() -> None:
        async with open_shop(shop, field):
            with pytest.raises(RetrievalError) as refused:
                await get(home, root, field, tmp_path / "bought")
            assert refused.value.code is ErrorCode.TOO_LARGE_FOR_TRANSPORT

    trio.run(_bounded, main)
    assert len(field.client.sent) == 1


async def _bounded(main):
    with trio.fail_after(DUE_S):
        return await main()
