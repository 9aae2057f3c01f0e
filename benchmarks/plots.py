"""Plots as HTML made by hand: rows of bars and dots that need no script, no font, no picture and no other file.

A row is a label, a track and a figure. What lies on a track is placed in per cent of its width, so that one drawing fits a desk and a
phone, where the label stands above the track; colours come from the page's style sheet by class, so that it is right by day and by night.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

TICKS_MAX: Final = 6
LOG_TICKS: Final = (0.01, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100)
LOG_LOW: Final = 0.01
LOG_HIGH: Final = 100.0
"""What lies beyond stands at the end of the axis; its figure is written beside it."""
MARGIN: Final = 1.25  # of a logarithmic axis beyond the outermost figure

Place = Callable[[float], float]
"""From a figure to per cent of the track."""


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
    low, high = max(LOG_LOW, min(0.5, *figures) / MARGIN), min(LOG_HIGH, max(2.0, *figures) * MARGIN)
    span = math.log(high / low)

    def place(figure: float) -> float:
        return 100 * math.log(min(max(figure, low), high) / low) / span

    ticks = [tick for tick in LOG_TICKS if low <= tick <= high]
    drawn = []
    for row in rows:
        start, end = sorted((place(1), place(row.value)))
        marks = [_mark("unity", place(1)), _span(f"stem {row.tone}", start, end)]
        marks += [_mark("target", place(row.target))] if row.target is not None else []
        marks.append(_mark(f"dot {row.tone}", place(row.value)))
        drawn.append(_row(row.label, row.shown, row.tone, _grid(ticks, place), marks))
    return _plot(drawn, [(place(tick), f"{tick:g}×") for tick in ticks])


def bars(rows: Sequence[Row], *, unit: str) -> str:
    """Bars from zero, every run a dot on its bar; a mark where the target is."""
    place, ticks = _linear([figure for row in rows for figure in (row.value, *row.samples, row.target or 0)])
    drawn = []
    for row in rows:
        marks = [_span(f"bar {row.tone}", 0, place(row.value)), *(_mark("run", place(sample)) for sample in row.samples)]
        marks += [_mark("target", place(row.target))] if row.target is not None else []
        drawn.append(_row(row.label, row.shown, row.tone, _grid(ticks, place), marks))
    return _plot(drawn, [(place(tick), f"{tick:g}") for tick in ticks], unit)


def stacks(rows: Sequence[Stack], *, unit: str) -> str:
    """Bars made of parts, with a legend; the same name has the same colour in every row."""
    place, ticks = _linear([sum(size for _, size in row.parts) for row in rows])
    names = list(dict.fromkeys(name for row in rows for name, _ in row.parts))
    drawn = []
    for row in rows:
        marks, at = [], 0.0
        for name, size in row.parts:
            marks.append(_span(f"bar part-{names.index(name)}", place(at), place(at + size), title=f"{name}: {size:.3g} {unit}"))
            at += size
        drawn.append(_row(row.label, row.shown, "plain", _grid(ticks, place), marks))
    legend = "".join(f'<span><i class="part-{number}"></i>{escape(name)}</span>' for number, name in enumerate(names))
    return _plot(drawn, [(place(tick), f"{tick:g}") for tick in ticks], unit) + f'<p class="legend">{legend}</p>'


def _linear(figures: Sequence[float]) -> tuple[Place, list[float]]:
    """Places from zero to the highest figure, and round ticks up to there."""
    high = max(*figures, 1e-9) * 1.02
    rough = high / TICKS_MAX
    power: float = 10 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough)
    return lambda figure: 100 * figure / high, [step * number for number in range(int(high / step) + 1)]


def _plot(rows: Iterable[str], ticks: Sequence[tuple[float, str]], unit: str = "") -> str:
    axis = "".join(f'<i class="tick" style="left:{at:.2f}%">{escape(shown)}</i>' for at, shown in ticks)
    return f'<div class="plot">{"".join(rows)}<div class="row axis"><span class="track">{axis}</span><em>{escape(unit)}</em></div></div>'


def _row(label: str, shown: str, tone: str, grid: str, marks: Sequence[str]) -> str:
    track = f'<span class="track">{grid}{"".join(marks)}</span>'
    return f'<div class="row"><span class="label">{escape(label)}</span>{track}<b class="{tone}">{escape(shown)}</b></div>'


def _grid(ticks: Sequence[float], place: Place) -> str:
    return "".join(_mark("grid", place(tick)) for tick in ticks)


def _mark(kind: str, at: float) -> str:
    return f'<i class="{kind}" style="left:{at:.2f}%"></i>'


def _span(kind: str, start: float, end: float, title: str = "") -> str:
    said = f' title="{escape(title)}"' if title else ""
    return f'<i class="{kind}" style="left:{start:.2f}%;width:{max(end - start, 0.2):.2f}%"{said}></i>'
