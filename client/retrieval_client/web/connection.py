"""Trio. One connection to a gateway: requests one after another, each answer's body received straight into the caller's buffer.

The rule: what is not body goes through a small buffer of the connection's own; of the body only what came together with a line of the
framing is copied. An answer that was not read to its end closes the connection with it.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import Final, Protocol

import trio

from retrieval.errors import ErrorCode, RemoteProtocolError
from retrieval.units import KIB, MIB

from .address import GatewayAddress
from .http1 import HEAD_SIZE_MAX, Framing, Head, malformed, read_head, write_request

DIAL_TIMEOUT_S: Final = 10.0  # as for a peer
LINES_BYTES: Final = 64 * KIB
"""What is received into for heads and lines; above the largest head."""
PARTING_S: Final = 1.0
WINDOW_BYTES: Final = 2 * MIB
"""What the system may receive ahead of us, at the least, from the first byte on; by itself it would begin with 64 KiB."""
INTERIM_MAX: Final = 8
"""Answers of 1xx before the one that counts."""
_SSL_READ_MAX: Final = 256 * KIB


class Wire(Protocol):
    """Bytes both ways."""

    async def send(self, data: bytes) -> None: ...

    async def receive_into(self, first: memoryview, second: memoryview) -> int:
        """Fill the one and then the other with what is here; returns how many bytes in all, 0 at the end."""
        ...

    async def close(self) -> None: ...


class Connection:
    """Made by ``connect``. For one task at a time."""

    def __init__(self, wire: Wire, address: GatewayAddress) -> None:
        self.n_answers = 0
        """Answers that were read to their end here."""
        self.is_usable = True
        """Whether another request may be sent."""
        self.is_drained = True
        """Whether all that the system had was received: a read that fills its room leaves more behind."""
        self._wire: Final = wire
        self._address: Final = address
        self._lines: Final = memoryview(bytearray(LINES_BYTES))
        self._start, self._end = 0, 0
        """What of it was received and not read."""

    async def ask(self, target: str, headers: Mapping[str, str]) -> Answer:
        """Send a GET for what stands below the gateway's prefix, and wait for the head of its answer.

        The answer before it must have been read, or the connection is not usable. Raises ``RemoteProtocolError``: ``transfer_truncated``,
        ``malformed_message``.
        """
        assert self.is_usable
        self.is_usable = False
        host = {"Host": self._address.authority}
        with _connection_errors():
            await self._wire.send(write_request(self._address.prefix + target, {**host, **headers}))
            for _ in range(INTERIM_MAX):
                head = await self._head()
                if head.status >= 200:
                    return Answer(self, head)
        raise malformed("a server has more and more to say before it answers")

    async def close(self) -> None:
        """Hang up. Never raises, and does not wait long."""
        self.is_usable = False
        with trio.CancelScope(shield=True, deadline=trio.current_time() + PARTING_S):
            await self._wire.close()

    # for Answer

    def give_back(self, head: Head) -> None:
        """An answer was read to its end."""
        self.n_answers += 1
        self.is_usable = head.is_kept_open and self._start == self._end

    async def receive_into(self, target: memoryview, framing: Framing) -> int:
        """Bytes of a body into the front of ``target``; 0 once it is over."""
        while not framing.is_over:
            if framing.left:
                wanted = target[: min(len(target), framing.left)]
                n_bytes = self._take(wanted) or await self._receive(wanted, is_last=len(wanted) == framing.left)
                if not n_bytes:
                    if framing.ends_with_connection:
                        framing.is_over = True
                        break
                    raise _closed()
                framing.took(n_bytes)
                return n_bytes
            n_read = framing.read_line(self._lines[self._start : self._end])
            self._start += n_read
            if not n_read and not await self._fill():
                raise _closed()
        return 0

    # inside

    async def _head(self) -> Head:
        seen = 0
        while (end := bytes(self._lines[self._start : self._end]).find(b"\r\n\r\n", max(0, seen - 3))) < 0:
            seen = self._end - self._start
            if seen > HEAD_SIZE_MAX:
                raise malformed(f"an answer's headers have more than {HEAD_SIZE_MAX} bytes")
            if not await self._fill():
                raise _closed()
        data = bytes(self._lines[self._start : self._start + end + 4])
        self._start += end + 4
        return read_head(data)

    def _take(self, target: memoryview) -> int:
        """What was received already."""
        n_bytes = min(len(target), self._end - self._start)
        target[:n_bytes] = self._lines[self._start : self._start + n_bytes]
        self._start += n_bytes
        return n_bytes

    async def _receive(self, target: memoryview, *, is_last: bool) -> int:
        """Bytes of the body, and where it is the last of a chunk the line behind it in the same call."""
        assert self._start == self._end
        self._start = self._end = 0
        with _connection_errors():
            n_bytes = await self._wire.receive_into(target, second := self._lines if is_last else self._lines[:0])
        self.is_drained = n_bytes < len(target) + len(second)
        self._end = max(0, n_bytes - len(target))
        return min(n_bytes, len(target))

    async def _fill(self) -> int:
        """More lines; 0 where the connection has ended."""
        rest = self._end - self._start
        self._lines[:rest] = bytes(self._lines[self._start : self._end])
        self._start, self._end = 0, rest
        with _connection_errors():
            n_bytes = await self._wire.receive_into(self._lines[rest:], self._lines[:0])
        self._end += n_bytes
        return n_bytes


class Answer:
    """The answer to one request. Read it to its end, or close the connection."""

    def __init__(self, connection: Connection, head: Head) -> None:
        """Raises ``RemoteProtocolError(malformed_message)``."""
        self.head: Final = head
        self.n_bytes = 0
        """Of the body, so far."""
        self._connection: Final = connection
        self._framing: Final = Framing(head)
        self._is_read = False

    @property
    def is_drained(self) -> bool:
        """Whether nothing more is known to be here already."""
        return self._connection.is_drained

    async def receive_into(self, target: memoryview) -> int:
        """Bytes of the body into the front of ``target``; 0 at its end.

        Raises ``RemoteProtocolError``: ``transfer_truncated``, ``malformed_message``.
        """
        n_bytes = await self._connection.receive_into(target, self._framing)
        self.n_bytes += n_bytes
        if not n_bytes and not self._is_read:
            self._is_read = True
            if not self._framing.ends_with_connection:
                self._connection.give_back(self.head)
        return n_bytes

    async def read(self, size_max: int) -> bytes:
        """All of a small body. Raises as ``receive_into``, and ``malformed_message`` above ``size_max`` bytes."""
        buffer = memoryview(bytearray(size_max + 1))
        at = 0
        while n_bytes := await self.receive_into(buffer[at:]):
            at += n_bytes
            if at > size_max:
                raise malformed(f"a short answer has more than {size_max} bytes")
        return bytes(buffer[:at])

    async def close(self) -> None:
        """Hang up, unless all of it was read."""
        if not self._is_read:
            await self._connection.close()


@asynccontextmanager
async def connect(address: GatewayAddress, *, timeout_s: float = DIAL_TIMEOUT_S) -> AsyncIterator[Connection]:
    """A connection while the block runs. Raises ``RemoteProtocolError(dial_failed)``."""
    connection = await dial(address, timeout_s=timeout_s)
    try:
        yield connection
    finally:
        await connection.close()


async def dial(address: GatewayAddress, *, timeout_s: float = DIAL_TIMEOUT_S) -> Connection:
    """A connection that the caller closes. Raises ``RemoteProtocolError(dial_failed)``."""
    try:
        with trio.fail_after(timeout_s):
            stream = await trio.open_tcp_stream(address.host, address.port)
            if hasattr(socket, "SO_RCVLOWAT"):
                stream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, WINDOW_BYTES)
                stream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 1)
            return Connection(await _secured(stream, address) if address.is_secure else _Plain(stream), address)
    except (OSError, trio.TooSlowError, trio.BrokenResourceError) as error:
        raise RemoteProtocolError(ErrorCode.DIAL_FAILED, f"{address}: {error or 'it did not answer in time'}") from error


class _Plain:
    """TCP."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self._stream: Final = stream

    async def send(self, data: bytes) -> None:
        await self._stream.send_all(data)

    async def receive_into(self, first: memoryview, second: memoryview) -> int:
        if not second:
            return await self._stream.socket.recv_into(first)
        return (await self._stream.socket.recvmsg_into([first, second]))[0]

    async def close(self) -> None:
        await self._stream.aclose()


