"""A provider's desk on the air: what its board carried for others is on disk before the board may forget it."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest
import trio
from pty_board import PtyBoard
from radio_relays import Relay
from retrieval_provider.config import ProviderSettings
from retrieval_provider.node import Node, open_node
from retrieval_provider.radio.status import status_of
from shop import Shop

from retrieval.deal import fold
from retrieval.deal.records import RelayReceiptRecord
from retrieval.errors import ErrorCode, LocalProtocolError
from retrieval.identity import PeerKey, public_key_of
from retrieval.radio.codes import code8_down, code16_up
from retrieval.radio.kiss import encode_kiss
from retrieval.radio.modem import DUTY, IDENTITY, RECEIPT
from retrieval.radio.packet import Packet, PacketType, RadioId
from retrieval.settings import load
from retrieval.store.lmdb import LmdbStateStorage

DUE_S = 30.0
RELAY = Relay(PeerKey.from_seed(b"\x61" * 32), fee=11)
PACKET = Packet(
    type=PacketType.RECORD,
    direct=False,
    hop_limit=2,
    packet_id=1,
    origin=RadioId(b"somebody"),
    destination=RadioId(b"another1"),
    fee_cap_code=code16_up(100),
    payload=b"record",
    hops=0,
    latency_code=0,
    bandwidth_code=code8_down(547),
    mtu=255,
    token=bytes(8),
    trail=(),
)


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(folder=tmp_path, prices={"price.default": "0 USD/GiB"})


async def until(holds) -> None:
    with trio.fail_after(DUE_S):
        while not holds():  # noqa: ASYNC110 - what it waits for happens in another process's place, behind a pty
            await trio.sleep(0.02)


def serve(shop: Shop, port: str, board: PtyBoard | None, work) -> None:
    async def main() -> None:
        settings, _ = load(ProviderSettings, shop.home.config_path, {}, {"radio.port": port})
        async with trio.open_nursery() as nursery:
            if board is not None:
                nursery.start_soon(board.run)
            async with open_node(shop.home, settings) as node:
                await work(node)
            nursery.cancel_scope.cancel()

    trio.run(main)


def test_receipts_of_the_board_are_kept_and_then_acknowledged(shop: Shop, tmp_path: Path) -> None:
    duty = bytes((0, 0, 0, 5, 0, 0, 0, 9))
    board = PtyBoard(tmp_path / "port", {IDENTITY: public_key_of(RELAY.key.peer_id), DUTY: duty})
    signed = RELAY.receipt(PACKET, 0)
    forged = signed[:-1] + bytes((signed[-1] ^ 1,))

    async def work(node: Node) -> None:
        board.say(encode_kiss(RECEIPT, forged) + encode_kiss(RECEIPT, signed) + encode_kiss(RECEIPT, signed))
        await until(lambda: board.asked.get(RECEIPT) == signed[17:21])
        await until(lambda: status_of(node.desk, node.service)["bands"] == [{"spent_us": 5, "budget_us": 9}])
        assert status_of(node.desk, node.service)["board"] == RELAY.id.hex()

    serve(shop, str(board.link), board, work)
    with closing(LmdbStateStorage.open_readonly(shop.home.state_path)) as state:
        ((subject, row),) = fold.scan(state, RelayReceiptRecord)
        assert subject == RELAY.id + signed[17:21]
        assert row.signed == signed


def test_a_port_that_is_not_there_is_said_before_anybody_is_served(shop: Shop, tmp_path: Path) -> None:
    async def work(node: Node) -> None:
        raise AssertionError("it served")

    with pytest.raises(BaseExceptionGroup) as failed:
        serve(shop, str(tmp_path / "nothing"), None, work)
    found: BaseException = failed.value
    while isinstance(found, BaseExceptionGroup):
        (found,) = found.exceptions
    assert isinstance(found, LocalProtocolError)
    assert found.code is ErrorCode.RADIO_UNAVAILABLE
