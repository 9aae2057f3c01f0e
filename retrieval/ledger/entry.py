"""What one line of the journal is: a record, its place in the chain, and its bytes.

An entry's bytes are ``version ‖ time ‖ kind ‖ previous hash ‖ subject size ‖ subject ‖ body size ‖ body ‖ hash``, big-endian. Its hash
is SHA-256 over ``retrieval/journal-entry/1`` ‖ 0x00 ‖ the sequence ‖ everything before the hash, so that neither an entry's content, nor
its place, nor anything before it can change without every later hash changing.
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final

from retrieval.errors import ErrorCode, LocalProtocolError

SUBJECT_SIZE_MAX: Final = 64  # bytes; a channel id needs 32, a deal id 16
BODY_SIZE_MAX: Final = 64 * 1024  # bytes; the largest control message of the protocol
SEQUENCE_MAX: Final = (1 << 63) - 1
TIME_MS_MAX: Final = (1 << 63) - 1

HASH_SIZE: Final = 32
GENESIS_HASH: Final = bytes(HASH_SIZE)
"""The ``prev_hash`` of the first entry."""

_VERSION: Final = 1
_DOMAIN: Final = b"retrieval/journal-entry/1\x00"
_FIXED: Final = struct.Struct(">BQH32sB")  # version, time_ms, kind, prev_hash, subject size
_SEQUENCE: Final = struct.Struct(">Q")
_BODY_SIZE: Final = struct.Struct(">I")


class RecordKind(IntEnum):
    """What a record tells. The numbers are on disk: never reused, never changed."""

    DEAL = 1
    QUOTE = 2
    PAYMENT = 3
    RECEIPT = 4
    SESSION_KEY = 5
    CHANNEL = 6
    CLAIM = 7
    PRICE = 8
    TRANSFER = 9
    OUTCOME = 10
    WRITE_OFF = 11
    ADMIN = 12
    LINE = 13
    SENT = 14
    HTTP_CHANNEL = 15
    TAB = 16
    HTTP_SALE = 17
    EXACT = 18
    TOKEN = 19
    HOLD = 20
    HTTP_COUNT = 31
    HTTP_PURCHASE = 32
    PACKET = 21
    DELIVERY = 22
    CARRIAGE = 23
    RELAY_RECEIPT = 24
    ADVERT = 25


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One thing that happened and moves money or promises, as the machines hand it over to be committed."""

    kind: RecordKind
    subject: bytes
    """What it is about: a deal id or a channel id."""
    body: bytes
    """Deterministic CBOR, opaque to the journal."""

    def __post_init__(self) -> None:
        assert len(self.subject) <= SUBJECT_SIZE_MAX, "a subject is an id"
        assert len(self.body) <= BODY_SIZE_MAX, "a body is one control message at most"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A record in its place: numbered from 1 without gaps, chained to the entry before it."""

    sequence: int
    time_ms: int
    """Milliseconds since 1970 by the writer's clock, never below the entry before."""
    prev_hash: bytes
    record: Record
    hash: bytes
    sealed: bytes = field(repr=False, compare=False)
    """What the hash is over, but for the sequence: all of the above as bytes."""

    def encode(self) -> bytes:
        """The bytes a storage keeps under the entry's sequence."""
        return self.sealed + self.hash


def chain(record: Record, *, sequence: int, time_ms: int, prev_hash: bytes) -> Entry:
    """Put ``record`` behind the entry whose hash is ``prev_hash``."""
    assert 0 < sequence <= SEQUENCE_MAX
    assert 0 <= time_ms <= TIME_MS_MAX
    assert len(prev_hash) == HASH_SIZE
    sealed = _sealed(time_ms, prev_hash, record)
    return Entry(sequence=sequence, time_ms=time_ms, prev_hash=prev_hash, record=record, hash=_hash(sequence, sealed), sealed=sealed)


def decode_entry(sequence: int, encoded: bytes) -> Entry:
    """Read what ``Entry.encode`` wrote under ``sequence``. Raises ``LocalProtocolError(journal_broken)`` unless its own hash fits."""
    sealed, stored_hash = encoded[:-HASH_SIZE], encoded[-HASH_SIZE:]
    if len(encoded) < _FIXED.size + _BODY_SIZE.size + HASH_SIZE:
        raise broken(sequence, "is cut short")
    if sealed[0] != _VERSION:
        raise broken(sequence, f"has version {sealed[0]}; this program reads {_VERSION}")
    if _hash(sequence, sealed) != stored_hash:
        raise broken(sequence, "does not have the hash it was written with")
    # The hash fits, so the bytes are those we wrote: a length that disagrees now is our own bug.
    _, time_ms, kind, prev_hash, subject_size = _FIXED.unpack_from(sealed)
    body_at = _FIXED.size + subject_size + _BODY_SIZE.size
    (body_size,) = _BODY_SIZE.unpack_from(sealed, body_at - _BODY_SIZE.size)
    assert body_at + body_size == len(sealed)
    if kind not in _KNOWN_KINDS:
        raise broken(sequence, f"has kind {kind}, which this program does not know; was it written by a newer one?")
    record = Record(kind=RecordKind(kind), subject=sealed[_FIXED.size : _FIXED.size + subject_size], body=sealed[body_at:])
    return Entry(sequence=sequence, time_ms=time_ms, prev_hash=prev_hash, record=record, hash=stored_hash, sealed=sealed)


def broken(sequence: int, why: str) -> LocalProtocolError:
    """The error that names the first entry which cannot be trusted."""
    return LocalProtocolError(ErrorCode.JOURNAL_BROKEN, f"entry {sequence} {why}")


def _sealed(time_ms: int, prev_hash: bytes, record: Record) -> bytes:
    fixed = _FIXED.pack(_VERSION, time_ms, record.kind, prev_hash, len(record.subject))
    return b"".join((fixed, record.subject, _BODY_SIZE.pack(len(record.body)), record.body))


def _hash(sequence: int, sealed: bytes) -> bytes:
    return hashlib.sha256(_DOMAIN + _SEQUENCE.pack(sequence) + sealed).digest()


_KNOWN_KINDS: Final = frozenset(RecordKind)
