"""The chip answers as the data sheet says, and holds against a driver whatever a real one would punish."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from radio_driver import ALL_IRQS, START, Driver, World, world

from benchmarks.radio.chip import COMMAND_TABLES, Irq, Mode
from benchmarks.radio.links import Links

PAIR = Links.matrix({("a", "b"): 100.0})
MS = 1000


def lone() -> tuple[World, Driver]:
    run = world(PAIR, "a b")
    return run, run.drivers["a"]


def test_a_driver_that_follows_the_data_sheet_gives_no_finding() -> None:
    run, driver = lone()
    driver.send(b"x")
    run.timeline.run(100 * MS)
    assert run.findings() == []
    assert driver.irqs == [Irq.TX_DONE]
    assert driver.chip.mode is Mode.RX


def test_a_receiver_hears_of_preamble_and_header_before_the_frame_is_there() -> None:
    run = world(PAIR, "a b")
    listener = run.drivers["b"].chip
    run.drivers["a"].send(b"x" * 40)
    seen = []
    for now_ms in (4, 6, 28, 31, 60):
        run.timeline.run(now_ms * MS)
        seen.append(Irq(listener.irq))
    assert seen == [Irq(0), Irq.PREAMBLE, Irq.PREAMBLE, Irq.PREAMBLE | Irq.HEADER_VALID, Irq.PREAMBLE | Irq.HEADER_VALID]
    assert not listener.dio1  # they are not among those that DIO1 shows


def test_bits_that_the_mask_keeps_back_are_never_set() -> None:
    run = world(PAIR, "a b", started=False)
    for driver in run.drivers.values():
        driver.start(irq="08 03 e3 03 e3 00 00 00 00")
    run.drivers["a"].send(b"x" * 40)
    run.timeline.run(60 * MS)
    assert run.drivers["b"].chip.irq == 0


def test_signal_figures_are_those_of_the_link() -> None:
    run = world(Links.matrix({("a", "b"): 130.0}), "a b")
    run.drivers["a"].send(b"x")
    run.timeline.run(100 * MS)
    rssi, snr, _ = run.drivers["b"].do("14 00 00 00 00")[2:]
    assert rssi == 216  # -108 dBm
    assert snr == 9 * 4


def test_frames_lie_one_behind_the_other_while_receiving_goes_on() -> None:
    run = world(PAIR, "a b")
    places = []
    for _ in range(3):
        run.drivers["a"].send(b"x" * 100)
        run.timeline.run(run.timeline.now_us + 300 * MS)
        places.append(tuple(run.drivers["b"].do("13 00 00 00")[2:]))
    assert places == [(100, 0), (100, 100), (100, 200)]
    assert [payload for payload, _ in run.drivers["b"].received] == [b"x" * 100] * 3


def test_a_frame_longer_than_the_packet_length_is_a_header_error() -> None:
    run = world(PAIR, "a b")
    run.drivers["b"].do("80 00")
    run.drivers["b"].do("8c 00 10 00 08 01 00")
    run.drivers["b"].do("82 ff ff ff")
    run.drivers["a"].send(b"x" * 9)
    run.timeline.run(100 * MS)
    assert run.drivers["b"].irqs[-1] & Irq.HEADER_ERROR
    assert run.drivers["b"].received == []


def test_activity_is_detected_while_a_frame_is_in_the_air_and_not_after() -> None:
    run = world(PAIR, "a b")
    run.drivers["a"].send(b"x" * 40)
    found = []
    for _ in range(2):
        listener = run.drivers["b"]
        listener.do("80 00")
        listener.do("88 02 14 0a 00 00 00 00")
        listener.do("c5")
        run.timeline.run(run.timeline.now_us + 5 * MS)
        found.append(listener.irqs[-1])
        run.timeline.run(run.timeline.now_us + 500 * MS)
    assert found == [Irq.CAD_DONE | Irq.CAD_DETECTED, Irq.CAD_DONE]


def test_receiving_for_a_time_ends_with_a_timeout() -> None:
    run, driver = lone()
    driver.do("80 00")
    driver.do("82 00 fa 00")  # 64000 steps of 15.625 us: a second
    modes = []
    for now_us in (1000 * MS - 1, 1000 * MS):
        run.timeline.run(now_us)
        modes.append(driver.chip.mode)
    assert modes == [Mode.RX, Mode.STANDBY_RC]
    assert driver.irqs == [Irq.TIMEOUT]


def test_sending_longer_than_its_timeout_is_cut() -> None:
    run, driver = lone()
    driver.do("80 00")
    driver.do("8c 00 10 00 ff 01 00")
    driver.do("83 00 19 00")  # 100 ms, and the frame needs 408
    run.timeline.run(1000 * MS)
    assert driver.irqs == [Irq.TIMEOUT]
    assert run.journal.counts["cut"] == 1
    assert run.drivers["b"].received == []


def test_a_reset_forgets_everything() -> None:
    run, driver = lone()
    driver.chip.reset()
    run.drivers["b"].send(b"x")
    run.timeline.run(100 * MS)
    assert driver.received == []
    driver.do("80 00")
    driver.do("82 ff ff ff")
    assert any("without its TCXO" in finding for finding in run.findings())


def test_random_numbers_come_only_while_receiving() -> None:
    run, driver = lone()
    drawn = {driver.do("1d 08 19 00 00 00 00 00")[4:] for _ in range(8)}
    assert len(drawn) == 8
    assert run.findings() == []
    driver.do("80 00")
    assert driver.do("1d 08 19 00 00 00 00 00")[4:] == bytes(4)
    assert len(run.findings()) == 1


def test_the_sync_word_reads_back_as_written() -> None:
    _, driver = lone()
    assert driver.do("1d 07 40 00 00 00")[4:] == b"\x14\x24"
    driver.do("80 00")
    driver.do("0d 07 40 34 44")
    assert driver.do("1d 07 40 00 00 00")[4:] == b"\x34\x44"


@pytest.mark.parametrize("step", ["tcxo", "calibrate", "antenna", "type", "image", "frequency", "amplifier", "power", "modulation"])
def test_a_step_left_out_is_found(step: str) -> None:
    run = world(PAIR, "a b", started=False)
    run.drivers["a"].start(**{step: None}).send(b"x")
    assert run.findings() != []


@pytest.mark.parametrize(
    ("step", "bytes_sent", "words"),
    [
        ("frequency", "86 00 00 00 00", "a frequency of 0 Hz"),
        ("power", "8e 17 04", "a power of 23 dBm"),
        ("amplifier", "95 04 07 01 01", "amplifier 04070101"),
        ("modulation", "8b 0d 04 01 00", "modulation parameters"),
        ("modulation", "8b 07 07 01 00", "modulation parameters"),
        ("modulation", "8b 0c 04 01 00", "low data rate optimisation off"),
        ("modulation", "8b 07 06 01 00", "wrong modulation quality in 0889"),
        ("packet", "8c 00 00 00 ff 01 00", "packet parameters"),
        ("quality", "0d 08 89 01", "wrong modulation quality in 0889"),
        ("clamp", "0d 08 d8 c8", "clamp in 08d8"),
        ("irq", "08 00 e3 03 e3 00 00 00 00", "its mask keeps back"),
        ("standby", "80 01", "a crystal that has no power yet"),
        ("antenna", "80 01 00", "SetStandby with 2 bytes"),
        ("image", "98 e1 e9", "without an image calibration for its frequency"),
    ],
)
def test_an_absurd_value_is_found(step: str, bytes_sent: str, words: str) -> None:
    run = world(PAIR, "a b", started=False)
    run.drivers["a"].start(**{step: bytes_sent}).send(b"x")
    assert any(words in finding for finding in run.findings()), run.findings()


def test_what_only_spi_can_do_wrong_is_found() -> None:
    run, driver = lone()
    chip = driver.chip
    run.timeline.run(1 * MS)
    chip.exchange(b"\x80\x00")
    assert "clocked with NSS high" in chip.findings[-1]
    chip.select()
    chip.exchange(b"\x80\x00")
    chip.deselect()
    chip.select()
    assert "while BUSY" in chip.findings[-1]
    chip.exchange(b"\xee")
    chip.deselect()
    assert "unknown opcode ee" in chip.findings[-1]
    driver.listen()
    driver.do("8b 07 04 01 00")
    assert "SetModulationParams while in RX" in chip.findings[-1]
    driver.do("12 00")
    assert "not given the time to answer" in chip.findings[-1]


def test_the_oscillator_is_set_up_from_the_other_one() -> None:
    run, driver = lone()
    driver.do("80 01")
    driver.do("97 02 00 01 40")
    driver.do("89 7f")
    assert [finding.partition(" the radio ")[2] for finding in run.findings()] == [
        "was sent SetDIO3AsTCXOCtrl while on its crystal",
        "was sent Calibrate while on its crystal",
    ]


@given(st.lists(st.integers(1, 64), min_size=1, max_size=12))
def test_a_transaction_in_pieces_is_the_same_as_one_in_whole(cuts: list[int]) -> None:
    _, driver = lone()
    driver.chip.buffer[:] = bytes(range(256))
    asked = bytes.fromhex("1e 10 00") + bytes(64)
    driver.chip.select()
    pieces, rest = b"", asked
    for cut in cuts:
        pieces += driver.chip.exchange(rest[:cut]) if rest[:cut] else b""
        rest = rest[cut:]
    pieces += driver.chip.exchange(rest) if rest else b""
    driver.chip.deselect()
    assert pieces[3:] == driver.chip.transfer(asked)[3:] == bytes(range(0x10, 0x50))


@given(
    st.lists(st.one_of(st.binary(min_size=1, max_size=12), st.sampled_from([bytes.fromhex(step) for step in START.values()])), max_size=20)
)
def test_no_bytes_of_a_driver_break_the_model(transactions: list[bytes]) -> None:
    run, driver = lone()
    for number, transaction in enumerate(transactions):
        assert len(driver.chip.transfer(transaction)) == len(transaction)
        run.timeline.run(number * 50 * MS)
    assert len(run.findings()) < 200


def test_no_opcode_means_two_things() -> None:
    opcodes = [opcode for table in COMMAND_TABLES for opcode in table]
    assert len(opcodes) == len(set(opcodes))
    assert ALL_IRQS & sum(Irq) == sum(Irq)
