"""asyncio. One request for content: what it needs is here, or brought while it is read.

The rule: whatever becomes of a request, the errands that it joined are left, and no thread of it waits on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, ExitStack, suppress
from typing import Final, Protocol, TypeVar

from retrieval.errors import ErrorCode, RemoteProtocolError, RetrievalError
from retrieval.gateway.delivery import Threads
from retrieval.store.blocks import BlockStore
from retrieval.transport.bridge import BridgeClosed

from ..content import Held, held_of
from ..source import Source
from .arrivals import AwaitingStore
from .cache import Cache
from .errands import Errand, Permit

T = TypeVar("T")

RETRY_AFTER_S: Final = 2
_MONEY: Final = frozenset({ErrorCode.SPENDING_NOT_ALLOWED, ErrorCode.OVER_BUDGET})


class Bringing(Protocol):
    """Errands, from asyncio's side of the bridge."""

    async def join(self, source: Source, permit: Permit, *, alone: bool) -> Errand: ...
    async def leave(self, errand: Errand) -> None: ...


class Waiters:
    """Threads for requests whose blocks are on their way: one each, since each may wait."""

    def __init__(self, n_threads: int, *, n_reserved: int) -> None:
        """``n_reserved`` of them are for requests with a token: any web page can have strangers' requests wait, for as long as it likes."""
        self.threads: Final = Threads(n_threads)
        self._n_free = n_threads
        self._n_reserved: Final = n_reserved

    def take(self, permit: Permit) -> None:
        """A place. Raises ``RemoteProtocolError(rate_limited)``."""
        if self._n_free <= (self._n_reserved if permit.token is None else 0):
            raise RemoteProtocolError(ErrorCode.RATE_LIMITED, "too many requests wait for what is fetched", retry_after_s=RETRY_AFTER_S)
        self._n_free -= 1

    def give_back(self) -> None:
        self._n_free += 1


class Visit:
    """A context manager."""

    def __init__(self, cache: Cache, threads: Threads, waiters: Waiters, errands: Bringing, permit: Permit) -> None:
        self.store: BlockStore = cache.store
        """Where the content is read; one that waits, once something of it is not here."""
        self.threads: Threads = threads
        self.errand: Errand | None = None
        """The last that was joined."""
        self._cache: Final = cache
        self._waiters: Final = waiters
        self._errands: Final = errands
        self._permit: Final = permit
        self._joined: Final = AsyncExitStack()
        self._used: Final = ExitStack()

    async def __aenter__(self) -> Visit:
        return self

    async def __aexit__(self, *raised: object) -> None:
        with self._used:
            await self._joined.aclose()

    async def need(self, source: Source, *, only_if_held: bool) -> None:
        """Have a source here, or on its way. Raises as ``Errands.join``, ``not_cached``, and ``rate_limited``."""
        self._used.callback(self._cache.leave, self._cache.use(source))
        if (await self.threads.run(lambda: self._look(source))).complete:
            return
        if only_if_held:
            raise RemoteProtocolError(ErrorCode.NOT_CACHED)
        if self.threads is not self._waiters.threads:
            self._waiters.take(self._permit)
            self._joined.callback(self._waiters.give_back)
            self.threads = self._waiters.threads
        await self._join(source, alone=False)

    async def run(self, work: Callable[[BlockStore], T]) -> T:
        """``work`` on the store, in a thread. A fetch that others began may fail for what they may not spend: then ours is begun."""
        while True:
            errand = self.errand
            try:
                return await self.while_wanted(self.threads.run(lambda: work(self.store)))
            except RetrievalError as error:
                is_ours = errand is None or errand.permit is self._permit
                if is_ours or error.code not in _MONEY or not self._permit.may_spend:
                    raise
            assert errand is not None
            await self._join(errand.source, alone=True)

    async def while_wanted(self, work: Awaitable[T]) -> T:
        """``work``, whose threads are told when the client leaves: they wait for blocks, and would do so for as long as those take."""
        task = asyncio.ensure_future(work)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            if isinstance(self.store, AwaitingStore):
                self.store.abandon()
            task.cancel()
            await asyncio.wait([task])
            raise

    def _look(self, source: Source) -> Held:
        """What of a source is here; it stays as long as this visit."""
        self._cache.settle()
        return held_of(self._cache.store, source)

    async def _join(self, source: Source, *, alone: bool) -> None:
        errand = await self._errands.join(source, self._permit, alone=alone)
        self._joined.push_async_callback(self._leave, errand)
        self.errand, self.store = errand, AwaitingStore(errand.arrivals)

    async def _leave(self, errand: Errand) -> None:
        with suppress(BridgeClosed):  # then all errands have ended
            await self._errands.leave(errand)
