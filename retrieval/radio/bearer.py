"""A stream of bytes over packets that get lost: one session between two stations, without a socket or a clock.

``write`` takes bytes; ``next_body`` gives what may leave now, one packet at a time, whenever the link has room; ``receive`` and
``acknowledged`` take what came, and ``read`` what is whole and in order. At most ``RECORDS_MAX`` records are on their way. A
segment is repeated when an acknowledgement shows that it is missing, or when nothing is heard for too long; the wait begins with what the
way takes, follows what acknowledgements took, and doubles at each repetition. A session outlives its way, and goes on where another is
found.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Final

from retrieval.errors import ErrorCode, RemoteProtocolError
from retrieval.radio.assembly import RECORDS_MAX, Assembly
from retrieval.radio.compact import RECORD_SIZE_MAX, Compactor, Expander
from retrieval.radio.packet import PacketType
from retrieval.radio.payload import NUMBER_MAX, SEGMENT_HEAD_SIZE, SEGMENTS_MAX, Ack, Segment

ACK_AFTER_S: Final = 1.0
"""A record that is whole is acknowledged this much later, unless something that is sent back says so first."""
TRIES_MAX: Final = 12
"""Waits in a row without news after which the way counts as broken."""
DOUBLINGS_MAX: Final = 3
"""Of the wait: beyond that a way is silent because it is gone, and not because it is slow."""
STALLED_WAITS: Final = 6
"""Without news for so long, a session with something to finish had better look for another way."""
ROUND_TRIP_MIN_S: Final = 0.5
WAIT_MAX_S: Final = 300.0
PIECE_SIZE_MIN: Final = 130
"""So that a record of the largest size, made no smaller by deflate, has at most 64 segments. Over eight relays there is room for 156."""


@dataclass(slots=True)
class _Record:
    number: int
    type: PacketType
    pieces: tuple[bytes, ...]
    missing: set[int] = field(default_factory=set)
    """Segments that were not acknowledged."""
    to_send: deque[int] = field(default_factory=deque)
    order: dict[int, int] = field(default_factory=dict)
    """When each segment was sent last, counted in segments of this session."""
    sent_at: float = 0.0
    is_repeated: bool = False


class Bearer:
    """One end of one session."""

    def __init__(self, session: int, *, piece_size: int, round_trip_s: float, words: bytes, now: float) -> None:
        """``piece_size`` is what fits a packet on this way, ``round_trip_s`` what it takes at first sight."""
        assert piece_size >= PIECE_SIZE_MIN
        self.session: Final = session
        self._piece_size = piece_size
        self._round_trip_s = max(round_trip_s, ROUND_TRIP_MIN_S)
        self._tries = 0
        self._last_news = now
        self._way_since = now
        self._compactor = Compactor(words)
        self._expander = Expander(words)
        self._assembly = Assembly()
        self._queue: deque[_Record] = deque()
        """Behind those in flight."""
        self._flight: list[_Record] = []
        self._next_number = 0
        self._n_sent = 0
        self._ack_at: float | None = None
        self._read = bytearray()
        self.error: RemoteProtocolError | None = None
        """Why the session is over, where the way was what failed."""

    @property
    def is_idle(self) -> bool:
        """Whether everything that was written is known to have arrived, and nothing is to be said."""
        return not self._flight and not self._queue and self._ack_at is None

    @property
    def has_body(self) -> bool:
        """Whether a segment may leave."""
        return any(record.to_send for record in self._flight) or (bool(self._queue) and len(self._flight) < RECORDS_MAX)

    @property
    def queued_bytes(self) -> int:
        return sum(len(piece) for record in (*self._flight, *self._queue) for piece in record.pieces)

    @property
    def last_news(self) -> float:
        """When the other side was last heard."""
        return self._last_news

    def is_stalled(self, now: float) -> bool:
        """Whether something is unfinished, and this way has brought no news of it for too long."""
        is_unfinished = bool(self._flight or self._assembly.maps()) and self.error is None
        return is_unfinished and now - max(self._last_news, self._way_since) >= STALLED_WAITS * self._first_wait_s

    def change_way(self, now: float) -> None:
        """Another way was found: what was lost on the old one is asked about at once."""
        self._way_since, self._tries = now, 0
        self._ask_about([record for record in self._flight if not record.to_send])

    def fit(self, piece_size: int) -> None:
        """The way has changed: what is written from now on is cut to this size."""
        assert piece_size >= PIECE_SIZE_MIN
        self._piece_size = piece_size

    # out

    def write(self, data: bytes, type_: PacketType) -> None:
        """Queue bytes. Their packets are of this type, by which relays give them their turn."""
        for start in range(0, len(data), RECORD_SIZE_MAX):
            compact = self._compactor.compact(data[start : start + RECORD_SIZE_MAX])
            pieces = tuple(compact[at : at + self._piece_size] for at in range(0, len(compact), self._piece_size))
            assert len(pieces) <= SEGMENTS_MAX
            assert self._next_number < NUMBER_MAX, "no session of the radio lives so long"
            self._queue.append(_Record(self._next_number, type_, pieces, set(range(len(pieces))), deque(range(len(pieces)))))
            self._next_number += 1

    def next_body(self, now: float) -> tuple[PacketType, bytes] | None:
        """What may leave now, and counts as sent: the type of its packet, and the payload without a seal."""
        while self._queue and len(self._flight) < RECORDS_MAX:
            self._flight.append(self._queue.popleft())
        for record in self._flight:
            if record.to_send:
                index = record.to_send.popleft()
                self._n_sent += 1
                record.sent_at, record.order[index] = now, self._n_sent
                self._ack_at = None if not self._assembly.maps() else self._ack_at
                return record.type, Segment(
                    session=self.session,
                    record=record.number,
                    index=index,
                    n_segments=len(record.pieces),
                    awaited=self._assembly.next_record & 0xFF,
                    piece=record.pieces[index],
                ).encode()
        if self._ack_at is not None and now >= self._ack_at:
            self._ack_at = None
            return PacketType.ACK, Ack(session=self.session, next_record=self._assembly.next_record, maps=self._assembly.maps()).encode()
        return None

    # in

    def receive(self, segment: Segment, now: float) -> None:
        """Take a segment of this session, its seal checked. Raises ``RemoteProtocolError`` where a record is not what was written."""
        self._last_news = now
        behind = (segment.awaited - (self._flight[0].number if self._flight else self._next_number)) & 0xFF
        if 0 < behind <= len(self._flight):
            self._arrived(self._flight[0].number + behind, now)
        is_repair = self._fills_gap(segment)
        for record in self._assembly.add(segment):
            self._read += self._expander.expand(record)
        self._ack_at = now + self._ack_after_s(segment, is_repair=is_repair)

    def _ack_after_s(self, segment: Segment, *, is_repair: bool) -> float:
        """What is whole may be said by what is sent back; with a gap, more may be on its way, unless the last segment is here. Of what is
        repeated to fill gaps, the rest follows at once."""
        if not self._assembly.maps() or is_repair:
            return ACK_AFTER_S
        return 0.0 if segment.index == segment.n_segments - 1 else self._round_trip_s

    def _fills_gap(self, segment: Segment) -> bool:
        """Whether something that was cut behind it is here already."""
        maps, behind = self._assembly.maps(), segment.record - self._assembly.next_record
        return 0 <= behind < len(maps) and maps[behind] >> (segment.index + 1) != 0

    def acknowledged(self, ack: Ack, now: float) -> None:
        """Take an acknowledgement of this session, its seal checked."""
        self._last_news = now
        self._arrived(ack.next_record, now)
        by_number = {record.number: record for record in self._flight}
        for number, bits in enumerate(ack.maps, start=ack.next_record):
            if (record := by_number.get(number)) is not None:
                record.missing -= {index for index in record.missing if bits >> index & 1}
                self._repeat_lost(record)
        self._tries = 0

    def read(self) -> bytes:
        """What came, in order, and was not read yet."""
        data = bytes(self._read)
        self._read.clear()
        return data

    # time

    def next_deadline(self) -> float | None:
        """When ``tick``, or ``next_body`` for an acknowledgement, is due."""
        dues = [record.sent_at + self._wait_s() for record in self._flight if not record.to_send]
        if self._ack_at is not None:
            dues.append(self._ack_at)
        return min(dues, default=None)

    def tick(self, now: float) -> None:
        """Ask again about what was not heard of for too long.

        After ``TRIES_MAX`` waits in a row the session is over, and ``error`` says so.
        """
        overdue = [record for record in self._flight if not record.to_send and now >= record.sent_at + self._wait_s()]
        if not overdue:
            return
        self._tries += 1
        if self._tries > TRIES_MAX:
            self.error = RemoteProtocolError(ErrorCode.TRANSFER_STALLED, f"nothing was heard over the radio after {TRIES_MAX} repetitions")
            return
        self._ask_about(overdue)

    def _ask_about(self, records: list[_Record]) -> None:
        """Repeat what is known to be missing; where nothing is known, the last segment, which is always answered."""
        for record in records:
            record.is_repeated = True
            last = len(record.pieces) - 1
            record.to_send = deque(sorted(record.missing) if last not in record.missing else (last,))

    @property
    def _first_wait_s(self) -> float:
        return 2 * self._round_trip_s + ACK_AFTER_S

    def _wait_s(self) -> float:
        """How long to wait for an acknowledgement: what one may take, doubled with each wait in vain."""
        return min(self._first_wait_s * (1 << min(self._tries, DOUBLINGS_MAX)), WAIT_MAX_S)

    def _repeat_lost(self, record: _Record) -> None:
        """Send again what is missing although something that was sent later arrived; the rest may still be on its way."""
        arrived = max((order for index, order in record.order.items() if index not in record.missing), default=0)
        lost = [index for index in sorted(record.missing) if record.order.get(index, arrived) < arrived]
        if lost:
            record.is_repeated = True
            record.to_send = deque(lost)

    def _arrived(self, next_record: int, now: float) -> None:
        """All records before this one are whole over there."""
        whole = [record for record in self._flight if record.number < next_record]
        if not whole:
            return
        self._tries = 0
        timed = [now - record.sent_at for record in whole if not record.is_repeated]
        if timed:
            self._round_trip_s = max(ROUND_TRIP_MIN_S, (3 * self._round_trip_s + max(timed)) / 4)
        self._flight = [record for record in self._flight if record.number >= next_record]


def piece_size_of(payload_size: int) -> int:
    """What a piece may have where a payload, its seal not counted, has this size."""
    return payload_size - SEGMENT_HEAD_SIZE
