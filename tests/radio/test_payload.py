"""What the two ends say to each other: fixed bytes, sealed, and noise refused in one way."""

from __future__ import annotations

from dataclasses import replace

import golden
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval.cid import Cid
from retrieval.errors import ErrorCode, RemoteProtocolError
from retrieval.identity import PeerKey
from retrieval.radio.packet import Cost, Packet, PacketType, payload_size_max
from retrieval.radio.payload import Ack, Quote, Segment, Want, check_seal, sealed

VECTORS = golden.load("radio_packet")["payloads"]
SEAL_KEY = b"\xbb" * 32
noises = st.binary(max_size=payload_size_max(8))


def packet_named(name: str) -> Packet:
    return Packet.decode(bytes.fromhex(VECTORS[name]["frame"]))


def peer(number: int):
    return PeerKey.from_seed(bytes([number]) * 32).peer_id


def test_payloads_have_the_bytes_of_their_vectors():
    want, quote, segment, ack = (VECTORS[name] for name in ("want", "quote", "segment", "ack"))
    asked = Want(asker=peer(1), price_max_code=want["price_max_code"], cid=Cid(bytes.fromhex(want["cid"])))
    assert asked.encode().hex() == want["payload"]
    offered = Quote(
        provider=peer(5), wanted=bytes.fromhex(quote["wanted"]), way=Cost.decode(bytes.fromhex(quote["way"])),
        **{name: quote[name] for name in ("n_bytes", "n_blocks", "price_code")},
    )  # fmt: skip
    assert Quote.read(packet_named("quote")) == offered
    assert offered.encode() == packet_named("quote").payload[:-4]
    piece = Segment(
        **{name: segment[name] for name in ("session", "record", "index", "n_segments", "awaited")}, piece=bytes.fromhex(segment["piece"])
    )
    assert Segment.decode(packet_named("segment").payload) == piece
    assert piece.encode() == packet_named("segment").payload[:-4]
    came = Ack(session=ack["session"], next_record=ack["next_record"], maps=tuple(map(int, ack["maps"])))
    assert Ack.decode(packet_named("ack").payload) == came
    assert came.encode() == packet_named("ack").payload[:-4]


@pytest.mark.parametrize("name", ["quote", "segment", "ack"])
def test_a_seal_holds_for_its_packet_and_key_alone(name):
    packet = packet_named(name)
    check_seal(packet, SEAL_KEY)
    assert sealed(replace(packet, payload=b""), packet.payload[:-4], SEAL_KEY) == packet
    for forged in (replace(packet, packet_id=5), replace(packet, payload=b"\x01" + packet.payload[1:]), replace(packet, payload=b"")):
        with pytest.raises(RemoteProtocolError) as refused:
            check_seal(forged, SEAL_KEY)
        assert refused.value.code is ErrorCode.BAD_SIGNATURE
    with pytest.raises(RemoteProtocolError):
        check_seal(packet, bytes(32))


@given(noises)
def test_noise_is_refused_or_is_one_payload(noise):
    base = replace(packet_named("segment"), payload=noise, hop_limit=0)
    readers = (lambda: Segment.decode(noise).encode(), lambda: Ack.decode(noise).encode(), lambda: Quote.read(base).encode())
    for read in readers:
        try:
            assert read() == noise[:-4]
        except RemoteProtocolError:
            continue
    with pytest.raises(RemoteProtocolError):
        Want.read(replace(base, type=PacketType.WANT))
