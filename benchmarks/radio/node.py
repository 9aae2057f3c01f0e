"""A node of the simulated mesh: a machine that runs the firmware, its radio chip, and its appointments with time.

Its rule is lock-step: a machine owns no clock. It is told the time and the level of DIO1, runs until it is idle, and says when it wants to
run again. Nothing sleeps, and nothing runs that was not told to.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol

from benchmarks.radio.air import Air
from benchmarks.radio.chip import Sx1262
from benchmarks.radio.timeline import Appointment

STEPS_MAX: Final = 20
"""With DIO1 still high after so many, its interrupt is served by nobody."""


class Stuck(Exception):
    """The firmware did not come to rest: DIO1 stays high, it ran beyond its budget, or it stopped where it is not idle."""


class Machine(Protocol):
    """Something that runs the firmware."""

    def step(self, now_us: int, *, dio1: bool) -> int | None:
        """Run until idle. Returns when to run next, None for when something happens; times begin with the machine. Raises ``Stuck``."""

    def feed(self, sent: bytes) -> None:
        """Bytes from the host, as on a serial line, cut anywhere."""

    def take(self) -> bytes:
        """Bytes for the host, those that came since the last call."""

    def read_flash(self) -> bytes:
        """All of what survives a power cut."""

    def write_flash(self, image: bytes) -> None:
        """Put back what survived; before the first step."""

    def close(self) -> None: ...


Build = Callable[[str, Sx1262], Machine]
"""Makes a machine of that name, wired to that chip."""


class Node:
    """One board with its radio, in one place of the air."""

    def __init__(self, air: Air, name: str, build: Build, *, seed: int) -> None:
        """The machine starts with the first appointment, which is now."""
        self.name: Final = name
        self.chip: Final = Sx1262(air.station(name), air.timeline, seed=seed)
        self.on_output: Callable[[bytes], None] = lambda received: None
        """Called with bytes for the host as they come."""
        self._timeline: Final = air.timeline
        self._journal: Final = air.journal
        self._started_us = self._timeline.now_us
        """When power came: a machine's clock begins at zero."""
        self._machine: Machine = build(name, self.chip)
        self._is_running = False
        self._next = Appointment(lambda: None)
        self._now = Appointment(lambda: None)
        self._is_called = False
        self._is_closed = False
        self.chip.on_interrupt = self._call
        self._call()

    def feed(self, sent: bytes) -> None:
        """Bytes from the host; what they set in motion runs in this microsecond."""
        if not (self._is_running or self._is_closed):
            self._run()  # a machine's clock stands still between steps, and what comes from a host comes now
        self._machine.feed(sent)
        self._give_output()
        self._call()

    def cut_power(self, build: Build) -> None:
        """Power goes and comes back at once: flash stays, everything else starts anew, in a machine made by ``build``."""
        survived = self._machine.read_flash()
        self._machine.close()
        self._next.cancel()
        self._journal.write(self.name, "restarts")
        self._started_us = self._timeline.now_us
        self._machine = build(self.name, self.chip)
        self._machine.write_flash(survived)
        self.chip.reset()
        self._call()

    @property
    def machine(self) -> Machine:
        return self._machine

    def close(self) -> None:
        """End the machine; from now on the node is silent."""
        if not self._is_closed:
            self._is_closed = True
            self._next.cancel()
            self._now.cancel()
            self._machine.close()

    def _call(self) -> None:
        """Have it run in this microsecond, once."""
        if not (self._is_running or self._is_called or self._is_closed):
            self._is_called = True
            self._now = self._timeline.at(self._timeline.now_us, self._run)

    def _run(self) -> None:
        self._is_called, self._is_running = False, True
        now_us = self._timeline.now_us
        self._next.cancel()
        for _ in range(STEPS_MAX):
            next_us = self._machine.step(now_us - self._started_us, dio1=self.chip.dio1)
            if not self.chip.dio1:
                break
        else:
            raise Stuck(f"{self.name}: DIO1 is high after {STEPS_MAX} steps at {now_us} us")
        self._is_running = False
        if next_us is not None:
            self._next = self._timeline.at(max(self._started_us + next_us, now_us + 1), self._run)
        self._give_output()

    def _give_output(self) -> None:
        received = self._machine.take()
        if received:
            self.on_output(received)
