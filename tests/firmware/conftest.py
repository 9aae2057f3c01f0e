"""The firmware as a library of this computer; what needs it is skipped where it cannot be built.

``benchmarks``, which has the air and the chip, is not installed: it is found where this checkout is, after everything that is.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import relay_library

sys.path.append(str(Path(__file__).resolve().parent.parent.parent))

if TYPE_CHECKING:
    from relay_line import RelayLine


@pytest.fixture(scope="session")
def relay() -> ctypes.CDLL:
    loaded = relay_library.library()
    if isinstance(loaded, str):
        pytest.skip(loaded)
    return loaded


@pytest.fixture
def lines(relay: ctypes.CDLL) -> Iterator[Callable[[int], RelayLine]]:
    """Makes lines of so many relays, and holds their drivers to account at the end."""
    from relay_line import RelayLine

    made: list[RelayLine] = []

    def make(n_nodes: int) -> RelayLine:
        made.append(RelayLine(n_nodes))
        return made[-1]

    yield make
    for line in made:
        line.close()
