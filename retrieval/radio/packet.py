"""The radio's frame: what an origin fixed, what relays write behind it, and how it is refused.

The bytes, the rules and their reasons are in ``retrieval.radio``. The immutable part is a prefix, so that its hash is one call, and
relays only ever append to or rewrite what follows it.
"""

from __future__ import annotations

import hashlib
import hmac
from binascii import crc_hqx
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Final, NewType

from retrieval.errors import ErrorCode, RemoteProtocolError
from retrieval.radio.codes import CODE8_MAX, CODE16_MAX, code8_down, code16_up, value_of_code8, value_of_code16

RadioId = NewType("RadioId", bytes)
"""The first 8 bytes of SHA-256 over a node's Ed25519 public key."""
PacketHash = NewType("PacketHash", bytes)
"""The first 16 bytes of SHA-256 over a packet's immutable part."""

VERSION: Final = 1
FRAME_SIZE_MAX: Final = 255  # what an SX126x takes
HEAD_SIZE: Final = 25  # of the immutable part, before its payload
COST_SIZE: Final = 5  # hops, latency, bandwidth, MTU
TOKEN_SIZE: Final = 8
ENTRY_SIZE: Final = 6
CRC_SIZE: Final = 2
OVERHEAD: Final = HEAD_SIZE + COST_SIZE + TOKEN_SIZE + CRC_SIZE
HOPS_MAX: Final = 8  # relays on one way: beyond it a mesh of 10 % duty spends its day on one packet
ID_SIZE: Final = 8
TAG_SIZE: Final = 4
HASH_SIZE: Final = 16
PACKET_ID_MAX: Final = (1 << 32) - 1
EVERYONE: Final = RadioId(bytes(ID_SIZE))
"""The destination of what concerns whoever hears it."""
_DIRECT: Final = 1
_CRC_START: Final = 0xFFFF


class PacketType(IntEnum):
    """What a payload is; relays queue by it."""

    ADVERT = 1
    WANT = 2
    QUOTE = 3
    VOUCHER = 4
    RECEIPT = 5
    FRAGMENT = 6
    ACK = 7
    RECORD = 8


FREE_TYPES: Final = frozenset((PacketType.ADVERT, PacketType.RECEIPT, PacketType.ACK))
"""Carried without a fee: an advert is how a relay is found, and receipts are how it is paid."""


