"""Trio. The client's gateway put together: what it stands on, opened once and closed in order.

The rule: the turn to write the wallet is held for as long as it runs. When it is stopped, open answers are cut, sessions part, and deals
that ran stay open, to be taken up by whatever asks for the same next.
"""

from __future__ import annotations

import asyncio
import secrets
import socket
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Final

import trio

from retrieval.dag.walk import fast_forward
from retrieval.errors import ErrorCode, LocalProtocolError
from retrieval.gateway.guests import ONE_MACHINE, Guests
from retrieval.gateway.listening import serving
from retrieval.home import Home
from retrieval.payment.evm import EvmChain
from retrieval.store.blocks import BlockStore
from retrieval.store.disk import DiskBlockStore
from retrieval.transport.bridge import Bridge, open_asyncio
from retrieval.transport.libp2p import open_host
from retrieval.transport.writer import Clock, open_writer, steady_clock
from retrieval.units import USD_DECIMALS

from ..config import ClientSettings
from ..conversation import DIAL_TIMEOUT_S
from ..fetch import own_sessions
from ..source import Source
from ..unwrap import one_error
from ..wallet import Wallet, open_wallet_in_turn
from ..web.address import GatewayAddress
from .across import Across
from .app import Routes, Served
from .books import Books
from .budgets import Budgets, Limits
from .cache import Cache
from .callers import LOOPBACK_NAMES, allowed_hosts, require_loopback
from .errands import Errands
from .feed import Feed
from .happenings import Happening, quoted
from .interface import HEADERS
from .keys import Keys
from .market import Market, Price, Provider
from .sessions import Sessions, open_sessions

BACKLOG: Final = 128
DRAIN_S: Final = 0.5
"""How long answers may take to end once the gateway is to stop; then they are cut."""
UNTOLD_MAX: Final = 4096
"""Happenings that wait for the bridge; the oldest go first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gateway:
    """A gateway that runs."""

    url: str
    wallet: Wallet
    keys: Keys
    errands: Errands
    market: Market


@asynccontextmanager
async def open_gateway(
    home: Home,
    settings: ClientSettings,
    *,
    listen: str,
    allow_remote: bool,
    on_served: Callable[[Served], None] = lambda served: None,
) -> AsyncIterator[Gateway]:
    """Serve while the block runs.

    Raises ``LocalProtocolError``: ``state_locked`` naming who has the wallet, ``usage`` for an address that cannot be listened on, or that
    others reach without ``allow_remote``, ``config_invalid`` for a provider that is none; and what opening wallet and store raises.
    """
    clock = steady_clock()
    with one_error(), _listening(listen, allow_remote=allow_remote) as listening:
        async with open_wallet_in_turn(home, settings, command="retrieval-client gateway", now=clock()) as wallet:
            with closing(DiskBlockStore(home.blocks_path, bytes_max=settings.store.bytes_max)) as store:
                cache = Cache(store, wallet.state)
                async with (
                    open_writer(wallet.journal, clock) as writer,
                    open_host(wallet.peer_key.seed) as host,
                    open_sessions(own_sessions(host, wallet, cache, writer, clock=clock)) as sessions,
                    open_asyncio() as bridge,
                    trio.open_nursery() as nursery,
                ):
                    with wallet.shared(writer):
                        budgets = Budgets(wallet.state, writer, _limits(settings), clock)
                        await budgets.find_out()
                        told = Told(bridge)
                        market = Market(settings.gateway.providers, partial(_ask, sessions, store, settings, clock, told))
                        errands = Errands(
                            nursery,
                            wallet,
                            cache,
                            writer,
                            sessions.meet,
                            market,
                            budgets,
                            clock=clock,
                            open_chain=EvmChain,
                            timeout_s=settings.gateway.timeout,
                            tell=told.tell,
                        )
                        across = Across(bridge, errands, market, budgets)
                        keys = Keys(wallet.state, writer, across, errands, clock)
                        routes = Routes(
                            cache,
                            Books(wallet.state, wallet.peer_key.peer_id),
                            across,
                            told.feed,
                            _hosts(settings, listening),
                            on_served=on_served,
                        )
                        nursery.start_soon(told.run)
                        async with _served(bridge, routes, listening):
                            try:
                                yield Gateway(
                                    url=_url_of(listening),
                                    wallet=wallet,
                                    keys=keys,
                                    errands=errands,
                                    market=market,
                                )
                            finally:
                                sessions.close()
                        nursery.cancel_scope.cancel()


class Told:
    """What happened on Trio's side, on its way to whoever listens."""

    def __init__(self, bridge: Bridge) -> None:
        self.feed: Final = Feed(secrets.token_hex(4))
        self._bridge: Final = bridge
        self._untold: Final = deque[Happening](maxlen=UNTOLD_MAX)
        self._came = trio.Event()

    def tell(self, happening: Happening) -> None:
        """Have something told."""
        self._untold.append(happening)
        self._came.set()

    async def run(self) -> None:
        """Carry it over until cancelled."""
        while True:
            await self._came.wait()
            self._came = trio.Event()
            batch = tuple(self._untold)
            self._untold.clear()
            await self._bridge.run(self.feed.tell, batch)


