"""What both ends of a link speak, in C against Python: the same bytes, the same verdicts, on vectors and on whatever Hypothesis finds."""

from __future__ import annotations

import ctypes

import golden
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from relay_library import Hop, Kiss, Modulation

from retrieval.radio import airtime, codes, packet
from retrieval.radio.kiss import FRAME_SIZE_MAX, KissDecoder, encode_kiss
from retrieval.radio.packet import EVERYONE, FREE_TYPES, HOPS_MAX, Entry, Packet, PacketType, RadioId

PACKETS = golden.load("radio_packet")
AIRTIMES = golden.load("radio_airtime")
KISS = golden.load("radio_kiss")

ids = st.binary(min_size=8, max_size=8).map(RadioId)
code16s = st.integers(0, 0xFFFF)
amounts = st.one_of(st.integers(0, 1 << 14), st.integers(0, 1 << 45))


@st.composite
def packets(draw: st.DrawFn) -> Packet:
    """Any valid packet."""
    type_, hop_limit = draw(st.sampled_from(PacketType)), draw(st.integers(0, HOPS_MAX))
    direct, hops = draw(st.booleans()), draw(st.integers(0, hop_limit))
    n_entries = hop_limit if direct else hops
    entries = st.builds(Entry, tag=st.binary(min_size=4, max_size=4), fee_code=st.one_of(st.integers(0, 50), code16s))
    destination = draw(ids.filter(lambda id_: id_ != EVERYONE) if direct else st.one_of(st.just(EVERYONE), ids))
    return Packet(
        type=type_,
        direct=direct,
        hop_limit=hop_limit,
        packet_id=draw(st.integers(0, packet.PACKET_ID_MAX)),
        origin=draw(ids),
        destination=destination,
        fee_cap_code=0 if type_ in FREE_TYPES else draw(st.one_of(st.integers(0, 200), code16s)),
        payload=draw(st.binary(max_size=packet.payload_size_max(hop_limit))),
        hops=hops,
        latency_code=draw(code16s),
        bandwidth_code=draw(st.integers(0, 255)),
        mtu=draw(st.integers(0, 255)),
        token=draw(st.binary(min_size=8, max_size=8)),
        trail=tuple(draw(st.lists(entries, min_size=n_entries, max_size=n_entries))),
    )


@st.composite
def hops(draw: st.DrawFn) -> packet.Hop:
    """Any relay, some of which the packets of above may well meet."""
    return packet.Hop(
        relay=draw(ids),
        fee_code=draw(st.one_of(st.integers(0, 50), code16s)),
        latency_ms=draw(st.one_of(st.integers(0, 5000), st.integers(0, 0xFFFFFFFF))),
        bandwidth_bps=draw(st.integers(0, 0xFFFFFFFF)),
        mtu=draw(st.one_of(st.just(255), st.integers(0, 255))),
    )


def hop_in_c(hop: packet.Hop) -> Hop:
    bandwidth_bps = min(hop.bandwidth_bps, 0xFFFFFFFF)  # a C relay has 32 bits for it, and radios need 16
    return Hop((ctypes.c_uint8 * 8)(*hop.relay), hop.fee_code, hop.mtu, hop.latency_ms, bandwidth_bps)


def hash_in_c(relay: ctypes.CDLL, frame: bytes) -> bytes:
    out = ctypes.create_string_buffer(16)
    relay.rmn_packet_hash(frame, out)
    return out.raw


def carried_in_c(relay: ctypes.CDLL, frame: bytes, hop: Hop) -> bytes:
    room = ctypes.create_string_buffer(frame, 255)
    size = relay.rmn_packet_carry(room, len(frame), ctypes.byref(hop), hash_in_c(relay, frame))
    return room.raw[:size]


@pytest.mark.parametrize("case", PACKETS["code16"], ids=lambda case: str(case["value"]))
def test_code16_vectors(relay: ctypes.CDLL, case: dict[str, str | int]) -> None:
    assert relay.rmn_code16_up(int(case["value"])) == case["up"]
    assert relay.rmn_value_of_code16(case["up"]) == int(case["decoded"])


