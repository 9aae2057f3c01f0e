"""Scopes and ranges, against a naive reader and the cases of the public gateway-conformance suite."""

import io
from collections.abc import Sequence

import pytest
from dag_builder import Builder, identity
from file_trees import Tree, file_trees, leaf, node
from foreign import fixtures
from hypothesis import given
from hypothesis import strategies as st

from retrieval.cid import DAG_CBOR, DAG_JSON, DAG_PB, RAW, Cid, cid_of, parse_cid
from retrieval.dag import directory, entity, unixfs
from retrieval.dag.block import Loader
from retrieval.dag.byterange import ByteRange
from retrieval.dag.lookup import resolve
from retrieval.dag.pb import PBLink
from retrieval.dag.reader import read_range
from retrieval.dag.unixfs import NodeType, UnixfsNode
from retrieval.dag.walk import Walk, read
from retrieval.errors import ErrorCode, RetrievalError
from retrieval.store.blocks import MemoryBlockStore
from retrieval.store.car import CarReader
from retrieval.wire.messages import Scope, Selection


def order(store: MemoryBlockStore, root: Cid, path: Sequence[str] = (), byte_range: ByteRange | None = None) -> list[Cid]:
    return [cid for cid, _ in read(store, Walk(root, path, Scope.ENTITY, byte_range))]


def code_of(store: MemoryBlockStore, root: Cid, byte_range: ByteRange | None = None) -> ErrorCode:
    with pytest.raises(RetrievalError) as refused:
        order(store, root, (), byte_range)
    return refused.value.code


def distinct(cids: Sequence[Cid]) -> list[Cid]:
    return list(dict.fromkeys(cids))


positions = st.integers(-20, 20)


@given(tree=file_trees(), first=positions, last=st.none() | positions)
def test_a_range_brings_what_a_naive_reader_needs(tree: Tree, first: int, last: int | None) -> None:
    store = MemoryBlockStore()
    tree.put(store)
    byte_range = ByteRange(first=first, last=last)
    start, stop = byte_range.resolve(len(tree.content))
    wanted = list(tree.visits(start, stop)) if start < stop else list(tree.visits(0, 0))[:1]
    walk = Walk(tree.cid, (), Scope.ENTITY, byte_range)
    sent = list(read(store, walk))
    assert [cid for cid, _ in sent] == distinct(wanted)
    assert (walk.n_blocks, walk.n_bytes) == (len(sent), sum(len(payload) for _, payload in sent))
    received = MemoryBlockStore()
    received.put_many(sent)
    if start < stop:
        assert b"".join(read_range(received, tree.cid, start, stop)) == tree.content[start:stop]
    again = Walk(tree.cid, (), Scope.ENTITY, byte_range, repeats=True)
    assert [cid for cid, _ in read(store, again)] == wanted


@given(tree=file_trees(), first=positions, last=st.none() | positions, n=st.integers(1, 5))
def test_what_is_upcoming_in_a_range_does_come(tree: Tree, first: int, last: int | None, n: int) -> None:
    store = MemoryBlockStore()
    tree.put(store)
    for repeats in (False, True):
        walk = Walk(tree.cid, (), Scope.ENTITY, ByteRange(first=first, last=last), repeats=repeats)
        come: list[Cid] = []
        promised: dict[int, Cid] = {}
        while walk.expected is not None:
            promised.update(enumerate(walk.upcoming(n), len(come)))
            come.append(walk.expected)
            walk.advance(store.get(walk.expected) or b"")
        assert all(come[at] == cid for at, cid in promised.items())
        assert set(promised) == set(range(len(come)))


@given(tree=file_trees())
def test_a_file_without_a_range_is_all_of_it(tree: Tree) -> None:
    store = MemoryBlockStore()
    tree.put(store)
    everything = [cid for cid, _ in read(store, Walk(tree.cid))]
    assert order(store, tree.cid) == everything == distinct(list(tree.visits(0, 1 << 20)))
    assert order(store, tree.cid, (), ByteRange()) == (everything if tree.content else everything[:1])


def test_a_node_cut_at_its_first_place_brings_the_rest_at_its_second() -> None:
    a, b = leaf(b"aa", "raw"), leaf(b"bb", "raw")
    pair = node((a, b))
    twice = node((pair, pair))
    store = MemoryBlockStore()
    twice.put(store)
    assert order(store, twice.cid, (), ByteRange(first=2, last=5)) == [twice.cid, pair.cid, b.cid, a.cid]
    assert order(store, twice.cid, (), ByteRange(first=2)) == [twice.cid, pair.cid, b.cid, a.cid]
    assert order(store, twice.cid, (), ByteRange(first=3, last=4)) == [twice.cid, pair.cid, b.cid, a.cid]


def test_a_directory_comes_without_its_entries() -> None:
    dag = Builder()
    file = dag.file(dag.raw(b"abc"), sizes=(3,))
    root = dag.directory(("f", file), ("d", dag.directory(("g", file))))
    assert order(dag.store, root) == order(dag.store, root, (), ByteRange(first=1)) == [root]


