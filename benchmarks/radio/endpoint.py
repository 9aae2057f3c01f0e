"""A computer that speaks the protocol behind a node: its station, driven by the simulation's time.

The rule: it is a host like any other. A frame is handed over the line when the way before it had time to clear, because a relay that is
still carrying the last one cannot hear the next.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from benchmarks.radio.host import Host
from benchmarks.radio.timeline import SECOND_US, Appointment, Timeline
from retrieval.identity import PeerId, PeerKey, public_key_of
from retrieval.radio.account import RelayAccount, Tables
from retrieval.radio.airtime import airtime_us
from retrieval.radio.packet import RadioId, radio_id
from retrieval.radio.station import Outgoing, Station, StationEvent, StationSettings

EPOCH_S: Final = 1_800_000_000
"""When simulations begin."""
SPACING_MAX: Final = 3
"""Frames' lengths until the next: the node, its neighbour and the next one share the air, whoever is beyond does not."""
DIRECT: Final = 1


class Endpoint:
    """One computer. ``on_event`` hears what its station tells."""

    def __init__(self, host: Host, timeline: Timeline, key: PeerKey, settings: StationSettings, account: RelayAccount) -> None:
        self.on_event: Callable[[StationEvent], None] = lambda event: None
        self.on_outgoing: Callable[[Outgoing], None] = lambda outgoing: None
        """Called with each frame before it leaves, whose records are to be on disk then."""
        self.station: Final = Station(key, settings, account, first_packet_id=1)
        self.host: Final = host
        self._timeline: Final = timeline
        self._free_us = 0
        self._next = Appointment(lambda: None)
        host.on_frame = self._hear

    @property
    def now(self) -> float:
        """Unix seconds."""
        return EPOCH_S + self._timeline.now_us / SECOND_US

    def move(self) -> None:
        """Something was said to the station: let leave what may, and come back when something is due."""
        for event in self.station.tick(self.now):
            self.on_event(event)
        while self._timeline.now_us >= self._free_us and (outgoing := self.station.next_frame(self.now)) is not None:
            self.on_outgoing(outgoing)
            self._free_us = self._timeline.now_us + self._spacing_us(outgoing.frame)
            self.host.send(outgoing.frame)
        self._next.cancel()
        dues = [self._free_us] if self._timeline.now_us < self._free_us else []
        if (deadline := self.station.next_deadline()) is not None:
            dues.append(max(round((deadline - EPOCH_S) * SECOND_US), self._timeline.now_us + 1))
        if dues:
            self._next = self._timeline.at(min(dues), self.move)

    def later(self, delay_us: int, act: Callable[[], None]) -> None:
        """Do it then."""
        self._timeline.after(delay_us, act)

    def _hear(self, frame: bytes) -> None:
        for event in self.station.hear(frame, self.now):
            self.on_event(event)
        self.move()

    def _spacing_us(self, frame: bytes) -> int:
        """A frame for relays occupies the air as often as they pass it on."""
        n_relays = frame[1] >> 4 if frame[1] & DIRECT else 1
        return airtime_us(len(frame), self.station.settings.modulation) * min(1 + n_relays, SPACING_MAX) * 5 // 4


def account_of(key: PeerKey) -> RelayAccount:
    """An account without a wallet: it promises fees and counts deliveries, and pays nobody."""
    return RelayAccount(id_of(key.peer_id), key.seed, None, Tables(), now=EPOCH_S)


def key_of(seed: int, number: int) -> PeerKey:
    """Alike in every run of a seed."""
    return PeerKey.from_seed(seed.to_bytes(16) + number.to_bytes(16))


def id_of(peer: PeerId) -> RadioId:
    return radio_id(public_key_of(peer))
