"""Paths inside a DAG: names below a root, as a query carries them.

A path is a tuple of names. It never climbs: ``.`` and ``..`` are refused rather than resolved, so that what is asked, priced and
delivered is one thing.
"""

from __future__ import annotations

from collections.abc import Sequence

from retrieval.errors import ErrorCode, RemoteProtocolError
from retrieval.wire.messages import PATH_SEGMENT_MAX, PATH_SEGMENTS_MAX


def parse_path(text: str) -> tuple[str, ...]:
    """Split what people type (``a/b/c.txt``); doubled and outer slashes do not matter. Raises ``RemoteProtocolError(invalid_path)``."""
    path = tuple(name for name in text.split("/") if name)
    encode_path(path)
    return path


def encode_path(path: Sequence[str]) -> list[bytes]:
    """The names as they stand in directories. Raises ``RemoteProtocolError(invalid_path)``."""
    if len(path) > PATH_SEGMENTS_MAX:
        raise RemoteProtocolError(ErrorCode.INVALID_PATH, f"the path has {len(path)} names, the limit is {PATH_SEGMENTS_MAX}")
    return [_encode_name(name) for name in path]


def _encode_name(name: str) -> bytes:
    try:
        encoded = name.encode("utf-8", "surrogateescape")  # as os.fsencode does for names that are not UTF-8
    except UnicodeEncodeError as error:
        raise RemoteProtocolError(ErrorCode.INVALID_PATH, "a name of the path is not text") from error
    if not is_plain_name(encoded):
        raise RemoteProtocolError(ErrorCode.INVALID_PATH, f"{name[:64]!r} is not a usable name")
    return encoded


def is_plain_name(name: bytes) -> bool:
    """Whether a file could be called this, in its own directory and nowhere else."""
    return 0 < len(name) <= PATH_SEGMENT_MAX and name not in (b".", b"..") and b"/" not in name and b"\0" not in name
