"""Integers of money and size, and the two ways people write them.

Amounts are integers in the token's smallest unit, sizes are integers in bytes. Text becomes an integer here, once, at the edge;
nothing below this module knows a decimal point.
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Final, NewType

from retrieval.errors import ErrorCode, LocalProtocolError

Amount = NewType("Amount", int)
"""A sum of money in the token's smallest unit (10^-6 USD for a six-decimal dollar)."""

KIB: Final = 1 << 10
MIB: Final = 1 << 20
GIB: Final = 1 << 30

USD_DECIMALS: Final = 6  # of USDC, and of the development chain's test dollar
AMOUNT_MAX: Final = (1 << 128) - 1  # a voucher's maxClaimableAmount is a uint128
SIZE_BYTES_MAX: Final = (1 << 63) - 1
AMOUNT_TEXT_MAX: Final = 64  # characters; 2^128 with 18 decimals needs 40

_AMOUNT = re.compile(r"^\s*([0-9][0-9_]*(?:\.[0-9]+)?)\s*([A-Za-z]{2,8})?\s*$")
_SIZE = re.compile(r"^\s*([0-9]+(?:\.[0-9]+)?)\s*([KMGT]i?B|B)?\s*$", re.IGNORECASE | re.ASCII)
_SIZE_UNITS: Final = {
    "b": 1,
    "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12,
    "kib": KIB, "mib": MIB, "gib": GIB, "tib": GIB << 10,
}  # fmt: skip


def ceil_div(numerator: int, denominator: int) -> int:
    """Divide two non-negative integers, rounding up."""
    assert numerator >= 0
    assert denominator > 0
    return -(-numerator // denominator)


def floor_div(numerator: int, denominator: int) -> int:
    """Divide two non-negative integers, rounding down."""
    assert numerator >= 0
    assert denominator > 0
    return numerator // denominator


def parse_amount(text: str, *, decimals: int, symbol: str = "USD") -> Amount:
    """Read ``"0.05"`` or ``"0.05 USD"`` as an integer in the smallest unit.

    A figure finer than the smallest unit is refused rather than rounded: a limit that silently became zero would be a surprise.
    Raises ``LocalProtocolError(invalid_amount)``.
    """
    match = _AMOUNT.match(text) if len(text) <= AMOUNT_TEXT_MAX else None
    if match is None or (match[2] or symbol).upper() != symbol.upper():
        raise LocalProtocolError(ErrorCode.INVALID_AMOUNT, f"{text[:AMOUNT_TEXT_MAX]!r} is not an amount such as '0.05 {symbol}'")
    smallest = _scaled(match[1].replace("_", ""), 10**decimals)
    if smallest is None:
        raise LocalProtocolError(ErrorCode.INVALID_AMOUNT, f"{text!r} is finer than the token's {decimals} decimals")
    if smallest > AMOUNT_MAX:
        raise LocalProtocolError(ErrorCode.INVALID_AMOUNT, f"{text!r} is above the largest amount a voucher can carry")
    return Amount(smallest)


def format_amount(amount: int, *, decimals: int, symbol: str = "USD") -> str:
    """Show an amount exactly, with at least two decimals: ``50000`` becomes ``"0.05 USD"``."""
    sign = "-" if amount < 0 else ""
    whole, fraction = divmod(abs(amount), 10**decimals)
    digits = str(fraction).zfill(decimals).rstrip("0").ljust(min(2, decimals), "0") if decimals else ""
    return f"{sign}{whole}{'.' + digits if digits else ''} {symbol}"


def parse_price(text: str, *, decimals: int, symbol: str = "USD") -> int:
    """Read ``"0.01 USD/GiB"`` (or per ``GB``, ``MiB``, …) as smallest units per GiB, rounding up to a whole unit."""
    amount_text, slash, unit = text.partition("/")
    if not slash:
        return parse_amount(text, decimals=decimals, symbol=symbol)
    per_bytes = _SIZE_UNITS.get(unit.strip().lower())
    if per_bytes is None:
        raise LocalProtocolError(ErrorCode.INVALID_AMOUNT, f"{text!r}: the unit after '/' is one of B, KiB, MiB, GiB, TiB, kB, MB, GB, TB")
    price_per_gib = ceil_div(parse_amount(amount_text, decimals=decimals, symbol=symbol) * GIB, per_bytes)
    if price_per_gib > AMOUNT_MAX:
        raise LocalProtocolError(ErrorCode.INVALID_AMOUNT, f"{text!r} is above the largest price a quote can carry")
    return price_per_gib


def format_price(price_per_gib: int, *, decimals: int, symbol: str = "USD") -> str:
    """Show a price as people write it: ``"0.01 USD/GiB"``."""
    return f"{format_amount(price_per_gib, decimals=decimals, symbol=symbol)}/GiB"


def parse_size(text: str) -> int:
    """Read ``"10 GiB"``, ``"4MB"`` or ``"512"`` as bytes. Raises ``LocalProtocolError(invalid_size)``."""
    match = _SIZE.match(text) if len(text) <= AMOUNT_TEXT_MAX else None
    size_bytes = _scaled(match[1], _SIZE_UNITS[(match[2] or "B").lower()]) if match else None
    if size_bytes is None or size_bytes > SIZE_BYTES_MAX:
        raise LocalProtocolError(ErrorCode.INVALID_SIZE, f"{text[:AMOUNT_TEXT_MAX]!r} is not a size such as '10 GiB' or '512'")
    return size_bytes


def format_size(size_bytes: int) -> str:
    """Show bytes in binary units with at most two decimals, rounding down: ``67108864`` becomes ``"64 MiB"``."""
    for unit, scale in (("TiB", GIB << 10), ("GiB", GIB), ("MiB", MIB), ("KiB", KIB)):
        if size_bytes >= scale:
            whole, hundredths = divmod(floor_div(size_bytes * 100, scale), 100)
            return f"{whole}.{hundredths:02d}".rstrip("0").rstrip(".") + f" {unit}"
    return f"{size_bytes} B"


def _scaled(digits: str, scale: int) -> int | None:
    """``digits`` times ``scale`` when that is a whole number, else None."""
    numerator, denominator = Decimal(digits).as_integer_ratio()
    whole, rest = divmod(numerator * scale, denominator)
    return None if rest else whole
