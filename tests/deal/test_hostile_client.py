"""A client that cheats: each trick ends in one registered error, and costs the provider at most what the terms say."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pair import CHAIN_ID, CONTRACT, Pair, Prices
from test_pair import add

from retrieval.cid import Cid
from retrieval.deal import fold
from retrieval.deal.audit import check
from retrieval.deal.purchase import Purchase
from retrieval.deal.records import Outcome, OutcomeRecord
from retrieval.deal.sale import position_of
from retrieval.deal.states import SaleState
from retrieval.errors import ErrorCode
from retrieval.identity import EvmKey, PeerKey
from retrieval.payment.channel import ChannelId, session_domain, sign_session_key
from retrieval.payment.voucher import VoucherSigner
from retrieval.units import KIB, MIB
from retrieval.wire import shape
from retrieval.wire.framing import FrameDecoder, encode_frame
from retrieval.wire.messages import (
    Accept,
    Acceptance,
    Cancel,
    Error,
    Hello,
    Message,
    Payment,
    Ping,
    Present,
    Refuse,
    SessionKeyFields,
    SignedDone,
    SignedReceipt,
    VoucherFields,
)
from retrieval.wire.receipt import Receipt

WINDOW = 1 * MIB


@pytest.fixture
def pair() -> Pair:
    """A session with a channel, and 3 MiB of content behind a window of 1 MiB."""
    pair = Pair(window_first=WINDOW, prices=Prices(price_per_gib=1_000_000, block_size_max=64 * KIB))
    pair.root = add(pair, 3 * MIB)  # type: ignore[attr-defined]
    pair.run()
    pair.present()
    return pair


def answers(pair: Pair) -> list[Message]:
    """What the provider has said and the client has not read. Blocks are left out."""
    decoder = FrameDecoder()
    items = [item for data in pair.to_client.take() for item in decoder.feed(data)]
    return [item for item in items if not isinstance(item, list)]


def say(pair: Pair, *messages: Message) -> list[Message]:
    """Send what an honest client would not, and read the answers."""
    for message in messages:
        pair.to_provider.send(encode_frame(message))
    pair.deliver_to_provider()
    return answers(pair)


def codes(messages: list[Message]) -> list[ErrorCode]:
    return [ErrorCode(message.code) for message in messages if isinstance(message, Refuse | Error)]


def taken_window(pair: Pair) -> Purchase:
    """A deal whose first window was delivered and verified by the client, and not paid."""
    purchase = pair.accept(pair.query(pair.root.cid))  # type: ignore[attr-defined]
    pair.deliver_to_provider()
    pair.serve()
    for data in pair.to_client.take():
        for item in pair.client_decoder.feed(data):
            assert isinstance(item, list)
            # The machine pays; what it signed stays here, and the tricks below send their own in its place.
            pair.client_step(pair.client_session.receive_blocks(item, pair.now), deliver=False)
    return purchase


def payment_for(pair: Pair, purchase: Purchase, **changes: object) -> Payment:
    """An honest first payment for everything sent, with fields of its receipt changed before signing."""
    sale = pair.provider.books.sales[purchase.deal_id]
    accumulator = sale.accumulator.copy()
    accumulator.append_many([sent.cid for sent in sale.in_flight])
    n_bytes = sale.sent_bytes
    owed = sale.rate.owed(n_bytes)
    amount = int(changes.pop("voucher_amount", owed))  # type: ignore[call-overload]
    receipt = dataclasses.replace(
        Receipt(
            deal_id=purchase.deal_id,
            root=accumulator.root(),
            prev=bytes(32),
            n_bytes=n_bytes,
            n_blocks=sale.n_sent_blocks,
            deal_amount=owed,
            channel_amount=amount,
            sequence=1,
            time=int(pair.now),
        ),
        **changes,  # type: ignore[arg-type]
    )
    return signed_payment(pair, receipt, amount)


def signed_payment(
    pair: Pair,
    receipt: Receipt,
    amount: int,
    *,
    signer: VoucherSigner | None = None,
    channel: ChannelId | None = None,
    key: PeerKey | None = None,
) -> Payment:
    body = receipt.encode()
    signer = signer or pair.client.signer
    voucher = signer.sign(channel or pair.channel_id, amount)
    return Payment(
        voucher=VoucherFields(channel_id=voucher.channel_id, amount=amount, signature=voucher.signature),
        receipts=(SignedReceipt(body=body, signature=(key or pair.client.key).sign("receipt", body)),),
    )


def untouched(pair: Pair, purchase: Purchase) -> bool:
    """Whether no payment counts."""
    sale = pair.provider.books.sales[purchase.deal_id]
    return sale.position.n_bytes == 0 and pair.provider.books.lines[pair.channel_id].best is None


def test_the_honest_payment_of_these_tests_is_taken(pair: Pair) -> None:
    purchase = taken_window(pair)
    payment = payment_for(pair, purchase)
    assert say(pair, payment) == []
    sale = pair.provider.books.sales[purchase.deal_id]
    assert sale.position == position_of(Receipt.decode(payment.receipts[0].body))


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"deal_amount": 0}, ErrorCode.PAYMENT_MISMATCH),
        ({"voucher_amount": 0}, ErrorCode.PAYMENT_MISMATCH),
        ({"voucher_amount": 10**6}, ErrorCode.PAYMENT_MISMATCH),
        ({"channel_amount": 7}, ErrorCode.PAYMENT_MISMATCH),
        ({"sequence": 0}, ErrorCode.PAYMENT_MISMATCH),
        ({"n_blocks": 0}, ErrorCode.PAYMENT_MISMATCH),
        ({"root": bytes(32)}, ErrorCode.BAD_RECEIPT),
        ({"n_blocks": 1}, ErrorCode.BAD_RECEIPT),
        ({"n_blocks": 10_000}, ErrorCode.BAD_RECEIPT),
    ],
    ids=str,
)
def test_a_payment_whose_sums_disagree_changes_nothing(pair: Pair, changes: dict[str, object], code: ErrorCode) -> None:
    purchase = taken_window(pair)
    assert codes(say(pair, payment_for(pair, purchase, **changes))) == [code]
    assert untouched(pair, purchase)
    pair.provider.journal.check()


def test_a_receipt_for_fewer_bytes_than_its_blocks_weigh_is_refused(pair: Pair) -> None:
    purchase = taken_window(pair)
    sale = pair.provider.books.sales[purchase.deal_id]
    n_bytes = sale.sent_bytes - 1
    owed = sale.rate.owed(n_bytes)
    payment = payment_for(pair, purchase, n_bytes=n_bytes, deal_amount=owed, channel_amount=owed, voucher_amount=owed)
    assert codes(say(pair, payment)) == [ErrorCode.BAD_RECEIPT]
    assert untouched(pair, purchase)


def test_a_voucher_signed_by_another_key_is_refused(pair: Pair) -> None:
    purchase = taken_window(pair)
    receipt = Receipt.decode(payment_for(pair, purchase).receipts[0].body)
    stranger = VoucherSigner(EvmKey.from_secret(b"\x05" * 32), CHAIN_ID, CONTRACT)
    assert codes(say(pair, signed_payment(pair, receipt, receipt.channel_amount, signer=stranger))) == [ErrorCode.BAD_VOUCHER]
    assert untouched(pair, purchase)


def test_a_voucher_of_another_channel_or_chain_is_refused(pair: Pair) -> None:
    purchase = taken_window(pair)
    receipt = Receipt.decode(payment_for(pair, purchase).receipts[0].body)
    other_channel = signed_payment(pair, receipt, receipt.channel_amount, channel=ChannelId(b"\x09" * 32))
    other_chain = signed_payment(pair, receipt, receipt.channel_amount, signer=VoucherSigner(pair.client.wallet, 1, CONTRACT))
    assert codes(say(pair, other_channel, other_chain)) == [ErrorCode.BAD_VOUCHER, ErrorCode.BAD_VOUCHER]
    assert untouched(pair, purchase)


def test_a_receipt_signed_by_another_peer_is_refused(pair: Pair) -> None:
    purchase = taken_window(pair)
    receipt = Receipt.decode(payment_for(pair, purchase).receipts[0].body)
    payment = signed_payment(pair, receipt, receipt.channel_amount, key=PeerKey.from_seed(b"\x07" * 32))
    assert codes(say(pair, payment)) == [ErrorCode.BAD_SIGNATURE]
    assert untouched(pair, purchase)


def test_a_payment_without_a_voucher_buys_nothing(pair: Pair) -> None:
    purchase = taken_window(pair)
    payment = dataclasses.replace(payment_for(pair, purchase), voucher=None)
    assert codes(say(pair, payment)) == [ErrorCode.BAD_VOUCHER]
    assert untouched(pair, purchase)


def test_a_payment_that_comes_twice_counts_once(pair: Pair) -> None:
    purchase = taken_window(pair)
    payment = payment_for(pair, purchase)
    head = pair.provider.journal.head
    assert say(pair, payment) == []
    once = pair.provider.journal.head
    assert once.sequence > head.sequence
    assert say(pair, payment, payment) == []
    assert pair.provider.journal.head == once


def test_a_payment_that_comes_again_after_a_restart_counts_once(pair: Pair) -> None:
    purchase = taken_window(pair)
    payment = payment_for(pair, purchase)
    say(pair, payment)
    pair.cut()
    pair.provider.restart(pair.now)
    pair.connect()
    pair.run()
    best = pair.provider.books.lines[pair.channel_id].best_amount
    acceptance = shape.decode(Acceptance, purchase.deal.accept.body)
    body = shape.encode(dataclasses.replace(acceptance, cursor=Receipt.decode(payment.receipts[0].body).n_blocks))
    accept = Accept(body=body, signature=pair.client.key.sign("accept", body))
    assert codes(say(pair, accept, payment)) == []
    pair.serve()
    assert pair.provider.books.lines[pair.channel_id].best_amount == best


def test_an_older_voucher_is_stale(pair: Pair) -> None:
    purchase = taken_window(pair)
    first = payment_for(pair, purchase)
    say(pair, first)
    pair.serve()
    sale = pair.provider.books.sales[purchase.deal_id]
    assert sale.in_flight
    accumulator = sale.accumulator.copy()
    accumulator.append_many([sent.cid for sent in sale.in_flight])
    before = Receipt.decode(first.receipts[0].body)
    receipt = dataclasses.replace(
        before,
        root=accumulator.root(),
        n_bytes=sale.sent_bytes,
        n_blocks=sale.n_sent_blocks,
        sequence=2,
        deal_amount=sale.rate.owed(sale.sent_bytes),
        channel_amount=before.channel_amount - 1,
    )
    pair.to_client.queue.clear()
    assert codes(say(pair, signed_payment(pair, receipt, before.channel_amount - 1))) == [ErrorCode.STALE_VOUCHER]


def test_two_receipts_of_one_sequence_are_equivocation(pair: Pair) -> None:
    purchase = taken_window(pair)
    payment = payment_for(pair, purchase)
    say(pair, payment)
    receipt = Receipt.decode(payment.receipts[0].body)
    other = signed_payment(pair, dataclasses.replace(receipt, time=receipt.time + 1), receipt.channel_amount)
    assert codes(say(pair, other)) == [ErrorCode.EQUIVOCATION]


def test_a_voucher_above_the_deposit_is_refused() -> None:
    pair = Pair(window_first=WINDOW, prices=Prices(price_per_gib=1_000_000, block_size_max=64 * KIB), deposit=4000)
    root = add(pair, 3 * MIB)
    pair.root = root  # type: ignore[attr-defined]
    pair.run()
    pair.present()
    purchase = taken_window(pair)
    line = pair.provider.books.lines[pair.channel_id]
    assert line.channel is not None
    line.channel = dataclasses.replace(line.channel, balance=100)  # a withdrawal was mined meanwhile
    assert codes(say(pair, payment_for(pair, purchase))) == [ErrorCode.VOUCHER_OVER_DEPOSIT]
    assert untouched(pair, purchase)


# channels


def present_with(pair: Pair, change: Callable[[Present], Present]) -> list[ErrorCode]:
    channel = pair.client.lines[pair.channel_id].channel
    assert channel is not None
    return codes(say(pair, change(Present(config=channel.config, session_key=channel.session_key))))


def test_a_channel_that_pays_another_receiver_is_unacceptable(pair: Pair) -> None:
    def pay_another(present: Present) -> Present:
        return dataclasses.replace(present, config=present.config[:40] + b"\x66" * 20 + present.config[60:])

    assert present_with(pair, pay_another) == [ErrorCode.CHANNEL_UNACCEPTABLE]


def test_a_channel_id_that_does_not_follow_from_its_config_is_unacceptable(pair: Pair) -> None:
    def change_salt(present: Present) -> Present:
        return dataclasses.replace(present, config=present.config[:-1] + b"\x01")

    assert present_with(pair, change_salt) == [ErrorCode.CHANNEL_UNACCEPTABLE]


@pytest.mark.parametrize("trick", ["other peer", "expired", "other authorizer", "altered"])
def test_a_session_key_that_does_not_name_this_peer_under_the_authorizer_is_invalid(pair: Pair, trick: str) -> None:
    peer = PeerKey.from_seed(b"\x07" * 32).peer_id if trick == "other peer" else pair.client.key.peer_id
    wallet = EvmKey.from_secret(b"\x08" * 32) if trick == "other authorizer" else pair.client.wallet
    expires_at = int(pair.now) - 1 if trick == "expired" else int(pair.now) + 1000
    key = sign_session_key(wallet, session_domain(CHAIN_ID, CONTRACT), channel_id=pair.channel_id, peer_id=peer, expires_at=expires_at)
    signature = bytes((key.signature[0] ^ 1,)) + key.signature[1:] if trick == "altered" else key.signature
    fields = SessionKeyFields(channel_id=key.channel_id, peer_id=key.peer_id, expires_at=expires_at, signature=signature)
    assert present_with(pair, lambda present: dataclasses.replace(present, session_key=fields)) == [ErrorCode.SESSION_KEY_INVALID]


def test_a_channel_without_a_deposit_is_unfunded() -> None:
    pair = Pair(deposit=0)
    pair.run()
    pair.present()
    assert ErrorCode.CHANNEL_UNFUNDED in [getattr(event, "code", None) for event in pair.client.events]
    assert pair.channel_id not in pair.provider.books.lines or pair.provider.books.lines[pair.channel_id].channel is None


def test_a_channel_whose_withdrawal_has_begun_gets_no_credit() -> None:
    pair = Pair()
    pair.provider.withdrawing[pair.channel_id] = int(pair.now) + 1000
    pair.run()
    pair.present()
    assert ErrorCode.CHANNEL_CLOSING in [getattr(event, "code", None) for event in pair.client.events]


def test_an_accept_on_a_channel_that_was_never_presented_buys_nothing() -> None:
    pair = Pair(window_first=WINDOW)
    root = add(pair, 3 * MIB)
    pair.run()
    query_id = pair.query(root.cid)
    asked = pair.client_session._asked[query_id]
    assert asked.signed is not None
    body = shape.encode(
        Acceptance(
            version=1,
            quote_digest=_digest(asked.signed.body),
            channel_id=pair.channel_id,
            spend_max=1 << 40,
            cursor=0,
            time=int(pair.now),
        )
    )
    assert codes(say(pair, Accept(body=body, signature=pair.client.key.sign("accept", body)))) == [ErrorCode.SESSION_KEY_MISSING]
    assert not pair.serve()


def _digest(body: bytes) -> bytes:
    from retrieval.wire.messages import quote_digest

    return quote_digest(body)


# quotes


def accept_with(pair: Pair, **changes: object) -> list[ErrorCode]:
    query_id = pair.query(pair.root.cid)  # type: ignore[attr-defined]
    asked = pair.client_session._asked[query_id]
    assert asked.signed is not None
    key = changes.pop("key", pair.client.key)
    assert isinstance(key, PeerKey)
    pair.now += float(changes.pop("later_s", 0))  # type: ignore[arg-type]
    acceptance = Acceptance(
        version=1, quote_digest=_digest(asked.signed.body), channel_id=pair.channel_id, spend_max=1 << 40, cursor=0, time=int(pair.now)
    )
    body = shape.encode(dataclasses.replace(acceptance, **changes))  # type: ignore[arg-type]
    return codes(say(pair, Accept(body=body, signature=key.sign("accept", body))))


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"later_s": 3601}, ErrorCode.QUOTE_EXPIRED),
        ({"quote_digest": bytes(32)}, ErrorCode.QUOTE_UNKNOWN),
        ({"channel_id": None}, ErrorCode.CHANNEL_MISSING),
        ({"cursor": 1}, ErrorCode.INVALID_CURSOR),
        ({"key": PeerKey.from_seed(b"\x07" * 32)}, ErrorCode.BAD_SIGNATURE),
    ],
    ids=str,
)
def test_an_accept_that_does_not_fit_its_quote_opens_nothing(pair: Pair, changes: dict[str, object], code: ErrorCode) -> None:
    assert accept_with(pair, **changes) == [code]
    assert not pair.provider.books.sales


def test_a_quote_made_for_another_client_is_not_accepted(pair: Pair) -> None:
    query_id = pair.query(pair.root.cid)  # type: ignore[attr-defined]
    signed = pair.client_session._asked[query_id].signed
    assert signed is not None
    offered = pair.provider.books.quotes[_digest(signed.body)]  # type: ignore[index]
    stolen = dataclasses.replace(offered, quote=dataclasses.replace(offered.quote, client_peer=PeerKey.from_seed(b"\x07" * 32).peer_id))
    pair.provider.books.quotes[_digest(signed.body)] = stolen  # type: ignore[index]
    body = shape.encode(
        Acceptance(version=1, quote_digest=_digest(signed.body), channel_id=pair.channel_id, spend_max=1, cursor=0, time=int(pair.now))
    )
    assert codes(say(pair, Accept(body=body, signature=pair.client.key.sign("accept", body)))) == [ErrorCode.QUOTE_MISMATCH]


# sessions


def test_a_session_that_does_not_begin_with_hello_is_over() -> None:
    pair = Pair()
    pair.to_provider.queue.clear()
    assert codes(say(pair, Ping(nonce=1))) == [ErrorCode.UNEXPECTED_MESSAGE]
    assert pair.provider_session.is_over


def test_a_client_that_lacks_a_required_capability_is_told_which() -> None:
    pair = Pair()
    pair.to_provider.queue.clear()
    (error,) = say(pair, Hello(minor_version=0, required=("xfer.telepathy",), optional=("xfer.blocks", "rcpt.1"), deals_max=1, agent="x"))
    assert isinstance(error, Error)
    assert ErrorCode(error.code) is ErrorCode.CAPABILITY_MISSING
    assert "xfer.telepathy" in error.detail


def test_a_client_that_says_nothing_is_let_go_after_the_hello_deadline() -> None:
    pair = Pair()
    pair.to_provider.queue.clear()
    pair.now += 5.1
    pair.provider_step(pair.provider_session.tick(pair.now))
    assert codes(answers(pair)) == [ErrorCode.HELLO_TIMEOUT]


@pytest.mark.parametrize("garbage", [b"\xff" * 12, b"\x00", b"\x02\x63\xa0", bytes((3, 2, 0xFF, 0xFF)), b"\x80\x80\x80\x80\x80\x01\x02"])
def test_bytes_that_are_no_frames_end_the_session(pair: Pair, garbage: bytes) -> None:
    pair.to_provider.queue.append(garbage)
    pair.deliver_to_provider()
    assert pair.provider_session.is_over
    assert codes(answers(pair))[0] in (ErrorCode.MALFORMED_FRAME, ErrorCode.MALFORMED_MESSAGE, ErrorCode.FRAME_TOO_LARGE)


def test_messages_that_only_a_provider_sends_end_the_session(pair: Pair) -> None:
    assert codes(say(pair, SignedDone(body=b"\xa0", signature=bytes(64)))) == [ErrorCode.UNEXPECTED_MESSAGE]


def test_a_client_that_stalls_is_cut_off_and_its_deal_stays_open(pair: Pair) -> None:
    purchase = taken_window(pair)
    for _ in range(64):
        deadline = pair.provider_session.next_deadline()
        assert deadline is not None
        pair.now = deadline
        pair.provider_step(pair.provider_session.tick(pair.now))
        if pair.provider_session.is_over:
            break
    assert codes(answers(pair)) == [ErrorCode.PAYMENT_TIMEOUT]
    assert pair.provider.books.sales[purchase.deal_id].state is SaleState.INTERRUPTED


# running away


def test_a_payer_who_takes_a_window_and_reconnects_gets_one_more_and_then_none(pair: Pair) -> None:
    """One first window is forgiven a channel; PROTOCOL.md, "Windows"."""
    delivered = 0
    refusals: list[ErrorCode] = []
    for _ in range(6):
        query_id = pair.query(pair.root.cid)  # type: ignore[attr-defined]
        if query_id not in pair.client_session._asked:
            break
        purchase = pair.accept(query_id)
        pair.deliver_to_provider()
        pair.serve()
        sale = pair.provider.books.sales.get(purchase.deal_id)
        delivered += sale.sent_bytes if sale else 0
        pair.run_provider_only()
        refusals += codes(answers(pair))
        purchase.line.purchases.clear()
        pair.cut()
        pair.connect()
        pair.run()
    assert ErrorCode.DEBT_OUTSTANDING in refusals
    assert delivered <= 2 * WINDOW


def test_an_expired_deal_ends_with_one_outcome_and_its_loss_counts(pair: Pair) -> None:
    purchase = taken_window(pair)
    pair.cut()
    line = pair.provider.books.lines[pair.channel_id]
    unpaid = line.unpaid_bytes
    assert unpaid > 0
    pair.now += 3601
    pair.provider.commit(pair.provider.books.expire(pair.now), pair.now)
    ended = fold.get(pair.provider.storage, OutcomeRecord, purchase.deal_id)
    assert ended is not None
    assert ended.outcome == Outcome.FAILED
    assert line.written_off_bytes == unpaid
    pair.provider.journal.check()


@settings(max_examples=25)
@given(
    actions=st.lists(
        st.sampled_from(
            ["deal", "serve", "pay", "pay part", "reconnect", "second session", "restart", "resume", "resume lying", "cancel", "wait"]
        ),
        min_size=5,
        max_size=40,
    )
)
def test_whatever_a_client_does_the_provider_never_has_more_than_a_window_outstanding(actions: list[str]) -> None:
    """Windows and write-offs together bound what leaves unpaid: over all deals, sessions, reconnects and restarts."""
    pair = Pair(window_first=WINDOW, prices=Prices(price_per_gib=1_000_000, block_size_max=64 * KIB))
    root = add(pair, 3 * MIB)
    pair.run()
    pair.present()
    cheat = Cheat(pair, root.cid)
    for action in actions:
        cheat.act(action)
        line = pair.provider.books.lines[pair.channel_id]
        # What is forgiven once is forgiven again only after as much was paid.
        assert cheat.delivered_bytes <= 2 * line.paid_bytes + line.window + line.window_first
        assert line.best_amount + line.reserved <= pair.provider.deposits[pair.channel_id]
    check(pair.provider.storage)


class Cheat:
    """A client that follows the protocol's words and not its meaning."""

    def __init__(self, pair: Pair, root: Cid) -> None:
        self.pair, self.root = pair, root
        self.accepts: list[Acceptance] = []
        self.delivered_bytes = 0

    def act(self, action: str) -> None:
        pair = self.pair
        match action:
            case "deal":
                self._deal()
            case "serve":
                while pair.serve():
                    self._take_blocks()
            case "cancel":
                for sale in list(pair.provider.books.sales.values())[:1]:
                    pair.to_provider.send(encode_frame(Cancel(deal_id=sale.deal_id, code=ErrorCode.CANCELLED)))
                    pair.deliver_to_provider()
            case "second session":
                self._second_session()
            case "wait":
                pair.now += 1800
                pair.provider.commit(pair.provider.books.expire(pair.now), pair.now)
            case "pay" | "pay part":
                self._pay(part=action == "pay part")
            case "reconnect" | "restart":
                pair.cut()
                if action == "restart":
                    pair.provider.restart(pair.now)
                pair.connect()
                pair.deliver_to_provider()
            case "resume" | "resume lying":
                if self.accepts:
                    accept = self.accepts[-1]
                    self._send(dataclasses.replace(accept, cursor=7 if action == "resume lying" else 0))
        self._take_blocks()

    def _take_blocks(self) -> None:
        for data in self.pair.to_client.take():
            for item in FrameDecoder().feed(data):
                if isinstance(item, list):
                    self.delivered_bytes += sum(len(block.payload) for block in item)

    def _second_session(self) -> None:
        """Go on over another stream, with the first one still there."""
        pair = self.pair
        pair.connect()
        pair.deliver_to_provider()

    def _deal(self) -> None:
        pair = self.pair
        pair.client.lines.pop(pair.channel_id, None)
        query_id = pair.query(self.root)
        asked = pair.client_session._asked.get(query_id)
        if asked is None or asked.signed is None:
            return
        acceptance = Acceptance(
            version=1, quote_digest=_digest(asked.signed.body), channel_id=pair.channel_id, spend_max=1 << 40, cursor=0, time=int(pair.now)
        )
        self.accepts.append(acceptance)
        self._send(acceptance)

    def _send(self, acceptance: Acceptance) -> None:
        body = shape.encode(acceptance)
        self.pair.to_provider.send(encode_frame(Accept(body=body, signature=self.pair.client.key.sign("accept", body))))
        self.pair.deliver_to_provider()

    def _pay(self, *, part: bool) -> None:
        pair = self.pair
        line = pair.provider.books.lines[pair.channel_id]
        for sale in list(line.sales.values()):
            if not sale.in_flight:
                continue
            sent = list(sale.in_flight)[: 1 if part else None]
            accumulator = sale.accumulator.copy()
            accumulator.append_many([block.cid for block in sent])
            n_bytes = sale.position.n_bytes + sum(block.size for block in sent)
            owed = sale.rate.owed(n_bytes)
            amount = line.best_amount + owed - sale.position.deal_amount
            receipt = Receipt(
                deal_id=sale.deal_id,
                root=accumulator.root(),
                prev=sale.prev,
                n_bytes=n_bytes,
                n_blocks=sale.position.n_blocks + len(sent),
                deal_amount=owed,
                channel_amount=amount,
                sequence=sale.position.sequence + 1,
                time=int(pair.now),
            )
            pair.to_provider.send(encode_frame(signed_payment(pair, receipt, amount)))
            pair.deliver_to_provider()
            return
