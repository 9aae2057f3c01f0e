"""How much of a stream is read, sealed and written at once on one connection.

Few large writes cost least. What was sealed and waits for a peer is memory, so its rule: large writes are for peers that take them at
once, and only while all connections together hold little that waits.
"""

from __future__ import annotations

from typing import ClassVar, Final

from retrieval.units import KIB, MIB

WRITE_MAX: Final = 4 * MIB
WRITE_MIN: Final = 128 * KIB
FAST_S: Final = 0.02
"""A write that took less is followed by one of twice the size."""
SLOW_S: Final = 0.1
"""A write that took more is followed by one of half the size."""
SEALED_BYTES_MAX: Final = 32 * MIB
"""Sealed and not sent over all connections. Beyond it every write is a small one: peers that were fast and then stop reading hold this
and two small writes each."""


class Pace:
    _taken_by_all: ClassVar[int] = 0

    def __init__(self) -> None:
        self._size = WRITE_MIN
        self._n_taken = 0

    def write_max(self, n_streams: int) -> int:
        """How many bytes of each of so many streams may be sealed for the next write."""
        if Pace._taken_by_all >= SEALED_BYTES_MAX:
            return WRITE_MIN
        return max(WRITE_MIN, self._size // max(1, n_streams))

    def take(self, n_bytes: int) -> None:
        """They will be sealed, and wait to be sent."""
        self._n_taken += n_bytes
        Pace._taken_by_all += n_bytes

    def give_back(self, n_bytes: int) -> None:
        """They are not sealed after all, or wait no longer."""
        assert 0 <= n_bytes <= self._n_taken, "given back once"
        self._n_taken -= n_bytes
        Pace._taken_by_all -= n_bytes

    def sent(self, n_bytes: int, took_s: float) -> None:
        """The operating system has taken them, in so many seconds."""
        self.give_back(n_bytes)
        if took_s < FAST_S:
            self._size = min(2 * self._size, WRITE_MAX)
        elif took_s > SLOW_S:
            self._size = max(self._size // 2, WRITE_MIN)

    def end(self) -> None:
        """Nothing more will be sent."""
        self.give_back(self._n_taken)
