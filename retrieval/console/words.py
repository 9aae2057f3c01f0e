"""Values in the words people read: amounts, sizes, times, shortened CIDs.

The rule: these are for terminals. JSON carries the whole value: integers in the smallest unit, complete CIDs.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from retrieval.units import USD_DECIMALS, format_amount, format_price, format_size

CID_HEAD: Final = 10  # of a CIDv1 in base32, "bafybei" is the same for most; three more tell siblings apart
CID_TAIL: Final = 6

show_size = format_size


def show_amount(amount: int) -> str:
    """``50000`` as ``0.05 USD``."""
    return format_amount(amount, decimals=USD_DECIMALS)


def show_price(price_per_gib: int) -> str:
    """``10000`` as ``0.01 USD/GiB``."""
    return format_price(price_per_gib, decimals=USD_DECIMALS)


def show_rate(bytes_per_s: float) -> str:
    """``1572864`` as ``1.5 MiB/s``."""
    return f"{format_size(round(bytes_per_s))}/s"


def show_duration(seconds: float) -> str:
    """Two leading units at most: ``250 ms``, ``4.2 s``, ``3 min 20 s``, ``2 h 5 min``, ``3 d 4 h``."""
    if seconds < 0.9995:  # what rounds to a full second is shown as one
        return f"{round(seconds * 1_000)} ms"
    if seconds < 10:
        return f"{seconds:.1f}".removesuffix(".0") + " s"
    whole = round(seconds)
    for (unit, scale), (smaller, smaller_scale) in ((("d", 86_400), ("h", 3_600)), (("h", 3_600), ("min", 60)), (("min", 60), ("s", 1))):
        if whole >= scale:
            rest = whole % scale // smaller_scale
            return f"{whole // scale} {unit}" + (f" {rest} {smaller}" if rest else "")
    return f"{whole} s"


def show_time(unix_s: float) -> str:
    """A moment as ISO 8601 in UTC, to the second: ``2026-03-01T12:00:00Z``."""
    return datetime.fromtimestamp(int(unix_s), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def short_cid(cid: str) -> str:
    """Head and tail of a CID, for a table; text that is no longer than that stays whole."""
    return cid if len(cid) <= CID_HEAD + CID_TAIL + 1 else f"{cid[:CID_HEAD]}…{cid[-CID_TAIL:]}"


def printable(text: str) -> str:
    """``text`` with everything a terminal would obey, rather than show, written as an escape.

    File names and error details come from other people's machines; an escape sequence in one could repaint the screen, and a
    right-to-left mark could turn an amount around.
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
