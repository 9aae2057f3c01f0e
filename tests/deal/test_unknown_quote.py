"""A provider that has forgotten a quote: the client learns which of its deals that ends."""

from __future__ import annotations

import pytest
from pair import Pair

from retrieval.cid import RAW, cid_of
from retrieval.deal import fold
from retrieval.deal.events import Refused
from retrieval.deal.records import Outcome, OutcomeRecord
from retrieval.errors import ErrorCode


@pytest.mark.parametrize("price", [0, 10_000], ids=["free", "paid"])
def test_an_accept_of_a_forgotten_quote_ends_in_a_refused_deal(price):
    pair = Pair()
    pair.provider.prices.price_per_gib = price
    pair.connect()
    root = cid_of(RAW, b"letter")
    pair.provider.store.put_many([(root, b"letter")])
    pair.run()
    pair.present()
    query_id = pair.query(root)
    pair.provider.books.quotes.clear()  # as after a restart
    purchase = pair.accept(query_id)
    pair.run()
    ended = fold.get(pair.client.storage, OutcomeRecord, purchase.deal_id)
    assert (ended.outcome, ended.code) == (Outcome.REFUSED, ErrorCode.QUOTE_UNKNOWN)
    assert [event.deal_id for event in pair.client.events if isinstance(event, Refused)] == [purchase.deal_id]
    assert pair.failures() == []
