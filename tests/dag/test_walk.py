import io
from collections.abc import Sequence
from pathlib import Path

import pytest
from blake3 import blake3
from content import content, make
from dag_builder import Builder, identity
from documents import to_cbor, to_json
from foreign import fixtures
from golden import VECTORS
from hypothesis import given
from hypothesis import strategies as st

from retrieval.cid import CBOR, DAG_CBOR, DAG_JSON, DAG_PB, RAW, Cid, cid_of, is_identity
from retrieval.dag import pb, walk
from retrieval.dag.byterange import ByteRange
from retrieval.dag.datamodel import Link
from retrieval.dag.importer import Profile, import_path, import_stream
from retrieval.dag.lookup import resolve
from retrieval.dag.pb import PBLink
from retrieval.dag.reader import read_range
from retrieval.dag.walk import Walk, fast_forward, read
from retrieval.errors import ErrorCode, LocalProtocolError, RemoteProtocolError, RetrievalError
from retrieval.store.blocks import BlockStore, MemoryBlockStore
from retrieval.store.car import CarReader
from retrieval.wire.messages import Scope

N_FILES = 60  # enough that some names share a slot of the first shard
FOREIGN_CARS = (
    "gateway-conformance/fixtures/trustless_gateway_car/*.car",
    "gateway-conformance/fixtures/path_gateway_dag/*.car",
    "gateway-conformance/fixtures/path_gateway_unixfs/*.car",
    "ipld/specs/advanced-data-layouts/hamt/fixture/alice-words/hamt.car",
)
NARROW = Profile(chunk_bytes=4, links_per_node=3, directory_block_bytes_max=256)


def order(store: BlockStore, root: Cid, path: Sequence[str] = (), scope: Scope = Scope.ALL) -> list[Cid]:
    return [cid for cid, _ in read(store, Walk(root, path, scope))]


def code_of(store: BlockStore, root: Cid, path: Sequence[str] = (), scope: Scope = Scope.ALL) -> ErrorCode:
    with pytest.raises(RetrievalError) as refused:
        order(store, root, path, scope)
    return refused.value.code


def tree(tmp_path: Path) -> tuple[MemoryBlockStore, Cid]:
    """A directory with a sharded one in it."""
    files = {f"file-{n}": {"size": n, "fill": "counter"} for n in range(N_FILES)}
    node = {"names": {"a": {"size": 50, "fill": "counter"}, "b": {"names": files}}}
    store = MemoryBlockStore()
    return store, import_path(store, make(node, tmp_path / "tree"), NARROW).cid


def test_parents_come_before_children_and_links_in_their_order() -> None:
    dag = Builder()
    a, b, c = dag.raw(b"a"), dag.raw(b"b"), dag.raw(b"c")
    left, right = dag.node(None, a, b), dag.node(None, c)
    root = dag.node(None, left, right)
    assert order(dag.store, root) == [root, left, a, b, right, c]


def test_a_cid_comes_once_where_it_first_appears() -> None:
    dag = Builder()
    a, b = dag.raw(b"a"), dag.raw(b"b")
    pair = dag.node(None, a, b)
    root = dag.node(None, b, pair, a, pair, b)
    assert order(dag.store, root) == [root, b, pair, a]


def test_one_payload_under_two_cids_comes_twice() -> None:
    dag = Builder()
    version_0, version_1 = dag.node(b"x", version=0), dag.node(b"x", version=1)
    root = dag.node(None, version_0, version_1)
    assert order(dag.store, root) == [root, version_0, version_1]


def test_identity_cids_never_come_but_their_links_do() -> None:
    dag = Builder()
    leaf = dag.raw(b"leaf")
    inline_node = identity(pb.encode([PBLink(leaf, None, None)], None), DAG_PB)
    root = dag.node(None, identity(b"inline"), inline_node, identity(b""), inline_node)
    assert order(dag.store, root) == [root, leaf]


def test_an_identity_root_is_done_at_once() -> None:
    assert Walk(identity(b"")).done
    assert order(MemoryBlockStore(), identity(b"hello")) == []


def test_an_identity_directory_lies_on_a_path() -> None:
    dag = Builder()
    leaf = dag.raw(b"leaf")
    inline_directory = identity(pb.encode([PBLink(leaf, b"f", None)], b"\x08\x01"), DAG_PB)
    assert order(dag.store, inline_directory, ("f",)) == [leaf]
    assert code_of(dag.store, inline_directory, ("g",)) is ErrorCode.PATH_NOT_FOUND


