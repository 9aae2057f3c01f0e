"""The index of the block store: places, segments, counters, and the LMDB map under them."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import lmdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from script import run_script

from retrieval.cid import RAW, Cid, cid_of
from retrieval.errors import ErrorCode, LocalProtocolError
from retrieval.store.lmdb import BlockIndex
from retrieval.store.lmdb.index import Place

SMALL_MAP: Final = 256 << 10  # bytes; outgrown by five thousand places
N_PLACES: Final = 5_000


def cid(n: int) -> Cid:
    return cid_of(RAW, n.to_bytes(4, "big"))


def places(segment: int, numbers: range) -> dict[Cid, Place]:
    return {cid(n): Place(segment, 100 * n, 10) for n in numbers}


@pytest.fixture
def index(tmp_path: Path) -> Iterator[BlockIndex]:
    index = BlockIndex(tmp_path / "blocks", readonly=False, map_bytes=SMALL_MAP)
    yield index
    index.close()


def test_places_come_in_the_order_asked_for(index: BlockIndex) -> None:
    index.add(1, 1_000, places(1, range(3)))
    assert index.places([cid(2), cid(9), cid(0)]) == [Place(1, 200, 10), None, Place(1, 0, 10)]
    assert index.place(cid(1)) == Place(1, 100, 10)
    assert index.bytes_used() == 30


def test_a_block_keeps_the_first_place_it_was_given(index: BlockIndex) -> None:
    index.add(1, 1_000, places(1, range(3)))
    index.add(2, 1_000, places(2, range(2, 5)))
    assert index.place(cid(2)) == Place(1, 200, 10)
    assert index.bytes_used() == 50
    assert index.segment(2).live_bytes * 3 == index.segment(1).live_bytes * 2


def test_removing_names_the_segments_that_are_empty_then(index: BlockIndex) -> None:
    index.add(1, 1_000, places(1, range(2)))
    index.add(2, 1_000, places(2, range(2, 4)))
    assert index.remove([cid(0), cid(1), cid(2), cid(9), cid(0)]) == (3, {1})
    assert index.bytes_used() == 10
    assert index.remove([cid(3)]) == (1, {2})
    assert [row.live_bytes for row in index.segments().values()] == [0, 0]


def test_only_blocks_that_still_lie_there_are_moved(index: BlockIndex) -> None:
    index.add(1, 1_000, places(1, range(3)))
    moves = {of: (place, Place(2, place.offset, 10)) for of, place in places(1, range(3)).items()}
    index.remove([cid(1)])
    index.move(moves, 500)
    assert index.places([cid(0), cid(1), cid(2)]) == [Place(2, 0, 10), None, Place(2, 200, 10)]
    assert (index.segment(1).live_bytes, index.segment(2).end) == (0, 500)
    assert index.bytes_used() == 20


def test_a_segment_with_blocks_in_it_is_not_forgotten(index: BlockIndex) -> None:
    index.add(1, 1_000, places(1, range(1)))
    index.add(2, 1_000, {})
    index.forget_segments([1, 2])
    assert [*index.segments()] == [1]


def test_no_number_is_given_to_two_segments(index: BlockIndex) -> None:
    assert [index.new_segment() for _ in range(3)] == [1, 2, 3]


@settings(deadline=None, max_examples=40)
@given(st.lists(st.tuples(st.sampled_from(("add", "remove", "move")), st.integers(1, 3), st.sets(st.integers(0, 9))), max_size=20))
def test_live_bytes_are_those_of_the_blocks_that_lie_in_a_segment(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, int, set[int]]]
) -> None:
    index = BlockIndex(tmp_path_factory.mktemp("blocks"), readonly=False)
    model: dict[int, int] = {}
    for verb, segment, numbers in steps:
        if verb == "add":
            index.add(segment, 1_000, {cid(n): Place(segment, 100 * n, 10) for n in numbers})
            model = dict.fromkeys(numbers, segment) | model
        elif verb == "remove":
            index.remove([cid(n) for n in numbers])
            model = {n: held for n, held in model.items() if n not in numbers}
        else:
            index.move({cid(n): (Place(segment, 100 * n, 10), Place(4, 100 * n, 10)) for n in numbers}, 1_000)
            model = {n: 4 if n in numbers and held == segment else held for n, held in model.items()}
    lone = BlockIndex(tmp_path_factory.mktemp("lone"), readonly=False)
    lone.add(1, 1_000, places(1, range(1)))
    per_block = lone.segment(1).live_bytes
    assert {number: row.live_bytes for number, row in index.segments().items() if row.live_bytes} == {
        number: per_block * n_blocks for number in range(1, 5) if (n_blocks := [*model.values()].count(number))
    }
    assert index.bytes_used() == 10 * len(model)
    index.close()
    lone.close()


# the map


def test_the_map_grows_with_what_is_entered(index: BlockIndex) -> None:
    index.add(1, 1 << 30, places(1, range(N_PLACES)))
    assert None not in index.places([cid(n) for n in range(N_PLACES)])


def test_a_grown_index_opens_again_with_a_small_map(tmp_path: Path) -> None:
    for segment in (1, 2):
        index = BlockIndex(tmp_path, readonly=False, map_bytes=SMALL_MAP)
        index.add(segment, 1 << 30, places(segment, range(segment * N_PLACES, (segment + 1) * N_PLACES)))
        assert index.bytes_used() == 10 * segment * N_PLACES
        index.close()


def test_a_map_grown_by_another_process_is_followed(tmp_path: Path) -> None:
    index = BlockIndex(tmp_path, readonly=False, map_bytes=SMALL_MAP)
    script = """
