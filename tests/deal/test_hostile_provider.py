"""A provider that cheats: the client pays for nothing it has not verified, and every trick ends in one registered error."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest
from pair import Pair, Prices
from test_pair import add

from retrieval.cid import RAW, Cid, cid_of
from retrieval.deal import fold
from retrieval.deal.events import DealEnded, Refused, SessionFailed
from retrieval.deal.provider import Outgoing, Wanted
from retrieval.deal.purchase import Purchase
from retrieval.deal.records import LineRecord, Outcome, OutcomeRecord, ReceiptRecord
from retrieval.deal.states import PurchaseState
from retrieval.deal.step import Step
from retrieval.errors import ErrorCode, RemoteProtocolError
from retrieval.identity import PeerKey
from retrieval.payment.voucher import VoucherSigner
from retrieval.units import KIB, MIB
from retrieval.wire import shape
from retrieval.wire.framing import block_head, encode_frame
from retrieval.wire.messages import (
    Accept,
    Completion,
    DealId,
    KnownChannel,
    Message,
    Quote,
    Refuse,
    SignedDone,
    SignedQuote,
    VoucherFields,
)
from retrieval.wire.receipt import Receipt

PRICE = 1_000_000


@pytest.fixture
def pair() -> Pair:
    pair = Pair(window_first=512 * KIB, prices=Prices(price_per_gib=PRICE, block_size_max=64 * KIB))
    pair.root = add(pair, 2 * MIB)  # type: ignore[attr-defined]
    pair.run()
    pair.present()
    return pair


def opened(pair: Pair) -> Purchase:
    purchase = pair.accept(pair.query(pair.root.cid))  # type: ignore[attr-defined]
    pair.deliver_to_provider()
    return purchase


def paid(pair: Pair) -> int:
    """The best voucher the client has signed and may have sent."""
    line = fold.get(pair.client.storage, LineRecord, pair.channel_id)
    return line.best.amount if line and line.best else 0


def outcome(pair: Pair, purchase: Purchase) -> OutcomeRecord:
    ended = fold.get(pair.client.storage, OutcomeRecord, purchase.deal_id)
    assert ended is not None
    return ended


@dataclasses.dataclass(frozen=True, slots=True)
class Frame:
    """A block as it leaves."""

    deal_id: DealId
    index: int
    cid: Cid
    payload: bytes


def send_blocks(pair: Pair, n: int, alter: Callable[[Frame], Frame | None]) -> None:
    """Send up to ``n`` blocks of the deal, each as ``alter`` makes it."""
    sent = 0
    while sent < n:
        match pair.provider_session.next_send(pair.now):
            case None:
                return
            case Step() as step:
                pair.provider_step(step)
            case Wanted() as wanted:
                payload = pair.provider.store.get(wanted.cid)
                assert payload is not None
                pair.provider_step(pair.provider_session.supply(wanted, payload, len(payload), pair.now))
            case Outgoing() as block:
                sent += 1
                sent_payload = pair.provider.store.get(block.cid)
                assert sent_payload is not None
                altered = alter(Frame(block.deal_id, block.index, block.cid, sent_payload))
                if altered is not None:
                    head = block_head(altered.deal_id, altered.index, altered.cid, len(altered.payload))
                    pair.to_client.send(head + altered.payload)


def nth(n: int, change: Callable[[Frame], Frame | None]) -> Callable[[Frame], Frame | None]:
    return lambda block: change(block) if block.index == n else block


def flip(block: Frame) -> Frame:
    return dataclasses.replace(block, payload=bytes((block.payload[0] ^ 1,)) + block.payload[1:])


@pytest.mark.parametrize(
    ("trick", "code"),
    [
        (nth(3, flip), ErrorCode.CORRUPT_BLOCK),
        (nth(0, flip), ErrorCode.CORRUPT_BLOCK),
        (nth(3, lambda block: None), ErrorCode.UNEXPECTED_BLOCK),
        (nth(3, lambda block: dataclasses.replace(block, index=4)), ErrorCode.UNEXPECTED_BLOCK),
        (
            nth(3, lambda block: dataclasses.replace(block, cid=cid_of(RAW, b"other"), payload=b"other")),
            ErrorCode.UNEXPECTED_BLOCK,
        ),
    ],
    ids=["corrupt", "corrupt root", "one left out", "wrong index", "another block"],
)
def test_a_wrong_block_ends_the_deal_and_only_the_blocks_before_it_are_paid(
    pair: Pair, trick: Callable[[Frame], Frame | None], code: ErrorCode
) -> None:
    purchase = opened(pair)
    send_blocks(pair, 6, trick)
    pair.deliver_to_client()
    ended = outcome(pair, purchase)
    assert (ended.outcome, ended.code) == (Outcome.FAILED, code)
    assert purchase.verified_blocks <= 3
    assert paid(pair) == purchase.rate.owed(purchase.verified_bytes)
    pair.client.journal.check()
    pair.run()
    theirs = fold.get(pair.provider.storage, OutcomeRecord, purchase.deal_id)
    assert theirs is not None
    assert (theirs.outcome, theirs.code) == (Outcome.CANCELLED, code)


def test_a_block_that_comes_twice_is_unexpected(pair: Pair) -> None:
    purchase = opened(pair)
    send_blocks(pair, 2, lambda block: block)
    pair.to_client.queue.append(pair.to_client.queue[-1])
    pair.deliver_to_client()
    assert outcome(pair, purchase).code == ErrorCode.UNEXPECTED_BLOCK


def test_a_block_above_the_size_limit_ends_the_session(pair: Pair) -> None:
    opened(pair)
    pair.to_client.queue.append(b"\x80\x80\x80\x02\x05" + bytes(100))
    pair.deliver_to_client()
    assert pair.client_session.is_over
    assert ("client", ErrorCode.BLOCK_TOO_LARGE) in pair.failures()
    assert paid(pair) == 0


def requoted(pair: Pair, change: Callable[[Quote], Quote], *, key: PeerKey | None = None) -> None:
    """Ask for a quote, and get the provider's answer changed and signed again."""
    from retrieval.dag.walk import Walk
    from retrieval.wire.messages import Selection

    root = pair.root.cid  # type: ignore[attr-defined]
    selection = Selection(root=root, path=(), scope=2)
    _, step = pair.client_session.query(selection, Walk(root), now=pair.now)
    pair.client_step(step)
    pair.deliver_to_provider()
    (frame,) = pair.to_client.take()
    (signed,) = pair.client_decoder.feed(frame)
    assert isinstance(signed, SignedQuote)
    body = shape.encode(change(shape.decode(Quote, signed.body)))
    signature = (key or pair.provider.key).sign("quote", body)
    pair.client_step(pair.client_session.receive(SignedQuote(body=body, signature=signature), pair.now))


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda quote: dataclasses.replace(quote, amount_max=quote.amount_max - 1), ErrorCode.QUOTE_MISMATCH),
        (lambda quote: dataclasses.replace(quote, price_per_gib=quote.price_per_gib * 2), ErrorCode.QUOTE_MISMATCH),
        (lambda quote: dataclasses.replace(quote, client_peer=PeerKey.from_seed(b"\x07" * 32).peer_id), ErrorCode.QUOTE_MISMATCH),
        (lambda quote: dataclasses.replace(quote, selection_digest=bytes(32)), ErrorCode.QUOTE_MISMATCH),
        (lambda quote: dataclasses.replace(quote, hellos_digest=bytes(32)), ErrorCode.QUOTE_MISMATCH),
        (lambda quote: dataclasses.replace(quote, cursor=5), ErrorCode.QUOTE_MISMATCH),
        (lambda quote: dataclasses.replace(quote, query_id=99), ErrorCode.QUOTE_MISMATCH),
        (lambda quote: dataclasses.replace(quote, settlement=None), ErrorCode.QUOTE_MISMATCH),
        (lambda quote: dataclasses.replace(quote, window_first=1), ErrorCode.QUOTE_MISMATCH),
    ],
    ids=["total", "price", "client", "selection", "hellos", "cursor", "query", "settlement", "window"],
)
def test_an_altered_quote_is_not_accepted(pair: Pair, change: Callable[[Quote], Quote], code: ErrorCode) -> None:
    requoted(pair, change)
    assert ("client", code) in pair.failures()
    assert not list(fold.open_deals(pair.client.storage))


