"""The two backends, side by side whatever RETRIEVAL_NATIVE says; tests of the C one are skipped where it is not built."""

from __future__ import annotations

import os
from collections.abc import Iterator
from types import ModuleType

import pytest

from retrieval._native import _pure

try:
    from retrieval._native import _core
except ImportError as error:
    if os.environ.get("RETRIEVAL_NATIVE") == "require":
        raise
    _core = None
    _MISSING = f"the C extension cannot be loaded: {error}"
else:
    _MISSING = ""


@pytest.fixture(scope="session")
def core() -> ModuleType:
    if _core is None:
        pytest.skip(_MISSING)
    return _core


KERNELS = ("plain",) if _core is None else _core.KERNELS
"""Those that this processor has: the rest would be as many skips as there are tests."""


@pytest.fixture(scope="session", params=["pure", *KERNELS])
def backend(request: pytest.FixtureRequest) -> Iterator[ModuleType]:
    """Every implementation there is: the pure one, and the C with each of its kernels."""
    if request.param == "pure":
        yield _pure
    else:
        yield from _with_kernel(request.param)


@pytest.fixture(scope="session", params=KERNELS)
def native(request: pytest.FixtureRequest) -> Iterator[ModuleType]:
    """The C with each of its kernels."""
    yield from _with_kernel(request.param)


def _with_kernel(name: str) -> Iterator[ModuleType]:
    if _core is None:
        pytest.skip(_MISSING)
    _core.select_kernel(name)
    yield _core
    _core.select_kernel(_core.KERNELS[-1])
