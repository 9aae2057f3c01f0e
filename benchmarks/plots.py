"""Plots as inline SVG, made by hand: rows of bars and dots that need no script, no font and no other file.

Colours come from the page's style sheet by class, so that one drawing is right by day and by night.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

WIDTH: Final = 940
LABEL_WIDTH: Final = 400
VALUE_WIDTH: Final = 110
ROW_HEIGHT: Final = 34
AXIS_HEIGHT: Final = 24
BAR_HEIGHT: Final = 16
PLOT_LEFT: Final = LABEL_WIDTH + 12
PLOT_RIGHT: Final = WIDTH - VALUE_WIDTH
TICKS_MAX: Final = 6

Place = Callable[[float], float]
"""From a figure to an x coordinate."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of a plot."""

    label: str
    value: float
    shown: str
    """The figure as a person reads it."""
    samples: Sequence[float] = ()
    target: float | None = None
    tone: str = "plain"
    """A class of the style sheet: ours, plain, met, missed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stack:
    """A row of parts that add up."""

    label: str
    shown: str
    parts: Sequence[tuple[str, float]]
    """Name and size."""


def ratios(rows: Sequence[Row]) -> str:
    """Dots on a logarithmic axis around 1×; a mark where the target is."""
    figures = [figure for row in rows for figure in (row.value, row.target) if figure]
    low, high = min(0.5, *figures) / 1.25, max(2.0, *figures) * 1.25
    span = math.log(high / low)

    def place(figure: float) -> float:
        return PLOT_LEFT + (PLOT_RIGHT - PLOT_LEFT) * math.log(max(figure, low) / low) / span

    ticks = [tick for tick in (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100) if low <= tick <= high]
    parts = [_axis(ticks, place, len(rows), lambda tick: f"{tick:g}×")]
    parts.append(_line(place(1), 0, ROW_HEIGHT * len(rows), "unity"))
    for number, row in enumerate(rows):
        middle = ROW_HEIGHT * number + ROW_HEIGHT / 2
        parts.append(_texts(row.label, row.shown, middle, row.tone))
        start, end = sorted((place(1), place(row.value)))
        parts.append(f'<rect class="stem {row.tone}" x="{start:.1f}" y="{middle - 2:.1f}" width="{max(end - start, 1):.1f}" height="4"/>')
        if row.target is not None:
            parts.append(_target(place(row.target), middle))
        parts.append(f'<circle class="dot {row.tone}" cx="{place(row.value):.1f}" cy="{middle:.1f}" r="7"/>')
    return _svg(len(rows), parts)


def bars(rows: Sequence[Row], *, unit: str) -> str:
    """Bars from zero, every run a dot on its bar; a mark where the target is."""
    figures = [figure for row in rows for figure in (row.value, *row.samples, row.target or 0)]
    high = max(*figures, 1e-9) * 1.05

    def place(figure: float) -> float:
        return PLOT_LEFT + (PLOT_RIGHT - PLOT_LEFT) * figure / high

    parts = [_axis(_round_ticks(high), place, len(rows), lambda tick: f"{tick:g}", unit)]
    for number, row in enumerate(rows):
        middle = ROW_HEIGHT * number + ROW_HEIGHT / 2
        parts.append(_texts(row.label, row.shown, middle, row.tone))
        parts.append(_bar(row.tone, PLOT_LEFT, place(row.value), middle))
        parts += [f'<circle class="run" cx="{place(sample):.1f}" cy="{middle:.1f}" r="3"/>' for sample in row.samples]
        if row.target is not None:
            parts.append(_target(place(row.target), middle))
    return _svg(len(rows), parts)


def stacks(rows: Sequence[Stack], *, unit: str) -> str:
    """Bars made of parts, with a legend; the same name has the same colour in every row."""
    high = max(*(sum(size for _, size in row.parts) for row in rows), 1e-9) * 1.05
    names = list(dict.fromkeys(name for row in rows for name, _ in row.parts))

    def place(figure: float) -> float:
        return PLOT_LEFT + (PLOT_RIGHT - PLOT_LEFT) * figure / high

    parts = [_axis(_round_ticks(high), place, len(rows), lambda tick: f"{tick:g}", unit)]
    for number, row in enumerate(rows):
        middle, at = ROW_HEIGHT * number + ROW_HEIGHT / 2, 0.0
        parts.append(_texts(row.label, row.shown, middle, "plain"))
        for name, size in row.parts:
            parts.append(_bar(f"part-{names.index(name)}", place(at), place(at + size), middle, title=f"{name}: {size:.3g} {unit}"))
            at += size
    legend = "".join(f'<span><i class="part-{number}"></i>{escape(name)}</span>' for number, name in enumerate(names))
    return _svg(len(rows), parts) + f'<p class="legend">{legend}</p>'


def _svg(n_rows: int, parts: Sequence[str]) -> str:
    height = ROW_HEIGHT * n_rows + AXIS_HEIGHT
    return f'<svg viewBox="0 0 {WIDTH} {height}" role="img">{"".join(parts)}</svg>'


def _texts(label: str, shown: str, middle: float, tone: str) -> str:
    return (
        f'<text class="label" x="{LABEL_WIDTH}" y="{middle + 4.5:.1f}">{escape(label)}</text>'
        f'<text class="value {tone}" x="{WIDTH}" y="{middle + 4.5:.1f}">{escape(shown)}</text>'
    )


def _bar(tone: str, start: float, end: float, middle: float, title: str = "") -> str:
    y, width = middle - BAR_HEIGHT / 2, max(end - start, 1)
    inside = f"<title>{escape(title)}</title>" if title else ""
    return f'<rect class="bar {tone}" x="{start:.1f}" y="{y:.1f}" width="{width:.1f}" height="{BAR_HEIGHT}" rx="2">{inside}</rect>'


def _target(x: float, middle: float) -> str:
    return _line(x, middle - 12, middle + 12, "target")


def _line(x: float, top: float, bottom: float, kind: str) -> str:
    return f'<line class="{kind}" x1="{x:.1f}" x2="{x:.1f}" y1="{top:.1f}" y2="{bottom:.1f}"/>'


def _axis(ticks: Sequence[float], place: Place, n_rows: int, show: Callable[[float], str], unit: str = "") -> str:
    bottom = ROW_HEIGHT * n_rows
    marks = "".join(
        _line(place(tick), 0, bottom, "grid") + f'<text class="tick" x="{place(tick):.1f}" y="{bottom + 16}">{show(tick)}</text>'
        for tick in ticks
    )
    return marks + (f'<text class="unit" x="{WIDTH}" y="{bottom + 16}">{escape(unit)}</text>' if unit else "")


def _round_ticks(high: float) -> list[float]:
    """From zero in round steps."""
    rough = high / TICKS_MAX
    power = 10 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough)
    return [step * number for number in range(int(high / step) + 1)]
