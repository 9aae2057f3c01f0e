"""The contract of a block store, which every implementation passes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import pytest
from interesting_sizes import INTERESTING_SIZES

from retrieval.cid import RAW, Cid, cid_of
from retrieval.errors import ErrorCode, LocalProtocolError
from retrieval.store.blocks import BlockStore, MemoryBlockStore, Root
from retrieval.store.disk import DiskBlockStore

BYTES_MAX = 8 << 20
LARGEST = 2 << 20
"""Bytes of the largest block; a whole number of them fills the store."""


@pytest.fixture(params=["memory", "disk"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[BlockStore]:
    if request.param == "memory":
        yield MemoryBlockStore(bytes_max=BYTES_MAX)
        return
    with closing(DiskBlockStore(tmp_path / "blocks", bytes_max=BYTES_MAX)) as on_disk:
        yield on_disk


def block(payload: bytes) -> tuple[Cid, bytes]:
    return cid_of(RAW, payload), payload


def full(n: int, less: int = 0) -> list[tuple[Cid, bytes]]:
    """Blocks that fill the store but for ``less`` bytes; other ones for another ``n``."""
    sizes = [LARGEST] * (BYTES_MAX // LARGEST - 1) + [LARGEST - less]
    return [block(bytes([n, number]) + bytes(size - 2)) for number, size in enumerate(sizes)]


def root(name: str, *, n_bytes: int = 3) -> Root:
    return Root(cid=cid_of(RAW, name.encode()), name=name, n_bytes=n_bytes, n_blocks=1, file_bytes=n_bytes)


@pytest.mark.parametrize("size", INTERESTING_SIZES)
def test_what_was_put_is_got(store: BlockStore, size: int) -> None:
    cid, payload = block(bytes(size))
    store.put_many([(cid, payload)])
    assert store.get(cid) == payload
    assert store.size(cid) == size
    assert store.bytes_used() == size


def test_all_interesting_sizes_live_together(store: BlockStore) -> None:
    blocks = [block(bytes(size)) for size in INTERESTING_SIZES]
    store.put_many(blocks)
    assert [store.get(cid) for cid, _ in blocks] == [payload for _, payload in blocks]
    assert store.bytes_used() == sum(INTERESTING_SIZES)


def test_an_unknown_block_is_none(store: BlockStore) -> None:
    cid, _ = block(b"never put")
    assert store.get(cid) is None
    assert store.size(cid) is None


def test_got_bytes_outlive_the_block(store: BlockStore) -> None:
    cid, payload = block(b"kept" * 5_000)
    store.put_many([(cid, payload)])
    got = store.get(cid)
    store.delete_many([cid])
    store.put_many([block(bytes(size)) for size in (20_000, 20_001)])
    assert got == payload


def test_blocks_are_shown_where_they_lie_in_the_order_asked_for(store: BlockStore) -> None:
    blocks = [block(bytes([size % 256]) * size) for size in INTERESTING_SIZES]
    missing, _ = block(b"never put")
    store.put_many(blocks)
    cids = [blocks[0][0], missing, *(cid for cid, _ in reversed(blocks))]
    seen = store.view_many(cids, lambda views: [None if view is None else bytes(view) for view in views])
    assert seen == [blocks[0][1], None, *(payload for _, payload in reversed(blocks))]


def test_views_are_dead_when_their_use_is_over(store: BlockStore) -> None:
    cid, payload = block(b"seen" * 5_000)
    store.put_many([(cid, payload)])
    kept: list[memoryview | None] = []
    store.view_many([cid], kept.extend)
    assert kept[0] is not None
    with pytest.raises(ValueError, match="released"):
        bytes(kept[0])


def test_an_error_in_the_use_of_views_passes_through(store: BlockStore) -> None:
    cid, payload = block(b"payload")
    store.put_many([(cid, payload)])

    def lose_the_connection(views: Sequence[memoryview | None]) -> None:
        raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        store.view_many([cid], lose_the_connection)
    assert store.get(cid) == payload


def test_a_payload_is_read_during_the_call_and_not_after_it(store: BlockStore) -> None:
    frame = bytearray(b"head" + b"payload" * 10_000)
    cid, payload = block(bytes(frame[4:]))
    with memoryview(frame) as view:
        store.put_many([(cid, view[4:])])
    frame[:] = bytes(len(frame))
    assert store.get(cid) == payload


def test_a_block_put_twice_counts_once(store: BlockStore) -> None:
    store.put_many([block(b"one"), block(b"one"), block(b"two")])
    store.put_many([block(b"two"), block(b"three")])
    assert store.bytes_used() == len(b"onetwothree")


def test_blocks_may_come_from_a_generator(store: BlockStore) -> None:
    store.put_many(block(bytes([n])) for n in range(10))
    assert store.bytes_used() == 10


def test_deleting_says_how_many_were_held(store: BlockStore) -> None:
    held, other = block(b"held"), block(b"other")
    store.put_many([held])
    assert store.delete_many([held[0], other[0], held[0]]) == 1
    assert store.get(held[0]) is None
    assert store.bytes_used() == 0


def test_the_limit_itself_fits(store: BlockStore) -> None:
    store.put_many(full(1))
    assert store.bytes_used() == store.bytes_max


def test_one_byte_above_the_limit_is_refused_and_nothing_is_written(store: BlockStore) -> None:
    kept, small, large = block(b"kept"), block(b"small"), full(1, less=len(b"kept") + len(b"small") - 1)
    store.put_many([kept])
    with pytest.raises(LocalProtocolError) as refused:
        store.put_many([small, *large])
    assert refused.value.code is ErrorCode.STORE_FULL
    assert [store.get(cid) for cid, _ in (small, *large)] == [None] * (1 + len(large))
    assert store.bytes_used() == len(b"kept")


def test_blocks_already_held_do_not_count_against_the_limit(store: BlockStore) -> None:
    store.put_many(full(1))
    store.put_many(full(1))
    assert store.bytes_used() == BYTES_MAX


def test_deleting_makes_room(store: BlockStore) -> None:
    first, second = full(1), full(2)
    store.put_many(first)
    store.delete_many(cid for cid, _ in first)
    store.put_many(second)
    assert [store.size(cid) for cid, _ in second] == [LARGEST] * len(second)


def test_roots_come_in_the_order_of_their_cids(store: BlockStore) -> None:
    pinned = [root(name) for name in ("a", "b", "été.txt")]
    for each in pinned:
        store.pin(each)
    assert list(store.roots()) == sorted(pinned, key=lambda each: each.cid)
    assert [store.root(each.cid) for each in pinned] == pinned


def test_pinning_again_replaces(store: BlockStore) -> None:
    store.pin(root("a"))
    store.pin(root("a", n_bytes=1 << 50))
    assert list(store.roots()) == [root("a", n_bytes=1 << 50)]


def test_unpinning_says_whether_it_was_pinned(store: BlockStore) -> None:
    store.pin(root("a"))
    assert store.unpin(root("a").cid) is True
    assert store.unpin(root("a").cid) is False
    assert store.root(root("a").cid) is None


def test_roots_may_change_while_they_are_listed(store: BlockStore) -> None:
    store.pin(root("a"))
    store.pin(root("b"))
    for each in store.roots():
        store.unpin(each.cid)
    assert list(store.roots()) == []


def test_syncing_keeps_everything(store: BlockStore) -> None:
    cid, payload = block(b"synced")
    store.put_many([(cid, payload)])
    store.sync()
    assert store.get(cid) == payload


def test_what_is_held_is_listed_also_when_it_was_just_put(store: BlockStore) -> None:
    blocks = [block(bytes([n])) for n in range(5)]
    store.put_many(blocks[:3])
    store.sync()
    store.put_many(blocks[2:])
    store.delete_many([blocks[0][0]])
    assert sorted(store.cids()) == sorted(cid for cid, _ in blocks[1:])
