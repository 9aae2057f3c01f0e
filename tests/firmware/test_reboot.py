"""What survives a reboot, and a power cut at any byte that was ever to be written."""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import given, settings
from hypothesis import strategies as st
from relay_line import RelayLine

from benchmarks.radio.host import Own
from retrieval.identity import peer_id_of
from retrieval.radio.packet import EVERYONE, Packet, PacketType, RadioId
from retrieval.radio.proof import RelayReceipt

Lines = Callable[[int], RelayLine]
RELAY_BAND = 4
REBOOTS = 16
FLASH_SIZE = 8192


def flood(number: int) -> Packet:
    return Packet(
        type=PacketType.WANT, direct=False, hop_limit=8, packet_id=number, origin=RadioId(b"host0000"), destination=EVERYONE,
        fee_cap_code=1000, payload=bytes(100), hops=0, latency_code=0, bandwidth_code=255, mtu=255, token=bytes(8), trail=(),
    )  # fmt: skip


def spent_us(line: RelayLine, number: int) -> int:
    return int.from_bytes(line.hosts[number].ask(Own.DUTY)[8 * RELAY_BAND : 8 * RELAY_BAND + 4], "big")


def sequences(line: RelayLine, number: int) -> list[int]:
    """All numbers that a relay has used: of its adverts, and of its receipts."""
    adverts = [packet for packet in line.sends(number, PacketType.ADVERT) if packet.hops == 0 and packet.origin == line.ids[number]]
    return [packet.packet_id for packet in adverts] + list(line.hosts[number].receipts)


def test_key_settings_and_counters_survive_and_the_radio_comes_back_by_itself(lines: Lines) -> None:
    line = lines(2)
    line.set_up(fee_code=321, operator=bytes(range(20)))
    key, terms = line.hosts[1].ask(Own.IDENTITY), line.hosts[1].ask(Own.TERMS)
    line.run(61)  # settings are written once a minute at most
    line.nodes[1].cut_power(line.build)
    line.run(1)
    assert line.hosts[1].ask(Own.IDENTITY) == key
    assert line.hosts[1].ask(Own.TERMS) == terms
    assert line.hosts[1].ask(0x06, b"\xff") == b"\x01"
    assert line.hosts[1].counters()[REBOOTS] == 2
    line.hosts[0].send(flood(1).encode())
    line.run(10)
    assert [packet.price for packet in line.sends(1)] == [321]


def test_no_number_is_used_twice_over_reboots(lines: Lines) -> None:
    line = lines(2)
    line.set_up(fee_code=1)
    line.run(61)
    for number in range(6):
        line.hosts[0].send(flood(number).encode())
        line.run(100)
        line.nodes[1].cut_power(line.build)
    line.run(100)
    used = sequences(line, 1)
    assert len(used) >= 6
    assert len(set(used)) == len(used)


def test_airtime_before_a_reboot_counts_after_it(lines: Lines) -> None:
    line = lines(2)
    line.set_up()
    line.run(61)
    for number in range(5):
        line.hosts[0].send(flood(number).encode())
        line.run(4)
    before_us = spent_us(line, 0)
    line.nodes[0].cut_power(line.build)
    line.run(1)
    assert before_us > 1_000_000
    assert spent_us(line, 0) >= before_us
    line.run(3700)
    assert spent_us(line, 0) < 5_000_000


def test_a_relay_that_is_rebooted_again_and_again_falls_silent_and_never_exceeds_its_hour(lines: Lines) -> None:
    line = lines(2)
    line.set_up()
    line.run(61)
    for number in range(120):
        line.hosts[0].send(flood(number).encode())
        line.run(20)
        line.nodes[0].cut_power(line.build)
    assert line.auditor.worst_share("n0") <= 1.0


