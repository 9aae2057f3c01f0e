"""The loops that bytes go through, in C where it is built and in Python everywhere.

``RETRIEVAL_NATIVE=require`` refuses to run without the C extension, ``off`` ignores it; unset takes the C extension when it is there.
``_pure`` defines correct: the C must agree with it byte for byte.
"""

from __future__ import annotations

import os
from types import ModuleType
from typing import TYPE_CHECKING, Final

from retrieval._native._pure import (
    BLOCK_BODY_SIZE_MAX,
    BLOCK_HEADER_SIZE,
    BLOCK_PAYLOAD_SIZE_MAX,
    CONTROL_BODY_SIZE_MAX,
    DIGEST_SIZE_MAX,
    FRAME_TYPE_BLOCK,
    FRAMES_PER_CALL_MAX,
    UVARINT_SIZE_MAX,
    Buffer,
)
from retrieval._native.tables import BlockRow, BlockStatus, FrameRow, Stop, block_rows, frame_rows

__all__ = [
    "BACKEND",
    "BLOCK_BODY_SIZE_MAX",
    "BLOCK_HEADER_SIZE",
    "BLOCK_PAYLOAD_SIZE_MAX",
    "CONTROL_BODY_SIZE_MAX",
    "DIGEST_SIZE_MAX",
    "FRAMES_PER_CALL_MAX",
    "FRAME_TYPE_BLOCK",
    "KERNELS",
    "NOTICE",
    "UVARINT_SIZE_MAX",
    "BlockRow",
    "BlockStatus",
    "Buffer",
    "FrameRow",
    "Stop",
    "block_rows",
    "decode_uvarint",
    "encode_uvarint",
    "frame_rows",
    "parse_cid",
    "scan_frames",
    "select_kernel",
    "verify_block",
    "verify_frames",
    "verify_sections",
]


def _choose(wanted: str) -> tuple[ModuleType, str | None]:
    """The backend, and a sentence for the operator when it is the slow one by accident."""
    from retrieval._native import _pure

    if wanted not in ("", "require", "off"):
        raise ImportError(f"RETRIEVAL_NATIVE is {wanted!r}; it may be 'require', 'off' or unset")
    if wanted == "off":
        return _pure, None
    try:
        from retrieval._native import _core
    except ImportError as error:
        if wanted == "require":
            raise ImportError(f"RETRIEVAL_NATIVE=require, but the C extension cannot be loaded: {error}") from error
        return _pure, "the C extension is not built, so the slower pure-Python path runs; install a C compiler, then install again"
    return _core, None


if TYPE_CHECKING:
    from retrieval._native import _pure as _backend

    NOTICE: Final[str | None] = None
else:
    _backend, NOTICE = _choose(os.environ.get("RETRIEVAL_NATIVE", ""))

BACKEND: Final = "pure" if _backend.__name__.endswith("_pure") else "c"
KERNELS: Final = _backend.KERNELS
"""What can compress SHA-256 here, slowest first; ``core/sha256.h`` says when each wins. The last one is chosen until ``select_kernel``
chooses another."""

select_kernel = _backend.select_kernel
encode_uvarint = _backend.encode_uvarint
decode_uvarint = _backend.decode_uvarint
parse_cid = _backend.parse_cid
verify_block = _backend.verify_block
scan_frames = _backend.scan_frames
verify_frames = _backend.verify_frames
verify_sections = _backend.verify_sections
