"""What a node has sent within the hour, so that it never sends more than the law allows in any.

The hour is kept as 61 buckets of one minute: an hour that begins within a minute touches 61. A frame is counted in the minute it ends
in, and all 61 buckets are counted against it before it may start. So whatever overlaps an hour is in the sum, and the sum errs by less
than a minute to the safe side. The node's clock must not go back. The firmware's C agrees with this module.
"""

from __future__ import annotations

from typing import Final

from retrieval.radio.regions import HOUR_US
from retrieval.units import floor_div

MINUTE_US: Final = 60_000_000
BUCKETS: Final = 61


class DutyWindow:
    """The airtime of one band. Times are microseconds of a clock that only goes forward."""

    def __init__(self, budget_us: int) -> None:
        assert 0 <= budget_us <= HOUR_US
        self._budget_us: Final = budget_us
        self._budget_now_us = budget_us
        self._buckets = [0] * BUCKETS
        self._minute = 0

    @classmethod
    def after_restart(cls, budget_us: int, now_us: int) -> DutyWindow:
        """The window of a node that does not know what it sent in the last hour: everything it might have."""
        window = cls(budget_us)
        window._advance(floor_div(now_us, MINUTE_US))
        window._buckets[window._minute % BUCKETS] = budget_us
        return window

    def tighten(self, budget_us: int) -> None:
        """Take a lower budget from the host. A higher one than the band's stays the band's."""
        self._budget_now_us = min(max(budget_us, 0), self._budget_us)

    @property
    def budget_us(self) -> int:
        """What is in force."""
        return self._budget_now_us

    def spent_us(self, now_us: int) -> int:
        """What counts at this time."""
        self._advance(floor_div(now_us, MINUTE_US))
        return sum(self._buckets)

    def may_send(self, airtime_us: int, now_us: int) -> bool:
        """Whether a frame may start now."""
        return self.spent_us(now_us) + airtime_us <= self._budget_now_us

    def charge(self, airtime_us: int, now_us: int) -> None:
        """Count a frame that starts now, whether or not the radio then reports success. Asserts ``may_send``."""
        assert self.may_send(airtime_us, now_us)
        self._advance(floor_div(now_us + airtime_us, MINUTE_US))
        self._buckets[self._minute % BUCKETS] += airtime_us

    def next_us(self, airtime_us: int, now_us: int) -> int | None:
        """When such a frame may start if nothing else is sent: now, the beginning of a minute, or never."""
        over = self.spent_us(now_us) + airtime_us - self._budget_now_us
        if over <= 0:
            return now_us
        for minute in range(self._minute + 1, self._minute + 1 + BUCKETS):
            over -= self._buckets[minute % BUCKETS]  # the bucket that this minute takes over
            if over <= 0:
                return minute * MINUTE_US
        return None

    def _advance(self, minute: int) -> None:
        for skipped in range(max(self._minute + 1, minute - BUCKETS + 1), minute + 1):
            self._buckets[skipped % BUCKETS] = 0
        self._minute = max(self._minute, minute)
