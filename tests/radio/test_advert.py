"""An advertisement is its node's own word about itself, in the packet it was signed for and no other."""

from __future__ import annotations

from dataclasses import replace

import golden
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval.errors import ErrorCode, RemoteProtocolError
from retrieval.identity import EvmAddress, PeerKey, peer_id_of
from retrieval.radio.advert import Advert, Role, read_advert, signed_advert
from retrieval.radio.packet import HOPS_MAX, Packet, PacketType, payload_size_max

VECTORS = golden.load("radio_packet")["adverts"]


def advert_of(fields: dict) -> Advert:
    return Advert(
        peer_id=peer_id_of(bytes.fromhex(fields["public_key"])), roles=Role(fields["roles"]),
        operator=EvmAddress(bytes.fromhex(fields["operator"])), vrf_key=bytes.fromhex(fields["vrf_key"]),
        **{name: fields[name] for name in ("sequence", "lifetime_min", "fee_code", "endpoint")},
    )  # fmt: skip


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["why"])
def test_an_advertisement_has_the_bytes_of_its_vector(vector):
    advert, packet = advert_of(vector["fields"]), Packet.decode(bytes.fromhex(vector["frame"]))
    assert advert.encode().hex() == vector["body"]
    assert read_advert(packet) == advert
    assert signed_advert(replace(packet, payload=b""), advert, PeerKey.from_seed(bytes([vector["signer"]]) * 32)) == packet


def test_the_longest_advertisement_crosses_eight_relays():
    longest = replace(advert_of(VECTORS[0]["fields"]), endpoint="x" * 41)
    assert len(longest.encode()) + 64 <= payload_size_max(HOPS_MAX)


@pytest.mark.parametrize("change", [{"packet_id": 99}, {"hop_limit": 7}, {"origin": b"\x01" * 8}, {"type": PacketType.RECEIPT}])
def test_an_old_advertisement_is_not_good_in_another_packet(change):
    packet = Packet.decode(bytes.fromhex(VECTORS[0]["frame"]))
    with pytest.raises(RemoteProtocolError) as refused:
        read_advert(replace(packet, **change))
    assert refused.value.code in (ErrorCode.BAD_SIGNATURE, ErrorCode.MALFORMED_MESSAGE)


@given(st.binary(max_size=payload_size_max(HOPS_MAX)))
def test_noise_is_no_advertisement(noise):
    packet = Packet.decode(bytes.fromhex(VECTORS[0]["frame"]))
    with pytest.raises(RemoteProtocolError):
        read_advert(replace(packet, payload=noise))


@given(st.integers(0, 8 * 126 - 1))
def test_a_flipped_bit_is_no_advertisement(bit):
    packet = Packet.decode(bytes.fromhex(VECTORS[0]["frame"]))
    payload = bytearray(packet.payload)
    payload[bit // 8] ^= 1 << bit % 8
    with pytest.raises(RemoteProtocolError):
        read_advert(replace(packet, payload=bytes(payload)))
