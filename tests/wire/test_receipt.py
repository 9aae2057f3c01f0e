"""The receipt's bytes: one encoding for each receipt, 180 bytes with its signature, and nothing else accepted.

``tests/vectors/receipt.json`` is written by hand but for the signatures; each entry stands for a rule.
"""

from __future__ import annotations

from dataclasses import replace

import golden
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval.errors import ErrorCode, RemoteProtocolError
from retrieval.identity import PEER_SIGNATURE_SIZE, PeerKey
from retrieval.units import AMOUNT_MAX, GIB, SIZE_BYTES_MAX
from retrieval.wire.receipt import BODY_SIZE_MAX, BODY_SIZE_MIN, NO_RECEIPT, SEQUENCE_MAX, TIME_MAX_S, Receipt, receipt_digest

VECTORS = golden.load("receipt")
SIGNED_SIZE_MAX = 180
"""What a radio frame has room for, body and signature."""

sizes = st.integers(0, SIZE_BYTES_MAX)
amounts = st.integers(0, AMOUNT_MAX)
digests = st.binary(min_size=32, max_size=32)
receipts = st.builds(
    Receipt, deal_id=st.binary(min_size=16, max_size=16), root=digests, prev=digests, n_bytes=sizes, n_blocks=sizes, deal_amount=amounts,
    channel_amount=amounts, sequence=st.integers(0, SEQUENCE_MAX), time=st.integers(0, TIME_MAX_S),
)  # fmt: skip
RECEIPT = Receipt(
    deal_id=bytes(16), root=bytes(32), prev=NO_RECEIPT, n_bytes=GIB, n_blocks=1025, deal_amount=10_000, channel_amount=10_000, sequence=64,
    time=1_800_000_000,
)  # fmt: skip


def refusal(body: bytes) -> str:
    with pytest.raises(RemoteProtocolError) as refused:
        Receipt.decode(body)
    assert refused.value.code is ErrorCode.BAD_RECEIPT
    return refused.value.detail


@pytest.mark.parametrize("vector", VECTORS["receipts"], ids=lambda vector: vector["why"])
def test_a_receipt_has_the_bytes_of_its_vector(vector):
    fields, body = vector["fields"], bytes.fromhex(vector["body"])
    receipt = Receipt(
        **{name: bytes.fromhex(fields[name]) for name in ("deal_id", "root", "prev")},
        **{name: int(fields[name]) for name in ("n_bytes", "n_blocks", "deal_amount", "channel_amount", "sequence", "time")},
    )
    assert receipt.encode() == body
    assert Receipt.decode(body) == receipt
    assert receipt_digest(body).hex() == vector["digest"]
    assert PeerKey.from_seed(bytes.fromhex(VECTORS["seed"])).sign("receipt", body).hex() == vector["signature"]


@pytest.mark.parametrize("vector", VECTORS["refused"], ids=lambda vector: vector["why"])
def test_what_is_no_receipt_is_refused(vector):
    refusal(bytes.fromhex(vector["body"]))


@given(receipts)
def test_receipts_read_back_as_they_were_written(receipt):
    body = receipt.encode()
    assert BODY_SIZE_MIN <= len(body) <= BODY_SIZE_MAX
    assert Receipt.decode(body) == receipt


small_amounts = st.integers(0, 2**49 - 1)


@given(
    st.builds(
        replace, st.just(RECEIPT), n_bytes=st.integers(0, 2**49 - 1), n_blocks=st.integers(0, 2**28 - 1), deal_amount=small_amounts,
        channel_amount=small_amounts, sequence=st.integers(0, SEQUENCE_MAX), time=st.integers(0, 2**35 - 1),
    )
)  # fmt: skip
def test_a_signed_receipt_of_512_tib_and_562_million_dollars_fits_a_radio_frame(receipt):
    assert len(receipt.encode()) + PEER_SIGNATURE_SIZE <= SIGNED_SIZE_MAX


def test_the_signed_receipt_of_one_gib_for_a_cent_takes_162_bytes():
    assert len(RECEIPT.encode()) + PEER_SIGNATURE_SIZE == 162


@given(receipts, st.data())
def test_altered_bytes_are_refused_or_another_receipt(receipt, data):
    body = bytearray(receipt.encode())
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(body)))
        body[at : at + data.draw(st.integers(0, 2))] = data.draw(st.binary(max_size=2))
    try:
        other = Receipt.decode(bytes(body))
    except RemoteProtocolError as error:
        if error.code is not ErrorCode.BAD_RECEIPT:
            raise
        return
    assert other.encode() == body


@pytest.mark.parametrize(
    ("name", "value"),
    [("deal_id", bytes(15)), ("root", bytes(31)), ("prev", b""), ("n_bytes", -1), ("deal_amount", AMOUNT_MAX + 1), ("sequence", 2**32)],
)
def test_a_receipt_that_cannot_be_written_is_never_made(name, value):
    with pytest.raises(AssertionError):
        replace(RECEIPT, **{name: value})
