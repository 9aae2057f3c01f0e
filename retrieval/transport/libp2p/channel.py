"""Trio: a Noise session over TCP with an authenticated peer, the channel below Yamux.

Its rule: no memory is fresh. A connection reads through a buffer of its own and opens what it read where it is wanted; it writes through
one that it borrows while it writes, so that a peer who does not read holds none.
"""

from __future__ import annotations

import socket as system_socket
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Protocol

import trio

from retrieval.memory import reserve
from retrieval.transport.source import Range
from retrieval.units import KIB

from .ciphers import LENGTH_BYTES, MESSAGE_BYTES_MAX, PLAINTEXT_BYTES_MAX, Buffer, Cipher, sealed_bytes_max
from .failure import closed, connection_errors
from .handshake import Session
from .pace import WRITE_MAX

DIALED_READ_MAX: Final = 1024 * KIB  # bytes read from a socket at once; they are opened while they are in a core's second-level cache
ACCEPTED_READ_MAX: Final = 64 * KIB
"""The same from a peer that dialled us, whose words are short. What was read is dealt with before others have their turn: of a MiB of
frames without payload that is half a second."""
SEALED_IN_THREAD_BYTES: Final = 128 * KIB
"""A batch from this size on is sealed in a worker thread: the loop goes on meanwhile, also while the bytes come from a disk."""
SEALING_AT_ONCE_MAX: Final = 2
"""Batches sealed at the same time, over all connections: so few that a short question finds the loop free."""
UNSENT_BYTES: Final = 1024 * KIB
"""What the system takes of us beyond what it has sent. Trio sets 16 KiB, so that a full socket has room for a little again and again: to
send a GiB took seven thousand calls, each with a turn of the loop, and takes some twelve hundred now."""
BUFFER_BYTES: Final = WRITE_MAX + 256 * KIB
"""What a large batch is sealed into: the largest write of blocks of some KiB, with what Noise adds to it."""
SMALL_ROOM: Final = 1 * KIB
"""What Noise adds to a small batch of a few parts."""
SPARE_BUFFERS_MAX: Final = 4
"""Buffers to write through that are kept for the next who writes."""

_sealing_at_once: Final = trio.CapacityLimiter(SEALING_AT_ONCE_MAX)
_spare_buffers: Final[list[memoryview]] = []


Sealed = tuple[memoryview, int]
"""A buffer that was sealed into, and how much of its front is to be sent."""


class Channel(Protocol):
    """The authenticated connection below. All verbs raise ``RemoteProtocolError`` when it breaks."""

    async def seal(self, *parts: Buffer | Range) -> Sealed:
        """The parts one after another, ready to ``send``, in the order in which this was called."""
        ...

    async def send(self, sealed: Sealed) -> None: ...

    async def send_eof(self) -> None: ...

    async def ready(self) -> None:
        """Return when what comes next is Yamux."""
        ...

    def take_into(self, out: memoryview) -> int:
        """Put what has come to the front of ``out``; returns how many bytes, 0 when nothing is here."""
        ...

    async def fill(self) -> None:
        """Wait until more has come. Raises ``RemoteProtocolError(transfer_truncated)`` when the connection has ended."""
        ...


