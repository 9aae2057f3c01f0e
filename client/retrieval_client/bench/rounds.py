"""Trio. Fetching again and again, cold and warm, and what it came to.

Each run connects anew and fetches twice over that connection: the first is cold, the second warm. The sources take turns (A B A B), so that
a machine that slows down does so for all of them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from retrieval.errors import ErrorCode, LocalProtocolError, RemoteProtocolError

from ..source import Source
from .metrics import Run, Stopwatch
from .session import Keep, Session, Target, forget

FETCHES_PER_RUN: Final = 2


class Start(Enum):
    """What there was when a fetch began."""

    COLD = "cold"
    """Nothing: dialling is part of it."""
    WARM = "warm"
    """An open connection that has served one fetch of the same."""


@dataclass(slots=True)
class Measured:
    """All fetches of one source that began alike."""

    source: Source
    start: Start
    runs: list[Run] = field(default_factory=list)
    """Those that succeeded."""
    failed: Counter[str] = field(default_factory=Counter)
    """The others, by the name of what they failed of."""
    last_error: RemoteProtocolError | None = None

    @property
    def n_attempts(self) -> int:
        return len(self.runs) + self.failed.total()

    def fail(self, error: RemoteProtocolError) -> None:
        self.failed[error.code.label] += 1
        self.last_error = error


async def measure(
    target: Target,
    sources: Sequence[Source],
    *,
    runs: int,
    keep: Keep = forget,
    on_fetch: Callable[[Measured], None] = lambda measured: None,
) -> list[Measured]:
    """Fetch every source ``runs`` times cold and warm; ``keep`` is given the blocks of the last cold fetch of each.

    A fetch that fails is counted and the next one goes on. Raises ``LocalProtocolError``, which all would fail of, before anything is
    signed where that can be known.
    """
    for source in sources:
        if source.walk().done:
            raise LocalProtocolError(ErrorCode.USAGE, f"{source} carries its content in itself: there is nothing to fetch")
    await target.prepare(sources, runs * FETCHES_PER_RUN)
    table = {source: {start: Measured(source, start) for start in Start} for source in sources}
    for number in range(runs):
        for found in table.values():
            await _run(target, found, keep if number == runs - 1 else forget, on_fetch)
    return [measured for found in table.values() for measured in found.values()]


async def _run(target: Target, found: dict[Start, Measured], keep: Keep, on_fetch: Callable[[Measured], None]) -> None:
    measured, watch = found[Start.COLD], Stopwatch()
    try:
        async with target.open(watch) as session:
            await _fetch(session, measured, watch, keep)
            on_fetch(measured)
            measured = found[Start.WARM]
            await _fetch(session, measured, Stopwatch(), forget)
            on_fetch(measured)
    except RemoteProtocolError as error:
        measured.fail(error)
        on_fetch(measured)


async def _fetch(session: Session, measured: Measured, watch: Stopwatch, keep: Keep) -> None:
    measured.runs.append(await session.fetch(measured.source, watch, keep))
