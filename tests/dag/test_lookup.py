import io
from collections.abc import Sequence

import pytest
from dag_builder import Builder, identity
from documents import to_cbor, to_json
from foreign import fixtures

from retrieval.cid import CBOR, DAG_CBOR, DAG_JSON, DAG_PB, JSON, RAW, Cid, cid_of
from retrieval.dag import unixfs
from retrieval.dag.datamodel import Link
from retrieval.dag.lookup import EntityKind, resolve
from retrieval.dag.unixfs import NodeType, UnixfsNode
from retrieval.errors import ErrorCode, RetrievalError
from retrieval.store.blocks import MemoryBlockStore
from retrieval.store.car import CarReader


def code_of(store: MemoryBlockStore, root: Cid, path: Sequence[str] = ()) -> ErrorCode:
    with pytest.raises(RetrievalError) as refused:
        resolve(store, root, path)
    return refused.value.code


def opened(pattern: str) -> tuple[MemoryBlockStore, Cid]:
    (path,) = fixtures(f"gateway-conformance/fixtures/{pattern}.car")
    reader = CarReader(io.BytesIO(path.read_bytes()))
    store = MemoryBlockStore()
    store.put_many(reader)
    return store, reader.roots[0]


def test_every_kind_is_told_with_its_size() -> None:
    dag = Builder()
    file = dag.file(dag.raw(b"ab"), dag.raw(b"cde"), sizes=(2, 3))
    without_size = dag.node(unixfs.encode(UnixfsNode(type=NodeType.RAW, data=b"old")))
    expected: list[tuple[Cid, EntityKind, int | None]] = [
        (file, EntityKind.FILE, 5),
        (without_size, EntityKind.FILE, 3),
        (dag.raw(b"abc"), EntityKind.RAW, 3),
        (dag.directory(("f", file)), EntityKind.DIRECTORY, None),
        (dag.shard(), EntityKind.DIRECTORY, None),
        (dag.symlink(b"to/here"), EntityKind.SYMLINK, 7),
        (dag.node(b"\x08\x63"), EntityKind.DAG_PB, 4),
        (dag.node(None), EntityKind.DAG_PB, 0),
        (dag.block(DAG_CBOR, b"\x80"), EntityKind.DAG_CBOR, 1),
        (dag.block(DAG_JSON, b"[]"), EntityKind.DAG_JSON, 2),
        (dag.block(CBOR, b"\x80"), EntityKind.CBOR, 1),
        (dag.block(JSON, b"{}"), EntityKind.JSON, 2),
        (identity(b"hello"), EntityKind.RAW, 5),
        (identity(b"", DAG_PB), EntityKind.DAG_PB, 0),
        (identity(b"\xf6", DAG_CBOR), EntityKind.DAG_CBOR, 1),
    ]
    for cid, kind, size_bytes in expected:
        found = resolve(dag.store, cid)
        assert (found.cid, found.kind, found.size_bytes) == (cid, kind, size_bytes)
        assert found.is_bytes == (kind not in (EntityKind.DIRECTORY, EntityKind.SYMLINK))
        assert (found.path_cids, found.remainder) == ((cid,), ())
        assert (found.file is not None) == (kind is EntityKind.FILE)
    assert resolve(dag.store, dag.symlink(b"to/here")).target == b"to/here"


def test_a_path_is_told_name_by_name() -> None:
    dag = Builder()
    file = dag.raw(b"x")
    inner = dag.directory(("f", file))
    root = dag.directory(("d", inner))
    assert resolve(dag.store, root, ("d", "f")).path_cids == (root, inner, file)


def test_paths_run_through_documents_and_back_into_directories() -> None:
    dag = Builder()
    file = dag.raw(b"x")
    inner = dag.directory(("f", file))
    in_json = dag.block(DAG_JSON, to_json({"list": [0, Link(inner)], "number": 5}))
    in_cbor = dag.block(DAG_CBOR, to_cbor({"a": {"b": Link(in_json)}, "ünï": [Link(in_json)]}))
    root = dag.directory(("doc", in_cbor))
    found = resolve(dag.store, root, ("doc", "a", "b", "list", "1", "f"))
    assert (found.cid, found.path_cids) == (file, (root, in_cbor, in_json, inner, file))
    assert resolve(dag.store, in_cbor, ("ünï", "0")).cid == in_json


