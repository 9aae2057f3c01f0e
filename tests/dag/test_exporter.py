import io
import os
from pathlib import Path

import pytest
from content import content, make
from dag_builder import Builder, identity
from golden import VECTORS
from hypothesis import given
from hypothesis import strategies as st

from retrieval.cid import DAG_PB, RAW, Cid, cid_of
from retrieval.dag import block, hamt, unixfs
from retrieval.dag.exporter import check_target, export
from retrieval.dag.importer import Profile, import_path, import_stream
from retrieval.dag.reader import read_range
from retrieval.dag.unixfs import NodeType, UnixfsNode
from retrieval.errors import ErrorCode, LocalProtocolError, RetrievalError
from retrieval.store.blocks import BlockStore, MemoryBlockStore
from retrieval.store.car import import_car

TRICKLE = content({"size": 6405, "fill": "counter"})
NARROW = Profile(chunk_bytes=4, links_per_node=3, directory_block_bytes_max=256)


def listing(top: Path) -> dict[str, bytes | None]:
    """Everything below ``top``: bytes of files, targets of symlinks, None for directories."""
    found: dict[str, bytes | None] = {}
    for path in top.rglob("*"):
        if path.is_symlink():
            found[str(path.relative_to(top))] = b"-> " + os.fsencode(os.readlink(path))
        else:
            found[str(path.relative_to(top))] = None if path.is_dir() else path.read_bytes()
    return found


def code_of(store: BlockStore, root: Cid, target: Path) -> ErrorCode:
    """The error of an export, which must leave nothing behind."""
    before = listing(target.parent)
    with pytest.raises(RetrievalError) as refused:
        export(store, root, target)
    assert listing(target.parent) == before
    return refused.value.code


def test_a_directory_comes_back_as_it_was(tmp_path: Path) -> None:
    names = {
        ".hidden": {"size": 5, "fill": "counter"},
        "empty": {"size": 0, "fill": "zeros"},
        "away": {"target": "/etc/passwd"},
        "sub": {"names": {"none": {"names": {}}, "naïve 水": {"size": 77, "fill": "counter"}}},
        "wide": {"entries": 300, "widen": 0},
    }
    original = make({"names": names}, tmp_path / "original")
    store = MemoryBlockStore()
    exported = export(store, import_path(store, original, NARROW).cid, tmp_path / "copy")
    assert listing(tmp_path / "copy") == listing(original)
    assert (exported.n_files, exported.file_bytes) == (303, 82)


@given(st.binary(max_size=400))
def test_a_file_comes_back_as_it_was(file: bytes) -> None:
    store = MemoryBlockStore()
    assert b"".join(read_range(store, import_stream(store, io.BytesIO(file), "file", NARROW).cid)) == file