import sys
from pathlib import Path
from retrieval.cid import RAW, cid_of
from retrieval.store.lmdb import BlockIndex
from retrieval.store.lmdb.index import Place
index = BlockIndex(Path(sys.argv[1]), readonly=False, map_bytes=int(sys.argv[2]))
index.add(1, 1 << 30, {cid_of(RAW, n.to_bytes(4, "big")): Place(1, 100 * n, 10) for n in range(int(sys.argv[3]))})
"""
    run_script(script, tmp_path, SMALL_MAP, N_PLACES)
    assert index.place(cid(3)) == Place(1, 300, 10)
    index.add(2, 1_000, {cid(N_PLACES): Place(2, 0, 10)})
    assert index.bytes_used() == 10 * (N_PLACES + 1)
    index.close()


def test_readers_in_other_threads_survive_the_map_growing_under_them(index: BlockIndex) -> None:
    index.add(1, 1_000, places(1, range(1)))
    written, wrong = threading.Event(), []

    def read() -> None:
        while not written.is_set():
            if index.place(cid(0)) != Place(1, 0, 10):
                wrong.append(0)

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    for n in range(1, 5):
        index.add(n, 1 << 30, places(n, range(n * N_PLACES, (n + 1) * N_PLACES)))
    written.set()
    for reader in readers:
        reader.join()
    assert not wrong


# what cannot be opened


def test_a_store_that_keeps_payloads_in_lmdb_is_refused_and_named(tmp_path: Path) -> None:
    with lmdb.open(str(tmp_path), max_dbs=8) as old:
        for name in (b"blocks/1", b"roots/1", b"meta/1"):
            old.open_db(name)
    with pytest.raises(LocalProtocolError, match="payloads") as refused:
        BlockIndex(tmp_path, readonly=False)
    assert refused.value.code is ErrorCode.STORE_BROKEN
    with pytest.raises(LocalProtocolError):
        BlockIndex(tmp_path, readonly=True)


def test_a_file_that_is_no_environment_is_a_broken_store(tmp_path: Path) -> None:
    (tmp_path / "data.mdb").write_bytes(b"not a database" * 1000)
    with pytest.raises(LocalProtocolError) as refused:
        BlockIndex(tmp_path, readonly=False)
    assert refused.value.code is ErrorCode.STORE_BROKEN
