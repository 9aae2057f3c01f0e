"""What floods make a station wait for: a copy over a better link before it listens, and silence around it before it answers.

Its rule: every wait is counted in airtimes of the flood that it is for, so that it is as long as the mesh is slow.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

from retrieval.radio.airtime import Modulation, airtime_us
from retrieval.radio.packet import Packet, PacketHash, RadioId

SNR_LIMIT_SF7_QUARTER_DB: Final = -30
"""What can be demodulated; 2.5 dB less for each step of the spreading factor."""
SNR_LIMIT_STEP_QUARTER_DB: Final = 10
FAINT_QUARTER_DB: Final = 20
"""Above that limit: with less margin every few frames get lost, and each frame of a session over such a link is sent twice."""
HELD_AIRTIMES: Final = 40
"""That a faint flood waits for a copy over a better link, as it does in a relay."""
HELD_MAX: Final = 64
ANSWER_AIRTIMES: Final = 30
"""An answer that leaves while the flood is still passed on around it is lost to it."""
SPREAD_AIRTIMES: Final = 20
"""Over which the answers of several spread."""
SAYS_MAX: Final = 2
"""Times that an answer leaves while nothing is heard of who asked: less air than another flood."""
ANSWERS_MAX: Final = 64


def is_faint(snr_quarter_db: int | None, modulation: Modulation) -> bool:
    """Whether a frame was all but lost; of a board that does not tell, none was."""
    limit = SNR_LIMIT_SF7_QUARTER_DB - SNR_LIMIT_STEP_QUARTER_DB * (modulation.spreading_factor - 7)
    return snr_quarter_db is not None and snr_quarter_db < limit + FAINT_QUARTER_DB


class HeldFloods:
    """Floods that came over faint links, the cheapest copy of each."""

    def __init__(self, modulation: Modulation) -> None:
        self._modulation: Final = modulation
        self._held: Final[OrderedDict[PacketHash, tuple[float, Packet]]] = OrderedDict()
        """With the time at which each is taken as it is."""

    def add(self, packet: Packet, now: float) -> None:
        """Hold one back; of too many, the oldest is forgotten."""
        known = self._held.get(packet.hash)
        if known is None:
            self._held[packet.hash] = (now + _airtime_s(packet, self._modulation) * HELD_AIRTIMES, packet)
            if len(self._held) > HELD_MAX:
                self._held.popitem(last=False)
        elif packet.price < known[1].price:
            self._held[packet.hash] = (known[0], packet)

    def drop(self, hash_: PacketHash) -> None:
        """A better copy came."""
        self._held.pop(hash_, None)

    def due(self, now: float) -> Iterator[Packet]:
        """Those of which no better copy came in time."""
        for hash_, (due, packet) in tuple(self._held.items()):
            if now >= due:
                del self._held[hash_]
                yield packet

    def next_deadline(self) -> float | None:
        return min((due for due, _ in self._held.values()), default=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What is to be said to a want."""

    want: Packet
    n_bytes: int
    n_blocks: int
    price: int
    n_left: int = SAYS_MAX


class Answers:
    """Answers that wait until their want has passed on."""

    def __init__(self, modulation: Modulation) -> None:
        self._modulation: Final = modulation
        self._waiting: list[tuple[float, Answer]] = []

    @property
    def is_said(self) -> bool:
        """Whether each has left once."""
        return all(answer.n_left < SAYS_MAX for _, answer in self._waiting)

    def add(self, answer: Answer, now: float) -> bool:
        """Have it wait. Whether there was room. How long is drawn from the want itself."""
        if len(self._waiting) >= ANSWERS_MAX:
            return False
        airtimes = ANSWER_AIRTIMES + answer.want.hash[0] * SPREAD_AIRTIMES / 256
        self._waiting.append((now + _airtime_s(answer.want, self._modulation) * airtimes, answer))
        return True

    def due(self, now: float) -> list[Answer]:
        """What may be said now, and counts as said; it waits as long again before it is repeated."""
        due = [answer for at, answer in self._waiting if now >= at]
        self._waiting = [(at, answer) for at, answer in self._waiting if now < at]
        for answer in due:
            if answer.n_left > 1:
                self.add(replace(answer, n_left=answer.n_left - 1), now)
        return due

    def drop(self, asker: RadioId) -> None:
        """It was heard to have an answer."""
        self._waiting = [(at, answer) for at, answer in self._waiting if answer.want.origin != asker]

    def next_deadline(self) -> float | None:
        return min((at for at, _ in self._waiting), default=None)


def _airtime_s(packet: Packet, modulation: Modulation) -> float:
    return airtime_us(len(packet.encode()), modulation) / 1e6
