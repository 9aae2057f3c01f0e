"""The plain definition of the native loops. Slow, obvious, and right."""

from __future__ import annotations

UVARINT_SIZE_MAX = 9  # bytes; multiformats/unsigned-varint caps values at 2^63 - 1
DIGEST_SIZE_MAX = 64


def encode_uvarint(value: int) -> bytes:
    if not 0 <= value < 1 << 63:
        raise ValueError("a uvarint holds 0 to 2^63 - 1")
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def decode_uvarint(data: bytes, offset: int = 0) -> tuple[int, int]:
    value = 0
    for n in range(UVARINT_SIZE_MAX):
        if offset + n >= len(data):
            raise ValueError("the uvarint is cut short")
        byte = data[offset + n]
        value |= (byte & 0x7F) << (7 * n)
        if not byte & 0x80:
            if byte == 0 and n > 0:
                raise ValueError("the uvarint is not minimal")
            return value, offset + n + 1
    raise ValueError("the uvarint is longer than 9 bytes")


def parse_cid(data: bytes, offset: int = 0) -> tuple[int, int, int, int, int]:
    """``(version, codec, hash_code, digest_start, end)``"""
    if data[offset : offset + 2] == b"\x12\x20":
        if len(data) - offset < 34:
            raise ValueError("the CID is cut short")
        return 0, 0x70, 0x12, offset + 2, offset + 34
    version, at = decode_uvarint(data, offset)
    if version != 1:
        raise ValueError(f"CID version {version} is unknown")
    codec, at = decode_uvarint(data, at)
    hash_code, at = decode_uvarint(data, at)
    digest_size, at = decode_uvarint(data, at)
    if digest_size > DIGEST_SIZE_MAX:
        raise ValueError("the digest is longer than the limit")
    if len(data) - at < digest_size:
        raise ValueError("the CID is cut short")
    return 1, codec, hash_code, at, at + digest_size