class Verdict(IntEnum):
    """Why bytes are no packet; of several reasons the one with the lowest number."""

    OK = 0
    SIZE = 1
    CRC = 2
    VERSION = 3
    TYPE = 4
    FLAGS = 5
    PAYLOAD = 6
    HOPS = 7
    LENGTH = 8
    DESTINATION = 9
    FEE_CAP = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One relay on the way: the first bytes of its id, and the code of what it asks."""

    tag: bytes
    fee_code: int

    def __post_init__(self) -> None:
        assert len(self.tag) == TAG_SIZE
        assert 0 <= self.fee_code <= CODE16_MAX

    @property
    def fee(self) -> int:
        return value_of_code16(self.fee_code)

    def encode(self) -> bytes:
        return self.tag + self.fee_code.to_bytes(2, "big")

    @classmethod
    def decode(cls, entry: bytes) -> Entry:
        return cls(tag=entry[:TAG_SIZE], fee_code=int.from_bytes(entry[TAG_SIZE:], "big"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Packet:
    """One frame, whole and valid."""

    type: PacketType
    direct: bool
    hop_limit: int
    packet_id: int
    origin: RadioId
    destination: RadioId
    fee_cap_code: int
    payload: bytes
    hops: int
    latency_code: int
    bandwidth_code: int
    mtu: int
    token: bytes
    trail: tuple[Entry, ...]

    def __post_init__(self) -> None:
        assert 0 <= self.hops <= self.hop_limit <= HOPS_MAX
        assert 0 <= self.packet_id <= PACKET_ID_MAX
        assert len(self.origin) == len(self.destination) == ID_SIZE
        assert 0 <= self.fee_cap_code <= CODE16_MAX
        assert len(self.payload) <= payload_size_max(self.hop_limit)
        assert 0 <= self.latency_code <= CODE16_MAX
        assert 0 <= self.bandwidth_code <= CODE8_MAX
        assert 0 <= self.mtu <= FRAME_SIZE_MAX
        assert len(self.token) == TOKEN_SIZE
        assert len(self.trail) == (self.hop_limit if self.direct else self.hops)
        assert not (self.direct and self.destination == EVERYONE)
        assert not (self.type in FREE_TYPES and self.fee_cap_code)

    @property
    def hash(self) -> PacketHash:
        """What identifies the packet on its whole way."""
        return packet_hash(self.immutable())

    @property
    def fee_cap(self) -> int:
        return value_of_code16(self.fee_cap_code)

    @property
    def price(self) -> int:
        """What the trail asks in all, exactly: in a flood what carried it so far, in a direct packet the whole way."""
        return sum(entry.fee for entry in self.trail)

    def immutable(self) -> bytes:
        """What the origin fixed."""
        return self.head() + self.payload

    def head(self) -> bytes:
        """The immutable part without its payload."""
        return b"".join(
            (
                bytes((VERSION << 4 | self.type, self.hop_limit << 4 | (_DIRECT if self.direct else 0), len(self.payload))),
                self.packet_id.to_bytes(4, "big"),
                self.origin,
                self.destination,
                self.fee_cap_code.to_bytes(2, "big"),
            )
        )

    def encode(self) -> bytes:
        """The frame, with its CRC."""
        body = b"".join(
            (
                self.immutable(),
                bytes((self.hops,)),
                self.latency_code.to_bytes(2, "big"),
                bytes((self.bandwidth_code, self.mtu)),
                self.token,
                *(entry.encode() for entry in self.trail),
            )
        )
        return body + crc16(body).to_bytes(CRC_SIZE, "big")

    @classmethod
    def decode(cls, frame: bytes) -> Packet:
        """Read foreign bytes. Raises ``RemoteProtocolError(malformed_frame)``."""
        if verdict := check(frame):
            raise RemoteProtocolError(ErrorCode.MALFORMED_FRAME, f"no radio packet: {verdict.name.lower()}")
        end = HEAD_SIZE + frame[2]
        trail = frame[end + COST_SIZE + TOKEN_SIZE : -CRC_SIZE]
        return cls(
            type=PacketType(frame[0] & 0x0F), direct=bool(frame[1] & _DIRECT), hop_limit=frame[1] >> 4,
            packet_id=int.from_bytes(frame[3:7], "big"), origin=RadioId(frame[7:15]), destination=RadioId(frame[15:23]),
            fee_cap_code=int.from_bytes(frame[23:25], "big"), payload=frame[HEAD_SIZE:end], hops=frame[end],
            latency_code=int.from_bytes(frame[end + 1 : end + 3], "big"), bandwidth_code=frame[end + 3], mtu=frame[end + 4],
            token=frame[end + COST_SIZE : end + COST_SIZE + TOKEN_SIZE],
            trail=tuple(Entry.decode(trail[at : at + ENTRY_SIZE]) for at in range(0, len(trail), ENTRY_SIZE)),
        )  # fmt: skip


def check(frame: bytes) -> Verdict:
    """Whether bytes are a packet, and if not, the first reason in the order of ``Verdict``."""
    if not OVERHEAD <= len(frame) <= FRAME_SIZE_MAX:
        return Verdict.SIZE
    if crc16(frame[:-CRC_SIZE]) != int.from_bytes(frame[-CRC_SIZE:], "big"):
        return Verdict.CRC
    if frame[0] >> 4 != VERSION:
        return Verdict.VERSION
    if (type_ := frame[0] & 0x0F) not in _TYPES:
        return Verdict.TYPE
    hop_limit, flags = frame[1] >> 4, frame[1] & 0x0F
    if hop_limit > HOPS_MAX or flags & ~_DIRECT:
        return Verdict.FLAGS
    payload_size = frame[2]
    if payload_size > payload_size_max(hop_limit) or OVERHEAD + payload_size > len(frame):
        return Verdict.PAYLOAD
    hops = frame[HEAD_SIZE + payload_size]
    if hops > hop_limit:
        return Verdict.HOPS
    if len(frame) != OVERHEAD + payload_size + ENTRY_SIZE * (hop_limit if flags & _DIRECT else hops):
        return Verdict.LENGTH
    if flags & _DIRECT and frame[15:23] == EVERYONE:
        return Verdict.DESTINATION
    if type_ in FREE_TYPES and frame[23:25] != b"\0\0":
        return Verdict.FEE_CAP
    return Verdict.OK


def payload_size_max(hop_limit: int) -> int:
    """What a payload may have when its frame must still fit with a trail of ``hop_limit`` entries."""
    return FRAME_SIZE_MAX - OVERHEAD - ENTRY_SIZE * hop_limit


def crc16(data: bytes) -> int:
    """CRC-16/IBM-3740: polynomial 0x1021, from 0xFFFF, not reflected."""
    return crc_hqx(data, _CRC_START)


def radio_id(public_key: bytes) -> RadioId:
    """The id of the node with this Ed25519 public key."""
    assert len(public_key) == 32
    return RadioId(hashlib.sha256(public_key).digest()[:ID_SIZE])


def packet_hash(immutable: bytes) -> PacketHash:
    """The hash of a packet with this immutable part."""
    return PacketHash(hashlib.sha256(immutable).digest()[:HASH_SIZE])


def first_token(trail_key: bytes, hash_: PacketHash) -> bytes:
    """The token with which an origin sends a packet; only it can compute it."""
    return hmac.digest(trail_key, hash_, "sha256")[:TOKEN_SIZE]


def next_token(token: bytes, hash_: PacketHash, relay: RadioId, fee_code: int) -> bytes:
    """The token behind a relay: it cannot be computed without the one before it."""
    return hashlib.sha256(token + hash_ + relay + fee_code.to_bytes(2, "big")).digest()[:TOKEN_SIZE]


@dataclass(frozen=True, slots=True, kw_only=True)
class Hop:
    """What a relay says of itself when it carries a packet on."""

    relay: RadioId
    fee_code: int
    latency_ms: int
    """From the end of the frame that came to the end of the one that leaves, as well as it can tell beforehand."""
    bandwidth_bps: int
    mtu: int


class Carriage(IntEnum):
    """Whether a relay carries a packet on; of several reasons against it the one with the lowest number."""

    CARRIED = 0
    OWN = 1
    ARRIVED = 2
    HOPS_SPENT = 3
    NOT_NEXT = 4
    OVER_CAP = 5
    ABOVE_MTU = 6


def carriage(packet: Packet, hop: Hop) -> Carriage:
    """Whether this relay carries this packet on. Duplicates are not looked at here: see ``retrieval.radio``, "Twice heard"."""
    if packet.origin == hop.relay:
        return Carriage.OWN
    if packet.destination == hop.relay:
        return Carriage.ARRIVED
    if packet.hops >= packet.hop_limit:
        return Carriage.HOPS_SPENT
    if packet.direct and packet.trail[packet.hops].tag != hop.relay[:TAG_SIZE]:
        return Carriage.NOT_NEXT
    if packet.type not in FREE_TYPES and _asked_too_much(packet, hop):
        return Carriage.OVER_CAP
    if len(packet.encode()) + (0 if packet.direct else ENTRY_SIZE) > hop.mtu:
        return Carriage.ABOVE_MTU
    return Carriage.CARRIED


def carry(packet: Packet, hop: Hop) -> Packet:
    """The packet as this relay sends it on. Asserts that it is ``CARRIED``."""
    assert carriage(packet, hop) is Carriage.CARRIED
    fee_code = packet.trail[packet.hops].fee_code if packet.direct else hop.fee_code
    entry = Entry(tag=hop.relay[:TAG_SIZE], fee_code=fee_code)
    return replace(
        packet,
        hops=packet.hops + 1,
        latency_code=code16_up(value_of_code16(packet.latency_code) + hop.latency_ms),
        bandwidth_code=min(packet.bandwidth_code, code8_down(hop.bandwidth_bps)),
        mtu=min(packet.mtu, hop.mtu),
        token=next_token(packet.token, packet.hash, hop.relay, fee_code),
        trail=packet.trail if packet.direct else (*packet.trail, entry),
    )


def _asked_too_much(packet: Packet, hop: Hop) -> bool:
    """In a flood, whether our fee would go above the cap; in a direct packet, whether the origin offers less than our fee, or in all
    more than its cap."""
    fee = value_of_code16(hop.fee_code)
    if packet.direct:
        return packet.trail[packet.hops].fee < fee or packet.price > packet.fee_cap
    return packet.price + fee > packet.fee_cap


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What a way costs: the vector that policies choose by, on decoded values."""

    price: int
    latency_ms: int
    bandwidth_bps: int
    hops: int
    mtu: int

    SIZE = 7

    def encode(self) -> bytes:
        """Where it travels without its trail: price and latency rounded up, bandwidth down."""
        return b"".join(
            (
                code16_up(self.price).to_bytes(2, "big"),
                code16_up(self.latency_ms).to_bytes(2, "big"),
                bytes((code8_down(self.bandwidth_bps), self.hops, self.mtu)),
            )
        )

    @classmethod
    def decode(cls, vector: bytes) -> Cost:
        assert len(vector) == cls.SIZE
        return cls(
            price=value_of_code16(int.from_bytes(vector[:2], "big")), latency_ms=value_of_code16(int.from_bytes(vector[2:4], "big")),
            bandwidth_bps=value_of_code8(vector[4]), hops=vector[5], mtu=vector[6],
        )  # fmt: skip


def cost_of(packet: Packet) -> Cost:
    """What the way of a packet that arrived costs."""
    return Cost(
        price=packet.price, latency_ms=value_of_code16(packet.latency_code), bandwidth_bps=value_of_code8(packet.bandwidth_code),
        hops=packet.hops, mtu=packet.mtu,
    )  # fmt: skip


_TYPES: Final = frozenset(PacketType)
