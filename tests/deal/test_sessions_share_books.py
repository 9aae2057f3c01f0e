"""Several sessions, cuts and repeats on one set of books: no sequence of a client's messages makes the journal refuse a record."""

from __future__ import annotations

import dataclasses
import io
import random

import pytest
from pair import CHAIN_ID, CONTRACT, START, Pair, Prices
from test_hostile_client import codes, payment_for, say, taken_window
from test_pair import SMALL, add

from retrieval.dag.importer import import_stream
from retrieval.dag.walk import Walk, read
from retrieval.deal import fold
from retrieval.deal.audit import check
from retrieval.deal.books import ProviderBooks
from retrieval.deal.client import ClientSession
from retrieval.deal.events import ChannelPresented, PaymentTaken
from retrieval.deal.provider import DEALS_PER_LINE_MAX, TAKEN_UP_MAX, ProviderSession
from retrieval.deal.purchase import Purchase
from retrieval.deal.records import DealRecord, Outcome, OutcomeRecord
from retrieval.deal.sale import Sale
from retrieval.deal.states import PurchaseState, SaleState
from retrieval.deal.step import NOTHING, Step
from retrieval.errors import ErrorCode
from retrieval.identity import PeerKey
from retrieval.ledger.transfers import open_reservations
from retrieval.payment.channel import channel_id
from retrieval.store.blocks import Root
from retrieval.units import KIB, MIB
from retrieval.wire import shape
from retrieval.wire.framing import encode_frame
from retrieval.wire.messages import Accept, Acceptance, Present, Query, Selection

WINDOW = 512 * KIB


@pytest.fixture
def pair() -> Pair:
    pair = Pair(window_first=WINDOW, prices=Prices(price_per_gib=1_000_000, block_size_max=64 * KIB), deposit=20_000)
    pair.run()
    pair.present()
    return pair


def accept_again(pair: Pair, purchase: Purchase, cursor: int, *, time: int = 0) -> Accept:
    acceptance = shape.decode(Acceptance, purchase.deal.accept.body)
    body = shape.encode(dataclasses.replace(acceptance, cursor=cursor, time=int(START) + time))
    return Accept(body=body, signature=pair.client.key.sign("accept", body))


def begun(pair: Pair, root: Root) -> tuple[Purchase, Sale]:
    purchase = pair.accept(pair.query(root.cid))
    pair.deliver_to_provider()
    return purchase, pair.provider.books.sales[purchase.deal_id]


def reserved_on_disk(pair: Pair) -> int:
    return sum(transfer.amount for transfer in open_reservations(pair.provider.storage))


def test_a_deal_taken_up_on_a_second_session_leaves_the_first(pair: Pair) -> None:
    purchase, sale = begun(pair, add(pair, 2 * MIB))
    first = pair.provider_session
    pair.connect()
    assert codes(say(pair, accept_again(pair, purchase, 0))) == []
    assert sale.state is SaleState.SERVING
    assert first.n_deals == 0
    assert first.next_send(pair.now) is None
    pair.provider.commit(first.closed(pair.now), pair.now)
    assert sale.state is SaleState.SERVING
    assert reserved_on_disk(pair) == sale.reserved_amount


def test_an_accept_on_the_session_that_serves_the_deal_changes_nothing(pair: Pair) -> None:
    purchase, sale = begun(pair, add(pair, 2 * MIB))
    pair.serve()
    pair.to_client.queue.clear()
    head, sent = pair.provider.journal.head, sale.sent_bytes
    for cursor in (0, 3, 1 << 40):
        assert say(pair, accept_again(pair, purchase, cursor, time=cursor % 97)) == []
    assert (pair.provider.journal.head, sale.sent_bytes, sale.state) == (head, sent, SaleState.SERVING)