def test_a_path_may_end_inside_a_document() -> None:
    dag = Builder()
    inner = dag.block(DAG_JSON, to_json({"list": [{"x": 1}]}))
    root = dag.block(DAG_CBOR, to_cbor({"a": Link(inner)}))
    found = resolve(dag.store, root, ("a", "list", "0"))
    assert (found.kind, found.cid, found.remainder, found.path_cids) == (EntityKind.DAG_JSON, inner, ("list", "0"), (root, inner))


def test_a_document_that_is_a_link_is_passed_through() -> None:
    dag = Builder()
    inner = dag.block(DAG_CBOR, to_cbor({"a": 1}))
    alias = dag.block(DAG_CBOR, to_cbor(Link(inner)))
    assert resolve(dag.store, alias, ("a",)).cid == inner
    assert resolve(dag.store, alias).cid == alias
    inlined = identity(to_cbor({"a": Link(inner)}), DAG_CBOR)
    assert resolve(dag.store, inlined, ("a", "a")).remainder == ("a",)


@pytest.mark.parametrize(
    "path", [("no",), ("a", "no"), ("a", "0"), ("list", "2"), ("list", "01"), ("list", "x"), ("number", "x"), ("raw", "x")]
)
def test_what_is_not_in_a_document_is_not_found(path: tuple[str, ...]) -> None:
    dag = Builder()
    document = {"a": {"b": None}, "list": [1, 2], "number": 5, "raw": Link(dag.raw(b"x"))}
    for root in (dag.block(DAG_CBOR, to_cbor(document)), dag.block(DAG_JSON, to_json(document))):
        assert code_of(dag.store, root, path) is ErrorCode.PATH_NOT_FOUND


def test_plain_cbor_and_json_have_no_names() -> None:
    dag = Builder()
    for root in (dag.block(CBOR, to_cbor({"a": 1})), dag.block(JSON, to_json({"a": 1}))):
        assert code_of(dag.store, root, ("a",)) is ErrorCode.PATH_NOT_FOUND


def test_what_is_missing_or_broken_is_said() -> None:
    dag = Builder()
    assert code_of(dag.store, cid_of(RAW, b"x")) is ErrorCode.NOT_FOUND
    assert code_of(dag.store, cid_of(DAG_PB, b"x")) is ErrorCode.NOT_FOUND
    assert code_of(dag.store, dag.directory(("f", cid_of(RAW, b"x"))), ("f",)) is ErrorCode.NOT_FOUND
    assert code_of(dag.store, dag.block(DAG_CBOR, b"\xff"), ("a",)) is ErrorCode.MALFORMED_BLOCK
    assert code_of(dag.store, dag.block(DAG_PB, b"garbage")) is ErrorCode.MALFORMED_BLOCK
    assert code_of(dag.store, dag.symlink(b"a\0b")) is ErrorCode.MALFORMED_BLOCK
    assert code_of(dag.store, dag.symlink(None)) is ErrorCode.MALFORMED_BLOCK
    liar = dag.node(unixfs.encode(UnixfsNode(type=NodeType.FILE, filesize=(1 << 64) - 1)))
    assert code_of(dag.store, liar) is ErrorCode.DAG_TOO_LARGE


def test_a_shard_that_leads_to_a_document_is_refused() -> None:
    dag = Builder()
    document = dag.block(DAG_CBOR, to_cbor({"a": 1}))
    root = dag.shard(*((f"{slot:02X}", document) for slot in range(256)))
    assert code_of(dag.store, root, ("a",)) is ErrorCode.MALFORMED_BLOCK


def test_conformance_documents_are_traversed() -> None:
    for codec in ("dag-cbor", "dag-json"):
        store, root = opened(f"path_gateway_dag/{codec}-traversal")
        found = resolve(store, root, ("foo", "link", "bar"))
        assert len(found.path_cids) == 3
        assert resolve(store, found.cid, ("hello",)).remainder == ("hello",)
        assert code_of(store, root, ("foo", "i-do-not-exist")) is ErrorCode.PATH_NOT_FOUND
        assert resolve(store, root, ("foo",)).remainder == ("foo",)


def test_conformance_symlinks_and_names_are_found() -> None:
    store, root = opened("path_gateway_unixfs/symlink")
    assert resolve(store, root, ("bar",)).target == b"foo"
    store, root = opened("path_gateway_unixfs/dir-with-percent-encoded-filename")
    assert resolve(store, root, ("Portugal%2C+España=Peninsula Ibérica.txt",)).kind in (EntityKind.RAW, EntityKind.FILE)
    store, root = opened("path_gateway_dag/gateway-json-cbor")
    found = resolve(store, root, ("ą", "ę", "file-źł.txt"))
    assert found.size_bytes == 34
    assert len(found.path_cids) == 4
