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

uvarints are minimal LEB128 as in multiformats/unsigned-varint, of up to 128 bits here since amounts are uint128. The signature, kind
``receipt``, stands beside the body and not in it. For a token of six decimals the two take at most 180 bytes up to 512 TiB, 268 million
blocks and 562 million dollars; those of 1 GiB for a cent take 162.

Every receipt counts from the beginning of its deal and replaces those before it: bytes, blocks and amounts never fall, the sequence
rises from 1, ``prev`` stays the same. ``deal_amount`` is ``flat_fee + ceil(bytes * price_per_gib / 2^30)``.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Final

from retrieval.errors import ErrorCode, RemoteProtocolError
from retrieval.units import AMOUNT_MAX, SIZE_BYTES_MAX, ceil_div

VERSION: Final = 1
NO_RECEIPT: Final = bytes(32)
"""``prev`` of the first deal of two peers."""
SEQUENCE_MAX: Final = (1 << 32) - 1
TIME_MAX_S: Final = (1 << 40) - 1
_HEAD_SIZE: Final = 81
_UVARINT_SIZE_MAX: Final = 19  # bytes of a 128-bit value
_LIMITS: Final = (SIZE_BYTES_MAX, SIZE_BYTES_MAX, AMOUNT_MAX, AMOUNT_MAX, SEQUENCE_MAX, TIME_MAX_S)
BODY_SIZE_MIN: Final = _HEAD_SIZE + len(_LIMITS)
BODY_SIZE_MAX: Final = _HEAD_SIZE + sum(ceil_div(limit.bit_length(), 7) for limit in _LIMITS)  # 148


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

    def __post_init__(self) -> None:
        assert (len(self.deal_id), len(self.root), len(self.prev)) == (16, 32, 32)
        assert 0 <= self.n_bytes <= SIZE_BYTES_MAX
        assert 0 <= self.n_blocks <= SIZE_BYTES_MAX
        assert 0 <= self.deal_amount <= AMOUNT_MAX
        assert 0 <= self.channel_amount <= AMOUNT_MAX
        assert 0 <= self.sequence <= SEQUENCE_MAX
        assert 0 <= self.time <= TIME_MAX_S

    def encode(self) -> bytes:
        """The bytes to sign."""
        return b"".join((bytes((VERSION,)), self.deal_id, self.root, self.prev, *map(_encode_uvarint, self._numbers())))

    @classmethod
    def decode(cls, body: bytes) -> Receipt:
        """Read foreign bytes. Raises ``RemoteProtocolError(bad_receipt)``."""
        if not BODY_SIZE_MIN <= len(body) <= BODY_SIZE_MAX:
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

    def _numbers(self) -> tuple[int, ...]:
        return (self.n_bytes, self.n_blocks, self.deal_amount, self.channel_amount, self.sequence, self.time)


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
    value = shift = 0
    for byte in body[at : at + _UVARINT_SIZE_MAX]:
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            if byte == 0 and shift:
                raise _bad("a number is not in its shortest form")
            return value, at
        shift += 7
    raise _bad("a number is cut short or too long")


def _bad(why: str) -> RemoteProtocolError:
    return RemoteProtocolError(ErrorCode.BAD_RECEIPT, why)
