"""The delivery receipt's bytes.

A receipt is a fixed layout and not CBOR, because a radio must carry it: 81 bytes of ids and hashes, then six uvarints.

========  =======================================================================================================
bytes     field
========  =======================================================================================================
1         version, 0x01
16        deal id
32        root of the RFC 9162 Merkle tree over the delivered CIDs, in delivery order
32        ``prev``: SHA-256 of the last receipt body of the previous deal of these two peers, or zeros
uvarint   bytes delivered and verified in this deal
uvarint   blocks
uvarint   deal_amount: what this deal owes in total
uvarint   channel_amount: the voucher's amount after this payment
uvarint   sequence, from 1
uvarint   time, Unix seconds
========  =======================================================================================================

uvarints are minimal LEB128 as in multiformats/unsigned-varint, of up to 128 bits here since amounts are uint128. With a six-decimal
token a receipt and its signature take at most 180 bytes up to 4 TiB and 34,000 dollars.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Final

from retrieval.errors import ErrorCode, RemoteProtocolError
from retrieval.units import AMOUNT_MAX, SIZE_BYTES_MAX

VERSION: Final = 1
NO_RECEIPT: Final = bytes(32)
BODY_SIZE_MAX: Final = 192
_HEAD_SIZE: Final = 81
_UVARINT_SIZE_MAX: Final = 19  # bytes of a 128-bit value
_TIME_MAX: Final = 1 << 40
_SEQUENCE_MAX: Final = (1 << 32) - 1
_LIMITS: Final = (SIZE_BYTES_MAX, SIZE_BYTES_MAX, AMOUNT_MAX, AMOUNT_MAX, _SEQUENCE_MAX, _TIME_MAX)


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """What the client says it verified, and what it owes for it. Cumulative: the newest of a deal replaces all before it."""

    deal_id: bytes
    root: bytes
    prev: bytes
    n_bytes: int
    n_blocks: int
    deal_amount: int
    channel_amount: int
    sequence: int
    time: int

    def encode(self) -> bytes:
        assert (len(self.deal_id), len(self.root), len(self.prev)) == (16, 32, 32)
        numbers = (self.n_bytes, self.n_blocks, self.deal_amount, self.channel_amount, self.sequence, self.time)
        assert all(0 <= number <= limit for number, limit in zip(numbers, _LIMITS, strict=True))
        return b"".join((bytes((VERSION,)), self.deal_id, self.root, self.prev, *map(_encode_uvarint, numbers)))

    @classmethod
    def decode(cls, body: bytes) -> Receipt:
        """Read foreign bytes. Raises ``RemoteProtocolError(bad_receipt)``."""
        if not _HEAD_SIZE < len(body) <= BODY_SIZE_MAX:
            raise _bad(f"it is {len(body)} bytes long")
        if body[0] != VERSION:
            raise _bad(f"version {body[0]} is unknown")
        numbers, at = [], _HEAD_SIZE
        for limit in _LIMITS:
            number, at = _decode_uvarint(body, at)
            if number > limit:
                raise _bad("a number is above its limit")
            numbers.append(number)
        if at != len(body):
            raise _bad("bytes follow the last field")
        n_bytes, n_blocks, deal_amount, channel_amount, sequence, time = numbers
        return cls(
            deal_id=body[1:17], root=body[17:49], prev=body[49:81], n_bytes=n_bytes, n_blocks=n_blocks,
            deal_amount=deal_amount, channel_amount=channel_amount, sequence=sequence, time=time,
        )  # fmt: skip


def receipt_digest(body: bytes) -> bytes:
    """What the next deal's ``prev`` and a Done name: SHA-256 of the receipt's body."""
    return hashlib.sha256(body).digest()


def _encode_uvarint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _decode_uvarint(body: bytes, at: int) -> tuple[int, int]:
    value = 0
    for n, byte in enumerate(body[at : at + _UVARINT_SIZE_MAX]):
        value |= (byte & 0x7F) << (7 * n)
        if byte < 0x80:
            if byte == 0 and n > 0:
                raise _bad("a number is not in its shortest form")
            return value, at + n + 1
    raise _bad("a number is cut short or too long")


def _bad(why: str) -> RemoteProtocolError:
    return RemoteProtocolError(ErrorCode.BAD_RECEIPT, why)
