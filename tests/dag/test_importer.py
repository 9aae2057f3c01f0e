import io
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from content import Zeros, content, make

from retrieval.cid import format_cid
from retrieval.dag import walk
from retrieval.dag.importer import UNIXFS_V1_2025, Profile, import_path, import_stream
from retrieval.errors import ErrorCode, LocalProtocolError
from retrieval.store.blocks import MemoryBlockStore

VECTORS: list[dict[str, Any]] = json.loads((Path(__file__).parents[1] / "vectors" / "unixfs.json").read_text())
GIB_FILES = {"full-node", "second-level"}


class NullStore(MemoryBlockStore):
    """Forgets what it is given: imports larger than memory."""

    def put_many(self, blocks: Any) -> None:
        self.batch_bytes_max = max(getattr(self, "batch_bytes_max", 0), sum(len(payload) for _, payload in blocks))


def profile_of(vector: dict[str, Any]) -> Profile:
    return Profile(directory_block_bytes_max=256 << 10, **vector["profile"]) if "profile" in vector else UNIXFS_V1_2025


@pytest.mark.parametrize("vector", [v for v in VECTORS if v["name"] not in GIB_FILES], ids=lambda v: v["name"])
def test_roots_equal_those_of_kubo_and_helia(vector: dict[str, Any], tmp_path: Path) -> None:
    root = import_path(MemoryBlockStore(), make(vector["content"], tmp_path / vector["name"]), profile_of(vector))
    assert format_cid(root.cid) == vector["root"]


@pytest.mark.parametrize("vector", [v for v in VECTORS if v["name"] in GIB_FILES], ids=lambda v: v["name"])
def test_a_file_of_gibibytes_is_written_in_small_batches(vector: dict[str, Any]) -> None:
    store = NullStore()
    root = import_stream(store, Zeros(vector["content"]["size"]), "zeros")
    assert format_cid(root.cid) == vector["root"]
    assert store.batch_bytes_max <= 5 << 20
