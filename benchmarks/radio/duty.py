"""The auditor of the law: how much a node has sent in any hour, counted from the air and from nothing that the node says.

The rule: an hour begins anywhere. What was sent within [t - 1 h, t] is largest where a transmission ends, so it is looked at there.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Final

from benchmarks.radio.timeline import HOUR_US, SECOND_US
from retrieval.radio.regions import BANDS, UNLIMITED_US, Band


@dataclass(slots=True)
class Window:
    """What one node sent in one band: the sum over the last hour, and the worst hour so far."""

    worst_us: int = 0
    total_us: int = 0
    _sent: deque[tuple[int, int]] = field(default_factory=deque)
    _sum_us: int = 0

    def sent(self, start_us: int, end_us: int) -> int:
        """Enter a transmission, in their order; returns the airtime of the hour that ends with it."""
        self._sent.append((start_us, end_us))
        self._sum_us += end_us - start_us
        self.total_us += end_us - start_us
        opens_us = end_us - HOUR_US
        while self._sent[0][1] <= opens_us:
            gone_start, gone_end = self._sent.popleft()
            self._sum_us -= gone_end - gone_start
        before_us = max(0, opens_us - self._sent[0][0])  # of a transmission the hour begins in
        self.worst_us = max(self.worst_us, self._sum_us - before_us)
        return self._sum_us - before_us


class Auditor:
    """Watches every transmission of a region. ``breaches`` stays empty, or the firmware is at fault."""

    def __init__(self, region: str = "EU868") -> None:
        self._bands: Final = [band for band in BANDS if band.region == region]
        self._windows: Final[dict[tuple[str, Band], Window]] = {}
        self.breaches: Final[list[str]] = []

    def sent(self, name: str, *, frequency_hz: int, bandwidth_hz: int, power_dbm: int, start_us: int, end_us: int) -> None:
        band = self.band(frequency_hz, bandwidth_hz)
        when = f"{start_us / SECOND_US:.6f} {name}"
        if band is None:
            self.breaches.append(f"{when} sent at {frequency_hz} Hz, {bandwidth_hz} Hz wide: in no band of the region")
            return
        spent_us = self._windows.setdefault((name, band), Window()).sent(start_us, end_us)
        if spent_us > band.budget_us:
            self.breaches.append(f"{when} sent {spent_us} us within an hour of {band.budget_us} us")
        if power_dbm > band.power_max_dbm:
            self.breaches.append(f"{when} sent with {power_dbm} dBm of {band.power_max_dbm}")
        if band.dwell_max_us != UNLIMITED_US and end_us - start_us > band.dwell_max_us:
            self.breaches.append(f"{when} sent for {end_us - start_us} us at once, of {band.dwell_max_us} us")

    def band(self, frequency_hz: int, bandwidth_hz: int) -> Band | None:
        """The band a signal lies in with all of its width."""
        for band in self._bands:
            if band.low_hz <= frequency_hz - bandwidth_hz // 2 and frequency_hz + bandwidth_hz // 2 <= band.high_hz:
                return band
        return None

    def worst_us(self, name: str) -> int:
        """The most that node sent within any hour, in the band where that was most."""
        return max((window.worst_us for (sender, _), window in self._windows.items() if sender == name), default=0)

    def total_us(self, name: str) -> int:
        return sum(window.total_us for (sender, _), window in self._windows.items() if sender == name)

    def worst_share(self, name: str) -> float:
        """The worst hour of a node as a part of what it may send; more than 1 is a breach."""
        return max((window.worst_us / band.budget_us for (sender, band), window in self._windows.items() if sender == name), default=0.0)
