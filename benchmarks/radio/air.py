"""The radio channel: who transmits, who hears it how strongly, and what is left of it where signals meet.

Its rule: everything is decided from the links, the order of events and a seed, in integers, so a run can be repeated to the byte.

How a receiver is taken to work. It locks onto the first signal of its channel that it can demodulate, provided that it was listening for
the last LOCK_SYMBOLS of the preamble; until the header begins, one that is CAPTURE_QDB stronger takes it over. From then on it stays with
that frame to its end, whatever comes; any signal of the channel that is not CAPTURE_QDB weaker spoils it, and it arrives with a bad CRC.
A radio that sends hears nothing. There is no fading, no frequency error and no leaking between channels: field tests must follow.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Final, Protocol

from benchmarks.radio.duty import Auditor
from benchmarks.radio.journal import Journal
from benchmarks.radio.links import Links
from benchmarks.radio.lora import CAPTURE_QDB, HEADER_SYMBOLS, LOCK_SYMBOLS, QDB, SYNC_QUARTERS, Channel
from benchmarks.radio.timeline import Timeline
from retrieval.radio.airtime import Modulation, airtime_us

PER_10_000: Final = 10_000


class Fate(Enum):
    """What became of a frame at one place where it was strong enough to be understood."""

    HEARD = "heard"
    COLLIDED = "collided"
    """It was received, and another signal spoilt it; or another signal kept it from being found."""
    LOST = "lost"
    """By chance, as the link's loss has it."""
    DEAF = "deaf"
    """The radio there was sending, standing by, or listening for something else."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Transmission:
    """One frame on its way."""

    number: int
    sender: str
    channel: Channel
    modulation: Modulation
    payload: bytes
    power_qdb: int
    """Quarters of a dBm, radiated."""
    start_us: int
    end_us: int

    @property
    def preamble_end_us(self) -> int:
        """When the header begins: preamble and sync symbols are over."""
        return self.start_us + (4 * self.modulation.preamble + SYNC_QUARTERS) * self.channel.symbol_us // 4

    @property
    def header_end_us(self) -> int:
        return self.preamble_end_us + HEADER_SYMBOLS * self.channel.symbol_us

    @property
    def last_lock_us(self) -> int:
        """Who begins to listen later than this misses too much of the preamble."""
        return self.start_us + max(0, self.modulation.preamble - LOCK_SYMBOLS) * self.channel.symbol_us


@dataclass(frozen=True, slots=True, kw_only=True)
class Reception:
    """A frame as it arrived."""

    payload: bytes
    rssi_qdb: int
    snr_qdb: int
    crc_ok: bool


class Radio(Protocol):
    """What a station tells the radio that stands there."""

    def frame_locked(self, transmission: Transmission) -> None:
        """A frame is coming in; it may yet be lost to a stronger one."""

    def frame_arrived(self, reception: Reception) -> None: ...

    def frame_sent(self) -> None: ...


@dataclass(slots=True)
class Tally:
    """What a station did and what befell it."""

    n_sent: int = 0
    bytes_sent: int = 0
    airtime_us: int = 0
    fates: dict[Fate, int] = field(default_factory=lambda: dict.fromkeys(Fate, 0))
    heard_from: dict[str, int] = field(default_factory=dict)
    """Frames heard, by sender."""


@dataclass(slots=True)
class Signal:
    """A transmission as it is heard at one place."""

    level_qdb: int
    missed_as: Fate = Fate.DEAF
    """What will have become of it if nobody receives it."""


class Station:
    """A place in the air with one radio. Made by ``Air.station``."""

    def __init__(self, air: Air, name: str) -> None:
        self.name: Final = name
        self.tally: Final = Tally()
        self.radio: Radio | None = None
        self._air: Final = air
        self._listening: Channel | None = None
        self._sending: Transmission | None = None
        self._locked: Transmission | None = None
        self._is_spoilt = False
        self._signals: Final[dict[Transmission, Signal]] = {}
        """Everything in the air here that is strong enough to matter."""

    def listen(self, channel: Channel) -> None:
        """Begin to receive; a frame that was coming in is dropped."""
        assert self._sending is None
        self._turn_away()
        self._listening = channel
        self._look_around()

    def stand_by(self) -> None:
        """Neither receive nor send; what was being sent is cut off and reaches nobody whole."""
        self._turn_away()
        if self._sending is not None:
            self._air.cut(self._sending)
            self._sending = None

    def send(self, payload: bytes, channel: Channel, modulation: Modulation, power_qdb: int) -> Transmission:
        """Begin to send; ``frame_sent`` is told when it is over."""
        assert self._sending is None
        self._turn_away()
        self._sending = self._air.send(self, payload, channel, modulation, power_qdb)
        return self._sending

    def senses(self, channel: Channel) -> bool:
        """Whether some signal of the channel is strong enough here to be understood."""
        return any(signal.level_qdb >= channel.floor_qdb and channel.meets(sent.channel) for sent, signal in self._signals.items())

    def rssi_qdb(self, channel: Channel) -> int:
        """The strongest there is on the channel, or its noise."""
        return max([channel.noise_qdb, *(signal.level_qdb for sent, signal in self._signals.items() if channel.meets(sent.channel))])

    @property
    def locked(self) -> Transmission | None:
        """The frame that is coming in."""
        return self._locked

    def signal_began(self, sent: Transmission, level_qdb: int) -> None:
        self._signals[sent] = Signal(level_qdb)
        locked = self._locked
        if locked is not None and locked.channel.meets(sent.channel):
            advantage_qdb = level_qdb - self._signals[locked].level_qdb
            may_switch = self._air.timeline.now_us < locked.preamble_end_us
            if advantage_qdb >= CAPTURE_QDB and may_switch and self._understands(sent, level_qdb):
                self._signals[locked].missed_as = Fate.COLLIDED
                self._locked = None
            elif advantage_qdb > -CAPTURE_QDB:
                self._is_spoilt = True
        self._consider(sent)

    def signal_ended(self, sent: Transmission, *, is_whole: bool) -> None:
        signal = self._signals.pop(sent)
        if self._locked is sent:
            self._locked = None
            if is_whole:
                self._receive(sent, signal.level_qdb)
            self._look_around()
        elif signal.level_qdb >= sent.channel.floor_qdb:
            self._befell(sent, signal.missed_as)

    def sending_ended(self) -> None:
        self._sending = None
        if self.radio is not None:
            self.radio.frame_sent()

    def _turn_away(self) -> None:
        """Stop listening; the frame that was coming in is dropped."""
        self._listening = self._locked = None

    def _look_around(self) -> None:
        """Lock onto what is in the air already, where enough of its preamble is left."""
        if self._listening is not None and self._locked is None:
            for sent in [sent for sent in self._signals if self._air.timeline.now_us <= sent.last_lock_us]:
                self._consider(sent)

    def _consider(self, sent: Transmission) -> None:
        """Lock onto a signal where that is possible."""
        signal = self._signals[sent]
        if not self._understands(sent, signal.level_qdb):
            return
        rivals = [other.level_qdb for one, other in self._signals.items() if one is not sent and one.channel.meets(sent.channel)]
        advantage_qdb = signal.level_qdb - max(rivals) if rivals else CAPTURE_QDB
        if self._locked is not None or advantage_qdb <= -CAPTURE_QDB:  # busy, or its preamble drowns
            signal.missed_as = Fate.COLLIDED
            return
        self._locked, self._is_spoilt = sent, advantage_qdb < CAPTURE_QDB
        signal.missed_as = Fate.DEAF
        if self.radio is not None:
            self.radio.frame_locked(sent)

    def _understands(self, sent: Transmission, level_qdb: int) -> bool:
        return self._listening is not None and self._listening.hears(sent.channel) and level_qdb >= sent.channel.floor_qdb

    def _receive(self, sent: Transmission, level_qdb: int) -> None:
        if self._air.loses(sent.sender, self.name):
            self._befell(sent, Fate.LOST)
            return
        fate = Fate.COLLIDED if self._is_spoilt else Fate.HEARD
        self._befell(sent, fate)
        if self.radio is not None:
            arrived = sent.payload if fate is Fate.HEARD else self._air.garbled(sent.payload)
            snr_qdb = level_qdb - sent.channel.noise_qdb
            self.radio.frame_arrived(Reception(payload=arrived, rssi_qdb=level_qdb, snr_qdb=snr_qdb, crc_ok=fate is Fate.HEARD))

    def _befell(self, sent: Transmission, fate: Fate) -> None:
        self.tally.fates[fate] += 1
        if fate is Fate.HEARD:
            self.tally.heard_from[sent.sender] = self.tally.heard_from.get(sent.sender, 0) + 1
        self._air.journal.write(self.name, fate.value, f"#{sent.number} of {sent.sender}")


class Air:
    """All stations, and what is between them."""

    def __init__(
        self,
        timeline: Timeline,
        links: Links,
        journal: Journal,
        auditor: Auditor,
        *,
        seed: int = 0,
        losses_per_10_000: Mapping[tuple[str, str], int] | int = 0,
    ) -> None:
        """``losses_per_10_000``: how many frames get lost by chance, on every link or by (sender, hearer)."""
        self.timeline: Final = timeline
        self.journal: Final = journal
        self.auditor: Final = auditor
        self.stations: Final[dict[str, Station]] = {}
        self.on_sent: Callable[[Transmission], None] = lambda sent: None
        """Called with every frame as it leaves."""
        self._hearers: Final[dict[str, list[tuple[Station, int]]]] = {}
        self._links: Final = links
        self._losses: Final = losses_per_10_000
        self._drawn: Final = random.Random(seed)
        self._n_sent = 0
        self._flying: Final[dict[Transmission, list[Station]]] = {}
        """What is in the air now, and who has it among their signals."""

    def station(self, name: str) -> Station:
        """A new place; every place is made before the first frame is sent."""
        assert name not in self.stations
        assert self._n_sent == 0
        made = self.stations[name] = Station(self, name)
        return made

    def send(self, sender: Station, payload: bytes, channel: Channel, modulation: Modulation, power_qdb: int) -> Transmission:
        self._n_sent += 1
        start_us = self.timeline.now_us
        sent = Transmission(
            number=self._n_sent,
            sender=sender.name,
            channel=channel,
            modulation=modulation,
            payload=payload,
            power_qdb=power_qdb,
            start_us=start_us,
            end_us=start_us + airtime_us(len(payload), modulation),
        )
        length_us = sent.end_us - start_us
        sender.tally.n_sent += 1
        sender.tally.bytes_sent += len(payload)
        sender.tally.airtime_us += length_us
        self.auditor.sent(
            sender.name,
            frequency_hz=channel.frequency_hz,
            bandwidth_hz=channel.bandwidth_hz,
            power_dbm=-(-power_qdb // QDB),
            start_us=start_us,
            end_us=sent.end_us,
        )
        self.journal.write(sender.name, "sends", f"#{sent.number} {channel} {power_qdb // QDB} dBm {length_us} us {payload.hex()}")
        self.on_sent(sent)
        least_qdb = channel.floor_qdb - CAPTURE_QDB  # weaker ones are neither heard nor spoil what is
        reached = [(hearer, power_qdb - loss_qdb) for hearer, loss_qdb in self._around(sender.name) if power_qdb - loss_qdb > least_qdb]
        self._flying[sent] = [hearer for hearer, _ in reached]
        for hearer, level_qdb in reached:
            hearer.signal_began(sent, level_qdb)
        self.timeline.at(sent.end_us, lambda: self._end(sender, sent))
        return sent

    def cut(self, sent: Transmission) -> None:
        """Its sender stopped before the end: from now on it is no signal, and nobody receives it."""
        self.journal.write(sent.sender, "cut", f"#{sent.number}")
        for hearer in self._flying.pop(sent):
            hearer.signal_ended(sent, is_whole=False)

    def loses(self, sender: str, hearer: str) -> bool:
        """Draw whether chance takes a frame on this link; nothing is drawn where nothing gets lost."""
        rate = self._losses if isinstance(self._losses, int) else self._losses.get((sender, hearer), 0)
        return rate > 0 and self._drawn.randrange(PER_10_000) < rate

    def garbled(self, payload: bytes) -> bytes:
        """As a collision leaves it: from somewhere on, other bytes."""
        if not payload:
            return payload
        kept = self._drawn.randrange(len(payload))
        return payload[:kept] + bytes([payload[kept] ^ (1 + self._drawn.randrange(255))]) + self._drawn.randbytes(len(payload) - kept - 1)

    def _end(self, sender: Station, sent: Transmission) -> None:
        if sent not in self._flying:  # it was cut
            return
        reached = self._flying.pop(sent)
        sender.sending_ended()
        for hearer in reached:
            hearer.signal_ended(sent, is_whole=True)

    def _around(self, name: str) -> Iterable[tuple[Station, int]]:
        if name not in self._hearers:
            self._hearers[name] = [(self.stations[hearer], loss) for hearer, loss in self._links.hearers(name) if hearer in self.stations]
        return self._hearers[name]
