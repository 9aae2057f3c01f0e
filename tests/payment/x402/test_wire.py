"""x402's headers: what we write we read, what its own package writes we read, and what a stranger writes raises one kind of error."""

from __future__ import annotations

import base64
import copy
import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retrieval.errors import ErrorCode, RemoteProtocolError
from retrieval.identity import EvmAddress, EvmKey, parse_address
from retrieval.payment.chain import DEVCHAIN
from retrieval.payment.channel import ChannelConfig, ChannelId, channel_id, settlement_domain
from retrieval.payment.voucher import Voucher, VoucherSigner, verify_voucher
from retrieval.payment.x402.answer import Charge, Charged
from retrieval.payment.x402.batch import BatchPayment, Deposit, sign_deposit, verify_deposit
from retrieval.payment.x402.exact import ExactPayment, sign_exact, verify_exact
from retrieval.payment.x402.fields import HEADER_SIZE_MAX, Fields, read_header, write_header
from retrieval.payment.x402.offer import ChannelSight, PaymentRequired, Requirements, Scheme
from retrieval.payment.x402.payment import Payment
from retrieval.payment.x402.reasons import RESYNC, reason_of
from retrieval.units import AMOUNT_MAX

NOW = 1_800_000_000
few = settings(max_examples=60)

amounts = st.integers(0, AMOUNT_MAX)
addresses = st.binary(min_size=20, max_size=20).map(EvmAddress)
words = st.binary(min_size=32, max_size=32)
signatures = st.binary(min_size=65, max_size=65)
configs = st.builds(
    ChannelConfig,
    payer=addresses,
    payer_authorizer=addresses,
    receiver=addresses,
    receiver_authorizer=addresses,
    token=addresses,
    withdraw_delay_s=st.integers(900, 2_592_000),
    salt=words,
)
vouchers = st.builds(Voucher, channel_id=words.map(ChannelId), amount=amounts, signature=signatures)
deposits = st.builds(
    Deposit,
    amount=st.integers(1, AMOUNT_MAX),
    valid_after=st.just(0),
    valid_before=st.integers(1, 2**256 - 1),
    salt=words,
    signature=signatures,
)
batch_payments = st.builds(BatchPayment, config=configs, voucher=vouchers, deposit=st.none() | deposits)
exact_payments = st.builds(
    ExactPayment,
    payer=addresses,
    payee=addresses,
    amount=st.integers(1, AMOUNT_MAX),
    valid_after=st.just(0),
    valid_before=st.integers(1, 2**256 - 1),
    nonce=words,
    signature=signatures,
)
names = st.text(max_size=40)


