"""Whatever is said twice, and whenever: it is answered from the record, and changes nothing that matters."""

from __future__ import annotations

import io
import random

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pair import Pair, Prices, Wire
from test_pair import SMALL

from retrieval.dag.importer import import_stream
from retrieval.dag.walk import Walk, read
from retrieval.deal.audit import check
from retrieval.deal.states import PurchaseState
from retrieval.deal.terms import Rate
from retrieval.units import KIB
from retrieval.wire.framing import FrameDecoder
from retrieval.wire.messages import Hello

PRICE = 1_000_000


class Tap:
    """Listens to one direction, and says again what it heard: any message but Hello, which only begins a session."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self.heard: list[bytes] = []
        wire.alter = self._hear

    def _hear(self, frame: bytes) -> bytes:
        for item in FrameDecoder().feed(frame):
            if not isinstance(item, list | Hello):
                self.heard.append(frame)
        return frame

    def say_again(self, which: int) -> None:
        if self.heard:
            self._wire.queue.append(self.heard[which % len(self.heard)])


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(
    sizes=st.lists(st.integers(0, 700 * KIB), min_size=1, max_size=2),
    repeats=st.lists(st.tuples(st.booleans(), st.integers(0, 40), st.integers(0, 3)), max_size=30),
)
def test_messages_that_come_again_change_nothing(sizes: list[int], repeats: list[tuple[bool, int, int]]) -> None:
    pair = Pair(window_first=128 * KIB, prices=Prices(price_per_gib=PRICE, block_size_max=64 * KIB))
    taps = [Tap(pair.to_provider), Tap(pair.to_client)]
    random_bytes = random.Random(str(sizes)).randbytes
    roots = [import_stream(pair.provider.store, io.BytesIO(random_bytes(size)), "file", SMALL) for size in sizes]
    pair.run()
    pair.present()
    purchases = [pair.accept(query_id) for query_id in [pair.query(root.cid) for root in roots]]
    for to_client, which, n_moves in repeats:
        taps[to_client].say_again(which)
        for _ in range(n_moves):
            pair.deliver_to_provider()
            pair.serve()
            pair.deliver_to_client()
    pair.run()
    pair.pass_time(2)
    for to_client, which, _ in repeats:
        taps[to_client].say_again(which)
    pair.run()
    assert [purchase.state for purchase in purchases] == [PurchaseState.DONE] * len(roots)
    assert pair.failures() == []
    for root in roots:
        assert dict(read(pair.client.store, Walk(root.cid))) == dict(read(pair.provider.store, Walk(root.cid)))
    owed = sum(Rate(price_per_gib=PRICE).owed(root.n_bytes) for root in roots)
    assert pair.provider.books.lines[pair.channel_id].best_amount == pair.client.line(pair.channel_id).best_amount == owed
    for party in (pair.client, pair.provider):
        check(party.storage)
