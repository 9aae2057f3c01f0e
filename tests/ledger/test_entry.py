"""The bytes of journal entries: what is written is read back, and nothing else is."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval.errors import ErrorCode, LocalProtocolError
from retrieval.ledger.entry import BODY_SIZE_MAX, GENESIS_HASH, SUBJECT_SIZE_MAX, Entry, Record, RecordKind, chain, decode_entry

records = st.builds(
    Record,
    kind=st.sampled_from(RecordKind),
    subject=st.binary(max_size=SUBJECT_SIZE_MAX),
    body=st.binary(max_size=300),
)
chained = st.builds(
    chain,
    records,
    sequence=st.integers(1, (1 << 63) - 1),
    time_ms=st.integers(0, (1 << 63) - 1),
    prev_hash=st.binary(min_size=32, max_size=32),
)


@given(chained)
def test_an_entry_is_read_as_it_was_written(entry: Entry) -> None:
    assert decode_entry(entry.sequence, entry.encode()) == entry


@given(chained, st.data())
def test_any_changed_byte_is_noticed(entry: Entry, data: st.DataObject) -> None:
    encoded = bytearray(entry.encode())
    at = data.draw(st.integers(0, len(encoded) - 1))
    encoded[at] ^= data.draw(st.integers(1, 255))
    with pytest.raises(LocalProtocolError, match=f"entry {entry.sequence}") as refused:
        decode_entry(entry.sequence, bytes(encoded))
    assert refused.value.code is ErrorCode.JOURNAL_BROKEN


@given(chained, st.integers(0, 200))
def test_an_entry_cut_short_is_noticed(entry: Entry, kept: int) -> None:
    encoded = entry.encode()
    with pytest.raises(LocalProtocolError) as refused:
        decode_entry(entry.sequence, encoded[: min(kept, len(encoded) - 1)])
    assert refused.value.code is ErrorCode.JOURNAL_BROKEN


@given(chained)
def test_an_entry_belongs_to_its_sequence(entry: Entry) -> None:
    with pytest.raises(LocalProtocolError):
        decode_entry(entry.sequence + 1, entry.encode())


@given(st.binary(max_size=400))
def test_arbitrary_bytes_are_a_broken_journal(encoded: bytes) -> None:
    with pytest.raises(LocalProtocolError) as refused:
        decode_entry(1, encoded)
    assert refused.value.code is ErrorCode.JOURNAL_BROKEN


def test_a_kind_of_a_newer_program_is_named() -> None:
    entry = chain(Record(kind=RecordKind.ADMIN, subject=b"", body=b""), sequence=7, time_ms=0, prev_hash=GENESIS_HASH)
    sealed = bytearray(entry.encode()[:-32])
    sealed[9:11] = (999).to_bytes(2, "big")
    forged = bytes(sealed) + hashlib.sha256(b"retrieval/journal-entry/1\x00" + (7).to_bytes(8, "big") + sealed).digest()
    with pytest.raises(LocalProtocolError, match="entry 7 has kind 999"):
        decode_entry(7, forged)


def test_the_format_of_version_1_stays_as_it_is() -> None:
    record = Record(kind=RecordKind.PAYMENT, subject=b"deal", body=b"\xa0")
    entry = chain(record, sequence=2, time_ms=1_700_000_000_000, prev_hash=bytes(range(32)))
    sealed = "010000018bcfe568000003" + bytes(range(32)).hex() + "046465616c00000001a0"
    assert entry.encode().hex() == sealed + entry.hash.hex()
    domain = b"retrieval/journal-entry/1\x00"
    assert entry.hash == hashlib.sha256(domain + (2).to_bytes(8, "big") + bytes.fromhex(sealed)).digest()


def test_numbers_on_disk_stay_as_they_are() -> None:
    assert {kind.name: kind.value for kind in RecordKind} == {
        "DEAL": 1,
        "QUOTE": 2,
        "PAYMENT": 3,
        "RECEIPT": 4,
        "SESSION_KEY": 5,
        "CHANNEL": 6,
        "CLAIM": 7,
        "PRICE": 8,
        "TRANSFER": 9,
        "OUTCOME": 10,
        "WRITE_OFF": 11,
        "ADMIN": 12,
        "LINE": 13,
        "SENT": 14,
        "HTTP_CHANNEL": 15,
        "TAB": 16,
        "HTTP_SALE": 17,
        "EXACT": 18,
        "TOKEN": 19,
        "HOLD": 20,
        "PACKET": 21,
        "DELIVERY": 22,
        "CARRIAGE": 23,
        "RELAY_RECEIPT": 24,
        "ADVERT": 25,
        "HTTP_COUNT": 31,
        "HTTP_PURCHASE": 32,
    }


def test_the_largest_record_fits() -> None:
    record = Record(kind=RecordKind.DEAL, subject=bytes(SUBJECT_SIZE_MAX), body=bytes(BODY_SIZE_MAX))
    entry = chain(record, sequence=1, time_ms=0, prev_hash=GENESIS_HASH)
    assert decode_entry(1, entry.encode()) == entry
