"""Trio. Errands: the fetches of the gateway, each for all requests that want the same.

The rule: an errand runs as long as somebody reads it, at the cost of whoever began it, and holds in the budgets what it may cost before it
signs. When nobody reads it any more, or its token is revoked, its deal is wound up, so that nothing is bought that nobody wants; when
everything is here it is let finish, for the countersignature.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Final

import trio

from retrieval.cid import format_cid
from retrieval.deal import fold
from retrieval.deal.records import DealRecord, ReceiptRecord
from retrieval.errors import ErrorCode, LocalProtocolError, RetrievalError
from retrieval.payment.chain import Chain
from retrieval.transport.libp2p import PeerAddress
from retrieval.transport.writer import Clock, JournalWriter
from retrieval.units import USD_DECIMALS, format_amount, format_size
from retrieval.wire.messages import DealId, Quote
from retrieval.wire.receipt import Receipt

from ..fetch import Fetch, Meet, Progress, Tally, Wanted
from ..source import Source
from ..wallet import Wallet
from ..web.address import GatewayAddress
from .arrivals import Arrivals
from .budgets import Budgets, Hold
from .cache import Cache, Place
from .happenings import Happening, ended, progressed
from .market import Market, Price, Provider
from .tokens import Scope, Token, TokenId

log: Final = logging.getLogger("retrieval_client.gateway")

ERRANDS_MAX: Final = 64
"""That run at one time: each has readers, which wait in threads, and a place in a session."""
IMPATIENCE_S: Final = 5.0
"""How long a provider may bring nothing while there is another to go to."""

_OURS: Final = frozenset({ErrorCode.STORE_FULL, ErrorCode.DISK_FULL, ErrorCode.STORE_BROKEN, ErrorCode.JOURNAL_BROKEN, ErrorCode.INTERNAL})
"""Failures that no other provider helps against."""
_TELLING: Final = (ErrorCode.SPENDING_NOT_ALLOWED, ErrorCode.OVER_BUDGET, ErrorCode.CHANNEL_UNFUNDED, ErrorCode.CHANNEL_MISSING)
"""Of several failures, what somebody can do something about is told; the first of these first."""


class PriceAsked(LocalProtocolError):
    """It has a price, and the request may not spend."""

    def __init__(self, price: Price) -> None:
        self.price: Final = price
        asked = format_amount(price.amount_max, decimals=price.decimals)
        super().__init__(ErrorCode.SPENDING_NOT_ALLOWED, f"at most {asked} for {format_size(price.n_bytes)}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Permit:
    """What a request may have done for it."""

    token: Token | None
    origin: str
    """The web page that asks; empty where none does."""
    spend_max: int
    """For this request, in the token's smallest unit."""
    providers: tuple[Provider, ...]
    """Those it named; none leaves it to the configuration."""

    @property
    def may_spend(self) -> bool:
        return self.token is not None and Scope.SPEND in self.token.scopes


@dataclass(slots=True, eq=False)
class Errand:
    """One selection on its way."""

    source: Source
    permit: Permit
    arrivals: Arrivals
    scope: trio.CancelScope = field(default_factory=trio.CancelScope)
    ended: trio.Event = field(default_factory=trio.Event)
    n_readers: int = 0
    stopped_for: RetrievalError | None = None
    """Why it was ended before everything was here."""
    is_over: bool = False
    """Whether nothing more is fetched; what it has cost may still be written down."""
    hold: Hold | None = None
    unanswered: int = 0
    """Signed for gateways' answers that never came: they may have been charged."""
    tallies: list[Tally] = field(default_factory=list)

    def stop(self, why: RetrievalError) -> None:
        """Have its deal wound up; whoever still reads is told why."""
        self.stopped_for = self.stopped_for or why
        self.scope.cancel()

    @property
    def deals(self) -> list[DealId]:
        return [deal_id for tally in self.tallies for deal_id in tally.spent]

    @property
    def spent(self) -> int:
        """In this and in earlier sessions of its deals, and perhaps for what never came."""
        return sum(tally.spent_sum for tally in self.tallies) + self.unanswered


