"""Metrics as Prometheus reads them. The one door to ``prometheus-client``, which knows the two text formats and how to escape in them."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import accumulate

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from .metrics import ALL, Kind, Metric
from .tally import Histogram, Tally


def exposition(tally: Tally, accept: str) -> tuple[str, bytes]:
    """Media type and text of the page, in the format that ``accept`` asks for. Metrics without a value yet are named all the same."""
    registry = CollectorRegistry()
    registry.register(_Page(tally))
    encode, media_type = choose_encoder(accept)
    return media_type, encode(registry)


class _Page(Collector):
    def __init__(self, tally: Tally) -> None:
        self._tally = tally

    def collect(self) -> Iterator[Family]:
        return (_family(metric, self._tally) for metric in ALL)


def _family(metric: Metric, tally: Tally) -> Family:
    says = metric.says.replace("`", "")
    if metric.kind is Kind.HISTOGRAM:
        histograms = HistogramMetricFamily(metric.name, says, labels=metric.labels)
        bounds = [*map(floatToGoString, metric.buckets), "+Inf"]
        for labels, found in sorted(tally.of(metric), key=lambda each: each[0]):
            assert isinstance(found, Histogram)
            histograms.add_metric(labels, list(zip(bounds, accumulate(found.buckets), strict=True)), found.total)
        return histograms
    family = (CounterMetricFamily if metric.kind is Kind.COUNTER else GaugeMetricFamily)(metric.name, says, labels=metric.labels)
    for labels, found in sorted(tally.of(metric), key=lambda each: each[0]):
        assert not isinstance(found, Histogram)
        family.add_metric(labels, found)
    return family
