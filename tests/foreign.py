"""Test data of other projects, read where it lies and never copied (see the README beside it)."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

FIXTURES = Path(os.environ.get("RETRIEVAL_FIXTURES", Path(__file__).parents[2] / "shared" / "fixtures"))


def fixtures(pattern: str) -> list[Path]:
    """The files that match; skips the test where there are none."""
    found = sorted(FIXTURES.glob(pattern))
    if not found:
        pytest.skip(f"no external fixtures {pattern} (../shared/fixtures, or RETRIEVAL_FIXTURES)")
    return found
