import io
import os
import shutil
import socket
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from content import Zeros, content, make
from golden import load

from retrieval.cid import Cid, format_cid
from retrieval.dag import importer
from retrieval.dag.importer import UNIXFS_V1_2025, Profile, import_path, import_stream
from retrieval.dag.walk import Walk, read
from retrieval.errors import ErrorCode, LocalProtocolError
from retrieval.store.blocks import MemoryBlockStore, Root

VECTORS: list[dict[str, Any]] = load("unixfs")
HUGE = "second-level"
NODE_MODULES = os.environ.get("RETRIEVAL_NODE_MODULES")
NODE_SCRIPT = """
import { importer } from 'ipfs-unixfs-importer'
import fs from 'node:fs'
import path from 'node:path'
const root = process.argv[2]
function * entries (at) {
  const name = path.relative(path.dirname(root), at)
  if (!fs.lstatSync(at).isDirectory()) {
    yield { path: name, content: fs.createReadStream(at) }
    return
  }
  const below = fs.readdirSync(at)
  if (below.length === 0) yield { path: name }
  for (const name of below) yield * entries(path.join(at, name))
}
const blocks = { put: async (cid) => cid }
let last
for await (const entry of importer(entries(root), blocks, { profile: 'unixfs-v1-2025', wrapWithDirectory: false })) last = entry
console.log(last.cid.toString())
"""


class Forgetful(MemoryBlockStore):
    """Notes how large the batches are and keeps nothing, for files larger than memory."""

    batch_bytes_max = 0

    def put_many(self, blocks: Iterable[tuple[Cid, bytes]]) -> None:
        self.batch_bytes_max = max(self.batch_bytes_max, sum(len(payload) for _, payload in blocks))


def profile_of(vector: dict[str, Any]) -> Profile:
    return Profile(directory_block_bytes_max=256 << 10, **vector["profile"]) if "profile" in vector else UNIXFS_V1_2025


def imported(path: Path) -> Root:
    return import_path(MemoryBlockStore(), path)


def code_of(path: Path) -> ErrorCode:
    with pytest.raises(LocalProtocolError) as refused:
        imported(path)
    return refused.value.code


@pytest.mark.parametrize("vector", [v for v in VECTORS if v["name"] != HUGE], ids=lambda v: v["name"])
def test_roots_equal_those_of_kubo_and_helia(vector: dict[str, Any], tmp_path: Path) -> None:
    store = MemoryBlockStore()
    root = import_path(store, make(vector["content"], tmp_path / vector["name"]), profile_of(vector))
    assert format_cid(root.cid) == vector["root"]
    assert root.name == vector["name"]
    walk = Walk(root.cid)
    assert sum(len(payload) for _, payload in read(store, walk)) == root.n_bytes == store.bytes_used()
    assert walk.n_blocks == root.n_blocks


def test_a_file_of_a_gibibyte_goes_through_in_small_batches() -> None:
    (vector,) = (vector for vector in VECTORS if vector["name"] == HUGE)
    store = Forgetful()
    size = vector["content"]["size"]
    root = import_stream(store, Zeros(size), "zeros")
    assert format_cid(root.cid) == vector["root"]
    assert root.file_bytes == size
    assert store.batch_bytes_max <= 5 << 20


def test_many_small_files_go_through_in_small_batches(tmp_path: Path) -> None:
    store = Forgetful()
    names = {f"{n}": {"size": 100 << 10, "fill": "zeros"} for n in range(3)} | {
        f"c{n}": {"size": 2 << 20, "fill": "counter"} for n in range(9)
    }
    import_path(store, make({"names": names}, tmp_path / "dir"))
    assert store.batch_bytes_max <= 5 << 20


