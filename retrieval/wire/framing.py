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

import mmap
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
BUFFER_BYTES: Final = 4 * MIB
"""What a decoder receives into: room for the rest of a frame, and for enough blocks behind it to be worth a call."""
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

    Receive into ``room``, say how much with ``received``, and take what is complete from ``decode``. Payloads are views of the buffer, so
    once blocks were taken the decoder must ``move`` to another buffer before more is received.
    """

    def __init__(self) -> None:
        self._buffer = reserve(BUFFER_BYTES)
        self._start = 0
        self._end = 0
        self._holds_blocks = False

    @property
    def is_midway(self) -> bool:
        """Whether a frame has begun and not ended: a stream that stops now was cut."""
        return self._start < self._end

    @property
    def room(self) -> memoryview:
        """Where to receive; never empty when ``decode`` has been exhausted."""
        return memoryview(self._buffer)[self._end :]

    def received(self, n_bytes: int) -> None:
        """Count bytes that were written to the front of ``room``."""
        self._end += n_bytes

    @property
    def n_bytes(self) -> int:
        """Received and not yet taken."""
        return self._end - self._start

    @property
    def has_frame(self) -> bool:
        """Whether ``decode`` has something to give, or something to refuse."""
        with memoryview(self._buffer)[: self._end] as view:
            _, n_frames, _, stop = _native.scan_frames(view, self._start, 1)
        return n_frames > 0 or stop != Stop.NEED_MORE

    def decode(self) -> Iterator[Message | list[Block]]:
        """What is complete. Raises ``RemoteProtocolError``; the stream cannot be read on after that. Exhaust it before anything else."""
        while self._start < self._end:
            with memoryview(self._buffer)[: self._end] as view:
                table, n_blocks, self._start, stop = _native.verify_frames(view, self._start, FRAMES_PER_CALL)
            if blocks := self._blocks(table):
                self._holds_blocks = True
                yield blocks
            if len(blocks) < n_blocks:
                raise RemoteProtocolError(ErrorCode.MALFORMED_FRAME, "the head of a block cannot be read")
            if stop == Stop.OTHER_FRAME:
                yield self._control()
            elif stop != Stop.FULL:
                _require_more(stop)
                break
        if not self._holds_blocks:
            self._compact()

    def move(self, buffer: mmap.mmap) -> mmap.mmap:
        """Go on in another buffer of ``BUFFER_BYTES``; returns the one that was used so far, with the payloads in it."""
        assert len(buffer) == BUFFER_BYTES
        left, n_rest = self._buffer, self._end - self._start
        with memoryview(left) as view:
            buffer[:n_rest] = view[self._start : self._end]
        self._buffer, self._start, self._end = buffer, 0, n_rest
        self._holds_blocks = False
        return left

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
                yield from self.decode()
                if self._holds_blocks:
                    self.move(reserve(BUFFER_BYTES))

    def _compact(self) -> None:
        if self._start == 0:
            return
        rest = self._buffer[self._start : self._end]
        self._buffer[: len(rest)] = rest
        self._start, self._end = 0, len(rest)

    def _blocks(self, table: bytes) -> list[Block]:
        """The blocks of a table, up to the first whose head cannot be read."""
        view = memoryview(self._buffer)
        return [_block(view, row) for row in takewhile(_is_readable, _native.block_rows(table))]

    def _control(self) -> Message:
        with memoryview(self._buffer)[: self._end] as view:
            table, n_frames, _, _ = _native.scan_frames(view, self._start, 1)
        assert n_frames == 1, "the walk over blocks has seen that the frame is whole"
        (row,) = _native.frame_rows(table)
        cls = MESSAGE_OF_TYPE.get(row.type)
        if cls is None:
            raise RemoteProtocolError(ErrorCode.MALFORMED_FRAME, f"frame type {row.type} is unknown")
        self._start = row.body_end
        with memoryview(self._buffer)[row.body_start : row.body_end] as body:
            return shape.decode(cls, bytes(body))


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
