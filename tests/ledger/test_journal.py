"""The journal: chained, atomic, replayable, and refusing to start or check when something does not fit."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval.errors import ErrorCode, LocalProtocolError
from retrieval.ledger.entry import GENESIS_HASH, chain
from retrieval.ledger.journal import APPEND_MAX, GENESIS, Entry, Journal, Record, RecordKind, export_lines, replay, verified
from retrieval.ledger.state import MemoryStateStorage, Row, StateStorage, StateView
from retrieval.store.lmdb import LmdbStateStorage


@pytest.fixture(params=["memory", "lmdb"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[StateStorage]:
    if request.param == "memory":
        yield MemoryStateStorage()
        return
    on_disk = LmdbStateStorage.open(tmp_path / "state", command="test")
    yield on_disk
    on_disk.close()


def count(state: StateView, entry: Entry) -> Iterable[Row]:
    """A reducer that needs the state before it: how many records each subject has, and the newest of them."""
    subject = entry.record.subject
    n_before = int.from_bytes(state.get("count/1", subject) or b"", "big")
    yield Row(table="count/1", key=subject, value=(n_before + 1).to_bytes(4, "big"))
    yield Row(table="newest/1", key=subject, value=entry.record.body or None)


def record(body: bytes, *, subject: bytes = b"deal") -> Record:
    return Record(kind=RecordKind.DEAL, subject=subject, body=body)


def test_a_new_journal_stands_at_its_genesis(storage: StateStorage) -> None:
    journal = Journal(storage, count)
    assert journal.head == GENESIS
    assert journal.check() == GENESIS
    assert list(journal.iterate()) == []


def test_entries_are_chained_and_numbered_over_appends(storage: StateStorage) -> None:
    journal = Journal(storage, count)
    first, second = journal.append([record(b"1"), record(b"2")], 10)
    (third,) = journal.append([record(b"3")], 20)
    assert [first.sequence, second.sequence, third.sequence] == [1, 2, 3]
    assert [first.prev_hash, second.prev_hash, third.prev_hash] == [GENESIS_HASH, first.hash, second.hash]
    assert list(journal.iterate()) == [first, second, third]
    assert list(journal.iterate(3)) == [third]
    assert journal.check() == journal.head


def test_records_of_one_append_see_those_before_them(storage: StateStorage) -> None:
    journal = Journal(storage, count)
    journal.append([record(b"1"), record(b"2"), record(b"3")], 0)
    assert journal.state.get("count/1", b"deal") == (3).to_bytes(4, "big")
    assert journal.state.get("newest/1", b"deal") == b"3"


def test_time_never_falls(storage: StateStorage) -> None:
    journal = Journal(storage, count)
    journal.append([record(b"1")], 1_000)
    (late,) = journal.append([record(b"2")], 500)
    assert late.time_ms == 1_000
    journal.check()


def test_appending_nothing_commits_nothing(storage: StateStorage) -> None:
    journal = Journal(storage, count)
    assert journal.append([], 10) == []
    assert journal.head == GENESIS


def test_the_largest_append_is_one_commit(storage: StateStorage) -> None:
    journal = Journal(storage, count)
    entries = journal.append([record(bytes([n % 256]), subject=bytes([n % 7])) for n in range(APPEND_MAX)], 0)
    assert list(journal.iterate()) == entries
    journal.check()


def test_a_reopened_journal_goes_on_where_it_stood(tmp_path: Path) -> None:
    storage = LmdbStateStorage.open(tmp_path, command="test")
    before = Journal(storage, count).append([record(b"1")], 10)
    storage.close()
    storage = LmdbStateStorage.open(tmp_path, command="test")
    journal = Journal(storage, count)
    after = journal.append([record(b"2")], 20)
    assert list(journal.iterate()) == before + after
    assert journal.state.get("count/1", b"deal") == (2).to_bytes(4, "big")
    journal.check()
    storage.close()


class FullDisk(MemoryStateStorage):
    """A storage whose disk is full while ``full`` says so."""

    full = False

    def commit(self, entries: Iterable[Entry], rows: Iterable[Row]) -> None:
        if self.full:
            raise LocalProtocolError(ErrorCode.DISK_FULL)
        super().commit(list(entries), rows)


def test_a_failed_append_leaves_the_journal_where_it_was() -> None:
    storage = FullDisk()
    journal = Journal(storage, count)
    journal.append([record(b"1")], 10)
    head, storage.full = journal.head, True
    with pytest.raises(LocalProtocolError):
        journal.append([record(b"2")], 20)
    assert journal.head == head
    storage.full = False
    (second,) = journal.append([record(b"3")], 30)
    assert second.sequence == 2
    journal.check()


def test_a_failed_reducer_leaves_the_journal_where_it_was(storage: StateStorage) -> None:
    def refuse(state: StateView, entry: Entry) -> Iterable[Row]:
        if entry.record.body == b"bad":
            raise LocalProtocolError(ErrorCode.JOURNAL_BROKEN, "refused")
        return count(state, entry)

    journal = Journal(storage, refuse)
    with pytest.raises(LocalProtocolError):
        journal.append([record(b"good"), record(b"bad")], 0)
    assert journal.head == GENESIS
    assert list(journal.iterate()) == []


def test_iterating_reads_past_one_page(storage: StateStorage) -> None:
    journal = Journal(storage, count)
    for _ in range(3):
        journal.append([record(bytes([n % 256])) for n in range(256)], 0)
    assert [entry.sequence for entry in journal.iterate(2)] == list(range(2, 769))


def test_one_may_append_while_iterating(storage: StateStorage) -> None:
    journal = Journal(storage, count)
    journal.append([record(b"1")], 0)
    walk = journal.iterate()
    next(walk)
    journal.append([record(b"2")], 0)
    assert list(walk) == []
    assert len(list(journal.iterate())) == 2


bodies = st.lists(st.tuples(st.sampled_from([b"a", b"b"]), st.binary(max_size=3)), max_size=12)


@given(st.lists(bodies, max_size=5))
def test_replaying_gives_the_live_state_however_records_were_grouped(groups: list[list[tuple[bytes, bytes]]]) -> None:
    grouped, single = MemoryStateStorage(), MemoryStateStorage()
    by_groups, one_by_one = Journal(grouped, count), Journal(single, count)
    for group in groups:
        by_groups.append([record(body, subject=subject) for subject, body in group], 0)
        for subject, body in group:
            one_by_one.append([record(body, subject=subject)], 0)
    assert by_groups.head == one_by_one.head == by_groups.check()
    assert list(grouped.rows()) == list(single.rows()) == list(replay(grouped.entries(), count).rows())


@pytest.mark.parametrize(
    "stray",
    [
        Row(table="count/1", key=b"deal", value=b"\x09"),
        Row(table="count/1", key=b"deal", value=None),
        Row(table="count/1", key=b"unknown", value=b"\x01"),
        Row(table="zzz/1", key=b"k", value=b"v"),
    ],
)
def test_a_row_that_no_entry_explains_is_named(storage: StateStorage, stray: Row) -> None:
    journal = Journal(storage, count)
    journal.append([record(b"1")], 0)
    storage.commit([], [stray])
    with pytest.raises(LocalProtocolError, match=f"row {stray.key.hex()} of {stray.table}") as refused:
        journal.check()
    assert refused.value.code is ErrorCode.JOURNAL_BROKEN


def entries_of(n: int) -> list[Entry]:
    storage = MemoryStateStorage()
    return Journal(storage, count).append([record(bytes([n])) for n in range(n)], 100)


def test_a_missing_entry_is_named() -> None:
    entries = entries_of(4)
    with pytest.raises(LocalProtocolError, match="entry 3 is missing"):
        list(verified(entries[:2] + entries[3:], GENESIS))


def test_an_exchanged_entry_is_named() -> None:
    entries = entries_of(4)
    other = chain(record(b"other"), sequence=2, time_ms=100, prev_hash=entries[0].hash)
    with pytest.raises(LocalProtocolError, match="entry 3 does not follow"):
        list(verified([entries[0], other, *entries[2:]], GENESIS))


def test_an_entry_older_than_the_one_before_is_named() -> None:
    (first,) = entries_of(1)
    older = chain(record(b"older"), sequence=2, time_ms=99, prev_hash=first.hash)
    with pytest.raises(LocalProtocolError, match="entry 2 is older"):
        list(verified([first, older], GENESIS))


def test_a_chain_may_be_verified_from_its_middle() -> None:
    storage = MemoryStateStorage()
    journal = Journal(storage, count)
    journal.append([record(b"1")], 0)
    middle = journal.head
    journal.append([record(b"2"), record(b"3")], 0)
    assert [entry.sequence for entry in verified(journal.iterate(2), middle)] == [2, 3]


class FlippedBit(MemoryStateStorage):
    """A storage whose disk changed one bit of one entry."""

    def flip(self, sequence: int) -> None:
        encoded = bytearray(self._entries[sequence - 1])
        encoded[len(encoded) // 2] ^= 1
        self._entries[sequence - 1] = bytes(encoded)


def test_a_changed_entry_is_named_by_check() -> None:
    storage = FlippedBit()
    journal = Journal(storage, count)
    journal.append([record(b"1"), record(b"2"), record(b"3")], 0)
    storage.flip(2)
    with pytest.raises(LocalProtocolError, match="entry 2"):
        journal.check()


def test_a_journal_does_not_open_on_a_changed_head() -> None:
    storage = FlippedBit()
    Journal(storage, count).append([record(b"1"), record(b"2")], 0)
    storage.flip(2)
    with pytest.raises(LocalProtocolError, match="entry 2"):
        Journal(storage, count)


def test_exported_lines_carry_all_that_the_hashes_cover() -> None:
    entries = entries_of(3)
    for line, entry in zip(export_lines(entries), entries, strict=True):
        read = json.loads(line)
        assert read["v"] == 1
        assert read["kind"] == "deal"
        rebuilt = chain(
            Record(kind=RecordKind[read["kind"].upper()], subject=bytes.fromhex(read["subject"]), body=bytes.fromhex(read["body"])),
            sequence=read["sequence"],
            time_ms=read["time_ms"],
            prev_hash=bytes.fromhex(read["prev_hash"]),
        )
        assert rebuilt == entry
        assert rebuilt.hash.hex() == read["hash"]


def test_the_hash_of_an_entry_covers_all_before_it() -> None:
    first, second, third = entries_of(3)
    forged = chain(replace(first.record, body=b"forged"), sequence=1, time_ms=first.time_ms, prev_hash=GENESIS_HASH)
    rechained = chain(second.record, sequence=2, time_ms=second.time_ms, prev_hash=forged.hash)
    assert rechained.hash != second.hash
    with pytest.raises(LocalProtocolError, match="entry 3"):
        list(verified([forged, rechained, third], GENESIS))
