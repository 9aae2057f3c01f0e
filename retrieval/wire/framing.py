"""Frames: how messages and blocks share one stream of bytes.

A frame is ``uvarint length ‖ type byte ‖ body``; the length counts the type byte and the body. The types and the bodies of control
messages are in ``retrieval.wire.messages``. The body of a block frame is no CBOR, so that the payload goes out as it lies in the store:

======== ==========================================================
bytes    field
======== ==========================================================
16       deal id
4        index of the block in the deal, big-endian, from 0
1        length of the CID
n        CID, binary
rest     payload
======== ==========================================================

Limits: a control body has at most 64 KiB, a block's payload at most 2 MiB. A frame above its limit is refused when its length and type
byte are there, before any of its body is kept. So is a length that is not a minimal uvarint (multiformats/unsigned-varint), or is
zero. Each of these, a type byte that is not in the table, a control body that does not follow its shape, and a block frame whose head
cannot be read, ends the session: after it, nobody can say where the next frame begins. A block that does not match its CID is a whole
frame, and ends its deal only.

Blocks are verified as they are split off, many in one call of the C core, which hashes them side by side: the more blocks are fed at
once, up to sixteen, the less each costs. Those under BLAKE3 are verified one by one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import takewhile
from typing import Final

from retrieval import _native
from retrieval._native import BlockRow, BlockStatus, Stop
from retrieval.cid import Cid, verify_blake3
from retrieval.errors import ErrorCode, RemoteProtocolError
from retrieval.memory import reserve
from retrieval.units import MIB
from retrieval.wire import shape
from retrieval.wire.messages import BLOCK_SIZE_MAX, DEAL_ID_SIZE, MESSAGE_OF_TYPE, TYPE_OF_MESSAGE, DealId, FrameType, Message

FRAMES_PER_CALL: Final = 256
"""Frames split off in one call: a window of small blocks, or one read of large ones."""
FRAME_SIZE_MAX: Final = _native.UVARINT_SIZE_MAX + 1 + _native.BLOCK_BODY_SIZE_MAX
"""The most bytes of an incomplete frame."""
BUFFER_BYTES: Final = 12 * MIB
"""What a decoder receives into: room for the rest of a frame, and for enough blocks behind it to be worth a call. Memory is taken as far
as it was ever filled."""
BLOCK_INDEX_MAX: Final = (1 << 32) - 1


@dataclass(frozen=True, slots=True)
class Block:
    """A block as it came, and what the check against its CID said: never ``MALFORMED``, which ends the stream.

    The payload is where it was received: it is gone when that buffer is used again.
    """

    deal_id: DealId
    index: int
    cid: Cid
    payload: memoryview
    status: BlockStatus


def encode_frame(message: Message) -> bytes:
    """One control message as a frame."""
    body = shape.encode(message)
    return _native.encode_uvarint(1 + len(body)) + bytes((TYPE_OF_MESSAGE[type(message)],)) + body


def block_head(deal_id: DealId, index: int, cid: Cid, payload_size: int) -> bytes:
    """What goes before a block's payload on the wire."""
    assert len(deal_id) == DEAL_ID_SIZE
    assert 0 <= index <= BLOCK_INDEX_MAX
    assert payload_size <= BLOCK_SIZE_MAX
    body_size = _native.BLOCK_HEADER_SIZE + len(cid) + payload_size
    return b"".join(
        (
            _native.encode_uvarint(1 + body_size),
            bytes((FrameType.BLOCK,)),
            deal_id,
            index.to_bytes(4, "big"),
            bytes((len(cid),)),
            cid,
        )
    )


