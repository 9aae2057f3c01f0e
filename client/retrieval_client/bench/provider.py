"""Trio. A provider of this protocol as somebody to measure: deals as ``get`` makes them, out of the same wallet and within its limits.

The rule: a deal that broke is given up at once, since its blocks were not kept and nothing could take it up. No channel is opened here
and no chain is asked: whoever is measured and sells must have been funded.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence, Set
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Final

import trio

from retrieval._native import Buffer
from retrieval.cid import Cid
from retrieval.deal.events import DealEnded, Event, Quoted, Refused, SessionFailed
from retrieval.deal.records import Outcome
from retrieval.deal.spending import SpendingLine
from retrieval.errors import ErrorCode, LocalProtocolError, RemoteProtocolError, RetrievalError
from retrieval.home import Home
from retrieval.transport.libp2p import PeerAddress, open_host, parse_address
from retrieval.transport.writer import Clock, JournalWriter, open_writer, steady_clock
from retrieval.units import format_amount
from retrieval.wire.messages import DealId, Quote

from ..config import ClientSettings
from ..conversation import DIAL_TIMEOUT_S, Conversation, as_error, converse
from ..source import Source
from ..unwrap import one_error
from ..wallet import Wallet, open_wallet_in_turn
from .carried import carried_bytes_to
from .content import content_bytes
from .metrics import Run, Stopwatch
from .session import Keep


@dataclass(slots=True, kw_only=True)
class Budget:
    """What may be spent, in the token's smallest unit."""

    fetch_max: int
    """On one fetch, at its quote's worst."""
    left: int
    """On all that are still to come."""

    def check(self, quotes: Sequence[Quote], n_each: int = 1) -> None:
        """Whether each of these, ``n_each`` times, may be bought. Raises ``LocalProtocolError(over_budget)``."""
        amounts = [quote.amount_max for quote in quotes]
        decimals = max((quote.settlement.decimals for quote in quotes if quote.settlement), default=0)
        if max(amounts, default=0) > self.fetch_max:
            asked, limit = format_amount(max(amounts), decimals=decimals), format_amount(self.fetch_max, decimals=decimals)
            raise LocalProtocolError(ErrorCode.OVER_BUDGET, f"one fetch may cost {asked}, and {limit} is the limit for one")
        if sum(amounts) * n_each > self.left:
            asked, limit = format_amount(sum(amounts) * n_each, decimals=decimals), format_amount(self.left, decimals=decimals)
            raise LocalProtocolError(ErrorCode.OVER_BUDGET, f"{len(amounts) * n_each} fetches may cost {asked}, and {limit} is the limit")


class Provider:
    """A ``Target``. Made by ``open_provider``."""

    def __init__(self, wallet: Wallet, writer: JournalWriter, address: PeerAddress, budget: Budget, timeout_s: float, clock: Clock) -> None:
        self.wallet: Final = wallet
        self.writer: Final = writer
        self.address: Final = address
        self.budget: Final = budget
        self.timeout_s: Final = timeout_s
        self.clock: Final = clock

    async def prepare(self, sources: Sequence[Source], n_each: int) -> None:
        """See that all of it fits the budget, and show the channel. What cannot be asked now is left for the fetches to find out.

        Raises ``LocalProtocolError``; then nothing was signed.
        """
        with suppress(RemoteProtocolError):
            async with self.open(Stopwatch()) as session:
                quotes = []
                for source in sources:
                    with suppress(RemoteProtocolError):
                        quotes.append(await session.ask(source))
                self.budget.check([quoted.quote for quoted in quotes], n_each)
                for quoted in quotes[:1]:
                    await session.line_for(quoted.quote)

    @asynccontextmanager
    async def open(self, watch: Stopwatch) -> AsyncIterator[ProviderSession]:
        storing, of_others = _Storing(), {each.deal_id for each in self.wallet.open_deals()}
        try:
            with one_error():
                async with open_host(self.wallet.peer_key.seed) as host:
                    conversing = converse(
                        host,
                        self.address,
                        self.wallet.peer_key,
                        signer=self.wallet.voucher_signer,
                        writer=self.writer,
                        store=storing.store,
                        clock=self.clock,
                        dial_timeout_s=min(DIAL_TIMEOUT_S, self.timeout_s),
                        last_final_receipt=self.wallet.last_final_receipt(self.address.peer_id),
                    )
                    async with conversing as conversation:
                        watch.connected()
                        yield ProviderSession(self, conversation, storing)
        except RetrievalError as error:
            await trio.to_thread.run_sync(self._give_up, of_others, error, self.clock())
            raise

    def _give_up(self, of_others: Set[bytes], error: RetrievalError, now: float) -> None:
        """End what the session left open, and not the deals that a ``get`` may still take up."""
        for each in list(self.wallet.open_deals()):
            if each.deal_id not in of_others:
                self.wallet.give_up(each, code=error.code, detail=error.detail, now=now)


