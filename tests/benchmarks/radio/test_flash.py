"""Flash keeps what NOR flash keeps, and refuses what it cannot do."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from benchmarks.radio.flash import SECTOR_SIZE, Flash


def test_what_was_written_is_read_and_what_was_erased_is_ones() -> None:
    flash = Flash(2 * SECTOR_SIZE)
    assert flash.write(256, b"kept")
    assert flash.read(256, 5) == b"kept\xff"
    assert flash.erase(0)
    assert flash.read(256, 5) == b"\xff" * 5
    assert flash.findings == []


def test_writing_only_clears_bits_and_setting_one_is_a_finding() -> None:
    flash = Flash(SECTOR_SIZE)
    flash.write(0, b"\xf0")
    flash.write(0, b"\x70")
    assert flash.findings == []
    flash.write(0, b"\x0f")
    assert flash.read(0, 1) == b"\0"
    assert len(flash.findings) == 1


def test_nothing_crosses_a_page_or_leaves_the_sectors() -> None:
    flash = Flash(SECTOR_SIZE)
    assert not flash.write(255, b"xy")
    assert not flash.write(SECTOR_SIZE, b"x")
    assert not flash.erase(1)
    assert flash.read(SECTOR_SIZE - 1, 2) is None
    assert len(flash.findings) == 3


@given(st.integers(1, 30), st.lists(st.one_of(st.none(), st.binary(min_size=1, max_size=9)), max_size=8))
def test_after_power_went_nothing_changes(after: int, steps: list[bytes | None]) -> None:
    flash = Flash(SECTOR_SIZE)
    flash.cut_after(after)
    spent = 0
    for number, written in enumerate(steps):
        done = flash.erase(0) if written is None else flash.write(number * 16, written)
        spent += 1 if written is None else len(written)
        assert done is (spent < after)
    before = bytes(flash.image)
    flash.cut_after(0)
    assert not flash.write(2048, b"\0")
    assert bytes(flash.image) == before