def test_a_cursor_that_is_refused_releases_what_was_reserved_once(pair: Pair) -> None:
    """Each refusal had left a reservation behind, until the deposit was full of them and the journal refused the next."""
    purchase, sale = begun(pair, add(pair, 2 * MIB))
    for n in range(50):
        pair.connect()
        pair.deliver_to_provider()
        assert codes(say(pair, accept_again(pair, purchase, 1 << 40, time=n))) == [ErrorCode.INVALID_CURSOR]
        assert codes(say(pair, accept_again(pair, purchase, 0, time=n))) == []
        assert reserved_on_disk(pair) == sale.reserved_amount
    check(pair.provider.storage)


def test_blocks_that_were_never_sent_can_be_claimed_and_paid(pair: Pair) -> None:
    """A client that has the content from elsewhere pays for more than a window at once; that is its loss, and no broken journal."""
    root = add(pair, 4 * MIB)
    purchase, sale = begun(pair, root)
    blocks = list(read(pair.provider.store, Walk(root.cid)))
    pair.cut()
    pair.client.store.put_many(blocks[:40])
    pair.connect()
    pair.run()
    resumed = pair.finish(purchase.deal_id)
    pair.run()
    pair.pass_time(2)
    assert resumed.state is PurchaseState.DONE
    assert pair.provider.books.lines[pair.channel_id].best_amount == sale.rate.owed(root.n_bytes)
    check(pair.provider.storage)


def test_a_payment_above_what_is_set_aside_is_refused(pair: Pair) -> None:
    pair.root = add(pair, 2 * MIB)  # type: ignore[attr-defined]
    purchase = taken_window(pair)
    sale = pair.provider.books.sales[purchase.deal_id]
    payment = payment_for(pair, purchase)
    pair.provider.commit(Step(records=tuple(pair.provider.books.release(sale))), pair.now)
    assert codes(say(pair, payment)) == [ErrorCode.CHANNEL_UNFUNDED]
    check(pair.provider.storage)


def test_a_payment_that_reaches_the_disk_after_its_session_ended_still_opens_the_window(pair: Pair) -> None:
    pair.root = add(pair, 2 * MIB)  # type: ignore[attr-defined]
    purchase = taken_window(pair)
    first, sale = pair.provider_session, pair.provider.books.sales[purchase.deal_id]
    step = first.receive(payment_for(pair, purchase), pair.now)
    assert any(isinstance(event, PaymentTaken) for event in step.events)
    pair.provider.commit(step, pair.now)
    pair.provider.commit(first.closed(pair.now), pair.now)
    first.committed(step)
    assert sale.unpaid_bytes == 0
    pair.connect()
    say(pair, accept_again(pair, purchase, sale.position.n_blocks))
    first.committed(step)  # told late, it adds nothing
    assert sale.unpaid_bytes == 0


def test_a_deal_taken_up_after_a_pause_has_its_whole_time_to_be_paid(pair: Pair) -> None:
    root = add(pair, 2 * MIB)
    purchase, sale = begun(pair, root)
    pair.serve()
    pair.cut()
    pair.now += 600
    pair.connect()
    pair.deliver_to_provider()
    pair.to_provider.send(encode_frame(accept_again(pair, purchase, 4)))
    pair.deliver_to_provider()
    pair.serve()
    assert sale.in_flight
    assert pair.provider_session.tick(pair.now) == NOTHING


def test_payments_wait_behind_one_that_waits(pair: Pair) -> None:
    """Vouchers are cumulative over all deals of a channel, so their order is part of what they say."""
    other = import_stream(pair.provider.store, io.BytesIO(random.Random(7).randbytes(650 * KIB)), "other", SMALL)
    roots = [add(pair, 700 * KIB), other]
    purchases = [pair.accept(query_id) for query_id in [pair.query(root.cid) for root in roots]]
    pair.deliver_to_provider()
    pair.serve()
    pair.deliver_to_client()
    pair.deliver_to_provider()
    pair.serve()
    pair.cut()
    pair.connect()
    pair.run()
    resumed = [pair.finish(purchase.deal_id) for purchase in purchases]
    pair.run()
    pair.pass_time(3)
    assert [purchase.state for purchase in resumed] == [PurchaseState.DONE] * 2
    check(pair.provider.storage)


