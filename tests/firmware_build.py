"""What ``make -C firmware`` makes, made once however many processes test; a test that lacks something is skipped and says what."""

from __future__ import annotations

import fcntl
import shutil
import subprocess
from functools import cache
from pathlib import Path

import pytest

from benchmarks.radio import boards
from benchmarks.radio.boards import Board

FIRMWARE = Path(__file__).resolve().parent.parent / "firmware"
BUILD_TIMEOUT_S = 300.0


@cache
def _make() -> str | None:
    """Build what can be built here; returns what make said when it failed."""
    if shutil.which("make") is None or shutil.which("gcc") is None:
        return "make or gcc is not installed"
    (FIRMWARE / "build").mkdir(exist_ok=True)
    with (FIRMWARE / "build" / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        made = subprocess.run(["make", "-C", str(FIRMWARE)], capture_output=True, text=True, timeout=BUILD_TIMEOUT_S, check=False)
    return f"make -C firmware failed: {(made.stdout + made.stderr)[-1000:]}" if made.returncode else None


def require(*wanted: Board) -> None:
    """Skip the test unless these boards can run here."""
    failure = _make()
    for board in wanted:
        if lacking := boards.missing(board):
            pytest.skip(failure or lacking)
