"""What can go wrong on a connection, in the registry's words."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import trio

from retrieval.errors import ErrorCode, RemoteProtocolError


@contextmanager
def connection_errors() -> Iterator[None]:
    """Turn whatever comes out of a socket into ``RemoteProtocolError(transfer_truncated)``."""
    try:
        yield
    except (OSError, trio.BrokenResourceError, trio.ClosedResourceError) as error:
        raise RemoteProtocolError(ErrorCode.TRANSFER_TRUNCATED, "the connection broke") from error


def closed() -> RemoteProtocolError:
    """The peer has gone."""
    return RemoteProtocolError(ErrorCode.TRANSFER_TRUNCATED, "the peer closed the connection")
