"""asyncio. What a process that serves HTTP counts, and how the node hears of it: a line of JSON now and then, on its standard output.

It stands around the door and around its till, and the door knows nothing of it. One rule: what is told is told once, and what could not be
told yet is kept. So a process that dies takes with it what it counted since its last line, and nothing before.
"""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
import socket
import struct
import time
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Final

from aiohttp import web

from retrieval.cid import format_cid
from retrieval.gateway.openapi import Handler
from retrieval.gateway.problems import PROBLEM_TYPE
from retrieval.payment.http_receipt import SALE_RECEIPT
from retrieval.payment.x402.answer import PAYMENT_RESPONSE

from ..http.till import Order, Sale, Till
from . import metrics
from .tally import Json, Tally

REPORT_S: Final = 0.5
"""Between two lines: what a kill can lose of the counts."""
ALIVE_S: Final = 2.0
"""A line is told this often, also when there is nothing new: a process whose loop stands still is known by its silence."""
LIVE_MAX: Final = 64
"""Transfers under way that a line names: the oldest. All are counted."""
METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"})
CONTENT_STATUS: Final = frozenset({200, 206})
OTHER: Final = "other"
CUT: Final = "cut"
"""In place of a status, where an answer did not leave whole."""

_BYTES_ACKED: Final = struct.Struct("120xQ")
"""Of ``struct tcp_info`` (linux/tcp.h, since 4.1): what the other end has confirmed on this connection."""


@dataclass(slots=True, eq=False)
class _Asking:
    """A request under way."""

    began: float
    route: str
    sock: socket.socket | None
    is_cut: bool = False
    """Whether its answer could not be sent whole."""


@dataclass(slots=True, eq=False)
class _Transfer:
    """An answer under way."""

    order: Order
    payer: str | None
    began_at: float
    sock: socket.socket | None
    acked_before: int

    def to_json(self, number: int) -> Json:
        return {
            "id": number,
            "client": self.order.client,
            "payer": self.payer,
            "root": format_cid(self.order.root),
            "bytes": max(0, _acked(self.sock) - self.acked_before),
            "bytes_max": self.order.n_bytes,
            "since": self.began_at,
        }


