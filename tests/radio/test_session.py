"""A CID is found, bought and proven over the radio: the deal machines as they stand, over relays that are owed and paid."""

from __future__ import annotations

import random

import pytest
from pair import Prices
from radio_pair import RadioPair
from radio_relays import Relay

from retrieval.cid import RAW, Cid, cid_of
from retrieval.deal import fold
from retrieval.deal.audit import check
from retrieval.deal.events import Quoted
from retrieval.deal.records import CarriageRecord, OutcomeRecord, PacketRecord
from retrieval.radio.account import Claim
from retrieval.radio.packet import Packet, PacketType
from retrieval.radio.station import Station

PRICES = Prices(price_per_gib=1 << 40, flat_fee=100)


def bought(pair: RadioPair, size: int) -> Cid:
    """Put a block into the provider's store, and buy it over the air."""
    payload = random.Random(size).randbytes(size)
    cid = cid_of(RAW, payload)
    pair.provider.store.put_many([(cid, payload)])
    while not (heard := pair.find(cid, seconds=30)):
        pass
    assert heard[0].quote.n_bytes == size
    pair.meet()
    query_id = pair.query(cid)
    for _ in range(60):
        if any(isinstance(event, Quoted) for event in pair.client.events):
            break
        pair.pass_air(5)
    pair.accept(query_id)
    pair.pass_air(400)
    assert pair.client.store.get(cid) == payload
    return cid


def claim(pair: RadioPair, station: Station, origin, relay: Relay) -> int:
    """What a relay's operator is paid for one origin's packets."""
    carried = [(packet, hop) for packet, hop in relay.carried if packet.origin == station.id and packet.fee_cap]
    receipts = tuple(dict.fromkeys(relay.receipt(packet, hop) for packet, hop in carried))
    line, before = origin.line(pair.channel_id), origin.line(pair.channel_id).best_amount
    for start in range(0, len(receipts), 32):
        asked = Claim(
            relay=relay.key.peer_id, channel_id=pair.channel_id, receipts=receipts[start : start + 32], adverts=(relay.advert_frame(),)
        )
        _, step = station.account.settle(asked, line)
        origin.commit(step, pair.now)
    return line.best_amount - before


@pytest.mark.parametrize("size", [1, 330, 1024, 4096])
def test_a_block_is_bought_over_three_relays(size: int) -> None:
    pair = RadioPair(prices=PRICES)
    bought(pair, size)
    (outcome,) = (row for _, row in fold.scan(pair.client.storage, OutcomeRecord))
    assert outcome.done is not None
    assert check(pair.client.storage).promised == check(pair.provider.storage).promised == 100 + size * 1024


def test_what_a_small_purchase_takes_of_the_air() -> None:
    pair = RadioPair(prices=PRICES)
    bought(pair, 330)
    n_frames = len([frame for _, name, frame in pair.air.frames if name in ("client", "provider")])
    n_bytes = sum(len(frame) for _, name, frame in pair.air.frames if name in ("client", "provider"))
    assert n_bytes < 4500
    assert n_frames < 32


def test_all_relays_are_paid_for_the_clients_packets() -> None:
    pair = RadioPair(prices=PRICES)
    bought(pair, 330)
    deal_cost = pair.client.line(pair.channel_id).best_amount
    earned = [claim(pair, pair.client_end.station, pair.client, relay) for relay in pair.relays]
    packets = [row for _, row in fold.scan(pair.client.storage, PacketRecord)]
    assert all(row.delivery for row in packets)
    assert earned == [relay.fee * len(packets) for relay in pair.relays]
    assert check(pair.client.storage).promised == deal_cost + sum(earned)
    assert len(dict(fold.scan(pair.client.storage, CarriageRecord))) == len(packets) * 3
    assert [claim(pair, pair.client_end.station, pair.client, relay) for relay in pair.relays] == [0, 0, 0]


@pytest.mark.parametrize("loss", [0.02, 0.05, 0.1])
@pytest.mark.parametrize("seed", [1, 2])
def test_loss_costs_time_and_nothing_else(loss: float, seed: int) -> None:
    pair = RadioPair(prices=PRICES, loss=loss, seed=seed, n_relays=2)
    bought(pair, 1024)
    pair.pass_air(1000)
    assert check(pair.client.storage).promised == check(pair.provider.storage).promised == 100 + 1024 * 1024


def test_the_same_seed_gives_the_same_frames() -> None:
    logs = []
    for _ in range(2):
        pair = RadioPair(prices=PRICES, loss=0.05, seed=3, n_relays=1)
        bought(pair, 330)
        logs.append(pair.air.frames)
    assert logs[0] == logs[1]


def test_no_packet_on_the_air_is_above_its_fee_cap_or_its_hops() -> None:
    pair = RadioPair(prices=PRICES, n_relays=2)
    bought(pair, 330)
    packets = [Packet.decode(frame) for _, _, frame in pair.air.frames]
    assert {packet.type for packet in packets} == set(PacketType) - {PacketType.ADVERT}
    assert all(packet.price <= packet.fee_cap or packet.fee_cap == 0 for packet in packets)


def test_relays_that_ask_too_much_are_not_used() -> None:
    pair = RadioPair(prices=PRICES, fee=100, fee_cap=200)
    pair.provider.store.put_many([(cid := cid_of(RAW, b"dear"), b"dear")])
    assert pair.find(cid) == []
