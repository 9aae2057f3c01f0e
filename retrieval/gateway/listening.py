"""asyncio. Connections: the limits that hold before a request has a route, and what all answers have in common.

What cannot be read as HTTP is answered like everything else that fails, and tells nothing of what runs here.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Any, Final

from aiohttp import web
from aiohttp.http_exceptions import LineTooLong

from retrieval.errors import ErrorCode, LocalProtocolError, RemoteProtocolError, RetrievalError

from .ask import ADDRESS_MAX
from .conditions import OutsideContent
from .delivery import STALL_S, Effort
from .guests import Guests
from .openapi import Handler
from .problems import is_ours_to_mend, problem

log: Final = logging.getLogger("retrieval.gateway")

HEADER_LINE_MAX: Final = 8190
"""Bytes of one header, as aiohttp and most proxies have it. Not ``ADDRESS_MAX``: what is too long is told apart by its limit."""
HEADERS_MAX: Final = 64
IDLE_S: Final = 30.0
"""How long a connection may go without a request, or take to send one in bits and pieces."""
UNSENT_BYTES_MAX: Final = 256 << 10
"""Bytes the kernel takes ahead of what the network can carry. It would take 2 MiB and more, from a cache that has gone cold by the time
they leave; so a thousand clients that do not read hold a quarter of a GiB of it and not four."""
LIMITED_PAUSE_S: Final = 1.0
"""Before somebody hears that they ask too fast: to say so costs as much as most answers do, and each connection hears it once a second."""
PREFLIGHT_KEPT_S: Final = 86_400

EXPOSED: Final = (
    "Content-Disposition",
    "Content-Length",
    "Content-Location",
    "Content-Range",
    "Etag",
    "Location",
    "Payment-Required",
    "Payment-Response",
    "Retrieval-Receipt",
    "Retry-After",
    "X-Chunked-Output",
    "X-Ipfs-Path",
    "X-Ipfs-Roots",
    "X-Payment-Response",
    "X-Stream-Output",
)
"""Headers that a web page may read, those of payments (x402, versions 1 and 2) among them."""
ALLOWED: Final = (
    "Accept",
    "Cache-Control",
    "Content-Type",
    "If-None-Match",
    "Payment-Signature",
    "Range",
    "User-Agent",
    "X-Payment",
    "X-Requested-With",
)
"""Headers that a web page may send."""
METHODS: Final = "GET, HEAD, OPTIONS"
COMMON: Final = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Allow-Methods": METHODS,
    "Access-Control-Allow-Headers": ", ".join(ALLOWED),
    "Access-Control-Expose-Headers": ", ".join(EXPOSED),
    "Access-Control-Max-Age": str(PREFLIGHT_KEPT_S),
    "Cross-Origin-Resource-Policy": "cross-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Server": "retrieval",
}
"""Headers of every answer: any web page may have the content, since no client is known here by its cookies or its place."""


GUESTS: Final = web.AppKey("guests", Guests)
CLIENT: Final = web.RequestKey("client", str)
"""The IP address that asks, also from behind a proxy."""
EFFORT: Final = web.RequestKey("effort", Effort)
"""What a request takes of a processor, where its handler has that counted. It is gone once the request is paid for."""


class Connection(web.RequestHandler):
    """One connection of a client."""

    def __init__(self, manager: web.Server, *, guests: Guests | None, common: Mapping[str, str], **options: Any) -> None:
        super().__init__(manager, **options)
        self._common: Final = common
        self._guests: Final = guests
        self._stalled: asyncio.TimerHandle | None = None
        """Cuts a client that does not take what was written for it."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        super().connection_made(transport)
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT_BYTES_MAX)
        if self._guests is not None:
            try:
                self._guests.arrive(self, _address(transport))
            except RetrievalError as error:
                transport.write(_plain(error, self._common))
                self.force_close()

    def connection_lost(self, exc: BaseException | None) -> None:
        if self._guests is not None:
            self._guests.leave(self)
        self.resume_from_stall()
        super().connection_lost(exc)

    def send_away(self) -> None:
        if self.transport is not None:
            self.transport.abort()

    def pause_writing(self) -> None:
        super().pause_writing()
        if self.transport is not None:
            self._stalled = asyncio.get_running_loop().call_later(STALL_S, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        self.resume_from_stall()

    def resume_from_stall(self) -> None:
        if self._stalled is not None:
            self._stalled.cancel()
            self._stalled = None

    def handle_error(
        self, request: web.BaseRequest, status: int = 500, exc: BaseException | None = None, message: str | None = None
    ) -> web.StreamResponse:
        """The answer to what is no request, or to one that failed where nobody else answers. The connection ends with it."""
        if request.writer.output_size > 0:
            raise ConnectionError("an answer has begun")
        if isinstance(exc, LineTooLong):
            error: RetrievalError = _too_long(exc)
        elif status < 500:
            error = RemoteProtocolError(ErrorCode.MALFORMED_REQUEST)
        else:
            self.logger.error("a request failed where none should", exc_info=exc)
            error = LocalProtocolError(ErrorCode.INTERNAL)
        response = problem_response(error, self._common)
        response.force_close()
        return response

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        """Send it. What aiohttp answers by itself, before a request has reached us, becomes a problem."""
        if isinstance(resp, web.HTTPException):
            resp = problem_response(_error_of(resp), self._common)
            resp.force_close()
        return await super().finish_response(request, resp, start_time)


@asynccontextmanager
async def serving(
    app: web.Application,
    sockets: Sequence[socket.socket],
    *,
    shutdown_s: float,
    guests: Guests | None = None,
    common: Mapping[str, str] = COMMON,
) -> AsyncIterator[None]:
    """Serve on listening sockets while the block runs; then answers have ``shutdown_s`` to end.

    ``common`` are headers of every answer. ``guests`` limits who may connect; their requests are counted where the application has
    ``guard`` among its middlewares.
    """

    async def add_common(request: web.Request, response: web.StreamResponse) -> None:
        response.headers.update(common)

    app.on_response_prepare.append(add_common)
    if guests is not None:
        app[GUESTS] = guests
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=shutdown_s)
    await runner.setup()
    server, loop = runner.server, asyncio.get_running_loop()
    assert server is not None

    def connected() -> Connection:
        return Connection(
            server,
            guests=guests,
            common=common,
            loop=loop,
            access_log=None,
            auto_decompress=False,
            keepalive_timeout=IDLE_S,
            lingering_time=0.0,
            max_field_size=HEADER_LINE_MAX,
            max_headers=HEADERS_MAX,
            max_line_size=ADDRESS_MAX,
        )

    listening = [await loop.create_server(connected, sock=each) for each in sockets]
    try:
        yield
    finally:
        for each in listening:
            each.close()
        await runner.cleanup()


