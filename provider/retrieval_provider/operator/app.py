"""asyncio. The operator's page as an application: who may see it, and what each address shows.

One rule: nothing is changed here. What is asked is read from the disk beside the node, or told by it.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import Callable, Mapping
from importlib.resources import files
from typing import Any, Final, TypeVar
from urllib.parse import parse_qsl

from aiohttp import web

from retrieval.errors import ErrorCode, LocalProtocolError, RemoteProtocolError
from retrieval.gateway.delivery import Threads
from retrieval.gateway.listening import guard, problem_response
from retrieval.gateway.openapi import Handler, Route, add_routes
from retrieval.gateway.problems import NEVER_KEPT
from retrieval.home import Home
from retrieval.transport.control import Json

from . import interface, page
from .exposition import exposition
from .feed import Feed
from .html import Html
from .reports import Reports
from .tally import Tally
from .token import PASS_S, is_pass, is_token, new_pass, read_token

log: Final = logging.getLogger("retrieval.provider.operator")

T = TypeVar("T")

BODY_MAX: Final = 4096
"""Bytes of a form with a token in it."""
BODY_S: Final = 5.0
"""How long such a form may take to come."""
REQUESTS_MAX: Final = 64
THREADS_MAX: Final = 2
"""Threads that read the disk; one answer of the reports is made at a time."""
RETRY_AFTER_S: Final = 1
LIMIT: Final = 100
_NEEDS_NONE: Final = (
    *(interface.HEALTH, interface.READINESS),
    *(interface.LOGIN, interface.LOGOUT, interface.STYLE, interface.SCRIPT, interface.ICON),
)
OPEN: Final = frozenset(each.path for each in _NEEDS_NONE)
"""What needs no token: whether all is well, and what the page is made of."""
POLICY: Final = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
COMMON: Final = {
    "Content-Security-Policy": POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": NEVER_KEPT,
    "Server": "retrieval-provider",
}
"""Headers of every answer: no other page may frame it, read it or be told of it, and it loads nothing from elsewhere."""

_LOOPBACK: Final = re.compile(r"(?:localhost|127(?:\.[0-9]{1,3}){3}|\[::1\])(?::[0-9]{1,5})?", re.IGNORECASE)
_NUMBER: Final = re.compile(r"[0-9]{1,10}")
_ASSETS: Final = {
    "/page.css": ("page.css", "text/css; charset=utf-8"),
    "/page.js": ("page.js", "text/javascript; charset=utf-8"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
}


class OperatorPage:
    """What the routes share."""

    def __init__(self, home: Home, peer: str, reports: Reports, feed: Feed) -> None:
        self._home: Final = home
        self._peer: Final = peer
        self._reports: Final = reports
        self._feed: Final = feed
        self._n_requests = 0
        self._threads: Final = Threads(THREADS_MAX)
        self._reading: asyncio.Task[None] | None = None

    def app(self) -> web.Application:
        """The application, for ``listening.serving`` with ``COMMON``."""
        app = web.Application(middlewares=[guard, self._admit], client_max_size=BODY_MAX)
        routes: list[Route] = [
            (interface.PAGE, self._page),
            (interface.PART, self._part),
            (interface.LOGIN, self._login),
            (interface.LOGOUT, self._logout),
            (interface.STYLE, self._asset),
            (interface.SCRIPT, self._asset),
            (interface.ICON, self._asset),
            (interface.EARNINGS, self._rows(self._earnings_rows)),
            (interface.DEALS, self._rows(lambda request: self._reports.deals)),
            (interface.CHANNELS, self._rows(lambda request: self._reports.channels)),
            (interface.CONTENT, self._rows(lambda request: self._reports.content)),
            (interface.PRICES, self._rows(lambda request: self._price_rows)),
            (interface.FIGURES, self._figures),
            (interface.LIVE, self._live),
            (interface.HEALTH, self._healthz),
            (interface.READINESS, self._readyz),
            (interface.METRICS, self._metrics),
        ]
        add_routes(app, interface.INTERFACE, routes)
        app.on_startup.append(self._read_ahead)
        app.on_cleanup.append(self._close)
        return app

    async def _read_ahead(self, app: web.Application) -> None:
        """Begin to read the journal before anybody asks."""
        self._reading = asyncio.create_task(self._threads.run(self._reports.catch_up))

    async def _close(self, app: web.Application) -> None:
        self._reports.stop()
        if self._reading is not None:
            await asyncio.wait([self._reading])
        self._threads.close()
        self._feed.close()

    # the page

    async def _page(self, request: web.Request) -> web.StreamResponse:
        token = request.query.get("token")
        if token is not None and is_token(read_token(self._home), token):
            return self._let_in()
        if not self._may_see(request):
            return _html(page.sign_in(is_refused=token is not None), status=401)
        found = await asyncio.gather(*(self._section(name, request.query) for name in interface.PARTS))
        return _html(page.whole(peer=self._peer, parts=dict(zip(interface.PARTS, found, strict=True))))

    async def _part(self, request: web.Request) -> web.StreamResponse:
        name = request.match_info["name"]
        if name not in interface.PARTS:
            raise RemoteProtocolError(ErrorCode.UNKNOWN_ROUTE, "the page has no such section")
        return _html((await self._section(name, request.query)).encode("utf-8", "replace"))

    async def _section(self, name: str, query: Mapping[str, str]) -> Html:
        reports = self._reports
        match name:
            case "overview":
                live = await self._live_or_none()
                figures = await self._threads.run(reports.figures) if live is None else live
                hours = await self._threads.run(lambda: reports.over_time("hour", time.time()))
                claimed_at = await self._threads.run(reports.last_claim_s)
                today = {key: sum(int(str(row[key])) for row in hours[-24:]) for key in ("amount", "bytes", "deals")}
                return page.overview(figures, live, today, await self._feed.health(), claimed_at, time.time())
            case "over_time":
                by = "day" if query.get("by") == "day" else "hour"
                return page.over_time(await self._threads.run(lambda: reports.over_time(by, time.time())), by)
            case "transfers":
                return page.transfers(await self._live_or_none())
            case "payers":
                return page.payers(*await self._threads.run(lambda: reports.earned("payer", offset=0, limit=page.ROWS)))
            case "prices":
                return page.prices(await self._threads.run(reports.prices))
            case "health":
                return page.health(await self._feed.health())
            case "errors":
                return page.errors(await self._live_or_none())
            case _:
                offset = _number(query, name, 0, interface.OFFSET_MAX)
                source, show = {
                    "content": (reports.content, page.content),
                    "channels": (reports.channels, page.channels),
                    "deals": (reports.deals, page.deals),
                }[name]
                rows, n_rows = await self._threads.run(lambda: source(offset=offset, limit=page.ROWS))
                return show(rows, n_rows, offset)

    async def _asset(self, request: web.Request) -> web.StreamResponse:
        name, media_type = _ASSETS[request.path]
        return web.Response(headers={"Content-Type": media_type}, body=files(__package__).joinpath(name).read_bytes())

    # who may see it

    async def _login(self, request: web.Request) -> web.StreamResponse:
        if is_token(read_token(self._home), await _token_in(request)):
            return self._let_in()
        return _html(page.sign_in(is_refused=True), status=401)

    async def _logout(self, request: web.Request) -> web.StreamResponse:
        if not _is_ours(request):
            raise RemoteProtocolError(ErrorCode.FORBIDDEN, "another page asks for it")
        response = web.Response(status=303, headers={"Location": "/"})
        response.del_cookie(interface.PASS_COOKIE, path="/", httponly=True, samesite="Strict")
        return response

    def _let_in(self) -> web.StreamResponse:
        # Cookies know no ports: a browser shows it to whatever else is served at this address, so it opens a page that changes nothing,
        # and not for long. Who shares the machine gives the page an address below 127 of its own.
        response = web.Response(status=303, headers={"Location": "/"})
        shown = new_pass(read_token(self._home), time.time())
        response.set_cookie(interface.PASS_COOKIE, shown, max_age=PASS_S, path="/", httponly=True, samesite="Strict")
        return response

    def _may_see(self, request: web.Request) -> bool:
        """A token, or a pass that the page itself sends: what another page makes a browser ask for does not count."""
        token = read_token(self._home)
        scheme, _, shown = request.headers.get("Authorization", "").partition(" ")
        if shown:
            return scheme.lower() == "bearer" and is_token(token, shown.strip())
        return _is_ours(request) and is_pass(token, request.cookies.get(interface.PASS_COOKIE, ""), time.time())

    # data

    def _rows(self, source: Callable[[web.Request], Callable[..., tuple[list[Json], int]]]) -> Handler:
        async def answer(request: web.Request) -> web.StreamResponse:
            offset = _number(request.query, "offset", 0, interface.OFFSET_MAX)
            limit = _number(request.query, "limit", LIMIT, interface.LIMIT_MAX)
            found = source(request)
            rows, n_rows = await self._threads.run(lambda: found(offset=offset, limit=limit))
            return web.json_response({"rows": rows, "n_rows": n_rows})

        return answer

    def _earnings_rows(self, request: web.Request) -> Callable[..., tuple[list[Json], int]]:
        by = request.match_info["by"]
        if by not in interface.BY:
            raise RemoteProtocolError(ErrorCode.UNKNOWN_ROUTE, f"earnings are summed up by {', '.join(interface.BY)}")
        return lambda **limits: self._reports.earned(by, **limits)

    def _price_rows(self, *, offset: int, limit: int) -> tuple[list[Json], int]:
        rows = self._reports.prices()
        return rows[offset : offset + limit], len(rows)

    async def _figures(self, request: web.Request) -> web.StreamResponse:
        return web.json_response(await self._threads.run(self._reports.figures))

    async def _live(self, request: web.Request) -> web.StreamResponse:
        return web.json_response(await self._feed.live())

    async def _live_or_none(self) -> Json | None:
        try:
            return await self._feed.live()
        except LocalProtocolError as error:
            log.debug("the node was asked what goes on: %s", error)
            return None

    async def _healthz(self, request: web.Request) -> web.StreamResponse:
        return web.json_response({"alive": True})

    async def _readyz(self, request: web.Request) -> web.StreamResponse:
        found = await self._feed.health()
        return web.json_response(found, status=200 if found["ready"] else 503)

    async def _metrics(self, request: web.Request) -> web.StreamResponse:
        tally = Tally()
        tally.add(await self._feed.counts())
        media_type, text = exposition(tally, request.headers.get("Accept", ""))
        return web.Response(headers={"Content-Type": media_type}, body=text)

    @web.middleware
    async def _admit(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Host first, then the token."""
        if not _LOOPBACK.fullmatch(request.headers.get("Host", "")):  # another name may have been bent to this machine (DNS rebinding)
            raise RemoteProtocolError(ErrorCode.MISDIRECTED_REQUEST)
        if self._n_requests == REQUESTS_MAX:
            raise RemoteProtocolError(ErrorCode.RATE_LIMITED, "too many requests at once", retry_after_s=RETRY_AFTER_S)
        self._n_requests += 1
        try:
            if request.path != "/" and request.path not in OPEN and not self._may_see(request):
                return problem_response(RemoteProtocolError(ErrorCode.UNAUTHORIZED), {"WWW-Authenticate": "Bearer"})
            return await handler(request)
        finally:
            self._n_requests -= 1


