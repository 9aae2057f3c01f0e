"""The dapp module reads what gateways send: every layout, part and path of the honest, and nothing of the others."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from aiohttp import web
from content import content
from dag_builder import Builder, identity
from dapp_worker import Worker, open_worker
from file_trees import Tree, file_trees
from foreign import fixtures
from http_door import Caller, open_door
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from small_gateway import CAR, Block, Gateway, serving

from retrieval._native import encode_uvarint
from retrieval.cid import Cid, cid_of, format_cid
from retrieval.dag.block import Loader
from retrieval.dag.directory import list_entries
from retrieval.dag.importer import import_path
from retrieval.dag.lookup import EntityKind, resolve
from retrieval.dag.reader import read_range
from retrieval.errors import LocalProtocolError
from retrieval.store.blocks import MemoryBlockStore
from retrieval.store.car import car_head, import_car, section_head
from retrieval.units import KIB, MIB


@pytest.fixture(scope="module")
def worker() -> Iterator[Worker]:
    with open_worker() as opened:
        yield opened


@pytest.fixture(scope="module")
def store() -> MemoryBlockStore:
    return MemoryBlockStore()


@pytest.fixture(scope="module")
def door(store: MemoryBlockStore) -> Iterator[Caller]:
    with open_door(store) as opened:
        yield opened


def url_of(door: Caller) -> str:
    return f"http://127.0.0.1:{door.port}"


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(tree=file_trees(), data=st.data())
def test_any_file_and_any_part_of_it_is_read_as_the_model_says(
    worker: Worker, store: MemoryBlockStore, door: Caller, tree: Tree, data: st.DataObject
) -> None:
    tree.put(store)
    what, whole = format_cid(tree.cid), tree.content
    assert worker.get(what, gateway=url_of(door)) == whole
    if whole:
        first = data.draw(st.integers(0, len(whole) - 1))
        last = data.draw(st.integers(first, len(whole) + 3))
        assert worker.get(what, gateway=url_of(door), range={"first": first, "last": last}) == whole[first : last + 1]
        n = data.draw(st.integers(1, len(whole) + 3))
        assert worker.get(what, gateway=url_of(door), range={"first": -n}) == whole[-n:]


def test_paths_lead_through_directories_and_tries(worker: Worker, store: MemoryBlockStore, door: Caller, tmp_path: Path) -> None:
    (site := tmp_path / "site").mkdir()
    (site / "index.html").write_text("<h1>hello</h1>")
    (site / "naïve 水 #?.txt").write_text("deep water")
    (wide := site / "wide").mkdir()
    for n in range(5_041):
        (wide / f"{n:08d}{'x' * 60}").write_bytes(b"%d" % n)
    root = format_cid(import_path(store, site).cid)
    gateway = url_of(door)
    assert worker.get(root, gateway=gateway) == b"<h1>hello</h1>"
    assert worker.get(f"ipfs://{root}/naïve 水 #?.txt", gateway=gateway) == b"deep water"
    assert worker.get(f"/ipfs/{root}/wide/{4_711:08d}{'x' * 60}", gateway=gateway) == b"4711"
    assert worker.code(f"{root}/wide/none", gateway=gateway) == "path_not_found"
    assert worker.code(f"{root}/index.html/below", gateway=gateway) == "path_not_found"
    assert worker.code(f"{root}/../x", gateway=gateway) == "invalid_path"
    names = [entry["name"] for entry in worker.ask("list", f"{root}/wide", gateway=gateway)["entries"]]
    assert sorted(names) == sorted(path.name for path in wide.iterdir())
    assert worker.code(f"{root}/index.html", verb="list", gateway=gateway) == "path_not_found"


def test_content_of_the_public_conformance_suite_is_read(worker: Worker) -> None:
    for path in fixtures("gateway-conformance/fixtures/trustless_gateway_car/*.car"):
        store = MemoryBlockStore()
        with path.open("rb") as stream:
            (root, *_) = import_car(store, stream)
        with open_door(store) as door:
            for name, found in _files_below(store, root):
                assert worker.get(f"{format_cid(root)}{name}", gateway=url_of(door)) == found, (path.name, name)


def _files_below(store: MemoryBlockStore, root: Cid) -> Iterator[tuple[str, bytes]]:
    """The files of a DAG that is all there, by path, read the Python way."""
    found = resolve(store, root)
    if found.kind is EntityKind.DIRECTORY:
        for entry in list_entries(Loader(store), root):
            if store.get(entry.cid) is not None:
                for name, payload in _files_below(store, entry.cid):
                    yield f"/{(entry.name or b'').decode()}{name}", payload
    elif found.is_bytes:
        with suppress(LocalProtocolError):
            yield "", b"".join(read_range(store, root))


def test_versions_and_spellings_of_a_cid_lead_to_the_same(worker: Worker, store: MemoryBlockStore, door: Caller) -> None:
    builder = Builder()
    leaves = [builder.raw(b"one "), builder.raw(b"two")]
    version_0 = builder.file(*leaves, sizes=(4, 3), version=0)
    with open_door(builder.store) as old:
        assert format_cid(version_0).startswith("Qm")
        assert worker.get(format_cid(version_0), gateway=url_of(old)) == b"one two"
        assert worker.get(f"f01551220{leaves[0][4:].hex()}", gateway=url_of(old)) == b"one "
    assert worker.get(format_cid(identity(b"inside")), gateway=url_of(door)) == b"inside"
    assert worker.code("bafynotacid", gateway=url_of(door)) == "invalid_cid"


def test_parts_that_do_not_exist_are_refused(worker: Worker, store: MemoryBlockStore, door: Caller) -> None:
    builder = Builder()
    cid = builder.raw(b"0123456789")
    with open_door(builder.store) as opened:
        gateway = url_of(opened)
        assert worker.code(format_cid(cid), gateway=gateway, range={"first": 10}) == "range_not_satisfiable"
        assert worker.code(format_cid(cid), gateway=gateway, range={"first": 5, "last": 4}) == "invalid_range"
        assert worker.get(format_cid(cid), gateway=gateway, range={"first": 2, "last": -3}) == b"234567"
    assert worker.code(format_cid(cid_of(0x55, b"none")), gateway=url_of(door)) == "not_found"


# gateways that do not keep to the rules

FILE = content({"size": 3 * MIB + 5, "fill": "counter"})


@pytest.fixture
def honest(tmp_path: Path) -> tuple[MemoryBlockStore, Cid]:
    held = MemoryBlockStore()
    (tmp_path / "file").write_bytes(FILE)
    return held, import_path(held, tmp_path / "file").cid


def bend(blocks: list[Block]) -> list[Block]:
    (cid, payload), *rest = reversed(blocks)
    return [*reversed(rest), (cid, bytes([payload[0] ^ 1]) + payload[1:])]


ALTERED: dict[str, tuple[Callable[[list[Block]], list[Block]], str]] = {
    "a bent leaf": (bend, "corrupt_block"),
    "a missing leaf": (lambda blocks: [*blocks[:2], *blocks[3:]], "unexpected_block"),
    "a missing end": (lambda blocks: blocks[:-1], "transfer_truncated"),
    "another order": (lambda blocks: [blocks[0], blocks[2], blocks[1], *blocks[3:]], "unexpected_block"),
    "a repetition": (lambda blocks: [*blocks[:2], blocks[1], *blocks[2:]], "unexpected_block"),
    "other content": (lambda blocks: [(cid_of(0x55, b"x"), b"x")], "unexpected_block"),
    "nothing": (lambda blocks: [], "transfer_truncated"),
}


@pytest.mark.parametrize("how", ALTERED)
def test_altered_content_is_refused(worker: Worker, honest: tuple[MemoryBlockStore, Cid], how: str) -> None:
    store, cid = honest
    alter, code = ALTERED[how]
    with serving(Gateway(store, alter)) as gateway:
        assert worker.code(format_cid(cid), gateway=gateway.url) == code


def test_a_cut_answer_is_an_error_and_another_gateway_goes_on(worker: Worker, honest: tuple[MemoryBlockStore, Cid]) -> None:
    store, cid = honest
    with serving(Gateway(store, cut_after=2 * MIB)) as cut, serving(Gateway(store, bend)) as bent:
        assert worker.code(format_cid(cid), gateway=cut.url) == "transfer_truncated"
        with open_door(store) as door:  # which sends parts
            found = worker.get(format_cid(cid), gateways=["http://127.0.0.1:1", cut.url, bent.url, url_of(door)])
            assert found == FILE


def raw_answer(body: bytes, content_type: str = CAR) -> Gateway:
    async def answer(request: web.Request) -> web.StreamResponse:
        return web.Response(body=body, content_type=content_type)

    return Gateway(MemoryBlockStore(), answer_instead=answer)


HEAD = car_head((cid_of(0x55, b"x"),))
BODIES: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "transfer_truncated"),
    "a header above the limit": (encode_uvarint(65 * KIB) + bytes(65 * KIB), "malformed_car"),
    "a header of another kind": (b"\x01\x00", "malformed_car"),
    "a uvarint without end": (b"\x80" * 64, "malformed_car"),
    "a section above the limit": (HEAD + encode_uvarint(3 * MIB), "block_too_large"),
    "a section of nothing": (HEAD + b"\x00", "malformed_car"),
    "a section that is cut": (HEAD + section_head(cid_of(0x55, b"xyz"), 3) + b"x", "transfer_truncated"),
    "no CID": (HEAD + b"\x02\xff\xff", "malformed_car"),
}


@pytest.mark.parametrize("what", BODIES)
def test_what_is_no_car_is_refused(worker: Worker, what: str) -> None:
    body, code = BODIES[what]
    with serving(raw_answer(body)) as gateway:
        assert worker.code(format_cid(cid_of(0x55, b"x")), gateway=gateway.url) == code


def test_a_gateway_that_sends_something_else_is_refused(worker: Worker) -> None:
    with serving(raw_answer(b"<html>", "text/html")) as gateway:
        assert worker.code(format_cid(cid_of(0x55, b"x")), gateway=gateway.url) == "unsupported_format"
    assert worker.code(format_cid(cid_of(0x55, b"x")), gateway="http://127.0.0.1:1") == "dial_failed"


def test_content_that_is_a_trap_ends(worker: Worker) -> None:
    builder = Builder()
    empty = builder.file()
    for _ in range(80):
        empty = builder.file(empty, empty, sizes=(0, 0))
    deep = builder.file(empty, sizes=(0,), data=b"x")
    shard = builder.shard()
    for _ in range(6):
        shard = builder.shard(*((f"{n:02X}", shard) for n in range(256)))
    lies = builder.file(builder.raw(b"abc"), sizes=(5,))
    with open_door(builder.store) as door:
        gateway = url_of(door)
        assert worker.code(format_cid(deep), gateway=gateway) == "dag_too_large"
        assert worker.code(format_cid(shard), verb="list", gateway=gateway) == "malformed_block"
        assert worker.code(format_cid(lies), gateway=gateway) == "malformed_block"
        assert worker.code(format_cid(builder.symlink(b"/etc/passwd")), gateway=gateway) == "unsupported_format"
