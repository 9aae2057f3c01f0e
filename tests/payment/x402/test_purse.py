"""A payer's purse: in step with an honest server through lost answers and cuts, and never talked into more than it signed."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retrieval.errors import ErrorCode, LocalProtocolError, RemoteProtocolError
from retrieval.identity import EvmAddress, EvmKey
from retrieval.payment.chain import DEVCHAIN
from retrieval.payment.channel import ChannelConfig
from retrieval.payment.voucher import VoucherSigner
from retrieval.payment.x402.answer import Charge
from retrieval.payment.x402.batch import BatchPayment
from retrieval.payment.x402.offer import ChannelSight, PaymentRequired, Requirements, Scheme
from retrieval.payment.x402.payment import Payment
from retrieval.payment.x402.purse import Count, Purse
from retrieval.payment.x402.reasons import RESYNC

PAYER, RECEIVER, THIEF = (EvmKey.from_secret(bytes((n,)) * 32) for n in (1, 2, 3))
CONFIG = ChannelConfig(
    payer=PAYER.address,
    payer_authorizer=PAYER.address,
    receiver=RECEIVER.address,
    receiver_authorizer=RECEIVER.address,
    token=DEVCHAIN.token,
    withdraw_delay_s=86_400,
    salt=bytes(32),
)


def signer(key: EvmKey = PAYER) -> VoucherSigner:
    return VoucherSigner(key, DEVCHAIN.chain_id, DEVCHAIN.contract)


def purse(count: Count | None = None) -> Purse:
    return Purse(signer(), CONFIG, chain_id=DEVCHAIN.chain_id, contract=DEVCHAIN.contract, count=count)


def offer(amount: int, sight: ChannelSight | None = None) -> Requirements:
    return Requirements(
        scheme=Scheme.BATCH,
        chain_id=DEVCHAIN.chain_id,
        token=DEVCHAIN.token,
        token_name="Test Dollar",
        token_version="1",
        amount=amount,
        pay_to=RECEIVER.address,
        timeout_s=300,
        receiver_authorizer=RECEIVER.address,
        withdraw_delay_s=86_400,
        channel=sight,
    )


def answer(purse: Purse, charged: int, total: int) -> str:
    return Charge(payer=PAYER.address, chain_id=DEVCHAIN.chain_id, charged=charged, channel=sight(purse, total, None)).to_header()


def sight(purse: Purse, charged: int, signed: int | None, key: EvmKey = PAYER) -> ChannelSight:
    return ChannelSight(
        channel_id=purse.channel_id,
        balance=10**9,
        total_claimed=0,
        withdraw_requested_at=0,
        refund_nonce=0,
        charged=charged,
        signed=signed,
        signature=None if signed is None else signer(key).sign(purse.channel_id, signed).signature,
    )


def corrective(purse: Purse, charged: int, signed: int | None, key: EvmKey = PAYER) -> PaymentRequired:
    accepts = (offer(1, sight(purse, charged, signed, key)),)
    return PaymentRequired(url="", description="", accepts=accepts, error=RESYNC)


def amount_of(payment: Payment) -> int:
    assert isinstance(payment.payload, BatchPayment)
    return payment.payload.voucher.amount


def test_vouchers_count_on_from_what_was_charged() -> None:
    mine = purse()
    assert amount_of(mine.pay(offer(100), amount_max=100)) == 100
    mine.answered(answer(mine, 60, 60))
    assert amount_of(mine.pay(offer(10), amount_max=100)) == 70
    assert mine.count == Count(charged=60, signed=100)


def test_no_more_is_signed_than_the_budget_or_for_somebody_else() -> None:
    mine = purse()
    with pytest.raises(LocalProtocolError) as over:
        mine.pay(offer(101), amount_max=100)
    assert over.value.code is ErrorCode.OVER_BUDGET
    for change in ({"pay_to": THIEF.address}, {"token": EvmAddress(bytes(20))}, {"receiver_authorizer": THIEF.address}, {"chain_id": 1}):
        with pytest.raises(RemoteProtocolError) as other:
            mine.pay(replace(offer(1), **change), amount_max=100)  # type: ignore[arg-type]
        assert other.value.code is ErrorCode.CHANNEL_UNACCEPTABLE
    assert mine.count == Count()


@pytest.mark.parametrize(("charged", "total"), [(101, 101), (50, 51), (0, 1)])
def test_a_charge_that_was_not_agreed_is_refused(charged: int, total: int) -> None:
    mine = purse()
    mine.pay(offer(100), amount_max=100)
    with pytest.raises(RemoteProtocolError) as refused:
        mine.answered(answer(mine, charged, total))
    assert refused.value.code is ErrorCode.PAYMENT_MISMATCH
    assert mine.count.charged == 0


def test_a_corrective_402_is_adopted_under_our_own_signature() -> None:
    lost = purse()
    assert lost.correct(corrective(lost, 70, 100))
    assert lost.count == Count(charged=70, signed=100)
    assert not lost.correct(corrective(lost, 70, 100))  # asking again would change nothing


def test_a_server_that_counts_more_than_was_signed_is_refused() -> None:
    mine = purse(Count(charged=10, signed=50))
    for charged, signed, key, code in (
        (60, 60, THIEF, ErrorCode.BAD_VOUCHER),
        (60, None, PAYER, ErrorCode.PAYMENT_MISMATCH),
        (51, 51, PAYER, ErrorCode.PAYMENT_MISMATCH),  # ours, as if from another life of the key: this purse never signed so much
    ):
        with pytest.raises(RemoteProtocolError) as refused:
            mine.correct(corrective(mine, charged, signed, key))
        assert refused.value.code is code
    assert mine.count == Count(charged=10, signed=50)


def test_other_402s_change_nothing() -> None:
    mine = purse(Count(charged=10, signed=50))
    assert not mine.correct(replace(corrective(mine, 5, 50), error="payment_required"))
    assert not mine.correct(PaymentRequired(url="", description="", accepts=(offer(1),), error=RESYNC))
    assert mine.count.charged == 10


@settings(max_examples=100)
@given(st.lists(st.tuples(st.integers(1, 1_000), st.sampled_from(["whole", "cut", "lost before", "lost after", "forgotten"])), max_size=30))
def test_purse_and_server_come_together_again_whatever_is_lost(steps: list[tuple[int, str]]) -> None:
    mine, charged, signed = purse(), 0, 0
    for price, what in steps:
        payment = mine.pay(offer(price), amount_max=price)
        if amount_of(payment) != charged + price:  # the server's rule; it answers 402, and is asked again
            assert mine.correct(corrective(mine, charged, signed or None))
            payment = mine.pay(offer(price), amount_max=price)
        assert amount_of(payment) == charged + price
        if what == "lost before":
            mine.unanswered()
            continue
        signed = max(signed, charged + price)
        if what == "lost after":
            charged += price
            mine.unanswered()
            continue
        mine.answered(answer(mine, price, charged + price))
        charged += price // 2 if what == "cut" else price
        if what == "forgotten":
            mine = purse()
    assert charged <= signed
