"""asyncio. The routes of the client's gateway.

One rule: what a request may do is found out before anything is done for it (``callers``), and only a token with the scope to spend has
money spent.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from aiohttp import web

from retrieval.cid import format_cid
from retrieval.errors import ErrorCode, LocalProtocolError, RemoteProtocolError, RetrievalError
from retrieval.gateway.answers import Answer, answer, answer_at_once
from retrieval.gateway.ask import PREFIX, Ask, read_ask, read_query
from retrieval.gateway.delivery import Delivery, Threads, bodiless
from retrieval.gateway.listening import guard, headers_of, problem_response
from retrieval.gateway.openapi import Handler, Route, add_routes
from retrieval.gateway.problems import NEVER_KEPT, problem

from ..content import held_of
from ..source import Source
from . import books, interface, plan
from .across import Across, failure_row
from .arrivals import AwaitingStore, as_they_come
from .books import Books
from .cache import Cache
from .callers import Caller, check_host, read_caller, read_permit, split_providers
from .errands import Permit, PriceAsked
from .feed import Feed
from .page import PAGE, PAGE_POLICY
from .tokens import Scope, is_good
from .visit import Visit, Waiters

THREADS_MAX: Final = 8
"""Threads that read what is here."""
WAITING_MAX: Final = 32
"""Requests that may wait for what is on its way; each has a thread."""
WAITING_RESERVED: Final = 16
"""Of them, for those with a token."""
REQUESTS_MAX: Final = 256
RETRY_AFTER_S: Final = 2
CHALLENGE: Final = 'Bearer realm="retrieval"'

CALLER: Final = web.RequestKey("caller", Caller)


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """How a request for content was answered."""

    target: str
    status: int
    n_bytes: int
    is_whole: bool
    from_cache: bool


class Routes:
    """What they share."""

    def __init__(
        self,
        cache: Cache,
        ledger: Books,
        across: Across,
        feed: Feed,
        hosts: frozenset[str],
        *,
        on_served: Callable[[Served], None],
    ) -> None:
        self._cache: Final = cache
        self._store: Final = cache.store
        self._books: Final = ledger
        self._across: Final = across
        self._feed: Final = feed
        self._hosts: Final = hosts
        self._on_served: Final = on_served
        self._threads: Final = Threads(THREADS_MAX)
        self._waiters: Final = Waiters(WAITING_MAX, n_reserved=WAITING_RESERVED)
        self._n_requests = 0

    def app(self) -> web.Application:
        """The application, for ``listening.serving``. These routes are of no use after it."""
        app = web.Application(middlewares=[guard, self._admit])
        routes: list[Route] = [
            (interface.CONTENT, self._content),
            (interface.CONTENT_BELOW, self._content),
            (interface.QUOTE, self._quote),
            (interface.QUOTE_BELOW, self._quote),
            (interface.DEALS, self._deals),
            (interface.DEAL_BY_ID, self._deal),
            (interface.RECEIPTS, self._receipts),
            (interface.RECEIPT, self._receipt),
            (interface.BUDGET, self._budget),
            (interface.EVENTS, self._events),
            (interface.HEALTH, self._healthz),
            (interface.READINESS, self._readyz),
            (interface.PAGE, self._page),
        ]
        add_routes(app, interface.INTERFACE, routes)
        app.on_cleanup.append(self._close)
        return app

    # content

    async def _content(self, request: web.Request) -> web.StreamResponse:
        headers, is_head = headers_of(request), request.method == "HEAD"
        if is_head:
            headers.pop("range", None)  # which has a meaning for GET only (RFC 9110, 14.2)
        target, named = split_providers(request.raw_path)
        ask = read_ask(target, headers)
        permit = self._permit(request, headers, named)
        async with Visit(self._cache, self._threads, self._waiters, self._across, permit) as visit:
            wanted = plan.wanted(ask, is_head=is_head)
            if (first := plan.look_first(ask)) is not None:
                found = await self._look_first(visit, first, ask)
                if found is not None and found.status in (301, 304):
                    return bodiless(found, {})
                if found is not None and found.status == 200 and not is_head:  # the condition for the range does not hold
                    ask = replace(ask, range="")
                    wanted = plan.wanted(ask, is_head=False)
            return await self._answer(request, visit, ask, wanted, is_head=is_head)

    async def _look_first(self, visit: Visit, source: Source, ask: Ask) -> Answer | None:
        """What can be answered by the block that the path leads to; None where that does not tell."""
        await visit.need(source, only_if_held=ask.only_if_held)
        try:
            return await visit.run(lambda store: answer(store, ask))
        except LocalProtocolError as error:
            if error.code is not ErrorCode.NOT_FOUND:
                raise
            return None

    async def _answer(self, request: web.Request, visit: Visit, ask: Ask, wanted: Source, *, is_head: bool) -> web.StreamResponse:
        await visit.need(wanted, only_if_held=ask.only_if_held)
        index = await visit.run(lambda store: plan.index_of(store, ask, is_head=is_head))
        if index is not None:
            await visit.need(index, only_if_held=ask.only_if_held)
        found, content = await visit.run(lambda store: answer_at_once(store, ask, is_head=is_head))
        if is_head or not found.is_charged:
            return bodiless(found, _spending_headers(visit))
        if isinstance(visit.store, AwaitingStore):
            found = replace(found, pieces=as_they_come(visit.store, found.pieces))
        delivery = Delivery(visit.store, visit.threads, found, content)
        try:
            return await visit.while_wanted(delivery.send(request, {**found.headers, **_spending_headers(visit)}))
        finally:
            self._on_served(
                Served(
                    target=request.path,
                    status=found.status,
                    n_bytes=delivery.sent_bytes,
                    is_whole=delivery.is_whole,
                    from_cache=visit.errand is None,
                )
            )

    # what a program asks

    async def _quote(self, request: web.Request) -> web.StreamResponse:
        request[CALLER].require(Scope.READ)
        headers = headers_of(request)
        target, named = split_providers(request.raw_path)
        ask = read_ask(PREFIX + target.removeprefix(interface.QUOTE_PREFIX), headers)
        permit, source = self._permit(request, headers, named), plan.wanted(ask, is_head=False)
        held = await self._threads.run(lambda: held_of(self._store, source))
        offers = [] if held.complete else await self._across.quotations(source, permit)
        rows = []
        for each in offers:
            row: dict[str, object] = {"provider": str(each.provider)}
            if each.price is not None:
                row |= each.price.to_json()
            if each.failure is not None:
                row["error"] = failure_row(each.failure)
            rows.append(row)
        quoted = {"cid": format_cid(ask.root), "path": "/".join(ask.path), "held": held.complete, "offers": rows}
        return _json({**quoted, "may_spend": str(permit.spend_max)})

    async def _deals(self, request: web.Request) -> web.StreamResponse:
        request[CALLER].require(Scope.READ)
        query = read_query(request.query_string, books.KNOWN)
        return _json(await self._threads.run(lambda: self._books.deals(query)))

    async def _deal(self, request: web.Request) -> web.StreamResponse:
        request[CALLER].require(Scope.READ)
        return _json(await self._threads.run(lambda: self._books.deal(request.match_info["deal_id"])))

    async def _receipts(self, request: web.Request) -> web.StreamResponse:
        request[CALLER].require(Scope.READ)
        query = read_query(request.query_string, books.KNOWN)
        return _json(await self._threads.run(lambda: self._books.receipts(query)))

    async def _receipt(self, request: web.Request) -> web.StreamResponse:
        request[CALLER].require(Scope.READ)
        deal_id = request.match_info["deal_id"]
        bundle = await self._threads.run(lambda: self._books.receipt(deal_id))
        headers = {
            "Content-Type": interface.RECEIPT_TYPE,
            "Content-Disposition": f'attachment; filename="{deal_id}.receipt.cbor"',
            "Cache-Control": NEVER_KEPT,
        }
        return web.Response(headers=headers, body=bundle)

    async def _budget(self, request: web.Request) -> web.StreamResponse:
        caller = request[CALLER]
        token = caller.require(Scope.READ)
        left, spent_today = await self._across.left(token, caller.origin)
        may_spend = Scope.SPEND in token.scopes
        row = {
            "token": {"id": token.id.hex(), "name": token.name, "scopes": token.scopes.words},
            "spent_today": str(spent_today),
            "left": {
                "request": str(left.per_request if may_spend else 0),
                "today": str(left.today),
                "origin": None if left.origin is None else str(left.origin),
                "token": str(left.token),
            },
            "may_spend": str(left.least if may_spend else 0),
        }
        return _json(row)

    async def _events(self, request: web.Request) -> web.StreamResponse:
        token = request[CALLER].require(Scope.READ)
        return await self._feed.send(request, lambda: is_good(self._across.tokens, token, now_ms=int(time.time() * 1000)))

    async def _healthz(self, request: web.Request) -> web.StreamResponse:
        return _json({"alive": True})

    async def _readyz(self, request: web.Request) -> web.StreamResponse:
        """Whether content can be served; an error of the store is the answer where it cannot."""
        n_bytes = await self._threads.run(self._store.bytes_used)
        n_providers = len(self._across.configured)
        return _json({"ready": True, "checks": {"store": {"ok": True, "bytes": n_bytes}, "providers": {"ok": True, "n": n_providers}}})

    async def _page(self, request: web.Request) -> web.StreamResponse:
        headers = {"Content-Type": "text/html; charset=utf-8", "Cache-Control": "no-cache", "Content-Security-Policy": PAGE_POLICY}
        return web.Response(headers=headers, body=PAGE)

    # all of them

    def _permit(self, request: web.Request, headers: Mapping[str, str], named: tuple[str, ...]) -> Permit:
        return read_permit(request[CALLER], headers, named, self._across.configured, self._across.per_request)

    @web.middleware
    async def _admit(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Find out who asks, and turn away what is one too many."""
        check_host(request.headers.getall("Host", []), self._hosts)
        if self._n_requests == REQUESTS_MAX:
            detail = f"{REQUESTS_MAX} requests are being answered"
            raise RemoteProtocolError(ErrorCode.RATE_LIMITED, detail, retry_after_s=RETRY_AFTER_S)
        self._n_requests += 1
        try:
            request[CALLER] = read_caller(headers_of(request), self._across.tokens, now_ms=int(time.time() * 1000))
            return await handler(request)
        except PriceAsked as error:
            return _price_asked(error)
        except RetrievalError as error:
            if error.code is not ErrorCode.UNAUTHORIZED:
                raise
            return problem_response(error, {"WWW-Authenticate": CHALLENGE})
        finally:
            self._n_requests -= 1

    async def _close(self, app: web.Application) -> None:
        self._threads.close()
        self._waiters.threads.close()


def _spending_headers(visit: Visit) -> dict[str, str]:
    """What is known of the cost when the head leaves: nothing from the cache, else the deal by which the rest can be asked."""
    if visit.errand is None:
        return {interface.PAID: "0"}
    deals = visit.errand.deals
    return {interface.DEAL: deals[-1].hex()} if deals else {}


def _price_asked(error: PriceAsked) -> web.Response:
    status, headers, body = problem(error)
    return web.Response(status=status, headers=headers, body=json.dumps({**json.loads(body), "price": error.price.to_json()}).encode())


def _json(document: Mapping[str, object]) -> web.Response:
    return web.json_response(document, headers={"Cache-Control": NEVER_KEPT})
