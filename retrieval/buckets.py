"""Token buckets: how fast somebody may ask, by whatever they are told apart by.

Pure. One rule: memory is bounded. Who is forgotten is who was not seen for longest.
"""

from __future__ import annotations

import math
from typing import Final, Generic, TypeVar

K = TypeVar("K")

BUCKETS_MAX: Final = 10_000
"""Keys whose rate is remembered."""


class Buckets(Generic[K]):
    """One bucket for each key: it allows a burst, and is refilled steadily. Times are seconds of one clock."""

    def __init__(self, per_minute: int, burst: int) -> None:
        self.per_minute: Final = per_minute
        self._burst: Final = burst
        self._spent: Final[dict[K, tuple[float, float]]] = {}
        """How much of a bucket was spent at a time; the one touched last stands last."""

    def wait_s(self, key: K, now: float) -> int:
        """Whole seconds until this bucket has something left; 0 when it has now."""
        lacking = self._level(key, now) + 1 - self._burst
        return max(0, math.ceil(lacking * 60 / self.per_minute))

    def spend(self, key: K, now: float, n: int = 1) -> None:
        """Take ``n``, also where there is less left: then the next has to wait for longer."""
        level = self._level(key, now)
        self._spent.pop(key, None)
        self._spent[key] = (level + n, now)
        if len(self._spent) > BUCKETS_MAX:
            del self._spent[next(iter(self._spent))]

    def give_back(self, key: K, now: float) -> None:
        """As if the last had not been spent."""
        if key in self._spent:
            self._spent[key] = (max(0.0, self._level(key, now) - 1), now)

    def _level(self, key: K, now: float) -> float:
        spent, since = self._spent.get(key, (0.0, now))
        return max(0.0, spent - (now - since) * self.per_minute / 60)
