"""DAG-CBOR: documents in deterministic CBOR whose links are tag 42 (ipld/specs, "DAG-CBOR").

Only the one strict form is read: lengths and numbers in their shortest heads, floats of 64 bits and finite, keys of maps texts, each
once, the shorter first and equal lengths by their bytes, no tag but 42. Go's writer and JavaScript's write nothing else. The block is
read here, in one pass, and not by ``cbor2``: what one reader sorts out and another does not would let two sides of a deal walk one DAG
in two orders. Everything else raises ``RemoteProtocolError(malformed_block)``.
"""

from __future__ import annotations

import math
import struct
from typing import Final

from retrieval.dag.datamodel import DEPTH_MAX, VALUES_MAX, Link, Value, link_to
from retrieval.dag.protobuf import malformed
from retrieval.wire.messages import BLOCK_SIZE_MAX

_SIMPLE: Final = {0xF4: False, 0xF5: True, 0xF6: None}
_FLOAT64: Final = 0xFB
_TAG_42: Final = b"\xd8\x2a"
_LEAST: Final = (24, 1 << 8, 1 << 16, 1 << 32)
"""What a head of 1, 2, 4 and 8 more bytes must at least hold: less has a shorter form."""


def decode(block: bytes) -> Value:
    """The document of a block. Raises ``RemoteProtocolError(malformed_block)``."""
    if len(block) > BLOCK_SIZE_MAX:
        raise malformed(f"a document of {len(block)} bytes is above the limit of {BLOCK_SIZE_MAX}")
    reader = _Reader(block)
    try:
        value = reader.value(0)
    except (IndexError, struct.error) as error:
        raise malformed("a document is cut short") from error
    except UnicodeDecodeError as error:
        raise malformed("a text of a document is not UTF-8") from error
    if reader.at != len(block):
        raise malformed("bytes follow the document")
    return value


class _Reader:
    """One pass over a block. ``IndexError`` where the bytes end early."""

    __slots__ = ("_block", "_n_values", "at")

    def __init__(self, block: bytes) -> None:
        self.at = 0
        self._block = block
        self._n_values = 1

    def value(self, depth: int) -> Value:
        initial = self._block[self.at]
        major = initial >> 5
        if major == 7:
            return self._simple(initial)
        if major == 6:
            return self._link()
        argument = self._argument()
        match major:
            case 0:
                return argument
            case 1:
                return -1 - argument
            case 2:
                return self._cut(argument)
            case 3:
                return str(self._cut(argument), "utf-8")
        self._announce(argument, depth)
        return [self.value(depth + 1) for _ in range(argument)] if major == 4 else self._map(argument, depth)

    def _map(self, size: int, depth: int) -> dict[str, Value]:
        fields: dict[str, Value] = {}
        last_key = b""
        for n in range(size):
            if self._block[self.at] >> 5 != 3:
                raise malformed("a key of a map is no text")
            key = self._cut(self._argument())
            if n and (len(key), key) <= (len(last_key), last_key):
                raise malformed("the keys of a map are unsorted or repeated")
            last_key = key
            fields[str(key, "utf-8")] = self.value(depth + 1)
        return fields

    def _announce(self, size: int, depth: int) -> None:
        """Count the values of a list or map before any is made."""
        if depth == DEPTH_MAX:
            raise malformed(f"a document is deeper than {DEPTH_MAX}")
        self._n_values += size
        if self._n_values > VALUES_MAX:
            raise malformed(f"a document has more than {VALUES_MAX} values")

    def _simple(self, initial: int) -> float | bool | None:
        self.at += 1
        if initial in _SIMPLE:
            return _SIMPLE[initial]
        if initial != _FLOAT64:
            raise malformed("a document has a float that is not of 64 bits, or a simple value other than false, true and null")
        number: float = struct.unpack_from(">d", self._block, self.at)[0]
        self.at += 8
        if not math.isfinite(number):
            raise malformed("a float of a document is not finite")
        return number

    def _link(self) -> Link:
        if self._cut(2) != _TAG_42 or self._block[self.at] >> 5 != 2:
            raise malformed("a document has a tag that is no link")
        link = self._cut(self._argument())
        if link[:1] != b"\0":  # the multibase prefix of "binary", which history put there
            raise malformed("a link does not begin with a zero byte")
        return link_to(link[1:])

    def _argument(self) -> int:
        """The number in the head that begins here, which must have no shorter form."""
        short = self._block[self.at] & 0x1F
        self.at += 1
        if short < 24:
            return short
        if short > 27:
            raise malformed("a document has an indefinite length or a reserved head")
        argument = int.from_bytes(self._cut(1 << (short - 24)), "big")
        if argument < _LEAST[short - 24]:
            raise malformed("a number of a document is not in its shortest form")
        return argument

    def _cut(self, size: int) -> bytes:
        start = self.at
        if size > len(self._block) - start:
            raise IndexError
        self.at = start + size
        return self._block[start : self.at]