@pytest.mark.parametrize("case", PACKETS["code8"], ids=lambda case: str(case["value"]))
def test_code8_vectors(relay: ctypes.CDLL, case: dict[str, str | int]) -> None:
    assert relay.rmn_code8_down(int(case["value"])) == case["down"]
    assert relay.rmn_value_of_code8(case["down"]) == int(case["decoded"])


@given(amounts)
def test_amounts_have_the_codes_that_python_gives_them(relay: ctypes.CDLL, value: int) -> None:
    assert relay.rmn_code16_up(value) == codes.code16_up(value)
    assert relay.rmn_code8_down(value) == codes.code8_down(value)


@given(code16s)
def test_every_code_stands_for_the_same_value(relay: ctypes.CDLL, code: int) -> None:
    assert relay.rmn_value_of_code16(code) == codes.value_of_code16(code)
    assert relay.rmn_value_of_code8(code & 0xFF) == codes.value_of_code8(code & 0xFF)


@given(st.binary(max_size=300))
@example(b"123456789")
def test_checksums_agree(relay: ctypes.CDLL, data: bytes) -> None:
    assert relay.rmn_crc16(0xFFFF, data, len(data)) == packet.crc16(data)


@pytest.mark.parametrize("case", PACKETS["packets"], ids=lambda case: str(case["why"]))
def test_packet_vectors_are_packets(relay: ctypes.CDLL, case: dict[str, str]) -> None:
    frame = bytes.fromhex(case["frame"])
    assert relay.rmn_packet_check(frame, len(frame)) == 0
    assert hash_in_c(relay, frame).hex() == case["hash"]
    assert relay.rmn_packet_price(frame) == int(case["price"])


@pytest.mark.parametrize("case", PACKETS["refused"], ids=lambda case: str(case["why"]))
def test_refused_vectors_are_refused_for_the_same_reason(relay: ctypes.CDLL, case: dict[str, str | int]) -> None:
    frame = bytes.fromhex(str(case["frame"]))
    assert relay.rmn_packet_check(frame, len(frame)) == case["verdict"]


@pytest.mark.parametrize("case", PACKETS["carried"], ids=lambda case: str(case["why"]))
def test_carried_vectors_come_out_byte_for_byte(relay: ctypes.CDLL, case: dict[str, str]) -> None:
    frame = bytes.fromhex(case["frame"])
    hop = hop_in_c(
        packet.Hop(
            relay=RadioId(bytes.fromhex(case["relay"])),
            fee_code=int(case["fee_code"]),
            latency_ms=int(case["latency_ms"]),
            bandwidth_bps=int(case["bandwidth_bps"]),
            mtu=int(case["mtu"]),
        )
    )
    assert relay.rmn_packet_carriage(frame, len(frame), ctypes.byref(hop)) == int(case["carriage"])
    if not int(case["carriage"]):
        assert carried_in_c(relay, frame, hop).hex() == case["carried"]


@given(packets(), hops(), st.data())
def test_a_relay_in_c_decides_and_writes_what_python_does(relay: ctypes.CDLL, sent: Packet, hop: packet.Hop, data: st.DataObject) -> None:
    names = [sent.origin, sent.destination, *(RadioId(entry.tag + bytes(4)) for entry in sent.trail), hop.relay]
    hop = packet.Hop(
        relay=data.draw(st.sampled_from(names)),
        fee_code=hop.fee_code,
        latency_ms=hop.latency_ms,
        bandwidth_bps=hop.bandwidth_bps,
        mtu=hop.mtu,
    )
    frame, in_c = sent.encode(), hop_in_c(hop)
    verdict = packet.carriage(sent, hop)
    assert relay.rmn_packet_check(frame, len(frame)) == 0
    assert hash_in_c(relay, frame) == sent.hash
    assert relay.rmn_packet_price(frame) == sent.price
    assert relay.rmn_packet_hops(frame) == sent.hops
    assert relay.rmn_packet_carriage(frame, len(frame), ctypes.byref(in_c)) == verdict
    if verdict is packet.Carriage.CARRIED:
        assert carried_in_c(relay, frame, in_c) == packet.carry(sent, hop).encode()


