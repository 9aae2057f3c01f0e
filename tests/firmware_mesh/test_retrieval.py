"""A small CID is found, bought and paid for across three relays that are real firmware, and the relays are paid for carrying it."""

from __future__ import annotations

import random

import pytest
from mesh_pair import ADVERTS_S, RELAYS, MeshPair, mesh_pair
from pair import Prices

from benchmarks.radio.boards import Board
from retrieval.cid import RAW, cid_of
from retrieval.deal import fold
from retrieval.deal.audit import check
from retrieval.deal.events import Quoted
from retrieval.deal.records import CarriageRecord, OutcomeRecord, PacketRecord
from retrieval.radio.station import QuoteHeard

PRICES = Prices(price_per_gib=1 << 40, flat_fee=100)
SIZE = 330
EMULATED: tuple[Board, Board, Board] = ("qemu_virt", "esp32c3_ct62", "mps2_an385")


def wait(pair: MeshPair, kind: type, *, limit_s: int) -> None:
    """Let time pass until the client was told something of that kind."""
    for _ in range(limit_s):
        if any(isinstance(event, kind) for event in (*pair.client.events, *pair.client_end.events)):
            return
        pair.pass_air(1)
    raise AssertionError(f"no {kind.__name__} within {limit_s} s")


def buy(pair: MeshPair) -> None:
    payload = random.Random(SIZE).randbytes(SIZE)
    cid = cid_of(RAW, payload)
    pair.provider.store.put_many([(cid, payload)])
    pair.pass_air(ADVERTS_S)
    pair.client_end.station.want(cid, price_max=1 << 30, now=pair.air.now)
    wait(pair, QuoteHeard, limit_s=60)
    pair.meet()
    query_id = pair.query(cid)
    wait(pair, Quoted, limit_s=120)
    pair.accept(query_id)
    pair.pass_air(300)
    assert pair.client.store.get(cid) == payload
    [outcome] = (row for _, row in fold.scan(pair.client.storage, OutcomeRecord))
    assert outcome.done is not None


def retrieve_and_settle(boards: tuple[Board, Board, Board]) -> bytes:
    """Everything, with every check; returns the log of the air."""
    with mesh_pair(boards, PRICES) as (pair, keys):
        buy(pair)
        paid_for_content = pair.client.line(pair.channel_id).best_amount
        assert paid_for_content == 100 + SIZE * 1024
        earned = [pair.settle(relay, keys[relay]) for relay in RELAYS]
        packets = [row for _, row in fold.scan(pair.client.storage, PacketRecord)]
        n_delivered = sum(bool(row.delivery) for row in packets)
        assert n_delivered == len(packets) >= 5  # the want, and the segments of the deal
        assert earned == [fee * n_delivered for fee in (11, 12, 13)]
        assert [pair.settle(relay, keys[relay]) for relay in RELAYS] == [0, 0, 0]
        for books in (pair.client.storage, pair.provider.storage):
            assert check(books).promised == paid_for_content + sum(earned)
            assert len(dict(fold.scan(books, CarriageRecord))) == 3 * n_delivered
        simulation = pair.air.simulation
        assert simulation.auditor.breaches == []
        assert simulation.findings() == []
        return bytes(simulation.journal)


@pytest.mark.parametrize(
    "boards", [("host", "host", "host"), EMULATED], ids=["compiled for this computer", "emulated, one the image of the product"]
)
def test_content_and_carriage_are_paid_and_two_runs_log_the_same_bytes(boards: tuple[Board, Board, Board]) -> None:
    assert retrieve_and_settle(boards) == retrieve_and_settle(boards)
