"""What a client takes and never pays is counted until it is forgiven, however the deal is dropped and taken up."""

from __future__ import annotations

import io
import os

import pytest
from pair import Pair, Prices

from retrieval.dag.importer import import_stream
from retrieval.errors import ErrorCode
from retrieval.units import KIB, MIB
from retrieval.wire.framing import FrameDecoder, encode_frame
from retrieval.wire.messages import Accept, Cancel, Refuse

WINDOW = 4 * MIB


@pytest.fixture
def pair():
    pair = Pair(prices=Prices(price_per_gib=1_000_000), window_first=WINDOW)
    pair.root = import_stream(pair.provider.store, io.BytesIO(os.urandom(9 * MIB)), "bytes").cid
    pair.run()
    pair.present()
    return pair


def take_window(pair: Pair) -> int:
    """Let the provider send all it dares; returns the bytes that left, which nobody pays for."""
    pair.deliver_to_provider()
    sent = 0
    while pair.serve():
        sent += sum(map(len, pair.to_client.queue))
        pair.to_client.queue.clear()
    return sent


def reconnect(pair: Pair) -> None:
    """The provider's side of the connection breaks; the client's machine is left out of it."""
    pair.provider_step(pair.provider_session.closed(pair.now), deliver=False)
    pair.connect()


def test_a_refused_deal_is_refused_again_and_its_debt_stays(pair):
    purchase = pair.accept(pair.query(pair.root))
    accept = Accept(body=purchase.deal.accept.body, signature=purchase.deal.accept.signature)
    taken = take_window(pair)
    sale = pair.provider.books.sales[purchase.deal_id]
    for _ in range(6):
        reconnect(pair)
        pair.to_provider.send(encode_frame(accept))
        taken += take_window(pair)
    assert taken <= 2 * WINDOW + 16 * KIB
    assert sale.line.unpaid_bytes + sale.line.written_off_bytes >= taken - 16 * KIB


def test_a_deal_that_is_cut_while_it_is_taken_up_owes_what_it_owed(pair):
    purchase = pair.accept(pair.query(pair.root))
    take_window(pair)
    line = pair.provider.books.lines[pair.channel_id]
    owed = line.unpaid_bytes
    for _ in range(3):
        reconnect(pair)
        pair.to_provider.send(encode_frame(Accept(body=purchase.deal.accept.body, signature=purchase.deal.accept.signature)))
        pair.deliver_to_provider()
        assert line.unpaid_bytes + line.written_off_bytes == owed


def test_taking_a_window_and_cancelling_ends_in_a_refusal(pair):
    taken = 0
    for _ in range(6):
        query_id = pair.query(pair.root)
        purchase = pair.accept(query_id)
        taken += take_window(pair)
        purchase.line.purchases.clear()
        pair.client_session._purchases.clear()
        pair.to_provider.send(encode_frame(Cancel(deal_id=purchase.deal_id, code=ErrorCode.CANCELLED)))
        pair.deliver_to_provider()
        pair.to_client.queue.clear()
    assert taken <= 2 * WINDOW + 16 * KIB
    pair.accept(pair.query(pair.root))
    pair.deliver_to_provider()
    [answer] = [item for data in pair.to_client.take() for item in FrameDecoder().feed(data)]
    assert isinstance(answer, Refuse)
    assert answer.code == ErrorCode.DEBT_OUTSTANDING
    assert purchase.deal_id not in pair.provider.books.sales
