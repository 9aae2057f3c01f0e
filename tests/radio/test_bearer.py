"""A stream over packets that get lost, come twice and out of order: what was written is what is read, or the session says that the way
is broken."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retrieval.errors import ErrorCode
from retrieval.radio.bearer import ACK_AFTER_S, PIECE_SIZE_MIN, TRIES_MAX, Bearer
from retrieval.radio.packet import PacketType
from retrieval.radio.payload import Ack, Segment

SEAL = bytes(4)
HOP_S = 0.5


class Way:
    """Two ends, and what is between them: each packet takes half a second, and may be lost or doubled."""

    def __init__(self, *, loss: float = 0.0, twice: float = 0.0, late: float = 0.0, seed: int = 1) -> None:
        self.now = 0.0
        self.ends = [Bearer(7, piece_size=PIECE_SIZE_MIN, round_trip_s=2 * HOP_S, words=b"", now=0.0) for _ in range(2)]
        self.air: list[tuple[float, int, PacketType, bytes]] = []
        self.sent: list[tuple[int, PacketType, bytes]] = []
        self.read = [bytearray(), bytearray()]
        self._loss, self._twice, self._late = loss, twice, late
        self._random = random.Random(seed)

    def _leave(self) -> None:
        for number, end in enumerate(self.ends):
            while (body := end.next_body(self.now)) is not None:
                self.sent.append((number, *body))
                for _ in range(1 + (self._random.random() < self._twice)):
                    if self._random.random() >= self._loss:
                        delay = HOP_S + (5 * self._random.random() if self._random.random() < self._late else 0)
                        self.air.append((self.now + delay, 1 - number, *body))

    def _arrive(self) -> None:
        for packet in sorted(packet for packet in self.air if packet[0] <= self.now):
            self.air.remove(packet)
            _, to, type_, body = packet
            end = self.ends[to]
            if type_ is PacketType.ACK:
                end.acknowledged(Ack.decode(body + SEAL), self.now)
            else:
                end.receive(Segment.decode(body + SEAL), self.now)
            self.read[to] += end.read()

    def run(self, until: float = 100_000.0) -> None:
        """Until both are idle, broken, or the time is over."""
        while self.now < until:
            self._leave()
            dues = [packet[0] for packet in self.air] + [due for end in self.ends if (due := end.next_deadline()) is not None]
            if not dues or any(end.error for end in self.ends):
                return
            self.now = max(self.now, min(dues))
            self._arrive()
            for end in self.ends:
                end.tick(self.now)


def test_a_record_crosses_and_is_acknowledged_once():
    way = Way()
    way.ends[0].write(b"query", PacketType.RECORD)
    way.run()
    assert way.read[1] == b"query"
    assert [(number, type_) for number, type_, _ in way.sent] == [(0, PacketType.RECORD), (1, PacketType.ACK)]
    assert all(end.is_idle for end in way.ends)


def test_an_answer_is_the_acknowledgement():
    way = Way()
    way.ends[0].write(b"query", PacketType.RECORD)
    way.run(until=HOP_S)
    way.ends[1].write(b"quote", PacketType.RECORD)
    way.run()
    assert [type_ for _, type_, _ in way.sent] == [PacketType.RECORD, PacketType.RECORD, PacketType.ACK]
    assert (way.read[1], way.read[0]) == (b"query", b"quote")


def test_only_what_is_missing_is_repeated():
    way, data = Way(), random.Random(1).randbytes(PIECE_SIZE_MIN * 5)
    way.ends[0].write(data, PacketType.FRAGMENT)
    way._leave()
    del way.air[2]
    way.run()
    repeated = [Segment.decode(body + SEAL).index for _, type_, body in way.sent if type_ is PacketType.FRAGMENT][6:]
    assert repeated == [2]
    assert way.read[1] == data


def test_what_is_known_to_be_missing_is_what_is_repeated_when_nothing_is_heard():
    way, data = Way(), random.Random(1).randbytes(PIECE_SIZE_MIN * 5)
    way.ends[0].write(data, PacketType.FRAGMENT)
    way._leave()
    del way.air[2]
    way.now = HOP_S
    way._arrive()
    way._leave()
    way.now = 2 * HOP_S
    way._arrive()
    way._leave()
    way.air.clear()  # the repetition, too, is lost
    way.run()
    repeated = [Segment.decode(body + SEAL).index for _, type_, body in way.sent if type_ is PacketType.FRAGMENT][6:]
    assert repeated == [2, 2]
    assert way.read[1] == data


def test_a_session_goes_on_when_another_way_is_found():
    end = Bearer(7, piece_size=PIECE_SIZE_MIN, round_trip_s=2 * HOP_S, words=b"", now=0.0)
    end.write(b"query", PacketType.RECORD)
    assert end.next_body(0.0) is not None
    assert not end.is_stalled(HOP_S)
    now = 0.0
    while not end.is_stalled(now):
        now += HOP_S
        end.tick(now)
        end.next_body(now)
    end.change_way(now)
    assert not end.is_stalled(now)
    assert end.next_body(now) is not None


def test_a_session_with_nothing_to_finish_never_stalls():
    end = Bearer(7, piece_size=PIECE_SIZE_MIN, round_trip_s=2 * HOP_S, words=b"", now=0.0)
    assert not end.is_stalled(10_000.0)


def test_a_way_that_is_broken_ends_the_session():
    way = Way(loss=1.0)
    way.ends[0].write(b"query", PacketType.RECORD)
    way.run()
    assert way.ends[0].error is not None
    assert way.ends[0].error.code is ErrorCode.TRANSFER_STALLED
    assert len(way.sent) == TRIES_MAX + 1


def test_what_is_whole_is_said_within_a_second():
    way = Way()
    way.ends[0].write(b"query", PacketType.RECORD)
    way.run()
    assert way.now <= HOP_S + ACK_AFTER_S + HOP_S


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 1), st.integers(1, 3000)), min_size=1, max_size=8),
    st.floats(0, 0.3),
    st.floats(0, 0.3),
    st.floats(0, 0.5),
    st.integers(0, 1 << 32),
)
def test_what_was_written_is_read(writes, loss, twice, late, seed):
    way, content = Way(loss=loss, twice=twice, late=late, seed=seed), random.Random(seed)
    written = [bytearray(), bytearray()]
    for number, size in writes:
        data = content.randbytes(size)
        written[1 - number] += data
        way.ends[number].write(data, PacketType.RECORD)
    way.run()
    if any(end.error for end in way.ends):
        assert all(whole.startswith(bytes(part)) for whole, part in zip(written, way.read, strict=True))
    else:
        assert way.read == written


@pytest.mark.parametrize("loss", [0.0, 0.1, 0.2])
def test_a_lossy_way_does_not_break_a_session(loss):
    way, data = Way(loss=loss, seed=4), random.Random(4).randbytes(4096)
    way.ends[0].write(data, PacketType.FRAGMENT)
    way.run()
    assert way.read[1] == data
