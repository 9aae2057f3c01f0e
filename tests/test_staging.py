"""The staging buffer: what goes through it past the page cache is what was meant, whatever its size and wherever it is written."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from retrieval.staging import ALIGNMENT, STAGING_BYTES, Staging, align, open_direct, write_cached

SIZES = st.sampled_from((0, 1, 100, ALIGNMENT - 1, ALIGNMENT, 70_000, STAGING_BYTES - 1, STAGING_BYTES, STAGING_BYTES + ALIGNMENT + 1))


@pytest.fixture(scope="module")
def staging() -> Staging:
    return Staging()


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(sizes=st.lists(SIZES, max_size=5), n_before=st.integers(0, 3), direct_too=st.booleans())
def test_parts_come_out_as_they_went_in_and_padded(
    tmp_path: Path, staging: Staging, sizes: list[int], n_before: int, direct_too: bool
) -> None:
    parts = [os.urandom(size) for size in sizes]
    content, start = b"".join(parts), n_before * ALIGNMENT
    with open(tmp_path / "file", "w+b", buffering=0) as file:
        direct = open_direct(file.fileno()) if direct_too else None
        end = staging.write(file.fileno(), None if direct is None else direct.fileno(), iter(parts), start)
        assert end == start + align(len(content))
        assert os.pread(file.fileno(), STAGING_BYTES * 8, start) == content + bytes(end - start - len(content))


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(offset=st.integers(0, 300_000), size=st.integers(0, 300_000))
def test_any_range_is_read_as_far_as_the_file_goes(tmp_path: Path, staging: Staging, offset: int, size: int) -> None:
    path = tmp_path / "file"
    if not path.exists():
        path.write_bytes(os.urandom(250_001))
    with open(path, "rb") as file:
        direct = open_direct(file.fileno())
        if direct is None:
            pytest.skip("this file system has no direct reads")
        with direct:
            assert bytes(staging.read(direct.fileno(), offset, size)) == path.read_bytes()[offset : offset + size]


def test_what_a_direct_write_refuses_goes_through_the_page_cache(tmp_path: Path) -> None:
    class Unaligned(Staging):
        """A buffer whose address no direct write takes: the error is that of a file system without them."""

        def __init__(self) -> None:
            self._buffer = memoryview(bytearray(STAGING_BYTES + 1))[1:]

    content = os.urandom(2 * STAGING_BYTES + 1)
    with open(tmp_path / "file", "w+b", buffering=0) as file:
        direct = open_direct(file.fileno())
        Unaligned().write(file.fileno(), None if direct is None else direct.fileno(), [content], 0)
        assert os.pread(file.fileno(), len(content), 0) == content


def test_many_parts_are_written_one_behind_another(tmp_path: Path) -> None:
    parts = [bytes([n % 256]) * (n % 7) for n in range(3_000)]
    with open(tmp_path / "file", "w+b", buffering=0) as file:
        assert write_cached(file.fileno(), parts, 5) == 5 + sum(map(len, parts))
        assert os.pread(file.fileno(), 1 << 20, 5) == b"".join(parts)