class SecureChannel:
    """Made by ``upgrade.Identity``."""

    def __init__(
        self,
        socket: trio.SocketStream,
        session: Session,
        *,
        read_max: int,
        unread: bytes,
        unsent: bytes = b"",
        first_words: bytes = b"",
    ) -> None:
        """``read_max`` is how many bytes to read at once, at least as many as ``unread``, what the handshake has read beyond its own
        messages. ``unsent``, its last message, leaves before the first sealed; ``first_words`` are sealed with what is sent first.
        """
        self.peer_id: Final = session.peer_id
        self._socket: Final = socket
        if hasattr(system_socket, "TCP_NOTSENT_LOWAT"):
            socket.setsockopt(system_socket.IPPROTO_TCP, system_socket.TCP_NOTSENT_LOWAT, UNSENT_BYTES)
        self._sealing: Final = Cipher(session.sending_key, 0)
        self._opening: Final = Cipher(session.receiving_key, 0)
        self._unsent = unsent
        self._first_words = first_words
        self._received: Final = memoryview(reserve(read_max + LENGTH_BYTES + MESSAGE_BYTES_MAX))
        """What the socket gave and no message has used. The rest of a message is always shorter than the space behind ``read_max``."""
        self._received[: len(unread)] = unread
        self._start, self._end = 0, len(unread)
        self._plaintext: Final = memoryview(reserve(PLAINTEXT_BYTES_MAX))
        """The one message that was larger than the place it was wanted in."""
        self._opened = self._plaintext[:0]
        """What of it was not yet taken."""
        self._before_receiving: Callable[[SecureChannel], Awaitable[None]] | None = None

    async def send_all(self, *parts: Buffer | Range) -> None:
        """Send the parts one after another. Raises as ``seal`` and ``send``."""
        await self.send(await self.seal(*parts))

    async def seal(self, *parts: Buffer | Range) -> Sealed:
        """The messages that carry the parts, to be sent before those that are sealed next: their buffer, and their size.

        Raises what a ``Range`` raises; then nothing more can be sent.
        """
        if self._first_words:
            parts, self._first_words = (self._first_words, *parts), b""
        n_bytes = sum(map(len, parts))
        if n_bytes < SEALED_IN_THREAD_BYTES:
            return self._seal(parts, memoryview(bytearray(n_bytes + SMALL_ROOM)))
        buffer = _spare_buffers.pop() if _spare_buffers else memoryview(reserve(BUFFER_BYTES))
        return await trio.to_thread.run_sync(self._seal, parts, buffer, limiter=_sealing_at_once)

    async def send(self, sealed: Sealed) -> None:
        """Hand what was sealed to the operating system. Raises ``RemoteProtocolError(transfer_truncated)`` when the connection breaks."""
        buffer, size = sealed
        with connection_errors():
            unsent, self._unsent = self._unsent, b""
            await self._socket.send_all(b"".join((unsent, buffer[:size])) if unsent else buffer[:size])
        if len(buffer) == BUFFER_BYTES and len(_spare_buffers) < SPARE_BUFFERS_MAX:
            _spare_buffers.append(buffer)

    async def send_eof(self) -> None:
        with connection_errors():
            await self._socket.send_eof()

    def before_receiving(self, confirm: Callable[[SecureChannel], Awaitable[None]]) -> None:
        """Have ``ready`` read what the peer still owes: an answer that was not waited for."""
        self._before_receiving = confirm

    async def ready(self) -> None:
        """Return when the peer's next bytes are those of the muxer."""
        if self._before_receiving is not None:
            await self._before_receiving(self)

    def take_into(self, out: memoryview) -> int:
        """Put plaintext that is here into ``out``, where it is opened if its messages fit; returns how many bytes, 0 when none is here.

        Raises ``RemoteProtocolError(transfer_truncated)`` for bytes that are no messages of this session.
        """
        if not self._opened:
            n_used, n_opened = self._opening.open(self._received[self._start : self._end], out)
            self._start += n_used
            if n_opened:
                return n_opened
            n_used, n_opened = self._opening.open(self._received[self._start : self._end], self._plaintext)
            self._start += n_used
            self._opened = self._plaintext[:n_opened]
        size = min(len(out), len(self._opened))
        out[:size] = self._opened[:size]
        self._opened = self._opened[size:]
        return size

    async def fill(self) -> None:
        """Wait for more from the peer, once ``take_into`` has nothing.

        Raises ``RemoteProtocolError(transfer_truncated)`` when the connection has ended or broken.
        """
        rest = self._end - self._start
        self._received[:rest] = self._received[self._start : self._end]
        self._start, self._end = 0, rest
        with connection_errors():
            n_more = await self._socket.socket.recv_into(self._received[rest:])
        if not n_more:
            raise closed()
        self._end += n_more

    async def receive_some(self, max_bytes: int) -> bytes:
        """Between 1 and ``max_bytes`` of plaintext: for negotiation, before there is a muxer."""
        out = memoryview(bytearray(max_bytes))
        while not (size := self.take_into(out)):
            await self.fill()
        return bytes(out[:size])

    def _seal(self, parts: Sequence[Buffer | Range], out: memoryview) -> Sealed:
        """The messages of a batch, in ``out`` or in a larger buffer, and their size."""
        at = 0

        def seal(plaintext: Sequence[Buffer]) -> int:
            nonlocal out
            room = at + sealed_bytes_max(plaintext)
            if len(out) < room:
                larger = memoryview(reserve(room))
                larger[:at] = out[:at]
                out = larger
            return self._sealing.seal(plaintext, out[at:])

        for part in parts:
            at += part.use(seal) if isinstance(part, Range) else seal((part,))
        return out, at