def test_a_quote_signed_by_another_key_is_not_accepted(pair: Pair) -> None:
    requoted(pair, lambda quote: quote, key=PeerKey.from_seed(b"\x07" * 32))
    assert ("client", ErrorCode.BAD_SIGNATURE) in pair.failures()


def test_content_that_outgrows_its_quote_is_not_paid_beyond_it(pair: Pair) -> None:
    """A lying size: the provider quotes less than it will send."""

    def shrink(quote: Quote) -> Quote:
        n_bytes = 200 * KIB
        return dataclasses.replace(quote, n_bytes=n_bytes, n_blocks=4, amount_max=purchase_rate(quote, n_bytes))

    requoted(pair, shrink)
    asked = next(iter(pair.client_session._asked.values()))
    assert asked.quote is not None
    purchase = pair.accept(asked.query.query_id)
    pair.to_provider.queue.clear()
    from retrieval.dag.walk import Walk, read

    blocks = list(read(pair.provider.store, Walk(pair.root.cid)))  # type: ignore[attr-defined]
    for index, (cid, payload) in enumerate(blocks[:6]):
        pair.to_client.send(block_head(purchase.deal_id, index, cid, len(payload)) + payload)
    pair.deliver_to_client()
    assert outcome(pair, purchase).code == ErrorCode.QUOTE_EXCEEDED
    assert paid(pair) <= asked.quote.amount_max


