"""What a sale over the radio is said to take covers what it takes."""

from __future__ import annotations

import random

import pytest
from pair import Prices
from radio_pair import RadioPair

from retrieval.cid import RAW, cid_of
from retrieval.deal.events import Quoted
from retrieval.radio.carriage import packets_of
from retrieval.radio.packet import Packet, PacketType


@pytest.mark.parametrize("n_relays", [1, 3])
@pytest.mark.parametrize("size", [1, 330, 4096])
def test_no_undisturbed_sale_takes_more_packets_than_said(size: int, n_relays: int) -> None:
    pair = RadioPair(prices=Prices(price_per_gib=1 << 40, flat_fee=100), n_relays=n_relays)
    payload = random.Random(size).randbytes(size)
    cid = cid_of(RAW, payload)
    pair.provider.store.put_many([(cid, payload)])
    pair.find(cid, seconds=30)
    pair.meet()
    query_id = pair.query(cid)
    pair.pass_air(60)
    assert any(isinstance(event, Quoted) for event in pair.client.events)
    pair.accept(query_id)
    pair.pass_air(400)
    assert pair.client.store.get(cid) == payload
    packets = {(packet := Packet.decode(frame)).hash: packet for _, name, frame in pair.air.frames if name == "provider"}
    paid = [packet for packet in packets.values() if packet.fee_cap]
    assert PacketType.FRAGMENT in {packet.type for packet in paid}
    said = packets_of(size, 1, hops=n_relays)
    assert len(paid) <= said <= 2 * len(paid) + 8


def test_more_bytes_more_blocks_and_a_longer_way_take_no_fewer_packets() -> None:
    assert packets_of(0, 0, hops=0) <= packets_of(4096, 1, hops=0) <= packets_of(4096, 4, hops=0) <= packets_of(4096, 4, hops=8)
