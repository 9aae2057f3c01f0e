"""A file of results: what was measured, on what, and what was left out; and how two of them differ."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from benchmarks.measure import MORE_IS_BETTER, Record, Sheet, Skipped
from benchmarks.processes import Json


@dataclass(frozen=True, slots=True, kw_only=True)
class Results:
    """What one call of ``python -m benchmarks`` measured."""

    taken: str
    """When it began, ISO 8601 in UTC."""
    machine: Json
    versions: dict[str, str]
    commit: str
    runs: int
    records: list[Record]
    skipped: list[Skipped]
    samples: dict[str, dict[str, list[float]]]
    """By benchmark and metric, every run."""


def gathered(sheets: Sequence[Sheet], *, taken: str, machine: Json, versions: dict[str, str], commit: str, runs: int) -> Results:
    return Results(
        taken=taken,
        machine=machine,
        versions=versions,
        commit=commit,
        runs=runs,
        records=[record for sheet in sheets for record in sheet.records],
        skipped=[skipped for sheet in sheets for skipped in sheet.skipped],
        samples={sheet.name: sheet.samples for sheet in sheets},
    )


def write(results: Results, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(asdict(results), indent=1) + "\n")


def read(path: Path) -> Results:
    """Figures in units that are no longer used are left out. Raises ``ValueError`` for a file that holds no results."""
    try:
        held = json.loads(path.read_text())
        held["records"] = [Record(**record) for record in held["records"] if record["unit"] in MORE_IS_BETTER]
        held["skipped"] = [Skipped(**skipped) for skipped in held["skipped"]]
        return Results(**{field.name: held[field.name] for field in fields(Results)})
    except (KeyError, TypeError, json.JSONDecodeError) as error:
        raise ValueError(f"{path} holds no results of these benchmarks") from error


def lines(results: Results) -> Iterator[str]:
    """The records for a terminal, ratios first."""
    for record in sorted(results.records, key=lambda record: (record.name, record.target is None, record.ratio is None)):
        verdict = "" if record.met is None else "met" if record.met else "MISSED"
        limit = ""
        if record.target is not None:
            bound = "at least" if MORE_IS_BETTER[record.unit] else "at most"
            limit = f"{bound} {record.target:.3g}{'×' if record.ratio is not None else ''}"
        ratio = "" if record.ratio is None else f"{record.ratio:.2f}×"
        figure = f"{record.value:>10.4g} {record.unit:<10} ±{record.spread:>4.0%}"
        yield f"{record.name:<12} {record.metric:<70} {figure} {ratio:>8}  {limit:<16} {verdict}"
    for skipped in results.skipped:
        yield f"{skipped.name:<12} {skipped.what}: not measured: {skipped.reason.splitlines()[0]}"


def compare(before: Results, after: Results) -> Iterator[str]:
    """Every figure both have, and how it moved; what moved less than the runs themselves did is marked as noise. Then what only one has."""
    old, new = ({(record.name, record.metric): record for record in results.records} for results in (before, after))
    yield f"{before.commit or 'unknown'} ({before.taken}) → {after.commit or 'unknown'} ({after.taken})"
    if before.machine.get("processor") != after.machine.get("processor"):
        yield "taken on different machines: compare ratios only"
    for key in new:
        if key in old:
            yield _moved(old[key], new[key])
    for only, others, when in ((old, new, "before"), (new, old, "after")):
        for name, metric in (key for key in only if key not in others):
            yield f"{name:<12} {metric:<70} only {when}"


def _moved(old: Record, new: Record) -> str:
    change = new.value / old.value - 1 if old.value else 0.0 if not new.value else float("inf")
    is_noise = abs(change) <= max(new.spread, old.spread)
    is_better = (change > 0) is MORE_IS_BETTER[new.unit]
    verdict = "noise" if is_noise else "better" if is_better else "worse"
    ratios = "" if old.ratio is None or new.ratio is None else f"ratio {old.ratio:.2f} → {new.ratio:.2f}"
    figures = f"{old.value:>10.4g} → {new.value:>10.4g} {new.unit:<10} {change:>+7.1%}"
    return f"{new.name:<12} {new.metric:<70} {figures}  {verdict:<7}{ratios}".rstrip()
