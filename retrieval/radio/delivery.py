"""What arrived here and is owed to its relays, gathered into delivery receipts: many packets to a signature.

Packets of one origin over the same relays for the same fees share a receipt, which is due when it is full, or a while after its last
packet. Whoever was carried for nothing needs none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

from retrieval.identity import PEER_SIGNATURE_SIZE, PeerKey, public_key_of
from retrieval.radio.packet import ENTRY_SIZE, FREE_TYPES, Entry, Packet, PacketHash, RadioId, radio_id
from retrieval.radio.proof import DELIVERED_MAX, DELIVERED_SIZE, DELIVERY_HEAD, Delivered, DeliveryReceipt

RECEIPT_AFTER_S: Final = 20.0
"""After the last packet of a trail, its receipt leaves: longer than a pause within a session, shorter than a person waits."""
QUIET_S: Final = 4.0
"""After an origin's own receipt, ours for it leaves when nothing more has come for so long."""
ARRIVED_MAX: Final = 256
"""Of one trail, while no receipt can leave."""
GROUPS_MAX: Final = 64
"""Trails with packets to be receipted; of more, the oldest is receipted at once."""


@dataclass(slots=True)
class _Group:
    arrived: list[tuple[Delivered, PacketHash]] = field(default_factory=list)
    last_at: float = 0.0


class Arrivals:
    """What one destination is to sign for."""

    def __init__(self, key: PeerKey) -> None:
        self._key: Final = key
        self._id: Final = radio_id(public_key_of(key.peer_id))
        self._groups: dict[tuple[RadioId, tuple[Entry, ...]], _Group] = {}

    @property
    def is_empty(self) -> bool:
        return not self._groups

    def add(self, packet: Packet, now: float) -> None:
        """Count a packet that arrived, once each."""
        trail = packet.trail[: packet.hops]
        if packet.type in FREE_TYPES or not any(entry.fee for entry in trail):
            return
        group = self._groups.setdefault((packet.origin, trail), _Group())
        if len(group.arrived) == ARRIVED_MAX:
            return
        group.arrived.append((Delivered(packet_id=packet.packet_id, token=packet.token), packet.hash))
        group.last_at = now

    def hurry(self, origin: RadioId, now: float) -> None:
        """Have what came from one origin receipted soon, unless more comes: a receipt that meets what it says next gets lost."""
        for (sender, _), group in self._groups.items():
            if sender == origin:
                group.last_at = min(group.last_at, now + QUIET_S - RECEIPT_AFTER_S)

    def hurry_all(self) -> None:
        """Have everything receipted at once: we are going."""
        for group in self._groups.values():
            group.last_at = 0.0

    def next_deadline(self) -> float | None:
        return min((group.last_at + RECEIPT_AFTER_S for group in self._groups.values()), default=None)

    def due(self, now: float, *, room_for: Callable[[RadioId], int]) -> Iterator[tuple[RadioId, bytes]]:
        """Signed receipts that are due, each with the origin it goes to; ``room_for`` says how many bytes one may have there."""
        for key, group in tuple(self._groups.items()):
            origin, trail = key
            n_full = min(DELIVERED_MAX, (room_for(origin) - _empty_size(trail)) // DELIVERED_SIZE)
            is_due = now >= group.last_at + RECEIPT_AFTER_S or len(self._groups) > GROUPS_MAX
            while group.arrived and (is_due or len(group.arrived) >= n_full):
                taken, group.arrived = group.arrived[:n_full], group.arrived[n_full:]
                receipt = DeliveryReceipt(
                    origin=origin, destination=self._id, time_s=int(now) & 0xFFFFFFFF, trail=trail, delivered=tuple(one for one, _ in taken)
                )
                yield origin, receipt.sign(self._key, [hash_ for _, hash_ in taken])
            if not group.arrived:
                del self._groups[key]


def _empty_size(trail: tuple[Entry, ...]) -> int:
    return DELIVERY_HEAD + len(trail) * ENTRY_SIZE + 1 + PEER_SIGNATURE_SIZE
