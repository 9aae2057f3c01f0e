"""A payer's books of a channel over HTTP, against any server: through answers, cuts, corrections true and false, and restarts."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from retrieval.deal import fold, postings
from retrieval.deal.audit import check
from retrieval.deal.outlay import Outlay, opened
from retrieval.deal.records import HttpChannelRecord, HttpCountRecord, HttpPurchaseRecord, record
from retrieval.errors import ErrorCode, RemoteProtocolError
from retrieval.identity import EvmAddress, EvmKey
from retrieval.ledger.journal import Journal, Record
from retrieval.ledger.state import MemoryStateStorage
from retrieval.ledger.transfers import Balances, open_reservations
from retrieval.payment.chain import DEVCHAIN
from retrieval.payment.channel import ChannelConfig, channel_id
from retrieval.payment.voucher import VoucherSigner
from retrieval.payment.x402.answer import Charge
from retrieval.payment.x402.offer import ChannelSight, PaymentRequired, Requirements, Scheme
from retrieval.payment.x402.payment import Payment
from retrieval.payment.x402.purse import Count, Purse
from retrieval.payment.x402.reasons import RESYNC
from retrieval.wire.messages import Scope, Selection

KEY = EvmKey.from_secret(bytes(31) + b"\x01")
RECEIVER = EvmAddress(b"\x22" * 20)
CONFIG = ChannelConfig(
    payer=KEY.address,
    payer_authorizer=KEY.address,
    receiver=RECEIVER,
    receiver_authorizer=RECEIVER,
    token=DEVCHAIN.token,
    withdraw_delay_s=86_400,
    salt=bytes(32),
)
CHANNEL = channel_id(CONFIG, DEVCHAIN.chain_id, DEVCHAIN.contract)
SIGNER = VoucherSigner(KEY, DEVCHAIN.chain_id, DEVCHAIN.contract)
DEPOSIT = 1_000
SELECTION = Selection(root=b"\x01\x55\x12\x20" + bytes(32), path=(), scope=Scope.ENTITY)
EMPTY = HttpChannelRecord(
    config=CONFIG.to_bytes(),
    chain_id=DEVCHAIN.chain_id,
    contract=DEVCHAIN.contract,
    balance=0,
    total_claimed=0,
    closing=False,
    withdraw_at=0,
)


def offer(amount: int, sight: ChannelSight | None = None) -> Requirements:
    return Requirements(
        scheme=Scheme.BATCH,
        chain_id=DEVCHAIN.chain_id,
        token=DEVCHAIN.token,
        token_name=DEVCHAIN.token_name,
        token_version=DEVCHAIN.token_version,
        amount=amount,
        pay_to=RECEIVER,
        timeout_s=60,
        receiver_authorizer=RECEIVER,
        withdraw_delay_s=3_600,
        channel=sight,
    )


class Spending(RuleBasedStateMachine):
    """A client with a purse, an outlay and a journal; the server is whoever answers what."""

    def __init__(self) -> None:
        super().__init__()
        self.storage = MemoryStateStorage()
        self.journal = Journal(self.storage, fold.reduce)
        self.now = 1_000.0
        self.vouchers: dict[int, bytes] = {}
        """Every voucher that ever left, by its amount."""
        self.paid: Payment | None = None
        """On its way."""
        self.n_purchases = 0

    def write(self, records: list[Record]) -> None:
        self.journal.append(records, int(self.now * 1000))

    def tick(self) -> float:
        self.now += 1
        return self.now

    @initialize()
    def open(self) -> None:
        self.outlay, records = opened(CHANNEL, EMPTY, self.tick())
        self.write(records)
        self.write(self.outlay.channel_seen(replace(EMPTY, balance=DEPOSIT), self.tick()))
        self.purse = self.new_purse()

    def new_purse(self) -> Purse:
        count = Count(charged=self.outlay.charged, signed=self.outlay.signed)
        return Purse(SIGNER, CONFIG, chain_id=DEVCHAIN.chain_id, contract=DEVCHAIN.contract, count=count)

    @precondition(lambda self: self.paid is None)
    @rule(amount=st.integers(1, 300))
    def pay(self, amount: int) -> None:
        if self.outlay.credit < amount:
            return
        payment = self.purse.pay(offer(amount), amount_max=amount)
        voucher = payment.payload.voucher  # type: ignore[union-attr]
        self.write(self.outlay.sign(voucher.amount, self.tick()))
        self.vouchers[voucher.amount] = voucher.signature
        self.paid = payment

    @precondition(lambda self: self.paid is not None)
    @rule(charged=st.integers(0, 400), total=st.one_of(st.none(), st.integers(0, 1_200)))
    def answer(self, charged: int, total: int | None) -> None:
        """Any answer: with the sum that it should have where ``total`` is None."""
        assert self.paid is not None
        said = self.outlay.charged + charged if total is None else total
        sight = ChannelSight(channel_id=CHANNEL, balance=DEPOSIT, total_claimed=0, withdraw_requested_at=0, refund_nonce=0, charged=said)
        header = Charge(payer=KEY.address, chain_id=DEVCHAIN.chain_id, charged=charged, channel=sight).to_header()
        agreed, before = self.paid.accepted.amount, self.outlay.charged
        self.paid = None
        try:
            taken = self.purse.answered(header).charged
        except RemoteProtocolError:
            assert charged > agreed or said != before + charged
            return
        assert taken <= agreed
        self.n_purchases += 1
        bought = HttpPurchaseRecord(
            channel=CHANNEL, provider="http://x", selection=SELECTION, n_bytes=None, amount=taken, receipt=b"", bought_ms=0
        )
        self.write([*self.outlay.charge(taken, self.tick()), record(self.n_purchases.to_bytes(16, "big"), bought)])

    @precondition(lambda self: self.paid is not None)
    @rule()
    def cut(self) -> None:
        self.paid = None
        self.purse.unanswered()

    @rule(charged=st.integers(0, 1_200), signed=st.integers(0, 1_200), is_ours=st.booleans())
    def correct(self, charged: int, signed: int, is_ours: bool) -> None:
        """A corrective 402 with any count, and a signature that we gave or one that we did not."""
        amount = max((known for known in self.vouchers if known <= signed), default=None) if is_ours else signed
        if amount is None or charged > amount:
            return
        signature = self.vouchers.get(amount, b"\x01" * 65) if is_ours else b"\x01" * 65
        sight = ChannelSight(
            channel_id=CHANNEL,
            balance=DEPOSIT,
            total_claimed=0,
            withdraw_requested_at=0,
            refund_nonce=0,
            charged=charged,
            signed=amount,
            signature=signature,
        )
        self.paid = None
        try:
            is_adopted = self.purse.correct(PaymentRequired(url="", description="", accepts=(offer(1, sight),), error=RESYNC))
        except RemoteProtocolError:
            assert not is_ours or charged > self.outlay.signed
            return
        if not is_adopted:
            return
        counted = self.purse.count
        try:
            self.write(self.outlay.correct(counted.charged, counted.signed, self.tick()))
        except RemoteProtocolError:
            assert counted.charged < min(self.outlay.charged, self.outlay.channel.total_claimed)
            self.purse.count = Count(charged=self.outlay.charged, signed=self.outlay.signed)

    @rule(claimed=st.integers(0, 1_000))
    def claim(self, claimed: int) -> None:
        """The server claims what was signed, or less: more, the contract does not let it."""
        claimed = min(claimed, self.outlay.signed)
        if claimed >= self.outlay.channel.total_claimed:
            self.write(self.outlay.channel_seen(replace(self.outlay.channel, total_claimed=claimed), self.tick()))

    @rule()
    def restart(self) -> None:
        """The process dies: what was set aside is released, as a wallet's start does, and the rest comes from the journal."""
        self.paid = None
        self.write([postings.void(reservation.id) for reservation in open_reservations(self.storage)])
        self.tick()
        channel, count = fold.get(self.storage, HttpChannelRecord, CHANNEL), fold.get(self.storage, HttpCountRecord, CHANNEL)
        assert channel is not None
        self.outlay = Outlay.restored(CHANNEL, channel, count)
        self.purse = self.new_purse()

    @invariant()
    def nothing_is_signed_beyond_the_deposit(self) -> None:
        assert max(self.vouchers, default=0) <= DEPOSIT

    @invariant()
    def what_is_signed_and_not_charged_is_set_aside(self) -> None:
        if not hasattr(self, "outlay"):
            return
        assert (self.purse.count.charged, self.purse.count.signed) == (self.outlay.charged, self.outlay.signed)
        assert self.outlay.signed == max(self.vouchers, default=0)
        held = Balances(self.storage, limited=postings.LIMITED).balance(postings.channel_account(CHANNEL))
        if self.paid is not None:
            assert held.debits_pending == self.outlay.exposed
        assert held.debits_pending in (0, self.outlay.exposed)

    @invariant()
    def the_journal_checks(self) -> None:
        if hasattr(self, "outlay"):
            assert check(self.storage).promised == self.outlay.charged


Spending.TestCase.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)
TestSpending = Spending.TestCase


@pytest.mark.parametrize("counted", [0, 59])
def test_a_server_that_counts_less_than_it_has_claimed_is_refused_and_the_books_stand(counted: int) -> None:
    spending = Spending()
    spending.open()
    spending.pay(100)
    spending.answer(charged=100, total=None)
    spending.claim(60)
    with pytest.raises(RemoteProtocolError, match="counts") as refused:
        spending.outlay.correct(counted, 100, spending.tick())
    assert refused.value.code is ErrorCode.PAYMENT_MISMATCH
    assert spending.outlay.charged == 100
    spending.write(spending.outlay.correct(60, 100, spending.tick()))
    spending.the_journal_checks()


def test_a_count_that_goes_to_and_fro_within_a_millisecond_is_posted_each_time() -> None:
    spending = Spending()
    spending.open()
    spending.pay(100)
    now = spending.tick()
    for charged in (10, 0, 10, 0):
        spending.write(spending.outlay.correct(charged, 100, now))
        spending.the_journal_checks()
    spending.restart()
    spending.write(spending.outlay.correct(10, 100, now))
    spending.the_journal_checks()
