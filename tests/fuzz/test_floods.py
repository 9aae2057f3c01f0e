"""Floods: what costs a peer little must not cost us memory or time, whether the peer reads our answers or not."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from typing import Final

import pytest
import trio
from fuzz.connection import HEADER, PEER, Pipe, unread_bytes
from trio.testing import trio_test

from retrieval.errors import RemoteProtocolError
from retrieval.transport.libp2p.yamux import (
    CONTROL_QUEUED_MAX,
    FRUITLESS_STREAMS_MAX,
    STREAMS_MAX,
    WINDOW_INITIAL,
    Muxer,
    Remote,
    Stream,
)
from retrieval.units import MIB
from retrieval.wire.framing import BUFFER_BYTES, FrameDecoder

DATA, WINDOW_UPDATE, PING, GO_AWAY = range(4)
SYN, FIN, RST = 1, 4, 8
LONGEST: Final = (1 << 32) - 1
N_FRAMES: Final = 10_000
READ_BYTES: Final = 32 * 1024  # what comes at once
HELD_BYTES_MAX: Final = STREAMS_MAX * 2 * WINDOW_INITIAL + 2 * CONTROL_QUEUED_MAX + MIB // 2
"""Every window full, in buffers that have just doubled; what waits to be answered; and the objects around them."""


def frame(kind: int, flags: int, stream: int, length: int, payload: bytes = b"") -> bytes:
    return HEADER.pack(0, kind, flags, stream, length) + payload


def opened(n: int) -> bytes:
    return b"".join(frame(WINDOW_UPDATE, SYN, 2 * i + 1, 0) for i in range(n))


FLOODS: Final[dict[str, Callable[[], bytes]]] = {
    "pings": lambda: frame(PING, SYN, 0, 7) * N_FRAMES,
    "answers to pings that were not asked": lambda: frame(PING, 2, 0, 7) * N_FRAMES,
    "streams": lambda: b"".join(frame(WINDOW_UPDATE, SYN, 2 * n + 1, 0) for n in range(N_FRAMES)),
    "farewells": lambda: frame(GO_AWAY, 0, 0, 2) * N_FRAMES,
    "windows as wide as a header can say": lambda: opened(1) + frame(WINDOW_UPDATE, 0, 1, LONGEST) * N_FRAMES,
    "windows of streams that are not there": lambda: frame(WINDOW_UPDATE, 0, 9, LONGEST) * N_FRAMES,
    "empty frames": lambda: opened(1) + frame(DATA, 0, 1, 0) * N_FRAMES,
    "frames of one byte": lambda: opened(1) + frame(DATA, 0, 1, 1, b"x") * N_FRAMES,
    "ends of one stream": lambda: opened(1) + frame(WINDOW_UPDATE, FIN, 1, 0) * N_FRAMES,
    "streams opened and reset": lambda: b"".join(
        frame(WINDOW_UPDATE, SYN, 2 * n + 1, 0) + frame(WINDOW_UPDATE, RST, 2 * n + 1, 0) for n in range(N_FRAMES)
    ),
    "streams opened and ended": lambda: b"".join(frame(WINDOW_UPDATE, SYN | FIN, 2 * n + 1, 0) for n in range(N_FRAMES)),
    "resets of one stream": lambda: opened(1) + frame(WINDOW_UPDATE, RST, 1, 0) * N_FRAMES,
    "every window full": lambda: (
        opened(STREAMS_MAX) + b"".join(frame(DATA, 0, 2 * n + 1, WINDOW_INITIAL, bytes(WINDOW_INITIAL)) for n in range(STREAMS_MAX))
    ),
    "a frame of 4 GiB for nobody": lambda: frame(DATA, 0, 9, LONGEST, bytes(4 * MIB)),
    "more than a window, announced": lambda: opened(1) + frame(DATA, 0, 1, LONGEST, bytes(4 * MIB)),
}


@pytest.mark.parametrize("stalls", [False, True], ids=["it reads", "it does not read"])
@pytest.mark.parametrize("flood", FLOODS.values(), ids=FLOODS)
@trio_test
async def test_a_flood_holds_no_more_than_the_windows(flood: Callable[[], bytes], stalls: bool) -> None:
    pipe = Pipe(flood(), READ_BYTES, stalls=stalls)
    held: list[Stream] = []
    muxer = Muxer(pipe, remote=Remote(peer_id=PEER, address=None), is_dialer=False, accept=held.append)
    tracemalloc.start()
    try:
        with trio.fail_after(60):
            await muxer.run()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert peak <= HELD_BYTES_MAX
    assert len(held) <= STREAMS_MAX
    for stream in held:
        assert await unread_bytes(stream) <= WINDOW_INITIAL


@pytest.mark.parametrize("at_once", [1, 10, N_FRAMES])
@trio_test
async def test_streams_opened_and_reset_end_the_connection_and_are_never_served_by_many(at_once: int) -> None:
    pair_bytes = 2 * HEADER.size
    pipe = Pipe(FLOODS["streams opened and reset"](), at_once * pair_bytes, stalls=False)
    n_served, serving, n_serving_max = 0, set[Stream](), 0

    async def serve(stream: Stream) -> None:
        await stream.reset()
        serving.remove(stream)
        stream.let_go()

    def accept(stream: Stream) -> None:
        nonlocal n_served, n_serving_max
        n_served += 1
        serving.add(stream)
        n_serving_max = max(n_serving_max, len(serving))
        nursery.start_soon(serve, stream)

    muxer = Muxer(pipe, remote=Remote(peer_id=PEER, address=None), is_dialer=False, accept=accept)
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            await muxer.run()

    assert n_serving_max <= STREAMS_MAX
    assert n_served <= FRUITLESS_STREAMS_MAX


@pytest.mark.parametrize(
    ("head", "rest"),
    [
        (b"\x80" * 12, b""),
        (b"\xff\xff\xff\x7f\x18", bytes(BUFFER_BYTES)),
        (b"\xff\xff\x03\x00", bytes(BUFFER_BYTES)),
        (b"\x01", b"\x00\x01" * 50_000),
    ],
    ids=["a length that does not end", "the longest block announced", "the longest control frame announced", "empty frames"],
)
def test_a_decoder_refuses_or_keeps_what_one_buffer_holds(head: bytes, rest: bytes) -> None:
    stream = head + rest
    tracemalloc.start()
    try:
        with pytest.raises(RemoteProtocolError):
            feed(stream)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak <= MIB


def feed(stream: bytes) -> None:
    decoder = FrameDecoder()
    for start in range(0, len(stream), READ_BYTES):
        for _ in decoder.feed(stream[start : start + READ_BYTES]):
            assert decoder.n_bytes <= BUFFER_BYTES
