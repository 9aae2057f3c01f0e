"""The path that the benchmarks measure over loses, repeats and reorders nothing, and passes every end on."""

from __future__ import annotations

import random
from functools import partial

import pytest
import trio

from benchmarks.proxy import MBIT, Link
from retrieval.units import KIB

CONTENT = random.Random(1).randbytes(700 * KIB)


@pytest.mark.parametrize(("delay_s", "bits_per_s"), [(0.0, None), (0.01, None), (0.01, 400 * MBIT)])
def test_both_directions_carry_every_byte_and_their_ends(delay_s: float, bits_per_s: int | None) -> None:
    async def echo(stream: trio.SocketStream) -> None:
        received = [data async for data in stream]
        await stream.send_all(b"".join(received))
        await stream.send_eof()

    async def main() -> bytes:
        async with trio.open_nursery() as nursery:
            (far,) = await nursery.start(partial(trio.serve_tcp, echo, 0, host="127.0.0.1"))
            far_port = far.socket.getsockname()[1]

            link = Link("127.0.0.1", far_port, delay_s=delay_s, bits_per_s=bits_per_s)
            (listener,) = await nursery.start(partial(trio.serve_tcp, link.pass_on, 0, host="127.0.0.1"))
            stream = await trio.open_tcp_stream("127.0.0.1", listener.socket.getsockname()[1])
            async with stream:
                await stream.send_all(CONTENT)
                await stream.send_eof()
                received = b"".join([data async for data in stream])
            nursery.cancel_scope.cancel()
        assert link.carried_bytes == 2 * len(CONTENT)
        return received

    assert trio.run(main) == CONTENT