def test_a_trickle_file_of_version_0_comes_back(tmp_path: Path) -> None:
    store = MemoryBlockStore()
    (root,) = import_car(store, io.BytesIO((VECTORS / "unixfs" / "trickle-v0.car").read_bytes()))
    export(store, root, tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == TRICKLE


def test_a_directory_of_version_0_comes_back(tmp_path: Path) -> None:
    store = MemoryBlockStore()
    (root,) = import_car(store, io.BytesIO((VECTORS / "unixfs" / "dir-v0.car").read_bytes()))
    export(store, root, tmp_path / "dir")
    files = {f"f{n}": f"{n}\n".encode() for n in range(1, 31)}
    assert listing(tmp_path / "dir") == files | {"link": b"-> f1", "sub": None, "sub/.x": b"x\n"}


def test_a_file_may_carry_its_bytes_anywhere(tmp_path: Path) -> None:
    dag = Builder()
    raw_type = dag.node(unixfs.encode(UnixfsNode(type=NodeType.RAW, data=b"raw type ", filesize=9)), version=0)
    inline = dag.file(data=b"inline ", version=0)
    lopsided = dag.file(dag.raw(b"deep "), identity(b"identity "), sizes=(5, 9))
    root = dag.file(raw_type, inline, lopsided, dag.raw(b"last"), data=b"own ", sizes=(9, 7, 14, 4))
    export(dag.store, root, tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == b"own raw type inline deep identity last"


def test_an_identity_cid_is_a_file(tmp_path: Path) -> None:
    export(MemoryBlockStore(), identity(b"hello"), tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == b"hello"


@pytest.mark.parametrize("data", [None, b"", b"not unixfs", unixfs.encode(UnixfsNode(type=NodeType.METADATA))])
def test_a_root_that_is_no_unixfs_is_written_as_its_block(data: bytes | None, tmp_path: Path) -> None:
    dag = Builder()
    root = dag.node(data, ("child", dag.raw(b"")))
    export(dag.store, root, tmp_path / "block")
    assert (tmp_path / "block").read_bytes() == dag.store.get(root)


def test_a_symlink_may_be_the_root(tmp_path: Path) -> None:
    dag = Builder()
    export(dag.store, dag.symlink(b"../elsewhere"), tmp_path / "link")
    assert os.readlink(tmp_path / "link") == "../elsewhere"


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "/etc/passwd", "../up", "nul\0", "n" * 256])
def test_names_that_lead_elsewhere_are_refused(name: str, tmp_path: Path) -> None:
    dag = Builder()
    leaf = dag.raw(b"evil")
    target = tmp_path / "in" / "target"
    target.parent.mkdir()
    assert code_of(dag.store, dag.directory(("fine", leaf), (name, leaf)), target) is ErrorCode.MALFORMED_BLOCK
    if name:  # an empty name in a shard means another shard
        assert code_of(dag.store, dag.shard(("00" + name, leaf)), target) is ErrorCode.MALFORMED_BLOCK


def test_nothing_is_written_through_a_symlink_of_the_same_name(tmp_path: Path) -> None:
    dag = Builder()
    (tmp_path / "outside").mkdir()
    (tmp_path / "in").mkdir()
    away = dag.symlink(os.fsencode(tmp_path / "outside"))
    below = dag.directory(("planted", dag.raw(b"evil")))
    for first, second in ((away, below), (away, dag.raw(b"evil")), (below, away)):
        assert code_of(dag.store, dag.directory(("name", first), ("name", second)), tmp_path / "in" / "target") is ErrorCode.MALFORMED_BLOCK
    assert listing(tmp_path / "outside") == {}


@pytest.mark.parametrize("target", [None, b"", b"a\0b", b"t" * 4096])
def test_symlinks_to_nowhere_possible_are_refused(target: bytes | None, tmp_path: Path) -> None:
    dag = Builder()
    assert code_of(dag.store, dag.symlink(target), tmp_path / "link") is ErrorCode.MALFORMED_BLOCK


def test_a_file_that_lies_about_its_size_is_refused(tmp_path: Path) -> None:
    dag = Builder()
    leaf = dag.raw(b"four")
    for sizes in ((3,), (5,), (4, 4)):
        assert code_of(dag.store, dag.file(leaf, sizes=sizes), tmp_path / "file") is ErrorCode.MALFORMED_BLOCK


def test_a_file_may_not_contain_a_directory(tmp_path: Path) -> None:
    dag = Builder()
    for child in (dag.directory(), dag.symlink(b"x"), dag.node(b"not unixfs"), dag.shard()):
        assert code_of(dag.store, dag.file(child), tmp_path / "file") is ErrorCode.MALFORMED_BLOCK


def test_hostile_shards_are_refused(tmp_path: Path) -> None:
    dag = Builder()
    leaf = dag.raw(b"x")
    slot = hamt.Shard(256).slot(b"name", 0)
    deep = dag.shard(("00a", leaf))
    for _ in range(9):
        deep = dag.shard(("00", deep))
    shards = [
        deep,
        dag.shard(("0", leaf)),
        dag.shard(("00", leaf)),
        dag.shard(("00", dag.directory())),
        dag.shard(("00", dag.raw(b"no shard"))),
        dag.shard((f"{slot:02X}", dag.shard((f"{slot:02X}name", leaf)))),
        dag.shard((f"{slot ^ 1:02X}name", leaf)),
        dag.shard((f"{slot:02x}name", leaf)) if f"{slot:x}" != f"{slot:X}" else dag.shard(("0xname", leaf)),
        dag.shard(("00", dag.shard(fanout=16))),
        dag.shard(fanout=0),
        dag.shard(fanout=4),
        dag.shard(fanout=100),
        dag.shard(fanout=1 << 20),
        dag.shard(hash_type=0x12),
    ]
    for shard in shards:
        assert code_of(dag.store, shard, tmp_path / "dir") is ErrorCode.MALFORMED_BLOCK


def test_a_shard_may_have_another_fan_out(tmp_path: Path) -> None:
    dag = Builder()
    first, second = (hamt.Shard(16).slot(b"other", level) for level in (0, 1))
    slot = hamt.Shard(16).slot(b"name", 0)
    below = dag.shard((f"{second:X}other", dag.raw(b"y")), fanout=16)
    export(dag.store, dag.shard((f"{slot:X}name", dag.raw(b"x")), (f"{first:X}", below), fanout=16), tmp_path / "dir")
    assert listing(tmp_path / "dir") == {"name": b"x", "other": b"y"}


def test_depth_is_limited(tmp_path: Path) -> None:
    dag = Builder()
    file, directory = dag.raw(b""), dag.directory()
    for _ in range(100):
        file, directory = dag.file(file, sizes=(0,)), dag.directory(("d", directory))
    assert code_of(dag.store, file, tmp_path / "file") is ErrorCode.DAG_TOO_LARGE
    assert code_of(dag.store, directory, tmp_path / "dir") is ErrorCode.DAG_TOO_LARGE


def test_a_small_dag_of_many_bytes_is_limited(tmp_path: Path) -> None:
    dag = Builder()
    file, size = dag.raw(bytes(1000)), 1000
    for _ in range(4):
        file, size = dag.file(*[file] * 100, sizes=(size,) * 100), size * 100
    with pytest.raises(RetrievalError) as refused:
        export(dag.store, file, tmp_path / "file", bytes_max=1 << 20)
    assert refused.value.code is ErrorCode.DAG_TOO_LARGE
    assert listing(tmp_path) == {}


def test_a_small_dag_of_many_links_to_nothing_is_limited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(block, "VISITS_MAX", 1000)
    dag = Builder()
    file, folder = dag.raw(b""), dag.directory()
    for _ in range(5):
        file = dag.file(*[file] * 100)
        folder = dag.directory(*[(f"{n:02}", folder) for n in range(100)])
    assert code_of(dag.store, file, tmp_path / "file") is ErrorCode.DAG_TOO_LARGE
    assert code_of(dag.store, folder, tmp_path / "dir") is ErrorCode.DAG_TOO_LARGE


def test_a_missing_block_leaves_nothing_behind(tmp_path: Path) -> None:
    dag = Builder()
    root = dag.directory(("a", dag.raw(b"here")), ("b", cid_of(RAW, b"missing")))
    assert code_of(dag.store, root, tmp_path / "dir") is ErrorCode.NOT_FOUND


def test_codecs_that_cannot_be_read_are_refused(tmp_path: Path) -> None:
    assert code_of(MemoryBlockStore(), Cid(b"\x01\x78" + cid_of(RAW, b"")[2:]), tmp_path / "x") is ErrorCode.UNSUPPORTED_CODEC
    dag = Builder()
    dag.store.put_many([(cid_of(DAG_PB, b"garbage"), b"garbage")])
    assert code_of(dag.store, cid_of(DAG_PB, b"garbage"), tmp_path / "x") is ErrorCode.MALFORMED_BLOCK


def test_a_file_replaces_a_file_and_a_symlink_but_not_what_it_points_to(tmp_path: Path) -> None:
    dag = Builder()
    new = dag.raw(b"new")
    (tmp_path / "old").write_bytes(b"old")
    (tmp_path / "link").symlink_to("old")
    export(dag.store, new, tmp_path / "link")
    assert listing(tmp_path) == {"old": b"old", "link": b"new"}
    export(dag.store, new, tmp_path / "old")
    assert listing(tmp_path) == {"old": b"new", "link": b"new"}


def test_directories_are_neither_replaced_nor_mixed_into(tmp_path: Path) -> None:
    dag = Builder()
    directory = dag.directory(("new", dag.raw(b"new")))
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "old").write_bytes(b"old")
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_bytes(b"old")
    assert code_of(dag.store, directory, tmp_path / "full") is ErrorCode.FILE_UNREADABLE
    assert code_of(dag.store, dag.raw(b"new"), tmp_path / "full") is ErrorCode.FILE_UNREADABLE
    assert code_of(dag.store, dag.raw(b"new"), tmp_path / "empty") is ErrorCode.FILE_UNREADABLE
    assert code_of(dag.store, directory, tmp_path / "file") is ErrorCode.FILE_UNREADABLE
    export(dag.store, directory, tmp_path / "empty")
    assert listing(tmp_path / "empty") == {"new": b"new"}


