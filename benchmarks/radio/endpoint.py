"""A computer that speaks the protocol behind a node: its station, driven by the simulation's time.

The rule: it is a host like any other, and does nothing but what the station says.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from benchmarks.radio.host import Host
from benchmarks.radio.timeline import SECOND_US, Appointment, Timeline
from retrieval.identity import PeerId, PeerKey, public_key_of
from retrieval.ledger.journal import Record
from retrieval.radio.account import RelayAccount, Tables
from retrieval.radio.packet import RadioId, radio_id
from retrieval.radio.station import Station, StationEvent

EPOCH_S: Final = 1_800_000_000
"""When simulations begin."""


class Endpoint:
    """One computer. ``on_event`` hears what its station tells."""

    def __init__(self, host: Host, timeline: Timeline, station: Station) -> None:
        self.on_event: Callable[[StationEvent], None] = lambda event: None
        self.commit: Callable[[tuple[Record, ...]], None] = lambda records: None
        """Called with what is to be on disk before anything more happens."""
        self.station: Final = station
        self.host: Final = host
        self._timeline: Final = timeline
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
        self.commit(self.station.take_records())
        while (outgoing := self.station.next_frame(self.now)) is not None:
            self.commit(outgoing.records)
            self.host.send(outgoing.frame)
        self._next.cancel()
        deadline = self.station.next_deadline()
        due_us = None if deadline is None else max(round((deadline - EPOCH_S) * SECOND_US), self._timeline.now_us + 1)
        if due_us is not None:
            self._next = self._timeline.at(due_us, self.move)

    def later(self, delay_us: int, act: Callable[[], None]) -> None:
        """Do it then."""
        self._timeline.after(delay_us, act)

    def _hear(self, frame: bytes) -> None:
        for event in self.station.hear(frame, self.now, snr_quarter_db=self.host.snr_qdb):
            self.on_event(event)
        self.move()


def account_of(key: PeerKey) -> RelayAccount:
    """An account without a wallet: it promises fees and counts deliveries, and pays nobody."""
    return RelayAccount(id_of(key.peer_id), key.seed, None, Tables(), now=EPOCH_S)


def key_of(seed: int, number: int) -> PeerKey:
    """Alike in every run of a seed."""
    return PeerKey.from_seed(seed.to_bytes(16) + number.to_bytes(16))


def id_of(peer: PeerId) -> RadioId:
    return radio_id(public_key_of(peer))