@web.middleware
async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
    """What holds for every request, whatever it asks: who may ask, how often, and what it may bring; and every error is a problem.

    The outermost of an application's middlewares, but for those that count.
    """
    guests, connection = request.app.get(GUESTS), request.protocol
    request[CLIENT], request[EFFORT] = request.remote or "", Effort()
    if guests is None or not isinstance(connection, Connection):
        return await _answered(request, handler)
    request[CLIENT] = guests.client(request[CLIENT], ",".join(request.headers.getall("X-Forwarded-For", ())))
    guests.work(connection)
    try:
        await request.writer.drain()  # no further answer for a client that does not take the last one; a stalled one is cut meanwhile
        return await _answered(request, handler, guests)
    finally:
        guests.rest(connection)
        if (effort := request.get(EFFORT)) is not None:
            guests.count_work(request[CLIENT], effort.cpu_s)


async def _answered(request: web.Request, handler: Handler, guests: Guests | None = None) -> web.StreamResponse:
    try:
        if guests is not None:
            await _count(guests, request)
        _check_body(request)
        if request.method == "OPTIONS":
            return web.Response(status=204)
        return await handler(request)
    except OutsideContent as error:
        return problem_response(error, {"Content-Range": f"bytes */{error.size_bytes}"})
    except RetrievalError as error:
        if is_ours_to_mend(error):
            log.error("%s could not be served %s: %s", request[CLIENT], request.path, error)
        response = problem_response(error)
        if error.code in _ENDS_CONNECTION:
            response.force_close()
        return response
    except web.HTTPException as error:
        headers = {"Allow": ", ".join(sorted({*error.allowed_methods, "OPTIONS"}))} if isinstance(error, web.HTTPMethodNotAllowed) else {}
        return problem_response(_error_of(error), headers)
    except ConnectionError:
        raise
    except Exception:
        log.exception("%s could not be served %s", request[CLIENT], request.path)
        return problem_response(LocalProtocolError(ErrorCode.INTERNAL))


