"""Bytes made fewer for the air: one raw deflate stream a session and direction, over a dictionary both sides know.

Each record is flushed by itself, and loses the four bytes that every such flush ends in (RFC 7692, 7.2.1). The dictionary holds the words
that messages of ``retrieval.wire`` always carry, then the two peer ids, the client's first. Signatures and hashes stay what they are; what
was said before in the session costs next to nothing.
"""

from __future__ import annotations

import zlib
from typing import Final

from retrieval.errors import ErrorCode, RemoteProtocolError
from retrieval.identity import PeerId
from retrieval.units import KIB

RECORD_SIZE_MAX: Final = 8 * KIB
"""Bytes of a record before it is made compact. A block of 4 KiB and what goes with it fit."""
_LEVEL: Final = 9
_RAW: Final = -15
_TAIL: Final = b"\x00\x00\xff\xff"
_WORDS: Final = (
    b"\x58\x20\x58\x40\x58\x41\x58\x26\x00\x24\x08\x01\x12\x20\x01\x55\x12\x20\x01\x70\x12\x20\x44\x00\x10\x00\x00\x1a\x00\x40\x00\x00"
    b"\x1a\x04\x00\x00\x00\x1a\x00\x01\x51\x80\x1a\x00\x27\x8d\x00\x0a\x01\x0b\x06\x0c\x63\x55\x53\x44"
    b"\x5e\x01\xa5\x01\x00\x02\x82\x6bxfer.blocks\x66rcpt.1\x03\x83\x6bxfer.resume\x68pay.free\x6fpay.evm-channel\x04\x10\x05\x78\x19"
    b"retrieval-market-node/0.1"
)


def dictionary(client: PeerId, provider: PeerId) -> bytes:
    """What both sides know before they speak."""
    return _WORDS + provider + client


class Compactor:
    """The sender's half of one direction."""

    def __init__(self, words: bytes) -> None:
        self._stream = zlib.compressobj(_LEVEL, zlib.DEFLATED, _RAW, zdict=words)

    def compact(self, record: bytes) -> bytes:
        """A record made compact; records are to be expanded in the order in which they were made so."""
        assert 0 < len(record) <= RECORD_SIZE_MAX
        flushed = self._stream.compress(record) + self._stream.flush(zlib.Z_SYNC_FLUSH)
        assert flushed.endswith(_TAIL)
        return flushed[: -len(_TAIL)]


class Expander:
    """The receiver's half of one direction."""

    def __init__(self, words: bytes) -> None:
        self._stream = zlib.decompressobj(_RAW, zdict=words)

    def expand(self, compact: bytes) -> bytes:
        """The record as it was. Raises ``RemoteProtocolError(malformed_frame)`` for other bytes, or a record above the limit."""
        try:
            record = self._stream.decompress(compact + _TAIL, RECORD_SIZE_MAX + 1)
        except zlib.error as error:
            raise RemoteProtocolError(ErrorCode.MALFORMED_FRAME, "a record of the radio cannot be expanded") from error
        if len(record) > RECORD_SIZE_MAX or self._stream.unconsumed_tail or self._stream.eof:
            raise RemoteProtocolError(ErrorCode.FRAME_TOO_LARGE, f"a record of the radio is above {RECORD_SIZE_MAX} bytes")
        return record
