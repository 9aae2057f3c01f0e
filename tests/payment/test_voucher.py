"""Vouchers and settlement digests against golden vectors, and every way a voucher can be wrong."""

from __future__ import annotations

from dataclasses import replace

import golden
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval.errors import ErrorCode, RemoteProtocolError
from retrieval.identity import EvmAddress, EvmKey, parse_address
from retrieval.payment.channel import ChannelConfig, ChannelId, session_domain, settlement_domain
from retrieval.payment.typed_data import Domain
from retrieval.payment.voucher import (
    ClaimEntry,
    ReceiveAuthorization,
    Voucher,
    VoucherSigner,
    claim_batch_digest,
    receive_with_authorization_digest,
    refund_digest,
    verify_voucher,
)

VECTORS = golden.load("voucher")
KEYS = {name: EvmKey.from_secret(bytes.fromhex(secret)) for name, secret in VECTORS["secrets"].items()}
CHAIN_ID = 31337
CONTRACT = EvmAddress(b"\x40" * 20)
DOMAIN = settlement_domain(CHAIN_ID, CONTRACT)
AUTHORIZER = EvmKey.from_secret(b"\x01" * 32)
CHANNEL = ChannelId(b"\x07" * 32)
SIGNER = VoucherSigner(AUTHORIZER, CHAIN_ID, CONTRACT)
VOUCHER = SIGNER.sign(CHANNEL, 10_500)
SIGNATURE = VOUCHER.signature
AMOUNT_MAX = 2**128 - 1


def refusal(voucher: Voucher, authorizer: EvmAddress = AUTHORIZER.address, domain: Domain = DOMAIN) -> str:
    with pytest.raises(RemoteProtocolError) as refused:
        verify_voucher(voucher, authorizer, domain)
    assert refused.value.code is ErrorCode.BAD_VOUCHER
    return refused.value.detail


@pytest.fixture(params=VECTORS["channels"], ids=lambda vector: f"chain {vector['chain_id']}")
def vector(request):
    return request.param


@pytest.fixture
def domain(vector):
    return settlement_domain(vector["chain_id"], parse_address(vector["contract"]))


def test_vouchers_have_the_signatures_of_the_vectors(vector, domain):
    signer = VoucherSigner(KEYS["payer_authorizer"], vector["chain_id"], parse_address(vector["contract"]))
    channel = ChannelId(bytes.fromhex(vector["channel_id"]))
    for expected in vector["vouchers"]:
        voucher = signer.sign(channel, int(expected["amount"]))
        assert voucher.signature.hex() == expected["signature"]
        verify_voucher(voucher, signer.address, domain)


def test_a_claim_batch_has_the_digest_of_the_vector(vector, domain):
    batch = vector["claim_batch"]
    claims = [
        ClaimEntry(
            channel_id=ChannelId(bytes.fromhex(claim["channel_id"])),
            max_claimable=int(claim["max_claimable"]),
            total_claimed=int(claim["total_claimed"]),
        )
        for claim in batch["claims"]
    ]
    digest = claim_batch_digest(claims, domain)
    assert digest.hex() == batch["digest"]
    assert KEYS["receiver_authorizer"].sign_digest(digest).hex() == batch["signature"]


def test_a_refund_has_the_digest_of_the_vector(vector, domain):
    refund = vector["refund"]
    digest = refund_digest(ChannelId(bytes.fromhex(vector["channel_id"])), refund["nonce"], int(refund["amount"]), domain)
    assert digest.hex() == refund["digest"]
    assert KEYS["receiver_authorizer"].sign_digest(digest).hex() == refund["signature"]


def test_a_deposit_authorization_has_the_digest_of_the_vector(vector):
    config, deposit = ChannelConfig.from_bytes(bytes.fromhex(vector["config"])), vector["deposit"]
    token = Domain(name=deposit["token_name"], version=deposit["token_version"], chain_id=vector["chain_id"], contract=config.token)
    authorization = ReceiveAuthorization(
        payer=config.payer,
        payee=parse_address(deposit["payee"]),
        amount=int(deposit["amount"]),
        valid_after=deposit["valid_after"],
        valid_before=deposit["valid_before"],
        nonce=bytes.fromhex(deposit["nonce"]),
    )
    digest = receive_with_authorization_digest(authorization, token)
    assert digest.hex() == deposit["digest"]
    assert KEYS["payer"].sign_digest(digest).hex() == deposit["signature"]


@given(st.binary(min_size=32, max_size=32), st.integers(0, AMOUNT_MAX))
def test_what_the_authorizer_signs_verifies(channel, amount):
    verify_voucher(SIGNER.sign(ChannelId(channel), amount), SIGNER.address, DOMAIN)


@given(st.integers(0, AMOUNT_MAX).filter(lambda amount: amount != VOUCHER.amount))
def test_a_voucher_with_another_amount_is_refused(amount):
    refusal(replace(VOUCHER, amount=amount))


@given(st.integers(0, 519))
def test_a_voucher_with_any_bit_of_its_signature_flipped_is_refused(bit):
    refusal(replace(VOUCHER, signature=(int.from_bytes(SIGNATURE, "big") ^ 1 << bit).to_bytes(65, "big")))


@pytest.mark.parametrize(
    ("voucher", "authorizer", "domain"),
    [
        (replace(VOUCHER, channel_id=ChannelId(bytes(32))), AUTHORIZER.address, DOMAIN),
        (VOUCHER, EvmAddress(b"\xee" * 20), DOMAIN),
        (VOUCHER, AUTHORIZER.address, settlement_domain(1, CONTRACT)),
        (VOUCHER, AUTHORIZER.address, settlement_domain(CHAIN_ID, EvmAddress(b"\x41" * 20))),
        (VOUCHER, AUTHORIZER.address, session_domain(CHAIN_ID, CONTRACT)),
    ],
    ids=["channel", "authorizer", "chain", "contract", "domain"],
)
def test_a_voucher_counts_for_its_channel_authorizer_chain_and_contract_only(voucher, authorizer, domain):
    assert refusal(voucher, authorizer, domain) == "another key, channel or amount was signed"


@pytest.mark.parametrize("amount", [-1, AMOUNT_MAX + 1])
def test_an_amount_the_contract_cannot_hold_is_never_signed(amount):
    with pytest.raises(AssertionError):
        SIGNER.sign(CHANNEL, amount)


def test_the_order_of_claims_is_part_of_what_is_signed():
    first, second = (ClaimEntry(channel_id=ChannelId(bytes((n,)) * 32), max_claimable=9, total_claimed=n) for n in (1, 2))
    digests = {claim_batch_digest(claims, DOMAIN) for claims in ([first], [first, second], [second, first], [first, first])}
    assert len(digests) == 4
