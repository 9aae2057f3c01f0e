"""A survey for a person at a terminal: the mesh as a map, airtime as bars, and a table of what was to be reached."""

from __future__ import annotations

from typing import Final

from rich.columns import Columns
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from benchmarks.radio.canvas import Canvas
from benchmarks.radio.survey import ORDER, NodeFigures, Survey

MAP_ROWS: Final = 24
MAP_COLUMNS_MAX: Final = 100
BAR_COLUMNS: Final = 34
STRONG_DB: Final = 5.0
FAIR_DB: Final = -2.0
LINK_STYLES: Final = {"strong": "green", "fair": "yellow", "faint": "bright_black"}
PURPOSE_STYLES: Final = {
    "content": "blue",
    "paying": "magenta",
    "answering": "cyan",
    "finding": "yellow",
    "adverts": "bright_black",
    "other": "red",
}


def strength(snr_db: float) -> str:
    """The class of a link, here and on the page."""
    return "strong" if snr_db >= STRONG_DB else "fair" if snr_db >= FAIR_DB else "faint"


def view(survey: Survey, *, columns: int) -> RenderableType:
    """Everything, one below the other."""
    return Group(
        Panel(
            _map(survey, min(columns, MAP_COLUMNS_MAX) - 4), title="who hears whom", border_style="dim", expand=False, subtitle=_map_key()
        ),
        Panel(
            _bars(survey, columns),
            title="airtime of the worst hour, of what the law allows",
            border_style="dim",
            expand=False,
            subtitle=_bars_key(survey),
        ),
        Columns([_targets(survey), _hops(survey)], padding=(0, 4)),
        Text(_closing(survey), style="dim"),
    )


def _map(survey: Survey, columns: int) -> Canvas:
    canvas = Canvas(columns, MAP_ROWS)
    east = max((node.east_km for node in survey.nodes), default=0) or 1.0
    north = max((node.north_km for node in survey.nodes), default=0) or 1.0

    def dot(node: NodeFigures) -> tuple[int, int]:
        return 2 + int(node.east_km / east * (2 * columns - 12)), 2 + int((1 - node.north_km / north) * (4 * MAP_ROWS - 6))

    nodes = {node.name: node for node in survey.nodes}
    for kind in ("faint", "fair", "strong"):
        for link in survey.links:
            if strength(link.snr_db) == kind:
                canvas.line(dot(nodes[link.one]), dot(nodes[link.other]), LINK_STYLES[kind], every={"faint": 5, "fair": 2}.get(kind, 1))
    for node in survey.nodes:
        x, y = dot(node)
        canvas.word(x // 2, y // 4, "●", _load_style(node.share))
    for node in survey.nodes:
        x, y = dot(node)
        label = node.name.removeprefix("n")
        right, left = x // 2 + 1, x // 2 - len(label)
        canvas.word(right if canvas.has_room(right, y // 4, len(label)) else left, y // 4, label, "bold")
    return canvas


def _map_key() -> Text:
    return Text.assemble(
        (" ⠤⠤ ", LINK_STYLES["strong"]), f"{STRONG_DB:+g} dB or more ", (" ⠤⠤ ", LINK_STYLES["fair"]), f"{FAIR_DB:+g} dB or more ",
        (" ⠄ ", LINK_STYLES["faint"]), "fainter  ",
        ("●", "green"), " idle ", ("●", "yellow"), " half its budget ", ("●", "red"), " all but spent ",
    )  # fmt: skip


def _load_style(share: float) -> str:
    return "bold red" if share > 0.9 else "bold yellow" if share > 0.5 else "bold green"


def _bars(survey: Survey, columns: int) -> RenderableType:
    """Two columns of bars, so that thirty nodes fit a screen."""
    per_row = 2 if columns >= 2 * (BAR_COLUMNS + 16) else 1
    grid = Table.grid(padding=(0, 1))
    rows = -(-len(survey.nodes) // per_row)
    for row in range(rows):
        cells: list[RenderableType] = []
        for number in range(row, len(survey.nodes), rows):
            node = survey.nodes[number]
            cells += [
                Text(node.name, style="bold"),
                _bar(node),
                Text(f"{node.share:4.0%}  ", style=_load_style(node.share).removeprefix("bold ")),
            ]
        grid.add_row(*cells)
    return grid


def _bar(node: NodeFigures) -> Text:
    """A part for each purpose; the track is the whole budget."""
    bar, filled, at = Text(), 0, 0.0
    for purpose in ORDER:
        at += node.airtime_by_purpose_us.get(purpose, 0) / max(node.airtime_us, 1) * node.share
        upto = min(round(at * BAR_COLUMNS), BAR_COLUMNS)
        bar.append("█" * (upto - filled), PURPOSE_STYLES[purpose])
        filled = max(filled, upto)
    bar.append("·" * (BAR_COLUMNS - filled), "bright_black")
    return bar


def _bars_key(survey: Survey) -> Text:
    total_us = sum(survey.airtime_by_purpose_us.values()) or 1
    parts = [
        (f"█ {purpose} {length_us / total_us:.0%}  ", PURPOSE_STYLES[purpose])
        for purpose, length_us in survey.airtime_by_purpose_us.items()
    ]
    return Text.assemble(" ", *parts)


def _targets(survey: Survey) -> Table:
    drawn = _table("to be reached", "reached", "")
    for what, reached, met in survey.targets():
        drawn.add_row(what, reached, Text("✓", "green") if met else Text("✗", "bold red"))
    for failure, count in survey.failures.items():
        drawn.add_row(Text(f"  undelivered: {failure}", style="dim"), Text(str(count), style="dim"), "")
    return drawn


def _hops(survey: Survey) -> Table:
    drawn = _table("relays", "delivered", "median time", "a packet costs")
    for row in survey.hops:
        drawn.add_row(str(row.hops), str(row.n_delivered), f"{row.median_s:.1f} s", f"{row.median_price:,}")
    return drawn


def _table(*headers: str) -> Table:
    drawn = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for number, header in enumerate(headers):
        drawn.add_column(header, justify="left" if number == 0 else "right")
    return drawn


def _closing(survey: Survey) -> str:
    return (
        f"{len(survey.nodes)} nodes, {survey.hours:g} h in {survey.region}, seed {survey.seed}: "
        f"{survey.n_wants} wants of {survey.content_bytes} bytes, {survey.n_frames:,} frames, "
        f"{survey.n_collided:,} receptions spoilt by collisions; {survey.cpu_s:.1f} s of CPU; log {survey.log_sha256[:16]}. "
        "Nothing of this has run on silicon."
    )