@st.composite
def sights(draw: st.DrawFn) -> ChannelSight:
    charged, more = draw(st.integers(0, AMOUNT_MAX // 2)), draw(st.none() | st.integers(0, AMOUNT_MAX // 2))
    return ChannelSight(
        channel_id=ChannelId(draw(words)),
        balance=draw(amounts),
        total_claimed=draw(amounts),
        withdraw_requested_at=draw(st.integers(0, 2**40 - 1)),
        refund_nonce=draw(st.integers(0, 2**64)),
        charged=charged,
        signed=None if more is None else charged + more,
        signature=None if more is None else draw(signatures),
    )


@st.composite
def requirements(draw: st.DrawFn, scheme: Scheme | None = None) -> Requirements:
    scheme = scheme or draw(st.sampled_from(Scheme))
    is_batch = scheme is Scheme.BATCH
    return Requirements(
        scheme=scheme,
        chain_id=draw(st.integers(1, 2**53 - 1)),
        token=draw(addresses),
        token_name=draw(names),
        token_version=draw(names),
        amount=draw(amounts),
        pay_to=draw(addresses),
        timeout_s=draw(st.integers(1, 86_400)),
        receiver_authorizer=draw(addresses) if is_batch else None,
        withdraw_delay_s=draw(st.integers(0, 2_592_000)) if is_batch else 0,
        deposit_min=draw(amounts) if is_batch else 0,
        channel=draw(st.none() | sights()) if is_batch else None,
    )


offers = st.builds(
    PaymentRequired, url=names, description=names, accepts=st.lists(requirements(), max_size=4).map(tuple), error=st.text(max_size=80)
)
payments = st.builds(Payment, accepted=requirements(Scheme.BATCH), payload=batch_payments) | st.builds(
    Payment, accepted=requirements(Scheme.EXACT), payload=exact_payments
)


def header_of(members: Any) -> str:
    return base64.b64encode(json.dumps(members).encode()).decode()


def channel_config(payer: EvmKey, receiver: EvmKey) -> ChannelConfig:
    return ChannelConfig(
        payer=payer.address,
        payer_authorizer=payer.address,
        receiver=receiver.address,
        receiver_authorizer=receiver.address,
        token=DEVCHAIN.token,
        withdraw_delay_s=86_400,
        salt=bytes(32),
    )


# what we write


@few
@given(offers)
def test_an_offer_is_read_as_it_was_written(offer: PaymentRequired) -> None:
    assert PaymentRequired.from_header(offer.to_header()) == offer


@few
@given(payments)
def test_a_payment_is_read_as_it_was_written(payment: Payment) -> None:
    assert Payment.from_header(payment.to_header()) == payment


@few
@given(amounts, st.none() | sights())
def test_a_client_reads_from_a_charge_what_it_cost(charged: int, channel: ChannelSight | None) -> None:
    charge = Charge(payer=EvmAddress(bytes(20)), chain_id=8453, charged=charged, channel=channel)
    read = Charged.from_header(charge.to_header())
    assert read == Charged(charged=charged, charged_total=None if channel is None else channel.charged)


@few
@given(offers)
def test_x402s_own_models_accept_our_offers(offer: PaymentRequired) -> None:
    http = pytest.importorskip("x402.http.utils")
    theirs = http.decode_payment_required_header(offer.to_header())
    assert [each.amount for each in theirs.accepts] == [str(each.amount) for each in offer.accepts]
    assert PaymentRequired.from_header(http.encode_payment_required_header(theirs)) == offer


@few
@given(payments)
def test_x402s_own_models_pass_our_payments_on_unchanged(payment: Payment) -> None:
    http = pytest.importorskip("x402.http.utils")
    assert Payment.from_header(http.encode_payment_signature_header(http.decode_payment_signature_header(payment.to_header()))) == payment


@few
@given(amounts, sights())
def test_x402s_own_models_read_our_charges(charged: int, channel: ChannelSight) -> None:
    http = pytest.importorskip("x402.http.utils")
    charge = Charge(payer=EvmAddress(bytes(20)), chain_id=8453, charged=charged, transaction=bytes(32), channel=channel)
    theirs = http.decode_payment_response_header(charge.to_header())
    assert (theirs.success, theirs.extra["chargedAmount"], theirs.network) == (True, str(charged), "eip155:8453")


# what x402's client writes


@pytest.fixture
def wallet() -> Any:
    return pytest.importorskip("x402.mechanisms.evm.signers").EthAccountSigner(pytest.importorskip("eth_account").Account.create())


def their_requirements(offer: Requirements) -> Any:
    return pytest.importorskip("x402.schemas").PaymentRequirements.model_validate(offer.to_json())


BATCH_OFFER = Requirements(
    scheme=Scheme.BATCH,
    chain_id=DEVCHAIN.chain_id,
    token=DEVCHAIN.token,
    token_name=DEVCHAIN.token_name,
    token_version=DEVCHAIN.token_version,
    amount=157,
    pay_to=EvmAddress(b"\x11" * 20),
    timeout_s=300,
    receiver_authorizer=EvmAddress(b"\x22" * 20),
    withdraw_delay_s=86_400,
    deposit_min=5_000,
)
EXACT_OFFER = Requirements(
    scheme=Scheme.EXACT,
    chain_id=DEVCHAIN.chain_id,
    token=DEVCHAIN.token,
    token_name=DEVCHAIN.token_name,
    token_version=DEVCHAIN.token_version,
    amount=10_000,
    pay_to=EvmAddress(b"\x11" * 20),
    timeout_s=300,
)


def test_a_deposit_and_voucher_of_x402s_client_verify(wallet: Any) -> None:
    client = pytest.importorskip("x402.mechanisms.evm.batch_settlement.client")
    payload = client.BatchSettlementEvmScheme(wallet).create_payment_payload(their_requirements(BATCH_OFFER))
    read = BatchPayment.read(Fields(payload, "payload"))
    assert read.config.payer == read.config.payer_authorizer == parse_address(wallet.address)
    assert (read.config.receiver, read.config.receiver_authorizer) == (BATCH_OFFER.pay_to, BATCH_OFFER.receiver_authorizer)
    channel = channel_id(read.config, DEVCHAIN.chain_id, DEVCHAIN.contract)
    assert (read.voucher.channel_id, read.voucher.amount) == (channel, 157)
    verify_voucher(read.voucher, read.config.payer_authorizer, settlement_domain(DEVCHAIN.chain_id, DEVCHAIN.contract))
    assert read.deposit is not None
    assert read.deposit.amount == 5_000
    verify_deposit(read.deposit, read.config, channel, collector=DEVCHAIN.collector, token_domain=DEVCHAIN.token_domain)


def test_a_transfer_of_x402s_client_verifies(wallet: Any) -> None:
    exact = pytest.importorskip("x402.mechanisms.evm.exact.client")
    payload = exact.ExactEvmScheme(wallet).create_payment_payload(their_requirements(EXACT_OFFER))
    read = ExactPayment.read(Fields(payload, "payload"))
    assert (read.payer, read.payee, read.amount) == (parse_address(wallet.address), EXACT_OFFER.pay_to, 10_000)
    verify_exact(read, EXACT_OFFER.pay_to, token_domain=DEVCHAIN.token_domain, now_s=read.valid_before - 100)


def test_the_words_that_x402_knows_are_its_own() -> None:
    errors = pytest.importorskip("x402.mechanisms.evm.batch_settlement.errors")
    constants = pytest.importorskip("x402.mechanisms.evm.constants")
    known = {value for module in (errors, constants) for name, value in vars(module).items() if name.startswith("ERR_")}
    assert errors.ERR_CUMULATIVE_AMOUNT_MISMATCH == RESYNC
    said = {reason_of(code, scheme) for code in ErrorCode for scheme in Scheme} - {code.label for code in ErrorCode}
    assert said - known == set()


# signatures


def test_our_own_deposit_verifies_for_its_channel_and_no_other() -> None:
    payer, receiver = EvmKey.generate(), EvmKey.generate()
    config = channel_config(payer, receiver)
    channel = channel_id(config, DEVCHAIN.chain_id, DEVCHAIN.contract)
    deposit = sign_deposit(
        payer, config, channel, 7, collector=DEVCHAIN.collector, token_domain=DEVCHAIN.token_domain, salt=bytes(32), valid_before=NOW
    )
    verify_deposit(deposit, config, channel, collector=DEVCHAIN.collector, token_domain=DEVCHAIN.token_domain)
    with pytest.raises(RemoteProtocolError) as refused:
        verify_deposit(deposit, config, ChannelId(bytes(32)), collector=DEVCHAIN.collector, token_domain=DEVCHAIN.token_domain)
    assert refused.value.code is ErrorCode.BAD_SIGNATURE


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"payee": EvmAddress(bytes(20))}, ErrorCode.PAYMENT_MISMATCH),
        ({"valid_after": NOW + 1}, ErrorCode.PAYMENT_MISMATCH),
        ({"valid_before": NOW + 5}, ErrorCode.PAYMENT_MISMATCH),
        ({"amount": 101}, ErrorCode.BAD_SIGNATURE),
        ({"nonce": b"\1" * 32}, ErrorCode.BAD_SIGNATURE),
        ({"payer": EvmAddress(b"\1" * 20)}, ErrorCode.BAD_SIGNATURE),
        ({"signature": bytes(65)}, ErrorCode.BAD_SIGNATURE),
    ],
)
def test_an_altered_transfer_is_refused(change: dict[str, Any], code: ErrorCode) -> None:
    payer, payee = EvmKey.generate(), EvmKey.generate().address
    payment = sign_exact(payer, payee, 100, token_domain=DEVCHAIN.token_domain, nonce=bytes(32), valid_before=NOW + 60)
    verify_exact(payment, payee, token_domain=DEVCHAIN.token_domain, now_s=NOW)
    fields = {name: getattr(payment, name) for name in ExactPayment.__slots__} | change
    with pytest.raises(RemoteProtocolError) as refused:
        verify_exact(ExactPayment(**fields), payee, token_domain=DEVCHAIN.token_domain, now_s=NOW)
    assert refused.value.code is code


