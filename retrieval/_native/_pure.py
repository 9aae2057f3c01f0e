"""The plain definition of the native loops. Slow, obvious, and right: the C must agree with it byte for byte and word for word.

Every function takes any contiguous buffer and raises ``ValueError`` for bytes that do not follow the format; what that means to a peer
is for the caller to say.
"""

from __future__ import annotations

import hashlib
from typing import Final, TypeAlias

from retrieval._native.tables import BLOCK_ROW, FRAME_ROW, BlockStatus, FrameRow, Stop

Buffer: TypeAlias = bytes | bytearray | memoryview

UVARINT_SIZE_MAX: Final = 9  # bytes; multiformats/unsigned-varint caps values at 2^63 - 1
DIGEST_SIZE_MAX: Final = 64  # bytes; sha2-512, the longest digest in use

FRAME_TYPE_BLOCK: Final = 5
BLOCK_HEADER_SIZE: Final = 16 + 4 + 1  # bytes: deal id, index (u32, big-endian), CID size (u8)
BLOCK_PAYLOAD_SIZE_MAX: Final = 2 << 20
BLOCK_BODY_SIZE_MAX: Final = BLOCK_HEADER_SIZE + 255 + BLOCK_PAYLOAD_SIZE_MAX  # can be told from the length prefix alone
CONTROL_BODY_SIZE_MAX: Final = 64 << 10
_SECTION_SIZE_MAX: Final = 255 + BLOCK_PAYLOAD_SIZE_MAX
FRAMES_PER_CALL_MAX: Final = 1 << 16  # rows in one table, 2.5 MiB of them

KERNELS: Final = ("hashlib",)

_DAG_PB: Final = 0x70
_IDENTITY: Final = 0x00
_SHA2_256: Final = 0x12


def select_kernel(name: str, /) -> None:
    """Choose the code that compresses SHA-256, for tests and measurements. Raises ``ValueError`` unless it is one of ``KERNELS``."""
    if not isinstance(name, str):
        raise TypeError("a kernel is chosen by name")
    if name not in KERNELS:
        raise ValueError(f"the kernel {name!r} is not available here")


def encode_uvarint(value: int, /) -> bytes:
    """The multiformats/unsigned-varint of ``value``."""
    if not 0 <= value < 1 << 63:
        raise ValueError("a uvarint holds 0 to 2^63 - 1")
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def decode_uvarint(data: Buffer, offset: int = 0, /) -> tuple[int, int]:
    """``(value, end)`` of the uvarint at ``offset``."""
    return _decode_uvarint(_bytes_from(data, offset), offset)


def parse_cid(data: Buffer, offset: int = 0, /) -> tuple[int, int, int, int, int]:
    """``(version, codec, hash_code, digest_start, end)`` of the CID at ``offset``; what follows it is not looked at."""
    return _parse_cid(_bytes_from(data, offset), offset)


def verify_block(cid: Buffer, payload: Buffer, /) -> int:
    """The ``BlockStatus`` of one payload under a buffer that holds exactly one CID. Neither may be written to during the call."""
    cid, payload = _bytes_from(cid), _bytes_from(payload)
    try:
        _, _, hash_code, digest_start, end = _parse_cid(cid, 0)
    except ValueError:
        return BlockStatus.MALFORMED
    if end != len(cid):
        return BlockStatus.MALFORMED
    return _check_digest(hash_code, cid[digest_start:], payload)


def scan_frames(data: Buffer, offset: int, frames_max: int, /) -> tuple[bytes, int, int, int]:
    """Split up to ``frames_max`` whole frames from ``offset`` on, of any type and unverified.

    A frame is a uvarint length, a type byte and a body; the length counts the type byte and the body. Returns ``(table, n_frames,
    consumed, stop)``: ``frame_rows(table)``, the position behind the last frame found, and a ``Stop``. An over-long frame stops the
    walk as soon as its type byte is there. Raises ``ValueError`` for an offset outside the data or a ``frames_max`` outside 1 to
    ``FRAMES_PER_CALL_MAX``.
    """
    view = _bytes_from(data, offset)
    _check_frames_max(frames_max)
    table = bytearray()
    n_frames = 0
    while not isinstance(frame := _next_frame(view, offset), Stop):
        if n_frames == frames_max:
            return bytes(table), n_frames, offset, Stop.FULL
        table += FRAME_ROW.pack(*frame)
        n_frames += 1
        offset = frame.body_end
    return bytes(table), n_frames, offset, frame


