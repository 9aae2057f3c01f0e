"""Every benchmark runs with tiny sizes and writes well-formed records. What they say of speed is not looked at."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from benchmarks.__main__ import NAMES, measure
from benchmarks.machine import describe, versions
from benchmarks.measure import MORE_IS_BETTER, Sheet
from benchmarks.report import page
from benchmarks.results import Results, compare, gathered, lines, read, write

EXPECTED = {
    "verify": "1 MiB blocks, hashlib",
    "transfer": "paid against the roofline",
    "ttfb": "cold p95",
    "control": "Query to signed Quote, in memory",
    "concurrency": "one client",
    "payments": "vouchers verified and recorded",
    "memory": "provider idle",
    "http": "bare aiohttp, out of memory",
}
"""A metric that each must have measured."""


@pytest.mark.parametrize("name", NAMES)
def test_a_benchmark_writes_well_formed_records(name: str, tmp_path: Path) -> None:
    sheet = measure(name, runs=1, tiny=True, with_peers=False)
    found = results_of(sheet)
    write(found, tmp_path / "results.json")
    assert read(tmp_path / "results.json") == found
    assert EXPECTED[name] in {record.metric for record in found.records}
    for record in json.loads((tmp_path / "results.json").read_text())["records"]:
        assert list(record) == ["name", "metric", "value", "unit", "spread", "baseline", "ratio", "target", "met"]
        assert record["name"] == name
        assert record["unit"] in MORE_IS_BETTER
        assert math.isfinite(record["value"])
        assert (record["baseline"] is None) == (record["ratio"] is None)
        assert (record["target"] is None) == (record["met"] is None)
    assert len(list(lines(found))) == len(found.records) + len(found.skipped)
    assert page(found).endswith("</html>\n")
    assert list(compare(found, found))


def results_of(sheet: Sheet) -> Results:
    return gathered([sheet], taken="2026-01-01T00:00:00+00:00", machine=describe(), versions=versions(), commit="0", runs=1)
