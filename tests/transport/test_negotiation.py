"""multistream-select: the bytes of its specification, whatever pieces they come in, and nothing read beyond them."""

from __future__ import annotations

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import trio_test, wait_all_tasks_blocked

from retrieval.errors import ErrorCode, RemoteProtocolError
from retrieval.transport.libp2p.negotiation import PROPOSALS_MAX, WORD_BYTES_MAX, Confirmation, answer, confirm, proposal

GREETING = b"\x13/multistream/1.0.0\n"
ECHO = b"\x0a/echo/0.1\n"
NA = b"\x03na\n"


class Script:
    """A stream whose other side has said everything already, in pieces of some size."""

    def __init__(self, said: bytes, piece_bytes: int = 1 << 16) -> None:
        self.unread = said
        self.sent = b""
        self._piece_bytes = piece_bytes

    async def send_all(self, data: bytes) -> None:
        self.sent += data

    async def receive_some(self, max_bytes: int) -> bytes:
        size = min(max_bytes, self._piece_bytes)
        data, self.unread = self.unread[:size], self.unread[size:]
        return data


async def refused(stream: Script) -> ErrorCode:
    with pytest.raises(RemoteProtocolError) as caught:
        await confirm(stream, "/echo/0.1")
    return caught.value.code


def test_a_proposal_is_greeting_and_name() -> None:
    assert proposal("/echo/0.1") == GREETING + ECHO


@pytest.mark.parametrize("piece_bytes", [1, 2, 7, 1000])
@trio_test
async def test_an_answer_is_read_and_not_a_byte_more(piece_bytes: int) -> None:
    stream = Script(GREETING + ECHO + b"what follows", piece_bytes)
    await confirm(stream, "/echo/0.1")

    assert stream.unread == b"what follows"
    assert stream.sent == b""


@pytest.mark.parametrize("piece_bytes", [1, 2, 7, 1000])
@trio_test
async def test_a_listener_refuses_until_it_hears_its_own_protocol(piece_bytes: int) -> None:
    stream = Script(GREETING + b"\x07/noise\n" + ECHO + b"what follows", piece_bytes)
    await answer(stream, "/echo/0.1")

    assert stream.sent == GREETING + NA + ECHO
    assert stream.unread == b"what follows"


@trio_test
async def test_a_listener_greets_before_it_listens() -> None:
    stream = Script(b"")
    with pytest.raises(RemoteProtocolError):
        await answer(stream, "/echo/0.1")

    assert stream.sent == GREETING


@trio_test
async def test_a_peer_that_does_not_speak_it_is_told_apart_from_one_that_speaks_nothing() -> None:
    assert await refused(Script(GREETING + NA)) is ErrorCode.CAPABILITY_MISSING
    for said in (
        GREETING + b"\x07/noise\n",
        ECHO,
        NA,
        GREETING[:-1],
        GREETING + b"\x00",
        GREETING + b"\x02na",
        GREETING + b"\x03\xff\xff\n",
        b"",
        b"HTTP/1.1 400 Bad Request\r\n",
    ):
        assert await refused(Script(said)) is ErrorCode.TRANSFER_TRUNCATED


@trio_test
async def test_a_word_above_the_limit_is_refused_before_any_of_it_is_read() -> None:
    size = WORD_BYTES_MAX + 1
    stream = Script(GREETING + bytes((size & 0x7F | 0x80, size >> 7)) + b"x" * size)
    assert await refused(stream) is ErrorCode.TRANSFER_TRUNCATED
    assert len(stream.unread) == size


@trio_test
async def test_a_word_of_the_largest_size_is_read() -> None:
    name = "/" + "x" * (WORD_BYTES_MAX - 2)
    stream = Script(proposal(name))
    await answer(stream, name)

    assert stream.sent == proposal(name)


@trio_test
async def test_a_peer_that_only_keeps_us_busy_is_let_go() -> None:
    stream = Script(GREETING + b"\x07/noise\n" * 1000)
    with pytest.raises(RemoteProtocolError) as caught:
        await answer(stream, "/echo/0.1")

    assert caught.value.code is ErrorCode.TRANSFER_TRUNCATED
    assert stream.sent == GREETING + NA * PROPOSALS_MAX


@pytest.mark.parametrize("n_before", range(len(GREETING + ECHO)))
@trio_test
async def test_what_a_cancelled_wait_has_read_is_not_lost(n_before: int) -> None:
    class Slow(Script):
        async def receive_some(self, max_bytes: int) -> bytes:
            if not self.unread:
                await trio.sleep_forever()
            return await super().receive_some(max_bytes)

    stream = Slow((GREETING + ECHO)[:n_before], 3)
    confirmation = Confirmation(stream, "/echo/0.1")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(confirmation.wait)
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    stream.unread = (GREETING + ECHO)[n_before:] + b"!"
    await confirmation.wait()

    assert stream.unread == b"!"


@given(st.binary(max_size=80), st.integers(1, 9))
def test_no_bytes_raise_anything_else(said: bytes, piece_bytes: int) -> None:
    async def hear() -> None:
        for verb in (confirm, answer):
            try:
                await verb(Script(said, piece_bytes), "/echo/0.1")
            except RemoteProtocolError:
                continue

    trio.run(hear)
