"""What a provider holds: what an import pins, and what a removal takes and leaves."""

from __future__ import annotations

import io
import os
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from documents import to_cbor, to_json
from retrieval_provider.content import add_car, add_path, content_lock, remove, size_on_disk

from retrieval.cid import DAG_CBOR, DAG_JSON, RAW, Cid, cid_of
from retrieval.dag import pb
from retrieval.dag.datamodel import Link
from retrieval.dag.measure import measured_root
from retrieval.dag.walk import Walk, read
from retrieval.errors import ErrorCode, LocalProtocolError, RemoteProtocolError
from retrieval.home import Home
from retrieval.store.blocks import MemoryBlockStore, Root
from retrieval.store.car import write_car
from retrieval.units import MIB

NOBODY = Counter[Cid]()


@pytest.fixture
def store() -> MemoryBlockStore:
    return MemoryBlockStore()


def tree(at: Path, **files: bytes) -> Path:
    at.mkdir()
    for name, content in files.items():
        (at / name).write_bytes(content)
    return at


def is_whole(store: MemoryBlockStore, root: Root) -> bool:
    return sum(1 for _ in read(store, Walk(root.cid))) == root.n_blocks


def test_an_added_directory_is_pinned_with_its_totals(store: MemoryBlockStore, tmp_path: Path) -> None:
    root = add_path(store, tree(tmp_path / "album", one=b"1" * 10, two=os.urandom(3 * MIB)))
    assert store.root(root.cid) == root
    assert (root.name, root.file_bytes) == ("album", 3 * MIB + 10)
    assert is_whole(store, root)


def test_a_car_is_imported_with_its_roots_pinned_as_measured(store: MemoryBlockStore, tmp_path: Path) -> None:
    source = MemoryBlockStore()
    root = add_path(source, tree(tmp_path / "album", one=b"1" * 10, two=os.urandom(3 * MIB)))
    with open(tmp_path / "album.car", "wb") as stream:
        write_car(stream, [root.cid], read(source, Walk(root.cid)))
    (imported,) = add_car(store, tmp_path / "album.car")
    assert (imported.cid, imported.n_bytes, imported.n_blocks, imported.file_bytes) == (
        root.cid,
        root.n_bytes,
        root.n_blocks,
        root.file_bytes,
    )
    assert imported.name == "album.car"
    assert is_whole(store, imported)


def test_a_car_whose_root_is_incomplete_is_not_pinned(store: MemoryBlockStore, tmp_path: Path) -> None:
    source = MemoryBlockStore()
    root = add_path(source, tree(tmp_path / "album", one=os.urandom(2 * MIB)))
    *blocks, _ = read(source, Walk(root.cid))
    (tmp_path / "cut.car").write_bytes(car_of([root.cid], blocks))
    with pytest.raises(LocalProtocolError) as refused:
        add_car(store, tmp_path / "cut.car")
    assert refused.value.code is ErrorCode.NOT_FOUND
    assert list(store.roots()) == []


def test_a_car_without_a_root_is_refused(store: MemoryBlockStore, tmp_path: Path) -> None:
    (tmp_path / "rootless.car").write_bytes(car_of([], [(cid_of(RAW, b"x"), b"x")]))
    with pytest.raises(RemoteProtocolError) as refused:
        add_car(store, tmp_path / "rootless.car")
    assert refused.value.code is ErrorCode.MALFORMED_CAR


def test_a_car_that_is_not_there_says_so(store: MemoryBlockStore, tmp_path: Path) -> None:
    with pytest.raises(LocalProtocolError) as refused:
        add_car(store, tmp_path / "nowhere.car")
    assert refused.value.code is ErrorCode.FILE_UNREADABLE


def car_of(roots: list[Cid], blocks: list[tuple[Cid, bytes]]) -> bytes:
    stream = io.BytesIO()
    write_car(stream, roots, blocks)
    return stream.getvalue()


def test_removing_the_last_root_leaves_nothing(store: MemoryBlockStore, tmp_path: Path) -> None:
    root = add_path(store, tree(tmp_path / "album", one=b"1", two=os.urandom(3 * MIB)))
    assert remove(store, root.cid, in_use=NOBODY) == (root.n_blocks, root.n_bytes)
    assert (store.bytes_used(), list(store.roots())) == (0, [])


def test_what_another_pin_needs_stays(store: MemoryBlockStore, tmp_path: Path) -> None:
    shared = os.urandom(3 * MIB)
    one = add_path(store, tree(tmp_path / "one", shared=shared, own=b"1"))
    two = add_path(store, tree(tmp_path / "two", shared=shared, own=b"2"))
    n_blocks, _ = remove(store, one.cid, in_use=NOBODY)
    assert n_blocks == 2  # the directory, and its own file
    assert is_whole(store, two)
    remove(store, two.cid, in_use=NOBODY)
    assert store.bytes_used() == 0


