from __future__ import annotations

import pytest
import trio
from retrieval_client.unwrap import one_error

from retrieval.errors import ErrorCode, RemoteProtocolError, RetrievalError

REFUSED = RemoteProtocolError(ErrorCode.NOT_FOUND)


def raised_from(group: BaseException) -> BaseException:
    with pytest.raises(BaseException) as raised, one_error():
        raise group
    return raised.value


def test_a_lone_error_leaves_its_groups() -> None:
    assert raised_from(ExceptionGroup("outer", [ExceptionGroup("inner", [REFUSED])])) is REFUSED


def test_an_error_outside_groups_passes_as_it_is() -> None:
    assert raised_from(REFUSED) is REFUSED


def test_a_defect_is_not_hidden_by_an_expected_error() -> None:
    defect = AssertionError("ours")
    assert raised_from(ExceptionGroup("", [REFUSED, defect])) is defect


def test_the_wish_to_stop_comes_first() -> None:
    stop = KeyboardInterrupt()
    assert raised_from(BaseExceptionGroup("", [AssertionError(), stop, REFUSED])) is stop


def test_an_error_that_cancelled_its_neighbours_is_the_one_that_leaves() -> None:
    async def fail() -> None:
        raise REFUSED

    async def main() -> None:
        with one_error():
            async with trio.open_nursery() as outer, trio.open_nursery() as inner:
                outer.start_soon(trio.sleep_forever)
                inner.start_soon(fail)

    with pytest.raises(RetrievalError):
        trio.run(main)


def test_a_cancellation_stays_one() -> None:
    async def main() -> bool:
        with trio.move_on_after(0) as scope, one_error():
            async with trio.open_nursery() as nursery:
                nursery.start_soon(trio.sleep_forever)
        return scope.cancelled_caught

    assert trio.run(main)
