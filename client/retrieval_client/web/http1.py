"""Answers of HTTP/1.1, read as strictly as RFC 9112 allows: their heads, and where the bytes behind a head end.

Pure. Foreign bytes raise only ``RemoteProtocolError(malformed_message)``. What could be read in two ways is refused: a length that is said
twice and differently, a length beside chunks, a line that goes on in the next.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from retrieval.errors import ErrorCode, RemoteProtocolError
from retrieval.units import KIB, SIZE_BYTES_MAX

HEAD_SIZE_MAX: Final = 48 * KIB
"""Bytes of an answer's status and headers: an offer, a charge and a receipt have up to 16 KiB each."""
HEADERS_MAX: Final = 128
LINE_SIZE_MAX: Final = 512
"""Bytes of the line before a chunk, extensions and all."""
TRAILERS_SIZE_MAX: Final = 16 * KIB

_STATUS_LINE: Final = re.compile(rb"HTTP/1\.([01]) ([1-9][0-9]{2})(?: [^\r\n\0]*)?")
_HEADER: Final = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([^\r\n\0]*?)[ \t]*")
_LENGTH: Final = re.compile(r"[0-9]{1,19}", re.ASCII)
_CHUNK: Final = re.compile(rb"([0-9A-Fa-f]{1,16})[ \t]*(?:;[^\r\n]*)?")
_BODILESS: Final = (204, 304)


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """What an answer begins with."""

    status: int
    headers: Mapping[str, str]
    """By their names in small letters; one that comes several times is the list of its values (RFC 9110, 5.3)."""
    is_newest: bool
    """Whether it is of HTTP/1.1, not 1.0."""

    @property
    def media_type(self) -> str:
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()

    @property
    def is_kept_open(self) -> bool:
        """Whether the server means to answer more on this connection."""
        options = {option.strip().lower() for option in self.headers.get("connection", "").split(",")}
        return self.is_newest and "close" not in options


def read_head(data: bytes) -> Head:
    """Read everything up to and with the empty line."""
    lines = data.removesuffix(b"\r\n\r\n").split(b"\r\n")
    status_line = _STATUS_LINE.fullmatch(lines[0])
    if status_line is None:
        raise malformed(f"{lines[0][:32]!r} is no status of HTTP/1.1")
    if len(lines) - 1 > HEADERS_MAX:
        raise malformed(f"an answer has more than {HEADERS_MAX} headers")
    headers: dict[str, str] = {}
    for line in lines[1:]:
        header = _HEADER.fullmatch(line)
        if header is None:
            raise malformed(f"{line[:32]!r} is no header")
        name, value = header[1].decode("ascii").lower(), header[2].decode("latin-1")
        if name == "content-length" and headers.get(name, value) != value:
            raise malformed("an answer has two lengths")
        headers[name] = value if name not in headers or name == "content-length" else f"{headers[name]}, {value}"
    return Head(status=int(status_line[2]), headers=headers, is_newest=status_line[1] == b"1")


class Framing:
    """Where a body ends, and what lies between its parts.

    ``left`` bytes of body come next; when it is 0 and the body not ``is_over``, what comes is for ``read_line``.
    """

    def __init__(self, head: Head) -> None:
        self.left = 0
        self.is_over = False
        self.ends_with_connection = False
        """Whether only the end of the connection ends it: then nobody can tell whether it is whole."""
        self._is_first_chunk = True
        self._is_in_trailers = False
        self._trailers_size = 0
        encoding, length = head.headers.get("transfer-encoding"), head.headers.get("content-length")
        if head.status in _BODILESS:
            self.is_over = True
        elif encoding is not None:
            if encoding.lower() != "chunked" or length is not None or not head.is_newest:
                raise malformed("a body is framed in two ways, or in one that is unknown")
        elif length is not None:
            if _LENGTH.fullmatch(length) is None or int(length) > SIZE_BYTES_MAX:
                raise malformed(f"{length[:32]!r} is no length")
            self.left = int(length)
            self.is_over = self.left == 0
            self._is_first_chunk = self._is_in_trailers = False
        else:
            self.left, self.ends_with_connection = SIZE_BYTES_MAX, True
        self._is_chunked: Final = encoding is not None and not self.is_over

    def took(self, n_bytes: int) -> None:
        """Bytes of the body were taken."""
        assert n_bytes <= self.left
        self.left -= n_bytes
        if self.left == 0 and not self._is_chunked:
            self.is_over = True

    def read_line(self, data: memoryview) -> int:
        """Read from the front of what is no body; returns how many bytes that were, 0 where more are needed."""
        assert self._is_chunked
        assert self.left == 0
        seen = bytes(data[:LINE_SIZE_MAX])
        start = 0 if self._is_first_chunk or self._is_in_trailers else 2
        if not b"\r\n".startswith(seen[:start]):
            raise malformed("a chunk does not end where it should")
        end = seen.find(b"\r\n", start)
        if end < 0:
            if len(seen) == LINE_SIZE_MAX:
                raise malformed("the line before a chunk is too long")
            return 0
        self._take_line(seen[start:end])
        return end + 2

    def _take_line(self, line: bytes) -> None:
        if self._is_in_trailers:
            self._trailers_size += len(line)
            if self._trailers_size > TRAILERS_SIZE_MAX:
                raise malformed("the trailers are too long")
            self.is_over = not line
            return
        chunk = _CHUNK.fullmatch(line)
        if chunk is None or int(chunk[1], 16) > SIZE_BYTES_MAX:
            raise malformed(f"{line[:32]!r} is no size of a chunk")
        self._is_first_chunk = False
        self.left = int(chunk[1], 16)
        self._is_in_trailers = self.left == 0


def write_request(target: str, headers: Mapping[str, str]) -> bytes:
    """A GET. ``target`` and headers are ours, made of characters that mean nothing between lines."""
    lines = [f"GET {target} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
    assert not any("\r" in line or "\n" in line for line in lines)
    return ("\r\n".join(lines) + "\r\n\r\n").encode("ascii")


def malformed(why: str) -> RemoteProtocolError:
    return RemoteProtocolError(ErrorCode.MALFORMED_MESSAGE, why)
