"""multistream-select 1.0.0: two sides agree by name on what they speak next (multiformats/multistream-select, ``README``).

A message is ``uvarint length ‖ text ‖ newline``; the length counts the newline. Its rule: nobody waits for words that must come anyway.
Greeting and proposal are one write, and the answer is read where the first byte behind it is wanted, long after more was said. Stock
responders take that. Awaits nothing but the stream it is given, so it belongs to no event loop.
"""

from __future__ import annotations

from typing import Final, Protocol

from retrieval import _native
from retrieval.errors import ErrorCode, RemoteProtocolError

from .failure import closed

GREETING: Final = "/multistream/1.0.0"
REFUSAL: Final = "na"
WORD_BYTES_MAX: Final = 1024  # with its newline; the longest protocol id in use has well under 100
PROPOSALS_MAX: Final = 16  # names one peer may try on us before it is taken for one that only keeps us busy


class ByteStream(Protocol):
    """What is negotiated over: a socket, a Noise session or a stream."""

    async def send_all(self, data: bytes) -> None: ...

    async def receive_some(self, max_bytes: int) -> bytes | bytearray | memoryview:
        """Between 1 and ``max_bytes`` bytes; none when the other side has ended."""
        ...


def proposal(protocol: str) -> bytes:
    """What the side that opened the stream says: greeting and protocol, without waiting for the other side's greeting."""
    return _word(GREETING) + _word(protocol)


async def confirm(stream: ByteStream, protocol: str) -> None:
    """Read the answer to a proposal, and not a byte more. Raises as ``Confirmation.wait``."""
    await Confirmation(stream, protocol).wait()


class Confirmation:
    """The answer to a proposal, for who does not wait for it at once."""

    def __init__(self, stream: ByteStream, protocol: str) -> None:
        self._words: Final = _Words(stream)
        self._protocol: Final = protocol

    async def wait(self) -> None:
        """Read it, and not a byte more. It may be cancelled, and awaited again.

        Raises ``RemoteProtocolError``: ``capability_missing`` when the peer does not speak the protocol, else ``transfer_truncated``.
        """
        await self._words.read_greeting()
        verdict = await self._words.read()
        if verdict == REFUSAL:
            raise RemoteProtocolError(ErrorCode.CAPABILITY_MISSING, f"the peer does not speak {self._protocol}")
        if verdict != self._protocol:
            raise _broken("it answered with another protocol than was proposed")


async def answer(stream: ByteStream, protocol: str) -> None:
    """The other side of a ``proposal``. Returns once the peer has proposed this protocol, the only one spoken here.

    Raises ``RemoteProtocolError(transfer_truncated)``.
    """
    words = _Words(stream)
    await stream.send_all(_word(GREETING))  # at once: some initiators wait for it
    await words.read_greeting()
    for _ in range(PROPOSALS_MAX):
        proposed = await words.read()
        await stream.send_all(_word(protocol if proposed == protocol else REFUSAL))
        if proposed == protocol:
            return
    raise _broken(f"it tried {PROPOSALS_MAX} protocols in vain")


class _Words:
    """The words of the other side, one by one, without a byte of what follows them. What a cancelled call has read is not lost."""

    def __init__(self, stream: ByteStream) -> None:
        self._stream: Final = stream
        self._read = b""
        self._is_greeted = False

    async def read_greeting(self) -> None:
        if not self._is_greeted and await self.read() != GREETING:
            raise _broken("it does not begin with its greeting")
        self._is_greeted = True

    async def read(self) -> str:
        while n_missing := _missing_bytes(self._read):
            part = await self._stream.receive_some(n_missing)
            if not part:
                raise closed()
            self._read += bytes(part)
        line, self._read = self._read[_length_bytes(self._read) :], b""
        if not line.endswith(b"\n"):
            raise _broken("a message without its newline")
        try:
            return line[:-1].decode()
        except UnicodeDecodeError as error:
            raise _broken("a message that is no text") from error


def _length_bytes(read: bytes) -> int:
    """How many bytes the length takes: two say more than the limit allows."""
    return 1 if read[0] < 0x80 else 2


def _missing_bytes(read: bytes) -> int:
    """How many bytes may be read next without reading past the word that has begun."""
    if not read or len(read) < _length_bytes(read):
        return 1
    size = read[0] if _length_bytes(read) == 1 else read[0] & 0x7F | read[1] << 7
    if not 0 < size <= WORD_BYTES_MAX:
        raise _broken(f"a message of {size} bytes")
    return _length_bytes(read) + size - len(read)


def _word(text: str) -> bytes:
    line = text.encode() + b"\n"
    return _native.encode_uvarint(len(line)) + line


def _broken(what: str) -> RemoteProtocolError:
    return RemoteProtocolError(ErrorCode.TRANSFER_TRUNCATED, f"the peer does not follow multistream-select: {what}")
