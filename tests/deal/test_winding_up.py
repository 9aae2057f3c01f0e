"""A deal that its client no longer wants: what was sent is paid before it ends, so that stopping costs nobody a window."""

from __future__ import annotations

import pytest
from pair import Pair, Prices
from test_pair import add, check_books

from retrieval.deal import fold
from retrieval.deal.purchase import Purchase
from retrieval.deal.records import Outcome, OutcomeRecord
from retrieval.deal.states import PurchaseState
from retrieval.units import KIB, MIB
from retrieval.wire.messages import Pong

WINDOW = 512 * KIB


@pytest.fixture
def pair() -> Pair:
    pair = Pair(window_first=WINDOW, prices=Prices(price_per_gib=1_000_000, block_size_max=64 * KIB))
    pair.run()
    pair.present()
    return pair


def under_way(pair: Pair) -> Purchase:
    """A deal with a window of blocks on their way."""
    purchase = pair.accept(pair.query(add(pair, 4 * MIB).cid))
    pair.run_provider_only()
    return purchase


def test_what_was_on_its_way_is_paid_and_no_debt_is_left(pair: Pair) -> None:
    purchase = under_way(pair)
    pair.client_step(pair.client_session.wind_up(purchase.deal_id))
    pair.run()
    line = pair.provider.books.lines[pair.channel_id]
    assert purchase.state is PurchaseState.CANCELLED
    assert 0 < purchase.paid.n_bytes < 4 * MIB
    assert (line.debt_bytes, line.unpaid_bytes, line.reserved) == (0, 0, 0)
    for storage in (pair.client.storage, pair.provider.storage):
        ended = fold.get(storage, OutcomeRecord, purchase.deal_id)
        assert ended is not None
        assert (ended.outcome, ended.n_bytes) == (Outcome.CANCELLED, purchase.paid.n_bytes)
    check_books(pair)


def test_a_deal_that_is_cancelled_outright_leaves_a_debt(pair: Pair) -> None:
    purchase = under_way(pair)
    pair.client_step(pair.client_session.cancel(purchase.deal_id, now=pair.now))
    pair.run()
    assert pair.provider.books.lines[pair.channel_id].debt_bytes > 0


def test_other_deals_of_the_session_go_on(pair: Pair) -> None:
    queries = [pair.query(add(pair, 4 * MIB).cid), pair.query(add(pair, 2 * MIB, fill="ones").cid)]
    unwanted, wanted = (pair.accept(query) for query in queries)
    pair.run_provider_only()
    pair.client_step(pair.client_session.wind_up(unwanted.deal_id))
    pair.run()
    pair.pass_time(1)
    assert (unwanted.state, wanted.state) == (PurchaseState.CANCELLED, PurchaseState.DONE)
    check_books(pair)


def test_a_deal_of_which_everything_comes_meanwhile_is_done(pair: Pair) -> None:
    purchase = pair.accept(pair.query(add(pair, WINDOW // 2).cid))
    pair.run_provider_only()
    pair.client_step(pair.client_session.wind_up(purchase.deal_id))
    pair.run()
    pair.pass_time(1)
    assert purchase.state is PurchaseState.DONE
    check_books(pair)


def test_a_pong_that_nobody_asked_for_ends_nothing(pair: Pair) -> None:
    purchase = under_way(pair)
    pair.client_step(pair.client_session.receive(Pong(nonce=1), pair.now))
    pair.run()
    pair.pass_time(1)
    assert purchase.state is PurchaseState.DONE
