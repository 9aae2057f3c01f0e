"""asyncio. Connections: the limits that hold before a request has a route, and what all answers have in common.

What cannot be read as HTTP is answered like everything else that fails, and tells nothing of what runs here.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Final

from aiohttp import web
from aiohttp.http_exceptions import LineTooLong

from retrieval.errors import ErrorCode, LocalProtocolError, RemoteProtocolError, RetrievalError

from .ask import ADDRESS_MAX
from .problems import problem

HEADER_LINE_MAX: Final = 8190  # bytes of one header, as aiohttp and most proxies have it
HEADERS_MAX: Final = 64
IDLE_S: Final = 30.0
"""How long a connection may go without a request, or take to send one in bits and pieces."""
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
    "X-Content-Type-Options": "nosniff",
    "Server": "retrieval-provider",
}
"""Headers of every answer: any web page may have the content, since no client is known here by its cookies or its place."""


class Connection(web.RequestHandler):
    """One connection of a client."""

    def handle_error(
        self, request: web.BaseRequest, status: int = 500, exc: BaseException | None = None, message: str | None = None
    ) -> web.StreamResponse:
        """The answer to what is no request, or to one that failed where nobody else answers. The connection ends with it."""
        if request.writer.output_size > 0:
            raise ConnectionError("an answer has begun")
        if isinstance(exc, LineTooLong):
            error: RetrievalError = RemoteProtocolError(ErrorCode.REQUEST_TOO_LARGE, f"a line is above {HEADER_LINE_MAX} bytes")
        elif status < 500:
            error = RemoteProtocolError(ErrorCode.MALFORMED_REQUEST)
        else:
            self.logger.error("a request failed where none should", exc_info=exc)
            error = LocalProtocolError(ErrorCode.INTERNAL)
        response = problem_response(error, COMMON)
        response.force_close()
        return response


@asynccontextmanager
async def serving(app: web.Application, sockets: Sequence[socket.socket], *, shutdown_s: float) -> AsyncIterator[None]:
    """Serve on listening sockets while the block runs; then answers have ``shutdown_s`` to end."""
    app.on_response_prepare.append(_add_common)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=shutdown_s)
    await runner.setup()
    server, loop = runner.server, asyncio.get_running_loop()
    assert server is not None

    def connected() -> Connection:
        return Connection(
            server,
            loop=loop,
            access_log=None,  # type: ignore[arg-type]  # which aiohttp's own runners pass too
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


def problem_response(error: RetrievalError, further: Mapping[str, str] | None = None) -> web.Response:
    """A failure as HTTP tells it."""
    status, headers, body = problem(error)
    return web.Response(status=status, headers={**headers, **(further or {})}, body=body)


async def _add_common(request: web.Request, response: web.StreamResponse) -> None:
    response.headers.update(COMMON)
