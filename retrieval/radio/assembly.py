"""Records put together from segments that come in any order, twice, or not at all.

What is kept is bounded: ``RECORDS_MAX`` records from the first that is not whole, each of at most 64 segments of one packet each. A segment
outside of that, or one that contradicts what came before of its record, is dropped.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from retrieval.radio.payload import MAPS_MAX, NUMBER_MAX, Segment

RECORDS_MAX: Final = MAPS_MAX
"""Records under way in one direction: as many as an acknowledgement can speak of."""


@dataclass(slots=True)
class _Partial:
    n_segments: int
    pieces: dict[int, bytes] = field(default_factory=dict)

    @property
    def is_whole(self) -> bool:
        return len(self.pieces) == self.n_segments


class Assembly:
    """One direction of one session."""

    def __init__(self) -> None:
        self._partials: dict[int, _Partial] = {}
        self._next = 0

    @property
    def next_record(self) -> int:
        """The first record that is not whole."""
        return self._next

    @property
    def kept_bytes(self) -> int:
        """What is held of records that are not whole."""
        return sum(len(piece) for partial in self._partials.values() for piece in partial.pieces.values())

    def add(self, segment: Segment) -> list[bytes]:
        """Take a segment; gives the records that are whole now, in order."""
        if not self._next <= segment.record < self._next + RECORDS_MAX or segment.record == NUMBER_MAX:
            return []
        partial = self._partials.setdefault(segment.record, _Partial(segment.n_segments))
        if partial.n_segments != segment.n_segments:
            return []
        partial.pieces.setdefault(segment.index, segment.piece)
        records = []
        while (first := self._partials.get(self._next)) is not None and first.is_whole:
            del self._partials[self._next]
            self._next += 1
            records.append(b"".join(first.pieces[index] for index in range(first.n_segments)))
        return records

    def maps(self) -> tuple[int, ...]:
        """Which segments are here of the record that comes next, and of those behind it, as an acknowledgement says it."""
        last = max(self._partials, default=self._next - 1)
        return tuple(_bits(self._partials.get(number)) for number in range(self._next, last + 1))


def _bits(partial: _Partial | None) -> int:
    return sum(1 << index for index in partial.pieces) if partial is not None else 0
