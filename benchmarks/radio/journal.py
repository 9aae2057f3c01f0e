"""What happened in the air, line by line: the log that two runs must have alike to the byte.

The rule: a line holds what was simulated and nothing of the machine that simulated it.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable
from typing import Final

from benchmarks.radio.timeline import Timeline


class Journal:
    """Lines of ``seconds.micros name what words``; counted by what they say, and hashed as they come."""

    def __init__(self, timeline: Timeline, *, keep: bool = True, watch: Callable[[str], None] | None = None) -> None:
        """``keep`` holds the lines in memory; ``watch`` hears each. An hour of thirty nodes makes some hundred thousand."""
        self._timeline: Final = timeline
        self._keep: Final = keep
        self._watch: Final = watch
        self._hash: Final = hashlib.sha256()
        self.lines: Final[list[str]] = []
        self.counts: Final[Counter[str]] = Counter()

    def write(self, name: str, what: str, words: str = "") -> None:
        seconds, micros = divmod(self._timeline.now_us, 1_000_000)
        line = f"{seconds}.{micros:06d} {name} {what} {words}".rstrip()
        self.counts[what] += 1
        self._hash.update(line.encode() + b"\n")
        if self._keep:
            self.lines.append(line)
        if self._watch is not None:
            self._watch(line)

    def digest(self) -> str:
        """SHA-256 over every line so far, those not kept included."""
        return self._hash.copy().hexdigest()

    def __bytes__(self) -> bytes:
        return "".join(line + "\n" for line in self.lines).encode()
