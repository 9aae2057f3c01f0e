"""The segment file: fast, and never wrong after a torn write; and what keeping moves out of it."""

from __future__ import annotations

import os
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from retrieval.cid import RAW, Cid, cid_of
from retrieval.errors import ErrorCode, LocalProtocolError
from retrieval.store.blocks import MemoryBlockStore, Root
from retrieval.store.incoming import LayeredBlockStore, SegmentFile
from retrieval.store.incoming.segment import MAGIC, WASTE_BYTES_MAX
from retrieval.units import MIB


def block(payload: bytes) -> tuple[Cid, bytes]:
    return cid_of(RAW, payload), payload


BLOCKS = [block(bytes([n]) * size) for n, size in enumerate((0, 1, 100, 5_000, 70_000))]


def test_what_was_put_is_there_after_reopening(tmp_path: Path) -> None:
    path = tmp_path / "segment"
    with closing(SegmentFile(path)) as file:
        file.put_many(BLOCKS[:2])
        file.put_many(BLOCKS[2:])
    with closing(SegmentFile(path)) as file:
        assert [file.get(cid) for cid, _ in BLOCKS] == [payload for _, payload in BLOCKS]
        assert file.cids() == [cid for cid, _ in BLOCKS]
        assert file.bytes_used() == sum(len(payload) for _, payload in BLOCKS)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_file_cut_or_damaged_anywhere_yields_only_right_blocks_from_its_beginning(tmp_path: Path, data: st.DataObject) -> None:
    path = tmp_path / f"segment-{os.urandom(4).hex()}"
    with closing(SegmentFile(path)) as file:
        file.put_many(BLOCKS)
    content = bytearray(path.read_bytes())
    at = data.draw(st.integers(0, len(content) - 1))
    if data.draw(st.booleans()):
        del content[at:]
    else:
        content[at] ^= 1 << data.draw(st.integers(0, 7))
    path.write_bytes(content)
    with closing(SegmentFile(path)) as file:
        held = file.cids()
        assert held == [cid for cid, _ in BLOCKS][: len(held)]
        assert all(file.get(cid) == payload for cid, payload in BLOCKS[: len(held)])
        file.put_many(BLOCKS)
        assert [file.get(cid) for cid, _ in BLOCKS] == [payload for _, payload in BLOCKS]


def test_the_room_comes_back_with_the_last_block(tmp_path: Path) -> None:
    path = tmp_path / "segment"
    with closing(SegmentFile(path)) as file:
        file.put_many(BLOCKS)
        assert file.delete_many(cid for cid, _ in BLOCKS) == len(BLOCKS)
        assert path.read_bytes() == MAGIC
        assert file.bytes_used() == 0


def test_dead_bytes_are_left_behind_when_they_outweigh_what_lives(tmp_path: Path) -> None:
    path = tmp_path / "segment"
    large = [block(bytes([n]) * 2 * MIB) for n in range(WASTE_BYTES_MAX // (2 * MIB) + 1)]
    with closing(SegmentFile(path)) as file:
        file.put_many([*large, *BLOCKS])
        file.delete_many(cid for cid, _ in large)
        assert path.stat().st_size < MIB
        assert [file.get(cid) for cid, _ in BLOCKS] == [payload for _, payload in BLOCKS]
        file.put_many(large[:1])
    with closing(SegmentFile(path)) as file:
        assert file.get(large[0][0]) == large[0][1]


def test_a_full_disk_leaves_what_was_there(tmp_path: Path) -> None:
    import resource
    import signal

    with closing(SegmentFile(tmp_path / "segment")) as file:
        file.put_many(BLOCKS)
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
        try:
            with pytest.raises(LocalProtocolError) as caught:
                file.put_many([block(bytes(MIB))])
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
            signal.signal(signal.SIGXFSZ, ignored)
        assert caught.value.code is ErrorCode.DISK_FULL
        assert file.cids() == [cid for cid, _ in BLOCKS]
        file.put_many([block(bytes(MIB))])


def test_pinning_keeps_what_has_come(tmp_path: Path) -> None:
    kept = MemoryBlockStore()
    with closing(SegmentFile(tmp_path / "segment")) as incoming:
        store = LayeredBlockStore(kept, incoming)
        store.put_many(BLOCKS)
        assert kept.bytes_used() == 0
        store.pin(Root(cid=BLOCKS[0][0], name="x", n_bytes=1, n_blocks=1, file_bytes=1))
        assert incoming.cids() == []
        assert all(kept.get(cid) == payload for cid, payload in BLOCKS)


def test_a_kept_block_is_not_written_again(tmp_path: Path) -> None:
    kept = MemoryBlockStore()
    kept.put_many(BLOCKS)
    with closing(SegmentFile(tmp_path / "segment")) as incoming:
        LayeredBlockStore(kept, incoming).put_many(BLOCKS)
        assert incoming.cids() == []