def test_flash_that_holds_something_else_counts_as_a_budget_that_is_spent(lines: Lines) -> None:
    line = lines(2)
    line.machines["n0"].write_flash(b"\x00" * FLASH_SIZE)
    line.set_up()
    line.hosts[0].send(flood(1).encode())
    line.run(25)
    assert line.sends(0) == []
    line.run(3700)
    line.hosts[0].send(flood(2).encode())
    line.run(10)
    assert [packet.packet_id for packet in line.sends(0)] == [2]


def test_a_relay_whose_flash_fails_promises_nothing_and_so_sends_nothing(lines: Lines) -> None:
    line = lines(2)
    line.run(1)
    line.machines["n0"].cut_flash(0)
    line.set_up()
    line.hosts[0].send(flood(1).encode())
    line.run(120)
    assert line.sends(0) == line.sends(0, PacketType.ADVERT) == []


@settings(max_examples=60)
@given(cut=st.one_of(st.integers(1, 3000), st.integers(1, 300)), again=st.integers(1, 1500))
def test_power_may_go_at_any_byte(relay: object, cut: int, again: int) -> None:
    line = RelayLine(2)
    machine = line.machines["n1"]
    machine.cut_flash(cut)
    line.run(1)
    line.set_up(fee_code=1)
    key = line.hosts[1].ask(Own.IDENTITY)
    for number in range(3):
        line.hosts[0].send(flood(number).encode())
        line.run(70)
    line.nodes[1].cut_power(line.build)
    line.machines["n1"].cut_flash(again)
    for number in range(3, 6):
        line.hosts[0].send(flood(number).encode())
        line.run(70)
    line.nodes[1].cut_power(line.build)
    line.run(1)
    line.hosts[1].tell(0x06, b"\x01")
    for number in range(6, 9):
        line.hosts[0].send(flood(number).encode())
        line.run(70)
    if key:  # it was told only once it was safe
        assert line.hosts[1].ask(Own.IDENTITY) == key
    receipts = list(line.hosts[1].receipts)
    adverts = [packet.packet_id for packet in line.sends(1, PacketType.ADVERT) if packet.hops == 0]
    assert len(set(receipts + adverts)) == len(receipts + adverts)
    for signed in line.hosts[1].receipts.values():
        RelayReceipt.read(signed, peer_id_of(line.hosts[1].ask(Own.IDENTITY)))
    assert line.auditor.worst_share("n1") <= 1.0
    line.close()


def test_the_journal_goes_round_its_sectors_for_months(lines: Lines) -> None:
    line = lines(1)
    line.set_up()
    key = line.hosts[0].ask(Own.IDENTITY)
    for fee in range(100):
        line.hosts[0].tell(Own.TERMS, b"\x00" + fee.to_bytes(2, "big") + bytes(20))
        line.run(61)
        if fee % 7 == 0:
            line.nodes[0].cut_power(line.build)
            line.run(1)
            assert line.hosts[0].ask(Own.TERMS)[:3] == b"\x00" + fee.to_bytes(2, "big")
    assert line.hosts[0].ask(Own.IDENTITY) == key


def test_a_torn_page_is_stepped_over_and_the_newest_whole_record_is_found(lines: Lines) -> None:
    line = lines(1)
    line.set_up(fee_code=5)
    line.run(61)
    image = bytearray(line.machines["n0"].read_flash())
    page = next(at for at in range(0, FLASH_SIZE, 256) if image[at : at + 256] == b"\xff" * 256)
    image[page : page + 100] = bytes(100)
    line.nodes[0].cut_power(line.build)
    line.machines["n0"].write_flash(bytes(image))
    line.run(1)
    assert line.hosts[0].ask(Own.TERMS)[1:3] == (5).to_bytes(2, "big")
    line.hosts[0].tell(Own.TERMS, b"\x01" + (6).to_bytes(2, "big") + bytes(20))
    line.run(61)
    line.nodes[0].cut_power(line.build)
    line.run(1)
    assert line.hosts[0].ask(Own.TERMS)[1:3] == (6).to_bytes(2, "big")
