"""What must hold of a connection's layers, whatever the peer writes: multistream-select, the Noise handshake and its messages, Yamux."""

from __future__ import annotations

import struct
from collections.abc import Coroutine, Iterator
from contextlib import suppress
from typing import Any, Final

import trio
from trio.testing import MockClock

from retrieval.errors import ErrorCode, RemoteProtocolError
from retrieval.identity import PeerKey
from retrieval.transport.libp2p.channel import Sealed
from retrieval.transport.libp2p.ciphers import Buffer, Cipher, sealed_bytes_max
from retrieval.transport.libp2p.handshake import Credentials, DialerHandshake, ListenerHandshake
from retrieval.transport.libp2p.negotiation import WORD_BYTES_MAX, answer, confirm
from retrieval.transport.libp2p.yamux import CONTROL_QUEUED_MAX, STREAMS_MAX, WINDOW_INITIAL, Muxer, Remote, Stream
from retrieval.transport.source import Range

SEED: Final = b"s" * 32
PEER: Final = PeerKey.from_seed(SEED).peer_id
CREDENTIALS: Final = Credentials(SEED)


class Words:
    """A stream that has been given all it will ever say. A reader gets at most ``step`` bytes at once."""

    def __init__(self, data: bytes, step: int) -> None:
        self._data = data
        self._step = step

    async def send_all(self, data: bytes) -> None:
        assert len(data) <= WORD_BYTES_MAX

    async def receive_some(self, max_bytes: int) -> bytes:
        assert 0 < max_bytes <= WORD_BYTES_MAX
        part, self._data = self._data[: min(max_bytes, self._step)], self._data[min(max_bytes, self._step) :]
        return part


def check_negotiation(data: bytes) -> None:
    """The first byte says which side we are and how the bytes come."""
    how, said = (data[0], data[1:]) if data else (0, b"")
    words = Words(said, 1 + (how >> 1) % 8)
    with suppress(RemoteProtocolError):
        _drive(confirm(words, "/noise") if how & 1 else answer(words, "/noise"))


def _drive(coroutine: Coroutine[Any, None, None]) -> None:
    """Run what waits for nothing."""
    try:
        coroutine.send(None)
    except StopIteration:
        return
    raise AssertionError("it waits for something else than its stream")


def check_handshake(data: bytes) -> None:
    """Any bytes as the first and the second message, and as what a peer that follows the protocol says of itself in the third."""
    with suppress(RemoteProtocolError):
        ListenerHandshake(CREDENTIALS).answer(data)
    dialer = DialerHandshake(CREDENTIALS, PEER)
    first = dialer.begin()
    with suppress(RemoteProtocolError):
        dialer.finish(data)

    liar = Credentials(SEED)
    liar.payload = data  # type: ignore[misc]
    dialer, listener = DialerHandshake(liar, PEER), ListenerHandshake(CREDENTIALS)
    last, _ = dialer.finish(listener.answer(dialer.begin()))
    with suppress(RemoteProtocolError):
        session = listener.finish(last)
        assert session.peer_id == PEER
    assert len(first) == 32


def handshake_seeds() -> Iterator[bytes]:
    yield CREDENTIALS.payload
    yield DialerHandshake(CREDENTIALS, PEER).begin()
    yield bytes(96)