class _Secure:
    """TLS."""

    def __init__(self, stream: trio.SSLStream) -> None:
        self._stream: Final = stream

    async def send(self, data: bytes) -> None:
        await self._stream.send_all(data)

    async def receive_into(self, first: memoryview, second: memoryview) -> int:
        data = memoryview(await self._stream.receive_some(min(_SSL_READ_MAX, len(first) + len(second))))
        n_first = min(len(first), len(data))
        first[:n_first] = data[:n_first]
        second[: len(data) - n_first] = data[n_first:]
        return len(data)

    async def close(self) -> None:
        await trio.aclose_forcefully(self._stream)  # no farewell: whether an answer is whole is said by its framing


async def _secured(stream: trio.SocketStream, address: GatewayAddress) -> _Secure:
    secure = trio.SSLStream(stream, ssl.create_default_context(), server_hostname=address.host, https_compatible=True)
    try:
        await secure.do_handshake()
    except BaseException:
        await trio.aclose_forcefully(stream)
        raise
    return _Secure(secure)


@contextmanager
def _connection_errors() -> Iterator[None]:
    """What breaks a connection, in the registry's words."""
    try:
        yield
    except (OSError, trio.BrokenResourceError, trio.ClosedResourceError) as error:
        raise RemoteProtocolError(ErrorCode.TRANSFER_TRUNCATED, "the connection broke") from error


def _closed() -> RemoteProtocolError:
    return RemoteProtocolError(ErrorCode.TRANSFER_TRUNCATED, "the connection ended inside an answer")
