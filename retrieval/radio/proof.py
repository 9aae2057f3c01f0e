"""Receipts about carrying: the relay's own, and the destination's. A relay is paid against both, and against neither alone.

Relay's receipt, up to six packets of one origin:

========  ===========================================================================================================
bytes     field
========  ===========================================================================================================
1         0x12: version 1, kind 2
8         relay id
8         origin id
4         sequence: rises with each receipt of this relay, over restarts too
4         time, Unix seconds, or 0 from a relay that does not know it
1         n, from 1 to 6
19 n      packet hash (16), fee code (2), hop (1): how many relays the packet had behind it before this one
64        Ed25519 signature, kind ``radio-relay``, over all before it
========  ===========================================================================================================

Delivery receipt, up to eight packets of one origin that came over the same relays for the same fees:

========  ===========================================================================================================
bytes     field
========  ===========================================================================================================
1         0x11: version 1, kind 1
8         origin id
8         id of the destination, which signs
4         time, Unix seconds
1         r, relays on the trail, from 1 to 8
6 r       the trail: tag (4), fee code (2) of each relay
1         n, from 1 to 8
12 n      packet id (4), token as it arrived (8)
64        Ed25519 signature, kind ``radio-delivery``, over all before it, then the n packet hashes
========  ===========================================================================================================

The hashes are signed and not sent: the origin has them, and so has every relay on the trail. Where a packet had no destination, whoever
answered it may sign.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from retrieval.errors import ErrorCode, RemoteProtocolError
from retrieval.identity import PEER_SIGNATURE_SIZE, PeerId, PeerKey, public_key_of, verify_peer
from retrieval.radio.codes import CODE16_MAX, value_of_code16
from retrieval.radio.packet import ENTRY_SIZE, HASH_SIZE, HOPS_MAX, ID_SIZE, TOKEN_SIZE, Entry, PacketHash, RadioId, radio_id

RELAY_KIND: Final = "radio-relay"
DELIVERY_KIND: Final = "radio-delivery"
CARRIED_MAX: Final = 6  # packets in a relay's receipt: 204 bytes, so that it crosses one relay itself
DELIVERED_MAX: Final = 8
_DELIVERY: Final = 0x11
_RELAY: Final = 0x12
_TIME_MAX_S: Final = (1 << 32) - 1
_SEQUENCE_MAX: Final = (1 << 32) - 1
_CARRIED_SIZE: Final = HASH_SIZE + 2 + 1
DELIVERED_SIZE: Final = 4 + TOKEN_SIZE
_RELAY_HEAD: Final = 1 + 2 * ID_SIZE + 4 + 4 + 1
DELIVERY_HEAD: Final = 1 + 2 * ID_SIZE + 4 + 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Carried:
    """One packet that a relay sent on."""

    packet: PacketHash
    fee_code: int
    hop: int

    def __post_init__(self) -> None:
        assert len(self.packet) == HASH_SIZE
        assert 0 <= self.fee_code <= CODE16_MAX
        assert 0 <= self.hop < HOPS_MAX

    @property
    def fee(self) -> int:
        return value_of_code16(self.fee_code)


@dataclass(frozen=True, slots=True, kw_only=True)
class RelayReceipt:
    """What a relay says it carried for one origin."""

    relay: RadioId
    origin: RadioId
    sequence: int
    time_s: int
    carried: tuple[Carried, ...]

    def __post_init__(self) -> None:
        assert len(self.relay) == len(self.origin) == ID_SIZE
        assert 0 <= self.sequence <= _SEQUENCE_MAX
        assert 0 <= self.time_s <= _TIME_MAX_S
        assert 1 <= len(self.carried) <= CARRIED_MAX

    def encode(self) -> bytes:
        """The bytes to sign."""
        return b"".join(
            (
                bytes((_RELAY,)),
                self.relay,
                self.origin,
                self.sequence.to_bytes(4, "big"),
                self.time_s.to_bytes(4, "big"),
                bytes((len(self.carried),)),
                *(one.packet + one.fee_code.to_bytes(2, "big") + bytes((one.hop,)) for one in self.carried),
            )
        )

    def sign(self, key: PeerKey) -> bytes:
        """The receipt with its signature."""
        body = self.encode()
        return body + key.sign(RELAY_KIND, body)

    @classmethod
    def read(cls, signed: bytes, relay: PeerId) -> RelayReceipt:
        """Read and check foreign bytes. Raises ``RemoteProtocolError``: ``bad_receipt`` or ``bad_signature``."""
        body, signature = signed[:-PEER_SIGNATURE_SIZE], signed[-PEER_SIGNATURE_SIZE:]
        if len(body) < _RELAY_HEAD or body[0] != _RELAY:
            raise _bad("it is too short, or of another kind")
        n_carried = body[_RELAY_HEAD - 1]
        if not 1 <= n_carried <= CARRIED_MAX or len(body) != _RELAY_HEAD + n_carried * _CARRIED_SIZE:
            raise _bad("its length does not fit")
        rows = [body[at : at + _CARRIED_SIZE] for at in range(_RELAY_HEAD, len(body), _CARRIED_SIZE)]
        if any(row[-1] >= HOPS_MAX for row in rows):
            raise _bad("a hop is beyond the longest way")
        if radio_id(public_key_of(relay)) != body[1:9]:
            raise _bad("it is another relay's")
        verify_peer(relay, RELAY_KIND, body, signature)
        return cls(
            relay=RadioId(body[1:9]), origin=RadioId(body[9:17]), sequence=int.from_bytes(body[17:21], "big"),
            time_s=int.from_bytes(body[21:25], "big"),
            carried=tuple(
                Carried(packet=PacketHash(row[:HASH_SIZE]), fee_code=int.from_bytes(row[HASH_SIZE:-1], "big"), hop=row[-1]) for row in rows
            ),
        )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivered:
    """One packet that arrived, and its token as it did."""

    packet_id: int
    token: bytes

    def __post_init__(self) -> None:
        assert 0 <= self.packet_id < 1 << 32
        assert len(self.token) == TOKEN_SIZE


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryReceipt:
    """What a destination says arrived, and over which relays for which fees."""

    origin: RadioId
    destination: RadioId
    time_s: int
    trail: tuple[Entry, ...]
    delivered: tuple[Delivered, ...]

    def __post_init__(self) -> None:
        assert len(self.origin) == len(self.destination) == ID_SIZE
        assert 0 <= self.time_s <= _TIME_MAX_S
        assert 1 <= len(self.trail) <= HOPS_MAX
        assert 1 <= len(self.delivered) <= DELIVERED_MAX

    def encode(self) -> bytes:
        """The receipt without its signature."""
        return b"".join(
            (
                bytes((_DELIVERY,)),
                self.origin,
                self.destination,
                self.time_s.to_bytes(4, "big"),
                bytes((len(self.trail),)),
                *(entry.encode() for entry in self.trail),
                bytes((len(self.delivered),)),
                *(one.packet_id.to_bytes(4, "big") + one.token for one in self.delivered),
            )
        )

    def sign(self, key: PeerKey, hashes: Sequence[PacketHash]) -> bytes:
        """The receipt with its signature, over the hashes of the packets too, in their order."""
        assert len(hashes) == len(self.delivered)
        body = self.encode()
        return body + key.sign(DELIVERY_KIND, body + b"".join(hashes))

    @classmethod
    def decode(cls, signed: bytes) -> DeliveryReceipt:
        """Read foreign bytes; the signature is for ``verify_delivery``, once the hashes are known. Raises ``bad_receipt``."""
        body = signed[:-PEER_SIGNATURE_SIZE]
        if len(body) < DELIVERY_HEAD or body[0] != _DELIVERY:
            raise _bad("it is too short, or of another kind")
        n_relays, trail_end = body[DELIVERY_HEAD - 1], DELIVERY_HEAD + body[DELIVERY_HEAD - 1] * ENTRY_SIZE
        if not 1 <= n_relays <= HOPS_MAX or len(body) <= trail_end:
            raise _bad("its trail does not fit")
        if not 1 <= body[trail_end] <= DELIVERED_MAX or len(body) != trail_end + 1 + body[trail_end] * DELIVERED_SIZE:
            raise _bad("its length does not fit")
        rows = [body[at : at + DELIVERED_SIZE] for at in range(trail_end + 1, len(body), DELIVERED_SIZE)]
        return cls(
            origin=RadioId(body[1:9]), destination=RadioId(body[9:17]), time_s=int.from_bytes(body[17:21], "big"),
            trail=tuple(Entry.decode(body[at : at + ENTRY_SIZE]) for at in range(DELIVERY_HEAD, trail_end, ENTRY_SIZE)),
            delivered=tuple(Delivered(packet_id=int.from_bytes(row[:4], "big"), token=row[4:]) for row in rows),
        )  # fmt: skip


def verify_delivery(signed: bytes, destination: PeerId, hashes: Sequence[PacketHash]) -> None:
    """Check who signed a delivery receipt, over these packets. Raises ``RemoteProtocolError``: ``bad_receipt`` or ``bad_signature``."""
    body, signature = signed[:-PEER_SIGNATURE_SIZE], signed[-PEER_SIGNATURE_SIZE:]
    if radio_id(public_key_of(destination)) != body[1 + ID_SIZE : 1 + 2 * ID_SIZE]:
        raise _bad("it is another destination's")
    verify_peer(destination, DELIVERY_KIND, body + b"".join(hashes), signature)


def _bad(why: str) -> RemoteProtocolError:
    return RemoteProtocolError(ErrorCode.BAD_RECEIPT, f"the radio receipt cannot be taken: {why}")