class FrameDecoder:
    """Splits received bytes into messages and runs of verified blocks, where they lie.

    Receive into ``room``, say how much with ``received``, and ``cut`` off the frames that are whole; they are decoded, perhaps in
    another thread, while more is received into another buffer.
    """

    def __init__(self) -> None:
        self._buffer = new_buffer()
        self._end = 0

    @property
    def is_midway(self) -> bool:
        """Whether a frame has begun and not ended: a stream that stops now was cut."""
        return self._end > 0

    @property
    def room(self) -> memoryview:
        """Where to receive; empty only when there are whole frames to ``cut`` off."""
        return self._buffer[self._end :]

    def received(self, n_bytes: int) -> None:
        """Count bytes that were written to the front of ``room``."""
        self._end += n_bytes

    @property
    def n_bytes(self) -> int:
        """Received and not cut off."""
        return self._end

    @property
    def has_frame(self) -> bool:
        """Whether there is something to decode, or something to refuse."""
        _, n_frames, _, stop = _native.scan_frames(self._buffer[: self._end], 0, 1)
        return n_frames > 0 or stop != Stop.NEED_MORE

    def cut(self, buffer: memoryview) -> Frames:
        """Everything that is whole, in the buffer it was received into; what is not goes on in ``buffer``, of ``BUFFER_BYTES``."""
        whole, stop = 0, int(Stop.FULL)
        while stop == Stop.FULL:
            _, _, whole, stop = _native.scan_frames(self._buffer[: self._end], whole, FRAMES_PER_CALL)
        is_broken = stop != Stop.NEED_MORE
        frames = Frames(self._buffer, self._end if is_broken else whole)
        rest = self._buffer[frames.n_bytes : self._end]
        buffer[: len(rest)] = rest
        self._buffer, self._end = buffer, len(rest)
        return frames

    def feed(self, data: bytes | bytearray | memoryview) -> Iterator[Message | list[Block]]:
        """Copy bytes in and take what is complete; the payloads stay valid. For those who have the bytes already."""
        with memoryview(data) as view:
            at = 0
            while at < len(view):
                room = self.room
                size = min(len(room), len(view) - at)
                room[:size] = view[at : at + size]
                at += size
                self.received(size)
                if self.has_frame:
                    yield from self.cut(new_buffer()).decode()


class Frames:
    """Whole frames in the buffer they were received into, and perhaps one behind them that no bytes could mend."""

    def __init__(self, buffer: memoryview, n_bytes: int) -> None:
        self.buffer: Final = buffer
        self.n_bytes: Final = n_bytes
        self._view: Final = buffer[:n_bytes]

    def decode(self) -> Iterator[Message | list[Block]]:
        """Messages, and runs of blocks. Raises ``RemoteProtocolError``; the stream cannot be read on after that."""
        at = 0
        while at < self.n_bytes:
            table, n_blocks, at, stop = _native.verify_frames(self._view, at, FRAMES_PER_CALL)
            if blocks := [_block(self._view, row) for row in takewhile(_is_readable, _native.block_rows(table))]:
                yield blocks
            if len(blocks) < n_blocks:
                raise RemoteProtocolError(ErrorCode.MALFORMED_FRAME, "the head of a block cannot be read")
            if stop == Stop.OTHER_FRAME:
                message, at = self._control(at)
                yield message
            elif stop != Stop.FULL:
                _require_more(stop)
                return

    def _control(self, at: int) -> tuple[Message, int]:
        table, n_frames, _, _ = _native.scan_frames(self._view, at, 1)
        assert n_frames == 1, "the walk over blocks has seen that the frame is whole"
        (row,) = _native.frame_rows(table)
        cls = MESSAGE_OF_TYPE.get(row.type)
        if cls is None:
            raise RemoteProtocolError(ErrorCode.MALFORMED_FRAME, f"frame type {row.type} is unknown")
        return shape.decode(cls, bytes(self._view[row.body_start : row.body_end])), row.body_end


def new_buffer() -> memoryview:
    """A buffer for a decoder; it takes no memory before it is written to."""
    return memoryview(reserve(BUFFER_BYTES))


def _block(view: memoryview, row: BlockRow) -> Block:
    cid = Cid(bytes(view[row.cid_start : row.payload_start]))
    payload = view[row.payload_start : row.payload_end]
    status = BlockStatus(row.status)
    if status is BlockStatus.UNSUPPORTED_HASH:
        status = verify_blake3(cid, payload)
    return Block(DealId(bytes(view[row.deal_id_start : row.deal_id_start + DEAL_ID_SIZE])), row.block_index, cid, payload, status)


def _is_readable(row: BlockRow) -> bool:
    return row.status != BlockStatus.MALFORMED


def _require_more(stop: int) -> None:
    """Return when more bytes are awaited; raise when no bytes could mend it."""
    match Stop(stop):
        case Stop.FRAME_TOO_LARGE:
            raise RemoteProtocolError(ErrorCode.FRAME_TOO_LARGE, "a control message has at most 64 KiB")
        case Stop.BLOCK_TOO_LARGE:
            raise RemoteProtocolError(ErrorCode.BLOCK_TOO_LARGE, "a block has at most 2 MiB")
        case Stop.MALFORMED_FRAME:
            raise RemoteProtocolError(ErrorCode.MALFORMED_FRAME, "its length is not a uvarint of at least 1")
        case _:
            return
