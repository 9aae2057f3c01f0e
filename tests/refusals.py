"""What hostile input is allowed to cause."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from retrieval.errors import ErrorCode, RemoteProtocolError


@contextmanager
def may_refuse(*codes: ErrorCode) -> Iterator[None]:
    """The body passes, or raises ``RemoteProtocolError`` with one of these codes; anything else is a failure."""
    try:
        yield
    except RemoteProtocolError as refused:
        if refused.code not in codes:
            raise