def test_deals_of_one_payer_without_an_end_are_limited(pair: Pair) -> None:
    root = add(pair, 64 * KIB)
    refusals: list[ErrorCode] = []
    for n in range(DEALS_PER_LINE_MAX + 1):
        query = Query(query_id=n + 1, selection=Selection(root=root.cid, path=(), scope=2), cursor=0)
        say(pair, query)
        digest = next(reversed(pair.provider.books.quotes))
        body = shape.encode(
            Acceptance(version=1, quote_digest=digest, channel_id=pair.channel_id, spend_max=1 << 40, cursor=0, time=int(pair.now))
        )
        refusals += codes(say(pair, Accept(body=body, signature=pair.client.key.sign("accept", body))))
        pair.cut()
        pair.connect()
        pair.deliver_to_provider()
    assert refusals == [ErrorCode.TOO_MANY_DEALS]


def test_taking_a_deal_up_costs_the_journal_a_limited_number_of_records(pair: Pair) -> None:
    purchase, sale = begun(pair, add(pair, 64 * KIB))
    sale.n_taken_up = TAKEN_UP_MAX
    pair.cut()
    pair.connect()
    pair.deliver_to_provider()
    assert codes(say(pair, accept_again(pair, purchase, 0))) == [ErrorCode.QUOTE_EXPIRED]


def test_no_block_leaves_once_a_withdrawal_has_begun(pair: Pair) -> None:
    purchase, sale = begun(pair, add(pair, 2 * MIB))
    pair.serve()
    line, sent = sale.line, sale.sent_bytes
    assert line.channel is not None
    closing = dataclasses.replace(line.channel, closing=True, withdraw_at=int(pair.now) + 900)
    pair.provider_step(pair.provider.books.channel_seen(line.key, closing, pair.now))
    pair.run()
    pair.pass_time(2)
    assert sale.sent_bytes == sent
    assert sale.position.n_bytes == sent, "what had left is paid"
    ended = fold.get(pair.provider.storage, OutcomeRecord, purchase.deal_id)
    assert ended is not None
    assert (ended.outcome, ended.code) == (Outcome.FAILED, ErrorCode.CHANNEL_CLOSING)
    check(pair.provider.storage)


def test_a_claim_that_a_reorganisation_undid_can_be_made_again(pair: Pair) -> None:
    pair.root = add(pair, 2 * MIB)  # type: ignore[attr-defined]
    say(pair, payment_for(pair, taken_window(pair)))
    line, books = pair.provider.books.lines[pair.channel_id], pair.provider.books
    for n, claimed in enumerate((300, 0, 400, 300, line.best_amount)):
        assert line.channel is not None
        seen = dataclasses.replace(line.channel, total_claimed=claimed)
        pair.provider.commit(books.channel_seen(line.key, seen, pair.now + n), pair.now)
    check(pair.provider.storage)


def test_a_balance_that_falls_below_what_is_reserved_breaks_nothing(pair: Pair) -> None:
    pair.root = add(pair, 2 * MIB)  # type: ignore[attr-defined]
    purchase = taken_window(pair)
    line, books = pair.provider.books.lines[pair.channel_id], pair.provider.books
    for n, balance in enumerate((700, 100, 20_000, 600, 5_000)):
        assert line.channel is not None
        pair.provider.commit(books.channel_seen(line.key, dataclasses.replace(line.channel, balance=balance), pair.now + n), pair.now)
    say(pair, payment_for(pair, purchase))
    pair.serve()
    pair.cut()
    check(pair.provider.storage)


def test_a_quote_names_the_channel_that_was_presented_last(pair: Pair) -> None:
    """Neither a repeat nor a look at another channel's chain state is a choice of the client's."""
    root = add(pair, 64 * KIB)
    first = pair.channel_id
    pair.config = dataclasses.replace(pair.config, salt=b"\x02" * 32)
    pair.channel_id = channel_id(pair.config, CHAIN_ID, CONTRACT)
    pair.provider.deposits[pair.channel_id] = 5_000
    pair.present()
    books, line = pair.provider.books, pair.provider.books.lines[first]
    assert line.channel is not None
    pair.provider.commit(books.channel_seen(first, dataclasses.replace(line.channel, balance=30_000), pair.now), pair.now)
    query_id = pair.query(root.cid)
    quote = pair.client_session._asked[query_id].quote
    assert quote is not None
    assert quote.channel is not None
    assert quote.channel.channel_id == pair.channel_id