def purchase_rate(quote: Quote, n_bytes: int) -> int:
    from retrieval.deal.terms import Rate

    return Rate(price_per_gib=quote.price_per_gib, flat_fee=quote.flat_fee).owed(n_bytes)


def test_done_before_everything_was_delivered_does_not_make_a_cut_transfer_look_whole(pair: Pair) -> None:
    purchase = opened(pair)
    send_blocks(pair, 4, lambda block: block)
    pair.deliver_to_client()
    pair.pass_time(0.3)
    assert purchase.last_receipt is not None
    body = shape.encode(
        Completion(
            version=1,
            deal_id=purchase.deal_id,
            n_bytes=purchase.paid.n_bytes,
            n_blocks=purchase.paid.n_blocks,
            receipt_digest=bytes(32),
            complete=True,
        )
    )
    tell(pair, SignedDone(body=body, signature=pair.provider.key.sign("done", body)))
    assert ("client", ErrorCode.TRANSFER_TRUNCATED) in pair.failures()
    assert purchase.state is PurchaseState.INTERRUPTED


def tell(pair: Pair, *messages: Message) -> None:
    pair.to_client.queue.clear()
    for message in messages:
        pair.to_client.send(encode_frame(message))
    pair.deliver_to_client()


def all_but_done(pair: Pair) -> Purchase:
    """Everything delivered and paid, and the provider's Done lost."""
    purchase = opened(pair)
    for _ in range(400):
        pair.serve()
        pair.deliver_to_client()
        if purchase.state is PurchaseState.VERIFIED:
            break
        pair.deliver_to_provider()
        pair.pass_time_client_only(0.3)
    assert purchase.state is PurchaseState.VERIFIED
    return purchase


@pytest.mark.parametrize("trick", ["other digest", "incomplete", "other key"])
def test_a_done_that_is_not_for_our_last_receipt_is_no_countersignature(pair: Pair, trick: str) -> None:
    purchase = all_but_done(pair)
    assert purchase.last_receipt is not None
    from retrieval.wire.receipt import receipt_digest

    digest = bytes(32) if trick == "other digest" else receipt_digest(purchase.last_receipt.body)
    body = shape.encode(
        Completion(
            version=1,
            deal_id=purchase.deal_id,
            n_bytes=purchase.paid.n_bytes,
            n_blocks=purchase.paid.n_blocks,
            receipt_digest=digest,
            complete=trick != "incomplete",
        )
    )
    key = PeerKey.from_seed(b"\x07" * 32) if trick == "other key" else pair.provider.key
    tell(pair, SignedDone(body=body, signature=key.sign("done", body)))
    assert fold.get(pair.client.storage, OutcomeRecord, purchase.deal_id) is None
    assert pair.client_session.is_over


def test_a_provider_that_sends_nothing_is_given_up_after_the_first_block_deadline(pair: Pair) -> None:
    purchase = opened(pair)
    pair.to_client.queue.clear()
    pair.pass_time_client_only(15.1)
    assert ("client", ErrorCode.FIRST_BLOCK_TIMEOUT) in pair.failures()
    assert purchase.state is PurchaseState.INTERRUPTED
    assert paid(pair) == 0


def test_a_provider_that_stops_half_way_is_paid_for_that_half(pair: Pair) -> None:
    purchase = opened(pair)
    send_blocks(pair, 5, lambda block: block)
    pair.deliver_to_client()
    pair.pass_time_client_only(21)
    assert ("client", ErrorCode.TRANSFER_STALLED) in pair.failures()
    assert paid(pair) == purchase.rate.owed(purchase.verified_bytes)
    receipt = fold.get(pair.client.storage, ReceiptRecord, purchase.deal_id)
    assert receipt is not None
    assert Receipt.decode(receipt.receipt.body).n_blocks == purchase.verified_blocks == 5


def test_a_provider_that_does_not_quote_is_given_up(pair: Pair) -> None:
    pair.provider.answers_queries = False
    pair.query(pair.root.cid)  # type: ignore[attr-defined]
    pair.pass_time_client_only(10.1)
    assert ("client", ErrorCode.QUOTE_TIMEOUT) in pair.failures()


