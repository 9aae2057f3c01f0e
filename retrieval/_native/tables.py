"""What the walks over session frames and CAR sections return, whichever backend walked.

A table is a ``bytes`` of packed rows in native byte order: one object for a whole batch, and no Python object per block until
somebody iterates. The numbers of the two enums stand in ``core/frame.h`` and ``core/verify.h`` as well.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import IntEnum
from struct import Struct
from typing import Final, NamedTuple


class BlockStatus(IntEnum):
    """What is known about one block after verification."""

    OK = 0
    CORRUPT = 1
    """The payload does not match the CID's digest."""
    UNSUPPORTED_HASH = 2
    """Neither sha2-256 with all its 32 bytes nor identity."""
    MALFORMED = 3
    """The block header, or the CID in it, cannot be read."""


class Stop(IntEnum):
    """Why a walk ended, that is, what lies at ``consumed``."""

    NEED_MORE = 0
    """The data ends there: between two frames, or inside one."""
    FULL = 1
    """Another frame, but ``frames_max`` were found already."""
    OTHER_FRAME = 2
    """A whole frame that is not a block (``verify_frames`` only)."""
    MALFORMED_FRAME = 3
    """A length prefix that is not a uvarint, or is zero."""
    FRAME_TOO_LARGE = 4
    """A control frame whose body is announced above ``CONTROL_BODY_SIZE_MAX``."""
    BLOCK_TOO_LARGE = 5
    """A block frame announced above its limit, or with a payload above ``BLOCK_PAYLOAD_SIZE_MAX``."""


class FrameRow(NamedTuple):
    """One frame: its type byte, and where its body lies in the data."""

    type: int
    body_start: int
    body_end: int


class BlockRow(NamedTuple):
    """One verified block frame; positions count from the start of the data.

    The deal id is 16 bytes long and the CID ends where the payload starts. Of a ``MALFORMED`` row only ``deal_id_start``, which is
    where the frame's body starts, means something: the other positions are the body's end and the index is 0.
    """

    status: int
    """A ``BlockStatus``, left as an int because rows are made by the thousand."""
    block_index: int
    deal_id_start: int
    cid_start: int
    payload_start: int
    payload_end: int


FRAME_ROW: Final = Struct("=QQQ")
BLOCK_ROW: Final = Struct("=IIQQQQ")


def frame_rows(table: bytes) -> Iterator[FrameRow]:
    """The rows of a ``scan_frames`` table, in order."""
    return map(FrameRow._make, FRAME_ROW.iter_unpack(table))


def block_rows(table: bytes) -> Iterator[BlockRow]:
    """The rows of a ``verify_frames`` or ``verify_sections`` table, in order."""
    return map(BlockRow._make, BLOCK_ROW.iter_unpack(table))
