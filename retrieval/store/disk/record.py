"""A segment's records: block frames of the wire (``retrieval.wire.framing``), of no deal, one behind another.

One rule: what a record says of itself can be checked without anything beside it. The frame carries the CID and the sizes, and the call
that verifies blocks as they arrive, many side by side, verifies them when a segment's end is recovered.

A zero where a frame would begin is padding up to the next multiple of ``ALIGNMENT``: a frame's length is never zero.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

from retrieval import _native
from retrieval._native import BlockStatus, Stop, block_rows, frame_rows
from retrieval.cid import Cid, verify_blake3
from retrieval.staging import ALIGNMENT, align
from retrieval.wire.framing import block_head
from retrieval.wire.messages import DEAL_ID_SIZE, DealId

FRAMES_PER_CALL: Final = 64  # of up to 2 MiB each; enough to fill the widest kernel four times

_NO_DEAL: Final = DealId(bytes(DEAL_ID_SIZE))
_CID_SIZE_AT: Final = DEAL_ID_SIZE + 4  # in a block frame's body, behind the index


class Record(NamedTuple):
    """A block in a segment: where its payload lies."""

    cid: Cid
    payload_start: int
    payload_end: int

    @property
    def size(self) -> int:
        """Of the payload."""
        return self.payload_end - self.payload_start


def record_head(cid: Cid, payload_size: int) -> bytes:
    """What goes before the payload."""
    return block_head(_NO_DEAL, 0, cid, payload_size)


def verified_records(log: memoryview, start: int) -> Iterator[Record]:
    """The records from ``start`` to the first one that is not whole, or does not match its CID."""
    at: int | None = start
    while at is not None:
        table, _, consumed, stop = _native.verify_frames(log, at, FRAMES_PER_CALL)
        for row in block_rows(table):
            cid = Cid(bytes(log[row.cid_start : row.payload_start]))
            if not _is_right(BlockStatus(row.status), cid, log[row.payload_start : row.payload_end]):
                return
            yield Record(cid, row.payload_start, row.payload_end)
        at = _behind_padding(log, consumed, Stop(stop))


def listed_records(log: memoryview) -> Iterator[Record]:
    """The records from the beginning on, unverified: only their heads are read. Ends at what is none."""
    at: int | None = 0
    while at is not None:
        table, _, consumed, stop = _native.scan_frames(log, at, FRAMES_PER_CALL)
        for row in frame_rows(table):
            cid_start = row.body_start + _CID_SIZE_AT + 1
            payload_start = cid_start + log[cid_start - 1] if cid_start <= row.body_end else row.body_end + 1
            if payload_start > row.body_end:
                return
            yield Record(Cid(bytes(log[cid_start:payload_start])), payload_start, row.body_end)
        at = _behind_padding(log, consumed, Stop(stop))


def _is_right(status: BlockStatus, cid: Cid, payload: memoryview) -> bool:
    if status is BlockStatus.UNSUPPORTED_HASH:
        status = verify_blake3(cid, payload)
    return status is BlockStatus.OK


def _behind_padding(log: memoryview, at: int, stop: Stop) -> int | None:
    """Where a walk that stopped at ``at`` goes on; None where nothing follows."""
    if stop is Stop.FULL:
        return at
    is_padding = at < len(log) and log[at] == 0 and at % ALIGNMENT != 0
    return align(at) if is_padding and align(at) < len(log) else None