def verify_frames(data: Buffer, offset: int, frames_max: int, /) -> tuple[bytes, int, int, int]:
    """Parse and verify up to ``frames_max`` consecutive block frames from ``offset`` on.

    Returns ``(table, n_frames, consumed, stop)`` as ``scan_frames`` does, with ``block_rows(table)``. A bad block is a row with its
    ``BlockStatus`` and does not end the walk; a frame that is not a block does. ``data`` must not be written to during the call.
    """
    view = _bytes_from(data, offset)
    _check_frames_max(frames_max)
    table = bytearray()
    n_frames = 0
    while not isinstance(frame := _next_frame(view, offset), Stop):
        if frame.type != FRAME_TYPE_BLOCK:
            return bytes(table), n_frames, offset, Stop.OTHER_FRAME
        row = _verify_body(view, frame)
        if row is None:
            return bytes(table), n_frames, offset, Stop.BLOCK_TOO_LARGE
        if n_frames == frames_max:
            return bytes(table), n_frames, offset, Stop.FULL
        table += row
        n_frames += 1
        offset = frame.body_end
    return bytes(table), n_frames, offset, frame


def verify_sections(data: Buffer, offset: int, sections_max: int, /) -> tuple[bytes, int, int, int]:
    """Parse and verify up to ``sections_max`` consecutive sections of a CARv1 from ``offset`` on: uvarint length, CID, payload.

    Returns what ``verify_frames`` does. A row's ``deal_id_start`` is where the section's CID should start, its index 0. ``Stop`` is
    ``NEED_MORE``, ``FULL``, ``MALFORMED_FRAME`` for a length that is none or zero, or ``BLOCK_TOO_LARGE``.
    """
    view = _bytes_from(data, offset)
    _check_frames_max(sections_max)
    table = bytearray()
    n_sections = 0
    while not isinstance(section := _next_section(view, offset), Stop):
        row = _verify_section(view, *section)
        if row is None:
            return bytes(table), n_sections, offset, Stop.BLOCK_TOO_LARGE
        if n_sections == sections_max:
            return bytes(table), n_sections, offset, Stop.FULL
        table += row
        n_sections += 1
        offset = section[1]
    return bytes(table), n_sections, offset, section


def _decode_uvarint(view: memoryview, offset: int) -> tuple[int, int]:
    value = 0
    for n in range(UVARINT_SIZE_MAX):
        if offset + n >= len(view):
            raise _CutShort("the uvarint is cut short")
        byte = view[offset + n]
        value |= (byte & 0x7F) << (7 * n)
        if not byte & 0x80:
            if byte == 0 and n > 0:
                raise ValueError("the uvarint is not minimal")
            return value, offset + n + 1
    raise ValueError("the uvarint is longer than 9 bytes")


def _parse_cid(view: memoryview, offset: int) -> tuple[int, int, int, int, int]:
    if bytes(view[offset : offset + 2]) == b"\x12\x20":
        if len(view) - offset < 34:
            raise ValueError("the CID is cut short")
        return 0, _DAG_PB, _SHA2_256, offset + 2, offset + 34
    version, at = _decode_uvarint(view, offset)
    if version != 1:
        raise ValueError("the CID version is unknown")
    codec, at = _decode_uvarint(view, at)
    hash_code, at = _decode_uvarint(view, at)
    digest_size, at = _decode_uvarint(view, at)
    if digest_size > DIGEST_SIZE_MAX:
        raise ValueError("the digest is longer than the limit")
    if len(view) - at < digest_size:
        raise ValueError("the CID is cut short")
    return 1, codec, hash_code, at, at + digest_size