@pytest.mark.parametrize("beyond", [0, 1])
@pytest.mark.parametrize("direct", [False, True])
def test_a_fee_that_reaches_the_cap_is_carried_and_one_above_it_is_not(relay: ctypes.CDLL, direct: bool, beyond: int) -> None:
    behind, ours = Entry(tag=b"past", fee_code=60), Entry(tag=b"next", fee_code=40 + beyond)
    sent = Packet(
        type=PacketType.WANT, direct=direct, hop_limit=2, packet_id=1, origin=RadioId(b"origin__"), destination=RadioId(b"destined"),
        fee_cap_code=100, payload=b"?", hops=1, latency_code=0, bandwidth_code=255, mtu=255, token=bytes(8),
        trail=(behind, ours) if direct else (behind,),
    ).encode()  # fmt: skip
    hop = hop_in_c(packet.Hop(relay=RadioId(b"next____"), fee_code=40 + beyond, latency_ms=1, bandwidth_bps=1, mtu=255))
    over_cap = packet.Carriage.OVER_CAP if beyond else packet.Carriage.CARRIED
    assert relay.rmn_packet_carriage(sent, len(sent), ctypes.byref(hop)) == over_cap


@given(st.one_of(st.binary(max_size=260), packets().map(Packet.encode)), st.data())
def test_garbage_is_refused_for_the_reason_that_python_gives(relay: ctypes.CDLL, frame: bytes, data: st.DataObject) -> None:
    if frame and data.draw(st.booleans()):
        at, bit = data.draw(st.integers(0, len(frame) - 1)), data.draw(st.integers(0, 7))
        frame = frame[:at] + bytes((frame[at] ^ 1 << bit,)) + frame[at + 1 :]
    if len(frame) >= 2 and data.draw(st.booleans()):  # a checksum that fits, so that what lies behind it is looked at
        frame = frame[:-2] + packet.crc16(frame[:-2]).to_bytes(2, "big")
    assert relay.rmn_packet_check(frame, len(frame)) == packet.check(frame)


def decoded_in_c(relay: ctypes.CDLL, line: bytes, frame_max: int) -> list[tuple[int, bytes]]:
    state, room, found = Kiss(), ctypes.create_string_buffer(frame_max), []
    for byte in line:
        if size := relay.rmn_kiss_take(ctypes.byref(state), byte, room, frame_max):
            found.append((room.raw[0], room.raw[1:size]))
    return found


def decoded_in_python(line: bytes) -> list[tuple[int, bytes]]:
    decoder = KissDecoder()
    return [(frame.command, frame.data) for frame in decoder.feed(line)]


@pytest.mark.parametrize("case", KISS["decoded"], ids=lambda case: str(case["why"]))
def test_kiss_vectors(relay: ctypes.CDLL, case: dict[str, object]) -> None:
    frames = case["frames"]
    assert isinstance(frames, list)
    expected = [(frame["command"], bytes.fromhex(frame["data"])) for frame in frames]
    assert decoded_in_c(relay, bytes.fromhex(str(case["line"])), FRAME_SIZE_MAX) == expected


@given(st.lists(st.one_of(st.sampled_from([b"\xc0", b"\xdb", b"\xdc", b"\xdd", b"\xdb\xdc", b"\x00"]), st.binary(max_size=20))))
def test_lines_in_disorder_hold_the_frames_that_python_finds(relay: ctypes.CDLL, pieces: list[bytes]) -> None:
    line = b"".join(pieces)
    assert decoded_in_c(relay, line, FRAME_SIZE_MAX) == decoded_in_python(line)


