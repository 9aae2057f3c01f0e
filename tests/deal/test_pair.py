"""Two honest machines: what a session comes to, whatever the content, the windows and the breaks."""

from __future__ import annotations

import io

import pytest
from content import content
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pair import Pair, Prices

from retrieval.cid import Cid
from retrieval.dag.importer import Profile, import_stream
from retrieval.dag.walk import Walk, read
from retrieval.deal import fold
from retrieval.deal.books import ProviderBooks
from retrieval.deal.events import DealEnded, PaymentTaken, SelectionVerified
from retrieval.deal.purchase import Purchase
from retrieval.deal.records import LineRecord, Outcome, OutcomeRecord, ReceiptRecord
from retrieval.deal.states import PurchaseState
from retrieval.deal.terms import Rate
from retrieval.errors import ErrorCode, LocalProtocolError
from retrieval.store.blocks import Root
from retrieval.units import KIB, MIB
from retrieval.wire.messages import DealId, Scope
from retrieval.wire.receipt import Receipt

SMALL = Profile(chunk_bytes=64 * KIB, links_per_node=16, directory_block_bytes_max=256 * KIB)
"""Many blocks in few bytes, so that windows close often."""


def add(pair: Pair, size: int, *, fill: str = "counter") -> Root:
    data = b"\x01" * size if fill == "ones" else content({"size": size, "fill": fill})
    root = import_stream(pair.provider.store, io.BytesIO(data), "file", SMALL)
    pair.provider.store.pin(root)
    return root


def fetch(pair: Pair, root: Cid) -> Purchase:
    pair.run()
    if pair.provider.prices.price_per_gib:
        pair.present()
    purchase = pair.accept(pair.query(root))
    pair.run()
    pair.pass_time(1)
    return purchase


def check_books(pair: Pair) -> None:
    """What must hold at rest: journals that replay, both sides' money equal, each ended deal with one outcome."""
    pair.provider.journal.check()
    pair.client.journal.check()
    sides = (pair.provider.storage, pair.client.storage)
    best = []
    for storage in sides:
        line = fold.get(storage, LineRecord, pair.channel_id)
        best.append(line.best.amount if line and line.best else 0)
        amounts = [Receipt.decode(row.receipt.body).deal_amount for _, row in fold.scan(storage, ReceiptRecord)]
        if pair.provider.prices.price_per_gib:
            assert sum(amounts) == best[-1], "the deals' amounts sum to the best voucher"
    assert best[0] <= best[1], "the provider holds no voucher that the client did not sign"


def test_a_paid_retrieval_delivers_every_block_and_costs_its_price_once() -> None:
    pair = Pair(window_first=1 * MIB)
    root = add(pair, 5 * MIB + 17)
    purchase = fetch(pair, root.cid)
    assert purchase.state is PurchaseState.DONE
    delivered = dict(read(pair.client.store, Walk(root.cid)))
    assert delivered == dict(read(pair.provider.store, Walk(root.cid)))
    assert purchase.paid.n_bytes == root.n_bytes
    assert purchase.paid.deal_amount == Rate(price_per_gib=10_000).owed(root.n_bytes)
    assert pair.provider.books.lines[pair.channel_id].best_amount == purchase.paid.deal_amount
    check_books(pair)


def test_both_sides_record_the_same_outcome_with_a_countersignature() -> None:
    pair = Pair()
    purchase = fetch(pair, add(pair, 300 * KIB).cid)
    ours = fold.get(pair.client.storage, OutcomeRecord, purchase.deal_id)
    theirs = fold.get(pair.provider.storage, OutcomeRecord, purchase.deal_id)
    assert ours is not None
    assert theirs is not None
    assert ours.outcome == theirs.outcome == Outcome.DONE
    assert ours.done == theirs.done is not None
    assert (ours.n_bytes, ours.n_blocks, ours.amount) == (theirs.n_bytes, theirs.n_blocks, theirs.amount)


def test_free_content_needs_no_channel_and_no_voucher() -> None:
    pair = Pair(prices=Prices(price_per_gib=0))
    root = add(pair, 2 * MIB)
    purchase = fetch(pair, root.cid)
    assert purchase.state is PurchaseState.DONE
    assert purchase.paid.n_bytes == root.n_bytes
    assert purchase.paid.deal_amount == 0
    assert purchase.line.best is None
    assert fold.get(pair.provider.storage, LineRecord, pair.client.key.peer_id) is not None


