"""Where results go: tables for a person at a terminal, one JSON object a line for everything else.

The rule: nothing from outside reaches a terminal unescaped, and nothing but results reaches stdout.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Final, TextIO, TypeAlias

from rich.box import SIMPLE_HEAD
from rich.console import Console as Screen
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from retrieval.console.words import printable

DEBUG_VARIABLE: Final = "RETRIEVAL_DEBUG"
View: TypeAlias = RenderableType
"""What a terminal can be shown: made by ``table`` and ``facts``."""
FOLDED_FROM: Final = 24  # characters; a narrow terminal breaks longer cells (addresses), and no amount, time or short CID


class Console:
    """The two streams of a program, and how much it was asked to say on them."""

    def __init__(self, stdout: TextIO | None = None, stderr: TextIO | None = None) -> None:
        self.stdout: Final = stdout or sys.stdout
        self.stderr: Final = stderr or sys.stderr
        self.json = not self.stdout.isatty()
        """Results and errors are JSON: stdout is not a terminal, or ``--json`` was given."""
        self.debug = os.environ.get(DEBUG_VARIABLE, "") not in ("", "0")
        self.verbose = False
        self.log_level: str | None = None
        """What ``--log-level`` said, if anything."""

    def emit(self, result: Mapping[str, object] | Sequence[Mapping[str, object]], *, table: Callable[[], RenderableType]) -> None:
        """Give out a result, or several of one kind. Raises ``BrokenPipeError`` when nobody reads it any more."""
        if self.json:
            for one in [result] if isinstance(result, Mapping) else result:
                self.stdout.write(json.dumps(one, allow_nan=False) + "\n")
        else:
            screen_for(self.stdout).print(table())
        self.stdout.flush()

    def note(self, sentence: str) -> None:
        """Tell a person something on the way; a script is not told."""
        if not self.json:
            screen_for(self.stderr).print(Text(printable(sentence)))


def table(
    headers: Sequence[str], rows: Iterable[Sequence[str]], *, numbers: Collection[str] = (), empty: str = "nothing yet"
) -> RenderableType:
    """A table of texts; the columns named in ``numbers`` are aligned to the right, and ``empty`` is said when there is no row."""
    cells = [[printable(cell) for cell in row] for row in rows]
    drawn = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, header_style="bold")
    for index, header in enumerate(headers):
        short = all(len(row[index]) <= FOLDED_FROM for row in cells)
        drawn.add_column(header, justify="right" if header in numbers else "left", no_wrap=short, overflow="fold")
    for row in cells:
        drawn.add_row(*map(Text, row))
    return drawn if drawn.row_count else Text(empty, style="dim")


def facts(values: Mapping[str, str]) -> RenderableType:
    """One thing told line by line: a name, and what it is."""
    drawn = Table.grid(padding=(0, 2))
    drawn.add_column(style="bold", no_wrap=True)
    drawn.add_column(overflow="fold")
    for name, value in values.items():
        drawn.add_row(name, Text(printable(value)))
    return drawn


def stacked(*views: RenderableType) -> RenderableType:
    """Several views, one below the other, with a line between them."""
    first, *others = views
    return Group(first, *(part for view in others for part in ("", view)))


def screen_for(stream: TextIO) -> Screen:
    """A rich console that interprets nothing in what it prints, and colours only a terminal (rich minds NO_COLOR and TERM=dumb)."""
    return Screen(file=stream, force_terminal=stream.isatty(), markup=False, highlight=False, emoji=False, soft_wrap=not stream.isatty())
