"""Every figure of a measured fetch, defined once, for ``retrieval-client bench`` and for ``benchmarks/``.

- **Fetch**: from the request to its end. Cold, the request begins with dialling; warm, it is one more in a session that is open.
- **Connect**: dialling, until something can be asked: TCP, then Noise, Yamux and the session's protocol, or TLS.
- **TTFB**: to the first byte of file content that was verified. Nodes that only name other blocks, and directories, are not content.
- **Last byte**: to the last verified byte.
- **Seconds**: to the end: with a provider the countersignature of the last receipt, with a gateway the end of its answer.
- **Throughput**: bytes of file content over those seconds.
- **Stall**: the longest time between two arrivals of verified blocks.
- **Overhead**: what TCP carried, in both directions, less the file content; as a share of it.
- **CPU**: user and system time of this process for a GiB of content.
- **Cost**: what was paid for a GB (10⁹ bytes) of content.
- **Success**: everything arrived, verified, and where it is sold paid and countersigned. Anything else fails under the name of its error.

Content of a block is what it adds to a file: a raw leaf whole, the data inside a UnixFS file node, a document of another codec whole.
A block that a file repeats is delivered, and counted, once.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from retrieval.units import GIB, MIB

GB: Final = 1_000_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One fetch that succeeded. Times in seconds from the request."""

    n_bytes: int
    """Of file content."""
    n_blocks: int
    connect_s: float | None
    """None where the connection was open already."""
    first_s: float | None
    """None where there is no content, as in an empty directory."""
    last_s: float
    seconds: float
    stall_s: float
    carried_bytes: int | None
    """By TCP, both ways; None where the system does not say."""
    cpu_s: float
    paid: int
    """In the token's smallest unit."""

    @property
    def mib_per_s(self) -> float:
        return self.n_bytes / MIB / self.seconds

    @property
    def overhead(self) -> float | None:
        if self.carried_bytes is None or not self.n_bytes:
            return None
        return (self.carried_bytes - self.n_bytes) / self.n_bytes

    @property
    def cpu_s_per_gib(self) -> float | None:
        return self.cpu_s * GIB / self.n_bytes if self.n_bytes else None

    @property
    def paid_per_gb(self) -> float | None:
        return self.paid * GB / self.n_bytes if self.n_bytes else None


class Stopwatch:
    """Runs from when it is made, and is told what happens in one fetch."""

    def __init__(self) -> None:
        self._began: Final = time.perf_counter()
        self._cpu_began_s: Final = time.process_time()
        self._connect_s: float | None = None
        self._first_s: float | None = None
        self._last_s = 0.0
        self._stall_s = 0.0
        self._n_bytes = 0
        self._n_blocks = 0

    @property
    def idle_s(self) -> float:
        """Since something was verified last."""
        return time.perf_counter() - self._began - self._last_s

    @property
    def n_bytes(self) -> int:
        """Of file content, so far."""
        return self._n_bytes

    def connected(self) -> None:
        """Something can be asked now."""
        self._connect_s = time.perf_counter() - self._began

    def verified(self, n_bytes: int, n_blocks: int = 1) -> None:
        """Blocks arrived and are right; ``n_bytes`` of them are file content."""
        now = time.perf_counter() - self._began
        if self._n_blocks:
            self._stall_s = max(self._stall_s, now - self._last_s)
        if n_bytes and self._first_s is None:
            self._first_s = now
        self._last_s = now
        self._n_bytes += n_bytes
        self._n_blocks += n_blocks

    def stop(self, *, carried_bytes: int | None, paid: int = 0) -> Run:
        """The fetch succeeded."""
        return Run(
            n_bytes=self._n_bytes,
            n_blocks=self._n_blocks,
            connect_s=self._connect_s,
            first_s=self._first_s,
            last_s=self._last_s,
            seconds=time.perf_counter() - self._began,
            stall_s=self._stall_s,
            carried_bytes=carried_bytes,
            cpu_s=time.process_time() - self._cpu_began_s,
            paid=paid,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """What several runs say of one thing."""

    median: float
    p95: float
    low: float
    high: float


def figure_of(samples: Sequence[float | None]) -> Figure | None:
    """None where no run knows it."""
    known = [sample for sample in samples if sample is not None]
    if not known:
        return None
    return Figure(median=statistics.median(known), p95=percentile(known, 95), low=min(known), high=max(known))


def percentile(samples: Sequence[float], percent: int) -> float:
    """The smallest sample that at least ``percent`` per cent of them do not exceed (nearest rank)."""
    ordered = sorted(samples)
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]
