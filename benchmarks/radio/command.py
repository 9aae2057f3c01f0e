"""``python -m benchmarks radio [--nodes N] [--hours H] [--seed S] [--region R] [--html FILE | --no-html]``: a mesh to look at.

A person sees a bar while it runs, then the mesh in the terminal, and finds a page in build/bench; a script reads one JSON object. Exits
with 1 where a target was missed.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from benchmarks.processes import ROOT
from benchmarks.radio import boards
from benchmarks.radio.page import page
from benchmarks.radio.scenario import REGIONS, run_hour
from benchmarks.radio.simulation import Simulation
from benchmarks.radio.survey import Survey
from benchmarks.radio.terminal import view

NODES: Final = 30
NODES_MAX: Final = 500
HOURS_MAX: Final = 48.0
PAGE: Final = ROOT / "build" / "bench" / "radio.html"


def main(arguments: list[str]) -> int:
    asked = _parser().parse_args(arguments)
    if lacking := boards.missing("host"):
        print(lacking, file=sys.stderr)
        return 1
    survey = _run(asked.nodes, seed=asked.seed, hours=asked.hours, region=asked.region)
    if not asked.no_html:
        asked.html.parent.mkdir(parents=True, exist_ok=True)
        asked.html.write_text(page(survey))
    if sys.stdout.isatty():
        screen = Console()
        screen.print(view(survey, columns=screen.width))
        if not asked.no_html:
            screen.print(f"The page: {asked.html}", style="dim", highlight=False, soft_wrap=True)
    else:
        print(json.dumps(survey.as_json()))
    return 0 if all(met for _, _, met in survey.targets()) else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks radio", description="An hour of a radio mesh, over the real firmware.")
    parser.add_argument("--nodes", type=_within(int, 2, NODES_MAX), default=NODES, help=f"how many, {NODES} unless said")
    parser.add_argument("--hours", type=_within(float, 1 / 6, HOURS_MAX), default=1.0, help="of virtual time, at least a sixth")
    parser.add_argument("--seed", type=int, default=1, help="the same seed gives the same run, byte for byte")
    parser.add_argument("--region", choices=REGIONS, default="EU868", help="where the mesh is, and how it sends there")
    parser.add_argument("--html", type=Path, default=PAGE, help="where the page goes")
    parser.add_argument("--no-html", action="store_true", help="write no page")
    return parser


def _within(kind: Callable[[str], float], low: float, high: float) -> Callable[[str], float]:
    def read(text: str) -> float:
        figure = kind(text)
        if not low <= figure <= high:
            raise argparse.ArgumentTypeError(f"{text} is not between {low:g} and {high:g}")
        return figure

    read.__name__ = kind.__name__  # argparse says it where the text is no figure
    return read


def _run(n_nodes: int, *, seed: int, hours: float, region: str) -> Survey:
    """With a bar while stderr is a terminal."""
    if not sys.stderr.isatty():
        return run_hour(n_nodes, seed=seed, hours=hours, region=region)
    bar = Progress(
        TextColumn("{task.fields[clock]} of air"),
        BarColumn(bar_width=None),
        TaskProgressColumn(),
        TextColumn("{task.fields[frames]:,} frames, {task.fields[spoilt]:,} spoilt"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
        expand=True,
    )
    with bar:
        task = bar.add_task("", total=1.0, clock="00:00:00", frames=0, spoilt=0)

        def tell(share: float, simulation: Simulation) -> None:
            seconds = simulation.timeline.now_us // 1_000_000
            bar.update(
                task,
                completed=share,
                clock=f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}",
                frames=simulation.journal.counts["sends"],
                spoilt=simulation.journal.counts["collided"],
            )

        return run_hour(n_nodes, seed=seed, hours=hours, region=region, progress=tell)