def test_a_flat_fee_falls_due_once_a_day_for_the_same_content() -> None:
    pair = Pair(prices=Prices(price_per_gib=10_000, flat_fee=500))
    root = add(pair, 64 * KIB)
    first = fetch(pair, root.cid)
    pair.client.store.delete_many([cid for cid, _ in read(pair.client.store, Walk(root.cid))])
    second = fetch(pair, root.cid)
    assert first.paid.deal_amount == Rate(price_per_gib=10_000, flat_fee=500).owed(root.n_bytes)
    assert second.paid.deal_amount == Rate(price_per_gib=10_000).owed(root.n_bytes)
    pair.client.store.delete_many([cid for cid, _ in read(pair.client.store, Walk(root.cid))])
    pair.cut()
    pair.now += 24 * 3600 + 1
    pair.connect()
    third = fetch(pair, root.cid)
    assert third.paid.deal_amount == first.paid.deal_amount
    check_books(pair)


def test_scope_block_delivers_one_block() -> None:
    pair = Pair()
    root = add(pair, 1 * MIB)
    pair.run()
    pair.present()
    purchase = pair.accept(pair.query(root.cid, scope=Scope.BLOCK))
    pair.run()
    pair.pass_time(1)
    assert purchase.state is PurchaseState.DONE
    assert purchase.paid.n_blocks == 1


def test_several_deals_share_one_session_and_one_counter() -> None:
    pair = Pair(window_first=512 * KIB)
    roots = [add(pair, size, fill=fill) for size, fill in ((700 * KIB, "counter"), (900 * KIB, "zeros"), (64 * KIB, "ones"))]
    pair.run()
    pair.present()
    purchases = [pair.accept(pair.query(root.cid)) for root in roots]
    pair.run()
    pair.pass_time(2)
    assert [purchase.state for purchase in purchases] == [PurchaseState.DONE] * 3
    assert sum(purchase.paid.deal_amount for purchase in purchases) == pair.provider.books.lines[pair.channel_id].best_amount
    check_books(pair)


def test_a_quote_above_the_budget_is_refused_before_anything_is_signed() -> None:
    pair = Pair()
    root = add(pair, 2 * MIB)
    pair.run()
    pair.present()
    query_id = pair.query(root.cid)
    with pytest.raises(LocalProtocolError) as caught:
        pair.accept(query_id, spend_max=1)
    assert caught.value.code is ErrorCode.OVER_BUDGET
    assert not list(fold.open_deals(pair.client.storage))
    assert not pair.to_provider.queue


def test_blocks_that_are_here_already_are_neither_sent_nor_paid() -> None:
    pair = Pair()
    root = add(pair, 2 * MIB)
    blocks = list(read(pair.provider.store, Walk(root.cid)))
    held, rest = blocks[:20], blocks[20:]
    pair.client.store.put_many(held)
    purchase = fetch(pair, root.cid)
    assert purchase.state is PurchaseState.DONE
    assert purchase.paid.n_blocks == len(rest)
    assert purchase.paid.n_bytes == sum(len(payload) for _, payload in rest)


@pytest.mark.parametrize("n_moves", [1, 2, 3, 5, 8, 13, 21])
def test_a_cut_deal_is_taken_up_and_costs_no_more(n_moves: int) -> None:
    pair = Pair(window_first=1 * MIB)
    root = add(pair, 4 * MIB)
    pair.run()
    pair.present()
    purchase = pair.accept(pair.query(root.cid))
    for _ in range(n_moves):
        pair.deliver_to_provider()
        pair.serve()
        pair.deliver_to_client()
    if purchase.lifecycle.is_over:
        pytest.skip("the deal was over before the cut")
    pair.cut()
    pair.connect()
    resumed = pair.finish(purchase.deal_id)
    pair.run()
    pair.pass_time(2)
    assert resumed.state is PurchaseState.DONE
    assert resumed.paid.n_bytes == root.n_bytes
    assert resumed.paid.deal_amount == Rate(price_per_gib=10_000).owed(root.n_bytes)
    check_books(pair)


