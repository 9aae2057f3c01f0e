from pathlib import Path

import pytest
from content import make
from dag_builder import Builder, identity
from documents import to_cbor
from file_trees import Tree, file_trees
from hypothesis import given
from hypothesis import strategies as st

from retrieval.cid import DAG_CBOR, DAG_PB, RAW, Cid, cid_of
from retrieval.dag import measure, pb, unixfs
from retrieval.dag.byterange import ByteRange
from retrieval.dag.datamodel import Link
from retrieval.dag.importer import Profile, import_path
from retrieval.dag.measure import measured_root, totals
from retrieval.dag.pb import PBLink
from retrieval.dag.unixfs import NodeType, UnixfsNode
from retrieval.dag.walk import Walk, read
from retrieval.errors import ErrorCode, LocalProtocolError, RemoteProtocolError
from retrieval.store.blocks import MemoryBlockStore, Root
from retrieval.wire.messages import Scope

NARROW = Profile(chunk_bytes=4, links_per_node=3, directory_block_bytes_max=512)
TREE = {
    "names": {
        "link": {"target": "a"},
        "a": {"size": 500, "fill": "counter"},
        "b": {"size": 500, "fill": "counter"},
        "c": {"names": {f"file-{n}": {"size": n, "fill": "counter"} for n in range(40)}},
    }
}


class Counting(MemoryBlockStore):
    """Counts the blocks it is asked about."""

    n_asked = 0

    def get(self, cid: Cid) -> bytes | None:
        self.n_asked += 1
        return super().get(cid)

    def size(self, cid: Cid) -> int | None:
        self.n_asked += 1
        return super().size(cid)


@pytest.fixture
def tree(tmp_path: Path) -> tuple[Counting, Root]:
    store = Counting()
    return store, import_path(store, make(TREE, tmp_path / "tree"), NARROW)


def delivered(store: MemoryBlockStore, root: Cid, path: tuple[str, ...] = (), scope: Scope = Scope.ALL) -> tuple[int, int]:
    walk = Walk(root, path, scope)
    for _ in read(store, walk):
        pass
    return walk.n_bytes, walk.n_blocks


def test_a_pinned_root_is_known_without_looking(tree: tuple[Counting, Root]) -> None:
    store, root = tree
    store.pin(root)
    assert totals(store, root.cid) == measure.Totals(n_bytes=root.n_bytes, n_blocks=root.n_blocks, exact=True)
    assert store.n_asked == 0


@pytest.mark.parametrize("path", [(), ("a",), ("c",), ("c", "file-7")])
@pytest.mark.parametrize("scope", [Scope.ALL, Scope.BLOCK])
def test_what_can_be_visited_is_exact(tree: tuple[Counting, Root], path: tuple[str, ...], scope: Scope) -> None:
    store, root = tree
    found = totals(store, root.cid, path, scope)
    assert (found.n_bytes, found.n_blocks) == delivered(store, root.cid, path, scope)
    assert found.exact


@pytest.mark.parametrize("visited", [1, 2, 10, 50])
@pytest.mark.parametrize("pinned", [True, False])
def test_what_cannot_is_an_upper_bound_that_says_so(tree: tuple[Counting, Root], visited: int, pinned: bool) -> None:
    store, root = tree
    if pinned:
        store.pin(root)
    for path in ((), ("a",), ("c",)):
        if pinned and not path:
            continue
        store.n_asked = 0
        found = totals(store, root.cid, path, visited_blocks_max=visited)
        assert store.n_asked <= visited
        n_bytes, n_blocks = delivered(store, root.cid, path)
        assert not found.exact
        assert n_bytes <= found.n_bytes <= store.bytes_used()
        assert n_blocks <= found.n_blocks
        if pinned:
            assert found.n_blocks <= root.n_blocks


@given(tree=file_trees(), first=st.integers(0, 40), size=st.integers(1, 40), visited=st.integers(1, 12))
def test_a_range_is_exact_or_bounded(tree: Tree, first: int, size: int, visited: int) -> None:
    store = MemoryBlockStore()
    tree.put(store)
    byte_range = ByteRange(first=first, last=first + size - 1)
    walk = Walk(tree.cid, (), Scope.ENTITY, byte_range)
    for _ in read(store, walk):
        pass
    found = totals(store, tree.cid, (), Scope.ENTITY, byte_range, visited_blocks_max=visited)
    assert found.n_bytes >= walk.n_bytes
    assert found.n_blocks >= walk.n_blocks
    assert found.exact == (walk.n_blocks <= visited)
    if found.exact:
        assert (found.n_bytes, found.n_blocks) == (walk.n_bytes, walk.n_blocks)


class Vast(Counting):
    """A store so full that it bounds nothing."""

    def bytes_used(self) -> int:
        return 1 << 50


@pytest.mark.parametrize("visited", [1, 2, 3])
def test_a_range_of_a_large_file_is_bounded_by_what_it_needs(visited: int) -> None:
    dag = Builder()
    dag.store = Vast()
    leaves = [cid_of(RAW, n.to_bytes(2, "big")) for n in range(1024)]  # their bytes are not looked at
    gibibyte = _large(dag, leaves, 1 << 20)
    file = _large(dag, [gibibyte] * 1024, 1 << 30)
    dag.store.put_many([(leaf, bytes(1 << 20)) for leaf in leaves[512:514]])
    found = totals(dag.store, file, (), Scope.ENTITY, ByteRange(first=1 << 29, last=(1 << 29) + (64 << 20)), visited_blocks_max=visited)
    assert not found.exact
    assert 65 << 20 <= found.n_bytes <= 85 << 20


