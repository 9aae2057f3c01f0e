"""The protobuf wire format, as far as dag-pb and UnixFS need it.

Reads one flat message into fields and writes fields back; nothing here knows what a field means. Foreign bytes raise only
``RemoteProtocolError(malformed_block)``. Like the Go and JavaScript readers we accept varints that are not minimal: the CID already
fixes the bytes, and content with such varints exists.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from retrieval.errors import ErrorCode, RemoteProtocolError

VARINT: Final = 0
FIXED64: Final = 1
BYTES: Final = 2
FIXED32: Final = 5

VARINT_SIZE_MAX: Final = 10  # bytes; a 64-bit value in groups of seven bits
UINT64_MAX: Final = (1 << 64) - 1


def malformed(detail: str) -> RemoteProtocolError:
    """The one error of this package for content that does not follow its format."""
    return RemoteProtocolError(ErrorCode.MALFORMED_BLOCK, detail)


def read_varint(data: bytes, at: int, end: int) -> tuple[int, int]:
    """``(value, next offset)`` of the varint at ``at``, which must end before ``end``."""
    if at >= end:
        raise malformed("a varint is cut short")
    byte = data[at]
    if byte < 0x80:  # nearly every varint in a block: lengths of CIDs and names
        return byte, at + 1
    value = byte & 0x7F
    for n in range(1, VARINT_SIZE_MAX):
        if at + n >= end:
            raise malformed("a varint is cut short")
        byte = data[at + n]
        value |= (byte & 0x7F) << (7 * n)
        if byte < 0x80:
            if value > UINT64_MAX:
                raise malformed("a varint is above 64 bits")
            return value, at + n + 1
    raise malformed("a varint is longer than 10 bytes")


def read_fields(data: bytes, at: int, end: int) -> Iterator[tuple[int, int, int, int]]:
    """The fields of the message in ``data[at:end]``: ``(number, wire type, a, b)``.

    For a varint ``a`` is the value; for everything else ``data[a:b]`` is the content.
    """
    while at < end:
        key, at = read_varint(data, at, end)
        number, wire_type = key >> 3, key & 7
        if wire_type == VARINT:
            value, at = read_varint(data, at, end)
            yield number, wire_type, value, 0
            continue
        if wire_type == BYTES:
            size, at = read_varint(data, at, end)
        elif wire_type == FIXED64:
            size = 8
        elif wire_type == FIXED32:
            size = 4
        else:
            raise malformed(f"wire type {wire_type} is not used")
        if size > end - at:
            raise malformed("a field is cut short")
        yield number, wire_type, at, at + size
        at += size


def varint(value: int) -> bytes:
    """A minimal varint of an unsigned 64-bit value."""
    assert 0 <= value <= UINT64_MAX
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def varint_field(number: int, value: int) -> bytes:
    return varint(number << 3 | VARINT) + varint(value)


def bytes_field(number: int, content: bytes) -> bytes:
    return varint(number << 3 | BYTES) + varint(len(content)) + content
