"""Trio: from a TCP connection to an authenticated and encrypted channel (multistream-select, then Noise XX, then the word ``yamux``).

Its rule: py-libp2p ends here. Its exceptions become ``RemoteProtocolError``, and what it reads from a peer has a limit. Its ``Swarm`` is
not used: that one waits 250 ms in every cold dial (unless ``max_connections_per_peer=1``), gives connections no end of their own, and
logs tracebacks for peers that merely leave. A retrieval needs one connection and one stream, which these pieces give in four round trips.

Loading py-libp2p takes most of a second, so programs import this package when they need it, not before.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
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
from libp2p.security.secure_session import SecureSession

from retrieval.errors import ErrorCode, RemoteProtocolError, RetrievalError
from retrieval.identity import PeerId, format_peer_id, public_key_of

YAMUX_PROTOCOL_ID: Final = "/yamux/1.0.0"
READ_MAX: Final = 256 * 1024  # bytes read from a socket at once
NOISE_PLAINTEXT_MAX: Final = 65_535 - 16  # bytes; a Noise message has two bytes of length and ends in a tag (libp2p specs, ``noise``)
NEGOTIATION_MESSAGE_MAX: Final = 1024  # bytes; the longest protocol id in use has well under 100

if not os.environ.get("LIBP2P_DEBUG"):
    # py-libp2p cuts its loggers off from the program's and sets no handler, so that warnings land raw on stderr: undo that.
    logging.getLogger("libp2p").propagate = True


class ByteStream(Protocol):
    """What a protocol can be negotiated over: a socket, a Noise session or a stream."""

    async def send_all(self, data: bytes) -> None: ...

    async def receive_some(self, max_bytes: int) -> bytes: ...


class Identity:
    """The keys with which this node answers for itself: its Ed25519 peer key, and a Noise key that it vouches for."""

    def __init__(self, peer_key_seed: bytes) -> None:
        self._noise: Final = NoiseTransport(create_ed25519_key_pair(peer_key_seed), create_x25519_key_pair().private_key)

    async def secure_dialed(self, socket: trio.SocketStream, expected: PeerId) -> SecureChannel:
        """Make sure of the peer that was dialled.

        Raises ``RemoteProtocolError``: ``dial_failed`` when another peer answers, ``transfer_truncated`` for all else.
        """
        with _library_errors():
            await propose(socket, NOISE_PROTOCOL_ID)
            await confirm(socket, NOISE_PROTOCOL_ID)
            try:
                raw = _RawConnection(socket)
                session = await self._noise.secure_outbound(raw, ID(expected))
            except PeerIDMismatchesPubkey as error:
                raise RemoteProtocolError(
                    ErrorCode.DIAL_FAILED, f"a peer other than {format_peer_id(expected)} answers at this address"
                ) from error
            channel = SecureChannel(raw, session, expected)
            await propose(channel, YAMUX_PROTOCOL_ID)
            channel.must_confirm_muxer = True
            return channel

    async def secure_accepted(self, socket: trio.SocketStream) -> SecureChannel:
        """Find out who connected.

        Raises ``RemoteProtocolError``: ``unsupported_key`` unless it is an Ed25519 peer, ``transfer_truncated`` for all else.
        """
        with _library_errors():
            await answer(socket, NOISE_PROTOCOL_ID)
            raw = _RawConnection(socket)
            session = await self._noise.secure_inbound(raw)
            peer_id = PeerId(session.get_remote_peer().to_bytes())
            public_key_of(peer_id)
            channel = SecureChannel(raw, session, peer_id)
            await answer(channel, YAMUX_PROTOCOL_ID)
            return channel


class SecureChannel:
    """A Noise session over TCP with an authenticated peer: the channel below Yamux.

    After the handshake only the ciphers of py-libp2p's session are used. Cutting its messages here makes one system call of a batch of
    them, and copies each byte half as often.
    """

    def __init__(self, raw: _RawConnection, session: SecureSession, peer_id: PeerId) -> None:
        self.peer_id: Final = peer_id
        self.must_confirm_muxer = False
        """Set when Yamux was proposed and not waited for: the answer precedes the first frame, and one round trip is saved."""
        self._raw: Final = raw
        self._ciphers: Final = session.conn.noise_state
        self._plaintext = b""

    async def send_all(self, data: bytes) -> None:
        with _library_errors():
            messages = bytearray()
            for start in range(0, len(data), NOISE_PLAINTEXT_MAX):
                ciphertext = self._ciphers.encrypt(data[start : start + NOISE_PLAINTEXT_MAX])
                messages += len(ciphertext).to_bytes(2, "big")
                messages += ciphertext
            await self._raw.write(memoryview(messages))

    async def send_eof(self) -> None:
        with _library_errors():
            await self._raw.socket.send_eof()

    async def receive_some(self, max_bytes: int = READ_MAX) -> bytes:
        if self.must_confirm_muxer:
            self.must_confirm_muxer = False
            await confirm(self, YAMUX_PROTOCOL_ID)
        with _library_errors():
            while not self._plaintext:
                size = int.from_bytes(await self._raw.read(2), "big")
                self._plaintext = self._ciphers.decrypt(await self._raw.read(size))
        data, self._plaintext = self._plaintext[:max_bytes], self._plaintext[max_bytes:]
        return data


async def propose(stream: ByteStream, protocol: str) -> None:
    """Begin multistream-select as the side that opened the stream, without waiting for the other side's greeting."""
    communicator = MultiselectCommunicator(_Exactly(stream))
    with _library_errors():
        await communicator.write(MULTISELECT_PROTOCOL_ID)
        await communicator.write(protocol)