@given(st.integers(0, 255), st.binary(max_size=300))
def test_what_is_escaped_in_c_is_what_python_escapes(relay: ctypes.CDLL, command: int, data: bytes) -> None:
    out, line = ctypes.create_string_buffer(2), b""
    for byte in (command, *data):
        size = relay.rmn_kiss_escape(byte, out)
        line += out.raw[:size]
    assert b"\xc0" + line + b"\xc0" == encode_kiss(command, data)


def test_a_frame_that_outgrows_its_buffer_is_skipped_and_the_next_is_found(relay: ctypes.CDLL) -> None:
    line = encode_kiss(1, bytes(30)) + encode_kiss(2, bytes(9))
    assert decoded_in_c(relay, line, 10) == [(2, bytes(9))]


def modulation_in_c(case: airtime.Modulation) -> Modulation:
    return Modulation(case.bandwidth_hz, case.spreading_factor, case.coding_rate, case.preamble)


FIRMWARE_BANDWIDTHS_HZ = (31_250, 62_500, 125_000, 250_000, 500_000)


@given(
    st.sampled_from(FIRMWARE_BANDWIDTHS_HZ),
    st.sampled_from(airtime.SPREADING_FACTORS),
    st.sampled_from(airtime.CODING_RATES),
    st.integers(6, 1024),
    st.integers(0, 255),
)
def test_airtime_is_the_same_microsecond(relay: ctypes.CDLL, bandwidth_hz: int, factor: int, rate: int, preamble: int, size: int) -> None:
    modulation = airtime.Modulation(bandwidth_hz=bandwidth_hz, spreading_factor=factor, coding_rate=rate, preamble=preamble)
    in_c = modulation_in_c(modulation)
    assert relay.rmn_modulation_valid(ctypes.byref(in_c))
    assert relay.rmn_low_data_rate(ctypes.byref(in_c)) == modulation.low_data_rate
    assert relay.rmn_airtime_us(ctypes.byref(in_c), size) == airtime.airtime_us(size, modulation)


@pytest.mark.parametrize("case", AIRTIMES["airtime"], ids=lambda case: str(case["why"]))
def test_airtime_vectors(relay: ctypes.CDLL, case: dict[str, object]) -> None:
    fields = case["modulation"]
    assert isinstance(fields, dict)
    in_c = Modulation(fields["bandwidth_hz"], fields["spreading_factor"], fields["coding_rate"], fields["preamble"])
    spoken = fields["crc"] and fields["explicit_header"] and fields["bandwidth_hz"] in FIRMWARE_BANDWIDTHS_HZ
    if not spoken or fields["preamble"] > 1024:
        assert not spoken or not relay.rmn_modulation_valid(ctypes.byref(in_c))
        return
    assert relay.rmn_airtime_us(ctypes.byref(in_c), case["size_bytes"]) == case["airtime_us"]
    assert relay.rmn_low_data_rate(ctypes.byref(in_c)) == case["low_data_rate"]


@given(st.integers(0, 0xFFFFFFFF), st.integers(0, 255), st.integers(0, 255), st.integers(0, 0xFFFF))
@example(0, 7, 5, 16)
@example(125_000, 4, 5, 16)
@example(125_000, 13, 5, 16)
@example(125_000, 7, 4, 16)
@example(125_000, 7, 9, 16)
@example(125_000, 7, 5, 5)
def test_settings_that_no_radio_has_are_not_valid(relay: ctypes.CDLL, bandwidth_hz: int, factor: int, rate: int, preamble: int) -> None:
    in_c = Modulation(bandwidth_hz, factor, rate, preamble)
    known = bandwidth_hz in (15_625, *FIRMWARE_BANDWIDTHS_HZ)
    expected = known and factor in airtime.SPREADING_FACTORS and rate in airtime.CODING_RATES and 6 <= preamble <= 1024
    assert relay.rmn_modulation_valid(ctypes.byref(in_c)) == expected