def _next_frame(view: memoryview, offset: int) -> FrameRow | Stop:
    try:
        length, at = _decode_uvarint(view, offset)
    except _CutShort:
        return Stop.NEED_MORE
    except ValueError:
        return Stop.MALFORMED_FRAME
    if length == 0:
        return Stop.MALFORMED_FRAME
    if at == len(view):
        return Stop.NEED_MORE
    frame = FrameRow(view[at], at + 1, at + length)
    body_size = length - 1
    if frame.type == FRAME_TYPE_BLOCK and body_size > BLOCK_BODY_SIZE_MAX:
        return Stop.BLOCK_TOO_LARGE
    if frame.type != FRAME_TYPE_BLOCK and body_size > CONTROL_BODY_SIZE_MAX:
        return Stop.FRAME_TOO_LARGE
    if frame.body_end > len(view):
        return Stop.NEED_MORE
    return frame


def _verify_body(view: memoryview, frame: FrameRow) -> bytes | None:
    """The packed row of a block frame, or None when its payload is above the limit."""
    start, end = frame.body_start, frame.body_end
    malformed = BLOCK_ROW.pack(BlockStatus.MALFORMED, 0, start, end, end, end)
    cid_start = start + BLOCK_HEADER_SIZE
    if cid_start > end:
        return malformed
    payload_start = cid_start + view[cid_start - 1]
    if payload_start > end:
        return malformed
    try:
        _, _, hash_code, digest_start, cid_end = _parse_cid(view[:payload_start], cid_start)
    except ValueError:
        return malformed
    if cid_end != payload_start:
        return malformed
    if end - payload_start > BLOCK_PAYLOAD_SIZE_MAX:
        return None
    status = _check_digest(hash_code, view[digest_start:cid_end], view[payload_start:end])
    index = int.from_bytes(view[start + 16 : start + 20], "big")
    return BLOCK_ROW.pack(status, index, start, cid_start, payload_start, end)


def _next_section(view: memoryview, offset: int) -> tuple[int, int] | Stop:
    """Where the section's CID starts, and where it ends."""
    try:
        length, start = _decode_uvarint(view, offset)
    except _CutShort:
        return Stop.NEED_MORE
    except ValueError:
        return Stop.MALFORMED_FRAME
    if length == 0:
        return Stop.MALFORMED_FRAME
    if length > _SECTION_SIZE_MAX:
        return Stop.BLOCK_TOO_LARGE
    return (start, start + length) if start + length <= len(view) else Stop.NEED_MORE


def _verify_section(view: memoryview, start: int, end: int) -> bytes | None:
    """The packed row of a section, or None when its payload is above the limit."""
    try:
        _, _, hash_code, digest_start, cid_end = _parse_cid(view[:end], start)
    except ValueError:
        return BLOCK_ROW.pack(BlockStatus.MALFORMED, 0, start, end, end, end)
    if end - cid_end > BLOCK_PAYLOAD_SIZE_MAX:
        return None
    status = _check_digest(hash_code, view[digest_start:cid_end], view[cid_end:end])
    return BLOCK_ROW.pack(status, 0, start, start, cid_end, end)


def _check_digest(hash_code: int, digest: memoryview, payload: memoryview) -> BlockStatus:
    if hash_code == _IDENTITY:
        return BlockStatus.OK if digest == payload else BlockStatus.CORRUPT
    # A truncated digest is a weaker promise than the one that is paid for, so it counts as another hash.
    if hash_code != _SHA2_256 or len(digest) != 32:
        return BlockStatus.UNSUPPORTED_HASH
    return BlockStatus.OK if digest == hashlib.sha256(payload).digest() else BlockStatus.CORRUPT


def _bytes_from(data: Buffer, offset: int = 0) -> memoryview:
    view = memoryview(data)
    if not view.c_contiguous:
        raise BufferError("the buffer is not contiguous")
    if not 0 <= offset <= view.nbytes:
        raise ValueError("the offset lies outside the data")
    return view.cast("B")


def _check_frames_max(frames_max: int) -> None:
    if not 1 <= frames_max <= FRAMES_PER_CALL_MAX:
        raise ValueError(f"frames_max is 1 to {FRAMES_PER_CALL_MAX}")


class _CutShort(ValueError):
    """More bytes could make it whole."""