def _is_ours(request: web.Request) -> bool:
    """Whether our own page asks, or a person: a browser says so where another page makes it ask, also one on another port."""
    return request.headers.get("Sec-Fetch-Site", "none") in ("none", "same-origin")


async def _token_in(request: web.Request) -> str:
    """What the form to sign in says; nothing where it is no such form. Raises ``RemoteProtocolError(malformed_request)`` for a slow one."""
    try:
        async with asyncio.timeout(BODY_S):
            form = await request.read()
    except TimeoutError as error:
        raise RemoteProtocolError(ErrorCode.MALFORMED_REQUEST, f"the form did not come within {BODY_S:g} s") from error
    return dict(parse_qsl(form.decode("utf-8", "replace"))).get("token", "").strip()


def _html(body: bytes, *, status: int = 200) -> web.Response:
    return web.Response(status=status, headers={"Content-Type": "text/html; charset=utf-8"}, body=body)


def _number(query: Mapping[str, Any], name: str, default: int, most: int) -> int:
    """A number of the query. Raises ``RemoteProtocolError(malformed_request)``."""
    text = query.get(name)
    if text is None:
        return default
    if not _NUMBER.fullmatch(text) or int(text) > most:
        raise RemoteProtocolError(ErrorCode.MALFORMED_REQUEST, f"{name} is a whole number up to {most}")
    return int(text)
