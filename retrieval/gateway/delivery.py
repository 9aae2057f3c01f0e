"""asyncio. Sends a body out of the store's map into a client's socket.

What is sent lies in mapped files until the kernel takes it: a thread shows the views to ``sendmsg`` and gives them back, so a byte is
copied once, and a client that reads slowly holds none of it in memory here. The socket is a duplicate of the one aiohttp has, which
keeps it: aiohttp writes the head of the answer and the end of it, and nothing in between.

One rule: a body that cannot be finished is never ended cleanly. The connection is cut, so that nobody takes a part for the whole.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import struct
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from enum import Enum
from typing import Final, TypeVar
from weakref import WeakValueDictionary

from aiohttp import web

from retrieval.dag.block import not_held
from retrieval.dag.protobuf import malformed
from retrieval.dag.reader import RawPart
from retrieval.errors import ErrorCode, RemoteProtocolError, RetrievalError
from retrieval.store.blocks import BlockStore
from retrieval.units import floor_div

from .answers import Answer
from .bodies import SO_FAR, Piece

log: Final = logging.getLogger("retrieval.gateway")

T = TypeVar("T")

BATCH_BYTES: Final = 1 << 20
"""Bytes gathered for one call of ``sendmsg``, and so the size of a chunk: about what a socket takes at once on loopback."""
BATCH_PIECES: Final = 64  # a call takes 1,024 buffers; beyond some dozens, their number costs nothing more
TURN_BYTES: Final = 8 << 20
TURN_CPU_S: Final = 0.01
"""What is sent for one client before another has the thread: 8 MiB of large blocks take 5 ms, and of small ones a second."""
PIECES_MAX: Final = 1 << 24
"""Pieces of one answer, so that a file of nothing but empty blocks ends too."""
STALL_S: Final = 30.0
"""A client has this long to take ``STALL_BYTES``; what is slower is cut, since a connection is worth more than a byte now and then."""
STALL_BYTES: Final = 32 << 10

_RESET: Final = struct.pack("ii", 1, 0)  # SO_LINGER that drops what is unsent and says so to the other end


class Progress(Enum):
    """Why a turn of sending ended."""

    DONE = "done"
    FULL = "full"
    """The socket takes no more for now."""
    TURN_OVER = "turn over"


class Outflow:
    """A body on its way into a socket. ``push`` is called from threads, from one at a time."""

    def __init__(self, store: BlockStore, pieces: Iterator[Piece], sock: socket.socket, *, size: int | None, is_chunked: bool) -> None:
        """``size`` is what the body must come to, where that was announced; ``is_chunked`` frames it (RFC 9112, 7.1)."""
        self.sent_bytes = 0
        """What the kernel took, framing included."""
        self.is_done = False
        """Whether it took all of the body."""
        self._store: Final = store
        self._pieces: Final = pieces
        self._sock: Final = sock
        self._left = size
        self._is_chunked: Final = is_chunked
        self._batch: list[Piece] = []
        self._batch_body = range(0)
        """Where in the batch the body stands, between what frames it."""
        self._at = 0
        """Bytes of the batch that have left."""
        self._body_bytes = 0
        """Of the batches before."""
        self._n_pieces = 0
        self._failure: RetrievalError | None = None
        """Why there will be no further pieces, to be said when those before have left."""

    @property
    def body_bytes(self) -> int:
        """What the kernel took of the body."""
        return self._body_bytes + len(self._batch_body[: max(0, self._at - self._batch_body.start)])

    def push(self) -> Progress:
        """Send for one turn. Raises ``RetrievalError`` when the body cannot be finished, ``OSError`` when the client is gone."""
        turn_end, turn_end_s = self.sent_bytes + TURN_BYTES, time.thread_time() + TURN_CPU_S
        while self.sent_bytes < turn_end and time.thread_time() < turn_end_s:
            if not self._batch and not self._gather():
                self.is_done = True
                return Progress.DONE
            try:
                self._send()
            except (BlockingIOError, InterruptedError):
                return Progress.FULL
        return Progress.TURN_OVER

    def _gather(self) -> bool:
        """Take the next pieces; False when there are none."""
        if self._failure is not None:
            raise self._failure
        batch: list[Piece] = []
        n_bytes = 0
        try:
            while n_bytes < BATCH_BYTES and len(batch) < BATCH_PIECES and (piece := next(self._pieces, None)) is not None:
                self._n_pieces += 1
                if self._n_pieces > PIECES_MAX:
                    raise RemoteProtocolError(ErrorCode.DAG_TOO_LARGE, f"an answer of more than {PIECES_MAX} pieces")
                if piece == SO_FAR:
                    if batch:
                        break
                    continue
                n_bytes += self._measure(piece)
                batch.append(piece)
        except RetrievalError as error:
            if not batch:
                raise
            self._failure = error
        if not batch and self._left:
            raise malformed(f"the content ends {self._left} bytes before it should")
        self._body_bytes = self.body_bytes
        head, tail = (f"{n_bytes:x}\r\n".encode(), b"\r\n") if self._is_chunked and n_bytes else (b"", b"")
        self._batch = [head, *batch, tail] if head else batch
        self._batch_body = range(len(head), len(head) + n_bytes)
        self._at = 0
        return bool(batch)

    def _measure(self, piece: Piece) -> int:
        """Bytes of a piece; of a block in a file read whole only its place in the store tells."""
        if not isinstance(piece, RawPart):
            return len(piece)
        if piece.stop is not None:
            return piece.stop - piece.start
        size = self._store.size(piece.cid)
        if size is None:
            raise not_held(piece.cid)
        return size - piece.start

    def _send(self) -> None:
        """Hand the batch to the kernel, as much as it takes."""
        total, n_sent = self._store.view_many([piece.cid for piece in self._batch if isinstance(piece, RawPart)], self._send_views)
        self._at += n_sent
        self.sent_bytes += n_sent
        if self._left is not None:
            self._left -= n_sent
        if self._at == total:
            self._batch = []

    def _send_views(self, views: Sequence[memoryview | None]) -> tuple[int, int]:
        """Bytes of the batch, and how many of them were sent now."""
        buffers: list[memoryview] = []
        unseen = iter(views)
        for piece in self._batch:
            if isinstance(piece, RawPart):
                view = next(unseen)
                if view is None:
                    raise not_held(piece.cid)
                buffers.append(piece.cut(view))
            else:
                buffers.append(memoryview(piece))
        total = sum(map(len, buffers))
        if self._left is not None and total - self._at > self._left:
            raise malformed("the content goes on behind where it should end")
        return total, self._sock.sendmsg(_behind(buffers, self._at)) if total > self._at else 0


def _behind(buffers: list[memoryview], at: int) -> list[memoryview]:
    """What follows the first ``at`` bytes."""
    for index, buffer in enumerate(buffers):
        if at < len(buffer):
            return [buffer[at:], *buffers[index + 1 :]]
        at -= len(buffer)
    return []


class Effort:
    """What one request takes of a processor."""

    def __init__(self) -> None:
        self.cpu_s = 0.0

    def of(self, work: Callable[[], T]) -> Callable[[], T]:
        """The same, counted."""

        def counted() -> T:
            began = time.thread_time()
            try:
                return work()
            finally:
                self.cpu_s += time.thread_time() - began

        return counted


class Threads:
    """A few threads, shared by all clients: what reads the store runs here."""

    def __init__(self, n_threads: int) -> None:
        self._pool: Final = ThreadPoolExecutor(n_threads, thread_name_prefix="store")
        self._share: Final = max(1, floor_div(n_threads, 2))
        self._shares: Final[WeakValueDictionary[str, asyncio.Semaphore]] = WeakValueDictionary()

    async def run_for(self, client: str, work: Callable[[], T], effort: Effort | None = None) -> T:
        """As ``run``, with half of the threads at most for one client, so that whoever asks for much at once waits for himself."""
        share = self._shares.get(client)
        if share is None:
            share = self._shares[client] = asyncio.Semaphore(self._share)
        async with share:
            return await self.run(work, effort)

    async def run(self, work: Callable[[], T], effort: Effort | None = None) -> T:
        """``work`` in a thread. A cancellation waits for its end, since it uses what the caller would close."""
        future = asyncio.get_running_loop().run_in_executor(self._pool, work if effort is None else effort.of(work))
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            await asyncio.wait([future])
            future.exception()  # whatever it is, nobody waits for it any more
            raise

    def close(self) -> None:
        self._pool.shutdown()


class Delivery:
    """One answer, sent to one client."""

    def __init__(self, store: BlockStore, threads: Threads, answer: Answer, content: bytes | None, effort: Effort | None = None) -> None:
        """``content`` is the whole body where it was read already."""
        self.sent_bytes = 0
        """Of the body, as far as this machine sent them."""
        self.is_whole = False
        self._store: Final = store
        self._threads: Final = threads
        self._answer: Final = answer
        self._content: Final = content
        self._effort: Final = effort

    async def send(self, request: web.Request, headers: Mapping[str, str]) -> web.StreamResponse:
        """Send it with these headers. When it could not be sent whole, the connection is cut by then, and ``is_whole`` false."""
        if self._content is not None:
            response = web.Response(status=self._answer.status, headers=headers, body=self._content)
            await response.prepare(request)
            await response.write_eof()
            unsent_bytes = await _drained(request)
            self.sent_bytes, self.is_whole = max(0, len(self._content) - unsent_bytes), not unsent_bytes
            return response
        streamed = web.StreamResponse(status=self._answer.status, headers=headers)
        try:
            await self._stream(request, streamed)
        except (ConnectionError, TimeoutError):  # strangers do as they like, and fill no log with it
            log.debug("%s left, or took no more, after %d bytes of %s", request.remote, self.sent_bytes, request.path)
        except (RetrievalError, OSError) as error:
            log.warning("%s was cut after %d bytes of %s: %s", request.remote, self.sent_bytes, request.path, error)
        return streamed

    async def _stream(self, request: web.Request, response: web.StreamResponse) -> None:
        size = self._answer.size
        if size is not None:
            response.content_length = size
        elif request.version >= (1, 1):
            response.enable_chunked_encoding()
        writer = await response.prepare(request)
        transport = request.transport
        if transport is None or writer is None:
            raise ConnectionResetError
        transport.set_write_buffer_limits(0)  # until aiohttp's own buffer is empty, nothing may go past it
        await writer.drain()
        with transport.get_extra_info("socket").dup() as sock:
            outflow = Outflow(self._store, self._answer.pieces, sock, size=size, is_chunked=response.chunked)
            try:
                await self._push_all(outflow, sock)
            finally:  # also cancelled, as it is when a client that has everything leaves at once
                self.sent_bytes, self.is_whole = outflow.body_bytes, outflow.is_done
                if not self.is_whole:
                    if size is None and not response.chunked:  # here a plain end would look like the end
                        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                    transport.abort()
        transport.set_write_buffer_limits()
        await response.write_eof()

    async def _push_all(self, outflow: Outflow, sock: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        deadline, mark = loop.time() + STALL_S, STALL_BYTES
        while True:
            progress = await self._threads.run(outflow.push, self._effort)
            if progress is Progress.DONE:
                return
            if outflow.sent_bytes >= mark:
                deadline, mark = loop.time() + STALL_S, outflow.sent_bytes + STALL_BYTES
            if progress is Progress.FULL:
                async with asyncio.timeout_at(deadline):
                    await _writable(loop, sock)


def bodiless(answer: Answer, further: Mapping[str, str] | None = None) -> web.Response:
    """Status and headers alone: the answer to HEAD, a redirect, or that the client has it already."""
    headers = {**answer.headers, **(further or {})}
    if answer.size is not None and answer.status != 304:
        headers["Content-Length"] = str(answer.size)
    return web.Response(status=answer.status, headers=headers)


async def _drained(request: web.Request) -> int:
    """Wait until the kernel has what was written, and cut a client that does not let it; gives the bytes it did not take."""
    transport = request.transport
    if transport is None:
        return 0
    unsent_bytes: int = transport.get_write_buffer_size()
    if unsent_bytes:
        transport.set_write_buffer_limits(0)
        try:
            async with asyncio.timeout(STALL_S):
                await request.writer.drain()
            unsent_bytes = 0
        except (TimeoutError, ConnectionError):
            unsent_bytes = transport.get_write_buffer_size() or unsent_bytes
            transport.abort()
        finally:
            transport.set_write_buffer_limits()
    return unsent_bytes


async def _writable(loop: asyncio.AbstractEventLoop, sock: socket.socket) -> None:
    """Until the socket takes more, or has failed."""
    ready = asyncio.Event()
    loop.add_writer(sock.fileno(), ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_writer(sock.fileno())