async def _count(guests: Guests, request: web.Request) -> None:
    try:
        guests.count_request(request[CLIENT])
    except RetrievalError:
        await asyncio.sleep(LIMITED_PAUSE_S)
        raise


def headers_of(request: web.Request) -> dict[str, str]:
    """Names in small letters; a header that stands there several times is the list of its values (RFC 9110, 5.3)."""
    headers: dict[str, str] = {}
    for name, value in request.headers.items():
        key = name.lower()
        headers[key] = f"{headers[key]}, {value}" if key in headers else value
    return headers


def forgive(request: web.Request) -> None:
    """A request that is paid for does not count against its client, and takes what it takes."""
    guests = request.app.get(GUESTS)
    if guests is not None:
        guests.forgive_request(request[CLIENT])
    del request[EFFORT]


def problem_response(error: RetrievalError, further: Mapping[str, str] | None = None) -> web.Response:
    """A failure as HTTP tells it."""
    status, headers, body = problem(error)
    return web.Response(status=status, headers={**headers, **(further or {})}, body=body)


def _check_body(request: web.Request) -> None:
    """Refuse a body where none is taken, and one that would have to be unpacked. Raises ``RemoteProtocolError``."""
    if request.headers.get("Content-Encoding", _AS_IT_IS).strip().lower() != _AS_IT_IS:
        raise RemoteProtocolError(ErrorCode.BODY_ENCODED)
    if request.body_exists and request.method in _BODILESS:
        raise RemoteProtocolError(ErrorCode.BODY_TOO_LARGE, f"{request.method} brings none")


def _error_of(answer: web.HTTPException) -> RetrievalError:
    """The error of the registry that aiohttp means."""
    if answer.status >= 500:
        return LocalProtocolError(ErrorCode.INTERNAL)
    return RemoteProtocolError(_CODES.get(answer.status, ErrorCode.MALFORMED_REQUEST))


def _too_long(error: LineTooLong) -> RetrievalError:
    _, limit, *_ = error.args
    if limit == ADDRESS_MAX:
        return RemoteProtocolError(ErrorCode.ADDRESS_TOO_LONG, f"it is above {ADDRESS_MAX} bytes")
    return RemoteProtocolError(ErrorCode.REQUEST_TOO_LARGE, f"a header is above {HEADER_LINE_MAX} bytes")


def _plain(error: RetrievalError, common: Mapping[str, str]) -> bytes:
    """A problem as bytes, for a connection that ends before anything was asked."""
    status, headers, body = problem(error)
    lines = [f"{name}: {value}" for name, value in {**headers, **common, "Content-Length": len(body), "Connection": "close"}.items()]
    return "\r\n".join([f"HTTP/1.1 {status} {HTTPStatus(status).phrase}", *lines, "", ""]).encode() + body


def _address(transport: asyncio.Transport) -> str:
    """The IP address at the other end."""
    peer = transport.get_extra_info("peername")
    return str(peer[0]) if isinstance(peer, tuple) else ""


_AS_IT_IS: Final = "identity"
_BODILESS: Final = frozenset(["GET", "HEAD", "OPTIONS", "TRACE"])
_ENDS_CONNECTION: Final = frozenset([ErrorCode.BODY_TOO_LARGE, ErrorCode.BODY_ENCODED])
"""What follows on these may be a body, and is not taken for a request."""
_CODES: Final = {
    404: ErrorCode.UNKNOWN_ROUTE,
    405: ErrorCode.UNSUPPORTED_METHOD,
    413: ErrorCode.BODY_TOO_LARGE,
    415: ErrorCode.BODY_ENCODED,
}
