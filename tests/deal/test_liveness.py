"""Two honest machines never wait for each other: every deal ends as soon as it can, delivered or refused, whatever the terms."""

from __future__ import annotations

import io
import random

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from pair import Pair, Prices
from test_pair import SMALL

from retrieval.dag.importer import import_stream
from retrieval.deal.audit import check
from retrieval.deal.events import Refused
from retrieval.deal.states import PurchaseState
from retrieval.errors import LocalProtocolError
from retrieval.units import KIB, MIB

INTERESTING_WINDOWS = {
    1: "below every block",
    100: "a node and no leaf",
    64 * KIB: "exactly one leaf",
    64 * KIB + 100: "a leaf, or a leaf and a node",
    200 * KIB: "a few leaves and a rest",
    4 * MIB: "everything",
}
INTERESTING_PRICES = {
    0: "free, unless there is a flat fee",
    1: "less than a unit for the whole",
    1 << 14: "a unit a leaf",
    1_000_000: "61 units a leaf",
    1 << 70: "more than a deposit holds",
}


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@example(sizes=[0], window=1, price=0, flat_fee=0, deposit=0, slack=0)
@example(sizes=[MIB], window=1, price=1_000_000, flat_fee=500, deposit=2_000, slack=0)
@example(sizes=[300_000, 0, 300_000], window=64 * KIB, price=1_000_000, flat_fee=0, deposit=900, slack=10)
@given(
    sizes=st.lists(st.integers(0, MIB), min_size=1, max_size=3),
    window=st.sampled_from(sorted(INTERESTING_WINDOWS)),
    price=st.sampled_from(sorted(INTERESTING_PRICES)),
    flat_fee=st.sampled_from([0, 0, 1, 500]),
    deposit=st.one_of(st.integers(0, 3_000), st.just(1 << 80)),
    slack=st.sampled_from([0, 0, 1, 100_000]),
)
def test_an_honest_pair_ends_in_a_delivery_or_a_refusal(
    sizes: list[int], window: int, price: int, flat_fee: int, deposit: int, slack: int
) -> None:
    prices = Prices(price_per_gib=price, flat_fee=flat_fee, block_size_max=64 * KIB, slack=slack)
    pair = Pair(window_first=window, window_max=MIB, prices=prices, deposit=deposit)
    random_bytes = random.Random(str(sizes)).randbytes
    roots = [import_stream(pair.provider.store, io.BytesIO(random_bytes(size)), "file", SMALL) for size in sizes]
    pair.run()
    if not prices.is_free:
        pair.present()
    purchases = []
    for query_id in [pair.query(root.cid) for root in roots]:
        try:
            purchases.append(pair.accept(query_id))
        except LocalProtocolError:  # over what the channel holds: nothing was signed
            continue
    pair.run()
    pair.pass_time(3)
    refused = {event.deal_id for event in pair.client.events if isinstance(event, Refused)}
    for purchase in purchases:
        assert purchase.state is PurchaseState.DONE or purchase.deal_id in refused
    assert pair.failures() == []
    assert pair.provider_session.n_deals == 0, "nothing is left waiting"
    for party in (pair.client, pair.provider):
        check(party.storage)