def test_counts_are_of_payloads_delivered(tmp_path: Path) -> None:
    store, root = tree(tmp_path)
    done = Walk(root)
    blocks = list(read(store, done))
    assert (done.n_blocks, done.n_bytes) == (len(blocks), sum(len(payload) for _, payload in blocks))
    assert len({cid for cid, _ in blocks}) == len(blocks)


def test_the_order_is_that_of_foreign_cars() -> None:
    paths = [path for pattern in FOREIGN_CARS for path in fixtures(pattern)] + sorted((VECTORS / "unixfs").glob("*.car"))
    n_compared = 0
    for path in paths:
        if path.stem == "file-3k-and-3-blocks-missing-block":
            continue
        reader = CarReader(io.BytesIO(path.read_bytes()))
        blocks = list(reader)
        store = MemoryBlockStore()
        store.put_many(blocks)
        assert order(store, reader.roots[0]) == [cid for cid, _ in blocks], path.stem
        n_compared += 1
    assert n_compared >= 7


def test_a_path_brings_its_proof_first_then_what_it_leads_to(tmp_path: Path) -> None:
    store, root = tree(tmp_path)
    n_proof_blocks = set()
    for n in range(N_FILES):
        whole = order(store, root, ("b", f"file-{n}"))
        proof = order(store, root, ("b", f"file-{n}"), Scope.BLOCK)
        assert whole[: len(proof)] == proof
        assert proof[0] == root
        assert proof[-1] == resolve(store, root, ("b", f"file-{n}")).cid
        n_proof_blocks.add(len(proof))
    assert n_proof_blocks == {3, 4}  # the root, one or two shards, the file


def test_every_name_of_a_sharded_directory_leads_to_its_file(tmp_path: Path) -> None:
    store, root = tree(tmp_path)
    for n in range(N_FILES):
        assert b"".join(read_range(store, resolve(store, root, ("b", f"file-{n}")).cid)) == content({"size": n, "fill": "counter"})


def test_names_of_a_foreign_trie_are_found() -> None:
    (path,) = fixtures("gateway-conformance/fixtures/trustless_gateway_car/single-layer-hamt-with-multi-block-files.car")
    reader = CarReader(io.BytesIO(path.read_bytes()))
    store = MemoryBlockStore()
    store.put_many(reader)
    assert order(store, reader.roots[0], ("685.txt",), Scope.BLOCK)[-1] == resolve(store, reader.roots[0], ("685.txt",)).cid
    assert code_of(store, reader.roots[0], ("no-such.txt",)) is ErrorCode.PATH_NOT_FOUND


def test_block_scope_brings_the_terminal_block_alone() -> None:
    dag = Builder()
    root = dag.directory(("f", dag.file(dag.raw(b"abc"), sizes=(3,))))
    assert order(dag.store, root, (), Scope.BLOCK) == [root]
    assert order(dag.store, root, ("f",), Scope.BLOCK) == [root, resolve(dag.store, root, ("f",)).cid]


@pytest.mark.parametrize("path", [("x",), ("f", "x"), ("d", "x"), ("s", "f")])
def test_a_name_that_is_not_there_is_refused(path: tuple[str, ...]) -> None:
    dag = Builder()
    root = dag.directory(("f", dag.raw(b"")), ("d", dag.directory()), ("s", dag.symlink(b".")))
    assert code_of(dag.store, root, path) is ErrorCode.PATH_NOT_FOUND


@pytest.mark.parametrize("path", [("",), (".",), ("..",), ("a/b",), ("a\0",), ("n" * 256,), ("a",) * 300, ("\ud800",)])
def test_unusable_paths_are_refused(path: tuple[str, ...]) -> None:
    assert code_of(MemoryBlockStore(), cid_of(RAW, b""), path) is ErrorCode.INVALID_PATH


def test_a_path_below_a_plain_dag_pb_node_is_not_found() -> None:
    dag = Builder()
    assert code_of(dag.store, dag.node(None, ("a", dag.raw(b""))), ("a",)) is ErrorCode.PATH_NOT_FOUND


