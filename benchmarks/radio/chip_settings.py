"""What can be set in an SX1262: the commands that do nothing else, and the values that the data sheet lists for them (chapter 13).

The rule: a value that is not listed is refused, which makes it a finding, and the chip keeps what it had.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

from benchmarks.radio.lora import QDB, Channel
from retrieval.radio.airtime import BANDWIDTHS_HZ, CODING_RATES, PREAMBLE_MIN, SPREADING_FACTORS, Modulation

CRYSTAL_HZ: Final = 32_000_000
FREQUENCY_SHIFT: Final = 25
FREQUENCY_MIN_HZ: Final = 150_000_000
FREQUENCY_MAX_HZ: Final = 960_000_000
BANDWIDTH_CODES: Final = dict(zip((0x00, 0x08, 0x01, 0x09, 0x02, 0x0A, 0x03, 0x04, 0x05, 0x06), BANDWIDTHS_HZ))
"""Table 13-47."""
PA_DBM: Final = {(4, 7): 22, (3, 5): 20, (2, 3): 17, (2, 2): 14}
"""What TX parameters of +22 make of a duty cycle and a size of the amplifier; table 13-21."""
POWER_MIN_DBM: Final = -9
POWER_MAX_DBM: Final = 22
IMAGE_STEP_HZ: Final = 4_000_000
LORA: Final = 1
SX1262: Final = 0  # among devices; 1 is an SX1261
RAMP_MAX: Final = 7
FALLBACK_STANDBY_RC: Final = 0x20
ALL_CALIBRATIONS: Final = 0x7F
CAD_SYMBOLS: Final = (1, 2, 4, 8, 16)


@dataclass(slots=True, kw_only=True)
class Settings:
    """What commands have set since the last reset, as far as it matters to the air."""

    packet_type: int | None = None
    frequency_hz: int = 0
    spreading: int = 0
    bandwidth_hz: int = 0
    coding_rate: int = 0
    is_low_data_rate: bool = False
    preamble_symbols: int = 0
    length: int = 0
    has_crc: bool = False
    is_inverted: bool = False
    pa_dbm: int | None = None
    power_dbm: int | None = None
    has_tcxo: bool = False
    is_calibrated: bool = False
    image_hz: tuple[int, int] = (902_000_000, 928_000_000)
    """For which the image rejection is calibrated; after power-on the American band."""
    has_antenna_switch: bool = False
    tx_base: int = 0
    rx_base: int = 0
    irq_mask: int = 0
    dio1_mask: int = 0
    cad_symbols: int = 0
    cad_then_receive: bool = False
    cad_timeout: int = 0
    _channel: Channel | None = field(default=None, repr=False)

    def channel(self, sync_word: int) -> Channel:
        """The same object for as long as nothing changed: the air compares channels often."""
        made = self._channel
        if made is None or made.sync_word != sync_word:
            made = self._channel = Channel(
                frequency_hz=self.frequency_hz,
                bandwidth_hz=self.bandwidth_hz or BANDWIDTHS_HZ[-1],
                spreading=self.spreading or SPREADING_FACTORS[0],
                sync_word=sync_word,
                is_inverted=self.is_inverted,
            )
        return made

    def retune(self) -> None:
        """Something about the channel has changed."""
        self._channel = None

    def modulation(self) -> Modulation:
        return Modulation(
            spreading_factor=self.spreading or SPREADING_FACTORS[0],
            bandwidth_hz=self.bandwidth_hz or BANDWIDTHS_HZ[-1],
            coding_rate=self.coding_rate or CODING_RATES[0],
            preamble=max(self.preamble_symbols, PREAMBLE_MIN),
            crc=self.has_crc,
        )

    @property
    def power_qdb(self) -> int:
        """What the antenna radiates."""
        return QDB * ((self.power_dbm or 0) - (POWER_MAX_DBM - (self.pa_dbm or POWER_MAX_DBM)))

    def lacking(self, *, needs_power: bool) -> Iterator[str]:
        """What has not been set, and has to be before the radio runs on this board."""
        lacks = {
            "its TCXO": not self.has_tcxo,
            "a calibration after its TCXO was set": not self.is_calibrated,
            "a packet type": self.packet_type is None,
            "a frequency": not self.frequency_hz,
            "an image calibration for its frequency": not self.image_hz[0] <= self.frequency_hz <= self.image_hz[1],
            "modulation parameters": not self.spreading,
            "packet parameters": not self.preamble_symbols,
            "DIO2 as the antenna's switch": not self.has_antenna_switch,
            "the amplifier's configuration": needs_power and self.pa_dbm is None,
            "a power": needs_power and self.power_dbm is None,
        }
        yield from (what for what, is_lacking in lacks.items() if is_lacking)


@dataclass(frozen=True, slots=True, kw_only=True)
class Setter:
    """A command that only sets something; ``act`` returns what is wrong with its arguments, and then nothing was set."""

    name: str
    sizes: range
    """Of its arguments."""
    act: Callable[[Settings, bytes], str | None]
    busy_us: int = 1
    wants_rc: bool = False
    """Only while the chip stands by on its own RC oscillator: the crystal, or the TCXO, is what is being set up."""


def _regulator(settings: Settings, arguments: bytes) -> str | None:
    return f"regulator {arguments[0]}" if arguments[0] > 1 else None


def _tcxo(settings: Settings, arguments: bytes) -> str | None:
    if arguments[0] > 7:
        return f"TCXO voltage {arguments[0]}"
    if not int.from_bytes(arguments[1:]):
        return "no time for the TCXO to start"
    settings.has_tcxo, settings.is_calibrated = True, False
    return None


def _calibrate(settings: Settings, arguments: bytes) -> str | None:
    settings.is_calibrated = settings.is_calibrated or arguments[0] == ALL_CALIBRATIONS
    return None


def _calibrate_image(settings: Settings, arguments: bytes) -> str | None:
    low, high = arguments
    if low > high:
        return f"image calibration from {low:02x} to {high:02x}"
    settings.image_hz = (low * IMAGE_STEP_HZ, high * IMAGE_STEP_HZ)
    return None


def _antenna_switch(settings: Settings, arguments: bytes) -> str | None:
    settings.has_antenna_switch = arguments[0] == 1
    return None


def _fallback(settings: Settings, arguments: bytes) -> str | None:
    return None if arguments[0] == FALLBACK_STANDBY_RC else f"fallback mode {arguments[0]:02x}, of which the model has only standby"


def _packet_type(settings: Settings, arguments: bytes) -> str | None:
    if arguments[0] != LORA:
        return f"packet type {arguments[0]}, which is not LoRa"
    settings.packet_type = LORA
    return None


def _frequency(settings: Settings, arguments: bytes) -> str | None:
    frequency_hz = round(int.from_bytes(arguments) * CRYSTAL_HZ / (1 << FREQUENCY_SHIFT))
    if not FREQUENCY_MIN_HZ <= frequency_hz <= FREQUENCY_MAX_HZ:
        return f"a frequency of {frequency_hz} Hz"
    settings.frequency_hz = frequency_hz
    settings.retune()
    return None


def _amplifier(settings: Settings, arguments: bytes) -> str | None:
    duty, size, device, table = arguments
    if (duty, size) not in PA_DBM or device != SX1262 or table != 1:
        return f"amplifier {arguments.hex()}"
    settings.pa_dbm = PA_DBM[duty, size]
    return None


def _power(settings: Settings, arguments: bytes) -> str | None:
    power_dbm = int.from_bytes(arguments[:1], signed=True)
    if not POWER_MIN_DBM <= power_dbm <= POWER_MAX_DBM or arguments[1] > RAMP_MAX:
        return f"a power of {power_dbm} dBm, ramp {arguments[1]}"
    settings.power_dbm = power_dbm
    return None


def _buffer_base(settings: Settings, arguments: bytes) -> str | None:
    settings.tx_base, settings.rx_base = arguments
    return None


def _modulation(settings: Settings, arguments: bytes) -> str | None:
    spreading, bandwidth, coding, low_rate = arguments
    if settings.packet_type is None:
        return "modulation parameters before the packet type"
    if spreading not in SPREADING_FACTORS or bandwidth not in BANDWIDTH_CODES or coding + 4 not in CODING_RATES or low_rate > 1:
        return f"modulation parameters {arguments.hex()}"
    settings.spreading, settings.bandwidth_hz = spreading, BANDWIDTH_CODES[bandwidth]
    settings.coding_rate, settings.is_low_data_rate = coding + 4, low_rate == 1
    settings.retune()
    return None


def _packet(settings: Settings, arguments: bytes) -> str | None:
    preamble_symbols = int.from_bytes(arguments[:2])
    is_implicit, length, has_crc, is_inverted = arguments[2:6]
    if settings.packet_type is None:
        return "packet parameters before the packet type"
    if is_implicit or preamble_symbols < PREAMBLE_MIN or has_crc > 1 or is_inverted > 1:
        return f"packet parameters {arguments.hex()}"
    settings.preamble_symbols, settings.length = preamble_symbols, length
    settings.has_crc = has_crc == 1
    if settings.is_inverted != (is_inverted == 1):
        settings.is_inverted = is_inverted == 1
        settings.retune()
    return None


def _cad(settings: Settings, arguments: bytes) -> str | None:
    symbols, _, _, then = arguments[:4]
    if symbols >= len(CAD_SYMBOLS) or then > 1:
        return f"CAD parameters {arguments.hex()}"
    settings.cad_symbols, settings.cad_then_receive = CAD_SYMBOLS[symbols], then == 1
    settings.cad_timeout = int.from_bytes(arguments[4:])
    return None


SETTERS: Final = {
    0x88: Setter(name="SetCadParams", sizes=range(7, 8), act=_cad),
    0x86: Setter(name="SetRfFrequency", sizes=range(4, 5), act=_frequency),
    0x89: Setter(name="Calibrate", sizes=range(1, 2), act=_calibrate, busy_us=3_500, wants_rc=True),
    0x8A: Setter(name="SetPacketType", sizes=range(1, 2), act=_packet_type),
    0x8B: Setter(name="SetModulationParams", sizes=range(4, 5), act=_modulation),
    0x8C: Setter(name="SetPacketParams", sizes=range(6, 7), act=_packet),
    0x8E: Setter(name="SetTxParams", sizes=range(2, 3), act=_power),
    0x8F: Setter(name="SetBufferBaseAddress", sizes=range(2, 3), act=_buffer_base),
    0x93: Setter(name="SetRxTxFallbackMode", sizes=range(1, 2), act=_fallback),
    0x95: Setter(name="SetPaConfig", sizes=range(4, 5), act=_amplifier),
    0x96: Setter(name="SetRegulatorMode", sizes=range(1, 2), act=_regulator, wants_rc=True),
    0x97: Setter(name="SetDIO3AsTCXOCtrl", sizes=range(4, 5), act=_tcxo, wants_rc=True),
    0x98: Setter(name="CalibrateImage", sizes=range(2, 3), act=_calibrate_image, busy_us=2_000),
    0x9D: Setter(name="SetDIO2AsRfSwitchCtrl", sizes=range(1, 2), act=_antenna_switch),
}
"""All of them want the chip to stand by."""
