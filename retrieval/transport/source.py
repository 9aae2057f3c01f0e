"""Bytes to be sent that stay where they are until they are sealed.

One rule: who sends asks for a range when it has room for it, and is done with the bytes when its call returns. So a payload is encrypted
out of the store's map, and a peer that reads slowly holds none of it in memory.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Protocol, TypeVar

from retrieval.cid import Cid
from retrieval.errors import ErrorCode, LocalProtocolError

T = TypeVar("T")
Buffer = bytes | bytearray | memoryview


class Source(Protocol):
    def __len__(self) -> int: ...

    def use(self, start: int, end: int, work: Callable[[Sequence[Buffer]], T]) -> T:
        """What ``work`` makes of the bytes from ``start`` to ``end``, given in parts that are dead when it returns.

        May wait for a disk, and raises ``LocalProtocolError`` when the bytes cannot be had.
        """
        ...


class Views(Protocol):
    """``BlockStore.view_many``."""

    def __call__(self, cids: Sequence[Cid], use: Callable[[Sequence[memoryview | None]], T]) -> T: ...


class Range:
    """A part of a source: what is sent at once."""

    def __init__(self, source: Source, start: int, end: int) -> None:
        self._source: Final = source
        self._start: Final = start
        self._end: Final = end

    def __len__(self) -> int:
        return self._end - self._start

    def use(self, work: Callable[[Sequence[Buffer]], T]) -> T:
        """As ``Source.use``."""
        return self._source.use(self._start, self._end, work)

    def split(self, size: int) -> Iterator[Range]:
        """The same bytes in ranges of at most ``size``."""
        for start in range(self._start, self._end, size):
            yield Range(self._source, start, min(start + size, self._end))


class Plain:
    """Bytes that are here already."""

    def __init__(self, data: Buffer) -> None:
        self._view: Final = memoryview(data).cast("B")

    def __len__(self) -> int:
        return len(self._view)

    def use(self, start: int, end: int, work: Callable[[Sequence[Buffer]], T]) -> T:
        """As ``Source.use``."""
        return work((self._view[start:end],))


@dataclass(frozen=True, slots=True)
class _Frame:
    head: bytes
    cid: Cid
    size: int
    """Of the payload."""


class BlockFrames:
    """Frames of blocks: their heads here, their payloads in a store."""

    def __init__(self, views: Views) -> None:
        self._views: Final = views
        self._frames: Final[list[_Frame]] = []
        self._starts: Final[list[int]] = []
        self._n_bytes = 0

    def __len__(self) -> int:
        return self._n_bytes

    def append(self, head: bytes, cid: Cid, size: int) -> None:
        """Add a frame: its ``head``, and behind it the ``size`` bytes of the block."""
        self._starts.append(self._n_bytes)
        self._frames.append(_Frame(head, cid, size))
        self._n_bytes += len(head) + size

    def use(self, start: int, end: int, work: Callable[[Sequence[Buffer]], T]) -> T:
        """As ``Source.use``. Raises ``LocalProtocolError(not_found)`` when a block has been removed since."""
        first, last = bisect_right(self._starts, start) - 1, bisect_right(self._starts, end - 1)
        frames = self._frames[first:last]

        def cut(payloads: Sequence[memoryview | None]) -> T:
            parts: list[Buffer] = []
            at = self._starts[first]
            for frame, payload in zip(frames, payloads, strict=True):
                if payload is None or len(payload) != frame.size:
                    raise LocalProtocolError(ErrorCode.NOT_FOUND, "a block of it has been removed")
                for part in (frame.head, payload):
                    if inside := part[max(0, start - at) : max(0, end - at)]:
                        parts.append(inside)
                    at += len(part)
            return work(parts)

        return self._views([frame.cid for frame in frames], cut)