# what strangers can make us remember


def test_a_channel_presented_twice_is_looked_at_once(pair: Pair) -> None:
    channel = pair.client.lines[pair.channel_id].channel
    assert channel is not None
    present = Present(config=channel.config, session_key=channel.session_key)
    first, second = (pair.provider_session.receive(present, pair.now) for _ in range(2))
    assert [type(event) for event in first.events] == [ChannelPresented]
    assert second == NOTHING


def test_quotes_and_unfunded_channels_leave_no_lines_behind() -> None:
    pair = Pair(prices=Prices(price_per_gib=0), deposit=0)
    root = add(pair, 64 * KIB)
    pair.run()
    pair.query(root.cid)
    pair.present()
    assert pair.provider.books.lines == {}


def test_strangers_that_were_served_for_free_are_forgotten() -> None:
    pair = Pair(prices=Prices(price_per_gib=0))
    root = add(pair, 64 * KIB)
    pair.run()
    pair.accept(pair.query(root.cid))
    pair.run()
    pair.pass_time(1)
    assert list(pair.provider.books.lines) == [pair.client.key.peer_id]
    pair.provider.books.expire(pair.now)
    assert pair.provider.books.lines == {}


def test_what_expired_is_ended_in_steps_that_fit_one_commit(pair: Pair) -> None:
    books = pair.provider.books
    purchase, _ = begun(pair, add(pair, 64 * KIB))
    pair.cut()
    agreed = fold.get(pair.provider.storage, DealRecord, purchase.deal_id)
    assert agreed is not None
    for n in range(600):
        books.sales[bytes([n % 256, n // 256]) * 8] = _cut_off(books, agreed, n)  # type: ignore[index]
    for sale in tuple(books.sales.values()):
        sale.line.sales[sale.deal_id] = sale
    steps = [books.expire(pair.now + 7200) for _ in range(6)]
    assert sum(len(step.events) for step in steps) == 601
    assert max(len(step.records) for step in steps) <= 512
    assert not books.sales


def _cut_off(books: ProviderBooks, agreed: DealRecord, n: int) -> Sale:
    accept = shape.decode(Acceptance, agreed.accept.body)
    body = shape.encode(dataclasses.replace(accept, quote_digest=n.to_bytes(32, "big")))
    changed = dataclasses.replace(agreed, accept=dataclasses.replace(agreed.accept, body=body))
    sale = Sale(bytes([n % 256, n // 256]) * 8, changed, books.line(agreed.line_key), start=SaleState.INTERRUPTED)  # type: ignore[arg-type]
    books.add(sale)
    return sale


# restarts


def test_debts_outlive_the_node(pair: Pair) -> None:
    root = add(pair, 2 * MIB)
    purchase, sale = begun(pair, root)
    pair.serve()
    pair.cut()
    pair.connect()
    pair.deliver_to_provider()
    say(pair, accept_again(pair, purchase, 0))
    before = sale.line.debt_bytes
    assert before > 0
    pair.provider.restart(pair.now)
    line = pair.provider.books.lines[pair.channel_id]
    assert line.written_off_bytes == before
    restored = pair.provider.books.sales[purchase.deal_id]
    assert restored.presumed_bytes == WINDOW, "taken up once more, nobody knows what left"


def test_two_peers_have_lines_of_their_own(pair: Pair) -> None:
    root = add(pair, 2 * MIB)
    begun(pair, root)
    pair.serve()
    other = PeerKey.from_seed(b"\x21" * 32)
    session = ProviderSession(pair.provider.books, other.peer_id, settlement=pair.provider.settlement, now=pair.now)
    hello = ClientSession(other, pair.provider.key.peer_id, signer=None, now=pair.now).start().messages[0]
    session.receive(hello, pair.now)
    assert pair.provider.books.line_of_peer(other.peer_id) is None