class HttpCounts:
    """Counts what one process serves."""

    def __init__(self) -> None:
        self.tally: Final = Tally()
        self._asking: Final = ContextVar[_Asking]("asking")
        self._numbers: Final = itertools.count(1)
        self._transfers: Final[dict[int, _Transfer]] = {}
        self._n_requests = 0
        self._last_told: Json = {}
        self._told_at = 0.0

    def watch(self, app: web.Application) -> web.Application:
        """Count the requests of an application that has not been started."""
        app.middlewares.insert(0, self._count)
        app.on_response_prepare.append(self._count_first_byte)
        return app

    def around(self, till: Till) -> Till:
        """A till that counts what leaves."""
        return _CountingTill(till, self)

    async def report(self, line_end: asyncio.StreamWriter) -> None:
        """Tell the node until cancelled. While it does not listen, what would be said is kept."""
        while True:
            await asyncio.sleep(REPORT_S)
            await self.tell(line_end)

    async def tell(self, line_end: asyncio.StreamWriter) -> None:
        """Tell what is new, or that we live, if it is time to."""
        now: Json = {"requests": self._n_requests, "live": self._live()}
        counted, clock_s = self.tally.take(), time.monotonic()
        if counted is None and now == self._last_told and clock_s - self._told_at < ALIVE_S:
            return
        line_end.write(json.dumps({"counted": counted, **now}).encode() + b"\n")
        self._last_told, self._told_at = now, clock_s
        await line_end.drain()

    def _live(self) -> list[Json]:
        return [transfer.to_json(number) for number, transfer in itertools.islice(self._transfers.items(), LIVE_MAX)]

    # requests

    @web.middleware
    async def _count(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        resource = request.match_info.route.resource
        transport = request.transport
        asking = _Asking(
            time.perf_counter(),
            OTHER if resource is None else resource.canonical,
            None if transport is None else transport.get_extra_info("socket"),
        )
        self._asking.set(asking)
        self._n_requests += 1
        status = CUT
        try:
            response = await handler(request)
            status = CUT if asking.is_cut else str(response.status)
            if (label := _error_in(response)) is not None:
                self._count_error(label)
            return response
        finally:
            self._n_requests -= 1
            method = request.method if request.method in METHODS else OTHER
            self.tally.count(metrics.HTTP_REQUESTS, method, asking.route, status)
            self.tally.observe(metrics.HTTP_SECONDS, time.perf_counter() - asking.began, asking.route)

    def _count_error(self, label: str) -> None:
        self.tally.count(metrics.ERRORS, "http", label)
        if label == "rate_limited":
            self.tally.count(metrics.RATE_LIMITED, "http")

    async def _count_first_byte(self, request: web.Request, response: web.StreamResponse) -> None:
        asking = self._asking.get(None)
        if asking is not None and request.method == "GET" and response.status in CONTENT_STATUS and asking.route.startswith("/ipfs/"):
            self.tally.observe(metrics.TTFB_SECONDS, time.perf_counter() - asking.began, "http")

    # transfers

    def begin(self, order: Order, headers: Mapping[str, str]) -> int:
        """An answer is about to leave; gives the number under which it ends."""
        asking = self._asking.get(None)
        sock = None if asking is None else asking.sock
        number = next(self._numbers)
        self._transfers[number] = _Transfer(order, _payer_in(headers), time.time(), sock, _acked(sock))
        if SALE_RECEIPT in headers:
            self.tally.count(metrics.RECEIPTS, "signed")
        return number

    def end(self, number: int, sent_bytes: int, *, is_whole: bool) -> None:
        """It has left, or was cut."""
        transfer, asking = self._transfers.pop(number), self._asking.get(None)
        if asking is not None and not is_whole:
            asking.is_cut = True
        self.tally.count(metrics.BYTES, "out", "http", "no" if transfer.payer is None else "yes", n=sent_bytes)


@dataclass(frozen=True, slots=True)
class _CountingTill:
    till: Till
    counts: HttpCounts

    async def open(self, order: Order) -> Sale:
        sale = await self.till.open(order)
        return _CountingSale(sale, self.counts, self.counts.begin(order, sale.headers))

    async def quote(self, order: Order | None) -> Mapping[str, object]:
        return await self.till.quote(order)

    async def receipt(self, order_id: bytes) -> bytes:
        return await self.till.receipt(order_id)


@dataclass(frozen=True, slots=True)
class _CountingSale:
    sale: Sale
    counts: HttpCounts
    number: int

    @property
    def headers(self) -> Mapping[str, str]:
        return self.sale.headers

    async def ended(self, sent_bytes: int, *, is_whole: bool) -> None:
        self.counts.end(self.number, sent_bytes, is_whole=is_whole)
        await self.sale.ended(sent_bytes, is_whole=is_whole)


def _acked(sock: socket.socket | None) -> int:
    """Bytes of a connection that its client has confirmed; 0 where that cannot be told any more."""
    if sock is None:
        return 0
    try:
        (acked,) = _BYTES_ACKED.unpack(sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _BYTES_ACKED.size))
    except (OSError, struct.error):  # closed, or no TCP
        return 0
    return int(acked)


def _payer_in(headers: Mapping[str, str]) -> str | None:
    """Who pays, as the answer itself says it; None for what is free."""
    response = headers.get(PAYMENT_RESPONSE)
    return None if response is None else str(json.loads(base64.b64decode(response))["payer"])


def _error_in(response: web.StreamResponse) -> str | None:
    """The registered label that a problem names."""
    if response.content_type != PROBLEM_TYPE or not isinstance(response, web.Response) or not isinstance(response.body, bytes):
        return None
    return str(json.loads(response.body)["code"])
