"""Trio nurseries raise groups of exceptions; whoever called us gets the one that brought the others about."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import trio

from retrieval.errors import RetrievalError


@contextmanager
def one_error() -> Iterator[None]:
    """Let a group leave as its most telling member: the wish to stop, then our defects, then the registry's errors."""
    try:
        yield
    except BaseExceptionGroup as group:
        telling = min(_leaves(group), key=_precedence)
        raise telling from telling.__cause__


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _leaves(inner)
    else:
        yield error


def _precedence(error: BaseException) -> int:
    match error:
        case KeyboardInterrupt() | SystemExit():
            return 0
        case RetrievalError():
            return 2
        case trio.Cancelled():
            return 3
        case _:
            return 1