def test_links_of_documents_are_followed_in_their_order() -> None:
    dag = Builder()
    a, b, c = dag.raw(b"a"), dag.raw(b"b"), dag.raw(b"c")
    pair = dag.node(None, a, b)
    plain = dag.block(CBOR, to_cbor({"looks": Link(c)}))
    in_json = dag.block(DAG_JSON, to_json({"z": Link(c), "a": [Link(plain), Link(pair)]}))
    root = dag.block(DAG_CBOR, to_cbor({"last": Link(a), "b": {"x": [Link(in_json)]}}))
    assert order(dag.store, root) == [root, in_json, c, plain, pair, a, b]
    assert order(dag.store, root, (), Scope.BLOCK) == [root]


@st.composite
def dags(draw: st.DrawFn) -> tuple[Builder, Cid, dict[Cid, list[Cid]]]:
    """A DAG of nodes and documents over few leaves, with what each block links to."""
    dag = Builder()
    below: dict[Cid, list[Cid]] = {leaf: [] for leaf in (dag.raw(b"0"), dag.raw(b"1"), dag.raw(b"2"), identity(b"inline"))}
    for _ in range(draw(st.integers(1, 8))):
        children = draw(st.lists(st.sampled_from(list(below)), max_size=4))
        links = [Link(child) for child in children]
        made = draw(
            st.sampled_from(
                [
                    dag.node(None, *children),
                    dag.block(DAG_CBOR, to_cbor({"a": links[:1], "b": {"c": links[1:]}})),
                    dag.block(DAG_JSON, to_json([links[:2], {"x": 1, "y": links[2:]}])),
                ]
            )
        )
        below.setdefault(made, children)
    return dag, made, below


@given(dags())
def test_the_order_is_that_of_a_naive_search(drawn: tuple[Builder, Cid, dict[Cid, list[Cid]]]) -> None:
    dag, root, below = drawn

    def search(cid: Cid) -> list[Cid]:
        return [cid] * (not is_identity(cid)) + [found for child in below[cid] for found in search(child)]

    visits = search(root)
    assert [cid for cid, _ in read(dag.store, Walk(root, repeats=True))] == visits
    assert order(dag.store, root) == list(dict.fromkeys(visits))


def test_a_path_into_a_document_brings_what_its_value_links_to() -> None:
    dag = Builder()
    a, b, c = dag.raw(b"a"), dag.raw(b"b"), dag.raw(b"c")
    root = dag.block(DAG_CBOR, to_cbor({"in": [Link(a), {"x": Link(b)}], "out": Link(c)}))
    top = dag.directory(("doc", root))
    assert order(dag.store, top, ("doc", "in")) == [top, root, a, b]
    assert order(dag.store, top, ("doc", "in", "1")) == [top, root, b]
    assert order(dag.store, top, ("doc", "in", "1", "x")) == [top, root, b]
    for scope in (Scope.BLOCK, Scope.ENTITY):
        assert order(dag.store, top, ("doc", "in"), scope) == [top, root]
        assert order(dag.store, top, ("doc", "in", "0"), scope) == [top, root, a]


def test_documents_without_end_are_refused() -> None:
    dag = Builder()
    cid = dag.raw(b"")
    for n in range(walk.DEPTH_MAX + 1):
        cid = dag.block(DAG_CBOR, to_cbor([n, Link(cid)]))
    assert code_of(dag.store, cid) is ErrorCode.DAG_TOO_LARGE


@pytest.mark.parametrize("scope", [Scope.BLOCK, Scope.ALL])
def test_a_range_goes_with_the_entity_scope_alone(scope: Scope) -> None:
    with pytest.raises(RemoteProtocolError) as refused:
        Walk(cid_of(RAW, b""), (), scope, ByteRange())
    assert refused.value.code is ErrorCode.UNSUPPORTED_SCOPE


def test_blocks_under_blake3_are_followed_like_any_other() -> None:
    dag = Builder()
    leaf = Cid(b"\x01\x55\x1e\x20" + blake3(b"leaf").digest())
    dag.store.put_many([(leaf, b"leaf")])
    root = dag.node(None, leaf)
    assert order(dag.store, root) == [root, leaf]


def test_codecs_and_hashes_that_cannot_be_followed_are_refused() -> None:
    dag = Builder()
    blake2 = Cid(b"\x01\x55\xa0\xe4\x02\x20" + bytes(32))
    short = Cid(b"\x01\x55\x12\x10" + bytes(16))
    git = Cid(b"\x01\x78" + cid_of(RAW, b"")[2:])
    for cid in (git, blake2, short, identity(b"", 0x78)):
        assert code_of(dag.store, cid) is ErrorCode.UNSUPPORTED_CODEC
        assert code_of(dag.store, dag.node(None, dag.raw(b"a"), cid)) is ErrorCode.UNSUPPORTED_CODEC