def test_a_provider_that_never_says_hello_is_given_up() -> None:
    pair = Pair()
    pair.pass_time_client_only(5.1)
    assert ("client", ErrorCode.HELLO_TIMEOUT) in pair.failures()


def test_a_refused_accept_is_one_outcome_and_costs_nothing(pair: Pair) -> None:
    purchase = pair.accept(pair.query(pair.root.cid))  # type: ignore[attr-defined]
    tell(pair, Refuse(code=ErrorCode.RATE_LIMITED, detail="later", retry_after_s=3, deal_id=purchase.deal_id))
    assert outcome(pair, purchase).outcome == Outcome.REFUSED
    refused = [event for event in pair.client.events if isinstance(event, Refused)]
    assert refused[-1].retry_after_s == 3
    assert paid(pair) == 0


def test_messages_that_only_a_client_sends_end_the_session(pair: Pair) -> None:
    tell(pair, Accept(body=b"\xa0", signature=bytes(64)))
    assert ("client", ErrorCode.UNEXPECTED_MESSAGE) in pair.failures()


def test_an_unknown_error_code_of_a_later_version_is_understood_as_an_error(pair: Pair) -> None:
    from retrieval.wire.messages import Error

    tell(pair, Error(code=998, detail="from the future"))
    failed = [event for event in pair.client.events if isinstance(event, SessionFailed)]
    assert failed[-1].code is ErrorCode.INTERNAL
    assert failed[-1].by_peer


# what a quote says of our channel


def test_a_client_that_lost_its_state_adopts_its_own_voucher(pair: Pair) -> None:
    line = pair.client.line(pair.channel_id)
    voucher = pair.client.signer.sign(pair.channel_id, 1234)
    best = VoucherFields(channel_id=pair.channel_id, amount=1234, signature=voucher.signature)
    known = KnownChannel(channel_id=pair.channel_id, balance=10_000_000, best=best, reserved=0)
    pair.client.commit(line.adopt(known, pair.client.wallet.address, pair.now), pair.now)
    assert line.best_amount == 1234
    pair.client.journal.check()


@pytest.mark.parametrize("trick", ["other signer", "other amount"])
def test_a_voucher_that_we_did_not_sign_is_not_adopted(pair: Pair, trick: str) -> None:
    from pair import CHAIN_ID, CONTRACT

    from retrieval.identity import EvmKey

    signer = VoucherSigner(EvmKey.from_secret(b"\x09" * 32), CHAIN_ID, CONTRACT) if trick == "other signer" else pair.client.signer
    signature = signer.sign(pair.channel_id, 1234).signature
    best = VoucherFields(channel_id=pair.channel_id, amount=1235 if trick == "other amount" else 1234, signature=signature)
    known = KnownChannel(channel_id=pair.channel_id, balance=10_000_000, best=best, reserved=0)
    line = pair.client.line(pair.channel_id)
    with pytest.raises(RemoteProtocolError) as caught:
        line.adopt(known, pair.client.wallet.address, pair.now)
    assert caught.value.code is ErrorCode.BAD_VOUCHER
    assert line.best_amount == 0


def test_a_provider_that_never_got_the_last_payment_is_believed(pair: Pair) -> None:
    """It signs that it counts less: what it does not count it cannot ask for again."""
    purchase = opened(pair)
    send_blocks(pair, 5, lambda block: block)
    pair.deliver_to_client()
    pair.pass_time_client_only(0.3)
    line = pair.client.line(pair.channel_id)
    assert line.best_amount > 0
    pair.client_step(pair.client_session.cancel(purchase.deal_id, now=pair.now), deliver=False)
    known = KnownChannel(channel_id=pair.channel_id, balance=10_000_000, best=None, reserved=0)
    pair.client.commit(line.adopt(known, pair.client.wallet.address, pair.now), pair.now)
    assert line.best_amount == 0
    pair.client.journal.check()


def test_deal_ended_is_told_once_a_deal(pair: Pair) -> None:
    purchase = opened(pair)
    send_blocks(pair, 6, nth(3, flip))
    pair.deliver_to_client()
    pair.run()
    pair.cut()
    ended = [event for event in pair.client.events if isinstance(event, DealEnded) and event.deal_id == purchase.deal_id]
    assert len(ended) == 1


def test_the_root_of_these_tests_has_enough_blocks(pair: Pair) -> None:
    assert pair.root.n_blocks > 30  # type: ignore[attr-defined]
    assert isinstance(Cid(pair.root.cid), bytes)  # type: ignore[attr-defined]
