"""A computer that speaks the protocol behind a node: its station, driven by the simulation's time.

The rule: it is a host like any other. A frame is handed over the line when the way before it had time to clear, because a relay that is
still carrying the last one cannot hear the next.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final

from benchmarks.radio.host import Host
from benchmarks.radio.lora import SNR_LIMIT_SF7_QDB, SNR_LIMIT_STEP_QDB
from benchmarks.radio.timeline import SECOND_US, Appointment, Timeline
from retrieval.identity import PeerId, PeerKey, public_key_of
from retrieval.ledger.journal import Record
from retrieval.radio.account import RelayAccount, Tables
from retrieval.radio.airtime import airtime_us
from retrieval.radio.packet import RadioId, radio_id
from retrieval.radio.station import Station, StationEvent

EPOCH_S: Final = 1_800_000_000
"""When simulations begin."""
SPACING_MAX: Final = 3
"""Frames' lengths until the next: the node, its neighbour and the next one share the air, whoever is beyond does not."""
DIRECT: Final = 1
FAINT_QDB: Final = 20
"""Above the limit of what is understood: with less margin every few frames get lost. The firmware's relays say so too."""
FAINT_US: Final = 4 * SECOND_US


class Endpoint:
    """One computer. ``on_event`` hears what its station tells."""

    def __init__(self, host: Host, timeline: Timeline, station: Station) -> None:
        self.on_event: Callable[[StationEvent], None] = lambda event: None
        self.commit: Callable[[tuple[Record, ...]], None] = lambda records: None
        """Called with what is to be on disk before anything more happens."""
        self.station: Final = station
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
        self.commit(self.station.take_records())
        while self._timeline.now_us >= self._free_us and (outgoing := self.station.next_frame(self.now)) is not None:
            self.commit(outgoing.records)
            self._free_us = self._timeline.now_us + self._spacing_us(outgoing.frame)
            self.host.send(outgoing.frame)
        self._next.cancel()
        deadline = self.station.next_deadline()
        due_us = None if deadline is None else max(round((deadline - EPOCH_S) * SECOND_US), self._timeline.now_us + 1)
        if self._timeline.now_us < self._free_us:  # until then nothing may leave, whatever is due
            due_us = self._free_us
        if due_us is not None:
            self._next = self._timeline.at(due_us, self.move)

    def later(self, delay_us: int, act: Callable[[], None]) -> None:
        """Do it then."""
        self._timeline.after(delay_us, act)

    def _hear(self, frame: bytes) -> None:
        """A flood over a faint link waits for a copy over a better one, which then is the way of the answer."""
        if self._is_faint(frame):
            self._timeline.after(FAINT_US, partial(self._take, frame))
        else:
            self._take(frame)

    def _take(self, frame: bytes) -> None:
        for event in self.station.hear(frame, self.now):
            self.on_event(event)
        self.move()

    def _is_faint(self, frame: bytes) -> bool:
        limit_qdb = SNR_LIMIT_SF7_QDB - SNR_LIMIT_STEP_QDB * (self.station.settings.modulation.spreading_factor - 7)
        return not frame[1] & DIRECT and self.host.snr_qdb - limit_qdb < FAINT_QDB

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
