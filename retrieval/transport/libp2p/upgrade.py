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

from .ciphers import LENGTH_BYTES, MESSAGE_BYTES_MAX, Buffer, Cipher

YAMUX_PROTOCOL_ID: Final = "/yamux/1.0.0"
READ_MAX: Final = 512 * 1024  # bytes read from a socket at once
NEGOTIATION_MESSAGE_MAX: Final = 1024  # bytes; the longest protocol id in use has well under 100

if not os.environ.get("LIBP2P_DEBUG"):
    # py-libp2p cuts its loggers off from the program's and sets no handler, so that warnings land raw on stderr: undo that.
    logging.getLogger("libp2p").propagate = True


class ByteStream(Protocol):
    """What a protocol can be negotiated over: a socket, a Noise session or a stream."""

    async def send_all(self, data: bytes) -> None: ...

    async def receive_some(self, max_bytes: int) -> bytes | bytearray: ...


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

    Of py-libp2p's session only the keys are used: see ``ciphers``.
    """

    def __init__(self, raw: _RawConnection, session: SecureSession, peer_id: PeerId) -> None:
        self.peer_id: Final = peer_id
        self.must_confirm_muxer = False
        """Set when Yamux was proposed and not waited for: the answer precedes the first frame, and one round trip is saved."""
        self._socket: Final = raw.socket
        noise = session.conn.noise_state.noise_protocol
        self._sealing: Final = Cipher(noise.cipher_state_encrypt.k, noise.cipher_state_encrypt.n)
        self._opening: Final = Cipher(noise.cipher_state_decrypt.k, noise.cipher_state_decrypt.n)
        self._plaintext = bytearray()
        self._received: Final = memoryview(bytearray(READ_MAX + LENGTH_BYTES + MESSAGE_BYTES_MAX))
        """What the socket gave and no message has used. The rest of a message is always shorter than the space behind ``READ_MAX``."""
        unread = raw.take_unread()
        self._received[: len(unread)] = unread
        self._n_received = len(unread)

    async def send_all(self, *parts: Buffer) -> None:
        """Send the parts one after another, in one system call where the socket takes it."""
        with _library_errors():
            await self._socket.send_all(memoryview(self._sealing.seal(parts)))

    async def send_eof(self) -> None:
        with _library_errors():
            await self._socket.send_eof()

    async def receive_some(self, max_bytes: int | None = None) -> bytearray:
        """All plaintext that has arrived, or at most ``max_bytes`` of it; nothing when the peer ended the connection."""
        if self.must_confirm_muxer:
            self.must_confirm_muxer = False
            await confirm(self, YAMUX_PROTOCOL_ID)
        while not self._plaintext:
            self._plaintext, n_used = self._opening.open(self._received[: self._n_received])
            rest = self._n_received - n_used
            self._received[:rest] = self._received[n_used : self._n_received]
            self._n_received = rest
            if self._plaintext:
                break
            with _library_errors():
                n_more = await self._socket.socket.recv_into(self._received[rest:])
            if not n_more:
                raise _closed()
            self._n_received += n_more
        data, self._plaintext = self._plaintext, bytearray()
        if max_bytes is not None and len(data) > max_bytes:
            data, self._plaintext = data[:max_bytes], data[max_bytes:]
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

    async def write(self, data: bytes) -> None:
        await self.socket.send_all(data)

    def take_unread(self) -> bytes:
        """What was read ahead, for who reads on."""
        unread, self._unread, self._start = self._unread[self._start :], b"", 0
        return unread


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
