"""multistream-select 1.0.0: two sides agree by name on what they speak next (multiformats/multistream-select, ``README``).

A message is ``uvarint length ‖ text ‖ newline``; the length counts the newline. Its rule: nobody waits for words that must come anyway.
Greeting and proposal are one write, and the answer is read where the first byte behind it is wanted: ``confirm`` may come long after
``propose``. Stock responders take that. Awaits nothing but the stream it is given, so it belongs to no event loop.
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
    """What the side that opened the stream says: greeting and protocol."""
    return _word(GREETING) + _word(protocol)


async def propose(stream: ByteStream, protocol: str) -> None:
    """Begin as the side that opened the stream, without waiting for the other side's greeting."""
    await stream.send_all(proposal(protocol))


async def confirm(stream: ByteStream, protocol: str) -> None:
    """Read the answer to a proposal, and not a byte more.

    Raises ``RemoteProtocolError``: ``capability_missing`` when the peer does not speak the protocol, else ``transfer_truncated``.
    """
    await _read_greeting(stream)
    verdict = await _read_word(stream)
    if verdict == REFUSAL:
        raise RemoteProtocolError(ErrorCode.CAPABILITY_MISSING, f"the peer does not speak {protocol}")
    if verdict != protocol:
        raise _broken("it answered with another protocol than was proposed")


async def answer(stream: ByteStream, protocol: str) -> None:
    """The other side of ``propose`` and ``confirm``. Returns once the peer has proposed this protocol, the only one spoken here.

    Raises ``RemoteProtocolError(transfer_truncated)``.
    """
    await stream.send_all(_word(GREETING))  # at once: some initiators wait for it
    await _read_greeting(stream)
    for _ in range(PROPOSALS_MAX):
        if await _read_word(stream) == protocol:
            await stream.send_all(_word(protocol))
            return
        await stream.send_all(_word(REFUSAL))
    raise _broken(f"it tried {PROPOSALS_MAX} protocols in vain")


def _word(text: str) -> bytes:
    line = text.encode() + b"\n"
    return _native.encode_uvarint(len(line)) + line


async def _read_greeting(stream: ByteStream) -> None:
    if await _read_word(stream) != GREETING:
        raise _broken("it does not begin with its greeting")


async def _read_word(stream: ByteStream) -> str:
    size = (await _read_exactly(stream, 1))[0]
    if size & 0x80:
        size = size & 0x7F | (await _read_exactly(stream, 1))[0] << 7  # a third byte would say more than the limit
    if not 0 < size <= WORD_BYTES_MAX:
        raise _broken(f"a message of {size} bytes")
    line = await _read_exactly(stream, size)
    if not line.endswith(b"\n"):
        raise _broken("a message without its newline")
    try:
        return line[:-1].decode()
    except UnicodeDecodeError as error:
        raise _broken("a message that is no text") from error


async def _read_exactly(stream: ByteStream, n_bytes: int) -> bytes:
    data = b""
    while len(data) < n_bytes:
        part = await stream.receive_some(n_bytes - len(data))
        if not part:
            raise closed()
        data += part
    return data


def _broken(what: str) -> RemoteProtocolError:
    return RemoteProtocolError(ErrorCode.TRANSFER_TRUNCATED, f"the peer does not follow multistream-select: {what}")
