"""A view that is redrawn in place while something runs.

The rule: it goes to stderr, only to a terminal, and is gone when it ends; what is logged meanwhile stands above it.
"""

from __future__ import annotations

from types import TracebackType
from typing import Final

from rich.console import Group
from rich.live import Live

from retrieval.console.screen import Console, View, screen_for


class LiveView:
    """A context manager; without a terminal it draws nothing."""

    def __init__(self, console: Console) -> None:
        self._live: Final = (
            Live(console=screen_for(console.stderr), auto_refresh=False, transient=True, redirect_stdout=False)
            if console.stderr.isatty()
            else None
        )

    def __enter__(self) -> LiveView:
        if self._live:
            self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._live:
            self._live.stop()

    def show(self, *parts: View) -> None:
        """Draw these parts, one below the other, in place of what was drawn before."""
        if self._live:
            self._live.update(Group(*parts), refresh=True)
