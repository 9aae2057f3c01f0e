"""The state file: what was saved is there again, and a file that is not ours is left alone."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval.devchain.database import ChainDatabase
from retrieval.errors import ErrorCode, LocalProtocolError

KEYS = [bytes([index]) for index in range(4)]


def contents(database: ChainDatabase) -> dict[bytes, bytes]:
    return {key: database[key] for key in KEYS if key in database}


def test_what_was_saved_is_there_again_and_what_was_not_is_not(tmp_path: Path) -> None:
    path = tmp_path / "chain"
    database = ChainDatabase(path)
    database[b"kept"] = b"1"
    database[b"gone"] = b"1"
    database.save()
    del database[b"gone"]
    database.save()
    database[b"unsaved"] = b"1"
    database.close()
    again = ChainDatabase(path)
    assert [key in again for key in (b"kept", b"gone", b"unsaved")] == [True, False, False]
    again.close()


changes = st.lists(st.tuples(st.sampled_from(KEYS), st.none() | st.binary(max_size=2)), max_size=12)


def apply(database: ChainDatabase, steps: list[tuple[bytes, bytes | None]]) -> None:
    for key, value in steps:
        if value is not None:
            database[key] = value
        elif key in database:
            del database[key]


@given(before=changes, between=changes, after=changes)
def test_a_rollback_makes_everything_what_it_was(
    before: list[tuple[bytes, bytes | None]], between: list[tuple[bytes, bytes | None]], after: list[tuple[bytes, bytes | None]]
) -> None:
    database = ChainDatabase(None)
    apply(database, before)
    first, mark = contents(database), database.checkpoint()
    apply(database, between)
    second, later_mark = contents(database), database.checkpoint()
    apply(database, after)
    database.rollback(later_mark)
    assert contents(database) == second
    database.rollback(mark)
    assert contents(database) == first


def test_a_rollback_reaches_the_file(tmp_path: Path) -> None:
    database = ChainDatabase(tmp_path / "chain")
    database[b"a"] = b"1"
    mark = database.checkpoint()
    database[b"a"] = b"2"
    database[b"b"] = b"2"
    database.save()
    database.rollback(mark)
    database.save()
    database.close()
    again = ChainDatabase(tmp_path / "chain")
    assert (again[b"a"], b"b" in again) == (b"1", False)
    again.close()


def test_two_chains_cannot_hold_one_file(tmp_path: Path) -> None:
    database = ChainDatabase(tmp_path / "chain")
    with pytest.raises(LocalProtocolError) as caught:
        ChainDatabase(tmp_path / "chain")
    assert caught.value.code is ErrorCode.STATE_LOCKED
    database.close()


def test_a_file_that_is_something_else_is_refused_and_left_alone(tmp_path: Path) -> None:
    text, newer = tmp_path / "text", tmp_path / "newer"
    text.write_text("some text, longer than the header of a database " * 40)
    with sqlite3.connect(newer) as other:
        other.execute("PRAGMA user_version = 99")
    for path in (text, newer, tmp_path / "no such folder" / "chain"):
        before = path.read_bytes() if path.exists() else None
        with pytest.raises(LocalProtocolError) as caught:
            ChainDatabase(path)
        assert caught.value.code is ErrorCode.FILE_UNREADABLE
        assert (path.read_bytes() if path.exists() else None) == before
