"""Counting: the sums behind the metrics, in a process that serves.

Pure, and cheap enough for every batch of blocks: a dictionary and an addition. A process that only serves hands its sums on (``take``) to
the node, which adds them to its own (``add``); so what a worker counted outlives it, and one page tells of all of them.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

from .metrics import BY_NAME, Kind, Metric

Json: TypeAlias = dict[str, Any]
Key: TypeAlias = tuple[str, tuple[str, ...]]
"""A metric's name, and the values of its labels in their order."""


@dataclass(slots=True)
class Histogram:
    buckets: list[int]
    """How many values fell into each, not those below; the last is for what is above all bounds."""
    total: float = 0.0


@dataclass(slots=True)
class Tally:
    """One process's sums."""

    values: Final[dict[Key, float]] = field(default_factory=dict)
    """Of counters and gauges."""
    histograms: Final[dict[Key, Histogram]] = field(default_factory=dict)

    def count(self, metric: Metric, *labels: str, n: float = 1) -> None:
        """Add to a counter."""
        assert metric.kind is Kind.COUNTER
        assert len(labels) == len(metric.labels)
        key = (metric.name, labels)
        self.values[key] = self.values.get(key, 0) + n

    def set(self, metric: Metric, value: float | None, *labels: str) -> None:
        """Say what a gauge shows; None is that nobody knows."""
        assert metric.kind is Kind.GAUGE
        assert len(labels) == len(metric.labels)
        if value is None:
            self.values.pop((metric.name, labels), None)
        else:
            self.values[metric.name, labels] = value

    def observe(self, metric: Metric, value: float, *labels: str) -> None:
        """Enter a value into a histogram."""
        assert metric.kind is Kind.HISTOGRAM
        assert len(labels) == len(metric.labels)
        histogram = self._histogram((metric.name, labels), metric)
        histogram.buckets[bisect_left(metric.buckets, value)] += 1
        histogram.total += value

    def take(self) -> Json | None:
        """What was counted since the last time, as ``add`` takes it; None when that is nothing."""
        if not self.values and not self.histograms:
            return None
        taken = self.to_json()
        self.values.clear()
        self.histograms.clear()
        return taken

    def to_json(self) -> Json:
        return {
            "values": [[name, labels, value] for (name, labels), value in self.values.items()],
            "histograms": [[name, labels, each.buckets, each.total] for (name, labels), each in self.histograms.items()],
        }

    def add(self, taken: Json) -> None:
        """Add what another process counted. Raises ``KeyError``, ``TypeError`` or ``ValueError`` for what no ``to_json`` gave."""
        for name, labels, value in taken["values"]:
            key = (BY_NAME[name].name, tuple(labels))
            self.values[key] = self.values.get(key, 0) + value
        for name, labels, buckets, total in taken["histograms"]:
            histogram = self._histogram((name, tuple(labels)), BY_NAME[name])
            histogram.buckets[:] = [ours + theirs for ours, theirs in zip(histogram.buckets, buckets, strict=True)]
            histogram.total += total

    def of(self, metric: Metric) -> Iterator[tuple[tuple[str, ...], float | Histogram]]:
        """What there is of a metric, by its labels."""
        for source in (self.values, self.histograms):
            for (name, labels), found in source.items():
                if name == metric.name:
                    yield labels, found

    def sum_of(self, metric: Metric, *labels: str | None) -> float:
        """A counter or gauge, summed over the labels that are None or not given."""
        return sum(
            found
            for of_labels, found in self.of(metric)
            if not isinstance(found, Histogram) and all(wanted in (None, has) for wanted, has in zip(labels, of_labels, strict=False))
        )

    def _histogram(self, key: Key, metric: Metric) -> Histogram:
        if key not in self.histograms:
            self.histograms[key] = Histogram([0] * (len(metric.buckets) + 1))
        return self.histograms[key]
