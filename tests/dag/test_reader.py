import contextlib

import pytest
from dag_builder import Builder, identity
from file_trees import Tree, file_trees, leaf, node
from hypothesis import given
from hypothesis import strategies as st

from retrieval.cid import DAG_CBOR, DAG_PB, RAW, Cid, cid_of
from retrieval.dag import block, unixfs
from retrieval.dag.block import Loader
from retrieval.dag.reader import FILE_DEPTH_MAX, RawPart, pieces, read_range, read_root
from retrieval.dag.unixfs import NodeType, UnixfsNode
from retrieval.errors import ErrorCode, LocalProtocolError, RetrievalError
from retrieval.store.blocks import MemoryBlockStore


class Remembering(MemoryBlockStore):
    """Remembers what was read."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[Cid] = []

    def get(self, cid: Cid) -> bytes | None:
        self.asked.append(cid)
        return super().get(cid)


def code_of(store: MemoryBlockStore, cid: Cid, start: int = 0, stop: int | None = None) -> ErrorCode:
    with pytest.raises(RetrievalError) as refused:
        list(read_range(store, cid, start, stop))
    return refused.value.code


@given(tree=file_trees(), data=st.data())
def test_a_range_is_that_slice_of_the_file_and_reads_what_it_needs(tree: Tree, data: st.DataObject) -> None:
    store = Remembering()
    tree.put(store)
    size = len(tree.content)
    start = data.draw(st.integers(0, size + 3))
    stop = data.draw(st.none() | st.integers(0, size + 3))
    assert b"".join(read_range(store, tree.cid, start, stop)) == tree.content[start:stop]
    end = size if stop is None else min(stop, size)
    if start < end:
        assert store.asked == list(tree.visits(start, end, with_empty=(start, end) == (0, size)))
    elif end < size or start:
        assert len(store.asked) <= 1  # the root said how long the file is


def test_a_file_is_read_as_it_is_asked_for() -> None:
    tree = node((leaf(b"ab", "raw"), leaf(b"cd", "raw")))
    store = Remembering()
    tree.put(store)
    reading = read_range(store, tree.cid)
    assert next(reading) == b"ab"
    assert len(store.asked) == 2


def test_raw_blocks_can_be_left_where_they_are() -> None:
    tree = node((leaf(b"abcd", "raw"), leaf(b"ef", "file"), leaf(b"ghi", "raw")))
    store = Remembering()
    tree.put(store)
    load = Loader(store)
    first, own, last = pieces(load, read_root(tree.cid, load(tree.cid)), 1, 8)
    raw = [child.cid for child in (tree.children[0], tree.children[2])]
    assert (first, own, last) == (RawPart(raw[0], 1, 4, 4), b"ef", RawPart(raw[1], 0, 2, 3))
    assert not set(raw) & set(store.asked)


@pytest.mark.parametrize("codec", [RAW, DAG_CBOR, DAG_PB])
def test_a_block_that_is_no_unixfs_reads_as_its_bytes(codec: int) -> None:
    payload = b"\x0a\x02hi"  # a dag-pb node with data that means nothing
    store = MemoryBlockStore()
    store.put_many([(cid_of(codec, payload), payload)])
    assert b"".join(read_range(store, cid_of(codec, payload), 1, 3)) == payload[1:3]
    assert b"".join(read_range(store, identity(payload, codec))) == payload


def test_directories_and_symlinks_are_no_files() -> None:
    dag = Builder()
    for cid in (dag.directory(), dag.shard(), dag.symlink(b"x")):
        assert code_of(dag.store, cid) is ErrorCode.MALFORMED_BLOCK
        assert code_of(dag.store, dag.file(cid, sizes=(1,)), 0, 1) is ErrorCode.MALFORMED_BLOCK


def _claiming(dag: Builder, *children: Cid, filesize: int | None, sizes: tuple[int, ...]) -> Cid:
    return dag.node(unixfs.encode(UnixfsNode(type=NodeType.FILE, filesize=filesize, blocksizes=sizes)), *children)


def test_sizes_that_lie_are_found_out() -> None:
    dag = Builder()
    ab, cd = dag.raw(b"ab"), dag.raw(b"cd")
    for filesize, sizes in [
        (4, (2,)),
        (4, (2, 2, 2)),
        (4, (1, 3)),
        (4, (3, 1)),
        (5, (2, 2)),
        (3, (2, 2)),
        ((1 << 64) - 1, (2, (1 << 64) - 3)),
    ]:
        liar = _claiming(dag, ab, cd, filesize=filesize, sizes=sizes)
        assert code_of(dag.store, liar, 1, filesize) is ErrorCode.MALFORMED_BLOCK
    for filesize in (0, 3, 5):
        assert code_of(dag.store, _claiming(dag, ab, cd, filesize=filesize, sizes=(2, 2))) is ErrorCode.MALFORMED_BLOCK
    inner = dag.file(ab, sizes=(2,))
    assert code_of(dag.store, _claiming(dag, inner, cd, filesize=5, sizes=(3, 2)), 0, 2) is ErrorCode.MALFORMED_BLOCK


def test_a_whole_file_needs_only_its_whole_size_to_be_true() -> None:
    dag = Builder()
    ab, cd = dag.raw(b"ab"), dag.raw(b"cd")
    for filesize, sizes in [(4, ()), (4, (1, 3)), (None, (2, 2))]:
        assert b"".join(read_range(dag.store, _claiming(dag, ab, cd, filesize=filesize, sizes=sizes))) == b"abcd"


def test_a_part_of_a_terabyte_of_one_block_is_read_at_once() -> None:
    tree = leaf(bytes(1 << 10), "raw")
    store = Remembering()
    store.put_many([(tree.cid, tree.block)])
    dag = Builder()
    dag.store = store
    cid, size = tree.cid, 1 << 10
    for _ in range(3):
        cid, size = dag.file(*[cid] * 1024, sizes=(size,) * 1024), size * 1024
    assert size == 1 << 40
    store.asked.clear()
    assert b"".join(read_range(store, cid, size // 2 - 1, size // 2 + 1)) == b"\0\0"
    assert len(store.asked) == 7


def test_depth_and_visits_are_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    dag = Builder()
    cid = dag.raw(b"x")
    for _ in range(FILE_DEPTH_MAX):
        cid = dag.file(cid, sizes=(1,))
    assert code_of(dag.store, cid) is ErrorCode.DAG_TOO_LARGE
    monkeypatch.setattr(block, "VISITS_MAX", 100)
    nothing = dag.file()
    assert code_of(dag.store, dag.file(*[nothing] * 200, sizes=(0,) * 200)) is ErrorCode.DAG_TOO_LARGE


def test_a_missing_block_is_named() -> None:
    dag = Builder()
    root = dag.file(dag.raw(b"ab"), cid_of(RAW, b"cd"), sizes=(2, 2))
    assert b"".join(read_range(dag.store, root, 0, 2)) == b"ab"
    with pytest.raises(LocalProtocolError, match="bafk") as refused:
        list(read_range(dag.store, root, 1, 3))
    assert refused.value.code is ErrorCode.NOT_FOUND


@given(tree=file_trees(), data=st.data())
def test_altered_blocks_raise_nothing_but_registered_errors(tree: Tree, data: st.DataObject) -> None:
    store = MemoryBlockStore()
    tree.put(store)
    victim = data.draw(st.sampled_from([tree, *tree.children]))
    if not victim.block:
        return
    altered = bytearray(victim.block)
    altered[data.draw(st.integers(0, len(altered) - 1))] = data.draw(st.integers(0, 255))
    store.delete_many([victim.cid])
    store.put_many([(victim.cid, bytes(altered))])
    start = data.draw(st.integers(0, 20))
    with contextlib.suppress(RetrievalError):
        list(read_range(store, tree.cid, start, start + 5))