def test_a_target_can_be_checked_before_anything_is_paid(tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "old").touch()
    check_target(tmp_path / "new")
    check_target(tmp_path / "full" / "old")
    for target in (tmp_path / "full", tmp_path / "none" / "new", tmp_path / "full" / "old" / "new"):
        with pytest.raises(LocalProtocolError) as refused:
            check_target(target)
        assert refused.value.code is ErrorCode.FILE_UNREADABLE


def test_modes_follow_the_umask_and_nothing_else(tmp_path: Path) -> None:
    dag = Builder()
    root = dag.directory(("f", dag.node(unixfs.encode(UnixfsNode(type=NodeType.FILE, data=b"x", filesize=1, mode=0o7777, mtime=(1, 0))))))
    umask = os.umask(0o027)
    try:
        export(dag.store, root, tmp_path / "dir")
    finally:
        os.umask(umask)
    assert (tmp_path / "dir").stat().st_mode & 0o7777 == 0o750
    assert (tmp_path / "dir" / "f").stat().st_mode & 0o7777 == 0o640
    assert (tmp_path / "dir" / "f").stat().st_mtime > 1


@given(data=st.data())
def test_altered_blocks_raise_nothing_but_registered_errors(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    dag = Builder()
    file = dag.file(dag.raw(b"abc"), dag.raw(b"de"), sizes=(3, 2))
    root = dag.directory(("f", file), ("s", dag.shard(("00x", file), ("01", dag.shard(("00y", file))))), ("l", dag.symlink(b"f")))
    victim = data.draw(st.sampled_from([file, root]))
    block = bytearray(dag.store.get(victim) or b"")
    for _ in range(data.draw(st.integers(1, 3))):
        block[data.draw(st.integers(0, len(block) - 1))] = data.draw(st.integers(0, 255))
    dag.store.delete_many([victim])
    dag.store.put_many([(victim, bytes(block))])  # as if somebody had made this block in earnest
    target = tmp_path_factory.mktemp("altered") / "target"
    try:
        export(dag.store, root, target)
    except RetrievalError:
        assert listing(target.parent) == {}
