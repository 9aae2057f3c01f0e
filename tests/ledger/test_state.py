"""The contract of a state storage, which every implementation passes."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from retrieval.ledger.entry import GENESIS_HASH, Entry, Record, RecordKind, chain
from retrieval.ledger.state import MemoryStateStorage, Overlay, Row, StateStorage
from retrieval.store.lmdb import LmdbStateStorage


@pytest.fixture(params=["memory", "lmdb"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[StateStorage]:
    if request.param == "memory":
        yield MemoryStateStorage()
        return
    on_disk = LmdbStateStorage.open(tmp_path / "state", command="test")
    yield on_disk
    on_disk.close()


def chained(n: int) -> list[Entry]:
    entries: list[Entry] = []
    for sequence in range(1, n + 1):
        record = Record(kind=RecordKind.PAYMENT, subject=b"channel", body=bytes([sequence % 256]))
        prev_hash = entries[-1].hash if entries else GENESIS_HASH
        entries.append(chain(record, sequence=sequence, time_ms=sequence, prev_hash=prev_hash))
    return entries


def row(table: str, key: bytes, value: bytes | None = b"") -> Row:
    return Row(table=table, key=key, value=value)


def test_an_empty_storage_has_nothing(storage: StateStorage) -> None:
    with storage.snapshot() as stored:
        assert list(stored.entries()) == []
        assert list(stored.rows()) == []
        assert stored.last_entry() is None
    assert storage.get("t/1", b"k") is None
    assert storage.scan("t/1") == []


def test_entries_and_rows_are_committed_together(storage: StateStorage) -> None:
    entries = chained(3)
    storage.commit(entries, [row("t/1", b"k", b"v")])
    with storage.snapshot() as stored:
        assert list(stored.entries()) == entries
        assert stored.last_entry() == entries[-1]
        assert stored.get("t/1", b"k") == b"v"
    assert storage.get("t/1", b"k") == b"v"


def test_sequence_order_is_numeric(storage: StateStorage) -> None:
    entries = chained(700)
    for start in range(0, 700, 100):
        storage.commit(entries[start : start + 100], [])
    with storage.snapshot() as stored:
        assert [entry.sequence for entry in stored.entries(255)] == list(range(255, 701))
        assert list(stored.entries(701)) == []


def test_the_last_of_several_rows_with_one_key_counts(storage: StateStorage) -> None:
    storage.commit([], [row("t/1", b"k", b"first"), row("t/1", b"k", None), row("t/1", b"k", b"last")])
    assert storage.get("t/1", b"k") == b"last"


def test_deleting_a_row_twice_is_deleting_it(storage: StateStorage) -> None:
    storage.commit([], [row("t/1", b"k", b"v")])
    storage.commit([], [row("t/1", b"k", None)])
    storage.commit([], [row("t/1", b"k", None)])
    assert storage.get("t/1", b"k") is None


def test_an_empty_value_is_not_no_value(storage: StateStorage) -> None:
    storage.commit([], [row("t/1", b"k", b"")])
    assert storage.get("t/1", b"k") == b""


def test_scanning_keeps_to_its_table_and_prefix_in_key_order(storage: StateStorage) -> None:
    keys = [b"\x00", b"a", b"a\x00b", b"ab", b"b", b"\xff" * 256]
    storage.commit([], [row("t/1", key, key[:4]) for key in reversed(keys)])
    storage.commit([], [row(table, b"a", b"other") for table in ("s/1", "t/10", "t/2", "t")])
    assert storage.scan("t/1") == [(key, key[:4]) for key in sorted(keys)]
    assert [key for key, _ in storage.scan("t/1", b"a")] == [b"a", b"a\x00b", b"ab"]
    assert storage.scan("t/1", b"c") == []


def test_rows_come_in_the_order_of_tables_then_keys(storage: StateStorage) -> None:
    rows = [row("a/1", b"\x00"), row("a/1", b"z"), row("a/10", b"b"), row("b/1", b"a")]
    storage.commit([], reversed(rows))
    with storage.snapshot() as stored:
        assert list(stored.rows()) == rows


def test_a_snapshot_does_not_move_while_another_thread_commits(storage: StateStorage) -> None:
    entries = chained(2)
    storage.commit(entries[:1], [row("t/1", b"k", b"before")])
    with storage.snapshot() as stored:
        writer = threading.Thread(target=storage.commit, args=(entries[1:], [row("t/1", b"k", b"after")]))
        writer.start()
        writer.join()
        assert list(stored.entries()) == entries[:1]
        assert stored.get("t/1", b"k") == b"before"
        assert stored.scan("t/1") == [(b"k", b"before")]
    assert storage.get("t/1", b"k") == b"after"


def test_an_overlay_reads_as_if_it_were_committed(storage: StateStorage) -> None:
    storage.commit([], [row("t/1", key, b"below") for key in (b"a1", b"a2", b"b1")])
    changed = [row("t/1", b"a2", None), row("t/1", b"a3", b"above"), row("t/1", b"b1", b"above"), row("u/1", b"a1", b"above")]
    overlay = Overlay(storage)
    overlay.write(changed)
    seen = [overlay.scan("t/1"), overlay.scan("t/1", b"a"), overlay.scan("u/1"), overlay.get("t/1", b"a1"), overlay.get("t/1", b"a2")]
    assert storage.get("t/1", b"a2") == b"below"
    storage.commit([], overlay.changes())
    assert seen == [storage.scan("t/1"), storage.scan("t/1", b"a"), storage.scan("u/1"), b"below", None]
