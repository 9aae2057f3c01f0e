"""A part of a file by its first and last byte, as ``entity-bytes`` of IPIP-402 names it.

Positions below zero count from the end, and no last byte means the end, so that a part can be asked for before the size is known. What
lies outside the file is no error: the part is what overlaps.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from retrieval.errors import ErrorCode, RemoteProtocolError
from retrieval.units import SIZE_BYTES_MAX
from retrieval.wire.messages import Selection

FORM: Final = r"(-?[0-9]{1,19}):(-?[0-9]{1,19}|\*)"
_FORM: Final = re.compile(FORM, re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class ByteRange:
    """The bytes from ``first`` to ``last``, both included."""

    first: int = 0
    last: int | None = None

    @classmethod
    def parse(cls, text: str) -> ByteRange:
        """Read ``from:to``, where ``to`` may be ``*``. Raises ``RemoteProtocolError(invalid_range)``, also where no file has such bytes."""
        form = _FORM.fullmatch(text)
        if form is None:
            raise _invalid(f"{text[:64]!r} is not of the form from:to")
        first, last = int(form[1]), None if form[2] == "*" else int(form[2])
        if max(abs(first), abs(last or 0)) > SIZE_BYTES_MAX:
            raise _invalid("a position is above 63 bits")
        if last is not None and last < first and (first < 0) == (last < 0):
            raise _invalid("it ends before it begins")
        return cls(first=first, last=last)

    @classmethod
    def of(cls, selection: Selection) -> ByteRange | None:
        """The part that a selection on the wire names, or None where it names none."""
        if selection.range_start is None and selection.range_end is None:
            return None
        return cls(first=selection.range_start or 0, last=selection.range_end)

    def resolve(self, size_bytes: int) -> tuple[int, int]:
        """The range in a file of this size: its first byte and the one behind its last. Both are equal where nothing overlaps."""
        start = self.first if self.first >= 0 else max(0, size_bytes + self.first)
        if self.last is None:
            stop = size_bytes
        else:
            stop = min(size_bytes, (self.last if self.last >= 0 else size_bytes + self.last) + 1)
        return (start, stop) if start < stop else (0, 0)

    def __str__(self) -> str:
        return f"{self.first}:{'*' if self.last is None else self.last}"


def _invalid(why: str) -> RemoteProtocolError:
    return RemoteProtocolError(ErrorCode.INVALID_RANGE, why)
