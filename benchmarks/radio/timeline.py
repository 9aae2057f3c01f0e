"""Virtual time: appointments in integer microseconds, kept in the order of their time and, within one microsecond, in which they were made.

Its rule: nothing here reads a clock or draws a number, so the same calls give the same order, always.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import Final

SECOND_US: Final = 1_000_000
HOUR_US: Final = 3600 * SECOND_US


class Appointment:
    """Something that will be done at its time, unless it is cancelled first."""

    __slots__ = ("_act",)

    def __init__(self, act: Callable[[], None]) -> None:
        self._act: Callable[[], None] | None = act

    def cancel(self) -> None:
        self._act = None

    def keep(self) -> None:
        if self._act is not None:
            self._act()


class Timeline:
    """The one clock of a simulation."""

    def __init__(self) -> None:
        self.now_us = 0
        self._appointments: Final[list[tuple[int, int, Appointment]]] = []
        self._n_made = 0

    def at(self, when_us: int, act: Callable[[], None]) -> Appointment:
        """Do it at ``when_us``, or now if that has passed."""
        made = Appointment(act)
        self._n_made += 1
        heapq.heappush(self._appointments, (max(when_us, self.now_us), self._n_made, made))
        return made

    def after(self, delay_us: int, act: Callable[[], None]) -> Appointment:
        return self.at(self.now_us + delay_us, act)

    def run(self, until_us: int) -> None:
        """Keep every appointment up to ``until_us``, those made on the way included; then it is ``until_us``."""
        while self._appointments and self._appointments[0][0] <= until_us:
            self.now_us, _, appointment = heapq.heappop(self._appointments)
            appointment.keep()
        self.now_us = max(self.now_us, until_us)

    def run_until(self, done: Callable[[], bool], limit_us: int) -> bool:
        """Keep appointments until ``done`` answers yes, and say whether it did before ``limit_us``."""
        while not done():
            if not self._appointments or self._appointments[0][0] > limit_us:
                self.now_us = max(self.now_us, limit_us)
                return False
            self.now_us, _, appointment = heapq.heappop(self._appointments)
            appointment.keep()
        return True