def test_a_sharded_directory_comes_with_all_its_shards() -> None:
    dag = Builder()
    links = [PBLink(dag.raw(b"x"), f"name-{n}".encode(), 1) for n in range(600)]
    root = directory.build(links, dag.block, 100).cid
    shards = [cid for cid, _ in read(dag.store, Walk(root)) if cid != links[0].cid]
    assert len(shards) > 100
    assert order(dag.store, root) == order(dag.store, root, (), ByteRange(first=5, last=9)) == shards
    received = MemoryBlockStore()
    received.put_many((cid, dag.store.get(cid) or b"") for cid in shards)
    assert {entry.name for entry in directory.list_entries(Loader(received), root)} == {link.name for link in links}


@pytest.mark.parametrize("codec", [DAG_CBOR, DAG_JSON])
def test_anything_else_is_its_one_block(codec: int) -> None:
    dag = Builder()
    payload = b"\xf6" if codec == DAG_CBOR else b"null"
    document = dag.block(codec, payload)
    for cid in (dag.raw(b"x"), dag.symlink(b"x"), dag.node(b"\x08\x63", dag.raw(b"y")), document):
        assert order(dag.store, cid) == order(dag.store, cid, (), ByteRange(first=-1)) == [cid]
    for cid in (identity(b"x"), identity(b"", DAG_PB), identity(payload, codec)):
        assert order(dag.store, cid) == []


def _claiming(dag: Builder, *children: Cid, filesize: int, sizes: tuple[int, ...]) -> Cid:
    return dag.node(unixfs.encode(UnixfsNode(type=NodeType.FILE, filesize=filesize, blocksizes=sizes)), *children)


def test_a_range_over_sizes_that_contradict_each_other_is_refused() -> None:
    dag = Builder()
    ab, cd = dag.raw(b"ab"), dag.raw(b"cd")
    for filesize, sizes in [(5, (2, 2)), (4, (2,)), (4, (2, 2, 0)), (4, ()), ((1 << 64) - 1, (2, 2))]:
        assert code_of(dag.store, _claiming(dag, ab, cd, filesize=filesize, sizes=sizes), ByteRange(first=1)) is ErrorCode.MALFORMED_BLOCK
    inner = dag.file(ab, cd, sizes=(2, 2))
    assert code_of(dag.store, _claiming(dag, inner, ab, filesize=7, sizes=(5, 2)), ByteRange(first=1)) is ErrorCode.MALFORMED_BLOCK
    for no_file in (dag.directory(), dag.symlink(b"x"), dag.node(None)):
        assert code_of(dag.store, _claiming(dag, no_file, filesize=4, sizes=(4,)), ByteRange(first=1)) is ErrorCode.MALFORMED_BLOCK


def test_a_file_that_claims_to_be_empty_is_like_a_block_to_a_range() -> None:
    dag = Builder()
    liar = _claiming(dag, dag.raw(b"ab"), filesize=0, sizes=(0,))
    assert order(dag.store, liar, (), ByteRange()) == [liar]


def test_shards_that_lead_elsewhere_are_refused() -> None:
    dag = Builder()
    for below in (dag.raw(b"x"), dag.directory(), identity(b"x"), dag.file()):
        assert code_of(dag.store, dag.shard(("00", below))) is ErrorCode.MALFORMED_BLOCK
    assert code_of(dag.store, dag.shard(("0", dag.shard()))) is ErrorCode.MALFORMED_BLOCK
    assert code_of(dag.store, dag.shard(fanout=7)) is ErrorCode.MALFORMED_BLOCK


def test_links_remembered_of_cut_nodes_are_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(entity, "CUT_LINKS_MAX", 50)
    tree = leaf(b"x", "raw")
    for n in range(40):
        tree = node((tree, leaf(bytes((n,)), "raw")))
    store = MemoryBlockStore()
    tree.put(store)
    assert code_of(store, tree.cid, ByteRange(last=0)) is ErrorCode.DAG_TOO_LARGE


