"""The C says what ``_pure`` says, results and errors alike, for generated input and for good input gone bad."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from types import ModuleType
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from retrieval._native import BlockStatus, _pure, block_rows

HASHES = st.sampled_from([0x00, 0x12, 0x12, 0x12, 0x13, 0xB220])
# Where padding begins to need a block of its own, where blocks end, and lengths that make lanes wait for each other.
LENGTHS = st.sampled_from([0, 1, 54, 55, 56, 57, 63, 64, 65, 118, 119, 120, 121, 127, 128, 129, 1000, 4096, 5000]) | st.integers(0, 300)
EDGES = st.sampled_from([0, 1, 0x7F, 0x80, (1 << 14) - 1, 1 << 14, (1 << 63) - 1])


def outcome(function: Callable[..., Any], *arguments: object) -> object:
    """The result, or the words of the refusal."""
    try:
        return function(*arguments)
    except ValueError as error:
        return ValueError, str(error)


@st.composite
def cids(draw: st.DrawFn, payload: bytes) -> bytes:
    hash_code = draw(HASHES)
    digests = {
        0x00: payload[:64],
        0x12: hashlib.sha256(payload).digest(),
        0x13: hashlib.sha512(payload).digest(),
        0xB220: hashlib.blake2b(payload, digest_size=32).digest(),
    }
    digest = digests[hash_code][: draw(st.sampled_from([64, 64, 64, 20]))]
    if hash_code == 0x12 and len(digest) == 32 and draw(st.booleans()):
        return b"\x12\x20" + digest
    codec = draw(st.sampled_from([0x55, 0x70, 0x71, 0x0129]))
    return b"\x01" + b"".join(map(_pure.encode_uvarint, (codec, hash_code, len(digest)))) + digest


@st.composite
def frames(draw: st.DrawFn) -> bytes:
    """One frame: mostly a good block, sometimes a bad one or a control frame."""
    if draw(st.integers(0, 9)) == 0:
        body = bytes([draw(st.integers(0, 255))]) + draw(st.binary(max_size=80))
    else:
        payload = draw(st.binary(max_size=200))
        cid = draw(cids(payload))
        cid_size = len(cid) if draw(st.integers(0, 9)) else draw(st.integers(0, 255))
        payload = payload if draw(st.integers(0, 9)) else payload + b"!"
        body = b"\x05" + bytes(16) + draw(st.integers(0, 2**32 - 1)).to_bytes(4, "big") + bytes([cid_size]) + cid + payload
    return _pure.encode_uvarint(len(body)) + body


@st.composite
def streams(draw: st.DrawFn) -> bytes:
    """Several frames, as they are or with bytes changed, removed or put in, and then cut somewhere."""
    data = bytearray(b"".join(draw(st.lists(frames(), max_size=6))))
    for _ in range(draw(st.sampled_from([0, 0, 1, 2, 5]))):
        at = draw(st.integers(0, len(data)))
        data[at : at + draw(st.integers(0, 3))] = draw(st.binary(max_size=3))
    return bytes(data[: draw(st.sampled_from([None, None, draw(st.integers(0, len(data)))]))])


@given(value=st.integers() | EDGES)
def test_uvarints_are_written_alike(native: ModuleType, value: int) -> None:
    assert outcome(native.encode_uvarint, value) == outcome(_pure.encode_uvarint, value)


@given(value=st.integers(0, (1 << 63) - 1) | EDGES, before=st.binary(max_size=3), after=st.binary(max_size=3))
def test_a_uvarint_written_is_the_uvarint_read(backend: ModuleType, value: int, before: bytes, after: bytes) -> None:
    encoded = backend.encode_uvarint(value)
    assert backend.decode_uvarint(before + encoded + after, len(before)) == (value, len(before) + len(encoded))


@given(data=st.binary(max_size=12), offset=st.integers(-2, 14) | st.integers())
def test_any_bytes_are_the_same_uvarint_or_error(native: ModuleType, data: bytes, offset: int) -> None:
    assert outcome(native.decode_uvarint, data, offset) == outcome(_pure.decode_uvarint, data, offset)


@given(data=st.binary(max_size=90) | st.binary(max_size=60).flatmap(cids), offset=st.integers(-2, 92), cut=st.integers(0, 90))
def test_any_bytes_are_the_same_cid_or_error(native: ModuleType, data: bytes, offset: int, cut: int) -> None:
    for at, view in ((0, data), (offset, data), (0, data[:cut])):
        assert outcome(native.parse_cid, view, at) == outcome(_pure.parse_cid, view, at)


@given(payload=st.binary(max_size=300), change=st.integers(-1, 300), data=st.data())
def test_one_block_gets_the_same_verdict(native: ModuleType, payload: bytes, change: int, data: st.DataObject) -> None:
    cid = data.draw(cids(payload))
    if 0 <= change < len(payload):
        payload = payload[:change] + bytes([payload[change] ^ 1]) + payload[change + 1 :]
    assert native.verify_block(cid, payload) == _pure.verify_block(cid, payload)


@given(data=streams(), offset=st.integers(0, 3), frames_max=st.integers(1, 8))
def test_any_stream_is_split_and_verified_alike(native: ModuleType, data: bytes, offset: int, frames_max: int) -> None:
    for walk in ("scan_frames", "verify_frames"):
        assert outcome(getattr(native, walk), data, offset, frames_max) == outcome(getattr(_pure, walk), data, offset, frames_max)


@st.composite
def sections(draw: st.DrawFn) -> bytes:
    """One section of a CAR, mostly good."""
    payload = draw(st.binary(max_size=200))
    body = draw(cids(payload)) + payload if draw(st.integers(0, 9)) else draw(st.binary(max_size=80))
    return _pure.encode_uvarint(len(body)) + body


@given(data=st.lists(sections(), max_size=6).map(b"".join) | streams(), offset=st.integers(0, 3), sections_max=st.integers(1, 8))
@example(data=_pure.encode_uvarint(255 + (2 << 20)), offset=0, sections_max=1)
@example(data=_pure.encode_uvarint(256 + (2 << 20)), offset=0, sections_max=1)
@example(data=_pure.encode_uvarint(38 + (2 << 20)) + b"\x01\x55\x00\x00" + bytes(34 + (2 << 20)), offset=0, sections_max=1)
def test_any_car_is_split_and_verified_alike(native: ModuleType, data: bytes, offset: int, sections_max: int) -> None:
    asked = data, offset, sections_max
    assert outcome(native.verify_sections, *asked) == outcome(_pure.verify_sections, *asked)


@given(data=streams(), cuts=st.lists(st.integers(0, 400), max_size=4))
def test_how_a_stream_arrives_does_not_change_what_is_found(backend: ModuleType, data: bytes, cuts: list[int]) -> None:
    whole, _, consumed, stop = backend.scan_frames(data, 0, 64)

    table, at = b"", 0
    for end in [*sorted(min(cut, len(data)) for cut in cuts), len(data)]:
        rows, _, at, last = backend.scan_frames(data[:end], at, 64)
        table += rows

    assert (table, at, last) == (whole, consumed, stop)


@given(sizes=st.lists(LENGTHS, min_size=1, max_size=40), flipped=st.integers(0, 39), bit=st.integers(0, 7))
@example(sizes=[4096] * 16, flipped=15, bit=0)
@example(sizes=[0] * 40, flipped=0, bit=0)
@example(sizes=list(range(40, 120, 2)), flipped=7, bit=3)
@example(sizes=[20000, *range(39)], flipped=0, bit=0)
def test_a_flipped_bit_makes_its_own_block_corrupt_and_no_other(backend: ModuleType, sizes: list[int], flipped: int, bit: int) -> None:
    stream = bytearray()
    for index, size in enumerate(sizes):
        payload = (index.to_bytes(2, "big") * (size // 2 + 1))[:size]
        body = b"\x05" + bytes(16) + index.to_bytes(4, "big") + b"\x24\x01\x55\x12\x20" + hashlib.sha256(payload).digest() + payload
        stream += _pure.encode_uvarint(len(body)) + body
    flipped %= len(sizes)
    rows = list(block_rows(backend.verify_frames(stream, 0, 64)[0]))
    stream[rows[flipped].payload_end - 1] ^= 1 << bit

    rows = list(block_rows(backend.verify_frames(stream, 0, 64)[0]))

    assert [row.status for row in rows] == [BlockStatus.CORRUPT if index == flipped else BlockStatus.OK for index in range(len(sizes))]
    assert [row.payload_end - row.payload_start for row in rows] == sizes
