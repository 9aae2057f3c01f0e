"""Trio: from a TCP connection to an authenticated and encrypted channel (multistream-select, then Noise XX, then the word ``yamux``).

Its rule: what can be said is said, and no answer is waited for that nothing depends on. So a dialer knows its peer after one round
trip, and what it sends next may be the first bytes of a stream: the word for the muxer is confirmed when the peer's first bytes are read.
"""

from __future__ import annotations

from functools import partial
from typing import Final

import trio

from retrieval.identity import PeerId

from .channel import ACCEPTED_READ_MAX, DIALED_READ_MAX, SecureChannel
from .ciphers import LENGTH_BYTES
from .failure import closed, connection_errors
from .handshake import Credentials, DialerHandshake, ListenerHandshake
from .negotiation import answer, confirm, proposal

NOISE_PROTOCOL_ID: Final = "/noise"
YAMUX_PROTOCOL_ID: Final = "/yamux/1.0.0"
READ_AHEAD_BYTES: Final = 64 * 1024  # at once; all that a peer says before its session is under 1 KiB


class Identity:
    """The keys with which this node answers for itself: its Ed25519 peer key, and a Noise key that it vouches for."""

    def __init__(self, peer_key_seed: bytes) -> None:
        self._credentials: Final = Credentials(peer_key_seed)

    async def secure_dialed(self, socket: trio.SocketStream, expected: PeerId) -> SecureChannel:
        """Make sure of the peer that was dialled.

        Raises ``RemoteProtocolError``: ``capability_missing`` unless it speaks Noise, ``unsupported_key`` unless it is an Ed25519 peer,
        ``dial_failed`` when another peer answers, ``transfer_truncated`` for all else. That the peer does not speak Yamux is raised by the
        channel, when its first bytes are read.
        """
        with connection_errors():
            handshake, talk = DialerHandshake(self._credentials, expected), _Talk(socket)
            await talk.send_all(proposal(NOISE_PROTOCOL_ID) + _framed(handshake.begin()))
            await confirm(talk, NOISE_PROTOCOL_ID)
            last, session = handshake.finish(await talk.receive_message())
            await talk.send_all(_framed(last))
            unread, unsent = talk.end()
            first_words = proposal(YAMUX_PROTOCOL_ID)
            channel = SecureChannel(socket, session, read_max=DIALED_READ_MAX, unread=unread, unsent=unsent, first_words=first_words)
            channel.before_receiving(partial(confirm, protocol=YAMUX_PROTOCOL_ID))
            return channel

    async def secure_accepted(self, socket: trio.SocketStream) -> SecureChannel:
        """Find out who connected.

        Raises ``RemoteProtocolError``: ``unsupported_key`` unless it is an Ed25519 peer, ``transfer_truncated`` for all else.
        """
        with connection_errors():
            handshake, talk = ListenerHandshake(self._credentials), _Talk(socket)
            await answer(talk, NOISE_PROTOCOL_ID)
            await talk.send_all(_framed(handshake.answer(await talk.receive_message())))
            session = handshake.finish(await talk.receive_message())
            unread, unsent = talk.end()
            channel = SecureChannel(socket, session, read_max=ACCEPTED_READ_MAX, unread=unread, unsent=unsent)
            await answer(channel, YAMUX_PROTOCOL_ID)
            return channel


class _Talk:
    """A socket while a handshake goes over it: what is said leaves in one piece when the other side's turn comes."""

    def __init__(self, socket: trio.SocketStream) -> None:
        self._socket: Final = socket
        self._unread = b""
        self._unsent = b""

    async def send_all(self, data: bytes) -> None:
        self._unsent += data

    async def receive_some(self, max_bytes: int) -> bytes:
        if not self._unread:
            if self._unsent:
                await self._socket.send_all(self._unsent)
                self._unsent = b""
            self._unread = bytes(await self._socket.receive_some(READ_AHEAD_BYTES))
        data, self._unread = self._unread[:max_bytes], self._unread[max_bytes:]
        return data

    async def receive_message(self) -> bytes:
        """A message of the handshake: two bytes of length, big-endian, before it."""
        return await self._receive_exactly(int.from_bytes(await self._receive_exactly(LENGTH_BYTES), "big"))

    def end(self) -> tuple[bytes, bytes]:
        """What was read ahead, and what was said and has not left: for who goes on."""
        return self._unread, self._unsent

    async def _receive_exactly(self, n_bytes: int) -> bytes:
        data = b""
        while len(data) < n_bytes:
            part = await self.receive_some(n_bytes - len(data))
            if not part:
                raise closed()
            data += part
        return data


def _framed(message: bytes) -> bytes:
    return len(message).to_bytes(LENGTH_BYTES, "big") + message