async def confirm(stream: ByteStream, protocol: str) -> None:
    """Read the answer to ``propose``. Raises ``RemoteProtocolError(capability_missing)`` when the peer does not speak the protocol."""
    communicator = MultiselectCommunicator(_Exactly(stream))
    with _library_errors():
        greeting = await communicator.read()
        verdict = await communicator.read()
    if greeting != MULTISELECT_PROTOCOL_ID or verdict not in (protocol, PROTOCOL_NOT_FOUND_MSG):
        raise RemoteProtocolError(ErrorCode.TRANSFER_TRUNCATED, "the peer does not speak multistream-select")
    if verdict != protocol:
        raise RemoteProtocolError(ErrorCode.CAPABILITY_MISSING, f"the peer does not speak {protocol}")


async def answer(stream: ByteStream, protocol: str) -> None:
    """The other side of ``propose`` and ``confirm``. Returns once the peer has proposed this protocol, the only one spoken here."""
    with _library_errors():
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
                raise _closed()
            data += part
        return data

    async def write(self, data: bytes) -> None:
        await self._stream.send_all(data)


class _RawConnection:
    """A socket as py-libp2p's Noise reads and writes it. It reads ahead, because Noise asks for two bytes, then for the message."""

    def __init__(self, socket: trio.SocketStream) -> None:
        self.socket: Final = socket
        self._unread = b""
        self._start = 0

    async def read(self, n: int) -> bytes:
        """Exactly ``n`` bytes, at most what the two bytes of a length can say."""
        while len(self._unread) - self._start < n:
            more = await self.socket.receive_some(READ_MAX)
            if not more:
                raise _closed()
            self._unread = self._unread[self._start :] + more
            self._start = 0
        data = self._unread[self._start : self._start + n]
        self._start += n
        return data

    async def write(self, data: bytes | memoryview) -> None:
        await self.socket.send_all(data)


@contextmanager
def _library_errors() -> Iterator[None]:
    """Turn whatever comes out of a connection, and of the parsers of py-libp2p and its dependencies, into one family of errors."""
    try:
        yield
    except RetrievalError:
        raise
    except (OSError, trio.BrokenResourceError, trio.ClosedResourceError) as error:
        raise RemoteProtocolError(ErrorCode.TRANSFER_TRUNCATED, "the connection broke") from error
    except Exception as error:  # hostile bytes surface as protobuf, Noise, Unicode, value and library errors
        raise RemoteProtocolError(ErrorCode.TRANSFER_TRUNCATED, f"the peer does not follow libp2p ({type(error).__name__})") from error


def _closed() -> RemoteProtocolError:
    return RemoteProtocolError(ErrorCode.TRANSFER_TRUNCATED, "the peer closed the connection")
