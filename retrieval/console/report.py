"""Failures in three parts: what happened, whose doing it was, what to try.

The rule: everything said about an error of the registry comes from its row; only failures outside the registry are worded here.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Final

from rich.table import Table
from rich.text import Text

from retrieval.console.screen import Console, screen_for
from retrieval.console.words import printable, show_duration
from retrieval.errors import REGISTRY, Blame, ErrorCode, Exit, RetrievalError

WHOSE: Final[dict[Blame, str]] = {
    Blame.CLIENT: "the client's",
    Blame.PROVIDER: "the provider's",
    Blame.CHAIN: "the chain's, or its RPC's",
    Blame.NETWORK: "the network's, or the peer's",
    Blame.OPERATOR: "yours, or this machine's",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What the person or script is told when a verb fails."""

    code: ErrorCode
    happened: str
    whose: str
    hint: str
    retry_after_s: int | None = None

    @property
    def exit_status(self) -> Exit:
        return REGISTRY[self.code].exit_status

    def as_json(self) -> str:
        """One line: ``{"error": {…}}``."""
        row = REGISTRY[self.code]
        error = {
            "code": int(self.code),
            "label": self.code.label,
            "detail": self.happened,
            "blame": row.blame.value,
            "hint": self.hint,
            "retryable": row.retry.value,
            "retry_after_s": self.retry_after_s,
        }
        return json.dumps({"error": error})

    def lines(self) -> tuple[tuple[str, str], ...]:
        """The three parts, each with its name."""
        again = f"; again in {show_duration(self.retry_after_s)}" if self.retry_after_s else ""
        happened = printable(f"{self.happened} [{int(self.code)} {self.code.label}]")
        return ("error", happened), ("whose doing", self.whose), ("what to try", printable(self.hint) + again)


def report_of(error: RetrievalError) -> Report:
    """An error of the registry, as its row words it."""
    row = error.row
    return Report(code=error.code, happened=str(error), whose=WHOSE[row.blame], hint=row.hint, retry_after_s=error.retry_after_s)


def show_report(report: Report, console: Console) -> None:
    """Write the failure to stderr: JSON for a script, otherwise three lines, laid out and coloured only on a terminal."""
    if console.json:
        console.stderr.write(report.as_json() + "\n")
    elif not console.stderr.isatty():
        console.stderr.writelines(f"{name}: {said}\n" for name, said in report.lines())
    else:
        drawn = Table.grid(padding=(0, 2))
        drawn.add_column(no_wrap=True)
        drawn.add_column(overflow="fold")
        for name, said in report.lines():
            drawn.add_row(Text(name, style="bold red" if name == "error" else "bold"), Text(said))
        screen_for(console.stderr).print(drawn)
    console.stderr.flush()
