"""The progress of a transfer: bytes, rate, spend, and how long it will still take.

The rule: progress goes to stderr, and a transfer is the same with and without it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from types import TracebackType
from typing import Final

from rich import progress as bars
from rich.table import Column
from rich.text import Text

from retrieval.console.screen import Console, screen_for
from retrieval.console.words import printable, show_amount, show_duration, show_rate, show_size

LOG_INTERVAL_S: Final = 5  # between two lines of a transfer that nobody watches: enough to see that it lives
LABEL_MAX: Final = 24  # characters
LABELLED_FROM: Final = 100  # columns; in fewer, the figures come first and the label goes

_log = logging.getLogger(__name__)


class Progress:
    """A bar while stderr is a terminal; a log line every few seconds with ``--verbose``; otherwise nothing. A context manager."""

    def __init__(
        self, console: Console, label: str, total_bytes: int | None, *, resumed_bytes: int = 0, now: Callable[[], float] = time.monotonic
    ) -> None:
        """``total_bytes`` is None while unknown; ``resumed_bytes`` were there before, so they count neither for rate nor for time left."""
        self._label: Final = printable(label)[:LABEL_MAX]
        self._total_bytes: Final = total_bytes
        self._resumed_bytes: Final = resumed_bytes
        self._now: Final = now
        self._started = self._logged = now()
        self._bar: bars.Progress | None = None
        if console.stderr.isatty():
            screen = screen_for(console.stderr)
            self._bar = bars.Progress(
                *([bars.TextColumn("{task.description}", markup=False)] if screen.width >= LABELLED_FROM else []),
                bars.BarColumn(bar_width=None, table_column=Column(ratio=1)),  # gets what the figures leave
                _Figures(),
                console=screen,
                get_time=now,
                transient=True,
                redirect_stdout=False,
                expand=True,
            )
            self._task = self._bar.add_task(self._label, total=total_bytes, completed=resumed_bytes, spent=0)

    def __enter__(self) -> Progress:
        if self._bar:
            self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._bar:
            self._bar.stop()

    def update(self, done_bytes: int, spent: int | None) -> None:
        """The transfer stands at ``done_bytes`` verified in all, ``spent`` (smallest units) of this deal, or None where nothing is paid."""
        if self._bar:
            self._bar.update(self._task, completed=done_bytes, spent=spent)
        elif self._now() - self._logged >= LOG_INTERVAL_S:
            self._logged = self._now()
            rate = (done_bytes - self._resumed_bytes) / (self._logged - self._started)
            left_s = (self._total_bytes - done_bytes) / rate if self._total_bytes is not None and rate > 0 else None
            _log.info("%s: %s", self._label, figures(done_bytes, self._total_bytes, rate, spent, left_s))


def figures(done_bytes: int, total_bytes: int | None, bytes_per_s: float | None, spent: int | None, left_s: float | None) -> str:
    """``12 MiB of 64 MiB · 3.2 MiB/s · 0.0012 USD · 16 s left``, less what is not known."""
    parts = [show_size(done_bytes) if total_bytes is None else f"{show_size(done_bytes)} of {show_size(total_bytes)}"]
    if bytes_per_s is not None:
        parts.append(show_rate(bytes_per_s))
    if spent is not None:
        parts.append(show_amount(spent))
    if left_s:
        parts.append(f"{show_duration(round(left_s))} left")
    return " · ".join(parts)


class _Figures(bars.ProgressColumn):
    def render(self, task: bars.Task) -> Text:
        total_bytes = None if task.total is None else int(task.total)
        return Text(figures(int(task.completed), total_bytes, task.speed, task.fields["spent"], task.time_remaining), no_wrap=True)
