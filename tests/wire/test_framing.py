"""Frames: any split of a stream gives the same items, what is too large is refused before it is kept, bad blocks are told apart.

``tests/vectors/framing.json`` is written by hand; each entry stands for a rule.
"""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterable
from itertools import groupby, pairwise
from typing import Any

import golden
import pytest
import wire_examples as examples
from hypothesis import given
from hypothesis import strategies as st
from interesting_sizes import INTERESTING_SIZES

from retrieval import _native
from retrieval._native import BlockStatus
from retrieval.cid import RAW, cid_of
from retrieval.errors import ErrorCode, RemoteProtocolError
from retrieval.units import KIB
from retrieval.wire.framing import BUFFER_BYTES, FRAME_SIZE_MAX, FRAMES_PER_CALL, Block, FrameDecoder, block_head, encode_frame
from retrieval.wire.messages import BLOCK_SIZE_MAX, DealId, Message, Ping

VECTORS = golden.load("framing")
DEAL = DealId(bytes(range(16)))
PING = encode_frame(Ping(nonce=1))


def block_frame(payload: bytes, index: int = 0) -> bytes:
    return block_head(DEAL, index, cid_of(RAW, payload), len(payload)) + payload


def items_of(chunks: Iterable[bytes]) -> list[Message | Block]:
    """Everything a stream holds, runs of blocks taken apart: how long a run is depends on how the bytes came."""
    decoder = FrameDecoder()
    items: list[Message | Block] = []
    for chunk in chunks:
        for item in decoder.feed(chunk):
            items.extend(item if isinstance(item, list) else [item])
    return items


def refusal(data: bytes) -> RemoteProtocolError:
    with pytest.raises(RemoteProtocolError) as refused:
        items_of([data])
    return refused.value


def split(data: bytes, cuts: Iterable[int]) -> list[bytes]:
    edges = [0, *sorted(cuts), len(data)]
    return [data[start:end] for start, end in pairwise(edges)]


def _plain(item: Any) -> Any:
    if isinstance(item, list):
        return [
            {
                "deal_id": block.deal_id.hex(),
                "index": block.index,
                "cid": block.cid.hex(),
                "payload": block.payload.hex(),
                "status": block.status.name,
            }
            for block in item
        ]
    return type(item).__name__


@pytest.mark.parametrize("vector", VECTORS["accepted"], ids=lambda vector: vector["what"])
def test_a_stream_holds_the_items_of_its_vector(vector):
    decoder = FrameDecoder()
    assert [_plain(item) for item in decoder.feed(bytes.fromhex(vector["bytes"]))] == vector["items"]
    assert decoder.is_midway == (not vector["items"])


@pytest.mark.parametrize("vector", VECTORS["refused"], ids=lambda vector: vector["what"])
def test_a_stream_that_cannot_be_read_on_is_refused(vector):
    assert refusal(bytes.fromhex(vector["bytes"])).code is ErrorCode[vector["error"]]


@pytest.mark.parametrize("vector", VECTORS["refused"], ids=lambda vector: vector["what"])
def test_what_came_before_the_fault_is_delivered(vector):
    items: list[Any] = []
    with pytest.raises(RemoteProtocolError):
        items.extend(FrameDecoder().feed(PING + block_frame(b"abc") + bytes.fromhex(vector["bytes"])))
    assert [_plain(item) for item in items] == ["Ping", _plain([Block(DEAL, 0, cid_of(RAW, b"abc"), b"abc", BlockStatus.OK)])]


frames = st.lists(
    st.one_of(
        st.sampled_from(examples.MESSAGES).map(encode_frame),
        st.builds(block_frame, st.binary(max_size=300), st.integers(0, 2**32 - 1)),
    ),
    max_size=12,
)


@given(frames, st.data())
def test_any_split_of_a_stream_gives_the_same_items(stream, data):
    joined = b"".join(stream)
    cuts = data.draw(st.lists(st.integers(0, len(joined)), max_size=20))
    assert items_of(split(joined, cuts)) == items_of([joined])


def test_a_stream_that_comes_byte_by_byte_gives_the_same_items():
    joined = b"".join(map(encode_frame, examples.MESSAGES)) + block_frame(b"payload") + PING
    assert items_of(joined[at : at + 1] for at in range(len(joined))) == items_of([joined])


@given(frames.filter(bool), st.data())
def test_a_stream_that_stops_inside_a_frame_was_cut(stream, data):
    *whole, last = stream
    decoder = FrameDecoder()
    list(decoder.feed(b"".join(whole)))
    assert not decoder.is_midway
    list(decoder.feed(last[: data.draw(st.integers(1, len(last) - 1))]))
    assert decoder.is_midway