# what a stranger writes


def refusal(header: str) -> RemoteProtocolError:
    with pytest.raises(RemoteProtocolError) as refused:
        Payment.from_header(header)
    assert refused.value.code is ErrorCode.MALFORMED_PAYMENT
    return refused.value


def payment() -> Payment:
    payer = EvmKey.from_secret(b"\1" * 32)
    config = channel_config(payer, EvmKey.from_secret(b"\2" * 32))
    channel = channel_id(config, DEVCHAIN.chain_id, DEVCHAIN.contract)
    voucher = VoucherSigner(payer, DEVCHAIN.chain_id, DEVCHAIN.contract).sign(channel, 157)
    deposit = sign_deposit(
        payer, config, channel, 900, collector=DEVCHAIN.collector, token_domain=DEVCHAIN.token_domain, salt=bytes(32), valid_before=NOW
    )
    return Payment(accepted=BATCH_OFFER, payload=BatchPayment(config=config, voucher=voucher, deposit=deposit))


@pytest.mark.parametrize(
    "header",
    [
        "",
        "====",
        "not base64!",
        base64.b64encode(b"\xff\xfe").decode(),
        base64.b64encode(b"null").decode(),
        base64.b64encode(b"[]").decode(),
        base64.b64encode(b"[" * 9_000).decode(),
        base64.b64encode(b'{"x402Version":' + b"9" * 5_000 + b"}").decode(),
        base64.b64encode(b'{"x402Version":NaN}').decode(),
        "A" * (HEADER_SIZE_MAX + 1),
        header_of({"x402Version": 2}),
        header_of({"x402Version": 1}),
        header_of({"x402Version": True}),
        header_of(dict.fromkeys(map(str, range(65)), 0)),
    ],
)
def test_what_is_no_payment_is_refused(header: str) -> None:
    refusal(header)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("accepted.scheme", "upto"),
        ("accepted.network", "solana:mainnet"),
        ("accepted.network", "eip155:0"),
        ("accepted.network", "eip155:99999999999999999999"),
        ("accepted.amount", "-1"),
        ("accepted.amount", "01"),
        ("accepted.amount", "1e3"),
        ("accepted.amount", "\u0661"),
        ("accepted.amount", 157),
        ("accepted.amount", str(AMOUNT_MAX + 1)),
        ("accepted.maxTimeoutSeconds", 0),
        ("accepted.maxTimeoutSeconds", 1.5),
        ("accepted.extra", None),
        ("accepted.extra.assetTransferMethod", "permit2"),
        ("payload.type", "refund"),
        ("payload.type", "claim"),
        ("payload.voucher.channelId", "0x00"),
        ("payload.voucher.channelId", "0x" + "g" * 64),
        ("payload.voucher.signature", "0x" + "00" * 64),
        ("payload.voucher.signature", "0x" + "00" * 4_000),
        ("payload.voucher.maxClaimableAmount", str(2**128)),
        ("payload.channelConfig.payer", "0x1"),
        ("payload.channelConfig.withdrawDelay", 899),
        ("payload.channelConfig.withdrawDelay", "86400"),
        ("payload.channelConfig.withdrawDelay", True),
        ("payload.deposit.amount", "0"),
        ("payload.deposit.authorization", {"permit2Authorization": {}}),
        ("payload.deposit.authorization.erc3009Authorization.validBefore", "0"),
        ("payload.deposit.authorization.erc3009Authorization.validBefore", str(2**256)),
    ],
)
def test_a_field_that_is_not_what_it_must_be_is_refused_by_its_name(path: str, value: Any) -> None:
    members = payment().to_json()
    place = members
    *above, name = path.split(".")
    for each in above:
        place = place[each]
    place[name] = value
    refusal(header_of(members))


