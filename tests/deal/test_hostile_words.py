"""A provider's words at the wrong moment: none of them crashes the client, costs it money, or leaves a deal without its one end."""

from __future__ import annotations

import dataclasses

import pytest
from pair import Pair, Prices
from test_hostile_provider import all_but_done, opened, send_blocks, tell
from test_pair import add

from retrieval.dag.walk import Walk, read
from retrieval.deal import fold
from retrieval.deal.events import ChannelConfirmed, DealEnded, Refused, SelectionVerified, TermsLearned
from retrieval.deal.purchase import Purchase
from retrieval.deal.records import OutcomeRecord
from retrieval.deal.states import PurchaseState
from retrieval.errors import ErrorCode, LocalProtocolError, RemoteProtocolError
from retrieval.units import KIB, MIB
from retrieval.wire import shape
from retrieval.wire.framing import block_head
from retrieval.wire.messages import (
    ChannelStatus,
    Completion,
    KnownChannel,
    Refuse,
    SignedDone,
    SignedQuote,
    Terms,
    VoucherFields,
)
from retrieval.wire.receipt import receipt_digest

PRICE = 1_000_000


@pytest.fixture
def pair() -> Pair:
    pair = Pair(window_first=512 * KIB, prices=Prices(price_per_gib=PRICE, block_size_max=64 * KIB))
    pair.root = add(pair, 2 * MIB)  # type: ignore[attr-defined]
    pair.run()
    pair.present()
    return pair


def told(pair: Pair, kind: type) -> list[object]:
    return [event for event in pair.client.events if isinstance(event, kind)]


def end_of(pair: Pair, purchase: Purchase) -> OutcomeRecord | None:
    return fold.get(pair.client.storage, OutcomeRecord, purchase.deal_id)


# refusals


@pytest.mark.parametrize("code", [ErrorCode.STALE_VOUCHER, ErrorCode.SHUTTING_DOWN, ErrorCode.DEAL_UNKNOWN])
def test_a_refusal_when_all_is_verified_and_paid_takes_nothing_away(pair: Pair, code: ErrorCode) -> None:
    purchase = all_but_done(pair)
    tell(pair, Refuse(code=code, detail="", deal_id=purchase.deal_id))
    assert end_of(pair, purchase) is None
    assert purchase.state is PurchaseState.INTERRUPTED, "the countersignature can still be asked for"
    assert told(pair, SelectionVerified)


def test_a_refusal_of_a_deal_whose_done_was_asked_for_leaves_it_open(pair: Pair) -> None:
    purchase = all_but_done(pair)
    pair.cut()
    pair.connect()
    pair.deliver_to_provider()
    pair.client_step(pair.client_session.ask_done(purchase, now=pair.now))
    pair.deliver_to_client()
    tell(pair, Refuse(code=ErrorCode.DEAL_UNKNOWN, detail="", deal_id=purchase.deal_id))
    assert end_of(pair, purchase) is None
    assert not pair.client_session.is_over


def test_what_nobody_asked_is_not_told(pair: Pair) -> None:
    """Each event waits in memory until the program hears it."""
    known = KnownChannel(channel_id=pair.channel_id, balance=5, best=None, reserved=0)
    before = len(pair.client.events)
    tell(
        pair,
        *(ChannelStatus(channel=known), Terms(), Refuse(code=201, detail=""), Refuse(code=201, detail="", query_id=77)),
        *(Refuse(code=201, detail="", deal_id=bytes(16)), Refuse(code=201, detail="", channel_id=pair.channel_id)),
    )
    assert len(pair.client.events) == before
    assert not pair.client_session.is_over


def test_what_was_asked_is_told_once(pair: Pair) -> None:
    pair.client_step(pair.client_session.ask_terms())
    tell(pair, Terms(), Terms())
    assert len(told(pair, TermsLearned)) == 1
    assert len(told(pair, ChannelConfirmed)) == 1
    pair.present()
    assert len(told(pair, ChannelConfirmed)) == 2


def test_a_query_that_is_refused_is_told(pair: Pair) -> None:
    pair.provider.answers_queries = False
    query_id = pair.query(pair.root.cid)  # type: ignore[attr-defined]
    tell(pair, *[Refuse(code=ErrorCode.NOT_FOUND, detail="", query_id=query_id)] * 3)
    assert len(told(pair, Refused)) == 1


# quotes


def test_a_quote_that_comes_again_changes_nothing_before_or_after_it_is_accepted(pair: Pair) -> None:
    query_id = pair.query(pair.root.cid)  # type: ignore[attr-defined]
    signed = pair.client_session._asked[query_id].signed
    assert isinstance(signed, SignedQuote)
    tell(pair, signed)
    purchase = pair.accept(query_id)
    tell(pair, signed)
    pair.run()
    pair.pass_time(1)
    assert purchase.state is PurchaseState.DONE


