"""DAG-JSON: documents in JSON whose links are ``{"/": "bafy…"}`` and whose bytes are ``{"/": {"bytes": "…"}}`` (ipld/specs, "DAG-JSON").

White space and the order of keys are left as they stand, as the other readers do: the CID fixes the bytes, and the order in which links
are followed is that of the text. What makes two readers disagree is refused with ``RemoteProtocolError(malformed_block)``: keys twice,
numbers that are no numbers, texts that are no Unicode, a reserved ``/`` that is neither link nor bytes.
"""

from __future__ import annotations

import base64
import json
import math
import re
from typing import Final

from retrieval.cid import CID_TEXT_MAX
from retrieval.dag.datamodel import DEPTH_MAX, VALUES_MAX, Link, Value, link_to
from retrieval.dag.protobuf import malformed
from retrieval.wire.messages import BLOCK_SIZE_MAX

_RESERVED: Final = "/"
_DIGITS_MAX: Final = 20  # of an integer; 2^64 has as many
_INTEGER_MAX: Final = (1 << 64) - 1  # as in DAG-CBOR, down to -2^64
_BASE58: Final = {letter: n for n, letter in enumerate("123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz")}

# A string, up to the end where it never closes, so that nothing is looked at twice; or a mark that opens, closes or divides.
_MARKS: Final = re.compile(r'"(?:[^"\\]++|\\.)*+"?|[\[{\]},]', re.DOTALL)

_SURROGATE: Final = re.compile(r"\\u[dD][89a-fA-F]")


def decode(block: bytes) -> Value:
    """The document of a block. Raises ``RemoteProtocolError(malformed_block)``."""
    if len(block) > BLOCK_SIZE_MAX:
        raise malformed(f"a document of {len(block)} bytes is above the limit of {BLOCK_SIZE_MAX}")
    try:
        text = str(block, "utf-8")
    except UnicodeDecodeError as error:
        raise malformed("a document is not UTF-8") from error
    _check_limits(text)
    try:
        value = _READER.decode(text)
    except json.JSONDecodeError as error:
        raise malformed(f"a document is no JSON: {error.msg}") from error
    if _SURROGATE.search(text):
        _check_unicode(value)
    return value


def _check_limits(text: str) -> None:
    """Refuse what is too deep or too many before any value is made."""
    depth = 0
    n_values = 1
    for mark in _MARKS.finditer(text):
        first = mark[0][0]
        if first in "[{":
            depth += 1
            n_values += 1
            if depth > DEPTH_MAX:
                raise malformed(f"a document is deeper than {DEPTH_MAX}")
        elif first in "]}":
            depth -= 1
        elif first == ",":
            n_values += 1
        if n_values > VALUES_MAX:
            raise malformed(f"a document has more than {VALUES_MAX} values")


def _read_map(pairs: list[tuple[str, Value]]) -> Value:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise malformed("a map has a key twice")
    return _read_reserved(fields) if _RESERVED in fields else fields


def _read_reserved(fields: dict[str, Value]) -> Link | bytes:
    """A link or bytes, which are written as maps of one key."""
    inner = fields[_RESERVED]
    if len(fields) == 1 and isinstance(inner, str):
        return link_to(_cid(inner))
    if len(fields) == 1 and isinstance(inner, dict) and inner.keys() == {"bytes"} and isinstance(inner["bytes"], str):
        return _bytes(inner["bytes"])
    raise malformed("a map with the key '/' is neither a link nor bytes")


def _cid(text: str) -> bytes:
    """A CID in base32, or in base58btc as version 0 always is."""
    if len(text) > CID_TEXT_MAX:
        raise malformed(f"the CID of a link has {len(text)} characters")
    if text.startswith("b"):
        return _base32(text[1:])
    if text.startswith("Qm") and len(text) == 46:
        return _base58(text)
    if text.startswith("z"):
        return _base58(text[1:])
    raise malformed(f"the CID of a link is neither in base32 nor in base58btc: {text[:32]!r}")


def _base32(text: str) -> bytes:
    if text != text.lower():
        raise malformed("a base32 CID is not in small letters")
    try:
        return base64.b32decode(text.upper() + "=" * (-len(text) % 8))
    except ValueError as error:
        raise malformed("the CID of a link is not in base32") from error


def _base58(text: str) -> bytes:
    number = 0
    for letter in text:
        if letter not in _BASE58:
            raise malformed("the CID of a link is not in base58btc")
        number = number * 58 + _BASE58[letter]
    n_zeros = len(text) - len(text.lstrip("1"))
    return bytes(n_zeros) + number.to_bytes((number.bit_length() + 7) // 8, "big")


def _bytes(text: str) -> bytes:
    """Bytes in base64 without padding."""
    if "=" in text:
        raise malformed("bytes of a document are padded")
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except ValueError as error:
        raise malformed("bytes of a document are not in base64") from error


def _read_integer(digits: str) -> int:
    if len(digits) > _DIGITS_MAX + 1:
        raise malformed(f"an integer of a document has {len(digits)} digits")
    number = int(digits)
    if not -_INTEGER_MAX - 1 <= number <= _INTEGER_MAX:
        raise malformed("an integer of a document is above 64 bits")
    return number


def _read_float(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise malformed("a float of a document is not finite")
    return number


def _read_constant(name: str) -> Value:
    raise malformed(f"a document has the number {name}")


def _check_unicode(value: Value) -> None:
    """Refuse halves of surrogate pairs, which JSON can escape and no UTF-8 can hold."""
    open_values = [value]
    while open_values:
        inner = open_values.pop()
        if isinstance(inner, dict):
            open_values += [*inner.keys(), *inner.values()]
        elif isinstance(inner, list):
            open_values += inner
        elif isinstance(inner, str) and not inner.isascii() and any("\ud800" <= letter <= "\udfff" for letter in inner):
            raise malformed("a text of a document is no Unicode")


_READER: Final = json.JSONDecoder(
    object_pairs_hook=_read_map, parse_int=_read_integer, parse_float=_read_float, parse_constant=_read_constant
)