def test_a_deep_chain_of_one_node_twice_is_walked_once_a_level() -> None:
    dag = Builder()
    cid, size = dag.raw(b"ab"), 2
    for _ in range(30):
        cid, size = dag.file(cid, cid, sizes=(size, size)), 2 * size
    assert len(order(dag.store, cid, (), ByteRange(first=1, last=-2))) == 31
    assert len(order(dag.store, cid, (), ByteRange(first=size // 2 + 1))) == 31


def test_selections_on_the_wire_name_the_same_walk() -> None:
    dag = Builder()
    root = dag.directory(("f", dag.file(dag.raw(b"ab"), dag.raw(b"cd"), sizes=(2, 2))))
    selection = Selection(root=root, path=("f",), scope=Scope.ENTITY, range_start=-2, range_end=-1)
    assert [cid for cid, _ in read(dag.store, Walk.of(selection))] == order(dag.store, root, ("f",), ByteRange(first=-2, last=-1))
    assert len(order(dag.store, root, ("f",), ByteRange(first=-2, last=-1))) == 3


# The cases of gateway-conformance, `TestTrustlessCar*`, as block lists.

MULTIBLOCK = [
    "bafkreie5noke3mb7hqxukzcy73nl23k6lxszxi5w3dtmuwz62wnvkpsscm",
    "bafkreih4ephajybraj6wnxsbwjwa77fukurtpl7oj7t7pfq545duhot7cq",
    "bafkreigu7buvm3cfunb35766dn7tmqyh2um62zcio63en2btvxuybgcpue",
    "bafkreicll3huefkc3qnrzeony7zcfo7cr3nbx64hnxrqzsixpceg332fhe",
    "bafkreifst3pqztuvj57lycamoi7z34b4emf7gawxs74nwrc2c7jncmpaqm",
]
"""Chunks of 256 bytes, and one of 2."""


def opened(name: str) -> tuple[MemoryBlockStore, Cid]:
    (path,) = fixtures(f"gateway-conformance/fixtures/trustless_gateway_car/{name}.car")
    reader = CarReader(io.BytesIO(path.read_bytes()))
    store = MemoryBlockStore()
    store.put_many(reader)
    return store, reader.roots[0]


@pytest.mark.parametrize(
    ("text", "chunks"),
    [
        ("0:*", MULTIBLOCK),
        ("512:*", MULTIBLOCK[2:]),
        ("512:1023", MULTIBLOCK[2:4]),
        ("512:-256", MULTIBLOCK[2:4]),
        ("-5:*", MULTIBLOCK[3:]),
        ("-9999:*", MULTIBLOCK),
        ("-9999:-3", MULTIBLOCK[:4]),
        ("0:0", MULTIBLOCK[:1]),
        ("1026:*", []),
        ("2000:3000", []),
        ("1000:9999", MULTIBLOCK[3:]),
    ],
)
def test_conformance_ranges_bring_the_minimal_blocks(text: str, chunks: list[str]) -> None:
    store, root = opened("subdir-with-mixed-block-files")
    file = resolve(store, root, ("subdir", "multiblock.txt")).cid
    assert order(store, file, (), ByteRange.parse(text)) == [file, *map(parse_cid, chunks)]
    proof = [root, resolve(store, root, ("subdir",)).cid]
    assert order(store, root, ("subdir", "multiblock.txt"), ByteRange.parse(text)) == [*proof, file, *map(parse_cid, chunks)]


@pytest.mark.parametrize(
    ("text", "chunk"),
    [("0:1000", "QmPKt7ptM2ZYSGPUc8PmPT2VBkLDK3iqpG9TBJY7PCE9rF"), ("2200:*", "QmWXY482zQdwecnfBsj78poUUuPXvyw2JAFAEMw4tzTavV")],
)
def test_conformance_a_missing_block_outside_the_range_is_not_missed(text: str, chunk: str) -> None:
    store, root = opened("file-3k-and-3-blocks-missing-block")
    assert order(store, root, (), ByteRange.parse(text)) == [root, parse_cid(chunk)]
    assert code_of(store, root) is ErrorCode.NOT_FOUND


def test_conformance_entities() -> None:
    store, root = opened("subdir-with-two-single-block-files")
    assert order(store, root) == [root]
    store, root = opened("subdir-with-mixed-block-files")
    single = [root, resolve(store, root, ("subdir",)).cid, resolve(store, root, ("subdir", "ascii.txt")).cid]
    assert order(store, root, ("subdir", "ascii.txt")) == single
    store, root = opened("dir-with-dag-cbor-with-links")
    assert order(store, root, ("document",)) == [root, resolve(store, root, ("document",)).cid]
    store, root = opened("single-layer-hamt-with-multi-block-files")
    shards = order(store, root)
    assert shards == order(store, root, (), ByteRange())
    assert len(shards) > 1
    assert {cid for cid, _ in read(store, Walk(root))} >= set(shards)


def test_conformance_a_document_lies_on_a_path() -> None:
    store, root = opened("dir-with-dag-cbor-with-links")
    document = resolve(store, root, ("document",)).cid
    found = resolve(store, document, ("files", "single"))
    assert found.path_cids == (document, found.cid)
    assert [cid for cid, _ in read(store, Walk(document, ("files", "single")))] == [document, found.cid]


def test_conformance_repeats_come_where_they_stand() -> None:
    store, root = opened("dir-with-duplicate-files")
    names = ("ascii-copy.txt", "ascii.txt", "hello.txt", "multiblock.txt")
    files = [resolve(store, root, (name,)).cid for name in names]
    assert files[0] == files[1]
    repeated = [cid for cid, _ in read(store, Walk(root, repeats=True))]
    assert repeated == [root, *files, *map(parse_cid, MULTIBLOCK)]
    assert [cid for cid, _ in read(store, Walk(root))] == distinct(repeated)
    assert cid_of(RAW, b"") not in repeated
