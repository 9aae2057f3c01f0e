"""The console: how the two programs talk to the person or the script that started them. The one door to click and rich.

The rule: stdout carries results only, as tables on a terminal and as one JSON object a line anywhere else; everything said along the way
goes to stderr. A failure says what happened, whose doing it was and what to try, and its exit status comes from the registry.

    @click.group()
    @common_options
    def cli() -> None: ...

    @cli.command()
    @click.argument("cid")
    @verb
    def quote(console: Console, home: Home, cid: str) -> None: ...

    def main() -> None:
        sys.exit(run(cli, program="retrieval-client"))
"""

from retrieval.console.logs import configure_logging, logging_now
from retrieval.console.options import common_options, verb
from retrieval.console.progress import Progress
from retrieval.console.run import run
from retrieval.console.screen import Console, View, facts, stacked, table
from retrieval.console.words import (
    printable,
    short_cid,
    show_amount,
    show_duration,
    show_price,
    show_rate,
    show_size,
    show_time,
)

__all__ = [
    "Console",
    "Progress",
    "View",
    "common_options",
    "configure_logging",
    "facts",
    "logging_now",
    "printable",
    "run",
    "short_cid",
    "show_amount",
    "show_duration",
    "show_price",
    "show_rate",
    "show_size",
    "show_time",
    "stacked",
    "table",
    "verb",
]
