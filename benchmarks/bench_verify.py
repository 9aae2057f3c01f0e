"""How much faster than hashlib does the C core verify a batch of blocks, on one core?"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from functools import partial
from typing import Final

from benchmarks.measure import Setting, Sheet, take_turns
from benchmarks.stages import frame_blocks
from retrieval import _native
from retrieval._native import BlockRow, block_rows
from retrieval.units import KIB, MIB

BLOCK_BYTES: Final = {"1 MiB blocks": MIB, "64 KiB blocks": 64 * KIB, "4 KiB blocks": 4 * KIB}
TARGETS: Final = {"1 MiB blocks": 1.6, "64 KiB blocks": None, "4 KiB blocks": 2.0}
"""Of the kernel that is chosen by itself. Where that one uses AVX-512 the target for 1 MiB is 2."""
AVX512_TARGET: Final = 2.0


def run(setting: Setting, sheet: Sheet) -> None:
    if not _native.KERNELS:
        sheet.skip("every kernel", "the C extension is not built")
        return
    for blocks, block_bytes in BLOCK_BYTES.items():
        n_bytes = max(setting.workload.verify_bytes // block_bytes, 1) * block_bytes
        frames = frame_blocks(n_bytes, block_bytes)
        subjects: dict[str, Callable[[], float]] = {"hashlib": partial(_rate_of_hashlib, frames, n_bytes)}
        subjects |= {kernel: partial(_rate_of_kernel, kernel, frames, n_bytes) for kernel in _native.KERNELS}
        rates = take_turns(setting.runs, subjects)
        baseline = sheet.add(f"{blocks}, hashlib", rates.pop("hashlib"), "MiB/s")
        for kernel, samples in rates.items():
            target = TARGETS[blocks] if kernel == _native.KERNELS[-1] else None
            if target is not None and block_bytes == MIB and "avx512" in kernel:
                target = AVX512_TARGET
            sheet.add(f"{blocks}, kernel {kernel} against hashlib", samples, "MiB/s", baseline=baseline.value, target=target)
    _native.select_kernel(_native.KERNELS[-1])


def _rate_of_kernel(kernel: str, frames: bytes, n_bytes: int) -> float:
    """MiB/s of CPU time, splitting the frames included."""
    _native.select_kernel(kernel)
    before, at = time.thread_time(), 0
    while at < len(frames):
        _, _, at, _ = _native.verify_frames(frames, at, _native.FRAMES_PER_CALL_MAX)
    return n_bytes / MIB / (time.thread_time() - before)


def _rate_of_hashlib(frames: bytes, n_bytes: int) -> float:
    """MiB/s of CPU time for the same payloads, found beforehand, each compared with its CID."""
    rows: list[BlockRow] = []
    at = 0
    while at < len(frames):
        table, _, at, _ = _native.verify_frames(frames, at, _native.FRAMES_PER_CALL_MAX)
        rows += block_rows(table)
    with memoryview(frames) as view:
        before = time.thread_time()
        for row in rows:
            assert hashlib.sha256(view[row.payload_start : row.payload_end]).digest() == view[row.payload_start - 32 : row.payload_start]
        return n_bytes / MIB / (time.thread_time() - before)
