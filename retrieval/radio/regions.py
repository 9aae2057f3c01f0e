"""Where one may send, for how much of an hour, and for how long at once.

EU868 follows ETSI EN 300 220-2, US915 FCC 47 CFR 15.247. National rules differ: this is a table of defaults, not of law. A band's duty
budget is its own; a node that changes bands does not take what is left of one into another.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from retrieval.units import floor_div

HOUR_US: Final = 3_600_000_000
DUTY_WHOLE: Final = 10_000
UNLIMITED_US: Final = 0
"""A dwell limit of none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Band:
    """One sub-band; both edges belong to it."""

    region: str
    low_hz: int
    high_hz: int
    duty: int
    """Ten-thousandths of an hour."""
    dwell_max_us: int
    """The longest frame, or ``UNLIMITED_US``."""
    power_max_dbm: int
    """Effective radiated power."""

    @property
    def budget_us(self) -> int:
        """What may be sent in any hour."""
        return floor_div(HOUR_US, DUTY_WHOLE) * self.duty


_EU868: Final = (
    (863_000_000, 865_000_000, 10, 14),
    (865_000_000, 868_000_000, 100, 14),
    (868_000_000, 868_600_000, 100, 14),
    (868_700_000, 869_200_000, 10, 14),
    (869_400_000, 869_650_000, 1_000, 27),
    (869_700_000, 870_000_000, 100, 14),
)
BANDS: Final = (
    *(
        Band(region="EU868", low_hz=low_hz, high_hz=high_hz, duty=duty, dwell_max_us=UNLIMITED_US, power_max_dbm=power)
        for low_hz, high_hz, duty, power in _EU868
    ),
    Band(region="US915", low_hz=902_000_000, high_hz=928_000_000, duty=DUTY_WHOLE, dwell_max_us=400_000, power_max_dbm=28),
)
RELAY_BAND: Final = BANDS[4]
RELAY_HZ: Final = 869_525_000


def band_of(frequency_hz: int, bandwidth_hz: int) -> Band | None:
    """The band that a signal lies in with its whole width, or None: then nothing may be sent."""
    half = floor_div(bandwidth_hz + 1, 2)
    return next((band for band in BANDS if band.low_hz <= frequency_hz - half and frequency_hz + half <= band.high_hz), None)
