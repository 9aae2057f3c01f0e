"""Every implementation gives what ``tests/vectors/native.json`` says."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import golden
import pytest

from retrieval._native import BlockStatus, block_rows, frame_rows

VECTORS: dict[str, Any] = golden.load("native")
RAW_SHA2_256 = bytes.fromhex("01551220")


def unpack(data: str | list[Any]) -> bytes:
    parts = [data] if isinstance(data, str) else data
    return b"".join(bytes.fromhex(part) if isinstance(part, str) else bytes.fromhex(part["repeat"]) * part["times"] for part in parts)


def cases(section: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("case", VECTORS[section], ids=lambda case: case.get("why", str(case["data"])[:24]))


@cases("uvarint")
def test_a_uvarint_is_read_as_the_vector_says(backend: ModuleType, case: dict[str, Any]) -> None:
    if "error" in case:
        with pytest.raises(ValueError, match=case["error"]):
            backend.decode_uvarint(unpack(case["data"]))
    else:
        assert backend.decode_uvarint(unpack(case["data"])) == (case["value"], case["end"])


@cases("cid")
def test_a_cid_is_read_as_the_vector_says(backend: ModuleType, case: dict[str, Any]) -> None:
    if "error" in case:
        with pytest.raises(ValueError, match=case["error"]):
            backend.parse_cid(unpack(case["data"]))
    else:
        expected = tuple(case[field] for field in ("version", "codec", "hash_code", "digest_start", "end"))
        assert backend.parse_cid(unpack(case["data"])) == expected


@cases("sha256")
def test_a_digest_is_the_one_of_the_vector(backend: ModuleType, case: dict[str, Any]) -> None:
    cid = RAW_SHA2_256 + bytes.fromhex(case["digest"])
    assert backend.verify_block(cid, unpack(case["data"])) == BlockStatus.OK


@cases("verify_frames")
def test_frames_are_verified_as_the_vector_says(backend: ModuleType, case: dict[str, Any]) -> None:
    table, n_frames, consumed, stop = backend.verify_frames(unpack(case["data"]), case["offset"], case["frames_max"])

    assert [list(row) for row in block_rows(table)] == case["rows"]
    assert (n_frames, consumed, stop) == (len(case["rows"]), case["consumed"], case["stop"])


@cases("scan_frames")
def test_frames_are_split_as_the_vector_says(backend: ModuleType, case: dict[str, Any]) -> None:
    table, n_frames, consumed, stop = backend.scan_frames(unpack(case["data"]), case["offset"], case["frames_max"])

    assert [list(row) for row in frame_rows(table)] == case["rows"]
    assert (n_frames, consumed, stop) == (len(case["rows"]), case["consumed"], case["stop"])
