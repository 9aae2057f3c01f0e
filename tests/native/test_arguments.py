"""What the functions take, what they refuse, and that a batch is verified without the GIL."""

from __future__ import annotations

import array
import csv
import hashlib
import os
import sys
import threading
from pathlib import Path
from types import ModuleType

import pytest

from retrieval import _native
from retrieval._native import BlockStatus, Stop, _pure

CONSTANTS = [name for name in _native.__all__ if name.endswith(("_MAX", "_SIZE", "_BLOCK"))]
FIXTURES = Path(os.environ.get("RETRIEVAL_FIXTURES", Path(__file__).parents[3] / "shared" / "fixtures"))
MULTIHASHES = FIXTURES / "multihash" / "tests" / "values" / "test_cases.csv"
HASH_CODES = {"sha1": 0x11, "sha2-256": 0x12, "sha2-512": 0x13, "sha3-512": 0x14, "sha3": 0x14}


def block_frame(payload: bytes) -> bytes:
    body = b"\x05" + bytes(16) + bytes(4) + b"\x24\x01\x55\x12\x20" + hashlib.sha256(payload).digest() + payload
    return _pure.encode_uvarint(len(body)) + body


def test_both_backends_have_the_same_limits(core: ModuleType) -> None:
    assert CONSTANTS
    assert [getattr(core, name) for name in CONSTANTS] == [getattr(_pure, name) for name in CONSTANTS]


@pytest.mark.parametrize(
    "kind", [bytes, bytearray, memoryview, lambda data: memoryview(b"x" + data)[1:], lambda data: array.array("B", data)]
)
def test_any_contiguous_buffer_is_taken(backend: ModuleType, kind: type) -> None:
    frame = block_frame(b"hello")
    data = kind(frame)

    assert backend.verify_frames(data, 0, 1) == backend.verify_frames(frame, 0, 1)
    assert backend.scan_frames(data, 0, 1) == backend.scan_frames(frame, 0, 1)
    assert backend.decode_uvarint(data) == (frame[0], 1)
    assert backend.parse_cid(data, 23)[4] == 59
    assert backend.verify_block(data[23:59], data[59:]) == BlockStatus.OK


def test_a_buffer_with_holes_is_refused(backend: ModuleType) -> None:
    view = memoryview(bytes(64))[::2]
    for call in (backend.decode_uvarint, backend.parse_cid):
        with pytest.raises(BufferError):
            call(view)
    with pytest.raises(BufferError):
        backend.verify_block(b"", view)
    with pytest.raises(BufferError):
        backend.verify_frames(view, 0, 1)


def test_text_is_refused(backend: ModuleType) -> None:
    for call in (backend.decode_uvarint, backend.parse_cid, backend.encode_uvarint):
        with pytest.raises(TypeError):
            call("text")
    with pytest.raises(TypeError):
        backend.verify_block(b"", "text")
    with pytest.raises(TypeError):
        backend.select_kernel(b"plain")


@pytest.mark.parametrize("offset", [-1, 4, 1 << 70, -(1 << 70)])
def test_an_offset_outside_the_data_is_refused(backend: ModuleType, offset: int) -> None:
    for call in (
        lambda: backend.decode_uvarint(b"abc", offset),
        lambda: backend.parse_cid(b"abc", offset),
        lambda: backend.verify_frames(b"abc", offset, 1),
        lambda: backend.scan_frames(b"abc", offset, 1),
    ):
        with pytest.raises(ValueError, match="the offset lies outside the data"):
            call()


@pytest.mark.parametrize("frames_max", [0, -1, _native.FRAMES_PER_CALL_MAX + 1, 1 << 70])
def test_a_table_has_between_one_row_and_its_limit(backend: ModuleType, frames_max: int) -> None:
    for walk in (backend.verify_frames, backend.scan_frames):
        with pytest.raises(ValueError, match="frames_max is 1 to 65536"):
            walk(b"", 0, frames_max)


