"""The figures are what their definitions say."""

from __future__ import annotations

import pytest
from retrieval_client.bench.metrics import Figure, Run, Stopwatch, figure_of, percentile

from retrieval.units import GIB, MIB

RUN = Run(
    n_bytes=2 * MIB,
    n_blocks=3,
    connect_s=None,
    first_s=0.1,
    last_s=0.4,
    seconds=0.5,
    stall_s=0.2,
    carried_bytes=3 * MIB,
    cpu_s=0.25,
    paid=7,
)


def test_rates_are_of_the_content_and_the_whole_time() -> None:
    assert (RUN.mib_per_s, RUN.overhead) == (4.0, 0.5)
    assert RUN.cpu_s_per_gib == 0.25 * GIB / (2 * MIB)
    assert RUN.paid_per_gb == pytest.approx(7e9 / (2 * MIB))


def test_what_is_no_content_has_no_shares() -> None:
    watch = Stopwatch()
    watch.verified(0)
    empty = watch.stop(carried_bytes=100)
    assert (empty.first_s, empty.overhead, empty.cpu_s_per_gib, empty.paid_per_gb) == (None, None, None, None)
    assert empty.last_s > 0


def test_the_first_byte_is_of_content_and_a_stall_lies_between_two_arrivals() -> None:
    watch = Stopwatch()
    watch.connected()
    watch.verified(0)
    watch.verified(10, 2)
    run = watch.stop(carried_bytes=None)
    assert run.connect_s is not None
    assert run.first_s is not None
    assert run.connect_s <= run.first_s == run.last_s <= run.seconds
    assert 0 <= run.stall_s <= run.last_s
    assert (run.n_bytes, run.n_blocks, run.overhead) == (10, 3, None)


def test_a_figure_leaves_out_what_is_not_known() -> None:
    assert figure_of([None, 3.0, 1.0, 2.0]) == Figure(median=2.0, p95=3.0, low=1.0, high=3.0)
    assert figure_of([None]) is None


def test_a_percentile_is_a_sample_that_so_many_do_not_exceed() -> None:
    samples = [float(number) for number in range(20, 0, -1)]
    assert (percentile(samples, 50), percentile(samples, 95), percentile(samples, 100)) == (10.0, 19.0, 20.0)
    assert percentile([7.0], 95) == 7.0