def test_a_pinned_file_is_known_as_an_entity_too(tmp_path: Path) -> None:
    store = Counting()
    root = import_path(store, make({"size": 500, "fill": "counter"}, tmp_path / "file"), NARROW)
    store.pin(root)
    for byte_range in (None, ByteRange(), ByteRange(first=-9999)):
        found = totals(store, root.cid, (), Scope.ENTITY, byte_range, visited_blocks_max=5)
        assert found == measure.Totals(n_bytes=root.n_bytes, n_blocks=root.n_blocks, exact=True)
    part = totals(store, root.cid, (), Scope.ENTITY, ByteRange(first=1), visited_blocks_max=5)
    assert not part.exact
    assert part.n_bytes <= root.n_bytes


def test_a_part_of_a_pinned_document_is_not_taken_for_all_of_it() -> None:
    dag = Builder()
    links = [Link(dag.raw(bytes((n,)))) for n in range(20)]
    root = dag.block(DAG_CBOR, to_cbor({"few": links[:10], "more": links[10:]}))
    dag.store.pin(measured_root(dag.store, root, "x"))
    assert totals(dag.store, root, ("few",), visited_blocks_max=20).n_blocks == 11
    assert not totals(dag.store, root, ("few",), visited_blocks_max=5).exact


def _large(dag: Builder, children: list[Cid], size: int) -> Cid:
    """A node over children that hold and claim ``size`` bytes each."""
    message = UnixfsNode(type=NodeType.FILE, filesize=size * len(children), blocksizes=(size,) * len(children))
    return dag.block(DAG_PB, pb.encode([PBLink(child, b"", size + (size >> 10)) for child in children], unixfs.encode(message)))


def test_links_that_claim_nothing_leave_the_whole_store_as_the_bound() -> None:
    dag = Builder()
    root = dag.node(None, dag.node(None, dag.raw(b"a")), dag.node(None, dag.raw(b"b")))
    dag.raw(b"something else entirely")
    assert totals(dag.store, root, visited_blocks_max=1).n_bytes == dag.store.bytes_used()


def test_leaves_that_claim_nothing_are_no_larger_than_a_block_can_be() -> None:
    dag = Builder()
    leaf = dag.raw(b"leaf")
    block = pb.encode([PBLink(leaf, None, None), PBLink(identity(b"x"), None, None)], None)
    dag.store.put_many([(cid_of(0x70, block), block), (cid_of(RAW, bytes(3 << 20)), bytes(3 << 20))])
    found = totals(dag.store, cid_of(0x70, block), visited_blocks_max=1)
    assert (found.n_bytes, found.n_blocks, found.exact) == (len(block) + (2 << 20), 2, False)


@given(st.integers(1, 30))
def test_a_bound_holds_wherever_the_visit_ends(visited: int) -> None:
    dag = Builder()
    leaves = [dag.raw(bytes((n,)) * n) for n in range(10)]
    level = leaves
    for _ in range(3):  # honest sizes, and much that repeats
        blocks = [dag.store.get(cid) or b"" for cid in level]
        links = [PBLink(cid, b"", max(1, 40 * len(block))) for cid, block in zip(level, blocks, strict=True)]
        made = [pb.encode(links[n:] + links[:n], None) for n in range(3)]
        level = [cid_of(0x70, block) for block in made]
        dag.store.put_many(zip(level, made, strict=True))
    n_bytes, n_blocks = delivered(dag.store, level[0])
    found = totals(dag.store, level[0], visited_blocks_max=visited)
    assert found.n_bytes >= n_bytes
    assert found.n_blocks >= n_blocks


def test_a_missing_block_is_not_measured_over() -> None:
    dag = Builder()
    root = dag.node(None, dag.raw(b"here"), cid_of(RAW, b"missing"))
    for measured in (lambda: totals(dag.store, root), lambda: measured_root(dag.store, root, "x")):
        with pytest.raises(LocalProtocolError) as refused:
            measured()
        assert refused.value.code is ErrorCode.NOT_FOUND


def test_a_path_that_does_not_exist_is_not_measured(tree: tuple[Counting, Root]) -> None:
    store, root = tree
    with pytest.raises(RemoteProtocolError) as refused:
        totals(store, root.cid, ("c", "none"))
    assert refused.value.code is ErrorCode.PATH_NOT_FOUND


def test_a_root_measures_as_it_was_imported(tree: tuple[Counting, Root]) -> None:
    store, root = tree
    assert measured_root(store, root.cid, root.name) == root


def test_what_is_no_file_measures_as_what_an_export_would_write() -> None:
    dag = Builder()
    assert measured_root(dag.store, dag.node(b"\x08\x63"), "x").file_bytes == 4
    assert measured_root(dag.store, identity(b"hello"), "x").file_bytes == 5


def test_directories_nested_without_end_are_refused() -> None:
    dag = Builder()
    cid = dag.directory()
    for _ in range(100):
        cid = dag.directory(("d", cid))
    with pytest.raises(RemoteProtocolError) as refused:
        measured_root(dag.store, cid, "x")
    assert refused.value.code is ErrorCode.DAG_TOO_LARGE


def test_files_that_claim_more_than_a_size_can_be_are_refused() -> None:
    dag = Builder()
    liar = dag.node(unixfs.encode(UnixfsNode(type=NodeType.FILE, filesize=(1 << 64) - 1)))
    with pytest.raises(RemoteProtocolError) as refused:
        measured_root(dag.store, liar, "x")
    assert refused.value.code is ErrorCode.DAG_TOO_LARGE
