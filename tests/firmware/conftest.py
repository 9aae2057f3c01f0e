"""The firmware as a library of this computer; what needs it is skipped where it cannot be built."""

from __future__ import annotations

import ctypes

import pytest
import relay_library


@pytest.fixture(scope="session")
def relay() -> ctypes.CDLL:
    loaded = relay_library.library()
    if isinstance(loaded, str):
        pytest.skip(loaded)
    return loaded
