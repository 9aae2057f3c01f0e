"""Plots: bars as SVG, with the text around them as HTML, so that it stays readable however wide the picture is drawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from .html import Html, h

WIDTH: Final = 1000
HEIGHT: Final = 200
GAP: Final = 0.2
"""Of a bar's place."""
LABELS: Final = 4
SHARE_WIDTH: Final = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """One bar of two parts."""

    label: str
    """Below it, where there is room."""
    says: str
    """What it shows, in words."""
    lower: int
    upper: int


def bars(found: Sequence[Bar], *, top: str, about: str) -> Html:
    """A plot; ``top`` says how much the highest bar is, ``about`` what is shown, for who does not see it."""
    most = max((bar.lower + bar.upper for bar in found), default=0)
    place = WIDTH / max(1, len(found))
    drawn = [_bar(bar, n * place, place, most) for n, bar in enumerate(found)]
    picture = h("svg", drawn, **_view(WIDTH, HEIGHT), role="img", aria_label=about)
    step = max(1, len(found) // LABELS)
    labels = [h("span", bar.label) for bar in found[::step]]
    return h("figure", h("div", top, class_="top"), picture, h("div", labels, class_="axis"), class_="plot")


def share(part: int, whole: int) -> Html:
    """How much of the whole a row is."""
    width = round(SHARE_WIDTH * part / whole) if whole else 0
    return h("svg", h("rect", width=width, height=8, class_="lower"), **_view(SHARE_WIDTH, 8), class_="share", aria_hidden="true")


def _bar(bar: Bar, x: float, place: float, most: int) -> Html:
    """Its place answers to a pointer over all its height: a low bar is hard to hit."""
    scale = HEIGHT / most if most else 0
    lower, upper = bar.lower * scale, bar.upper * scale
    x, width = x + place * GAP / 2, place * (1 - GAP)
    return h(
        "g",
        h("title", bar.says),
        h("rect", x=_px(x), y=0, width=_px(width), height=HEIGHT, class_="place"),
        h("rect", x=_px(x), y=_px(HEIGHT - lower), width=_px(width), height=_px(lower), class_="lower"),
        h("rect", x=_px(x), y=_px(HEIGHT - lower - upper), width=_px(width), height=_px(upper), class_="upper"),
    )


def _view(width: int, height: int) -> dict[str, str]:
    return {"viewBox": f"0 0 {width} {height}", "preserveAspectRatio": "none"}


def _px(value: float) -> str:
    return f"{value:.1f}"
