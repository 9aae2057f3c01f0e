"""Between a socket and its muxer: how much either side reads at once, and who is refused."""

from __future__ import annotations

import pytest
import trio
from trio.testing import trio_test

from retrieval.errors import ErrorCode, RemoteProtocolError
from retrieval.identity import PeerKey
from retrieval.transport.libp2p.channel import ACCEPTED_READ_MAX, DIALED_READ_MAX, SecureChannel
from retrieval.transport.libp2p.ciphers import LENGTH_BYTES, MESSAGE_BYTES_MAX
from retrieval.transport.libp2p.upgrade import READ_AHEAD_BYTES, Identity
from retrieval.units import MIB

DIALER, LISTENER = (PeerKey.from_seed(bytes([n]) * 32) for n in (1, 2))


class Watched:
    """A stream over a socket that remembers how much it was asked for."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self.socket = self
        self.asked: list[int] = []
        self.send_all = stream.send_all
        self.receive_some = stream.receive_some
        self.setsockopt = stream.setsockopt
        self._socket = stream.socket

    async def recv_into(self, buffer: memoryview) -> int:
        self.asked.append(len(buffer))
        return await self._socket.recv_into(buffer)


async def connected() -> tuple[SecureChannel, SecureChannel, Watched, Watched]:
    """The dialer's channel, the listener's, and the sockets below them."""
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    near = Watched(await trio.open_tcp_stream(*listener.socket.getsockname()))
    far = Watched(await listener.accept())
    channels: dict[str, SecureChannel] = {}

    async def dial() -> None:
        channels["dialed"] = await Identity(DIALER.seed).secure_dialed(near, LISTENER.peer_id)  # type: ignore[arg-type]
        await channels["dialed"].send_all(b"first")
        await channels["dialed"].ready()

    async def accept() -> None:
        channels["accepted"] = await Identity(LISTENER.seed).secure_accepted(far)  # type: ignore[arg-type]
        assert await channels["accepted"].receive_some(5) == b"first"
        await channels["accepted"].send_all(b"answer")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(dial)
        nursery.start_soon(accept)
    return channels["dialed"], channels["accepted"], near, far


def test_what_a_handshake_reads_ahead_has_room_in_either_channel() -> None:
    assert min(ACCEPTED_READ_MAX, DIALED_READ_MAX) >= READ_AHEAD_BYTES


@trio_test
async def test_little_is_read_at_once_from_a_peer_that_dialled() -> None:
    dialed, accepted, near, far = await connected()
    assert await dialed.receive_some(6) == b"answer"
    content = bytes(range(256)) * (MIB // 256)

    async def receive() -> bytes:
        data = bytearray()
        while len(data) < len(content):
            data += await accepted.receive_some(MIB)
        return bytes(data)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(dialed.send_all, content)
        assert await receive() == content
    assert max(far.asked) <= ACCEPTED_READ_MAX + LENGTH_BYTES + MESSAGE_BYTES_MAX
    assert max(near.asked) >= DIALED_READ_MAX


@trio_test
async def test_a_peer_that_speaks_no_noise_is_told_apart() -> None:
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    near = await trio.open_tcp_stream(*listener.socket.getsockname())
    far = await listener.accept()
    await far.send_all(b"\x13/multistream/1.0.0\n\x03na\n")
    with pytest.raises(RemoteProtocolError) as refused:
        await Identity(DIALER.seed).secure_dialed(near, LISTENER.peer_id)
    assert refused.value.code is ErrorCode.CAPABILITY_MISSING
