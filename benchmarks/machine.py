"""What the figures were taken on: the machine, the versions, the commit, and how busy it was with other things."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import ssl
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Final

from benchmarks.pair import Unavailable
from benchmarks.peers import kubo_bitswap
from benchmarks.processes import ROOT, Json
from retrieval import _native

PACKAGES: Final = ("aiohttp", "cryptography", "iroh", "libp2p", "lmdb", "retrieval-market-node", "trio")
FLAGS: Final = ("aes", "avx2", "avx512f", "sha_ni", "sha2")
"""Of the processor: those the kernels of this project and of OpenSSL choose by."""
QUIET_LOAD_MAX: Final = 0.5
"""Processes that may have been waiting or running, over the last minute, before a run counts as taken on a quiet machine."""


def describe() -> Json:
    """Everything about this machine that a figure depends on."""
    load = os.getloadavg()[0]
    return {
        "processor": _processor("model name") or platform.processor() or platform.machine(),
        "flags": [flag for flag in FLAGS if flag in _processor("flags").split()],
        "cores": os.cpu_count(),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "system": f"{platform.system()} {platform.release()}",
        "load_before": round(load, 2),
        "quiet": load <= QUIET_LOAD_MAX,
    }


def versions() -> dict[str, str]:
    """Of everything measured, as installed here."""
    found = {"python": platform.python_version(), "openssl": ssl.OPENSSL_VERSION, "backend": _native.BACKEND}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    with suppress(Unavailable):
        found["kubo"] = ", ".join(kubo_bitswap.binaries())
    return found


def commit() -> str:
    """The commit of this checkout, ``+changes`` where files differ from it; empty outside a checkout."""
    head = _git("rev-parse", "--short=12", "HEAD")
    return head + ("+changes" if head and _git("status", "--porcelain", "--untracked-files=no") else "")


def _git(*arguments: str) -> str:
    try:
        return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):  # no git, or no repository: a source archive
        return ""


def _processor(field: str) -> str:
    """A field of the first processor, as Linux tells it."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.partition(":")[0].strip() == field), "")