# blocks


def test_a_block_behind_the_last_one_is_ignored(pair: Pair) -> None:
    purchase = opened(pair)
    root = pair.root.cid  # type: ignore[attr-defined]
    blocks = list(read(pair.provider.store, Walk(root)))
    frames = [block_head(purchase.deal_id, n, cid, len(payload)) + payload for n, (cid, payload) in enumerate([*blocks, blocks[1]])]
    pair.to_client.send(b"".join(frames))
    pair.deliver_to_client()
    assert purchase.state is PurchaseState.VERIFIED
    assert purchase.verified_blocks == len(blocks)
    assert not told(pair, DealEnded)


# Done


@pytest.mark.parametrize("wrong", [{"n_bytes": 1}, {"n_blocks": 1}, {"complete": False}], ids=str)
def test_a_done_with_other_totals_is_no_countersignature(pair: Pair, wrong: dict[str, object]) -> None:
    """It would make a receipt file that nobody can verify."""
    purchase = all_but_done(pair)
    assert purchase.last_receipt is not None
    completion = Completion(
        version=1,
        deal_id=purchase.deal_id,
        n_bytes=purchase.paid.n_bytes,
        n_blocks=purchase.paid.n_blocks,
        receipt_digest=receipt_digest(purchase.last_receipt.body),
        complete=True,
    )
    body = shape.encode(dataclasses.replace(completion, **wrong))  # type: ignore[arg-type]
    tell(pair, SignedDone(body=body, signature=pair.provider.key.sign("done", body)))
    assert ("client", ErrorCode.BAD_RECEIPT) in pair.failures()
    assert end_of(pair, purchase) is None


# money


def test_a_deal_is_not_taken_up_with_money_that_another_deal_has_used() -> None:
    """The journal would have refused to reserve it, at every start again."""
    pair = Pair(window_first=512 * KIB, prices=Prices(price_per_gib=PRICE, block_size_max=64 * KIB), deposit=2_500)
    first, second = add(pair, 2 * MIB), add(pair, 1 * MIB)
    pair.run()
    pair.present()
    purchase = pair.accept(pair.query(first.cid))
    pair.cut()
    pair.connect()
    pair.run()
    pair.accept(pair.query(second.cid))
    pair.run()
    pair.pass_time(1)
    pair.cut()
    pair.connect()
    pair.run()
    line = pair.client.line(pair.channel_id)
    assert line.channel is not None
    with pytest.raises(LocalProtocolError) as caught:
        pair.finish(purchase.deal_id)
    assert caught.value.code is ErrorCode.CHANNEL_UNFUNDED
    pair.client.journal.check()


def known_with(pair: Pair, amount: int) -> KnownChannel:
    voucher = pair.client.signer.sign(pair.channel_id, amount)
    best = VoucherFields(channel_id=pair.channel_id, amount=amount, signature=voucher.signature)
    return KnownChannel(channel_id=pair.channel_id, balance=10_000_000, best=best, reserved=0)


def test_a_voucher_is_not_adopted_over_what_open_deals_reserve(pair: Pair) -> None:
    opened(pair)
    line = pair.client.line(pair.channel_id)
    assert line.reserved > 0
    with pytest.raises(RemoteProtocolError) as caught:
        line.adopt(known_with(pair, 10_000_000), pair.client.wallet.address, pair.now)
    assert caught.value.code is ErrorCode.BAD_VOUCHER
    pair.client.commit(line.adopt(known_with(pair, 10_000_000 - line.reserved), pair.client.wallet.address, pair.now), pair.now)


def test_a_provider_that_says_it_has_less_than_it_claimed_is_not_believed(pair: Pair) -> None:
    purchase = opened(pair)
    send_blocks(pair, 5, lambda block: block)
    pair.deliver_to_client()
    pair.pass_time_client_only(0.3)
    pair.client_step(pair.client_session.cancel(purchase.deal_id, now=pair.now), deliver=False)
    line = pair.client.line(pair.channel_id)
    assert line.channel is not None
    claimed = dataclasses.replace(line.channel, total_claimed=line.best_amount)
    pair.client.commit(line.channel_seen(claimed, pair.now), pair.now)
    nothing = KnownChannel(channel_id=pair.channel_id, balance=10_000_000, best=None, reserved=0)
    with pytest.raises(RemoteProtocolError) as caught:
        line.adopt(nothing, pair.client.wallet.address, pair.now)
    assert caught.value.code is ErrorCode.BAD_VOUCHER
    pair.client.journal.check()
