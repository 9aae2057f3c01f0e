"""Deterministic CBOR (RFC 8949 §4.2.1), cut down to what a control message needs.

=================== ==========================================================================================
allowed             as
=================== ==========================================================================================
unsigned, negative  major types 0 and 1, in the shortest head that holds the number
byte string, text   major types 2 and 3, of definite length; text is UTF-8
array               major type 4, of definite length
map                 major type 5, of definite length; keys are the integers 0 to 23, each one byte, ascending
false, true, null   0xF4, 0xF5, 0xF6
=================== ==========================================================================================

Nothing else is: no tags, floats, indefinite lengths or other simple values. At most 64 KiB, 8 levels, 16,384 values. So every value
has exactly one encoding, whatever is accepted encodes to the same bytes again, and a signature over received bytes cannot be moved to
a re-encoding.

Foreign bytes are read here, in one pass, and by nothing else: two parsers that disagree about a signed message are an attack. What is
written is small, and a library call cost more than writing all of it. The tests hold reader and writer against ``cbor2``.
"""

from __future__ import annotations

import struct
from typing import Any, Final, TypeAlias

from retrieval.errors import ErrorCode, RemoteProtocolError

Value: TypeAlias = Any
"""None, bool, int, bytes, str, list of values, or dict of small int to value."""

DEPTH_MAX: Final = 8  # arrays and maps inside each other
MESSAGE_SIZE_MAX: Final = 64 * 1024  # bytes; the control frame limit
ITEMS_MAX: Final = 16 * 1024  # values in one message, so that 64 KiB cannot become half a million Python objects
KEY_MAX: Final = 23  # map keys fit the head byte

_SIMPLE: Final = {0xF4: False, 0xF5: True, 0xF6: None}
CONSTANTS: Final = {value: bytes((initial,)) for initial, value in _SIMPLE.items()}
"""How false, true and null are written."""
_LEAST: Final = (24, 1 << 8, 1 << 16, 1 << 32)
"""What a head of 1, 2, 4 and 8 more bytes must at least hold: less has a shorter form."""


def encode(value: Value) -> bytes:
    """The one encoding of ``value``, whose maps must have their keys in ascending order. What we write is ours, so it is not checked."""
    encoded = _encode(value)
    assert len(encoded) <= MESSAGE_SIZE_MAX, "our own message is above the control frame limit"
    return encoded


def integer(value: int) -> bytes:
    """The encoding of an integer of -2^64 to 2^64 - 1."""
    if 0 <= value < _SHORT:
        return _SHORT_INTEGERS[value]
    return head(0, value) if value >= 0 else head(1, -1 - value)


def byte_string(value: bytes) -> bytes:
    """The encoding of bytes."""
    size = len(value)
    return (_SHORT_BYTES[size] if size < _SHORT else head(2, size)) + value


def text(value: str) -> bytes:
    """The encoding of text."""
    encoded = value.encode("utf-8")
    size = len(encoded)
    return (_SHORT_TEXTS[size] if size < _SHORT else head(3, size)) + encoded


def head(major_type: int, argument: int) -> bytes:
    """The shortest head that holds ``argument``: below 2^64 the value of a number, the size of a string, the count of an array or map."""
    initial = major_type << 5
    if argument < 24:
        return _INITIALS[initial | argument]
    if argument < 1 << 8:
        return _HEAD_8.pack(initial | 24, argument)
    if argument < 1 << 16:
        return _HEAD_16.pack(initial | 25, argument)
    if argument < 1 << 32:
        return _HEAD_32.pack(initial | 26, argument)
    return _HEAD_64.pack(initial | 27, argument)


_INITIALS: Final = tuple(bytes((initial,)) for initial in range(256))
_HEAD_8, _HEAD_16, _HEAD_32, _HEAD_64 = (struct.Struct(layout) for layout in (">BB", ">BH", ">BI", ">BQ"))
_SHORT: Final = 256
_SHORT_INTEGERS: Final = tuple(head(0, value) for value in range(_SHORT))
_SHORT_BYTES: Final = tuple(head(2, size) for size in range(_SHORT))
_SHORT_TEXTS: Final = tuple(head(3, size) for size in range(_SHORT))
"""Nearly all heads that our messages need."""