class Errands:
    """All that run."""

    def __init__(
        self,
        nursery: trio.Nursery,
        wallet: Wallet,
        cache: Cache,
        writer: JournalWriter,
        meet: Meet,
        market: Market,
        budgets: Budgets,
        *,
        clock: Clock,
        open_chain: Callable[[str], Chain],
        timeout_s: float,
        tell: Callable[[Happening], None],
    ) -> None:
        self._nursery: Final = nursery
        self._wallet: Final = wallet
        self._cache: Final = cache
        self._writer: Final = writer
        self._meet: Final = meet
        self._market: Final = market
        self._budgets: Final = budgets
        self._clock: Final = clock
        self._open_chain: Final = open_chain
        self._timeout_s: Final = timeout_s
        self._tell: Final = tell
        self._running: Final[dict[tuple[bytes, tuple[str, ...]], Errand]] = {}

    @property
    def running(self) -> tuple[Errand, ...]:
        return tuple(self._running.values())

    async def join(self, source: Source, permit: Permit, *, alone: bool = False) -> Errand:
        """The errand for a source, begun where there is none; the caller ``leave``s it. ``alone`` waits for one that runs to end.

        Raises ``LocalProtocolError(rate_limited)``, and as ``Walk`` does.
        """
        key = (source.selection.digest, tuple(map(str, permit.providers)))
        while (running := self._running.get(key)) is not None and (alone or running.stopped_for or running.is_over):
            await running.ended.wait()
        if running is None:
            if len(self._running) >= ERRANDS_MAX:
                raise LocalProtocolError(ErrorCode.RATE_LIMITED, f"{ERRANDS_MAX} fetches are under way", retry_after_s=1)
            running = Errand(source, permit, Arrivals(self._cache, source))
            self._running[key] = running
            self._nursery.start_soon(self._run, key, running)
        running.n_readers += 1
        return running

    async def leave(self, errand: Errand) -> None:
        """One reader less. With the last one it is wound up, unless everything is here."""
        errand.n_readers -= 1
        if errand.n_readers or errand.is_over or await trio.to_thread.run_sync(errand.arrivals.is_all_here):
            return
        if not errand.n_readers:
            errand.stop(LocalProtocolError(ErrorCode.CANCELLED, "nobody wants it any more"))

    def revoke(self, token_id: TokenId) -> None:
        """Stop what a token began: it pays for nothing more."""
        for errand in self.running:
            if errand.permit.token is not None and errand.permit.token.id == token_id:
                errand.stop(LocalProtocolError(ErrorCode.SPENDING_NOT_ALLOWED, "the token that paid for it was revoked"))

    async def _run(self, key: tuple[bytes, tuple[str, ...]], errand: Errand) -> None:
        failure: RetrievalError | None = LocalProtocolError(ErrorCode.SHUTTING_DOWN, "the gateway is stopping")
        in_use = self._cache.use(errand.source)  # who joined uses it too, and has settled: nothing of it is on its way out
        try:
            with errand.scope:
                await self._bring(errand)
                failure = None
            if errand.stopped_for is not None and errand.scope.cancelled_caught:
                failure = errand.stopped_for
        except RetrievalError as error:
            failure = error
        finally:
            errand.is_over = True
            errand.arrivals.end(failure)
            costs = self._costs(errand)
            spent = sum(costs.values()) + errand.unanswered
            if errand.hold is not None:
                with trio.CancelScope(shield=True):
                    await errand.hold.settle(errand.hold.grown(costs) + errand.unanswered)
            self._cache.leave(in_use)
            self._tell(ended(errand.source, errand.deals, spent, failure))
            del self._running[key]
            errand.ended.set()

    def _costs(self, errand: Errand) -> dict[DealId, int]:
        """What each of its deals has cost, also what was paid after the fetch had stopped listening, while they were wound up."""
        costs: dict[DealId, int] = {}
        for deal_id, told in [item for tally in errand.tallies for item in tally.spent.items()]:
            deal, receipt = fold.get(self._wallet.state, DealRecord, deal_id), fold.get(self._wallet.state, ReceiptRecord, deal_id)
            purchase = self._wallet.line(deal.line_key).purchases.get(deal_id) if deal is not None else None
            signed = purchase.paid.deal_amount if purchase is not None else 0
            kept = Receipt.decode(receipt.receipt.body).deal_amount if receipt is not None else 0
            costs[deal_id] = max(told, signed, kept, costs.get(deal_id, 0))
        return costs

    async def _bring(self, errand: Errand) -> None:
        """From one provider after another, until everything is here."""
        providers = errand.permit.providers or self._market.configured
        if not providers:
            raise LocalProtocolError(ErrorCode.NOT_FOUND, "it is not here, and gateway.providers names nobody to ask")
        ranked = await self._market.ranked(errand.source, providers)
        failures: list[RetrievalError] = []
        for left, provider in zip(range(len(ranked) - 1, -1, -1), ranked, strict=True):
            try:
                await self._bring_from(provider, errand, timeout_s=min(self._timeout_s, IMPATIENCE_S) if left else self._timeout_s)
            except RetrievalError as error:
                if error.code in _OURS:
                    raise
                failures.append(error)
                if error.code not in _TELLING:
                    self._market.set_back(provider, error)
            else:
                return
        raise min(failures, key=lambda error: _TELLING.index(error.code) if error.code in _TELLING else len(_TELLING))

    async def _bring_from(self, provider: Provider, errand: Errand, *, timeout_s: float) -> None:
        log.info("%s is fetched from %s", format_cid(errand.source.root), provider)
        place = self._cache.place()
        try:
            if isinstance(provider, GatewayAddress):
                await self._bring_from_gateway(provider, errand, place, timeout_s)
            else:
                await self._bring_from_peer(provider, errand, place, timeout_s)
        finally:
            place.give_back()

    async def _bring_from_peer(self, provider: PeerAddress, errand: Errand, place: Place, timeout_s: float) -> None:
        spend_max = max(0, errand.permit.spend_max - errand.spent)
        wanted = Wanted(source=errand.source, provider=provider, spend_max=spend_max, timeout_s=timeout_s)

        async def on_quote(quote: Quote) -> None:
            decimals = quote.settlement.decimals if quote.settlement is not None else USD_DECIMALS
            await self._allow(
                errand,
                Price(amount_max=quote.amount_max, n_bytes=quote.n_bytes, price_per_gib=quote.price_per_gib, decimals=decimals),
            )

        fetch = Fetch(
            self._meet,
            self._wallet,
            self._cache,
            self._writer,
            wanted,
            clock=self._clock,
            open_chain=self._open_chain,
            on_progress=lambda progress: self._moved(errand, progress, place),
            on_quote=on_quote,
            make_room=lambda n_bytes: place.make_room(n_bytes, fetch.tally.verified_bytes),
        )
        errand.tallies.append(fetch.tally)
        await fetch.run()

    async def _bring_from_gateway(self, provider: GatewayAddress, errand: Errand, place: Place, timeout_s: float) -> None:
        """From a gateway that may ask for x402: what it may cost is not known before, so all that the request may spend is held."""
        from ..web.fetch import WebFetch, WebWanted  # with all of HTTP behind it, where nobody may ever need it

        spend_max = 0
        if errand.permit.token is not None and errand.permit.may_spend:
            left = self._budgets.left(errand.permit.token, errand.permit.origin)
            spend_max = max(0, min(left.least, errand.permit.spend_max - errand.spent))
        if spend_max:
            await self._hold(errand, errand.spent + spend_max, by_deals=False)
        wanted = WebWanted(source=errand.source, provider=provider, spend_max=spend_max, timeout_s=timeout_s)
        fetch = WebFetch(
            self._wallet if spend_max else None,
            place,
            self._writer if spend_max else None,
            wanted,
            clock=self._clock,
            open_chain=self._open_chain,
            on_progress=lambda progress: self._moved(errand, progress, place),
            make_room=lambda n_bytes: place.make_room(n_bytes, fetch.tally.verified_bytes),
        )
        errand.tallies.append(fetch.tally)
        try:
            await fetch.run()
        except RetrievalError as error:
            if spend_max or error.row.http_status != HTTPStatus.PAYMENT_REQUIRED:
                raise
            if errand.permit.may_spend:
                raise LocalProtocolError(ErrorCode.OVER_BUDGET, "it has a price, and nothing more may be spent") from error
            raise PriceAsked(await self._market.price(provider, errand.source)) from error
        finally:
            errand.unanswered += fetch.unanswered

    async def _allow(self, errand: Errand, price: Price) -> None:
        """Raises ``PriceAsked``, and ``LocalProtocolError(over_budget)``, for what the request may not spend."""
        if price.amount_max == 0:
            return
        if not errand.permit.may_spend:
            raise PriceAsked(price)
        if errand.spent + price.amount_max > errand.permit.spend_max:
            asked, limit = (format_amount(each, decimals=price.decimals) for each in (price.amount_max, errand.permit.spend_max))
            raise LocalProtocolError(ErrorCode.OVER_BUDGET, f"it may cost {asked}, and {limit} is the request's limit; nothing was signed")
        await self._hold(errand, errand.spent + price.amount_max, by_deals=True)

    async def _hold(self, errand: Errand, amount: int, *, by_deals: bool) -> None:
        token = errand.permit.token
        assert token is not None
        if errand.hold is None:
            errand.hold = self._budgets.open(token, errand.permit.origin, errand.source.selection)
        await errand.hold.raise_to(amount, by_deals=by_deals)

    def _moved(self, errand: Errand, progress: Progress, place: Place) -> None:
        place.moved(progress.verified_bytes)
        errand.arrivals.came()
        self._tell(progressed(errand.source, errand.deals, progress))