class Crash:
    """What may happen in the middle of a deal. Each restores the session afterwards."""

    def __init__(self, pair: Pair) -> None:
        self.pair = pair

    def cut(self) -> None:
        self.pair.cut()

    def kill_provider(self) -> None:
        """Nothing of the provider's memory survives; the client sees a broken connection."""
        self.pair.to_provider.queue.clear()
        self.pair.client_step(self.pair.client_session.closed(self.pair.now), deliver=False)
        self.pair.provider.restart(self.pair.now)

    def kill_client(self) -> None:
        self.pair.to_client.queue.clear()
        self.pair.client.restart(self.pair.now)
        self.pair.provider_step(self.pair.provider_session.closed(self.pair.now), deliver=False)


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(
    size=st.integers(0, 3 * MIB),
    window_kib=st.sampled_from([64, 128, 256, 1024]),
    crashes=st.lists(st.tuples(st.integers(0, 12), st.sampled_from(["cut", "kill_provider", "kill_client"])), max_size=5),
)
def test_whatever_breaks_the_content_arrives_and_is_paid_for_once(size: int, window_kib: int, crashes: list[tuple[int, str]]) -> None:
    pair = Pair(window_first=window_kib * KIB, prices=Prices(price_per_gib=1_000_000, block_size_max=64 * KIB))
    root = add(pair, size)
    pair.run()
    pair.present()
    purchase = pair.accept(pair.query(root.cid))
    deal: DealId = purchase.deal_id
    for n_moves, crash in crashes:
        for _ in range(n_moves):
            pair.deliver_to_provider()
            pair.serve()
            pair.deliver_to_client()
        if fold.get(pair.client.storage, OutcomeRecord, deal) is not None:
            break
        getattr(Crash(pair), crash)()
        pair.connect()
        pair.run()
        purchase = pair.finish(deal)
    pair.run()
    pair.pass_time(2)
    if fold.get(pair.client.storage, OutcomeRecord, deal).code == ErrorCode.QUOTE_UNKNOWN:  # type: ignore[union-attr]
        # The provider died between the quote and the Accept, and forgot it.
        pair.accept(pair.query(root.cid))
        pair.run()
        pair.pass_time(2)
    assert dict(read(pair.client.store, Walk(root.cid))) == dict(read(pair.provider.store, Walk(root.cid)))
    line = pair.provider.books.lines[pair.channel_id]
    assert line.best_amount == Rate(price_per_gib=1_000_000).owed(root.n_bytes)
    check_books(pair)


def test_payments_come_less_often_as_what_was_paid_opens_the_window() -> None:
    window, block = 256 * KIB, 64 * KIB
    pair = Pair(window_first=window, prices=Prices(price_per_gib=1_000_000, block_size_max=block))
    pair.run()
    pair.present()
    purchase = pair.accept(pair.query(add(pair, 6 * MIB).cid))
    pair.run()
    taken = [event for event in pair.provider.events if isinstance(event, PaymentTaken)]
    sizes = [event.n_bytes for event in taken[:-1]]
    assert purchase.paid.n_bytes == sum(event.n_bytes for event in taken)
    assert sizes[0] < 2 * block  # a quarter of the first window, in whole blocks
    for event in taken:
        before = event.receipted_bytes - event.n_bytes
        assert event.n_bytes <= max(window, before // 2) // 4 + block, "never more than a quarter of the window, in whole blocks"
    assert sizes[-1] >= 6 * block


def test_events_tell_what_was_paid_and_when_it_was_over() -> None:
    pair = Pair(window_first=1 * MIB)
    root = add(pair, 3 * MIB)
    fetch(pair, root.cid)
    taken = [event for event in pair.provider.events if isinstance(event, PaymentTaken)]
    assert sum(event.n_bytes for event in taken) == root.n_bytes
    assert any(isinstance(event, SelectionVerified) for event in pair.client.events)
    ended = [event for event in pair.provider.events if isinstance(event, DealEnded)]
    assert [event.outcome for event in ended] == [Outcome.DONE]


def test_the_books_after_a_restart_are_the_books_before_it() -> None:
    pair = Pair(window_first=256 * KIB)
    root = add(pair, 2 * MIB)
    pair.run()
    pair.present()
    pair.accept(pair.query(root.cid))
    for _ in range(4):
        pair.deliver_to_provider()
        pair.serve()
        pair.deliver_to_client()
    pair.cut()
    before = pair.provider.books
    pair.provider.restart(pair.now)
    after: ProviderBooks = pair.provider.books
    assert after.lines.keys() == before.lines.keys()
    for key, line in before.lines.items():
        restored = after.lines[key]
        assert (restored.best, restored.paid_bytes, restored.written_off_bytes, restored.unpaid_bytes) == (
            line.best,
            line.paid_bytes,
            line.written_off_bytes,
            line.unpaid_bytes,
        )