@asynccontextmanager
async def open_provider(home: Home, settings: ClientSettings, address: str, *, budget: Budget, timeout_s: float) -> AsyncIterator[Provider]:
    """The provider at a multiaddr, measured with the wallet of ``home``, whose turn to spend this takes.

    Raises as ``parse_address`` and ``open_wallet_in_turn``.
    """
    peer = parse_address(address)
    clock = steady_clock()
    async with (
        open_wallet_in_turn(home, settings, command="retrieval-client bench", now=clock()) as wallet,
        open_writer(wallet.journal, clock) as writer,
    ):
        yield Provider(wallet, writer, peer, budget, timeout_s, clock)


class ProviderSession:
    """A ``Session``."""

    def __init__(self, provider: Provider, conversation: Conversation, storing: _Storing) -> None:
        self._provider: Final = provider
        self._conversation: Final = conversation
        self._storing: Final = storing
        self._carried_before = 0
        """By TCP, before the fetch that runs; what connecting took belongs to the first one."""

    async def fetch(self, source: Source, watch: Stopwatch, keep: Keep) -> Run:
        provider, conversation = self._provider, self._conversation
        self._storing.begin(watch, keep)
        quoted = await self.ask(source)
        provider.budget.check([quoted.quote])
        line = await self.line_for(quoted.quote)
        purchase, step = conversation.machine.accept(quoted.query_id, line, spend_max=quoted.quote.amount_max, now=provider.clock())
        conversation.say(step)
        try:
            await self._receive(purchase.deal_id)
        finally:
            provider.budget.left -= purchase.paid.deal_amount
        return watch.stop(carried_bytes=self._carried_bytes(), paid=purchase.paid.deal_amount)

    async def ask(self, source: Source) -> Quoted:
        """The provider's offer for all of it. Raises ``RemoteProtocolError``."""
        provider, price_max = self._provider, self._provider.wallet.settings.wallet.price_max or None
        return await self._conversation.ask_quote(source.selection, source.walk(), price_per_gib_max=price_max, now=provider.clock())

    async def _receive(self, deal_id: DealId) -> None:
        """Until the last receipt is countersigned."""
        while True:
            match await self._hear():
                case DealEnded(outcome=Outcome.DONE) as ended if ended.deal_id == deal_id:
                    return
                case DealEnded() as ended if ended.deal_id == deal_id:
                    raise RemoteProtocolError(ended.code or ErrorCode.TRANSFER_TRUNCATED, ended.detail)
                case Refused() | SessionFailed() as failed:
                    raise as_error(failed)

    async def _hear(self) -> Event:
        with trio.move_on_after(self._provider.timeout_s):
            return await self._conversation.hear()
        raise RemoteProtocolError(ErrorCode.TRANSFER_STALLED, f"nothing more for {self._provider.timeout_s:.0f} s")

    def _carried_bytes(self) -> int | None:
        carried, before = carried_bytes_to(self._provider.address.endpoint.port), self._carried_before
        if carried is None:
            return None
        self._carried_before = carried
        return carried - before

    async def line_for(self, quote: Quote) -> SpendingLine:
        """The channel to pay on, which the provider knows and which agrees on what was paid before."""
        provider, wallet, now = self._provider, self._provider.wallet, self._provider.clock()
        peer = provider.address.peer_id
        if quote.settlement is None:
            return wallet.line(peer)
        line = wallet.channel_with(peer, quote.settlement)
        if line is None:
            command = f"run `{wallet.home.command('fund')} AMOUNT --provider {provider.address}`"
            raise LocalProtocolError(ErrorCode.CHANNEL_MISSING, command)
        assert line.channel is not None
        known, needed_until = quote.channel, now + quote.lifetime_s
        is_current = known is not None and known.channel_id == line.key and known.balance >= line.channel.balance
        if known is None or not is_current or not wallet.is_vouched_for(line, needed_until):
            presentation = await trio.to_thread.run_sync(lambda: wallet.presentation(line, needed_until=needed_until, now=now))
            known = await self._conversation.present(presentation)
        counted = known.best.amount if known.best else 0
        if counted != line.best_amount and any(each.deal.line_key == line.key for each in wallet.open_deals()):
            words = "a `get` on this channel is not over, and the provider counts its payments differently; let it finish first"
            raise LocalProtocolError(ErrorCode.STALE_VOUCHER, words)
        await provider.writer.commit(line.adopt(known, wallet.key.address, now).records)
        return line


class _Storing:
    """Where verified blocks go: to the watch, and to whoever keeps them."""

    def __init__(self) -> None:
        self._fetch: tuple[Stopwatch, Keep] | None = None

    def begin(self, watch: Stopwatch, keep: Keep) -> None:
        """What comes from now on belongs to another fetch."""
        self._fetch = watch, keep

    def store(self, blocks: Iterable[tuple[Cid, Buffer]]) -> None:
        arrived = list(blocks)
        if arrived:
            assert self._fetch is not None, "blocks come after an Accept"
            watch, keep = self._fetch
            watch.verified(sum(content_bytes(cid, payload) for cid, payload in arrived), len(arrived))
            keep(arrived)
