"""Segments in any order, any number of times, from anybody who holds the seal's key: records in order, and memory within bounds."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from retrieval.radio.assembly import RECORDS_MAX, Assembly
from retrieval.radio.payload import SEGMENTS_MAX, Segment

PIECE_MAX = 204


def segments_of(number: int, pieces: list[bytes]) -> list[Segment]:
    return [
        Segment(session=1, record=number, index=index, n_segments=len(pieces), awaited=0, piece=piece) for index, piece in enumerate(pieces)
    ]


hostile = st.integers(1, SEGMENTS_MAX).flatmap(
    lambda n: st.builds(
        Segment, session=st.just(1), record=st.integers(0, 0xFFFF) | st.integers(0, 6), index=st.integers(0, n - 1), n_segments=st.just(n),
        awaited=st.integers(0, 255), piece=st.binary(min_size=1, max_size=PIECE_MAX),
    )
)  # fmt: skip


@given(st.lists(st.lists(st.binary(min_size=1, max_size=8), min_size=1, max_size=5), min_size=1, max_size=RECORDS_MAX), st.randoms())
def test_records_are_whole_and_in_order_however_their_segments_come(records, random):
    segments = [segment for number, pieces in enumerate(records) for segment in segments_of(number, pieces)] * 2
    random.shuffle(segments)
    assembly, found = Assembly(), []
    for segment in segments:
        found += assembly.add(segment)
    assert found == [b"".join(pieces) for pieces in records]
    assert assembly.next_record == len(records)
    assert assembly.kept_bytes == 0


@given(st.lists(hostile, max_size=60))
def test_memory_is_bounded_whatever_comes(segments):
    assembly = Assembly()
    for segment in segments:
        assembly.add(segment)
        assert assembly.kept_bytes <= RECORDS_MAX * SEGMENTS_MAX * PIECE_MAX
        assert len(assembly.maps()) <= RECORDS_MAX


def test_a_segment_that_contradicts_its_record_changes_nothing():
    assembly = Assembly()
    first, second = segments_of(0, [b"one", b"two"])
    assembly.add(first)
    assembly.add(Segment(session=1, record=0, index=2, n_segments=3, awaited=0, piece=b"three"))
    assembly.add(Segment(session=1, record=0, index=0, n_segments=2, awaited=0, piece=b"other"))
    assert assembly.add(second) == [b"onetwo"]


def test_maps_say_which_segments_are_here():
    assembly = Assembly()
    for segment in (segments_of(0, [b"a", b"b", b"c"])[2], segments_of(2, [b"x"])[0]):
        assert assembly.add(segment) == []
    assert assembly.maps() == (0b100, 0, 0b1)
