"""What a measurement came to, as a script gets it and as a person sees it: the table is made from the very rows that are JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, Final, TypeAlias

from retrieval.cid import format_cid
from retrieval.console import View, facts, show_size, stacked, table
from retrieval.units import USD_DECIMALS

from .metrics import Figure, figure_of
from .rounds import Measured

Row: TypeAlias = dict[str, Any]  # one JSON object

UNKNOWN: Final = "–"
USD: Final = 10**USD_DECIMALS


def row_of(target: str, measured: Measured) -> Row:
    """One source, cold or warm. A figure is null where no run knows it, else its median, 95th percentile, lowest and highest."""
    runs = measured.runs
    return {
        "target": target,
        "root": format_cid(measured.source.root),
        "path": "/".join(measured.source.path),
        "start": measured.start.value,
        "attempts": measured.n_attempts,
        "succeeded": len(runs),
        "failed": dict(measured.failed),
        "bytes": runs[-1].n_bytes if runs else None,
        "blocks": runs[-1].n_blocks if runs else None,
        "connect_ms": _figure([_ms(run.connect_s) for run in runs]),
        "ttfb_ms": _figure([_ms(run.first_s) for run in runs]),
        "last_byte_ms": _figure([_ms(run.last_s) for run in runs]),
        "total_ms": _figure([_ms(run.seconds) for run in runs]),
        "mib_per_s": _figure([run.mib_per_s for run in runs]),
        "stall_ms": _figure([_ms(run.stall_s) for run in runs]),
        "overhead": _figure([run.overhead for run in runs]),
        "cpu_s_per_gib": _figure([run.cpu_s_per_gib for run in runs]),
        "usd_per_gb": _figure([None if run.paid_per_gb is None else run.paid_per_gb / USD for run in runs]),
        "paid": str(sum(run.paid for run in runs)),
    }


def view_of(rows: Sequence[Row]) -> View:
    """A table a source: what is measured, and a column for each way to begin."""
    sources: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        sources.setdefault((row["root"], row["path"]), []).append(row)
    return stacked(*(part for (root, path), found in sources.items() for part in _view_of_source(root, path, found)))


def _view_of_source(root: str, path: str, rows: Sequence[Row]) -> tuple[View, View]:
    sized = next((row for row in rows if row["bytes"] is not None), None)
    lines = {"content": "/".join(filter(None, (root, path))), "from": rows[0]["target"]}
    if sized is not None:
        lines["size"] = f"{show_size(sized['bytes'])} of file in {sized['blocks']:,} blocks, every one verified"
    starts = [row["start"] for row in rows]
    drawn = table(
        ("median (lowest–highest)", *starts),
        [("succeeded", *(f"{row['succeeded']} of {row['attempts']}" for row in rows)), *_lines(rows)],
        numbers=starts,
    )
    return facts(lines), drawn


def _lines(rows: Sequence[Row]) -> list[tuple[str, ...]]:
    lines = [(label, *(_spread(row[key], factor) for row in rows)) for label, key, factor in _SHOWN]
    causes = dict.fromkeys(cause for row in rows for cause in row["failed"])
    return lines + [(f"failed: {cause}", *(str(row["failed"].get(cause, 0)) for row in rows)) for cause in causes]


_SHOWN: Final = (
    ("connect, ms", "connect_ms", 1.0),
    ("first verified byte, ms", "ttfb_ms", 1.0),
    ("last verified byte, ms", "last_byte_ms", 1.0),
    ("total, ms", "total_ms", 1.0),
    ("throughput, MiB/s", "mib_per_s", 1.0),
    ("longest stall, ms", "stall_ms", 1.0),
    ("overhead, %", "overhead", 100.0),
    ("CPU here, s/GiB", "cpu_s_per_gib", 1.0),
    ("cost, USD/GB", "usd_per_gb", 1.0),
)
"""What a line is called, where its figure stands, and by what it is multiplied to be shown."""


def _spread(figure: Row | None, factor: float) -> str:
    if figure is None:
        return UNKNOWN
    median, low, high = (_digits(factor * figure[name]) for name in ("median", "low", "high"))
    return median if low == high else f"{median} ({low}–{high})"


def _digits(value: float) -> str:
    """Three that count."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else 1000 * seconds


def _figure(samples: Sequence[float | None]) -> Row | None:
    figure: Figure | None = figure_of(samples)
    return None if figure is None else {name: float(f"{value:.6g}") for name, value in asdict(figure).items()}
