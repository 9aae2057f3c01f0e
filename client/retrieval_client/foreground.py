"""Trio. A fetch with somebody watching: progress while it runs, a clean stop when they have seen enough.

The rule: a signal ends the program, never the deal. What was verified stays, and the same command goes on from there.
"""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator
from contextlib import ExitStack
from types import TracebackType
from typing import Final

import trio

from retrieval.console import Console, show_size
from retrieval.console import Progress as Bar
from retrieval.errors import ErrorCode, LocalProtocolError
from retrieval.home import Home

from .api import Order, Retrieval, retrieve
from .fetch import Progress
from .unwrap import one_error


def fetch_in_foreground(console: Console, home: Home, order: Order) -> Retrieval:
    """Carry out an order. Raises ``RetrievalError``; ``cancelled`` after SIGINT or SIGTERM."""
    with one_error():
        return trio.run(_fetch, console, home, order)


async def _fetch(console: Console, home: Home, order: Order) -> Retrieval:
    fetched: Retrieval | None = None
    with _Watched(console, order.source.name) as watched, trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_stop_at_signal, signals, watched, nursery.cancel_scope)
            fetched = await retrieve(home, order, on_progress=watched.show)
            nursery.cancel_scope.cancel()
    if fetched is None:
        here = f"{show_size(watched.verified_bytes)} are verified and stay here; " if watched.verified_bytes else ""
        raise LocalProtocolError(ErrorCode.CANCELLED, f"{here}the deal stays open, and nothing is paid twice")
    return fetched


async def _stop_at_signal(signals: AsyncIterator[int], watched: _Watched, fetching: trio.CancelScope) -> None:
    async for _ in signals:
        watched.take_down()
        fetching.cancel()


class _Watched:
    """The bar of a fetch: drawn while blocks come, taken down while they do not. A context manager."""

    def __init__(self, console: Console, label: str) -> None:
        self.verified_bytes = 0
        self._console: Final = console
        self._label: Final = label
        self._drawn: Final = ExitStack()
        self._bar: Bar | None = None
        self._trouble = ""

    def __enter__(self) -> _Watched:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.take_down()

    def show(self, progress: Progress) -> None:
        self.verified_bytes = progress.verified_bytes
        if progress.trouble:
            self.take_down()
            if progress.trouble != self._trouble:
                self._console.note(f"{progress.trouble}; trying again")
        elif progress.total_bytes is not None:
            if self._bar is None:
                bar = Bar(self._console, self._label, progress.total_bytes, resumed_bytes=self._resumed(progress))
                self._bar = self._drawn.enter_context(bar)
            self._bar.update(progress.verified_bytes, progress.spent)
        self._trouble = progress.trouble

    def _resumed(self, progress: Progress) -> int:
        """What does not count for the rate of a bar that is drawn now."""
        return progress.resumed_bytes if not self._trouble else progress.verified_bytes

    def take_down(self) -> None:
        """Leave the terminal as it was."""
        self._drawn.close()
        self._bar = None
