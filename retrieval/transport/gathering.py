"""Whether to wait a moment for more blocks before those that came are verified: side by side, sixteen cost half as much as one by one.

One rule: nothing waits that is awaited. Only a stream whose last batch was large waits, and only as long as it stays fast.
"""

from __future__ import annotations

import math
from typing import Final

from retrieval.units import MIB

FAST_BYTES: Final = 2 * MIB
"""A batch of this size says that more will be here in a moment: on a link of 1 Gbit/s none becomes as large."""
ENOUGH_BYTES: Final = 8 * MIB
"""What is not waited beyond."""
WHOLE_S: Final = 0.016
"""How long a batch may be gathered after its first frame: 8 MiB at 500 MiB/s."""
GAP_S: Final = 0.003
"""How long nothing may come: then the peer waits for us."""


class Gathering:
    """Sans-IO; ``now`` and ``deadline`` are in seconds of one clock."""

    def __init__(self) -> None:
        self.deadline = math.inf
        """When what is here is enough, whatever it is."""
        self._is_fast = False
        self._ends_at = math.inf

    @property
    def gap_s(self) -> float:
        """How long something whole that is here may wait for more."""
        return GAP_S if self._is_fast else 0

    def goes_on(self, n_bytes: int, now: float) -> bool:
        """Whether to wait, until ``deadline``, with so many bytes here and something whole among them."""
        if not self._is_fast or n_bytes >= ENOUGH_BYTES or now >= self.deadline:
            return False
        self._ends_at = min(self._ends_at, now + WHOLE_S)
        self.deadline = min(self._ends_at, now + GAP_S)
        return True

    def end(self, n_bytes: int) -> None:
        """So many bytes are being verified; the next batch begins."""
        self._is_fast = n_bytes >= FAST_BYTES
        self.deadline = self._ends_at = math.inf
