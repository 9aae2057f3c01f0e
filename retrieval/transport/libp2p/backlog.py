"""What has arrived on a stream and nobody has taken.

Its rule: bytes are put in once and taken out once, and only the rest of a full buffer is ever moved.
"""

from __future__ import annotations

from typing import Final

from retrieval.memory import reserve


class Backlog:
    """What has arrived and nobody has taken: at most a window, in twice its room, none of which takes memory before it is used."""

    def __init__(self, window: int) -> None:
        self._buffer: Final = memoryview(reserve(2 * window))
        self._start = 0
        self._end = 0

    def __len__(self) -> int:
        return self._end - self._start

    def room(self, size_max: int) -> memoryview:
        """Where the next bytes go: at least one and at most ``size_max``."""
        if self._end == len(self._buffer):
            self._move(0)
        return self._buffer[self._end : self._end + size_max]

    def grow(self, size: int) -> None:
        """Count bytes that were put to the front of ``room``."""
        self._end += size

    def put_back(self, data: memoryview) -> None:
        """Add bytes before the oldest."""
        self._move(len(data))
        self._start = 0
        self._buffer[: len(data)] = data

    def peek(self, size_max: int) -> memoryview:
        """The oldest bytes, valid until the next call."""
        return self._buffer[self._start : min(self._end, self._start + size_max)]

    def drop(self, size: int) -> None:
        self._start += size
        if self._start == self._end:
            self._start = self._end = 0

    def _move(self, start: int) -> None:
        size = len(self)
        self._buffer[start : start + size] = self._buffer[self._start : self._end]
        self._start, self._end = start, start + size
