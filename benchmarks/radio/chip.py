"""An SX1262 as its driver meets it: SPI bytes while NSS is low, BUSY, DIO1, and a radio that stands in the simulated air.

Its rule: what a real chip would answer with silence, a hang or a spoilt signal is written down as a finding, and a run with a finding
has failed. What only sets something is in ``chip_settings``; what is said here follows the SX1261/2 data sheet, revision 2.1, and its
chapter 15 of known limitations. The model knows LoRa packets with explicit headers; it does not know temperature, crystals, or how long a
PLL needs.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, IntEnum, IntFlag
from functools import partial
from typing import Final

from benchmarks.radio.air import Reception, Station, Transmission
from benchmarks.radio.chip_settings import SETTERS, Setter, Settings
from benchmarks.radio.lora import LOCK_SYMBOLS
from benchmarks.radio.timeline import Appointment, Timeline

BUFFER_SIZE: Final = 256
REGISTERS_SIZE: Final = 0x1000
REGISTERS_AFTER_RESET: Final = {0x0736: 0x0D, 0x0740: 0x14, 0x0741: 0x24, 0x0889: 0x01, 0x08AC: 0x94, 0x08D8: 0xC8, 0x08E7: 0x18}
RANDOM_REGISTERS: Final = range(0x0819, 0x081D)
IQ_POLARITY: Final = 0x0736
SYNC_WORD: Final = 0x0740
TX_MODULATION: Final = 0x0889
TX_CLAMP: Final = 0x08D8
TX_CLAMP_BITS: Final = 0x1E
TIMER_US: Final = (1000, 64)
"""A step of the timers of RX and TX is 1000/64 us."""
FOREVER: Final = 0xFFFFFF
XOSC_START_ERROR: Final = 0x20
RESET_BUSY_US: Final = 3_500


class Mode(Enum):
    """What the chip is doing, with the number it has in the status byte."""

    SLEEP = 0
    STANDBY_RC = 2
    STANDBY_XOSC = 3
    SYNTHESIS = 4
    RX = 5
    TX = 6
    CAD = 7
    """Its status says 5, like receiving."""


STANDING_BY: Final = (Mode.STANDBY_RC, Mode.STANDBY_XOSC)


class Said(IntEnum):
    """The command status of the status byte."""

    NOTHING = 0
    DATA_AVAILABLE = 2
    TIMEOUT = 3
    PROCESSING_ERROR = 4
    NOT_EXECUTED = 5
    TX_DONE = 6


class Irq(IntFlag):
    TX_DONE = 0x001
    RX_DONE = 0x002
    PREAMBLE = 0x004
    HEADER_VALID = 0x010
    HEADER_ERROR = 0x020
    CRC_ERROR = 0x040
    CAD_DONE = 0x080
    CAD_DETECTED = 0x100
    TIMEOUT = 0x200


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    """A command that does something when NSS rises."""

    name: str
    sizes: range
    """Of its arguments."""
    act: Callable[[Sx1262, bytes], str | None]
    """Returns what is wrong with them."""
    busy_us: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """Is answered on MISO from the byte ``answer_at`` on; before that the status byte is repeated."""

    name: str
    answer_at: int
    answer: Callable[[Sx1262, bytes], bytes]


class Sx1262:
    """One chip. ``select``, ``exchange`` and ``deselect`` are its SPI; ``transfer`` is a whole transaction of a driver that minded BUSY."""

    def __init__(self, station: Station, timeline: Timeline, *, seed: int) -> None:
        self.clock: Callable[[], int] = lambda: timeline.now_us
        """The time the driver lives in, in microseconds: where it runs ahead of the air while it waits, BUSY falls in its time."""
        self.findings: Final[list[str]] = []
        self.on_interrupt: Callable[[], None] = lambda: None
        """Called when DIO1 rises."""
        self._station: Final = station
        self._timeline: Final = timeline
        self._random: Final = random.Random(seed)
        self._timer = Appointment(lambda: None)
        self._is_selected = False
        self._mosi = bytearray()
        self._answer = b""
        station.radio = self
        self.reset()

    # The pins.

    def reset(self) -> None:
        """NRESET was pulled: everything is as after power-on."""
        self._timer.cancel()
        self._station.stand_by()
        self.settings = Settings()
        self.registers = bytearray(REGISTERS_SIZE)
        for address, value in REGISTERS_AFTER_RESET.items():
            self.registers[address] = value
        self.buffer = bytearray(BUFFER_SIZE)
        self.mode = Mode.STANDBY_RC
        self._said = Said.NOTHING
        self._irq = Irq(0)
        self._dio1 = False
        self._rx_at = self._rx_length = self._rx_start = 0
        self._last: Reception | None = None
        self._is_continuous = False
        self._cad_saw = False
        self._busy_until_us = self.clock() + RESET_BUSY_US

    @property
    def busy(self) -> bool:
        return self.clock() < self._busy_until_us

    @property
    def dio1(self) -> bool:
        return self._dio1

    def select(self) -> None:
        """NSS falls."""
        if self.busy:
            self.punish(f"was selected while BUSY, {self._busy_until_us - self.clock()} us too early")
        if self._is_selected:
            self.punish("was selected twice")
        self._is_selected = True
        self._mosi.clear()

    def exchange(self, mosi: bytes) -> bytes:
        """Clock some bytes through; a transaction may come in any pieces."""
        if not self._is_selected:
            self.punish(f"was clocked with NSS high: {mosi.hex()}")
            return bytes(len(mosi))
        start = len(self._mosi)
        self._mosi += mosi
        command = QUESTIONS.get(self._mosi[0])
        status = self.status
        if command is None or len(self._mosi) <= command.answer_at:
            return bytes([status]) * len(mosi)
        if start <= command.answer_at:
            self._answer = command.answer(self, bytes(self._mosi[1 : command.answer_at]))
        padded = bytes([status]) * command.answer_at + self._answer
        return padded[start : start + len(mosi)].ljust(len(mosi), b"\0")

    def deselect(self) -> None:
        """NSS rises: a command takes effect."""
        if not self._is_selected:
            self.punish("was deselected twice")
        self._is_selected = False
        if not self._mosi:
            return
        opcode, arguments = self._mosi[0], bytes(self._mosi[1:])
        question = QUESTIONS.get(opcode)
        command = SETTERS.get(opcode) or ACTIONS.get(opcode)
        if command is not None:
            self._obey(command, arguments)
        elif question is None:
            self.punish(f"was sent the unknown opcode {opcode:02x}")
            self._said = Said.PROCESSING_ERROR
        elif len(arguments) < question.answer_at:
            self.punish(f"was asked {question.name} and not given the time to answer")

    def transfer(self, mosi: bytes) -> bytes:
        """A transaction of a driver that has waited for BUSY."""
        self._busy_until_us = 0
        self.select()
        answered = self.exchange(mosi)
        self.deselect()
        return answered

    def punish(self, words: str) -> None:
        self.findings.append(f"{self._timeline.now_us / 1_000_000:.6f} {self._station.name}: the radio {words}")

    # What commands do.

    def stand_by(self, mode: Mode) -> None:
        self._timer.cancel()
        self._station.stand_by()
        self.mode = mode

    def sleep(self, *, is_warm: bool) -> None:
        if not is_warm:
            self.reset()
        self.stand_by(Mode.SLEEP)

    def receive(self, timeout: int) -> None:
        """Begin to receive: for ever (FFFFFF), until a frame came (0), or for a time."""
        self._prepare(needs_power=False)
        self.stand_by(Mode.RX)
        self._is_continuous = timeout == FOREVER
        self._rx_at = self.settings.rx_base
        self._station.listen(self.settings.channel(self.sync_word))
        if timeout not in (0, FOREVER):
            self._timer = self._timeline.after(timeout * TIMER_US[0] // TIMER_US[1], self._receive_timeout)

    def transmit(self, timeout: int) -> None:
        self._prepare(needs_power=True)
        if self.mode is Mode.TX:
            self.punish("was told to send while it sends")
        self.stand_by(Mode.TX)
        settings = self.settings
        channel = settings.channel(self.sync_word)
        if settings.length == 0:
            self.punish("was told to send nothing")
        payload = bytes(self.buffer[(settings.tx_base + number) % BUFFER_SIZE] for number in range(settings.length))
        sent = self._station.send(payload, channel, settings.modulation(), settings.power_qdb)
        length_us = timeout * TIMER_US[0] // TIMER_US[1]
        if timeout and length_us < sent.end_us - sent.start_us:
            self._timer = self._timeline.after(length_us, self._send_timeout)

    def detect_activity(self) -> None:
        self._prepare(needs_power=False)
        self.stand_by(Mode.CAD)
        channel = self.settings.channel(self.sync_word)
        self._cad_saw = self._station.senses(channel)
        self._timer = self._timeline.after(self.settings.cad_symbols * channel.symbol_us, self._cad_done)

    def clear_irq(self, bits: int) -> None:
        self._irq &= ~Irq(bits)
        self._update_dio1()

    def mask_irq(self, bits: int, dio1_bits: int) -> None:
        self.settings.irq_mask, self.settings.dio1_mask = Irq(bits), Irq(dio1_bits)
        if dio1_bits & ~bits:
            self.punish(f"was told to show on DIO1 what its mask keeps back: {dio1_bits & ~bits:04x}")
        self._update_dio1()

    def read_registers(self, address: int) -> bytes:
        if address in RANDOM_REGISTERS:
            if self.mode is not Mode.RX:
                self.punish("was asked for a random number while not receiving, when it has none")
                return bytes(4)
            return self._random.randbytes(4)
        return bytes(self.registers[address : address + BUFFER_SIZE])

    def read_buffer(self, offset: int) -> bytes:
        return bytes(self.buffer[offset:] + self.buffer[:offset])

    # What it answers.

    @property
    def status(self) -> int:
        mode = Mode.RX if self.mode is Mode.CAD else self.mode
        value: int = mode.value
        return value << 4 | self._said << 1

    @property
    def device_errors(self) -> int:
        """Without its TCXO the oscillator did not start."""
        return 0 if self.settings.has_tcxo else XOSC_START_ERROR

    @property
    def irq(self) -> int:
        return self._irq

    @property
    def sync_word(self) -> int:
        return int.from_bytes(self.registers[SYNC_WORD : SYNC_WORD + 2])

    @property
    def rx_buffer_status(self) -> bytes:
        return bytes((self._rx_length, self._rx_start))

    @property
    def packet_status(self) -> bytes:
        """RSSI, SNR and RSSI of the signal, of the last frame."""
        if self._last is None:
            return bytes(3)
        rssi = min(max(-self._last.rssi_qdb // 2, 0), 255)
        return bytes((rssi, min(max(self._last.snr_qdb, -128), 127) & 0xFF, rssi))

    @property
    def rssi_now(self) -> int:
        """Halves of a dBm, negated."""
        if self.mode is not Mode.RX:
            self.punish("was asked what it hears while not receiving")
        return min(max(-self._station.rssi_qdb(self.settings.channel(self.sync_word)) // 2, 0), 255)

    # What the air tells it.

    def frame_locked(self, transmission: Transmission) -> None:
        symbol_us = transmission.channel.symbol_us
        found_us = max(self._timeline.now_us, transmission.start_us + LOCK_SYMBOLS * symbol_us)
        for when_us, bit in ((found_us, Irq.PREAMBLE), (transmission.header_end_us, Irq.HEADER_VALID)):
            if self.settings.irq_mask & bit:
                self._timeline.at(when_us, partial(self._frame_progressed, transmission, bit))

    def frame_arrived(self, reception: Reception) -> None:
        if len(reception.payload) > self.settings.length:
            self._raise(Irq.HEADER_ERROR)
            return
        for number, byte in enumerate(reception.payload):
            self.buffer[(self._rx_at + number) % BUFFER_SIZE] = byte
        self._rx_start, self._rx_length = self._rx_at, len(reception.payload)
        self._rx_at = (self._rx_at + len(reception.payload)) % BUFFER_SIZE  # in continuous mode the next one lies behind
        self._last = reception
        self._said = Said.DATA_AVAILABLE
        if not self._is_continuous:
            self.stand_by(Mode.STANDBY_RC)
        self._raise(Irq.RX_DONE if reception.crc_ok else Irq.RX_DONE | Irq.CRC_ERROR)

    def frame_sent(self) -> None:
        self.stand_by(Mode.STANDBY_RC)
        self._said = Said.TX_DONE
        self._raise(Irq.TX_DONE)

    def _frame_progressed(self, transmission: Transmission, bit: Irq) -> None:
        if self._station.locked is transmission:
            self._raise(bit)

    def _receive_timeout(self) -> None:
        if self._station.locked is None:  # the timer stops when a frame is found
            self.stand_by(Mode.STANDBY_RC)
            self._said = Said.TIMEOUT
            self._raise(Irq.TIMEOUT)

    def _send_timeout(self) -> None:
        self.stand_by(Mode.STANDBY_RC)
        self._said = Said.TIMEOUT
        self._raise(Irq.TIMEOUT)

    def _cad_done(self) -> None:
        saw = self._cad_saw or self._station.senses(self.settings.channel(self.sync_word))
        self.stand_by(Mode.STANDBY_RC)
        if saw and self.settings.cad_then_receive:
            self.receive(self.settings.cad_timeout)
        self._raise(Irq.CAD_DONE | Irq.CAD_DETECTED if saw else Irq.CAD_DONE)

    # Inside.

    def _obey(self, command: Setter | Action, arguments: bytes) -> None:
        if self.mode is Mode.SLEEP:
            self.punish(f"was sent {command.name} while asleep")
        elif isinstance(command, Setter) and self.mode not in STANDING_BY:
            self.punish(f"was sent {command.name} while in {self.mode.name}")
        elif isinstance(command, Setter) and command.wants_rc and self.mode is not Mode.STANDBY_RC:
            self.punish(f"was sent {command.name} while on its crystal")
        self._busy_until_us = self.clock() + command.busy_us
        self._said = Said.NOTHING
        wrong: str | None = f"{len(arguments)} bytes: {arguments.hex()}"
        if len(arguments) in command.sizes:
            wrong = command.act(self.settings, arguments) if isinstance(command, Setter) else command.act(self, arguments)
        if wrong is not None:
            self.punish(f"was sent {command.name} with {wrong}")
            self._said = Said.PROCESSING_ERROR

    def _prepare(self, *, needs_power: bool) -> None:
        """Before the radio runs: everything that must have been set, has been."""
        settings = self.settings
        for lacking in settings.lacking(needs_power=needs_power):
            self.punish(f"was started without {lacking}")
        channel = settings.channel(self.sync_word)
        if settings.is_low_data_rate != settings.modulation().low_data_rate:
            self.punish(f"was started with the low data rate optimisation {'on' if settings.is_low_data_rate else 'off'} at {channel}")
        if bool(self.registers[IQ_POLARITY] & 4) == channel.is_inverted:
            self.punish("was started with the wrong IQ polarity in 0736 (data sheet 15.4)")
        if needs_power:
            if bool(self.registers[TX_MODULATION] & 4) == (channel.bandwidth_hz == 500_000):
                self.punish(f"was told to send with the wrong modulation quality in 0889 at {channel} (data sheet 15.1)")
            if self.registers[TX_CLAMP] & TX_CLAMP_BITS != TX_CLAMP_BITS:
                self.punish("was told to send with the power amplifier's clamp in 08d8 as it was (data sheet 15.2)")

    def _raise(self, bits: Irq) -> None:
        self._irq |= bits & self.settings.irq_mask
        self._update_dio1()

    def _update_dio1(self) -> None:
        was_high, self._dio1 = self._dio1, bool(self._irq & self.settings.dio1_mask)
        if self._dio1 and not was_high:
            self.on_interrupt()


def _set_standby(chip: Sx1262, arguments: bytes) -> str | None:
    if arguments[0] >= len(STANDING_BY):
        return f"the way {arguments[0]}"
    mode = STANDING_BY[arguments[0]]
    if mode is Mode.STANDBY_XOSC and not chip.settings.has_tcxo:
        return "a crystal that has no power yet (data sheet 13.3.6)"
    chip.stand_by(mode)
    return None


def _set_rx(chip: Sx1262, arguments: bytes) -> str | None:
    chip.receive(int.from_bytes(arguments))
    return None


def _set_tx(chip: Sx1262, arguments: bytes) -> str | None:
    chip.transmit(int.from_bytes(arguments))
    return None


def _set_sleep(chip: Sx1262, arguments: bytes) -> str | None:
    chip.sleep(is_warm=bool(arguments[0] & 4))
    return None


def _set_cad(chip: Sx1262, _: bytes) -> str | None:
    chip.detect_activity()
    return None


def _mask_irq(chip: Sx1262, arguments: bytes) -> str | None:
    chip.mask_irq(int.from_bytes(arguments[:2]), int.from_bytes(arguments[2:4]))
    return None if not any(arguments[4:]) else "interrupts on DIO2 or DIO3, which this board uses otherwise"


def _clear_irq(chip: Sx1262, arguments: bytes) -> str | None:
    chip.clear_irq(int.from_bytes(arguments))
    return None


def _clear_errors(chip: Sx1262, arguments: bytes) -> str | None:
    return "errors that are not zero" if any(arguments) else None


def _write_registers(chip: Sx1262, arguments: bytes) -> str | None:
    address, values = int.from_bytes(arguments[:2]), arguments[2:]
    if address + len(values) > REGISTERS_SIZE:
        return f"a register {address:04x} that it does not have"
    chip.registers[address : address + len(values)] = values
    return None


def _write_buffer(chip: Sx1262, arguments: bytes) -> str | None:
    for number, byte in enumerate(arguments[1:]):
        chip.buffer[(arguments[0] + number) % BUFFER_SIZE] = byte
    return None


ACTIONS: Final = {
    0x02: Action(name="ClearIrqStatus", sizes=range(2, 3), act=_clear_irq),
    0x07: Action(name="ClearDeviceErrors", sizes=range(2, 3), act=_clear_errors),
    0x08: Action(name="SetDioIrqParams", sizes=range(8, 9), act=_mask_irq),
    0x0D: Action(name="WriteRegister", sizes=range(3, 3 + BUFFER_SIZE), act=_write_registers),
    0x0E: Action(name="WriteBuffer", sizes=range(2, 2 + BUFFER_SIZE), act=_write_buffer),
    0x80: Action(name="SetStandby", sizes=range(1, 2), act=_set_standby, busy_us=50),
    0x82: Action(name="SetRx", sizes=range(3, 4), act=_set_rx, busy_us=85),
    0x83: Action(name="SetTx", sizes=range(3, 4), act=_set_tx, busy_us=110),
    0x84: Action(name="SetSleep", sizes=range(1, 2), act=_set_sleep, busy_us=0),
    0xC5: Action(name="SetCad", sizes=range(1), act=_set_cad, busy_us=85),
}
"""Table 8-2 for how long mode changes take."""
QUESTIONS: Final = {
    0x12: Question(name="GetIrqStatus", answer_at=2, answer=lambda chip, _: chip.irq.to_bytes(2)),
    0x13: Question(name="GetRxBufferStatus", answer_at=2, answer=lambda chip, _: chip.rx_buffer_status),
    0x14: Question(name="GetPacketStatus", answer_at=2, answer=lambda chip, _: chip.packet_status),
    0x15: Question(name="GetRssiInst", answer_at=2, answer=lambda chip, _: bytes((chip.rssi_now,))),
    0x17: Question(name="GetDeviceErrors", answer_at=2, answer=lambda chip, _: chip.device_errors.to_bytes(2)),
    0x1D: Question(name="ReadRegister", answer_at=4, answer=lambda chip, sent: chip.read_registers(int.from_bytes(sent[:2]))),
    0x1E: Question(name="ReadBuffer", answer_at=3, answer=lambda chip, sent: chip.read_buffer(sent[0])),
    0xC0: Question(name="GetStatus", answer_at=1, answer=lambda chip, _: bytes((chip.status,))),
}

COMMAND_TABLES: Final = (SETTERS, ACTIONS, QUESTIONS)
