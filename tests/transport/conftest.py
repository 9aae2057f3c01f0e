"""Clocks for tests of Trio modules."""

from __future__ import annotations

import pytest
from trio.testing import MockClock


@pytest.fixture
def autojump_clock() -> MockClock:
    """Time passes only when every task waits for it. The threshold leaves real sockets the time to speak first."""
    return MockClock(autojump_threshold=0.2)
