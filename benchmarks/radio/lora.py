"""What two LoRa radios must agree on, and how much signal it takes.

The rule: integers only, and levels in quarters of a dB ("qdb") as the chip counts them. Sensitivity follows from the noise and the
demodulator's limit alone; whoever wants a worse radio takes it off the link.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Final

from benchmarks.radio.timeline import SECOND_US

QDB: Final = 4  # steps in one dB
SPREADING_MIN: Final = 5
SPREADING_MAX: Final = 12
BANDWIDTHS_HZ: Final = (7_810, 10_420, 15_630, 20_830, 31_250, 41_670, 62_500, 125_000, 250_000, 500_000)
"""What an SX1262 can do, table 13-47 of its data sheet."""
NOISE_FIGURE_DB: Final = 6
THERMAL_NOISE_DBM_HZ: Final = -174
CAPTURE_QDB: Final = 6 * QDB
"""A frame survives another of the same channel that is so much weaker; from field studies of LoRa's capture effect."""
SNR_LIMIT_SF7_QDB: Final = -30  # -7.5 dB
SNR_LIMIT_STEP_QDB: Final = 10  # 2.5 dB better for each step of the spreading factor
LOCK_SYMBOLS: Final = 5
"""Of the preamble: a receiver that hears fewer does not find the frame."""
SYNC_QUARTERS: Final = 17  # 4.25 symbols between preamble and header
HEADER_SYMBOLS: Final = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Channel:
    """What sender and receiver must have alike to understand each other."""

    frequency_hz: int
    bandwidth_hz: int
    spreading: int
    sync_word: int = 0x1424
    """Of private networks, as an SX126x spells it."""
    is_inverted: bool = False
    """IQ."""

    noise_qdb: int = field(init=False, repr=False, compare=False)
    """The noise floor, in quarters of a dBm: -117 dBm at 125 kHz."""
    floor_qdb: int = field(init=False, repr=False, compare=False)
    """The sensitivity: the weakest signal that is understood, in quarters of a dBm."""
    symbol_us: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        noise_qdb = round(QDB * (THERMAL_NOISE_DBM_HZ + NOISE_FIGURE_DB + 10 * math.log10(self.bandwidth_hz)))
        limit_qdb = SNR_LIMIT_SF7_QDB - SNR_LIMIT_STEP_QDB * (self.spreading - 7)
        object.__setattr__(self, "noise_qdb", noise_qdb)
        object.__setattr__(self, "floor_qdb", noise_qdb + limit_qdb)
        object.__setattr__(self, "symbol_us", (SECOND_US << self.spreading) // self.bandwidth_hz)

    def meets(self, other: Channel) -> bool:
        """Whether signals of the two disturb each other. Other spreading factors are as good as orthogonal, and so is another slope."""
        return self is other or (
            self.spreading == other.spreading
            and self.bandwidth_hz == other.bandwidth_hz
            and abs(self.frequency_hz - other.frequency_hz) * 4 < self.bandwidth_hz
        )

    def hears(self, other: Channel) -> bool:
        """Whether a receiver of this channel understands a frame of the other."""
        return self.meets(other) and self.sync_word == other.sync_word and self.is_inverted == other.is_inverted

    def __str__(self) -> str:
        return f"{self.frequency_hz}/{self.bandwidth_hz}/sf{self.spreading}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Framing:
    """How a frame is built around its payload; the receiver learns it from the header."""

    coding_rate: int = 5
    """4/5 to 4/8 as 5 to 8."""
    preamble_symbols: int = 16
    has_crc: bool = True


def low_data_rate(channel: Channel) -> bool:
    """Whether symbols are so long (16 ms) that the optimisation for low data rates is due; data sheet 6.1.1.4."""
    return (1 << channel.spreading) * SECOND_US >= 16_000 * channel.bandwidth_hz


def airtime_us(channel: Channel, framing: Framing, size_bytes: int) -> int:
    """How long a frame with an explicit header takes; data sheet 6.1.4."""
    modern = channel.spreading >= 7
    bits = 8 * size_bytes + 16 * framing.has_crc - 4 * channel.spreading + 20 + 8 * modern
    per_block = 4 * (channel.spreading - 2 * low_data_rate(channel)) if modern else 4 * channel.spreading
    symbols = framing.preamble_symbols + HEADER_SYMBOLS + -(-max(bits, 0) // per_block) * framing.coding_rate
    quarters = 4 * symbols + (SYNC_QUARTERS if modern else 25)
    return quarters * 250_000 * (1 << channel.spreading) // channel.bandwidth_hz