def decode(data: bytes) -> Value:
    """Read one value that fills ``data`` exactly. Raises ``RemoteProtocolError(malformed_message)``."""
    if len(data) > MESSAGE_SIZE_MAX:
        raise _malformed(f"{len(data)} bytes are above the limit of {MESSAGE_SIZE_MAX}")
    try:
        value, end, _ = _read(bytes(data), 0, 0, 1)
    except IndexError as error:
        raise _malformed("it is cut short") from error
    except UnicodeDecodeError as error:
        raise _malformed("text is not UTF-8") from error
    if end != len(data):
        raise _malformed(f"{len(data) - end} bytes follow the value")
    return value


def _encode(value: Value) -> bytes:
    match value:
        case bytes():
            return byte_string(value)
        case str():
            return text(value)
        case bool() | None:
            return CONSTANTS[value]
        case int():
            return integer(value)
        case dict():
            fields = [integer(key) + _encode(item) for key, item in value.items()]
            return head(5, len(fields)) + b"".join(fields)
        case list():
            return head(4, len(value)) + b"".join(map(_encode, value))
        case _:
            raise AssertionError(f"{type(value).__name__} has no place in a message")


def _read(data: bytes, at: int, depth: int, n_items: int) -> tuple[Value, int, int]:
    """The value at ``at``, where it ends, and how many values have been announced so far.

    Values are counted when an array or map announces them, before any is made. Raises ``IndexError`` where the bytes end early. The
    order of the cases is that of their frequency.
    """
    initial = data[at]
    at += 1
    argument = initial & 0x1F
    if argument >= 24:
        argument, at = _long_argument(data, at, argument)
    match initial >> 5:
        case 2:
            return _cut(data, at, argument), at + argument, n_items
        case 0:
            return argument, at, n_items
        case 5:
            return _read_map(data, at, argument, depth, n_items + argument)
        case 4:
            return _read_array(data, at, argument, depth, n_items + argument)
        case 3:
            return str(_cut(data, at, argument), "utf-8"), at + argument, n_items
        case 1:
            return -1 - argument, at, n_items
        case _ if initial in _SIMPLE:
            return _SIMPLE[initial], at, n_items
        case _:
            raise _malformed("tags, floats and other simple values are not allowed")


def _read_map(data: bytes, at: int, size: int, depth: int, n_items: int) -> tuple[dict[int, Value], int, int]:
    _check_bounds(depth, n_items)
    fields = {}
    last_key = -1
    for _ in range(size):
        key = data[at]
        if not last_key < key <= KEY_MAX:
            raise _malformed("map keys are unsorted or repeated" if key <= KEY_MAX else f"a map key is not an integer of 0 to {KEY_MAX}")
        fields[key], at, n_items = _read(data, at + 1, depth + 1, n_items)
        last_key = key
    return fields, at, n_items


def _read_array(data: bytes, at: int, size: int, depth: int, n_items: int) -> tuple[list[Value], int, int]:
    _check_bounds(depth, n_items)
    items = []
    for _ in range(size):
        item, at, n_items = _read(data, at, depth + 1, n_items)
        items.append(item)
    return items, at, n_items


def _check_bounds(depth: int, n_items: int) -> None:
    if depth >= DEPTH_MAX:
        raise _malformed(f"it is deeper than {DEPTH_MAX}")
    if n_items > ITEMS_MAX:
        raise _malformed(f"it has more than {ITEMS_MAX} values")


def _cut(data: bytes, at: int, size: int) -> bytes:
    if size > len(data) - at:
        raise IndexError
    return data[at : at + size]


def _long_argument(data: bytes, at: int, short: int) -> tuple[int, int]:
    """The argument that follows its head byte, which must have no shorter form (RFC 8949 §4.2.1), and where it ends."""
    if short == 24 and data[at] >= 24:
        return data[at], at + 1
    if short > 27:
        raise _malformed("indefinite lengths are not allowed")
    end = at + (1 << (short - 24))
    if end > len(data):
        raise IndexError
    argument = int.from_bytes(data[at:end], "big")
    if argument < _LEAST[short - 24]:
        raise _malformed("a number is not in its shortest form")
    return argument, end


def _malformed(why: str) -> RemoteProtocolError:
    return RemoteProtocolError(ErrorCode.MALFORMED_MESSAGE, why)
