"""Trio and asyncio side by side: what crosses, and that nothing stays behind on either side."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable

import pytest
import trio

from retrieval.transport.bridge import Bridge, BridgeClosed, open_asyncio


class Broken(Exception):
    """What work on the other side raises here."""


def bridged(body: Callable[[Bridge], Awaitable[None]]) -> None:
    """Run a body with an open bridge; afterwards no thread may be left."""

    async def main() -> None:
        with trio.fail_after(20):
            async with open_asyncio() as bridge:
                await body(bridge)

    before = threading.active_count()
    trio.run(main)
    asyncio_threads = [thread for thread in threading.enumerate() if "asyncio" in thread.name]
    assert not asyncio_threads
    assert threading.active_count() <= before + 1  # Trio keeps an idle thread for a while


def test_each_side_gets_the_results_of_the_other() -> None:
    async def in_asyncio(bridge: Bridge, number: int) -> int:
        await asyncio.sleep(0)
        return await bridge.in_trio(in_trio, number + 1)

    async def in_trio(number: int) -> int:
        await trio.lowlevel.checkpoint()
        return number * 2

    async def body(bridge: Bridge) -> None:
        assert await bridge.run(in_asyncio, bridge, 20) == 42

    bridged(body)


def test_each_side_gets_the_errors_of_the_other() -> None:
    async def fail_in_trio() -> None:
        raise Broken

    async def pass_on(bridge: Bridge) -> None:
        await bridge.in_trio(fail_in_trio)

    async def body(bridge: Bridge) -> None:
        with pytest.raises(Broken):
            await bridge.run(pass_on, bridge)

    bridged(body)


def test_work_that_cannot_even_be_called_raises_where_it_was_asked_for() -> None:
    def no_coroutine() -> Awaitable[None]:
        raise Broken

    async def ask_trio(bridge: Bridge) -> None:
        await bridge.in_trio(no_coroutine)

    async def body(bridge: Bridge) -> None:
        with pytest.raises(Broken):
            await bridge.run(no_coroutine)
        with pytest.raises(Broken):
            await bridge.run(ask_trio, bridge)

    bridged(body)


def test_cancelling_in_trio_cancels_the_task_in_asyncio_and_waits_for_its_end() -> None:
    seen: list[str] = []

    async def wait_for_ever(running: Callable[[], None]) -> None:
        running()
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.01)
            seen.append("ended")

    async def body(bridge: Bridge) -> None:
        token, is_running = trio.lowlevel.current_trio_token(), trio.Event()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(bridge.run, wait_for_ever, lambda: token.run_sync_soon(is_running.set))
            await is_running.wait()
            nursery.cancel_scope.cancel()
        assert seen == ["ended"]

    bridged(body)


def test_cancelling_before_the_task_began_leaves_it_undone() -> None:
    seen: list[str] = []

    async def note() -> None:
        seen.append("begun")
        await asyncio.Event().wait()

    async def body(bridge: Bridge) -> None:
        with trio.CancelScope() as scope:
            scope.cancel()
            await bridge.run(note)
        assert scope.cancelled_caught
        assert await bridge.run(asyncio.sleep, 0, "still open") == "still open"

    bridged(body)


def test_a_task_that_finishes_although_it_was_cancelled_gives_its_result() -> None:
    async def stubborn() -> str:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return "finished"
        raise AssertionError

    async def body(bridge: Bridge) -> None:
        with trio.move_on_after(0.05):
            assert await bridge.run(stubborn) == "finished"

    bridged(body)


def test_cancelling_in_asyncio_cancels_the_work_in_trio_and_waits_for_its_end() -> None:
    seen: list[str] = []

    async def wait_in_trio(loop: asyncio.AbstractEventLoop, running: asyncio.Event) -> None:
        loop.call_soon_threadsafe(running.set)
        try:
            await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True):
                await trio.sleep(0.01)
            seen.append("ended")

    async def in_asyncio(bridge: Bridge) -> None:
        running = asyncio.Event()
        task = asyncio.create_task(bridge.in_trio(wait_in_trio, asyncio.get_running_loop(), running))
        await running.wait()
        task.cancel()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert seen == ["ended"]

    async def body(bridge: Bridge) -> None:
        await bridge.run(in_asyncio, bridge)
        assert seen == ["ended"]

    bridged(body)


def test_an_error_while_ending_after_a_cancellation_is_not_lost() -> None:
    async def fail_at_the_end(loop: asyncio.AbstractEventLoop, running: asyncio.Event) -> None:
        loop.call_soon_threadsafe(running.set)
        try:
            await trio.sleep_forever()
        finally:
            raise Broken

    async def in_asyncio(bridge: Bridge) -> None:
        running = asyncio.Event()
        task = asyncio.create_task(bridge.in_trio(fail_at_the_end, asyncio.get_running_loop(), running))
        await running.wait()
        task.cancel()
        with pytest.raises(Broken):
            await task

    async def body(bridge: Bridge) -> None:
        await bridge.run(in_asyncio, bridge)

    bridged(body)


def test_closing_ends_what_runs_on_both_sides() -> None:
    seen: set[str] = set()

    async def wait_in_trio(running: trio.Event) -> None:
        running.set()
        try:
            await trio.sleep_forever()
        finally:
            seen.add("trio")

    async def in_asyncio(bridge: Bridge, running: trio.Event) -> None:
        try:
            await bridge.in_trio(wait_in_trio, running)
        finally:
            seen.add("asyncio")

    async def asked(bridge: Bridge, running: trio.Event) -> None:
        with pytest.raises(BridgeClosed):
            await bridge.run(in_asyncio, bridge, running)
        seen.add("asked")

    async def main() -> None:
        running = trio.Event()
        with trio.fail_after(20):
            async with trio.open_nursery() as nursery:
                async with open_asyncio() as bridge:
                    nursery.start_soon(asked, bridge, running)
                    await running.wait()
                with pytest.raises(BridgeClosed):
                    await bridge.run(asyncio.sleep, 0)

    trio.run(main)
    assert seen == {"trio", "asyncio", "asked"}


def test_tasks_that_work_began_itself_end_with_the_bridge() -> None:
    seen: list[str] = []
    kept: list[asyncio.Task[None]] = []

    async def wait(running: asyncio.Event) -> None:
        running.set()
        try:
            await asyncio.Event().wait()
        finally:
            seen.append("ended")

    async def begin() -> None:
        running = asyncio.Event()
        kept.append(asyncio.create_task(wait(running)))
        await running.wait()

    async def body(bridge: Bridge) -> None:
        await bridge.run(begin)

    bridged(body)
    assert seen == ["ended"]


def test_an_error_of_the_block_ends_both_sides_and_leaves_in_a_group() -> None:
    async def body(bridge: Bridge) -> None:
        raise Broken

    with pytest.raises(ExceptionGroup) as caught:
        bridged(body)
    assert caught.group_contains(Broken)


def test_a_cancellation_from_outside_ends_both_sides() -> None:
    async def main() -> None:
        with trio.move_on_after(0.05) as scope:
            async with open_asyncio() as bridge:
                await bridge.run(asyncio.Event().wait)
        assert scope.cancelled_caught

    trio.run(main)


def test_a_task_that_ends_its_whole_thread_ends_the_block() -> None:
    async def leave() -> None:
        raise SystemExit(3)

    async def body(bridge: Bridge) -> None:
        await bridge.run(leave)

    with pytest.raises(BaseExceptionGroup) as caught:
        bridged(body)
    assert caught.group_contains(SystemExit)


def test_many_cross_at_once() -> None:
    async def double(number: int) -> int:
        await trio.lowlevel.checkpoint()
        return number * 2

    async def many(bridge: Bridge) -> int:
        return sum(await asyncio.gather(*(bridge.in_trio(double, number) for number in range(100))))

    async def body(bridge: Bridge) -> None:
        sums: list[int] = []

        async def one() -> None:
            sums.append(await bridge.run(many, bridge))

        async with trio.open_nursery() as nursery:
            for _ in range(10):
                nursery.start_soon(one)
        assert sums == [9_900] * 10

    bridged(body)
