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
