"""Sums: added up over processes, handed on once, and written down as Prometheus reads them."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families
from retrieval_provider.operator import metrics
from retrieval_provider.operator.exposition import exposition
from retrieval_provider.operator.metrics import ALL, Kind
from retrieval_provider.operator.tally import Histogram, Tally

LABELS = st.sampled_from(["a", "b", 'quoted "c"\n'])
COUNTS = st.lists(st.tuples(LABELS, st.integers(0, 1 << 40)), max_size=20)
TIMES = st.lists(st.tuples(st.sampled_from(["libp2p", "http"]), st.floats(0, 100)), max_size=20)


def tally_of(counts: list[tuple[str, int]], times: list[tuple[str, float]]) -> Tally:
    tally = Tally()
    for label, n in counts:
        tally.count(metrics.QUERIES, label, n=n)
    for over, seconds in times:
        tally.observe(metrics.TTFB_SECONDS, seconds, over)
    return tally


@given(COUNTS, TIMES, COUNTS, TIMES)
def test_what_two_processes_counted_adds_up(
    counts: list[tuple[str, int]], times: list[tuple[str, float]], more_counts: list[tuple[str, int]], more_times: list[tuple[str, float]]
) -> None:
    ours = Tally()
    for part in (tally_of(counts, times), tally_of(more_counts, more_times)):
        taken = part.take()
        if taken is not None:
            ours.add(json.loads(json.dumps(taken)))
        assert part.take() is None, "what was handed on is not handed on again"
    both = tally_of(counts + more_counts, times + more_times)
    assert ours.values == both.values
    for key, histogram in both.histograms.items():
        assert ours.histograms[key].buckets == histogram.buckets
        assert ours.histograms[key].total == pytest.approx(histogram.total)


@given(TIMES)
def test_a_histogram_written_down_has_each_value_in_its_bucket(times: list[tuple[str, float]]) -> None:
    _, text = exposition(tally_of([], times), "text/plain")
    (family,) = [each for each in text_string_to_metric_families(text.decode()) if each.name == "rm_ttfb_seconds"]
    for sample in family.samples:
        if sample.name.endswith("_bucket"):
            bound = float(sample.labels["le"])
            assert sample.value == sum(over == sample.labels["over"] and seconds <= bound for over, seconds in times)


def test_buckets_resolve_50_ms_and_a_second() -> None:
    waited = [each for each in ALL if each.kind is Kind.HISTOGRAM and each is not metrics.VOUCHER_SECONDS]
    assert all({0.05, 1.0} <= set(each.buckets) for each in waited)


def test_a_name_is_given_once_and_says_its_unit() -> None:
    assert len({each.name for each in ALL}) == len(ALL)
    for each in ALL:
        assert each.name.startswith("rm_")
        assert each.name.endswith("_total") == (each.kind is Kind.COUNTER)
        assert each.name.endswith("_seconds") == (each.kind is Kind.HISTOGRAM)
        assert not set(each.labels) & {"cid", "peer", "payer", "address", "path"}


def test_labels_are_escaped() -> None:
    _, text = exposition(tally_of([('"\n\\', 3)], []), "text/plain")
    (family,) = [each for each in text_string_to_metric_families(text.decode()) if each.name == "rm_queries"]
    assert [(sample.labels["result"], sample.value) for sample in family.samples] == [('"\n\\', 3.0)]


def test_both_formats_are_spoken() -> None:
    for accept in ("text/plain", "application/openmetrics-text; version=1.0.0"):
        media_type, text = exposition(Tally(), accept)
        assert media_type.startswith(accept.partition(";")[0])
        assert all(f"# TYPE {each.name.removesuffix('_total')}" in text.decode() for each in ALL)


def test_a_gauge_that_nobody_knows_is_not_shown() -> None:
    tally = Tally()
    tally.set(metrics.CHAIN_LAG_BLOCKS, 3)
    assert tally.sum_of(metrics.CHAIN_LAG_BLOCKS) == 3
    tally.set(metrics.CHAIN_LAG_BLOCKS, None)
    assert list(tally.of(metrics.CHAIN_LAG_BLOCKS)) == []


def test_sums_go_over_the_labels_that_are_left_open() -> None:
    tally = Tally()
    tally.count(metrics.BYTES, "out", "http", "yes", n=5)
    tally.count(metrics.BYTES, "out", "libp2p", "yes", n=7)
    tally.count(metrics.BYTES, "out", "http", "no", n=1)
    assert (tally.sum_of(metrics.BYTES, "out", "http"), tally.sum_of(metrics.BYTES, None, None, "yes")) == (6, 12)
    tally.observe(metrics.TTFB_SECONDS, 1.0, "http")
    assert all(isinstance(found, Histogram) for _, found in tally.of(metrics.TTFB_SECONDS))


def test_alert_rules_speak_of_metrics_and_labels_that_there_are() -> None:
    rules = (Path(__file__).resolve().parents[3] / "provider" / "alerts.yml").read_text()
    expressions = [line.partition("expr: ")[2] for line in rules.splitlines() if "expr: " in line]
    assert len(expressions) == rules.count("- alert: ") > 0
    named = {
        (re.sub(r"_(bucket|count|sum)$", "", name), label)
        for expression in expressions
        for name, label in re.findall(r"\b(rm_[a-z_]+)(?:\{([a-z]+)[=!~])?", expression)
    }
    assert all(name in metrics.BY_NAME and (not label or label in metrics.BY_NAME[name].labels) for name, label in named)
    asked = {
        label for labels in re.findall(r"by \(([a-z, ]+)\)|labels\.([a-z]+)", rules) for label in ", ".join(labels).split(", ") if label
    }
    assert asked - {"le"} <= {label for each in ALL for label in each.labels}
