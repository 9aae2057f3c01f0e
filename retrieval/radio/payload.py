"""What packets carry between the two ends: Want, Quote, Segment and Acknowledgement. Relays do not look inside.

Want (unsigned: whoever asks under another's name can neither read money out of it nor have it billed):

======  ======================================================================================================
bytes   field
======  ======================================================================================================
1       version, 0x10
32      Ed25519 public key of the asker, whose radio id is the packet's origin
2       code16 of the most it would pay for the content
n       CID
======  ======================================================================================================

Quote (sealed):

======  ======================================================================================================
bytes   field
======  ======================================================================================================
1       version, 0x10
32      Ed25519 public key of the provider, whose radio id is the packet's origin
8       the first bytes of the Want's packet hash
4       bytes of the content, 2^32 - 1 for that many or more
2       blocks of the content, 2^16 - 1 for that many or more
2       code16 of what the content costs, rounded up
7       cost vector of the way the Want took
4       seal
======  ======================================================================================================

Segment (sealed), the payload of VOUCHER, FRAGMENT and RECORD alike:

======  ======================================================================================================
bytes   field
======  ======================================================================================================
2       session, chosen by the client
2       number of the record within its session and direction, from 0
1       index of this segment in the record, from 0
1       segments of the record, from 1 to 64
1       awaited: the low byte of the number of the first record that is not whole here yet, so that whoever answers
        need not acknowledge as well
n       piece
4       seal
======  ======================================================================================================

Acknowledgement (sealed):

======  ======================================================================================================
bytes   field
======  ======================================================================================================
2       session
2       next: all records before this number are whole
n       for the record ``next``, then the one behind it, and so on, at most 4: the length of a bit map in bytes (1,
        at most 8), and the bit map, lowest bit of the first byte first: which segments are here
4       seal
======  ======================================================================================================
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass, replace
from typing import Final

from retrieval.cid import CID_SIZE_MAX, Cid, parts
from retrieval.errors import ErrorCode, RemoteProtocolError
from retrieval.identity import PeerId, peer_id_of, public_key_of
from retrieval.radio.codes import CODE16_MAX
from retrieval.radio.packet import Cost, Packet, RadioId, radio_id

VERSION: Final = 0x10
SEAL_SIZE: Final = 4
WANT_HEAD_SIZE: Final = 1 + 32 + 2
QUOTE_SIZE: Final = 1 + 32 + 8 + 4 + 2 + 2 + Cost.SIZE
WANTED_SIZE: Final = 8
SIZE_BYTES_MAX: Final = (1 << 32) - 1
BLOCKS_MAX: Final = (1 << 16) - 1
SEGMENT_HEAD_SIZE: Final = 7
SEGMENTS_MAX: Final = 64
ACK_HEAD_SIZE: Final = 4
MAPS_MAX: Final = 4
NUMBER_MAX: Final = (1 << 16) - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Want:
    """Who has this CID?"""

    asker: PeerId
    price_max_code: int
    cid: Cid

    def __post_init__(self) -> None:
        assert 0 <= self.price_max_code <= CODE16_MAX
        assert len(self.cid) <= CID_SIZE_MAX

    @property
    def id(self) -> RadioId:
        return radio_id(public_key_of(self.asker))

    def encode(self) -> bytes:
        return bytes((VERSION,)) + public_key_of(self.asker) + self.price_max_code.to_bytes(2, "big") + self.cid

    @classmethod
    def read(cls, packet: Packet) -> Want:
        """The Want in a packet. Raises ``RemoteProtocolError``: ``malformed_message`` or ``invalid_cid``."""
        body = packet.payload
        if len(body) <= WANT_HEAD_SIZE or body[0] != VERSION:
            raise _malformed("the Want is too short, or of another version")
        cid = Cid(body[WANT_HEAD_SIZE:])
        parts(cid)
        if len(cid) > CID_SIZE_MAX or radio_id(body[1:33]) != packet.origin:
            raise _malformed("the Want is of another node than its packet")
        return cls(asker=peer_id_of(body[1:33]), price_max_code=int.from_bytes(body[33:35], "big"), cid=cid)


@dataclass(frozen=True, slots=True, kw_only=True)
class Quote:
    """I have it: so large, at this price, over this way. What binds is the signed quote in the session."""

    provider: PeerId
    wanted: bytes
    n_bytes: int
    n_blocks: int
    price_code: int
    way: Cost

    def __post_init__(self) -> None:
        assert len(self.wanted) == WANTED_SIZE
        assert 0 <= self.n_bytes <= SIZE_BYTES_MAX
        assert 0 <= self.n_blocks <= BLOCKS_MAX
        assert 0 <= self.price_code <= CODE16_MAX

    def encode(self) -> bytes:
        return b"".join(
            (
                bytes((VERSION,)),
                public_key_of(self.provider),
                self.wanted,
                self.n_bytes.to_bytes(4, "big"),
                self.n_blocks.to_bytes(2, "big"),
                self.price_code.to_bytes(2, "big"),
                self.way.encode(),
            )
        )

    @classmethod
    def read(cls, packet: Packet) -> Quote:
        """The Quote in a packet whose seal is still to be checked. Raises ``RemoteProtocolError(malformed_message)``."""
        body = packet.payload[:-SEAL_SIZE]
        if len(body) != QUOTE_SIZE or body[0] != VERSION:
            raise _malformed("the Quote has another length or version")
        if radio_id(body[1:33]) != packet.origin:
            raise _malformed("the Quote is of another node than its packet")
        return cls(
            provider=peer_id_of(body[1:33]), wanted=body[33:41], n_bytes=int.from_bytes(body[41:45], "big"),
            n_blocks=int.from_bytes(body[45:47], "big"), price_code=int.from_bytes(body[47:49], "big"), way=Cost.decode(body[49:]),
        )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """One piece of a record."""

    session: int
    record: int
    index: int
    n_segments: int
    awaited: int
    piece: bytes

    def __post_init__(self) -> None:
        assert 0 <= self.session <= NUMBER_MAX
        assert 0 <= self.record <= NUMBER_MAX
        assert 0 <= self.index < self.n_segments <= SEGMENTS_MAX
        assert 0 <= self.awaited <= 0xFF
        assert self.piece

    def encode(self) -> bytes:
        head = self.session.to_bytes(2, "big") + self.record.to_bytes(2, "big")
        return head + bytes((self.index, self.n_segments, self.awaited)) + self.piece

    @classmethod
    def decode(cls, payload: bytes) -> Segment:
        """The Segment in a payload whose seal is checked. Raises ``RemoteProtocolError(malformed_message)``."""
        body = payload[:-SEAL_SIZE]
        if len(body) <= SEGMENT_HEAD_SIZE or not body[4] < body[5] <= SEGMENTS_MAX:
            raise _malformed("the segment is empty, or beyond the last of its record")
        return cls(
            session=int.from_bytes(body[:2], "big"), record=int.from_bytes(body[2:4], "big"), index=body[4], n_segments=body[5],
            awaited=body[6],
            piece=body[SEGMENT_HEAD_SIZE:],
        )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Ack:
    """Which segments came."""

    session: int
    next_record: int
    maps: tuple[int, ...]
    """Bit maps as integers: bit ``i`` of the first is segment ``i`` of record ``next_record``."""

    def __post_init__(self) -> None:
        assert 0 <= self.session <= NUMBER_MAX
        assert 0 <= self.next_record <= NUMBER_MAX
        assert len(self.maps) <= MAPS_MAX
        assert all(0 <= bits < 1 << SEGMENTS_MAX for bits in self.maps)

    def encode(self) -> bytes:
        head = self.session.to_bytes(2, "big") + self.next_record.to_bytes(2, "big")
        sizes = ((bits.bit_length() + 7) // 8 for bits in self.maps)
        return head + b"".join(bytes((size,)) + bits.to_bytes(size, "little") for size, bits in zip(sizes, self.maps, strict=True))

    @classmethod
    def decode(cls, payload: bytes) -> Ack:
        """The Ack in a payload whose seal is checked. Raises ``RemoteProtocolError(malformed_message)``."""
        body = payload[:-SEAL_SIZE]
        if len(body) < ACK_HEAD_SIZE:
            raise _malformed("the acknowledgement is too short")
        maps: list[int] = []
        at = ACK_HEAD_SIZE
        while at < len(body):
            size, end = body[at], at + 1 + body[at]
            if size > SEGMENTS_MAX // 8 or end > len(body) or len(maps) == MAPS_MAX or (size and not body[end - 1]):
                raise _malformed("a bit map of the acknowledgement does not fit")
            maps.append(int.from_bytes(body[at + 1 : end], "little"))
            at = end
        return cls(session=int.from_bytes(body[:2], "big"), next_record=int.from_bytes(body[2:4], "big"), maps=tuple(maps))


def sealed(packet: Packet, body: bytes, key: bytes) -> Packet:
    """``packet`` with this body and its seal as payload."""
    unsealed = replace(packet, payload=body + bytes(SEAL_SIZE)).immutable()[:-SEAL_SIZE]
    return replace(packet, payload=body + hmac.digest(key, unsealed, "sha256")[:SEAL_SIZE])


def check_seal(packet: Packet, key: bytes) -> None:
    """Whether the other holder of the key sealed this packet. Raises ``RemoteProtocolError``: ``bad_signature``."""
    expected = hmac.digest(key, packet.immutable()[:-SEAL_SIZE], "sha256")[:SEAL_SIZE]
    if len(packet.payload) <= SEAL_SIZE or not hmac.compare_digest(expected, packet.payload[-SEAL_SIZE:]):
        raise RemoteProtocolError(ErrorCode.BAD_SIGNATURE, "the radio packet is not sealed by the node it names")


def _malformed(why: str) -> RemoteProtocolError:
    return RemoteProtocolError(ErrorCode.MALFORMED_MESSAGE, why)
