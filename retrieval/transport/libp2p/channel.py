"""Trio: a Noise session over TCP with an authenticated peer, the channel below Yamux.

Its rule: no memory is fresh. A connection reads through two buffers of its own, and writes through one that it borrows while it writes,
so that a peer who does not read holds none.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import trio

from retrieval.memory import reserve
from retrieval.transport.source import Range
from retrieval.units import KIB

from .ciphers import LENGTH_BYTES, MESSAGE_BYTES_MAX, Buffer, Cipher, sealed_bytes_max
from .failure import closed, library_errors
from .handshake import Session

READ_MAX: Final = 512 * KIB  # bytes read from a socket at once; with their plaintext they fit a core's second-level cache
SEALED_IN_THREAD_BYTES: Final = 128 * KIB
"""A batch from this size on is sealed in a worker thread: the loop goes on meanwhile, also while the bytes come from a disk."""
SEALING_AT_ONCE_MAX: Final = 2
"""Batches sealed at the same time, over all connections: so few that a short question finds the loop free."""
SPARE_BUFFERS_MAX: Final = 4
"""Buffers to write through that are kept for the next who writes."""

_sealing_at_once: Final = trio.CapacityLimiter(SEALING_AT_ONCE_MAX)
_spare_buffers: Final[list[bytearray]] = []


class SecureChannel:
    """Made by ``upgrade.Identity``."""

    def __init__(self, socket: trio.SocketStream, session: Session, *, unread: bytes, unsent: bytes = b"") -> None:
        """``unread`` is what the handshake has read beyond its own messages; ``unsent``, its last message, leaves with the first sealed."""
        self.peer_id: Final = session.peer_id
        self._socket: Final = socket
        self._sealing: Final = Cipher(session.sending_key, 0)
        self._opening: Final = Cipher(session.receiving_key, 0)
        self._unsent = unsent
        self._received: Final = memoryview(reserve(READ_MAX + LENGTH_BYTES + MESSAGE_BYTES_MAX))
        """What the socket gave and no message has used. The rest of a message is always shorter than the space behind ``READ_MAX``."""
        self._plaintext: Final = memoryview(reserve(len(self._received)))
        self._received[: len(unread)] = unread
        self._n_received = len(unread)
        self._opened = self._plaintext[:0]
        """What was opened and not yet handed on."""
        self._before_receiving: Callable[[SecureChannel], Awaitable[None]] | None = None

    async def send_all(self, *parts: Buffer | Range) -> None:
        """Send the parts one after another, in one system call where the socket takes it.

        Raises ``RemoteProtocolError(transfer_truncated)`` when the connection breaks, and what a ``Range`` raises; then nothing more
        can be sent.
        """
        buffer = _spare_buffers.pop() if _spare_buffers else bytearray()
        if sum(map(len, parts)) < SEALED_IN_THREAD_BYTES:
            sealed, size = self._seal(parts, buffer)
        else:
            sealed, size = await trio.to_thread.run_sync(self._seal, parts, buffer, limiter=_sealing_at_once)
        with library_errors():
            unsent, self._unsent = self._unsent, b""
            await self._socket.send_all(b"".join((unsent, memoryview(sealed)[:size])) if unsent else memoryview(sealed)[:size])
        if len(_spare_buffers) < SPARE_BUFFERS_MAX:
            _spare_buffers.append(sealed)

    async def send_eof(self) -> None:
        with library_errors():
            await self._socket.send_eof()

    def before_receiving(self, confirm: Callable[[SecureChannel], Awaitable[None]]) -> None:
        """Have ``confirm`` read what the peer still owes before anything else is received: an answer that is not waited for."""
        self._before_receiving = confirm

    async def receive_some(self, max_bytes: int = READ_MAX + MESSAGE_BYTES_MAX) -> memoryview:
        """The next plaintext, between 1 byte and ``max_bytes``; valid until the next call.

        Raises ``RemoteProtocolError(transfer_truncated)`` when the connection has ended or broken.
        """
        if (confirm := self._before_receiving) is not None:
            self._before_receiving = None
            await confirm(self)
        while not self._opened:
            n_used, n_opened = self._opening.open(self._received[: self._n_received], self._plaintext)
            rest = self._n_received - n_used
            self._received[:rest] = self._received[n_used : self._n_received]
            self._n_received, self._opened = rest, self._plaintext[:n_opened]
            if not n_opened:
                await self._read()
        data, self._opened = self._opened[:max_bytes], self._opened[max_bytes:]
        return data

    async def _read(self) -> None:
        with library_errors():
            n_more = await self._socket.socket.recv_into(self._received[self._n_received :])
        if not n_more:
            raise closed()
        self._n_received += n_more

    def _seal(self, parts: Sequence[Buffer | Range], out: bytearray) -> tuple[bytearray, int]:
        """The messages of a batch, in ``out`` or in a larger buffer, and their size."""
        at = 0

        def seal(plaintext: Sequence[Buffer]) -> int:
            nonlocal out
            room = at + sealed_bytes_max(plaintext)
            if len(out) < room:
                out = out[:at] + bytearray(room - at)
            return self._sealing.seal(plaintext, memoryview(out)[at:])

        for part in parts:
            at += part.use(seal) if isinstance(part, Range) else seal((part,))
        return out, at
