"""The frame: one encoding for each packet, each other bytes refused for the first reason, and what a relay may do to it.

The frames of ``tests/vectors/radio_packet.json`` are replayed by Python, C and the firmware.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace

import golden
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from retrieval.errors import ErrorCode, RemoteProtocolError
from retrieval.identity import PeerKey, public_key_of
from retrieval.radio.codes import CODE16_MAX, code16_up
from retrieval.radio.packet import (
    CRC_SIZE,
    ENTRY_SIZE,
    EVERYONE,
    FRAME_SIZE_MAX,
    FREE_TYPES,
    HOPS_MAX,
    OVERHEAD,
    Carriage,
    Cost,
    Entry,
    Hop,
    Packet,
    PacketType,
    RadioId,
    Verdict,
    carriage,
    carry,
    check,
    cost_of,
    crc16,
    first_token,
    next_token,
    payload_size_max,
    radio_id,
)  # fmt: skip

VECTORS = golden.load("radio_packet")
TRAIL_KEY = bytes.fromhex(VECTORS["tokens"]["trail_key"])

ids = st.binary(min_size=8, max_size=8).map(RadioId)
codes = st.integers(0, CODE16_MAX)
entries = st.builds(Entry, tag=st.binary(min_size=4, max_size=4), fee_code=codes)


@st.composite
def packets(draw: st.DrawFn) -> Packet:
    kind, direct, hop_limit = draw(st.sampled_from(PacketType)), draw(st.booleans()), draw(st.integers(0, HOPS_MAX))
    hops = draw(st.integers(0, hop_limit))
    n_entries = hop_limit if direct else hops
    return Packet(
        type=kind, direct=direct, hop_limit=hop_limit, packet_id=draw(st.integers(0, (1 << 32) - 1)), origin=draw(ids),
        destination=draw(ids.filter(lambda id_: id_ != EVERYONE)) if direct else draw(ids | st.just(EVERYONE)),
        fee_cap_code=0 if kind in FREE_TYPES else draw(codes), payload=draw(st.binary(max_size=payload_size_max(hop_limit))), hops=hops,
        latency_code=draw(codes), bandwidth_code=draw(st.integers(0, 255)), mtu=draw(st.integers(0, 255)),
        token=draw(st.binary(min_size=8, max_size=8)), trail=tuple(draw(st.lists(entries, min_size=n_entries, max_size=n_entries))),
    )  # fmt: skip


def packet_of(fields: dict) -> Packet:
    return Packet(
        **{
            name: fields[name]
            for name in ("direct", "hop_limit", "packet_id", "fee_cap_code", "hops", "latency_code", "bandwidth_code", "mtu")
        },
        **{name: bytes.fromhex(fields[name]) for name in ("origin", "destination", "payload", "token")},
        type=PacketType(fields["type"]),
        trail=tuple(Entry(tag=bytes.fromhex(entry["tag"]), fee_code=entry["fee_code"]) for entry in fields["trail"]),
    )


def flood(*, hop_limit: int, cap: int) -> Packet:
    bare = packet_of(VECTORS["packets"][1]["fields"])
    packet = replace(bare, hop_limit=hop_limit, fee_cap_code=code16_up(cap))
    return replace(packet, token=first_token(TRAIL_KEY, packet.hash))


def hop(number: int, fee: int, *, mtu: int = FRAME_SIZE_MAX) -> Hop:
    return Hop(relay=RadioId(bytes([number]) * 8), fee_code=code16_up(fee), latency_ms=400, bandwidth_bps=500, mtu=mtu)


@pytest.mark.parametrize("vector", VECTORS["packets"], ids=lambda vector: vector["why"])
def test_a_packet_has_the_bytes_of_its_vector(vector):
    packet, frame = packet_of(vector["fields"]), bytes.fromhex(vector["frame"])
    assert packet.encode() == frame
    assert Packet.decode(frame) == packet
    assert packet.hash.hex() == vector["hash"] == hashlib.sha256(frame[: 25 + frame[2]]).hexdigest()[:32]
    assert packet.price == int(vector["price"])


@pytest.mark.parametrize("vector", VECTORS["refused"], ids=lambda vector: vector["why"])
def test_what_is_no_packet_is_refused_for_its_first_reason(vector):
    frame = bytes.fromhex(vector["frame"])
    assert check(frame) is Verdict(vector["verdict"])
    with pytest.raises(RemoteProtocolError) as refused:
        Packet.decode(frame)
    assert refused.value.code is ErrorCode.MALFORMED_FRAME


def test_every_reason_to_refuse_has_a_vector():
    assert {Verdict(vector["verdict"]) for vector in VECTORS["refused"]} == set(Verdict) - {Verdict.OK}


@pytest.mark.parametrize("vector", VECTORS["carried"], ids=lambda vector: vector["why"])
def test_a_relay_does_what_its_vector_says(vector):
    relay = Hop(
        relay=RadioId(bytes.fromhex(vector["relay"])), **{name: vector[name] for name in ("fee_code", "latency_ms", "bandwidth_bps", "mtu")}
    )
    packet = Packet.decode(bytes.fromhex(vector["frame"]))
    assert carriage(packet, relay) is Carriage(vector["carriage"])
    if "carried" in vector:
        assert carry(packet, relay).encode().hex() == vector["carried"]


def test_every_reason_not_to_carry_has_a_vector():
    assert {Carriage(vector["carriage"]) for vector in VECTORS["carried"]} == set(Carriage)


def test_crc_tokens_ids_and_cost_vectors_are_those_of_their_vectors():
    assert all(crc16(bytes.fromhex(vector["bytes"])) == vector["crc"] for vector in VECTORS["crc16"])
    tokens, hash_ = VECTORS["tokens"], bytes.fromhex(VECTORS["tokens"]["hash"])
    token = first_token(TRAIL_KEY, hash_)
    assert token.hex() == tokens["steps"][0]["token"]
    for step in tokens["steps"][1:]:
        token = next_token(token, hash_, bytes.fromhex(step["relay"]), step["fee_code"])
        assert token.hex() == step["token"]
    for node in VECTORS["nodes"]:
        public_key = public_key_of(PeerKey.from_seed(bytes([node["seed"]]) * 32).peer_id)
        assert (public_key.hex(), radio_id(public_key).hex()) == (node["public_key"], node["id"])
    for vector in VECTORS["vectors"]:
        cost = Cost(**{name: int(vector[name]) for name in ("price", "latency_ms", "bandwidth_bps", "hops", "mtu")})
        assert cost.encode().hex() == vector["vector"]


@given(packets())
def test_a_packet_survives_the_air(packet):
    frame = packet.encode()
    assert len(frame) <= FRAME_SIZE_MAX
    assert check(frame) is Verdict.OK
    assert Packet.decode(frame) == packet


@given(packets(), st.data())
def test_a_flipped_bit_is_noticed(packet, data):
    frame = bytearray(packet.encode())
    bit = data.draw(st.integers(0, 8 * len(frame) - 1))
    frame[bit // 8] ^= 1 << bit % 8
    assert check(bytes(frame)) is Verdict.CRC


@given(st.binary(min_size=OVERHEAD - CRC_SIZE, max_size=FRAME_SIZE_MAX - CRC_SIZE))
def test_noise_with_a_right_crc_is_refused_or_is_one_packet(noise):
    frame = noise + crc16(noise).to_bytes(CRC_SIZE, "big")
    if check(frame) is Verdict.OK:
        assert Packet.decode(frame).encode() == frame


@given(st.lists(st.integers(0, 200), max_size=HOPS_MAX + 2), st.integers(0, HOPS_MAX), st.integers(0, 1000))
@example([11, 12, 13], 3, 36)
@example([11, 12, 14], 3, 36)
def test_a_flood_arrives_just_when_hops_and_fees_allow_it(fees, hop_limit, cap):
    packet, carried = flood(hop_limit=hop_limit, cap=cap), 0
    for number, fee in enumerate(fees, start=10):
        if carriage(packet, hop(number, fee)) is not Carriage.CARRIED:
            break
        packet, carried = Packet.decode(carry(packet, hop(number, fee)).encode()), carried + 1
    arrives = len(fees) <= hop_limit and sum(fees) <= cap
    assert (carried == len(fees)) is arrives
    assert cost_of(packet).hops == carried
    assert packet.price == sum(fees[:carried])
    assert [entry.fee for entry in packet.trail] == fees[:carried]


@given(packets(), st.integers(0, FRAME_SIZE_MAX), codes, ids)
def test_carrying_changes_nothing_that_the_origin_fixed(packet, mtu, fee_code, relay):
    carrier = Hop(relay=relay, fee_code=fee_code, latency_ms=1, bandwidth_bps=1, mtu=mtu)
    if carriage(packet, carrier) is Carriage.CARRIED:
        onward = carry(packet, carrier)
        assert onward.immutable() == packet.immutable()
        assert len(onward.encode()) == len(packet.encode()) + (0 if packet.direct else ENTRY_SIZE) <= mtu
        assert cost_of(onward).latency_ms >= cost_of(packet).latency_ms


@given(st.lists(st.integers(0, 50), min_size=2, max_size=5), st.data())
def test_a_relay_that_rewrites_what_others_wrote_is_found_out(fees, data):
    """It knows the token behind the relay before it, and no earlier one: whatever trail it claims instead, the origin's sum differs."""
    origin = packet = flood(hop_limit=HOPS_MAX, cap=1000)
    for number, fee in enumerate(fees, start=10):
        packet = carry(packet, hop(number, fee))
    honest = [(hop(number, fee).relay, code16_up(fee)) for number, fee in enumerate(fees, start=10)]
    forged = list(honest)
    at = data.draw(st.integers(0, len(fees) - 2))
    if data.draw(st.booleans()):
        del forged[at]
    else:
        forged[at] = (RadioId(b"intruder"), forged[at][1] + data.draw(st.integers(0, 9)))
    token_there = origin.token
    for relay, fee_code in forged:
        token_there = next_token(token_there, origin.hash, relay, fee_code)
    assert token_there != packet.token