@settings(max_examples=200)
@given(st.data())
def test_no_mutation_of_a_payment_raises_anything_else(data: st.DataObject) -> None:
    members = copy.deepcopy(payment().to_json())
    place: Any = members
    while isinstance(place, dict):
        name = data.draw(st.sampled_from(sorted(place)))
        if not isinstance(place[name], dict) or data.draw(st.booleans()):
            break
        place = place[name]
    leaves = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=80)
    place[name] = data.draw(leaves | st.lists(leaves, max_size=3) | st.dictionaries(st.text(max_size=8), leaves, max_size=3))
    with suppress(RemoteProtocolError):
        Payment.from_header(header_of(members))


@settings(max_examples=200)
@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_no_bytes_raise_anything_else(noise: bytes) -> None:
    for header in (noise.decode("latin-1"), base64.b64encode(noise).decode()):
        for read in (Payment.from_header, PaymentRequired.from_header, Charged.from_header):
            with pytest.raises(RemoteProtocolError) as refused:
                read(header)
            assert refused.value.code is ErrorCode.MALFORMED_PAYMENT


def test_a_header_without_its_padding_is_read() -> None:
    value = write_header({"a": "bc"})
    assert value.endswith("=")
    assert read_header(value.rstrip("="), "a header").text("a") == "bc"


def test_ways_to_pay_that_are_not_spoken_here_are_left_out_of_an_offer() -> None:
    members = PaymentRequired(url="/", description="", accepts=(BATCH_OFFER, EXACT_OFFER), error="").to_json()
    members["accepts"].insert(0, {"scheme": "upto", "network": "eip155:1", "extra": {}})
    members["accepts"].insert(0, {"scheme": "exact", "network": "solana:mainnet", "extra": {}})
    assert PaymentRequired.from_header(header_of(members)).accepts == (BATCH_OFFER, EXACT_OFFER)


def test_a_server_that_charged_more_than_was_signed_is_not_believed() -> None:
    sight = ChannelSight(
        channel_id=ChannelId(bytes(32)),
        balance=9,
        total_claimed=0,
        withdraw_requested_at=0,
        refund_nonce=0,
        charged=5,
        signed=5,
        signature=bytes(65),
    )
    extra = {"channelState": sight.channel_state() | {"chargedCumulativeAmount": "6"}, "voucherState": sight.voucher_state()}
    with pytest.raises(RemoteProtocolError):
        ChannelSight.read(Fields(extra, "extra"))
