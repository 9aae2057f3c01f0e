"""Trio: the life of one connection, from the first stream to the last byte.

Its rule: a connection ends by itself. Who dialled it wanted one stream, and ends it a moment after that stream; who accepted it ends it
when it has been idle for long; and a side that has nothing more to say waits for the other only so long.
"""

from __future__ import annotations

from typing import Final

import trio

from .yamux import Muxer, Stream

IDLE_TIMEOUT_S: Final = 30.0  # a connection that a peer dialled, without a stream
LINGER_S: Final = 1.0
"""A connection that we dialled, after its stream. Stock libp2p peers drop what has reached them and was not read when a connection ends,
even of streams that ended well, and nothing tells us when they have read it: an answer to a ping comes from below their streams."""
CLOSE_GRACE_S: Final = 10.0
"""For the peer to end its side of a stream, once ours has ended: without a byte that was taken from it in that time, it is given up."""
PARTING_GRACE_S: Final = 1.0  # for the peer to close a connection, once we have said that nothing more will come


class Connection:
    """A socket with its streams. ``keep`` must run; it returns when the connection has ended, with the socket closed."""

    def __init__(self, socket: trio.SocketStream, muxer: Muxer, *, idle_timeout_s: float) -> None:
        self.muxer: Final = muxer
        self._socket: Final = socket
        self._idle_timeout_s: Final = idle_timeout_s
        self._scope: Final = trio.CancelScope()

    async def keep(self) -> None:
        try:
            with self._scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._carry)
                    await self._wait_idle()
                    await self.part()
                    self._scope.cancel()
        finally:
            await trio.aclose_forcefully(self._socket)

    async def part(self) -> None:
        """End the connection without losing what was said: announce it, then wait for the peer to close."""
        with trio.move_on_after(PARTING_GRACE_S):
            await self.muxer.part()
            await self.muxer.ended.wait()

    def cut(self) -> None:
        """End the connection now. The peer sees truncated streams."""
        self._scope.cancel()

    async def see_off(self, stream: Stream) -> None:
        """Give the peer a while to end its side of a stream after ours has ended, then give the stream up.

        It lasts while somebody takes what comes: a peer that trickles into a stream that nobody reads gains nothing.
        """
        await stream.sending_ended.wait()
        n_before = -1
        while not stream.finished.is_set() and stream.received_bytes > n_before:
            n_before = stream.received_bytes
            with trio.move_on_after(CLOSE_GRACE_S):
                await stream.finished.wait()
        await stream.reset()

    async def _carry(self) -> None:
        await self.muxer.run()
        self._scope.cancel()

    async def _wait_idle(self) -> None:
        while not self.muxer.ended.is_set():
            await self.muxer.wait_streams(any_open=False)
            with trio.move_on_after(self._idle_timeout_s) as idling:
                await self.muxer.wait_streams(any_open=True)
            if idling.cancelled_caught:
                return