def check_noise(data: bytes) -> None:
    """Messages that a peer sealed, one byte of them changed: what comes before is opened, and nothing behind it."""
    if len(data) < 4:
        return
    place, change, room, plaintext = int.from_bytes(data[:2], "big"), data[2], data[3], data[4:]
    parts = [plaintext[: len(plaintext) // 2], plaintext[len(plaintext) // 2 :]]
    sealed = memoryview(bytearray(sealed_bytes_max(parts)))
    sealing, opening = Cipher(SEED, 0), Cipher(SEED, 0)
    size = sealing.seal(parts[:1], sealed)
    size += sealing.seal(parts[1:], sealed[size:])
    if size:
        sealed[place % size] ^= change
    out = memoryview(bytearray(len(plaintext) + room))
    with suppress(RemoteProtocolError):
        used, n_opened = opening.open(sealed[:size], out)
        assert used <= size
        assert bytes(out[:n_opened]) == plaintext[:n_opened]
        assert not change or used <= place % max(1, size)


class Pipe:
    """A channel whose peer has written all it will ever write, and reads nothing where it ``stalls``."""

    def __init__(self, data: bytes, step: int, *, stalls: bool) -> None:
        self._data: Final = memoryview(data)
        self._step: Final = step
        self._stalls: Final = stalls
        self._start = 0
        self._end = 0
        self.largest_write = 0

    async def ready(self) -> None:
        await trio.lowlevel.checkpoint()

    def take_into(self, out: memoryview) -> int:
        size = min(len(out), self._end - self._start)
        out[:size] = self._data[self._start : self._start + size]
        self._start += size
        return size

    async def fill(self) -> None:
        await trio.lowlevel.checkpoint()
        if self._end == len(self._data):
            raise RemoteProtocolError(ErrorCode.TRANSFER_TRUNCATED, "the peer closed the connection")
        self._end = min(len(self._data), self._end + self._step)

    async def seal(self, *parts: Buffer | Range) -> Sealed:
        await trio.lowlevel.checkpoint()
        size = sum(map(len, parts))
        self.largest_write = max(self.largest_write, size)
        return memoryview(b""), size

    async def send(self, sealed: Sealed) -> None:
        await trio.lowlevel.checkpoint()
        if self._stalls:
            await trio.sleep_forever()

    async def send_eof(self) -> None:
        await trio.lowlevel.checkpoint()


LENGTHS: Final = (0, 1, 12, 1000, WINDOW_INITIAL - 1, WINDOW_INITIAL, WINDOW_INITIAL + 1, 2**31, 2**32 - 1)
READS_MAX: Final = 256  # in which the pipe gives what it holds, so that a run is short
READ_BYTES: Final = 16 * 1024
ECHOED_BYTES_MAX: Final = STREAMS_MAX * READ_BYTES
HEADER: Final = struct.Struct("!BBHII")


def frames_of(script: bytes) -> bytes:
    """Frames, four bytes each: their type and flags, their stream, the length they announce, and how much of it comes."""
    out = bytearray()
    for head, stream, length, payload in struct.iter_unpack("4B", script[: len(script) // 4 * 4]):
        announced = LENGTHS[length % len(LENGTHS)]
        out += HEADER.pack(head >> 7, head & 7, head >> 3 & 15, stream & 15, announced)
        if head & 7 == 0:
            out += bytes(min(announced, WINDOW_INITIAL if payload == 255 else payload))
    return bytes(out)


def check_yamux(data: bytes) -> None:
    """The first byte says how the peer reads and what we do with its streams, the second how its bytes come; what it writes follows."""
    if len(data) < 2:
        return
    how, step, rest = data[0], data[1] + 1, data[2:]
    written = frames_of(rest) if how & 1 else rest
    pipe = Pipe(written, max(step * step, len(written) // READS_MAX), stalls=bool(how & 2))
    # A connection that waits for nobody stands still for ever: this clock jumps then, and the deadline fails.
    trio.run(_talk, pipe, bool(how & 4), bool(how & 8), clock=MockClock(autojump_threshold=0))


async def _talk(pipe: Pipe, reads: bool, is_dialer: bool) -> None:
    held: list[Stream] = []

    def accept(stream: Stream) -> None:
        assert len(muxer.open_streams) <= STREAMS_MAX
        if reads:
            nursery.start_soon(_echo, stream)
        else:
            held.append(stream)

    muxer = Muxer(pipe, remote=Remote(peer_id=PEER, address=None), is_dialer=is_dialer, accept=accept)
    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            if is_dialer:
                nursery.start_soon(_echo, muxer.open_stream(b"hello"))
            await muxer.run()
            for stream in held:
                assert await unread_bytes(stream) <= WINDOW_INITIAL
    assert not muxer.open_streams
    assert pipe.largest_write <= CONTROL_QUEUED_MAX + ECHOED_BYTES_MAX + (2 * STREAMS_MAX + 2) * HEADER.size


async def _echo(stream: Stream) -> None:
    with suppress(RemoteProtocolError):
        while part := await stream.receive_some(READ_BYTES):
            await stream.send_all(part)
        await stream.close()
    stream.let_go()


async def unread_bytes(stream: Stream) -> int:
    """How much a stream of an ended connection still held."""
    n_bytes = 0
    with suppress(RemoteProtocolError):
        while part := await stream.receive_some(READ_BYTES):
            n_bytes += len(part)
    return n_bytes


def yamux_seeds() -> Iterator[bytes]:
    syn, data, fin, reset, ping, update = 0x09, 0x00, 0x20, 0x41, 0x0A, 0x01
    for how in (1, 3, 5, 7, 9, 13):
        yield bytes((how, 255, syn, 1, 0, 0, data, 1, 3, 255, data, 1, 1, 1, fin, 1, 0, 0))
        yield bytes((how, 255, syn, 1, 0, 0, data, 1, 5, 255, data, 1, 1, 1))
        yield bytes((how, 255, syn, 1, 0, 0, reset, 1, 0, 0, syn, 3, 0, 0, update, 3, 8, 0))
        yield bytes((how, 3, *(ping, 0, 8, 0) * 20))
    yield b"\x00\x00" + HEADER.pack(0, 1, 1, 1, 0) + HEADER.pack(0, 0, 0, 1, 5) + b"hello" + HEADER.pack(0, 1, 4, 1, 0)
