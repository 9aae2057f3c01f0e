"""Trio: from a TCP connection to an authenticated and encrypted channel (multistream-select, then Noise XX, then the word ``yamux``).

Its rule: py-libp2p ends here. Its exceptions become ``RemoteProtocolError``, and what it reads from a peer has a limit. Its ``Swarm`` is
not used: that one waits 250 ms in every cold dial (unless ``max_connections_per_peer=1``), gives connections no end of their own, and
logs tracebacks for peers that merely leave. A retrieval needs one connection and one stream, which these pieces give in four round trips.

Loading py-libp2p takes most of a second, so programs import this package when they need it, not before.
"""

from __future__ import annotations

import logging
import os
from functools import partial
from typing import Final, Protocol

import trio
from libp2p.crypto.ed25519 import create_new_key_pair as create_ed25519_key_pair
from libp2p.crypto.x25519 import create_new_key_pair as create_x25519_key_pair
from libp2p.peer.id import ID
from libp2p.protocol_muxer.multiselect import MULTISELECT_PROTOCOL_ID, PROTOCOL_NOT_FOUND_MSG, Multiselect
from libp2p.protocol_muxer.multiselect_communicator import MultiselectCommunicator
from libp2p.security.noise.exceptions import PeerIDMismatchesPubkey
from libp2p.security.noise.transport import PROTOCOL_ID as NOISE_PROTOCOL_ID
from libp2p.security.noise.transport import Transport as NoiseTransport

from retrieval.errors import ErrorCode, RemoteProtocolError
from retrieval.identity import PeerId, format_peer_id, public_key_of

from .channel import RawConnection, SecureChannel
from .failure import closed, library_errors

YAMUX_PROTOCOL_ID: Final = "/yamux/1.0.0"
NEGOTIATION_MESSAGE_MAX: Final = 1024  # bytes; the longest protocol id in use has well under 100

if not os.environ.get("LIBP2P_DEBUG"):
    # py-libp2p cuts its loggers off from the program's and sets no handler, so that warnings land raw on stderr: undo that.
    logging.getLogger("libp2p").propagate = True


class ByteStream(Protocol):
    """What a protocol can be negotiated over: a socket, a Noise session or a stream."""

    async def send_all(self, data: bytes) -> None: ...

    async def receive_some(self, max_bytes: int) -> bytes | bytearray | memoryview: ...


class Identity:
    """The keys with which this node answers for itself: its Ed25519 peer key, and a Noise key that it vouches for."""

    def __init__(self, peer_key_seed: bytes) -> None:
        self._noise: Final = NoiseTransport(create_ed25519_key_pair(peer_key_seed), create_x25519_key_pair().private_key)

    async def secure_dialed(self, socket: trio.SocketStream, expected: PeerId) -> SecureChannel:
        """Make sure of the peer that was dialled.

        Raises ``RemoteProtocolError``: ``dial_failed`` when another peer answers, ``transfer_truncated`` for all else.
        """
        with library_errors():
            await propose(socket, NOISE_PROTOCOL_ID)
            await confirm(socket, NOISE_PROTOCOL_ID)
            try:
                raw = RawConnection(socket)
                session = await self._noise.secure_outbound(raw, ID(expected))
            except PeerIDMismatchesPubkey as error:
                raise RemoteProtocolError(
                    ErrorCode.DIAL_FAILED, f"a peer other than {format_peer_id(expected)} answers at this address"
                ) from error
            channel = SecureChannel(raw, session, expected)
            await propose(channel, YAMUX_PROTOCOL_ID)
            # The answer precedes the first frame; not to wait for it here saves a round trip.
            channel.before_receiving(partial(confirm, protocol=YAMUX_PROTOCOL_ID))
            return channel

    async def secure_accepted(self, socket: trio.SocketStream) -> SecureChannel:
        """Find out who connected.

        Raises ``RemoteProtocolError``: ``unsupported_key`` unless it is an Ed25519 peer, ``transfer_truncated`` for all else.
        """
        with library_errors():
            await answer(socket, NOISE_PROTOCOL_ID)
            raw = RawConnection(socket)
            session = await self._noise.secure_inbound(raw)
            peer_id = PeerId(session.get_remote_peer().to_bytes())
            public_key_of(peer_id)
            channel = SecureChannel(raw, session, peer_id)
            await answer(channel, YAMUX_PROTOCOL_ID)
            return channel


async def propose(stream: ByteStream, protocol: str) -> None:
    """Begin multistream-select as the side that opened the stream, without waiting for the other side's greeting."""
    communicator = MultiselectCommunicator(_Exactly(stream))
    with library_errors():
        await communicator.write(MULTISELECT_PROTOCOL_ID)
        await communicator.write(protocol)


async def confirm(stream: ByteStream, protocol: str) -> None:
    """Read the answer to ``propose``. Raises ``RemoteProtocolError(capability_missing)`` when the peer does not speak the protocol."""
    communicator = MultiselectCommunicator(_Exactly(stream))
    with library_errors():
        greeting = await communicator.read()
        verdict = await communicator.read()
    if greeting != MULTISELECT_PROTOCOL_ID or verdict not in (protocol, PROTOCOL_NOT_FOUND_MSG):
        raise RemoteProtocolError(ErrorCode.TRANSFER_TRUNCATED, "the peer does not speak multistream-select")
    if verdict != protocol:
        raise RemoteProtocolError(ErrorCode.CAPABILITY_MISSING, f"the peer does not speak {protocol}")


async def answer(stream: ByteStream, protocol: str) -> None:
    """The other side of ``propose`` and ``confirm``. Returns once the peer has proposed this protocol, the only one spoken here."""
    with library_errors():
        await Multiselect({protocol: None}).negotiate(MultiselectCommunicator(_Exactly(stream)))


class _Exactly:
    """A stream as py-libp2p's negotiation reads it: exactly so many bytes, and no message longer than the limit."""

    def __init__(self, stream: ByteStream) -> None:
        self._stream: Final = stream

    async def read(self, n: int) -> bytes:
        if n > NEGOTIATION_MESSAGE_MAX:
            raise RemoteProtocolError(ErrorCode.TRANSFER_TRUNCATED, f"the peer announced {n} bytes of negotiation")
        data = b""
        while len(data) < n:
            part = await self._stream.receive_some(n - len(data))
            if not part:
                raise closed()
            data += bytes(part)
        return data

    async def write(self, data: bytes) -> None:
        await self._stream.send_all(data)