def test_bytes_that_are_no_cid_are_refused() -> None:
    assert code_of(MemoryBlockStore(), Cid(b"\x01\x55")) is ErrorCode.INVALID_CID


def test_a_payload_that_is_no_node_is_refused() -> None:
    garbage = Walk(cid_of(DAG_PB, b"garbage"))
    with pytest.raises(RemoteProtocolError) as refused:
        garbage.advance(b"garbage")
    assert refused.value.code is ErrorCode.MALFORMED_BLOCK
    assert garbage.n_blocks == 0


def test_a_missing_block_is_named() -> None:
    dag = Builder()
    missing = cid_of(RAW, b"missing")
    with pytest.raises(LocalProtocolError, match="bafk") as refused:
        order(dag.store, dag.node(None, missing))
    assert refused.value.code is ErrorCode.NOT_FOUND


def test_the_number_of_blocks_is_limited() -> None:
    dag = Builder()
    root = dag.node(None, dag.raw(b"a"), dag.raw(b"b"))
    with pytest.raises(RemoteProtocolError) as refused:
        list(read(dag.store, Walk(root, blocks_max=2)))
    assert refused.value.code is ErrorCode.DAG_TOO_LARGE


def test_the_depth_is_limited() -> None:
    dag = Builder()
    cid = dag.raw(b"")
    for _ in range(walk.DEPTH_MAX + 1):
        cid = dag.node(None, cid)
    assert code_of(dag.store, cid) is ErrorCode.DAG_TOO_LARGE


def test_open_links_are_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(walk, "LINKS_PENDING_MAX", 1000)
    dag = Builder()
    cid = dag.raw(b"")
    for _ in range(10):
        cid = dag.node(None, cid, *[identity(b"")] * 100)
    assert code_of(dag.store, cid) is ErrorCode.DAG_TOO_LARGE


def test_leaves_under_one_node_are_known_ahead() -> None:
    dag = Builder()
    leaves = [dag.raw(bytes((n,))) for n in range(4)]
    node = dag.node(None, *leaves)
    last = dag.node(None, dag.raw(b"last"))
    walk_ = Walk(dag.node(None, node, leaves[0], identity(b""), last))
    root = walk_.upcoming(10)
    assert root == [walk_.expected]
    walk_.advance(dag.store.get(root[0]) or b"")
    assert walk_.upcoming(10) == [node]
    walk_.advance(dag.store.get(node) or b"")
    assert walk_.upcoming(2) == leaves[:2]
    assert walk_.upcoming(10) == [*leaves, last]


@given(st.binary(min_size=0, max_size=300), st.integers(1, 20))
def test_what_is_upcoming_does_come(file: bytes, n: int) -> None:
    store = MemoryBlockStore()
    root = import_stream(store, io.BytesIO(file), "file", NARROW)
    whole = order(store, root.cid)
    ahead = Walk(root.cid)
    for at, cid in enumerate(whole):
        upcoming = ahead.upcoming(n)
        assert 0 < len(upcoming) <= n
        assert upcoming == whole[at : at + len(upcoming)]
        ahead.advance(store.get(cid) or b"")
    assert ahead.upcoming(n) == []
    assert (ahead.n_blocks, ahead.n_bytes) == (root.n_blocks, root.n_bytes)


@given(st.binary(max_size=300), st.integers(0, 200))
def test_a_walk_resumes_anywhere_without_reading_leaves(file: bytes, n: int) -> None:
    class Leafless(MemoryBlockStore):
        def get(self, cid: Cid) -> bytes | None:
            assert is_identity(cid) or cid[1] != RAW
            return super().get(cid)

    store = Leafless()
    root = import_stream(store, io.BytesIO(file), "file", NARROW)
    resumed = Walk(root.cid)
    passed = fast_forward(store, resumed, n)
    assert passed == resumed.n_blocks == min(n, root.n_blocks)
    fast_forward(store, resumed)
    assert (resumed.n_blocks, resumed.n_bytes, resumed.done) == (root.n_blocks, root.n_bytes, True)


def test_a_resumed_walk_stops_where_the_store_ends() -> None:
    dag = Builder()
    a, b = dag.raw(b"a"), dag.raw(b"b")
    root = dag.node(None, a, b)
    dag.store.delete_many([b])
    resumed = Walk(root)
    assert fast_forward(dag.store, resumed) == 2
    assert resumed.expected == b
