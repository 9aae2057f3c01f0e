"""What a benchmark writes down: figures with their spread, what they are compared with, and whether that is enough.

Its rule: a figure is the median of several runs, and things that are compared take turns (A B A B), so that a machine which slows down
or speeds up does so for all of them.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

from benchmarks.workload import Workload

T = TypeVar("T")

MORE_IS_BETTER: Final = {
    "MiB/s": True,
    "/s": True,
    "share": True,
    "ms": False,
    "s": False,
    "CPU s/GiB": False,
    "MiB": False,
    "%": False,
    "USD/GB": False,
}
"""Every unit a figure may have, and which way is better: a target is a floor where more is better, a ceiling elsewhere."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One figure. README.md defines every metric."""

    name: str
    """Of the benchmark."""
    metric: str
    value: float
    """The median of its runs."""
    unit: str
    spread: float
    """From the lowest run to the highest, as a fraction of the median."""
    baseline: float | None
    """What ``ratio`` compares with, in the same unit; the metric's name says what that is."""
    ratio: float | None
    """``value / baseline``."""
    target: float | None
    """For ``ratio`` where there is one, else for ``value``: at least this, or at most where less is better."""
    met: bool | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Skipped:
    """What was not measured, and why not."""

    name: str
    what: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """Where and how much a benchmark measures."""

    folder: Path
    """Empty, on a disk, and gone afterwards."""
    workload: Workload
    runs: int
    """How often each thing is measured."""
    with_peers: bool
    """Whether foreign software is measured beside ours."""


class Sheet:
    """The figures of one benchmark."""

    def __init__(self, name: str) -> None:
        self.name: Final = name
        self.records: Final[list[Record]] = []
        self.samples: Final[dict[str, list[float]]] = {}
        """By metric, every run, for whoever wants to see more than a median."""
        self.skipped: Final[list[Skipped]] = []

    def add(
        self, metric: str, samples: Sequence[float], unit: str, *, baseline: float | None = None, target: float | None = None
    ) -> Record:
        """Write a figure down. With a ``baseline`` the ``target`` is for the ratio, without one for the figure."""
        assert samples, metric
        assert all(map(math.isfinite, samples)), metric
        value = statistics.median(samples)
        ratio = None if baseline is None else value / baseline
        judged = value if ratio is None else ratio
        met = None if target is None else judged >= target if MORE_IS_BETTER[unit] else judged <= target
        record = Record(
            name=self.name,
            metric=metric,
            value=_rounded(value),
            unit=unit,
            spread=_rounded((max(samples) - min(samples)) / value) if value else 0.0,
            baseline=None if baseline is None else _rounded(baseline),
            ratio=None if ratio is None else _rounded(ratio),
            target=target,
            met=met,
        )
        self.records.append(record)
        self.samples.setdefault(metric, list(map(_rounded, samples)))
        return record

    def skip(self, what: str, reason: str) -> None:
        """Write down what could not be measured, and why."""
        self.skipped.append(Skipped(name=self.name, what=what, reason=reason))


def take_turns(
    runs: int, subjects: Mapping[str, Callable[[], T]], *, after_each_round: Callable[[], None] = lambda: None
) -> dict[str, list[T]]:
    """Measure each subject ``runs`` times, in rounds: A B A B."""
    measured: dict[str, list[T]] = {label: [] for label in subjects}
    for _ in range(runs):
        for label, subject in subjects.items():
            measured[label].append(subject())
        after_each_round()
    return measured


def _rounded(figure: float) -> float:
    """Six digits: more than any of this is good for."""
    return float(f"{figure:.6g}")
