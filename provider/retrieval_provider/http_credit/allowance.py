"""What every address prefix may have for nothing: so much a day, refilled steadily.

Bytes before anybody is asked to pay, and the chain's time before anybody has paid. One rule: memory is bounded. A prefix that is forgotten
is one that has its whole allowance again, or the one that was seen longest ago.
"""

from __future__ import annotations

from typing import Final

from retrieval.units import floor_div

DAY_MS: Final = 24 * 3600 * 1000
PREFIXES_MAX: Final = 100_000


class Allowance:
    """Token buckets. Times are milliseconds."""

    def __init__(self, per_day: int) -> None:
        self.per_day: Final = per_day
        self._spent: Final[dict[str, tuple[int, int]]] = {}
        """How much was spent, as of a time; the prefix touched last stands last."""

    def left(self, prefix: str, now_ms: int) -> int:
        return self.per_day - self._level(prefix, now_ms)

    def take(self, prefix: str, n: int, now_ms: int) -> bool:
        """Spend ``n``, if there is as much left. What is more than a whole day's is never had."""
        level = self._level(prefix, now_ms) + n
        if level > self.per_day:
            return False
        self._spent.pop(prefix, None)
        self._spent[prefix] = (level, now_ms)
        if len(self._spent) > PREFIXES_MAX:
            del self._spent[next(iter(self._spent))]
        return True

    def give_back(self, prefix: str, n: int, now_ms: int) -> None:
        """Return what was taken and not used."""
        level = self._level(prefix, now_ms) - n
        if level > 0:
            self._spent[prefix] = (level, now_ms)
        else:
            self._spent.pop(prefix, None)

    def _level(self, prefix: str, now_ms: int) -> int:
        spent, since_ms = self._spent.get(prefix, (0, now_ms))
        return max(0, spent - floor_div(max(0, now_ms - since_ms) * self.per_day, DAY_MS))