@asynccontextmanager
async def _served(bridge: Bridge, routes: Routes, listening: socket.socket) -> AsyncIterator[None]:
    """Answer while the block runs."""
    opened, token = trio.Event(), trio.lowlevel.current_trio_token()

    async def serve() -> None:
        visitors = Guests(ONE_MACHINE, time.monotonic)
        async with serving(routes.app(), [listening], shutdown_s=DRAIN_S, guests=visitors, common=HEADERS):
            token.run_sync_soon(opened.set)
            await asyncio.Event().wait()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(bridge.run, serve)
        await opened.wait()
        try:
            yield
        finally:
            nursery.cancel_scope.cancel()


async def _ask(
    sessions: Sessions, store: BlockStore, settings: ClientSettings, clock: Clock, told: Told, provider: Provider, source: Source
) -> Price:
    """What a provider asks for what of a source is not here; a gateway for all of it. Raises ``RetrievalError``."""
    if isinstance(provider, GatewayAddress):
        from ..web.funding import quote as ask_gateway  # with all of HTTP behind it, where nobody may ever need it

        offer = await ask_gateway(provider, source)
        price = Price(
            amount_max=offer.amount_max,
            n_bytes=offer.bytes_max,
            price_per_gib=offer.rate.price_per_gib,
            decimals=offer.decimals,
            free_bytes_per_day=offer.free_bytes_per_day,
        )
    else:
        async with sessions.meet(provider, DIAL_TIMEOUT_S) as conversation:
            price_max = settings.wallet.price_max or None
            held = source.walk()
            await trio.to_thread.run_sync(fast_forward, store, held)
            quote = (await conversation.ask_quote(source.selection, held, price_per_gib_max=price_max, now=clock())).quote
        decimals = quote.settlement.decimals if quote.settlement is not None else USD_DECIMALS
        price = Price(amount_max=quote.amount_max, n_bytes=quote.n_bytes, price_per_gib=quote.price_per_gib, decimals=decimals)
    told.tell(quoted(source, str(provider), price.amount_max))
    return price


def _limits(settings: ClientSettings) -> Limits:
    return Limits(per_request=settings.wallet.per_fetch, per_day=settings.gateway.per_day, per_origin=settings.gateway.per_origin)


@contextmanager
def _listening(text: str, *, allow_remote: bool) -> Iterator[socket.socket]:
    """A listening socket at ``host:port``. Raises ``LocalProtocolError(usage)``."""
    host, _, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not host or not port.isdecimal():
        raise LocalProtocolError(ErrorCode.USAGE, f"the gateway cannot listen on {text}: write it like 127.0.0.1:4803")
    if not allow_remote:
        require_loopback(host)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as listening:
        try:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind((host, int(port)))
            listening.listen(BACKLOG)
        except (OSError, OverflowError) as error:
            raise LocalProtocolError(ErrorCode.USAGE, f"the gateway cannot listen on {text}: {error}") from error
        listening.setblocking(False)
        yield listening


def _hosts(settings: ClientSettings, listening: socket.socket) -> frozenset[str]:
    host, port = listening.getsockname()[:2]
    named = f"[{host}]" if ":" in host else host
    return allowed_hosts([*LOOPBACK_NAMES, named, *filter(None, [settings.gateway.host])], port)


def _url_of(listening: socket.socket) -> str:
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
