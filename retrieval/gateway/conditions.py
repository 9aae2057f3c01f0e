"""Conditional and ranged requests: whether the client has the answer already, and which bytes of it are wanted (RFC 9110, 13 and 14).

Pure. A condition that cannot be read is no condition.
"""

from __future__ import annotations

import re
from typing import Final

from retrieval.dag.byterange import ByteRange
from retrieval.errors import ErrorCode, RemoteProtocolError
from retrieval.units import SIZE_BYTES_MAX

_ETAGS: Final = re.compile(r'(?:W/)?"[\x21\x23-\x7e\x80-\xff]*"')
_RANGE: Final = re.compile(r"([0-9]{1,19})-([0-9]{1,19})?|-([0-9]{1,19})", re.ASCII)


class OutsideContent(RemoteProtocolError):
    """A range behind the end of content of ``size_bytes``, which the answer says."""

    def __init__(self, size_bytes: int) -> None:
        self.size_bytes: Final = size_bytes
        super().__init__(ErrorCode.RANGE_NOT_SATISFIABLE, f"the content has {size_bytes} bytes")


def has_it(if_none_match: str, etag: str) -> bool:
    """Whether ``If-None-Match`` names this answer. Weak and strong tags compare alike (RFC 9110, 8.8.3.2)."""
    if if_none_match.strip() == "*":
        return True
    return etag.removeprefix("W/") in (found.removeprefix("W/") for found in _ETAGS.findall(if_none_match))


def wanted_bytes(range_field: str, if_range: str, etag: str, size_bytes: int) -> tuple[int, int] | None:
    """The first byte that is wanted and the one behind the last; None for all of them.

    Of several ranges the first is served, as the gateways' specification allows. Raises ``OutsideContent``.
    """
    if if_range and if_range.strip() != etag:
        return None
    form = _first_range(range_field)
    if form is None:
        return None
    if form[3] is not None:
        start, stop = max(0, size_bytes - int(form[3])), size_bytes
    else:
        start, stop = int(form[1]), size_bytes if form[2] is None else min(size_bytes, int(form[2]) + 1)
        if form[2] is not None and int(form[2]) < start:
            return None
    if start >= stop:
        raise OutsideContent(size_bytes)
    return start, stop


def part_of(range_field: str) -> ByteRange | None:
    """The same before the size of the content is known, and without a condition; None for all of it."""
    form = _first_range(range_field)
    if form is None:
        return None
    if form[3] is not None:
        length = min(int(form[3]), SIZE_BYTES_MAX)
        return ByteRange(first=-length) if length else ByteRange(first=0, last=0)
    first, last = min(int(form[1]), SIZE_BYTES_MAX), None if form[2] is None else min(int(form[2]), SIZE_BYTES_MAX)
    return None if last is not None and last < first else ByteRange(first=first, last=last)


def _first_range(range_field: str) -> re.Match[str] | None:
    unit, _, ranges = range_field.partition("=")
    return _RANGE.fullmatch(ranges.partition(",")[0].strip()) if unit.strip().lower() == "bytes" else None