@pytest.mark.parametrize("vector", [v for v in VECTORS if "importer" in v["given_by"] and v["name"] != HUGE], ids=lambda v: v["name"])
def test_helia_still_gives_the_roots_of_the_vectors(vector: dict[str, Any], tmp_path: Path) -> None:
    node = shutil.which("node")
    if node is None or NODE_MODULES is None:
        pytest.skip("needs node, and RETRIEVAL_NODE_MODULES naming a node_modules with ipfs-unixfs-importer")
    (tmp_path / "node_modules").symlink_to(NODE_MODULES)
    (tmp_path / "add.mjs").write_text(NODE_SCRIPT)
    path = make(vector["content"], tmp_path / vector["name"])
    told = subprocess.run([node, "add.mjs", path], cwd=tmp_path, capture_output=True, text=True, check=True, timeout=60)
    assert told.stdout.strip() == vector["root"]


def test_a_pipe_that_gives_little_at_a_time_is_read_to_its_end() -> None:
    whole = content({"size": 1000, "fill": "counter"})
    profile = Profile(chunk_bytes=300, links_per_node=3, directory_block_bytes_max=1)

    class Pipe(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            return super().read(min(size or 0, 70))

    by_pipe = import_stream(MemoryBlockStore(), Pipe(whole), "pipe", profile)
    assert by_pipe.cid == import_stream(MemoryBlockStore(), io.BytesIO(whole), "file", profile).cid


def test_bytes_are_counted_once_a_distinct_block(tmp_path: Path) -> None:
    root = imported(make({"names": {"a": {"size": 10, "fill": "zeros"}, "b": {"size": 10, "fill": "zeros"}}}, tmp_path / "dir"))
    assert root.file_bytes == 20
    assert root.n_blocks == 2


def test_names_that_are_no_text_are_kept(tmp_path: Path) -> None:
    (tmp_path / "dir").mkdir()
    Path(os.fsdecode(os.fsencode(tmp_path / "dir") + b"/\xff\xfe")).write_bytes(b"x")
    assert imported(tmp_path / "dir").n_blocks == 2
    assert imported(Path(os.fsdecode(os.fsencode(tmp_path / "dir") + b"/\xff\xfe"))).name == "\ufffd\ufffd"


def test_a_symlink_is_content_even_where_the_import_begins(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"secret")
    (tmp_path / "link").symlink_to("file")
    root = imported(tmp_path / "link")
    assert root.file_bytes == 0
    assert root.cid != imported(tmp_path / "file").cid


def test_a_trailing_slash_does_not_change_the_name(tmp_path: Path) -> None:
    (tmp_path / "dir").mkdir()
    assert import_path(MemoryBlockStore(), f"{tmp_path}/dir/").name == "dir"


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket"))
    for name in ("pipe", "socket", "missing"):
        assert code_of(tmp_path / name) is ErrorCode.FILE_UNREADABLE
    with pytest.raises(LocalProtocolError, match=f"{tmp_path.name}/pipe"):
        imported(tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_file_without_permission_is_named(tmp_path: Path) -> None:
    (tmp_path / "dir").mkdir()
    (tmp_path / "dir" / "closed").touch(mode=0)
    with pytest.raises(LocalProtocolError, match="dir/closed"):
        imported(tmp_path / "dir")


def test_nesting_is_limited(tmp_path: Path) -> None:
    (tmp_path / "d" / "/".join("d" * importer.DIRECTORY_DEPTH_MAX)).mkdir(parents=True)
    assert code_of(tmp_path / "d") is ErrorCode.DAG_TOO_LARGE


def test_the_width_of_a_directory_is_limited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importer, "ENTRIES_MAX", 3)
    make({"entries": 4, "widen": 0}, tmp_path / "dir")
    assert code_of(tmp_path / "dir") is ErrorCode.DAG_TOO_LARGE


def test_the_number_of_blocks_is_limited(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(importer, "BLOCKS_MAX", 2)
    (tmp_path / "file").write_bytes(content({"size": (2 << 20) + 1, "fill": "counter"}))
    assert code_of(tmp_path / "file") is ErrorCode.DAG_TOO_LARGE


def test_a_full_store_refuses_the_import(tmp_path: Path) -> None:
    with pytest.raises(LocalProtocolError) as refused:
        import_path(MemoryBlockStore(bytes_max=100), make({"size": 200, "fill": "zeros"}, tmp_path / "file"))
    assert refused.value.code is ErrorCode.STORE_FULL