@pytest.mark.parametrize(("codec", "write"), [(DAG_CBOR, to_cbor), (DAG_JSON, to_json)])
def test_what_a_pinned_document_needs_stays(store: MemoryBlockStore, tmp_path: Path, codec: int, write: Callable[[object], bytes]) -> None:
    file = add_path(store, tree(tmp_path / "album", one=os.urandom(2 * MIB)))
    document = write({"album": Link(file.cid)})
    cid = cid_of(codec, document)
    store.put_many([(cid, document)])
    pinned = measured_root(store, cid, "document")
    store.pin(pinned)
    remove(store, file.cid, in_use=NOBODY)
    assert is_whole(store, pinned)
    remove(store, cid, in_use=NOBODY)
    assert store.bytes_used() == 0


def test_a_pin_inside_another_pin_survives_it(store: MemoryBlockStore, tmp_path: Path) -> None:
    folder = tree(tmp_path / "album", one=os.urandom(2 * MIB))
    outer, inner = add_path(store, folder), add_path(store, folder / "one")
    remove(store, outer.cid, in_use=NOBODY)
    assert is_whole(store, inner)


def test_removing_the_inner_pin_takes_nothing_from_the_outer(store: MemoryBlockStore, tmp_path: Path) -> None:
    folder = tree(tmp_path / "album", one=os.urandom(2 * MIB))
    outer, inner = add_path(store, folder), add_path(store, folder / "one")
    assert remove(store, inner.cid, in_use=NOBODY) == (0, 0)
    assert is_whole(store, outer)


def test_content_with_an_open_deal_is_kept_unless_it_is_forced_out(store: MemoryBlockStore, tmp_path: Path) -> None:
    root = add_path(store, tree(tmp_path / "album", one=b"1"))
    with pytest.raises(LocalProtocolError) as refused:
        remove(store, root.cid, in_use=Counter([root.cid]))
    assert refused.value.code is ErrorCode.CONTENT_IN_USE
    assert is_whole(store, root)
    remove(store, root.cid, in_use=Counter([root.cid]), force=True)
    assert store.bytes_used() == 0


def test_what_is_sold_out_of_a_pin_is_kept_while_the_pin_goes(store: MemoryBlockStore, tmp_path: Path) -> None:
    folder = tree(tmp_path / "album", one=os.urandom(2 * MIB), two=b"2")
    outer, inner = add_path(store, folder), add_path(store, folder / "one")
    store.unpin(inner.cid)
    remove(store, outer.cid, in_use=Counter([inner.cid]))
    assert is_whole(store, inner)


def test_a_removal_that_was_cut_off_is_finished_by_the_next(tmp_path: Path) -> None:
    store = Faltering()
    root = add_path(store, tree(tmp_path / "album", one=os.urandom(2 * MIB), two=os.urandom(2 * MIB)))
    with pytest.raises(KeyboardInterrupt):
        remove(store, root.cid, in_use=NOBODY)
    assert store.root(root.cid) is not None
    remove(store, root.cid, in_use=NOBODY)
    assert store.bytes_used() == 0


class Faltering(MemoryBlockStore):
    """A store on which the first deletion is interrupted halfway."""

    is_fresh = True

    def delete_many(self, cids: object) -> int:
        assert isinstance(cids, list)
        if not self.is_fresh:
            return super().delete_many(cids)
        self.is_fresh = False
        super().delete_many(cids[: len(cids) // 2])
        raise KeyboardInterrupt


def test_blocks_that_cannot_be_read_stand_in_nobody_s_way(store: MemoryBlockStore) -> None:
    missing, odd = cid_of(RAW, b"never stored"), Cid(b"\x01\x71\x12\x20" + bytes(32))  # a codec nobody walks here
    node = pb.encode([pb.PBLink(missing, b"a", 1), pb.PBLink(odd, b"b", 1)], b"")
    broken = b"\xff not a node"
    for name, payload in (("node", node), ("broken", broken)):
        cid = cid_of(0x70, payload)
        store.put_many([(cid, payload)])
        store.pin(Root(cid=cid, name=name, n_bytes=len(payload), n_blocks=1, file_bytes=0))
    for root in list(store.roots()):
        remove(store, root.cid, in_use=NOBODY)
    assert store.bytes_used() == 0


def test_what_is_not_pinned_cannot_be_removed(store: MemoryBlockStore) -> None:
    with pytest.raises(LocalProtocolError) as refused:
        remove(store, cid_of(RAW, b"x"), in_use=NOBODY)
    assert refused.value.code is ErrorCode.NOT_FOUND


def test_a_tree_is_as_large_as_its_files(tmp_path: Path) -> None:
    folder = tree(tmp_path / "album", one=b"1" * 10, two=b"2" * 20)
    (folder / "link").symlink_to(tmp_path)
    assert (size_on_disk(folder), size_on_disk(folder / "one"), size_on_disk(tmp_path / "nowhere")) == (30, 10, 0)


def test_a_removal_waits_for_an_import_and_imports_do_not_wait_for_each_other(tmp_path: Path) -> None:
    home = Home(tmp_path, "retrieval-provider")
    home.create()
    waiting, alone = threading.Event(), threading.Event()

    def remove_something() -> None:
        waiting.set()
        with content_lock(home, alone=True):
            alone.set()

    remover = threading.Thread(target=remove_something)
    with content_lock(home, alone=False), content_lock(home, alone=False):
        remover.start()
        assert waiting.wait(10)
        assert not alone.wait(0.1), "it got in while imports were under way"
    assert alone.wait(10)
    remover.join()
