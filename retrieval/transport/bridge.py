"""Trio and asyncio. Where the two meet: Trio is the root, and one asyncio loop runs in one thread of its own.

The rule: who asked for work on the other side waits for its end, also when cancelled. So nothing is left running on either side, and what
one side's work uses is not closed under it. Only immutable values cross, and callables that take and give such.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any, Final, TypeVar, TypeVarTuple

import trio

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class BridgeClosed(Exception):
    """The bridge is being closed: work on the other side was not begun, or was ended."""


class Bridge:
    """Made by ``open_asyncio``."""

    def __init__(self) -> None:
        self._token: Final = trio.lowlevel.current_trio_token()
        self._opened: Final = trio.Event()
        self._awaited: Final[set[trio.Event]] = set()
        """Of the work that Trio waits for. This and the nursery are Trio's, the rest is asyncio's, and touched in that thread only."""
        self._works: trio.Nursery | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping: asyncio.Event | None = None
        self._tasks: Final[set[asyncio.Task[Any]]] = set()

    # from Trio

    async def run(self, work: Callable[[*Ts], Awaitable[T]], *args: *Ts) -> T:
        """``await work(*args)`` in asyncio, from Trio. Cancelled here, its task is cancelled there, and its end waited for.

        Raises what it raises, and ``BridgeClosed`` when the bridge closes under it. Work that ends whole although it was cancelled gives
        its result: then it is the next checkpoint that raises.
        """
        ended = trio.Event()
        begun: asyncio.Task[T] | None = None
        is_unwanted = False

        async def carry() -> T:
            return await work(*args)

        def begin() -> None:
            nonlocal begun
            assert self._loop is not None
            assert self._stopping is not None
            if is_unwanted or self._stopping.is_set():
                self._token.run_sync_soon(ended.set)
                return
            begun = self._loop.create_task(carry())
            self._tasks.add(begun)
            begun.add_done_callback(end)

        def end(task: asyncio.Task[T]) -> None:
            self._tasks.discard(task)
            self._token.run_sync_soon(ended.set)

        def cancel() -> None:
            if begun is not None:
                begun.cancel()

        if not self._tell_asyncio(begin):
            raise BridgeClosed
        self._awaited.add(ended)
        is_cancelled = None
        try:
            await ended.wait()
        except trio.Cancelled as cancelled:
            is_unwanted, is_cancelled = True, cancelled
            self._tell_asyncio(cancel)
            with trio.CancelScope(shield=True):
                await ended.wait()
        finally:
            self._awaited.discard(ended)
        if begun is None or not begun.done() or begun.cancelled():
            raise is_cancelled or BridgeClosed
        return begun.result()

    # from asyncio

    async def in_trio(self, work: Callable[[*Ts], Awaitable[T]], *args: *Ts) -> T:
        """``await work(*args)`` in Trio, from asyncio: as a task of the bridge's own, cancelled when this one is, and its end waited for.

        Raises what it raises. A result that comes after the cancellation is dropped, as asyncio drops it.
        """
        loop = asyncio.get_running_loop()
        ended: asyncio.Future[T] = loop.create_future()
        scope = trio.CancelScope()

        async def carry() -> None:
            tell: Callable[[], object] = ended.cancel
            try:
                with scope:
                    result = await work(*args)
                    tell = lambda: ended.set_result(result)  # noqa: E731
            except Exception as error:  # noqa: BLE001  # whatever it is, it is raised where the work was asked for
                raised = error
                tell = lambda: ended.set_exception(raised)  # noqa: E731
            finally:
                loop.call_soon_threadsafe(tell)

        def begin() -> None:
            assert self._works is not None
            self._works.start_soon(carry)

        self._token.run_sync_soon(begin)
        is_cancelled = None
        try:
            return await asyncio.shield(ended)
        except asyncio.CancelledError as cancelled:
            if ended.cancelled():
                raise BridgeClosed from None
            is_cancelled = cancelled
        self._token.run_sync_soon(scope.cancel)
        while not ended.done():
            with suppress(asyncio.CancelledError):  # once is enough: it is raised below
                await asyncio.wait([ended])
        if not ended.cancelled() and (error := ended.exception()) is not None:
            raise error
        raise is_cancelled

    # inside

    async def serve(self) -> None:
        """Both halves: a thread for asyncio, and a nursery for what it wants done in Trio. Ends when told, and not when cancelled."""
        try:
            with trio.CancelScope(shield=True):
                async with trio.open_nursery() as self._works:
                    try:
                        # A limiter of its own: the thread is taken for as long as the bridge is open, and others need theirs.
                        await trio.to_thread.run_sync(asyncio.run, self._serve_asyncio(), limiter=trio.CapacityLimiter(1))
                    finally:
                        self._works.cancel_scope.cancel()  # nobody is left to hear of it
        finally:
            self._opened.set()
            for ended in self._awaited:
                ended.set()

    async def opened(self) -> None:
        """Until asyncio runs, or could not be begun."""
        with trio.CancelScope(shield=True):
            await self._opened.wait()

    def stop(self) -> None:
        """Begin to close."""
        if self._stopping is not None:
            self._tell_asyncio(self._stopping.set)

    async def _serve_asyncio(self) -> None:
        self._loop, self._stopping = asyncio.get_running_loop(), asyncio.Event()
        self._token.run_sync_soon(self._opened.set)
        try:
            await self._stopping.wait()
        finally:
            self._stopping.set()  # also where a task ended the whole loop
        while self._tasks:  # what these began themselves, ``asyncio.run`` cancels
            for task in self._tasks:
                task.cancel()
            await asyncio.wait(self._tasks)

    def _tell_asyncio(self, what: Callable[[], object]) -> bool:
        """Have something called in asyncio's thread; False when its loop has ended."""
        assert self._loop is not None
        try:
            self._loop.call_soon_threadsafe(what)
        except RuntimeError:
            if self._loop.is_closed():
                return False
            raise
        return True


@asynccontextmanager
async def open_asyncio() -> AsyncIterator[Bridge]:
    """A loop of asyncio beside Trio's while the block runs. At its end asyncio's tasks are cancelled, then its thread ends.

    An exception of the block leaves in a group, as it leaves a nursery.
    """
    async with trio.open_nursery() as nursery:
        bridge = Bridge()
        nursery.start_soon(bridge.serve)
        await bridge.opened()
        try:
            yield bridge
        finally:
            bridge.stop()
