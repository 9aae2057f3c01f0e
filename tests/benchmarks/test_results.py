"""Two files of results are compared figure by figure, and a machine's moods are not taken for progress."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.measure import Sheet
from benchmarks.results import Results, compare, gathered, read, write


def results(*figures: tuple[str, list[float], str], baseline: float | None = None, processor: str = "x") -> Results:
    sheet = Sheet("b")
    for metric, samples, unit in figures:
        sheet.add(metric, samples, unit, baseline=baseline)
    return gathered([sheet], taken="t", machine={"processor": processor}, versions={}, commit="c", runs=1)


def lines(before: Results, after: Results) -> list[str]:
    return [" ".join(line.split()) for line in compare(before, after)][1:]


@pytest.mark.parametrize(
    ("unit", "after", "verdict"),
    [
        ("MiB/s", [20.0], "20 MiB/s +100.0% better"),
        ("MiB/s", [5.0], "5 MiB/s -50.0% worse"),
        ("ms", [20.0], "20 ms +100.0% worse"),
        ("ms", [5.0], "5 ms -50.0% better"),
        ("ms", [10.0], "10 ms +0.0% noise"),
    ],
)
def test_better_is_what_the_unit_says(unit: str, after: list[float], verdict: str) -> None:
    assert lines(results(("m", [10.0], unit)), results(("m", after, unit))) == [f"b m 10 → {verdict}"]


def test_what_moved_less_than_the_runs_did_is_noise() -> None:
    (line,) = lines(results(("m", [8.0, 10.0, 12.0], "ms")), results(("m", [11.0], "ms")))
    assert line.endswith("noise")


def test_ratios_stand_beside_the_figures() -> None:
    (line,) = lines(results(("m", [10.0], "MiB/s"), baseline=5.0), results(("m", [15.0], "MiB/s"), baseline=5.0))
    assert line.endswith("better ratio 2.00 → 3.00")


def test_what_only_one_has_is_named() -> None:
    assert lines(results(("a", [1.0], "ms")), results(("c", [1.0], "ms"))) == ["b a only before", "b c only after"]


def test_another_machine_is_pointed_out() -> None:
    assert "different machines" in lines(results(), results(processor="y"))[0]


def test_results_survive_a_file(tmp_path: Path) -> None:
    found = results(("m", [1.0, 2.0], "ms"), baseline=3.0)
    write(found, tmp_path / "new" / "results.json")
    assert read(tmp_path / "new" / "results.json") == found


@pytest.mark.parametrize("text", ["", "[]", "{}", json.dumps({"records": [{"unit": "ms"}], "skipped": []}), "nul"])
def test_a_file_that_holds_no_results_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(ValueError, match="no results"):
        read(tmp_path / "x.json")