@pytest.mark.parametrize("n_arguments", [0, 1, 2, 4])
def test_a_wrong_number_of_arguments_is_refused(backend: ModuleType, n_arguments: int) -> None:
    arguments = (b"", 0, 1, 1)[:n_arguments]
    for walk in (backend.verify_frames, backend.scan_frames):
        with pytest.raises(TypeError):
            walk(*arguments)


def test_as_many_frames_as_one_call_can_return_are_returned(backend: ModuleType) -> None:
    data = b"\x01\x0b" * _native.FRAMES_PER_CALL_MAX
    assert backend.scan_frames(data, 0, _native.FRAMES_PER_CALL_MAX)[1:] == (_native.FRAMES_PER_CALL_MAX, len(data), Stop.NEED_MORE)
    assert backend.scan_frames(data + b"\x01\x0b", 0, _native.FRAMES_PER_CALL_MAX)[1:] == (len(data) // 2, len(data), Stop.FULL)


def test_a_bytearray_can_be_resized_again_after_a_call(backend: ModuleType) -> None:
    data = bytearray(block_frame(b"hello"))
    backend.verify_frames(data, 0, 1)
    with pytest.raises(ValueError):
        backend.verify_frames(data, 0, 0)
    with pytest.raises(ValueError):
        backend.decode_uvarint(data, 1000)
    data.clear()


def test_every_kernel_can_be_selected_and_no_other(backend: ModuleType) -> None:
    for kernel in (*backend.KERNELS, backend.KERNELS[0]):
        backend.select_kernel(kernel)
        assert backend.verify_block(b"\x12\x20" + hashlib.sha256(b"x").digest(), b"x") == BlockStatus.OK
    with pytest.raises(ValueError, match="'abacus' is not available"):
        backend.select_kernel("abacus")


@pytest.mark.parametrize("size", [*range(130), 1000, 4096, 1 << 20, (1 << 20) + 63])
def test_every_kernel_equals_hashlib(backend: ModuleType, size: int) -> None:
    payload = (b"\x00\xff\x5a" * (size // 3 + 1))[:size]
    cid = b"\x12\x20" + hashlib.sha256(payload).digest()
    assert backend.verify_block(cid, payload) == BlockStatus.OK
    assert backend.verify_block(cid, payload + b"\0") == BlockStatus.CORRUPT


@pytest.mark.skipif(not MULTIHASHES.exists(), reason="the multihash fixtures are not there")
def test_published_multihashes_are_read_and_the_supported_ones_verified(backend: ModuleType) -> None:
    with MULTIHASHES.open(newline="") as file:
        rows = list(csv.DictReader(file))
    statuses = set()
    for row in rows:
        multihash = bytes.fromhex(row["multihash"])
        cid = b"\x01\x55" + multihash
        _, _, hash_code, digest_start, end = backend.parse_cid(cid)
        assert (hash_code, end - digest_start, end) == (HASH_CODES[row["algorithm"]], int(row["bits"]) // 8, len(cid))
        status = backend.verify_block(cid, row["input"].encode())
        supported = (row["algorithm"], row["bits"]) == ("sha2-256", "256")
        assert status == (BlockStatus.OK if supported else BlockStatus.UNSUPPORTED_HASH)
        statuses.add(status)
    assert statuses == {BlockStatus.OK, BlockStatus.UNSUPPORTED_HASH}


def test_another_thread_runs_while_a_batch_is_verified(core: ModuleType) -> None:
    # Python itself hands the GIL over after the switch interval; set beyond any test's life, only the C can.
    interval = sys.getswitchinterval()
    data = block_frame(bytes(1 << 20)) * 4
    gate, ran = threading.Lock(), threading.Event()
    gate.acquire()
    thread = threading.Thread(target=lambda: gate.acquire() and ran.set())
    thread.start()
    try:
        sys.setswitchinterval(3600)
        gate.release()
        n_calls = 0
        while not ran.is_set() and n_calls < 1000:
            core.verify_frames(data, 0, 4)
            n_calls += 1
        assert ran.is_set()
    finally:
        sys.setswitchinterval(interval)
        thread.join()
