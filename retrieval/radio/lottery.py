"""Rewards by chance: instead of each fee, now and then a prize, as rare as the prize is above the fee.

``RelayAccount`` pays fees. This is the rule for two parties that would rather have few payments, and settled that between them; a relay
offers it by a VRF key in its advertisement. For each packet it carried there is one draw: the VRF's
output over the packet's hash and the relay's radio id, under the relay's VRF key. The first 8 bytes, read as an integer, win when they are
below ``floor(2^64 * fee / prize)``. So a relay is paid the prize with a chance of fee over prize, which comes to the fee on average.

Neither side can bend it. The relay has one output a packet and cannot try others: the key is in its signed advertisement, and an origin
draws only with the key it knew when the packet left. The origin cannot tell the output without the relay's secret, so choosing
packet ids does not help it; one that is its own relay draws for its own money. The claim is a carriage like any other, against the relay's
receipt and the destination's, once a packet; only its amount is the prize. The VRF key is never the identity key.
"""

from __future__ import annotations

from typing import Final

from retrieval.errors import ErrorCode, RemoteProtocolError
from retrieval.radio.packet import HASH_SIZE, ID_SIZE, PacketHash, RadioId
from retrieval.radio.vrf import verify
from retrieval.units import floor_div

_DRAWN: Final = 8  # bytes


def alpha_of(packet: PacketHash, relay: RadioId) -> bytes:
    """What is drawn for: this packet, carried by this relay."""
    assert len(packet) == HASH_SIZE
    assert len(relay) == ID_SIZE
    return b"retrieval/radio-draw/1\0" + packet + relay


def wins(output: bytes, *, fee: int, prize: int) -> bool:
    """Whether an output wins. A fee of the prize or more always does."""
    assert fee >= 0
    assert prize > 0
    return int.from_bytes(output[:_DRAWN], "big") < floor_div((fee << 8 * _DRAWN), prize)


def check_draw(vrf_key: bytes, packet: PacketHash, relay: RadioId, proof: bytes, *, fee: int, prize: int) -> None:
    """Whether a relay has won for a packet. Raises ``RemoteProtocolError``: ``bad_signature`` for a proof that does not hold,
    ``bad_receipt`` for one that did not win."""
    if not wins(verify(vrf_key, alpha_of(packet, relay), proof), fee=fee, prize=prize):
        raise RemoteProtocolError(ErrorCode.BAD_RECEIPT, "the draw did not win")
