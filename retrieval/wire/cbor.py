"""Deterministic CBOR (RFC 8949 §4.2.1), cut down to what a control message needs. The only door to ``cbor2``.

Allowed are integers, byte strings, text, arrays, maps keyed by small integers, booleans and null. ``decode`` scans the bytes before
the library sees them, so that what reaches it is already known to be small, shallow and canonical: every value has exactly one
encoding, and a signature over received bytes cannot be moved to a re-encoding.
"""

from __future__ import annotations

from typing import Any, Final, TypeAlias

import cbor2

from retrieval.errors import ErrorCode, RemoteProtocolError

Value: TypeAlias = Any
"""None, bool, int, bytes, str, list of values, or dict of small int to value."""

DEPTH_MAX: Final = 8
MESSAGE_SIZE_MAX: Final = 64 * 1024  # bytes; the control frame limit
ITEMS_MAX: Final = 16 * 1024  # values in one message, so that 64 KiB cannot become half a million Python objects
KEY_MAX: Final = 23  # map keys fit the head byte

_FALSE, _TRUE, _NULL = 0xF4, 0xF5, 0xF6


def encode(value: Value) -> bytes:
    """The one encoding of ``value``. The caller's values are ours, so a shape outside the subset is a bug and asserts."""
    encoded: bytes = cbor2.dumps(value, canonical=True)
    assert len(encoded) <= MESSAGE_SIZE_MAX, "our own message is above the control frame limit"
    return encoded


def decode(data: bytes) -> Value:
    """Read one value that fills ``data`` exactly. Raises ``RemoteProtocolError(malformed_message)``."""
    if len(data) > MESSAGE_SIZE_MAX:
        raise _malformed(f"{len(data)} bytes are above the limit of {MESSAGE_SIZE_MAX}")
    end, _ = _scan(data, 0, 0, 0)
    if end != len(data):
        raise _malformed(f"{len(data) - end} bytes follow the value")
    try:
        return cbor2.loads(data)
    except (cbor2.CBORDecodeError, UnicodeDecodeError) as error:
        raise _malformed("text is not UTF-8") from error


def _scan(data: bytes, at: int, depth: int, n_items: int) -> tuple[int, int]:
    """Step over one value; returns where it ends and how many values have been seen."""
    if depth > DEPTH_MAX:
        raise _malformed(f"deeper than {DEPTH_MAX}")
    if (n_items := n_items + 1) > ITEMS_MAX:
        raise _malformed(f"more than {ITEMS_MAX} values")
    if at >= len(data):
        raise _malformed("cut short")
    if data[at] in (_FALSE, _TRUE, _NULL):
        return at + 1, n_items
    major = data[at] >> 5
    argument, at = _head(data, at)
    match major:
        case 0 | 1:
            return at, n_items
        case 2 | 3:
            if argument > len(data) - at:
                raise _malformed("a string is cut short")
            return at + argument, n_items
        case 4:
            for _ in range(argument):
                at, n_items = _scan(data, at, depth + 1, n_items)
            return at, n_items
        case 5:
            last_key = -1
            for _ in range(argument):
                if at >= len(data) or data[at] > KEY_MAX:
                    raise _malformed(f"a map key is not an integer of 0 to {KEY_MAX}")
                if data[at] <= last_key:
                    raise _malformed("map keys are unsorted or repeated")
                last_key = data[at]
                at, n_items = _scan(data, at + 1, depth + 1, n_items)
            return at, n_items
        case _:
            raise _malformed("tags, floats and other simple values are not allowed")


def _head(data: bytes, at: int) -> tuple[int, int]:
    """The argument of the head at ``at``, which must be in its shortest form (RFC 8949 §4.2.1)."""
    short = data[at] & 0x1F
    if short < 24:
        return short, at + 1
    if short > 27:
        raise _malformed("indefinite lengths are not allowed")
    size = 1 << (short - 24)
    if size > len(data) - at - 1:
        raise _malformed("cut short")
    argument = int.from_bytes(data[at + 1 : at + 1 + size], "big")
    if argument < (24, 1 << 8, 1 << 16, 1 << 32)[short - 24]:
        raise _malformed("a number is not in its shortest form")
    return argument, at + 1 + size


def _malformed(why: str) -> RemoteProtocolError:
    return RemoteProtocolError(ErrorCode.MALFORMED_MESSAGE, why)