@given(frames, st.binary(min_size=1, max_size=60), st.data())
def test_noise_in_a_stream_raises_a_registered_error_or_nothing(stream, noise, data):
    joined = b"".join(stream)
    at = data.draw(st.integers(0, len(joined)))
    cuts = data.draw(st.lists(st.integers(0, len(joined)), max_size=3))
    try:
        items_of(split(joined[:at] + noise + joined[at + data.draw(st.integers(0, 4)) :], cuts))
    except RemoteProtocolError as error:
        if error.code not in _ERRORS_OF_STREAMS:
            raise


_ERRORS_OF_STREAMS = {
    ErrorCode.MALFORMED_FRAME, ErrorCode.FRAME_TOO_LARGE, ErrorCode.BLOCK_TOO_LARGE, ErrorCode.MALFORMED_MESSAGE,
}  # fmt: skip


@pytest.mark.parametrize("size", INTERESTING_SIZES, ids=INTERESTING_SIZES.__getitem__)
def test_blocks_of_every_interesting_size_pass(size):
    payload = bytes(size)
    frame = block_frame(payload, 3)
    assert items_of(split(frame, [1, 22, 40, len(frame) - 1])) == [Block(DEAL, 3, cid_of(RAW, payload), payload, BlockStatus.OK)]


def test_a_run_of_blocks_is_handed_over_in_parts_of_bounded_length():
    frames = [block_frame(b"%d" % index, index) for index in range(2 * FRAMES_PER_CALL + 1)]
    runs = list(FrameDecoder().feed(b"".join(frames)))
    assert [len(run) for run in runs] == [FRAMES_PER_CALL, FRAMES_PER_CALL, 1]
    assert [block.index for run in runs for block in run] == list(range(len(frames)))


def test_a_block_that_was_altered_stands_among_the_others():
    good, bad = block_frame(b"good"), bytearray(block_frame(b"good", 1))
    bad[-1] ^= 1
    [run] = FrameDecoder().feed(good + bytes(bad) + good)
    assert [(status, len(list(group))) for status, group in groupby(block.status for block in run)] == [
        (BlockStatus.OK, 1),
        (BlockStatus.CORRUPT, 1),
        (BlockStatus.OK, 1),
    ]


@pytest.mark.parametrize(
    ("frame_type", "body_size", "code"),
    [(2, 64 * KIB + 1, ErrorCode.FRAME_TOO_LARGE), (5, _native.BLOCK_BODY_SIZE_MAX + 1, ErrorCode.BLOCK_TOO_LARGE)],
)
def test_an_over_long_frame_is_refused_at_its_type_byte(frame_type, body_size, code):
    head = _native.encode_uvarint(1 + body_size) + bytes((frame_type,))
    decoder = FrameDecoder()
    assert list(decoder.feed(head[:-1])) == []
    with pytest.raises(RemoteProtocolError) as refused:
        list(decoder.feed(head[-1:]))
    assert refused.value.code is code


def test_a_frame_at_its_limit_is_awaited():
    decoder = FrameDecoder()
    assert list(decoder.feed(_native.encode_uvarint(1 + 64 * KIB) + b"\x02")) == []
    assert decoder.is_midway


def test_a_block_whose_payload_is_above_the_limit_is_refused_though_its_frame_is_not():
    payload = bytes(BLOCK_SIZE_MAX + 1)
    cid = cid_of(RAW, payload)
    body = DEAL + bytes(4) + bytes((len(cid),)) + cid + payload
    frame = _native.encode_uvarint(1 + len(body)) + b"\x05" + body
    assert refusal(frame).code is ErrorCode.BLOCK_TOO_LARGE


def test_a_decoder_keeps_no_more_than_one_frame():
    """A peer that never ends a frame is held to the largest one, and what was handed over is not kept."""
    chunk = 64 * KIB
    largest = block_frame(bytes(BLOCK_SIZE_MAX))
    assert len(largest) <= FRAME_SIZE_MAX
    decoder = FrameDecoder()
    tracemalloc.start()
    for _ in range(4):
        for at in range(0, len(largest), chunk):
            for _ in decoder.feed(largest[at : at + chunk]):
                pass
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert not decoder.is_midway
    assert peak < 2 * BUFFER_BYTES + FRAME_SIZE_MAX  # the buffer with the payload handed over, and the one that is received into


@pytest.mark.parametrize(("deal", "index", "size"), [(DealId(b""), 0, 1), (DEAL, -1, 1), (DEAL, 2**32, 1), (DEAL, 0, BLOCK_SIZE_MAX + 1)])
def test_we_never_write_a_block_that_cannot_be_read(deal, index, size):
    with pytest.raises(AssertionError):
        block_head(deal, index, cid_of(RAW, b""), size)
