"""The receipt of an answer over HTTP: what it proves, and that no part of it can be altered or exchanged."""

from __future__ import annotations

import base64
from dataclasses import replace
from typing import Any

import golden
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval.cid import RAW, cid_of
from retrieval.errors import ErrorCode, RemoteProtocolError
from retrieval.identity import EvmAddress, EvmKey, PeerKey
from retrieval.payment.channel import ChannelConfig, channel_id
from retrieval.payment.http_receipt import (
    HEADER_MAX,
    SALE_RECEIPT_SIZE_MAX,
    SaleReceipt,
    SaleStatement,
    VoucherProof,
    is_sale_receipt,
    sign_sale,
    verify_sale,
)
from retrieval.payment.voucher import VoucherSigner
from retrieval.units import MIB
from retrieval.wire import shape
from retrieval.wire.messages import PATH_SEGMENT_MAX, Scope, Selection, VoucherFields

CHAIN_ID = 31337
CONTRACT = EvmAddress(b"\x40" * 20)
PROVIDER, STRANGER = (PeerKey.from_seed(bytes((n,)) * 32) for n in (1, 3))
PAYER, RECEIVER, THIEF = (EvmKey.from_secret(bytes((n,)) * 32) for n in (4, 5, 6))
SELECTION = Selection(root=cid_of(RAW, b"content"), path=("docs", "letter.txt"), scope=Scope.ENTITY)
CONFIG = ChannelConfig(
    payer=PAYER.address,
    payer_authorizer=PAYER.address,
    receiver=RECEIVER.address,
    receiver_authorizer=RECEIVER.address,
    token=EvmAddress(b"\x70" * 20),
    withdraw_delay_s=86_400,
    salt=bytes(32),
)
CHANNEL = channel_id(CONFIG, CHAIN_ID, CONTRACT)
STATEMENT = SaleStatement(
    order_id=bytes(range(16)),
    selection=SELECTION,
    n_bytes=16 * MIB,
    price_per_gib=10_000,
    flat_fee=0,
    amount=157,
    payer=PAYER.address,
    receiver=RECEIVER.address,
    chain_id=CHAIN_ID,
    token=EvmAddress(b"\x70" * 20),
    channel_id=CHANNEL,
    channel_amount=1_000,
    transaction=b"",
    time=1_800_000_000,
)


def voucher(amount: int, key: EvmKey = PAYER) -> VoucherFields:
    signed = VoucherSigner(key, CHAIN_ID, CONTRACT).sign(CHANNEL, amount)
    return VoucherFields(channel_id=signed.channel_id, amount=signed.amount, signature=signed.signature)


PROOF = VoucherProof(config=CONFIG.to_bytes(), contract=CONTRACT, voucher=voucher(1_200))


def refusal(receipt: SaleReceipt) -> ErrorCode:
    with pytest.raises(RemoteProtocolError) as refused:
        verify_sale(receipt)
    return refused.value.code


def test_a_receipt_proves_what_was_sold() -> None:
    proven = verify_sale(sign_sale(PROVIDER, STATEMENT, PROOF))
    assert (proven.provider, proven.root, proven.scope) == (PROVIDER.peer_id, SELECTION.root, Scope.ENTITY)
    assert proven.statement == STATEMENT


def test_a_transfer_is_receipted_without_a_channel() -> None:
    statement = replace(STATEMENT, channel_id=None, channel_amount=None, transaction=b"\1" * 32)
    assert verify_sale(sign_sale(PROVIDER, statement, None)).statement == statement


