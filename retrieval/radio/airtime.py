"""How long a LoRa frame is on the air, in integers (SX1261/2 data sheet, 6.1.4): the C core gives the same microsecond."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from retrieval.units import ceil_div, floor_div

SPREADING_FACTORS: Final = range(5, 13)
CODING_RATES: Final = range(5, 9)  # 4/5 to 4/8
BANDWIDTHS_HZ: Final = (7_810, 10_420, 15_630, 20_830, 31_250, 41_670, 62_500, 125_000, 250_000, 500_000)
PREAMBLE_MIN: Final = 6  # symbols
PREAMBLE_MAX: Final = 65_535
_LONG_SYMBOL_US: Final = 16_000  # from here on the chip wants its low-data-rate optimisation


@dataclass(frozen=True, slots=True, kw_only=True)
class Modulation:
    """How the radio is set. The defaults are the relay band's: 55 bytes of payload a second at 10 % duty."""

    spreading_factor: int = 7
    bandwidth_hz: int = 125_000
    coding_rate: int = 5
    preamble: int = 16
    crc: bool = True
    explicit_header: bool = True

    def __post_init__(self) -> None:
        assert self.spreading_factor in SPREADING_FACTORS
        assert self.bandwidth_hz in BANDWIDTHS_HZ
        assert self.coding_rate in CODING_RATES
        assert PREAMBLE_MIN <= self.preamble <= PREAMBLE_MAX

    @property
    def low_data_rate(self) -> bool:
        """Whether a symbol takes 16 ms or longer."""
        return floor_div(1_000_000 << self.spreading_factor, self.bandwidth_hz) >= _LONG_SYMBOL_US


def airtime_us(size_bytes: int, modulation: Modulation) -> int:
    """Microseconds that a frame of this many bytes takes, rounded down as the formula's last division does."""
    assert 0 <= size_bytes <= 255
    factor = modulation.spreading_factor
    is_short = factor < 7  # SF5 and SF6 have a longer preamble, and no eight spare bits
    bits = 8 * size_bytes + 16 * modulation.crc - 4 * factor + 20 * modulation.explicit_header + (0 if is_short else 8)
    bits_per_block = 4 * (factor if is_short or not modulation.low_data_rate else factor - 2)
    blocks = ceil_div(max(bits, 0), bits_per_block)
    quarters = 4 * (modulation.preamble + 8 + blocks * modulation.coding_rate) + (25 if is_short else 17)
    return floor_div(quarters * 250_000 << factor, modulation.bandwidth_hz)
