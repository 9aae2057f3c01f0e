"""What a host may ask and set: every value has a range, and the answer is the value in force."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from relay_line import RelayLine

from benchmarks.radio.host import Own
from retrieval.radio.airtime import Modulation
from retrieval.radio.kiss import Command, encode_kiss
from retrieval.radio.packet import EVERYONE, Packet, PacketType, RadioId
from retrieval.radio.regions import RELAY_HZ

Lines = Callable[[int], RelayLine]

frames = st.tuples(st.integers(0, 255), st.binary(max_size=24)).map(lambda one: encode_kiss(*one))
PACKET = Packet(
    type=PacketType.WANT, direct=False, hop_limit=1, packet_id=1, origin=RadioId(b"host0000"), destination=EVERYONE, fee_cap_code=9,
    payload=b"?", hops=0, latency_code=0, bandwidth_code=255, mtu=255, token=bytes(8), trail=(),
)  # fmt: skip


@pytest.mark.parametrize(
    ("command", "refused", "in_force"),
    [
        pytest.param(Command.FREQUENCY, bytes(4), RELAY_HZ.to_bytes(4), id="no frequency"),
        pytest.param(Command.FREQUENCY, (868_650_000).to_bytes(4), RELAY_HZ.to_bytes(4), id="between two bands"),
        pytest.param(Command.FREQUENCY, (915_000_000).to_bytes(4), RELAY_HZ.to_bytes(4), id="another continent's band"),
        pytest.param(Command.FREQUENCY, b"\xff" * 4, RELAY_HZ.to_bytes(4), id="absurd frequency"),
        pytest.param(Command.FREQUENCY, b"\x33", RELAY_HZ.to_bytes(4), id="a frequency that is cut off"),
        pytest.param(Command.BANDWIDTH, bytes(4), (125_000).to_bytes(4), id="bandwidth 0"),
        pytest.param(Command.BANDWIDTH, (1).to_bytes(4), (125_000).to_bytes(4), id="bandwidth 1"),
        pytest.param(Command.BANDWIDTH, (500_000).to_bytes(4), (125_000).to_bytes(4), id="wider than its band"),
        pytest.param(Command.TX_POWER, b"\x17", b"\x0e", id="23 dBm"),
        pytest.param(Command.TX_POWER, b"\x80", b"\x0e", id="-128 dBm"),
        pytest.param(Command.SPREADING_FACTOR, b"\x04", b"\x07", id="SF4"),
        pytest.param(Command.SPREADING_FACTOR, b"\x0d", b"\x07", id="SF13"),
        pytest.param(Command.SPREADING_FACTOR, b"", b"\x07", id="no SF"),
        pytest.param(Command.CODING_RATE, b"\x04", b"\x05", id="4/4"),
        pytest.param(Command.CODING_RATE, b"\xff", b"\x05", id="4/255"),
        pytest.param(Command.RADIO_STATE, b"\x02", b"\x01", id="a third state"),
        pytest.param(Own.TERMS, b"\x02" + bytes(22), b"\x01" + bytes(22), id="half carrying"),
        pytest.param(Own.HOST_ID, bytes(7), b"host0000", id="an id that is cut off"),
        pytest.param(Own.RAW, b"\x02", b"\x00", id="more than raw"),
        pytest.param(Command.SHORT_AIRTIME, b"\x10\x00", b"\x00\x00", id="a limit that is not there"),
    ],
)
def test_what_is_refused_is_answered_with_what_is_in_force(lines: Lines, command: int, refused: bytes, in_force: bytes) -> None:
    line = lines(1)
    line.set_up()
    assert line.hosts[0].ask(command, refused) == in_force


def test_a_band_that_allows_less_power_is_not_entered_at_full_power(lines: Lines) -> None:
    line = lines(1)
    line.set_up(power_dbm=22)
    host = line.hosts[0]
    assert host.ask(Command.FREQUENCY, (868_300_000).to_bytes(4)) == RELAY_HZ.to_bytes(4)
    host.ask(Command.TX_POWER, b"\x0e")
    assert host.ask(Command.FREQUENCY, (868_300_000).to_bytes(4)) == (868_300_000).to_bytes(4)
    assert host.ask(Command.TX_POWER, b"\x16") == b"\x0e"


def test_a_frame_that_would_last_ten_seconds_is_not_allowed_at_all(lines: Lines) -> None:
    line = lines(1)
    line.set_up(modulation=Modulation(spreading_factor=12))
    assert line.hosts[0].ask(Command.BANDWIDTH, (62_500).to_bytes(4)) == (125_000).to_bytes(4)
    assert line.hosts[0].ask(Command.CODING_RATE, b"\x08") == b"\x05"


def test_a_combination_that_is_not_allowed_keeps_the_radio_off_and_says_so(lines: Lines) -> None:
    line = lines(1)
    line.run(1)
    host = line.hosts[0]
    host.ask(Command.TX_POWER, b"\x16")
    host.ask(Command.FREQUENCY, (865_100_000).to_bytes(4))
    assert host.ask(Command.RADIO_STATE, b"\x01") == b"\x00"
    assert host.ask(Command.RADIO_STATE, b"\xff") == b"\x00"


def test_every_modulation_that_is_allowed_is_understood_by_the_neighbour(lines: Lines) -> None:
    line = lines(2)
    for factor, bandwidth_hz, frequency_hz in (
        (5, 500_000, 867_000_000),
        (6, 250_000, 866_000_000),
        (9, 62_500, 869_525_000),
        (12, 125_000, 869_525_000),
    ):
        line.ids.clear()
        for node in line.nodes:
            node.cut_power(line.build)
        for number, host in enumerate(line.hosts):
            line.run(0.1)
            host.tell(Command.RADIO_STATE, b"\x00")
            host.tell(Command.FREQUENCY, frequency_hz.to_bytes(4))
            host.tell(Command.BANDWIDTH, bandwidth_hz.to_bytes(4))
            host.tell(Command.SPREADING_FACTOR, bytes((factor,)))
            host.tell(Command.TX_POWER, b"\x0e")
            assert host.ask(Command.RADIO_STATE, b"\x01") == b"\x01", (number, factor)
        line.heard[1].clear()
        line.hosts[0].send(PACKET.encode())
        line.run(10)
        assert PACKET.encode() in line.heard[1], (factor, bandwidth_hz)


def test_it_answers_as_an_rnode_does(lines: Lines) -> None:
    line = lines(1)
    line.set_up()
    host = line.hosts[0]
    assert host.ask(Command.DETECT, b"\x73") == b"\x46"
    assert host.ask(Command.FIRMWARE_VERSION, b"\x00") >= bytes((1, 52))
    assert host.ask(Command.PLATFORM, b"\x00") == b"\x80"
    assert host.ask(Command.MCU, b"\x00") == b"\x81"
    assert len(host.ask(0x40)) == 1
    assert host.ask(Command.LONG_AIRTIME, (200).to_bytes(2)) == (200).to_bytes(2)
    assert host.ask(Command.LONG_AIRTIME, bytes(2)) == bytes(2)
    assert host.ask(0x21) == host.ask(0x22) == bytes(4)


def test_neighbours_duty_and_clock_can_be_asked(lines: Lines) -> None:
    line = lines(2)
    line.set_up(time_s=1_800_000_000)
    line.hosts[0].send(PACKET.encode())
    line.run(30)
    neighbours = line.hosts[1].ask(Own.NEIGHBOURS)
    assert b"host" in [neighbours[at : at + 4] for at in range(0, len(neighbours), 8)]
    assert len(line.hosts[0].ask(Own.DUTY)) == 48
    assert int.from_bytes(line.hosts[0].ask(Own.CLOCK)) in (1_800_000_030, 1_800_000_031)


def test_a_command_nobody_knows_is_refused_by_its_number(lines: Lines) -> None:
    line = lines(1)
    line.set_up()
    line.hosts[0].tell(0x7E, b"?")
    assert line.hosts[0].refusals == [b"\x7e\xff"]
    line.hosts[0].tell(Command.LEAVE, b"\xff")
    assert len(line.hosts[0].refusals) == 1


def test_a_host_that_vanishes_in_mid_frame_leaves_a_relay_that_carries(lines: Lines) -> None:
    line = lines(3)
    line.set_up()
    line.nodes[1].feed(encode_kiss(Command.DATA, bytes(200))[:77])
    line.hosts[0].send(PACKET.encode())
    line.run(10)
    assert len(line.sends(1)) == 1
    assert line.hosts[1].ask(Command.DETECT, b"\x73") == b"\x46"


@settings(max_examples=60)
@given(
    st.lists(st.one_of(st.binary(max_size=40), st.tuples(st.integers(0, 255), st.binary(max_size=24)).map(lambda one: encode_kiss(*one))))
)
def test_whatever_a_host_says_the_relay_stays_within_the_law_and_answers(relay: object, said: list[bytes]) -> None:
    line = RelayLine(2)
    line.set_up()
    for bytes_ in said:
        line.nodes[0].feed(bytes_)
        line.run(0.5)
    line.nodes[0].feed(encode_kiss(Own.RAW, b"\x00"))
    assert line.hosts[0].ask(Command.DETECT, b"\x73") == b"\x46"
    assert line.auditor.worst_share("n0") <= 1.0
    line.close()


def test_a_radio_whose_busy_never_falls_is_tried_again_and_the_host_still_answered(lines: Lines) -> None:
    line = lines(1)
    line.set_up()
    machine = line.machines["n0"]
    machine.hangs = True  # BUSY, from now on
    line.hosts[0].send(PACKET.encode())
    line.run(200)
    assert line.sends(0) == []
    assert line.hosts[0].ask(Command.DETECT, b"\x73") == b"\x46"
    assert line.hosts[0].counters()[15] > 1  # COUNT_RADIO_FAILED
    machine.hangs = False
    line.run(100)
    line.hosts[0].send(PACKET.encode())
    line.run(10)
    assert len(line.sends(0)) == 1
