"""What can go wrong on a connection, in the registry's words."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import trio

from retrieval.errors import ErrorCode, RemoteProtocolError, RetrievalError


@contextmanager
def library_errors() -> Iterator[None]:
    """Turn whatever comes out of a connection, and of the parsers of py-libp2p and its dependencies, into one family of errors."""
    try:
        yield
    except RetrievalError:
        raise
    except (OSError, trio.BrokenResourceError, trio.ClosedResourceError) as error:
        raise RemoteProtocolError(ErrorCode.TRANSFER_TRUNCATED, "the connection broke") from error
    except Exception as error:  # hostile bytes surface as protobuf, Noise, Unicode, value and library errors
        raise RemoteProtocolError(ErrorCode.TRANSFER_TRUNCATED, f"the peer does not follow libp2p ({type(error).__name__})") from error


def closed() -> RemoteProtocolError:
    """The peer has gone."""
    return RemoteProtocolError(ErrorCode.TRANSFER_TRUNCATED, "the peer closed the connection")
