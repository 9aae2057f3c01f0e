"""The port of the measuring verb: somebody who can be connected to, and asked for content again and again."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol, TypeAlias

from retrieval._native import Buffer
from retrieval.cid import Cid

from ..source import Source
from .metrics import Run, Stopwatch

Blocks: TypeAlias = Iterable[tuple[Cid, Buffer]]
Keep: TypeAlias = Callable[[Blocks], None]
"""Is given every verified block, whose memory is used again afterwards. Called from worker threads, one call at a time."""


class Session(Protocol):
    """Something is asked of one peer over one connection."""

    async def fetch(self, source: Source, watch: Stopwatch, keep: Keep) -> Run:
        """Fetch all of ``source``. Raises ``RemoteProtocolError``, what the fetch failed of; and ``LocalProtocolError``, our own limits."""
        ...


class Target(Protocol):
    """Who is measured."""

    async def prepare(self, sources: Sequence[Source], n_each: int) -> None:
        """Before the first of ``n_each`` fetches of every source: whether they may be made. Raises ``LocalProtocolError``."""
        ...

    def open(self, watch: Stopwatch) -> AbstractAsyncContextManager[Session]:
        """Connect anew, and tell the watch. Raises as ``Session.fetch``."""
        ...


def forget(blocks: Blocks) -> None:
    """What is verified is not kept."""