def test_its_bytes_are_those_of_the_golden_vector() -> None:
    vector = golden.load("http_receipt")
    receipt = sign_sale(PROVIDER, STATEMENT, PROOF)
    assert receipt.encode().hex() == vector["receipt"]
    assert receipt.statement.body.hex() == vector["statement"]
    assert SaleReceipt.decode(bytes.fromhex(vector["receipt"])) == receipt
    assert base64.b64decode(receipt.to_header() or "") == receipt.encode()


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"amount": 158}, ErrorCode.BAD_RECEIPT),
        ({"channel_id": bytes(32)}, ErrorCode.BAD_RECEIPT),
        ({"payer": THIEF.address}, ErrorCode.BAD_RECEIPT),
        ({"receiver": THIEF.address}, ErrorCode.BAD_RECEIPT),
        ({"token": THIEF.address}, ErrorCode.BAD_RECEIPT),
        ({"chain_id": 1}, ErrorCode.BAD_RECEIPT),
        ({"channel_amount": 156}, ErrorCode.BAD_RECEIPT),
        ({"channel_amount": 1_201}, ErrorCode.BAD_RECEIPT),
    ],
)
def test_a_provider_cannot_sign_what_does_not_fit(change: dict[str, Any], code: ErrorCode) -> None:
    assert refusal(sign_sale(PROVIDER, replace(STATEMENT, **change), PROOF)) is code


@pytest.mark.parametrize(
    ("proof", "code"),
    [
        (replace(PROOF, voucher=voucher(1_200, THIEF)), ErrorCode.BAD_VOUCHER),
        (replace(PROOF, voucher=replace(voucher(1_200), amount=1_300)), ErrorCode.BAD_VOUCHER),
        (replace(PROOF, voucher=replace(voucher(1_200), channel_id=bytes(32))), ErrorCode.BAD_RECEIPT),
        (replace(PROOF, voucher=voucher(999)), ErrorCode.BAD_RECEIPT),
        (replace(PROOF, contract=THIEF.address), ErrorCode.BAD_RECEIPT),
        (replace(PROOF, config=bytes(137)), ErrorCode.MALFORMED_RECEIPT),
        (None, ErrorCode.BAD_RECEIPT),
    ],
)
def test_another_channel_or_voucher_does_not_fit(proof: VoucherProof | None, code: ErrorCode) -> None:
    assert refusal(replace(sign_sale(PROVIDER, STATEMENT, PROOF), channel=proof)) is code


def test_only_the_provider_itself_can_sign_for_it() -> None:
    assert refusal(replace(sign_sale(STRANGER, STATEMENT, PROOF), provider=PROVIDER.peer_id)) is ErrorCode.BAD_SIGNATURE


@given(st.data())
def test_no_bit_can_be_flipped(data: st.DataObject) -> None:
    encoded = bytearray(sign_sale(PROVIDER, STATEMENT, PROOF).encode())
    at = data.draw(st.integers(0, 8 * len(encoded) - 1))
    encoded[at // 8] ^= 1 << at % 8
    with pytest.raises(RemoteProtocolError):
        verify_sale(SaleReceipt.decode(bytes(encoded)))


@given(st.binary(max_size=400))
def test_what_is_no_receipt_raises_one_kind_of_error(noise: bytes) -> None:
    assert not is_sale_receipt(noise)
    with pytest.raises(RemoteProtocolError) as refused:
        SaleReceipt.decode(noise)
    assert refused.value.code is ErrorCode.MALFORMED_RECEIPT


def test_a_file_tells_which_kind_of_receipt_it_holds() -> None:
    assert is_sale_receipt(sign_sale(PROVIDER, STATEMENT, PROOF).encode())
    assert not is_sale_receipt(bytes(SALE_RECEIPT_SIZE_MAX + 1))


def test_a_receipt_that_is_too_long_for_a_header_is_left_out() -> None:
    assert len(sign_sale(PROVIDER, STATEMENT, PROOF).to_header() or "") < 1_200
    long = replace(STATEMENT, selection=replace(SELECTION, path=("x" * PATH_SEGMENT_MAX,) * 20))
    receipt = sign_sale(PROVIDER, long, PROOF)
    assert len(shape.encode(receipt)) > HEADER_MAX * 3 // 4
    assert receipt.to_header() is None
