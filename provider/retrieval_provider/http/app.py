"""asyncio. The routes of the HTTP door."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Final

from aiohttp import web

from retrieval.cid import Cid
from retrieval.errors import ErrorCode, LocalProtocolError, RemoteProtocolError
from retrieval.gateway.answers import Answer, answer_at_once
from retrieval.gateway.ask import PREFIX, Ask, parse_root, read_ask, read_query
from retrieval.gateway.bodies import car_bytes_max
from retrieval.gateway.delivery import Delivery, Threads, bodiless
from retrieval.gateway.denylist import NOTHING_DENIED, Denylist
from retrieval.gateway.guests import prefix_of
from retrieval.gateway.listening import CLIENT, EFFORT, forgive, guard, headers_of
from retrieval.gateway.openapi import Handler, Route, add_routes
from retrieval.gateway.problems import NEVER_KEPT
from retrieval.payment.x402.answer import PAYMENT_RESPONSE
from retrieval.store.blocks import BlockStore

from . import interface, routing
from .till import Order, Refused, Till

THREADS_MAX: Final = 8
"""Threads that find answers, and as many that send bodies, of which each has one for a turn: no question waits for bodies."""
RETRY_AFTER_S: Final = 2
_ORDER: Final = re.compile(rf"[0-9a-f]{{{2 * interface.ORDER_SIZE}}}")


class Door:
    """What the routes share."""

    def __init__(
        self,
        store: BlockStore,
        till: Till,
        reach: routing.Reach,
        *,
        requests_max: int,
        denylist: Callable[[], Denylist] = lambda: NOTHING_DENIED,
    ) -> None:
        """``denylist`` gives what is withheld now; it is asked in threads."""
        self._denylist: Final = denylist
        self._store: Final = store
        self._till: Final = till
        self._reach: Final = reach
        self._requests_max: Final = requests_max
        self._n_requests = 0
        self._lookers: Final = Threads(THREADS_MAX)
        self._senders: Final = Threads(THREADS_MAX)

    def app(self) -> web.Application:
        """The application, for ``listening.serving``. The door is of no use after it."""
        app = web.Application(middlewares=[guard, self._admit])
        routes: list[Route] = [
            (interface.CONTENT, self._content),
            (interface.CONTENT_BELOW, self._content),
            (interface.PROVIDERS, self._providers),
            (interface.QUOTE, self._quote),
            (interface.QUOTE_BELOW, self._quote),
            (interface.RECEIPT, self._receipt),
            (interface.HEALTH, self._healthz),
            (interface.READINESS, self._readyz),
        ]
        add_routes(app, interface.INTERFACE, routes)
        app.on_cleanup.append(self._close)
        return app

    async def _content(self, request: web.Request) -> web.StreamResponse:
        headers = headers_of(request)
        is_head = request.method == "HEAD"
        if is_head:
            headers.pop("range", None)  # which has a meaning for GET only (RFC 9110, 14.2)
        ask = read_ask(request.raw_path, headers)
        found, content = await self._lookers.run_for(prefix_of(request[CLIENT]), lambda: self._look(ask, is_head=is_head), request[EFFORT])
        if is_head or not found.is_charged:
            return bodiless(found)
        sale = await self._till.open(self._order(request, headers, ask, found))
        if PAYMENT_RESPONSE in sale.headers:
            forgive(request)
        delivery = Delivery(self._store, self._senders, found, content, request.get(EFFORT))
        try:
            return await delivery.send(request, {**found.headers, **sale.headers})
        finally:
            await sale.ended(delivery.sent_bytes, is_whole=delivery.is_whole)

    def _look(self, ask: Ask, *, is_head: bool) -> tuple[Answer, bytes | None]:
        return answer_at_once(self._store, ask, self._denylist(), is_head=is_head)

    async def _quote(self, request: web.Request) -> web.StreamResponse:
        """What the same request below ``/ipfs/`` would cost, with its query, ``Accept`` and ``Range``."""
        headers = headers_of(request)
        ask = read_ask(PREFIX + request.raw_path.removeprefix(interface.QUOTE_PREFIX), headers)
        found, _ = await self._lookers.run_for(prefix_of(request[CLIENT]), lambda: self._look(ask, is_head=True), request[EFFORT])
        quoted = await self._till.quote(self._order(request, headers, ask, found) if found.is_charged else None)
        return web.json_response({"cid": ask.root_text, **quoted}, headers={"Cache-Control": NEVER_KEPT})

    def _order(self, request: web.Request, headers: Mapping[str, str], ask: Ask, found: Answer) -> Order:
        prefix = prefix_of(request[CLIENT])

        async def weigh() -> int:
            return await self._lookers.run_for(
                prefix, lambda: car_bytes_max(self._store, ask.root, ask.path, ask.scope, ask.byte_range), request[EFFORT]
            )

        return Order(
            client=request[CLIENT],
            headers=headers,
            target=request.raw_path,
            root=ask.root,
            path=ask.path,
            form=found.form,
            scope=ask.scope,
            byte_range=ask.byte_range,
            n_bytes=found.size,
            weigh=weigh,
        )

    async def _receipt(self, request: web.Request) -> web.StreamResponse:
        order = request.match_info["order"]
        if _ORDER.fullmatch(order) is None:
            raise RemoteProtocolError(ErrorCode.MALFORMED_REQUEST, f"the id of an order has {2 * interface.ORDER_SIZE} hex digits")
        receipt = await self._till.receipt(bytes.fromhex(order))
        headers = {
            "Content-Type": interface.RECEIPT_TYPE,
            "Content-Disposition": f'attachment; filename="{order}.receipt.cbor"',
            "Cache-Control": NEVER_KEPT,
        }
        return web.Response(headers=headers, body=receipt)

    async def _providers(self, request: web.Request) -> web.StreamResponse:
        cid = parse_root(request.match_info["cid"])
        query = read_query(request.query_string, routing.QUERY_KNOWN)
        accept = headers_of(request).get("accept", "")
        prefix = prefix_of(request[CLIENT])
        headers, body = await self._lookers.run_for(prefix, lambda: self._look_for_providers(cid, query, accept), request[EFFORT])
        return web.Response(headers=headers, body=body)

    def _look_for_providers(self, cid: Cid, query: Mapping[str, str], accept: str) -> tuple[Mapping[str, str], bytes]:
        try:
            self._denylist().require_allowed(cid)
        except LocalProtocolError:
            return routing.nobody(accept)
        return routing.providers(self._store, self._reach, cid, query, accept)

    async def _healthz(self, request: web.Request) -> web.StreamResponse:
        return web.json_response({"alive": True}, headers={"Cache-Control": NEVER_KEPT})

    async def _readyz(self, request: web.Request) -> web.StreamResponse:
        """Whether content can be served; an error of the store is the answer where it cannot."""
        n_bytes = await self._lookers.run(self._store.bytes_used)
        return web.json_response(
            {"ready": True, "checks": {"store": {"ok": True, "bytes": n_bytes}}}, headers={"Cache-Control": NEVER_KEPT}
        )

    async def _close(self, app: web.Application) -> None:
        self._lookers.close()
        self._senders.close()

    @web.middleware
    async def _admit(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Turn away what is one too many, and answer with what the till says instead."""
        if self._n_requests == self._requests_max:
            detail = f"{self._requests_max} requests are being answered"
            raise RemoteProtocolError(ErrorCode.RATE_LIMITED, detail, retry_after_s=RETRY_AFTER_S)
        self._n_requests += 1
        try:
            return await handler(request)
        except Refused as refused:
            return web.Response(status=refused.status, headers=refused.headers, body=refused.body)
        finally:
            self._n_requests -= 1
