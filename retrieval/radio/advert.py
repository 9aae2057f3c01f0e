"""The advertisement: who a node on the radio is, what it does, and whom its fees are owed to.

=========  ==========================================================================================================
bytes      field
=========  ==========================================================================================================
1          version, 1, in the high four bits; roles: 1 relay, 2 provider, 4 client; 8 when a VRF key is there
32         Ed25519 public key: the origin of the packet is its radio id
20         EVM address that is paid for what this relay carries, or zeros
4          sequence: the newest advertisement of a node counts
2          lifetime in minutes
2          code of the fee a packet
1          length of the endpoint
n          endpoint, UTF-8: where this node is reached over IP (a multiaddr), or nothing
32         VRF public key, when the roles say so
64         signature, kind ``radio-advert``
=========  ==========================================================================================================

The signature covers the packet's immutable part as far as the signature begins: id, hop limit and all. So nobody floods an old
advertisement anew under another packet id.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import IntFlag
from typing import Final

from retrieval.errors import ErrorCode, RemoteProtocolError
from retrieval.identity import PEER_SIGNATURE_SIZE, EvmAddress, PeerId, PeerKey, peer_id_of, public_key_of, verify_peer
from retrieval.radio.codes import CODE16_MAX, value_of_code16
from retrieval.radio.packet import HEAD_SIZE, Packet, PacketType, RadioId, radio_id

VERSION: Final = 1
SIGNATURE_KIND: Final = "radio-advert"
ENDPOINT_SIZE_MAX: Final = 41  # bytes; /ip4/255.255.255.255/tcp/65535 has 30. With it an advertisement still crosses eight relays
VRF_KEY_SIZE: Final = 32
_FIXED_SIZE: Final = 1 + 32 + 20 + 4 + 2 + 2 + 1
_HAS_VRF_KEY: Final = 8


class Role(IntFlag):
    """What a node does."""

    RELAY = 1
    PROVIDER = 2
    CLIENT = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Advert:
    """What a node says of itself. Valid when it came out of ``read_advert``."""

    peer_id: PeerId
    roles: Role
    operator: EvmAddress
    sequence: int
    lifetime_min: int
    fee_code: int
    endpoint: str = ""
    vrf_key: bytes = b""

    def __post_init__(self) -> None:
        assert len(self.operator) == 20
        assert 0 <= self.sequence < 1 << 32
        assert 0 <= self.lifetime_min < 1 << 16
        assert 0 <= self.fee_code <= CODE16_MAX
        assert len(self.endpoint.encode()) <= ENDPOINT_SIZE_MAX
        assert len(self.vrf_key) in (0, VRF_KEY_SIZE)

    @property
    def id(self) -> RadioId:
        return radio_id(public_key_of(self.peer_id))

    @property
    def fee(self) -> int:
        return value_of_code16(self.fee_code)

    def encode(self) -> bytes:
        """The body, without its signature."""
        endpoint = self.endpoint.encode()
        return b"".join(
            (
                bytes((VERSION << 4 | (_HAS_VRF_KEY if self.vrf_key else 0) | self.roles,)),
                public_key_of(self.peer_id),
                self.operator,
                self.sequence.to_bytes(4, "big"),
                self.lifetime_min.to_bytes(2, "big"),
                self.fee_code.to_bytes(2, "big"),
                bytes((len(endpoint),)),
                endpoint,
                self.vrf_key,
            )
        )


def signed_advert(packet: Packet, advert: Advert, key: PeerKey) -> Packet:
    """``packet``, of type ADVERT and of this origin, with the signed advertisement as its payload."""
    assert packet.type is PacketType.ADVERT
    assert packet.origin == advert.id
    body = advert.encode()
    unsigned = replace(packet, payload=body + bytes(PEER_SIGNATURE_SIZE)).immutable()[:-PEER_SIGNATURE_SIZE]
    return replace(packet, payload=body + key.sign(SIGNATURE_KIND, unsigned))


def read_advert(packet: Packet) -> Advert:
    """The advertisement in a packet, checked. Raises ``RemoteProtocolError``: ``malformed_message`` or ``bad_signature``."""
    if packet.type is not PacketType.ADVERT:
        raise _malformed("the packet is of another type")
    body = packet.payload[:-PEER_SIGNATURE_SIZE]
    if len(body) < _FIXED_SIZE or body[0] >> 4 != VERSION:
        raise _malformed("it is too short, or of another version")
    endpoint_size, vrf_key_size = body[_FIXED_SIZE - 1], VRF_KEY_SIZE if body[0] & _HAS_VRF_KEY else 0
    if endpoint_size > ENDPOINT_SIZE_MAX or len(body) != _FIXED_SIZE + endpoint_size + vrf_key_size:
        raise _malformed("its length does not fit")
    try:
        endpoint = body[_FIXED_SIZE : _FIXED_SIZE + endpoint_size].decode()
    except UnicodeDecodeError as error:
        raise _malformed("its endpoint is no text") from error
    advert = Advert(
        peer_id=peer_id_of(body[1:33]), roles=Role(body[0] & 0x07), operator=EvmAddress(body[33:53]),
        sequence=int.from_bytes(body[53:57], "big"), lifetime_min=int.from_bytes(body[57:59], "big"),
        fee_code=int.from_bytes(body[59:61], "big"), endpoint=endpoint, vrf_key=body[_FIXED_SIZE + endpoint_size :],
    )  # fmt: skip
    if packet.origin != advert.id:
        raise _malformed("it is of another node than its packet")
    signed = packet.immutable()[: HEAD_SIZE + len(body)]
    verify_peer(advert.peer_id, SIGNATURE_KIND, signed, packet.payload[-PEER_SIGNATURE_SIZE:])
    return advert


def _malformed(why: str) -> RemoteProtocolError:
    return RemoteProtocolError(ErrorCode.MALFORMED_MESSAGE, f"the radio advertisement cannot be read: {why}")
