"""``python -m benchmarks NAME|all [--json FILE] [--html FILE] [--runs N] [--tiny] [--no-peers]`` and ``compare A.json B.json``.

``radio`` measures no seconds but a simulated mesh, and has options of its own: see ``benchmarks.radio.command``.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Protocol, cast

from benchmarks import machine, results
from benchmarks.measure import Setting, Sheet
from benchmarks.processes import WorkerFailed
from benchmarks.report import page
from benchmarks.workload import FULL, TINY

NAMES: Final = ("verify", "transfer", "ttfb", "control", "concurrency", "payments", "memory", "http")
RUNS: Final = {"verify": 5, "transfer": 3, "ttfb": 3, "control": 3, "concurrency": 3, "payments": 3, "memory": 1, "http": 3}
"""Where ``--runs`` says nothing: as many as fit into minutes in all."""


class Benchmark(Protocol):
    """A ``bench_<name>`` module. Its docstring is the question."""

    __doc__: str | None

    def run(self, setting: Setting, sheet: Sheet) -> None: ...


def load(name: str) -> Benchmark:
    return cast(Benchmark, importlib.import_module(f"benchmarks.bench_{name}"))


def measure(name: str, *, runs: int | None, tiny: bool, with_peers: bool) -> Sheet:
    """Run one benchmark in a folder that is gone afterwards. Raises ``WorkerFailed``."""
    benchmark, sheet = load(name), Sheet(name)
    print(f"{name}: {(benchmark.__doc__ or '').splitlines()[0]}", file=sys.stderr, flush=True)
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
        workload = TINY if tiny else FULL
        began = time.monotonic()
        benchmark.run(Setting(folder=Path(folder), workload=workload, runs=runs or RUNS[name], with_peers=with_peers), sheet)
    print(f"{name}: done in {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
    return sheet


def main() -> int:
    if sys.argv[1:2] == ["radio"]:
        return importlib.import_module("benchmarks.radio.command").main(sys.argv[2:])  # type: ignore[no-any-return]
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("name", choices=(*NAMES, "all", "compare"))
    parser.add_argument("files", nargs="*", type=Path, help="for compare: two files of results")
    parser.add_argument("--json", type=Path, help="write the records here")
    parser.add_argument("--html", type=Path, help="write the plots here, one self-contained page")
    parser.add_argument("--runs", type=int, help="how often each thing is measured")
    parser.add_argument("--tiny", action="store_true", help="prove that it runs; the figures mean nothing")
    parser.add_argument("--no-peers", action="store_true", help="leave foreign software out")
    asked = parser.parse_args()
    if asked.name == "compare":
        if len(asked.files) != 2:
            parser.error("compare takes two files")
        try:
            before, after = map(results.read, asked.files)
        except (OSError, ValueError) as error:
            parser.error(str(error))
        print(*results.compare(before, after), sep="\n")
        return 0
    if asked.files:
        parser.error("only compare takes files")
    taken, about = datetime.now(UTC).isoformat(timespec="seconds"), machine.describe()
    names = NAMES if asked.name == "all" else (asked.name,)
    sheets, status = [], 0
    for name in names:
        try:
            sheets.append(measure(name, runs=asked.runs, tiny=asked.tiny, with_peers=not asked.no_peers))
        except WorkerFailed as failure:  # what the others measure is worth keeping
            print(failure, file=sys.stderr)
            status = 1
    found = results.gathered(
        sheets,
        taken=taken,
        machine=about,
        versions=machine.versions(),
        commit=machine.commit(),
        runs=asked.runs or max(RUNS[name] for name in names),
    )
    print(*results.lines(found), sep="\n")
    if asked.json:
        results.write(found, asked.json)
    if asked.html:
        asked.html.parent.mkdir(parents=True, exist_ok=True)
        asked.html.write_text(page(found))
    return status


if __name__ == "__main__":
    sys.exit(main())
