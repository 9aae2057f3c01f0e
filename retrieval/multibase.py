"""How CIDs and peer ids are written: a letter that names the base, then the digits (multiformats/multibase).

The two bases in use, base32 and base58btc, are read and written here; every other spelling, and every doubtful one, goes through
``multiformats``, which takes 45 ms to load and so is left alone where it is not needed.
"""

from __future__ import annotations

import base64
import binascii
from typing import Final

_BASE58: Final = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_DIGITS: Final = {letter: value for value, letter in enumerate(_BASE58)}


def to_base58(data: bytes) -> str:
    """base58btc without its letter, ``z``: as version 0 CIDs and peer ids are written."""
    value, text = int.from_bytes(data, "big"), ""
    while value:
        value, digit = divmod(value, 58)
        text = _BASE58[digit] + text
    n_zeros = len(data) - len(data.lstrip(b"\x00"))
    return _BASE58[0] * n_zeros + text


def to_base32(data: bytes) -> str:
    """base32 without its letter, ``b``: as version 1 CIDs are written."""
    return base64.b32encode(data).decode("ascii").rstrip("=").lower()


def decode(text: str) -> bytes:
    """The bytes of a text in any multibase. Raises ``ValueError`` or ``LookupError``; the caller has limited its length."""
    match text[:1]:
        case "b":
            data, spelling = _from_base32(text[1:]), to_base32
        case "z":
            data, spelling = _from_base58(text[1:]), to_base58
        case _:
            data, spelling = None, to_base32
    if data is not None and spelling(data) == text[1:]:
        return data
    from multiformats import multibase

    return bytes(multibase.decode(text))


def _from_base32(digits: str) -> bytes | None:
    try:
        return base64.b32decode(digits.upper() + "=" * (-len(digits) % 8))
    except (binascii.Error, ValueError):
        return None


def _from_base58(digits: str) -> bytes | None:
    value = 0
    for letter in digits:
        if letter not in _DIGITS:
            return None
        value = value * 58 + _DIGITS[letter]
    n_zeros = len(digits) - len(digits.lstrip(_BASE58[0]))
    return bytes(n_zeros) + value.to_bytes((value.bit_length() + 7) // 8, "big")
