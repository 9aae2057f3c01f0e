"""Receipts about carrying: fixed bytes, one signer each, and nothing else accepted."""

from __future__ import annotations

from dataclasses import replace

import golden
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval.errors import ErrorCode, RemoteProtocolError
from retrieval.identity import PeerKey
from retrieval.radio.packet import Entry, PacketHash, RadioId
from retrieval.radio.proof import Carried, Delivered, DeliveryReceipt, RelayReceipt, verify_delivery

VECTORS = golden.load("radio_packet")


def key_of(vector: dict) -> PeerKey:
    return PeerKey.from_seed(bytes([vector["signer"]]) * 32)


def relay_receipt_of(fields: dict) -> RelayReceipt:
    return RelayReceipt(
        relay=RadioId(bytes.fromhex(fields["relay"])), origin=RadioId(bytes.fromhex(fields["origin"])), sequence=fields["sequence"],
        time_s=fields["time_s"],
        carried=tuple(
            Carried(packet=PacketHash(bytes.fromhex(one["packet"])), fee_code=one["fee_code"], hop=one["hop"]) for one in fields["carried"]
        ),
    )  # fmt: skip


def delivery_receipt_of(fields: dict) -> DeliveryReceipt:
    return DeliveryReceipt(
        origin=RadioId(bytes.fromhex(fields["origin"])), destination=RadioId(bytes.fromhex(fields["destination"])), time_s=fields["time_s"],
        trail=tuple(Entry(tag=bytes.fromhex(entry["tag"]), fee_code=entry["fee_code"]) for entry in fields["trail"]),
        delivered=tuple(Delivered(packet_id=one["packet_id"], token=bytes.fromhex(one["token"])) for one in fields["delivered"]),
    )  # fmt: skip


@pytest.mark.parametrize("vector", VECTORS["relay_receipts"], ids=lambda vector: vector["why"])
def test_a_relays_receipt_has_the_bytes_of_its_vector(vector):
    receipt, signed = relay_receipt_of(vector["fields"]), bytes.fromhex(vector["signed"])
    assert receipt.sign(key_of(vector)) == signed
    assert RelayReceipt.read(signed, key_of(vector).peer_id) == receipt


@pytest.mark.parametrize("vector", VECTORS["delivery_receipts"], ids=lambda vector: vector["why"])
def test_a_delivery_receipt_has_the_bytes_of_its_vector(vector):
    receipt, signed = delivery_receipt_of(vector["fields"]), bytes.fromhex(vector["signed"])
    hashes = [PacketHash(bytes.fromhex(hash_)) for hash_ in vector["hashes"]]
    assert receipt.sign(key_of(vector), hashes) == signed
    assert DeliveryReceipt.decode(signed) == receipt
    verify_delivery(signed, key_of(vector).peer_id, hashes)


def test_a_delivery_receipt_is_not_good_for_other_packets():
    vector = VECTORS["delivery_receipts"][1]
    hashes = [PacketHash(bytes.fromhex(hash_)) for hash_ in vector["hashes"]]
    for others in (hashes[:-1], hashes[::-1], [*hashes[:-1], PacketHash(bytes(16))]):
        with pytest.raises(RemoteProtocolError):
            verify_delivery(bytes.fromhex(vector["signed"]), key_of(vector).peer_id, others)


def test_another_key_makes_no_receipt():
    other = PeerKey.from_seed(bytes(32))
    with pytest.raises(RemoteProtocolError) as refused:
        RelayReceipt.read(bytes.fromhex(VECTORS["relay_receipts"][0]["signed"]), other.peer_id)
    assert refused.value.code is ErrorCode.BAD_RECEIPT
    receipt = replace(relay_receipt_of(VECTORS["relay_receipts"][0]["fields"]))
    with pytest.raises(RemoteProtocolError) as refused:
        RelayReceipt.read(receipt.sign(other), key_of(VECTORS["relay_receipts"][0]).peer_id)
    assert refused.value.code is ErrorCode.BAD_SIGNATURE


@given(st.binary(max_size=260) | st.binary(max_size=200).map(b"\x11".__add__) | st.binary(max_size=200).map(b"\x12".__add__))
def test_noise_is_no_receipt(noise):
    with pytest.raises(RemoteProtocolError):
        RelayReceipt.read(noise, key_of(VECTORS["relay_receipts"][0]).peer_id)
    try:
        receipt = DeliveryReceipt.decode(noise)
    except RemoteProtocolError:
        return
    assert receipt.encode() == noise[:-64]


@given(st.integers(0, 8 * 109 - 1))
def test_a_flipped_bit_is_no_relays_receipt(bit):
    signed = bytearray.fromhex(VECTORS["relay_receipts"][0]["signed"])
    signed[bit // 8] ^= 1 << bit % 8
    with pytest.raises(RemoteProtocolError):
        RelayReceipt.read(bytes(signed), key_of(VECTORS["relay_receipts"][0]).peer_id)
