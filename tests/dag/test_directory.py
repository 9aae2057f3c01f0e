import io
from collections.abc import Iterator

import pytest
from dag_builder import Builder
from foreign import fixtures
from hypothesis import given
from hypothesis import strategies as st

from retrieval.cid import DAG_CBOR, Cid
from retrieval.dag import directory, hamt
from retrieval.dag.block import Loader
from retrieval.dag.lookup import resolve
from retrieval.dag.pb import PBLink
from retrieval.errors import ErrorCode, RetrievalError
from retrieval.store.blocks import MemoryBlockStore
from retrieval.store.car import CarReader


class CountingStore(MemoryBlockStore):
    n_read = 0

    def get(self, cid: Cid) -> bytes | None:
        self.n_read += 1
        return super().get(cid)


def listed(store: MemoryBlockStore, cid: Cid) -> Iterator[PBLink]:
    return directory.list_entries(Loader(store), cid)


def code_of(store: MemoryBlockStore, cid: Cid) -> ErrorCode:
    with pytest.raises(RetrievalError) as refused:
        list(listed(store, cid))
    return refused.value.code


@given(names=st.sets(st.binary(min_size=1, max_size=12).filter(lambda name: b"/" not in name and b"\0" not in name), max_size=60))
def test_what_was_built_is_listed_with_its_sizes(names: set[bytes]) -> None:
    dag = Builder()
    links = {name: PBLink(dag.raw(name), name, len(name)) for name in names}
    for block_bytes_max in (1 << 20, 60):
        root = directory.build(list(links.values()), dag.block, block_bytes_max).cid
        found = list(listed(dag.store, root))
        assert {link.name: link for link in found} == links
        assert len(found) == len(links)
        if block_bytes_max == 1 << 20:
            assert found == sorted(links.values(), key=lambda link: link.name or b"")


def test_shards_are_loaded_as_entries_are_asked_for() -> None:
    dag = Builder()
    dag.store = store = CountingStore()
    links = [PBLink(dag.raw(b"x"), f"name-{n}".encode(), 1) for n in range(2000)]
    entries = listed(store, directory.build(links, dag.block, 100).cid)
    next(entries)
    assert store.n_read <= 3
    assert len(list(entries)) == 1999
    assert store.n_read > 200


def test_what_is_no_directory_is_not_listed() -> None:
    dag = Builder()
    for cid in (dag.raw(b"x"), dag.file(), dag.symlink(b"x"), dag.node(None), dag.block(DAG_CBOR, b"\x80")):
        assert code_of(dag.store, cid) is ErrorCode.MALFORMED_BLOCK


@pytest.mark.parametrize("entries", [(), (f"{hamt.Shard(256).slot(b'name', 7):02X}name",)], ids=["empty", "with an entry"])
def test_a_shard_that_stands_in_two_places_is_refused_where_it_is_met_again(entries: tuple[str, ...]) -> None:
    dag = Builder()
    store = dag.store = CountingStore()
    shard = dag.shard(*((name, dag.raw(b"x")) for name in entries))
    for _ in range(7):
        shard = dag.shard(*((f"{n:02X}", shard) for n in range(256)))
    assert code_of(store, shard) is ErrorCode.MALFORMED_BLOCK
    assert store.n_read <= 8


def test_a_slot_with_two_links_is_refused() -> None:
    dag = Builder()
    slot = hamt.Shard(256).slot(b"name", 0)
    shard = dag.shard((f"{slot:02X}name", dag.raw(b"x")), (f"{slot:02X}name", dag.raw(b"y")))
    assert code_of(dag.store, shard) is ErrorCode.MALFORMED_BLOCK
    shard = dag.shard(
        (f"{slot:02X}", dag.shard()), (f"{slot:02X}", dag.shard((f"{hamt.Shard(256).slot(b'name', 1):02X}name", dag.raw(b"x"))))
    )
    assert code_of(dag.store, shard) is ErrorCode.MALFORMED_BLOCK


def test_a_foreign_trie_is_listed_and_every_name_found() -> None:
    (path,) = fixtures("gateway-conformance/fixtures/trustless_gateway_car/single-layer-hamt-with-multi-block-files.car")
    reader = CarReader(io.BytesIO(path.read_bytes()))
    store = MemoryBlockStore()
    store.put_many(reader)
    entries = list(listed(store, reader.roots[0]))
    assert len(entries) > 200
    for entry in entries[:50]:
        assert entry.name is not None
        if store.size(entry.cid) is not None:
            assert resolve(store, reader.roots[0], (entry.name.decode(),)).cid == entry.cid
