"""What relays may be promised within a day.

One rule: a promise counts in full from the moment its packet leaves, whatever becomes of the packet. So a provider that answers strangers
never owes relays more than its operator allowed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Final

from retrieval.deal.records import PacketRecord

DAY_MS: Final = 86_400_000


class RelayBudget:
    """A sliding day of fee caps; it begins with what the journal knows of that day. Amounts in the token's smallest unit."""

    def __init__(self, per_day: int, packets: Iterable[PacketRecord] = ()) -> None:
        assert per_day >= 0
        self.per_day: Final = per_day
        self._promises = deque(sorted((row.sent_ms, row.fee_cap) for row in packets))
        self._promised = sum(fee_cap for _, fee_cap in self._promises)

    def left(self, now: float) -> int:
        """What may still be promised at ``now``, in unix seconds; below zero after an operator has lowered it."""
        while self._promises and self._promises[0][0] <= int(now * 1000) - DAY_MS:
            self._promised -= self._promises.popleft()[1]
        return self.per_day - self._promised

    def promise(self, fee_cap: int, now: float) -> None:
        """Count a packet that leaves."""
        self._promises.append((int(now * 1000), fee_cap))
        self._promised += fee_cap
