"""Trio. One fetch: dial, quote, accept, receive, and again after every break until the selection is verified or nothing moves.

What may be spent is decided before anything is signed; what was verified is in the store and in the journal, so that every attempt,
in this process or a later one, goes on where the last one stopped.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import trio

from retrieval.cid import Cid
from retrieval.dag.measure import fast_forward
from retrieval.dag.walk import Walk
from retrieval.deal.client import ClientSession
from retrieval.deal.events import (
    BlocksVerified,
    ChannelConfirmed,
    DealEnded,
    Event,
    Paid,
    Quoted,
    Refused,
    SelectionVerified,
    SessionFailed,
)
from retrieval.deal.purchase import Purchase
from retrieval.deal.records import Outcome
from retrieval.deal.spending import SpendingLine
from retrieval.errors import ErrorCode, LocalProtocolError, RemoteProtocolError, RetrievalError
from retrieval.identity import PeerId
from retrieval.payment.chain import Chain
from retrieval.payment.evm import EvmChain
from retrieval.store.blocks import BlockStore
from retrieval.transport.libp2p import Host
from retrieval.transport.pump import Pump
from retrieval.transport.writer import Clock, JournalWriter
from retrieval.units import format_amount
from retrieval.wire.messages import DealId, KnownChannel, Quote, Scope, Selection

from .wallet import Wallet

log: Final = logging.getLogger("retrieval.client")

BACKOFF_FIRST_S: Final = 0.2
BACKOFF_MAX_S: Final = 5.0
DONE_WAIT_S: Final = 5.0
"""How long to wait for the countersignature when everything is verified; without it the fetch is a success all the same."""
REQUOTES_MAX: Final = 3
"""Deals that may fail in one fetch before it is given up: a provider that cannot keep one is not asked for ever."""

TRANSIENT: Final = frozenset(
    {
        ErrorCode.DIAL_FAILED,
        ErrorCode.HELLO_TIMEOUT,
        ErrorCode.QUOTE_TIMEOUT,
        ErrorCode.QUOTE_EXPIRED,
        ErrorCode.QUOTE_UNKNOWN,
        ErrorCode.TRANSFER_TRUNCATED,
        ErrorCode.TRANSFER_STALLED,
        ErrorCode.FIRST_BLOCK_TIMEOUT,
        ErrorCode.PAYMENT_TIMEOUT,
        ErrorCode.RATE_LIMITED,
        ErrorCode.TOO_MANY_SESSIONS,
        ErrorCode.TOO_MANY_DEALS,
        ErrorCode.SHUTTING_DOWN,
        ErrorCode.INVALID_CURSOR,
        ErrorCode.STALE_VOUCHER,
        ErrorCode.RPC_UNAVAILABLE,
    }
)
"""After these the same provider is asked again, until nothing has moved for ``timeout_s``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What one fetch is about."""

    root: Cid
    path: tuple[str, ...] = ()
    scope: Scope = Scope.ALL
    provider: PeerId
    address: str
    spend_max: int
    timeout_s: float

    @property
    def selection(self) -> Selection:
        return Selection(root=self.root, path=self.path, scope=self.scope)

    def walk(self) -> Walk:
        return Walk(self.root, self.path, self.scope)


@dataclass(slots=True, kw_only=True)
class Progress:
    """What a fetch has done so far; shown while it runs, reported when it ends."""

    verified_bytes: int = 0
    total_bytes: int = 0
    n_blocks: int = 0
    resumed_bytes: int = 0
    paid: dict[DealId, int] = field(default_factory=dict)
    deal_id: DealId | None = None
    first_verified_at: float | None = None
    channel_open_s: float = 0.0
    note: str = ""


class Fetch:
    """One fetch over any number of sessions with one provider."""

    def __init__(
        self,
        host: Host,
        wallet: Wallet,
        store: BlockStore,
        writer: JournalWriter,
        wanted: Wanted,
        *,
        clock: Clock,
        on_progress: Callable[[Progress], None] = lambda progress: None,
    ) -> None:
        self._host: Final = host
        self._wallet: Final = wallet
        self._store: Final = store
        self._writer: Final = writer
        self._wanted: Final = wanted
        self._clock: Final = clock
        self._on_progress: Final = on_progress
        self._n_failed_deals = 0
        self._moved_at = 0.0
        self.progress: Final = Progress()

    async def run(self) -> None:
        """Return when the whole selection is in the store, verified and paid for.

        Raises ``RetrievalError``: the provider's refusal, our own limits, or ``transfer_stalled`` when nothing moved for ``timeout_s``.
        """
        held = self._wanted.walk()
        await trio.to_thread.run_sync(fast_forward, self._store, held)
        self.progress.resumed_bytes = self.progress.verified_bytes = held.n_bytes
        self.progress.n_blocks = held.n_blocks
        if held.done:
            self.progress.total_bytes = held.n_bytes
            return
        self._moved_at = self._clock()
        backoff_s, seen = BACKOFF_FIRST_S, self.progress.verified_bytes
        while True:
            try:
                await self._attempt()
                return
            except RetrievalError as error:
                if error.code not in TRANSIENT:
                    raise
                if self.progress.verified_bytes > seen:
                    backoff_s, seen = BACKOFF_FIRST_S, self.progress.verified_bytes
                await self._back_off(error, max(backoff_s, error.retry_after_s or 0))
                backoff_s = min(BACKOFF_MAX_S, backoff_s * 2)

    async def _back_off(self, error: RetrievalError, pause_s: float) -> None:
        left_s = self._moved_at + self._wanted.timeout_s - self._clock()
        if left_s <= 0:
            stalled = f"nothing moved for {self._wanted.timeout_s:.0f} s; last: {error}"
            raise RemoteProtocolError(ErrorCode.TRANSFER_STALLED, stalled) from error
        log.info("trying again in %.1f s: %s", min(pause_s, left_s), error)
        self.progress.note = str(error)
        self._on_progress(self.progress)
        await trio.sleep(min(pause_s, left_s))

    async def _attempt(self) -> None:
        """One session."""
        now = self._clock()
        left_s = max(1.0, self._moved_at + self._wanted.timeout_s - now)
        stream = await self._host.dial(self._wanted.address, timeout_s=min(10.0, left_s))
        machine = ClientSession(self._wallet.peer_key, self._wanted.provider, signer=self._wallet.voucher_signer, now=self._clock())
        machine.last_final_receipt = self._wallet.last_final_receipt(self._wanted.provider)
        told, events = trio.open_memory_channel[Event](1 << 20)
        pump = Pump(machine, stream, self._writer, store=self._store.put_many, clock=self._clock, on_event=told.send_nowait)
        pump.put(machine.start())
        failure: RetrievalError | None = None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(pump.run)
            try:
                await _Attempt(self, machine, pump, events).run()
            except RetrievalError as error:
                failure = error
            with trio.CancelScope(shield=True, deadline=trio.current_time() + 2):
                pump.put(machine.closed(self._clock()))
                await pump.ended.wait()
            nursery.cancel_scope.cancel()
        if failure is not None:
            raise failure

    def moved(self, event: BlocksVerified) -> None:
        progress, now = self.progress, self._clock()
        progress.verified_bytes += event.n_bytes
        progress.n_blocks += event.n_blocks
        progress.note = ""
        if progress.first_verified_at is None:
            progress.first_verified_at = now
        self._moved_at = now
        self._on_progress(progress)


class _Attempt:
    """One session of a fetch, as a conversation: what we say, and what we wait for."""

    def __init__(self, fetch: Fetch, machine: ClientSession, pump: Pump, events: trio.MemoryReceiveChannel[Event]) -> None:
        self._fetch: Final = fetch
        self._wanted: Final = fetch._wanted
        self._wallet: Final = fetch._wallet
        self._machine: Final = machine
        self._pump: Final = pump
        self._events: Final = events

    async def run(self) -> None:
        purchase = await self._take_up() or await self._accept()
        self._fetch.progress.deal_id = purchase.deal_id
        self._fetch.progress.total_bytes = purchase.quote.n_bytes + self._fetch.progress.resumed_bytes
        await self._receive(purchase)

    async def _take_up(self) -> Purchase | None:
        """Go on with an open deal for the same selection, if there is one that can be."""
        now, clock_ms = self._fetch._clock(), self._fetch._clock() * 1000
        for deal_id, deal, receipt in self._wallet.open_deals_with(self._wanted.provider):
            if deal.selection != self._wanted.selection:
                continue
            line = self._wallet.line(deal.line_key)
            walk = self._wanted.walk()
            line.purchases.pop(deal_id, None)
            quote_cursor = _cursor_of(deal.quote.body)
            await trio.to_thread.run_sync(lambda walk=walk, cursor=quote_cursor: fast_forward(self._fetch._store, walk, cursor))
            if walk.n_blocks < quote_cursor:
                purchase = None
            else:
                purchase = Purchase.restore(deal_id, deal, receipt.receipt if receipt else None, line, walk)
                await trio.to_thread.run_sync(self._hold, purchase)
            if purchase is None or not purchase.may_resume or deal.expires_ms <= clock_ms:
                await self._abandon(deal_id, purchase)
                continue
            self._pump.put(self._machine.take_up(purchase, now=now))
            return purchase
        return None

    def _hold(self, purchase: Purchase) -> None:
        store, walk = self._fetch._store, purchase.walk
        while (cid := walk.expected) is not None and (size := store.size(cid)) is not None:
            purchase.hold(store.get(cid) if walk.needs_payload else None, size)

    async def _abandon(self, deal_id: DealId, purchase: Purchase | None) -> None:
        if purchase is None:
            return
        step = self._machine.abandon(
            purchase, now=self._fetch._clock(), code=ErrorCode.QUOTE_EXPIRED, detail="it could not be taken up again"
        )
        await self._fetch._writer.commit(step.records)

    async def _accept(self) -> Purchase:
        """Ask for a quote, judge it, and say yes."""
        walk = self._wanted.walk()
        await trio.to_thread.run_sync(fast_forward, self._fetch._store, walk)
        price_max = self._wallet.settings.wallet.price_max or None
        query_id, step = self._machine.query(self._wanted.selection, walk, now=self._fetch._clock(), price_per_gib_max=price_max)
        self._pump.put(step)
        quoted = await self._wait_for(Quoted)
        quote = quoted.quote
        self._check_budget(quote)
        self._check_room(quote)
        line = await self._line_for(quote)
        purchase, step = self._machine.accept(query_id, line, spend_max=self._wanted.spend_max, now=self._fetch._clock())
        self._pump.put(step)
        return purchase

    def _check_budget(self, quote: Quote) -> None:
        """Before anything is signed."""
        limit = self._wanted.spend_max
        if quote.amount_max > limit:
            decimals = quote.settlement.decimals if quote.settlement else 6
            asked, allowed = (format_amount(amount, decimals=decimals) for amount in (quote.amount_max, limit))
            raise LocalProtocolError(ErrorCode.OVER_BUDGET, f"it may cost {asked}, the limit is {allowed}")

    def _check_room(self, quote: Quote) -> None:
        """Content that would not fit is refused before it is paid for."""
        store = self._fetch._store
        if store.bytes_used() + quote.n_bytes > store.bytes_max:
            raise LocalProtocolError(
                ErrorCode.STORE_FULL, f"{quote.n_bytes} bytes are coming, {store.bytes_max - store.bytes_used()} are free"
            )

    async def _line_for(self, quote: Quote) -> SpendingLine:
        """The channel to pay on, known to the provider and agreed on what was paid before."""
        settlement = quote.settlement
        if settlement is None:
            return self._wallet.line(self._wanted.provider)
        line = self._wallet.channel_with(self._wanted.provider, settlement)
        if line is None or line.credit < quote.amount_max:
            line = await self._open_channel(line, quote)
        assert line.channel is not None
        known = quote.channel
        if known is None or known.channel_id != line.key or known.balance < line.channel.balance:
            known = await self._present(line)
        step = line.adopt(known, self._wallet.key.address, self._fetch._clock())
        await self._fetch._writer.commit(step.records)
        return line

    async def _open_channel(self, line: SpendingLine | None, quote: Quote) -> SpendingLine:
        """Open or top up a channel, as far as the wallet's owner allowed."""
        assert quote.settlement is not None
        wallet, deposit = self._wallet, self._wallet.settings.wallet.auto_open_max
        decimals = quote.settlement.decimals
        suggestion = format_amount(max(quote.amount_max * 10, quote.settlement.deposit_min, 10**decimals), decimals=decimals)
        command = f"retrieval-client fund '{suggestion}' --provider {self._wanted.address}"
        if deposit < max(quote.amount_max, quote.settlement.deposit_min) or not wallet.settings.chain.rpc:
            code = ErrorCode.CHANNEL_MISSING if line is None else ErrorCode.CHANNEL_UNFUNDED
            raise LocalProtocolError(code, f"run `{command}`")
        began = self._fetch._clock()
        chain: Chain = EvmChain(wallet.settings.chain.rpc)
        settlement, now = quote.settlement, self._fetch._clock()

        def fund() -> SpendingLine:
            assert isinstance(chain, EvmChain)
            return wallet.fund(chain, chain.deployment, self._wanted.provider, self._wanted.address, settlement, deposit, now=now)

        opened = await trio.to_thread.run_sync(fund)
        self._fetch.progress.channel_open_s += self._fetch._clock() - began
        return opened

    async def _present(self, line: SpendingLine) -> KnownChannel:
        self._pump.put(self._machine.present(self._wallet.presentation(line)))
        return (await self._wait_for(ChannelConfirmed)).channel

    async def _receive(self, purchase: Purchase) -> None:
        """Until the selection is verified; then a moment longer for the countersignature."""
        fetch = self._fetch
        deadline = None
        while True:
            scope = trio.CancelScope(deadline=deadline if deadline is not None else trio.current_time() + 86_400)
            event: Event | None = None
            with scope:
                event = await self._events.receive()
            match event:
                case None:
                    if deadline is not None:
                        return
                case BlocksVerified():
                    fetch.moved(event)
                case Paid():
                    fetch.progress.paid[purchase.deal_id] = purchase.paid.deal_amount
                case SelectionVerified():
                    deadline = trio.current_time() + DONE_WAIT_S
                case DealEnded(outcome=Outcome.DONE):
                    fetch.progress.paid[purchase.deal_id] = event.amount
                    return
                case DealEnded(code=code, detail=detail):
                    self._count_failure(RemoteProtocolError(code or ErrorCode.INTERNAL, detail))
                case Refused():
                    raise _as_error(event)
                case SessionFailed():
                    if deadline is not None:
                        return
                    raise _as_error(event)
                case _:
                    pass

    def _count_failure(self, error: RemoteProtocolError) -> None:
        """A deal that failed is not taken up again; a few of them end the fetch."""
        self._fetch._n_failed_deals += 1
        if error.code in TRANSIENT and self._fetch._n_failed_deals <= REQUOTES_MAX:
            raise RemoteProtocolError(ErrorCode.TRANSFER_TRUNCATED, str(error))
        raise error

    async def _wait_for(self, kind):  # type: ignore[no-untyped-def]
        """The next event of one kind; refusals and the end of the session raise."""
        while True:
            event = await self._events.receive()
            match event:
                case Refused() | SessionFailed():
                    raise _as_error(event)
                case _ if isinstance(event, kind):
                    return event
                case _:
                    pass


def _as_error(event: Refused | SessionFailed) -> RemoteProtocolError:
    return RemoteProtocolError(event.code, event.detail, retry_after_s=event.retry_after_s)


def _cursor_of(quote_body: bytes) -> int:
    from retrieval.wire import shape

    return shape.decode(Quote, quote_body).cursor
