"""What the benchmarks move: content that is the same on every machine, in sizes that each have a reason."""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from retrieval.units import GIB, KIB, MIB


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """Sizes of one size of run."""

    transfer_bytes: int
    """One file, fetched whole."""
    link_bytes: int
    """One file, fetched over the slow link."""
    first_bytes: int
    """One file of a single block, fetched and receipted over the slow link."""
    page_bytes: int
    """One of many small files, each fetched for its first byte."""
    n_pages: int
    verify_bytes: int
    """One batch of blocks to verify."""
    stage_bytes: int
    """What goes through each stage of the roofline."""
    n_clients: int
    client_bytes: int
    """What each of many clients fetches at the same time."""
    lone_bytes: int
    """What one client fetches for comparison."""
    n_busy: int
    """Sessions that keep the provider busy while another asks it for quotes."""
    n_asked: int
    """Quotes asked of a busy provider."""
    n_queries: int
    """Queries answered in memory."""
    n_buyers: int
    """Sessions whose payments share a group commit."""
    n_payments: int
    """Payments of each of them."""
    n_slow: int
    slow_bytes: int
    """What each slow reader reads."""
    slow_rate: int
    """Bytes a second of a slow reader."""


FULL: Final = Workload(
    transfer_bytes=GIB,  # the issue's; long enough that hand-shakes and ramping windows are under one per cent
    link_bytes=64 * MIB,  # 2.7 s of 200 Mbit/s: many windows and round trips
    first_bytes=MIB,  # one block of the profile `add` uses
    page_bytes=64 * KIB,  # one leaf, one Noise message: nothing but latency
    n_pages=40,  # enough for a 95th percentile that is not the maximum
    verify_bytes=64 * MIB,  # beyond the caches of a core, as what comes from a socket is
    stage_bytes=256 * MIB,  # a tenth of a second a stage and more
    n_clients=64,
    client_bytes=16 * MIB,  # four first windows: every client pays its way several times
    lone_bytes=256 * MIB,
    n_busy=50,
    n_asked=200,
    n_queries=20_000,
    n_buyers=64,
    n_payments=64,
    n_slow=100,
    slow_bytes=64 * MIB,
    slow_rate=MIB,  # a minute in all: the provider is busy with them from the first to the last second
)

TINY: Final = Workload(
    transfer_bytes=3 * MIB,
    link_bytes=2 * MIB,
    first_bytes=256 * KIB,
    page_bytes=4 * KIB,
    n_pages=2,
    verify_bytes=2 * MIB,
    stage_bytes=2 * MIB,
    n_clients=2,
    client_bytes=2 * MIB,
    lone_bytes=2 * MIB,
    n_busy=2,
    n_asked=2,
    n_queries=20,
    n_buyers=2,
    n_payments=2,
    n_slow=2,
    slow_bytes=2 * MIB,
    slow_rate=4 * MIB,
)
"""Proves that a benchmark runs and says nothing about speed."""


def write_file(path: Path, size_bytes: int, *, seed: int) -> Path:
    """A file of bytes that depend on ``seed`` alone and do not compress."""
    rng = random.Random(seed)
    with path.open("wb") as file:
        for start in range(0, size_bytes, MIB):
            file.write(rng.randbytes(min(MIB, size_bytes - start)))
    return path
