"""What memory does a provider need for a hundred slow readers and one fast one, and does it stay flat?"""

from __future__ import annotations

import statistics
from threading import Event, Thread
from typing import Final

from benchmarks.market import open_market
from benchmarks.measure import Setting, Sheet
from benchmarks.processes import anonymous_bytes, start_worker
from retrieval.units import MIB

SAMPLE_EVERY_S: Final = 0.25
PEAK_MAX_MIB: Final = 256
GROWTH_MAX: Final = 1.1


def run(setting: Setting, sheet: Sheet) -> None:
    workload = setting.workload
    idles, peaks, seconds, lasts = [], [], [], []
    for number in range(setting.runs):
        with open_market(setting.folder / f"market-{number}", paid=False) as market:
            slow, fast = market.add(workload.slow_bytes, seed=6), market.add(workload.transfer_bytes, seed=7)
            provider = market.serve()
            idles.append(anonymous_bytes(provider.pid) / MIB)
            with start_worker("benchmarks.node_crowd") as crowd, _Watch(provider.pid) as watch:
                crowd.ask(do="slowly", address=provider.address, root=slow, n=workload.n_slow, rate=workload.slow_rate, fast_root=fast)
            peaks.append(max(watch.mib))
            second, last = watch.quarters
            seconds.append(second)
            lasts.append(last)
    sheet.add("provider idle", idles, "MiB")
    sheet.add(f"provider, {workload.n_slow} slow sessions and a fast one: peak", peaks, "MiB", target=PEAK_MAX_MIB)
    sheet.add("peak of the last quarter against that of the second", lasts, "MiB", baseline=statistics.median(seconds), target=GROWTH_MAX)


class _Watch:
    """Looks at a process's own memory while the block runs."""

    def __init__(self, pid: int) -> None:
        self._pid: Final = pid
        self._stop: Final = Event()
        self._thread: Final = Thread(target=self._look)
        self.mib: Final[list[float]] = []

    def __enter__(self) -> _Watch:
        self._thread.start()
        return self

    def __exit__(self, *raised: object) -> None:
        self._stop.set()
        self._thread.join()

    @property
    def quarters(self) -> tuple[float, float]:
        """The most in the second quarter of the time, when ramping up is over, and in the last."""
        quarter = max(1, len(self.mib) // 4)
        return max(self.mib[quarter : 2 * quarter] or self.mib), max(self.mib[-quarter:])

    def _look(self) -> None:
        while True:
            self.mib.append(anonymous_bytes(self._pid) / MIB)
            if self._stop.wait(SAMPLE_EVERY_S):
                return
