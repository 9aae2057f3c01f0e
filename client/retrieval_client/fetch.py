"""Trio. One fetch: dial, quote, accept, receive, and again after every break until the selection is verified or nothing moves.

What may be spent is decided before anything is signed; what was verified is in the store and in the journal, so that every attempt,
in this process or a later one, goes on where the last one stopped.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from functools import partial
from typing import Final

import trio

from retrieval.dag.walk import Walk, fast_forward
from retrieval.deal.events import BlocksVerified, DealEnded, Event, Paid, Quoted, Refused, SelectionVerified, SessionFailed
from retrieval.deal.purchase import Purchase
from retrieval.deal.records import Outcome
from retrieval.deal.spending import SpendingLine
from retrieval.deal.states import PurchaseState
from retrieval.errors import DETAIL_MAX, ErrorCode, LocalProtocolError, RemoteProtocolError, RetrievalError
from retrieval.payment.chain import Chain
from retrieval.store.blocks import BlockStore
from retrieval.transport.libp2p import Host, PeerAddress
from retrieval.transport.writer import Clock, JournalWriter
from retrieval.units import format_amount
from retrieval.wire import shape
from retrieval.wire.messages import DealId, KnownChannel, Quote
from retrieval.wire.receipt import Receipt

from .content import make_room as make_room_in
from .conversation import DIAL_TIMEOUT_S, Conversation, as_error, converse
from .source import Source
from .wallet import OpenDeal, Wallet

log: Final = logging.getLogger("retrieval_client.fetch")

BACKOFF_FIRST_S: Final = 0.2
BACKOFF_MAX_S: Final = 5.0
DONE_WAIT_S: Final = 5.0
"""How long to wait for the countersignature when everything is verified; without it the fetch is a success all the same."""
DEALS_FAILED_MAX: Final = 3
"""Deals that may fail in one fetch before it is given up: a provider that cannot keep one is not asked for ever."""

TRANSIENT: Final = frozenset(
    {
        ErrorCode.DIAL_FAILED,
        ErrorCode.HELLO_TIMEOUT,
        ErrorCode.QUOTE_TIMEOUT,
        ErrorCode.QUOTE_EXPIRED,
        ErrorCode.QUOTE_UNKNOWN,
        ErrorCode.DEAL_UNKNOWN,
        ErrorCode.TRANSFER_TRUNCATED,
        ErrorCode.TRANSFER_STALLED,
        ErrorCode.FIRST_BLOCK_TIMEOUT,
        ErrorCode.PAYMENT_TIMEOUT,
        ErrorCode.CHANNEL_TIMEOUT,
        ErrorCode.RATE_LIMITED,
        ErrorCode.TOO_MANY_SESSIONS,
        ErrorCode.TOO_MANY_DEALS,
        ErrorCode.SHUTTING_DOWN,
        ErrorCode.INVALID_CURSOR,
        ErrorCode.STALE_VOUCHER,
    }
)
"""After these the same provider is asked again, until nothing has moved for a while. A chain that does not answer is not among them:
nothing that was fetched waits for it."""
_AGAIN: Final = TRANSIENT | {ErrorCode.PAYMENT_MISMATCH}
"""A peer that counts our payments in another way than we do says in its next quote how far it counts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What one fetch is about."""

    source: Source
    provider: PeerAddress
    spend_max: int
    """For everything this fetch costs, all its deals together, in the token's smallest unit."""
    timeout_s: float
    """How long it goes on without verified progress."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a fetch is."""

    verified_bytes: int
    """Of blocks, those that were here before included."""
    total_bytes: int | None
    """None until there is a quote; an upper bound where the quote is one."""
    resumed_bytes: int
    spent: int
    trouble: str
    """What broke the last attempt; empty while things go well."""


@dataclass(slots=True, kw_only=True)
class Tally:
    """What a fetch has come to."""

    resumed_bytes: int = 0
    verified_bytes: int = 0
    total_bytes: int | None = None
    spent: dict[DealId, int] = field(default_factory=dict)
    """By deal, in the order in which this fetch met them; what earlier sessions of a deal paid included."""
    first_verified_at: float | None = None
    channel_open_s: float = 0.0

    @property
    def spent_sum(self) -> int:
        return sum(self.spent.values())


Meet = Callable[[PeerAddress, float], AbstractAsyncContextManager[Conversation]]
"""A session with a provider, begun within so many seconds: one's own, or one that others have a part in."""


def own_sessions(host: Host, wallet: Wallet, store: BlockStore, writer: JournalWriter, *, clock: Clock) -> Meet:
    """A session for each attempt of a fetch, which ends with it."""

    def meet(provider: PeerAddress, due_s: float) -> AbstractAsyncContextManager[Conversation]:
        return converse(
            host,
            provider,
            wallet.peer_key,
            signer=wallet.voucher_signer,
            writer=writer,
            store=store.put_many,
            clock=clock,
            dial_timeout_s=due_s,
            last_final_receipt=wallet.last_final_receipt(provider.peer_id),
        )

    return meet


async def _agree(quote: Quote) -> None:
    """Nobody has a say but the budget."""


class Fetch:
    """One fetch over any number of sessions with one provider. Several may run at once on one wallet, which is ``shared`` then."""

    def __init__(
        self,
        meet: Meet,
        wallet: Wallet,
        store: BlockStore,
        writer: JournalWriter,
        wanted: Wanted,
        *,
        clock: Clock,
        open_chain: Callable[[str], Chain],
        on_progress: Callable[[Progress], None] = lambda progress: None,
        on_quote: Callable[[Quote], Awaitable[None]] = _agree,
        make_room: Callable[[int], None] | None = None,
    ) -> None:
        """``open_chain`` connects to an RPC URL, and is called only where a channel must be opened or looked at. ``on_quote`` hears what
        a deal may cost before anything is signed, and raises to stay away from it. ``make_room`` sees to it, in a thread, that so many
        bytes fit, or raises; where it is None, whatever nothing else needs may go for them."""
        self.wallet: Final = wallet
        self.store: Final = store
        self.writer: Final = writer
        self.wanted: Final = wanted
        self.clock: Final = clock
        self.open_chain: Final = open_chain
        self.on_quote: Final = on_quote
        self.make_room: Final = make_room or partial(make_room_in, store, wallet.state, in_use=(wanted.source,))
        self.tally: Final = Tally()
        self.n_failed_deals = 0
        self._meet: Final = meet
        self._on_progress: Final = on_progress
        self._moved_at = clock()

    async def run(self) -> None:
        """Return when the whole selection is in the store, verified and paid for.

        Raises ``RetrievalError``: the provider's refusal, our own limits, or ``transfer_stalled`` when nothing moved for ``timeout_s``.
        """
        held = await self.held()
        self.tally.resumed_bytes = self.tally.verified_bytes = held.n_bytes
        self._moved_at = self.clock()
        backoff_s, seen_bytes = BACKOFF_FIRST_S, self.tally.verified_bytes
        while not (held.done and not self.open_deals()):
            is_all_here = held.done
            try:
                await self._attempt(held)
            except RetrievalError as error:
                if is_all_here:
                    log.warning("everything is here; the provider's last word on it is not: %s", error)
                    return
                if error.code not in _AGAIN or self.n_failed_deals > DEALS_FAILED_MAX:
                    raise
                if self.tally.verified_bytes > seen_bytes:
                    backoff_s, seen_bytes = BACKOFF_FIRST_S, self.tally.verified_bytes
                await self._back_off(error, max(backoff_s, error.retry_after_s or 0))
                backoff_s = min(BACKOFF_MAX_S, backoff_s * 2)
            else:
                return
            held = await self.held()

    async def held(self) -> Walk:
        """The walk, past everything of the selection that is in the store."""
        walk = self.wanted.source.walk()
        await trio.to_thread.run_sync(fast_forward, self.store, walk)
        return walk

    def open_deals(self) -> list[OpenDeal]:
        """Deals with this provider for this selection that have no outcome yet, and that no session has."""
        selection, peer, wallet = self.wanted.source.selection, self.wanted.provider.peer_id, self.wallet
        ours = [each for each in wallet.open_deals() if each.deal.peer == peer and each.deal.selection == selection]
        return [each for each in ours if not wallet.is_running(each)]

    def moved(self, event: BlocksVerified) -> None:
        """Blocks were verified."""
        now = self.clock()
        self.tally.verified_bytes += event.n_bytes
        if self.tally.first_verified_at is None:
            self.tally.first_verified_at = now
        self._moved_at = now
        self.tell()

    def gives_up_at(self, began: float) -> float:
        """The time without progress after which nothing more is waited for, where the waiting for it began at ``began``."""
        return max(self._moved_at, began) + self.wanted.timeout_s

    def tell(self, trouble: str = "") -> None:
        """Show how far it is."""
        tally = self.tally
        self._on_progress(
            Progress(
                verified_bytes=tally.verified_bytes,
                total_bytes=tally.total_bytes,
                resumed_bytes=tally.resumed_bytes,
                spent=tally.spent_sum,
                trouble=trouble,
            )
        )

    async def _attempt(self, held: Walk) -> None:
        """One session. ``held`` goes on with what it verifies."""
        left_s = max(1.0, self._moved_at + self.wanted.timeout_s - self.clock())
        async with self._meet(self.wanted.provider, min(DIAL_TIMEOUT_S, left_s)) as conversation:
            await _Attempt(self, conversation).run(held)

    async def _back_off(self, error: RetrievalError, pause_s: float) -> None:
        left_s = self._moved_at + self.wanted.timeout_s - self.clock()
        if left_s <= 0:
            stalled = f"nothing moved for {self.wanted.timeout_s:.0f} s; last: {error}"
            raise RemoteProtocolError(ErrorCode.TRANSFER_STALLED, stalled) from error
        log.info("trying again in %.1f s: %s", min(pause_s, left_s), error)
        self.tell(str(error))
        await trio.sleep(min(pause_s, left_s))


class _Attempt:
    """One session of a fetch."""

    def __init__(self, fetch: Fetch, conversation: Conversation) -> None:
        self._fetch: Final = fetch
        self._wanted: Final = fetch.wanted
        self._wallet: Final = fetch.wallet
        self._tally: Final = fetch.tally
        self._conversation: Final = conversation
        self._machine: Final = conversation.machine

    async def run(self, held: Walk) -> None:
        """Where there is no deal to go on with, the query is asked before anything is waited for: it shares a write with the Hello."""
        for open_deal in self._fetch.open_deals():
            if await self._go_on(open_deal):
                return
            held = await self._fetch.held()
        if not held.done:
            await self._receive(await self._accept(held))

    # a deal that was cut off

    async def _go_on(self, open_deal: OpenDeal) -> bool:
        """Bring an open deal to its end; False when it had to be given up."""
        self._conversation.follow(open_deal.deal_id)
        async with self._wallet.turn_with(self._wanted.provider.peer_id):
            purchase = await self._take_up(open_deal)
        if purchase is not None and not purchase.lifecycle.is_over:
            await self._receive(purchase)
        return purchase is not None

    async def _take_up(self, open_deal: OpenDeal) -> Purchase | None:
        """A deal that goes on, or is countersigned by now; None when it had to be given up."""
        now = self._fetch.clock()
        if not await self._is_still_open(open_deal):
            return None
        purchase = await self._restore(open_deal)
        if purchase is None or not purchase.may_resume:
            await self._give_up(open_deal, ErrorCode.QUOTE_EXPIRED, "blocks it was paid for are no longer here")
            return None
        self._tally.spent[purchase.deal_id] = purchase.paid.deal_amount
        if purchase.walk.done and not purchase.is_unpaid and await self._ask_done(purchase):
            return purchase
        if open_deal.deal.expires_ms <= now * 1000:
            await self._give_up(open_deal, ErrorCode.QUOTE_EXPIRED, "it was not taken up in time")
            return None
        await self._fetch.on_quote(purchase.quote)
        self._check_budget(purchase.quote, except_deal=purchase.deal_id)
        self._tally.total_bytes = purchase.walk.n_bytes - purchase.verified_bytes + purchase.quote.n_bytes
        self._conversation.say(self._machine.take_up(purchase, now=now))
        return purchase

    async def _is_still_open(self, open_deal: OpenDeal) -> bool:
        """Whether it can be taken up: it is given up where the provider does not count what it was paid.

        A deal's last payment is sent again, in case it was lost. That is enough where nothing was paid after it; what several deals of one
        channel paid builds on one another, so then the provider is asked first how far it counts.
        """
        wallet, line, receipt = self._wallet, self._wallet.line(open_deal.deal.line_key), open_deal.receipt
        cut_off = [each for each in wallet.open_deals() if each.deal.line_key == line.key and not wallet.is_running(each)]
        is_last = line.best_amount in (0, Receipt.decode(receipt.receipt.body).channel_amount if receipt is not None else 0)
        if line.channel is not None and (len(cut_off) > 1 or not is_last):
            quoted, best = await self._ask()
            if quoted.quote.channel is not None and quoted.quote.channel.channel_id == line.key:
                await self._agree_on_paid(line, quoted.quote.channel, best.get(line.key))
        return any(each.deal_id == open_deal.deal_id for each in self._fetch.open_deals())

    async def _restore(self, open_deal: OpenDeal) -> Purchase | None:
        """The deal with all of its blocks that are still here; None where those before it are not."""
        store, walk = self._fetch.store, self._wanted.source.walk()
        line = self._wallet.line(open_deal.deal.line_key)
        line.purchases.pop(open_deal.deal_id, None)
        cursor = shape.decode(Quote, open_deal.deal.quote.body).cursor
        await trio.to_thread.run_sync(fast_forward, store, walk, cursor)
        if walk.n_blocks < cursor:
            return None
        receipt = open_deal.receipt.receipt if open_deal.receipt is not None else None
        purchase = Purchase.restore(open_deal.deal_id, open_deal.deal, receipt, line, walk)

        def hold_all() -> None:
            while (cid := walk.expected) is not None and (size := store.size(cid)) is not None:
                purchase.hold(store.get(cid) if walk.needs_payload else None, size)

        await trio.to_thread.run_sync(hold_all)
        return purchase

    async def _ask_done(self, purchase: Purchase) -> bool:
        """Ask for the countersignature of what is verified and paid; False where the provider still has the deal open."""
        self._conversation.say(self._machine.ask_done(purchase, now=self._fetch.clock()))
        while True:
            match await self._conversation.hear():
                case DealEnded():
                    return True
                case Refused():
                    return False
                case SessionFailed() as failed:
                    raise as_error(failed)

    async def _give_up(self, open_deal: OpenDeal, code: ErrorCode, detail: str) -> None:
        log.info("deal %s is given up: %s", open_deal.deal_id.hex(), detail)
        now = self._fetch.clock()
        await trio.to_thread.run_sync(lambda: self._wallet.give_up(open_deal, code=code, detail=detail, now=now))

    # a new deal

    async def _accept(self, held: Walk) -> Purchase:
        """Ask for a quote, judge it, and say yes."""
        fetch, clock = self._fetch, self._fetch.clock
        quoted, best = await self._ask(held)
        quote = quoted.quote
        await fetch.on_quote(quote)
        self._check_budget(quote)
        await trio.to_thread.run_sync(fetch.make_room, quote.n_bytes)
        async with self._wallet.turn_with(self._wanted.provider.peer_id):
            line = await self._line_for(quote, best)
            left = self._wanted.spend_max - self._tally.spent_sum
            purchase, step = self._machine.accept(quoted.query_id, line, spend_max=left, now=clock())
            self._conversation.say(step)
        self._tally.total_bytes = held.n_bytes + quote.n_bytes
        self._tally.spent[purchase.deal_id] = 0
        return purchase

    async def _ask(self, held: Walk | None = None) -> tuple[Quoted, dict[bytes, int]]:
        """An offer for what lies behind ``held``, and what our best vouchers were when it was asked for."""
        held = held or self._wanted.source.walk()
        best = self._best_vouchers()
        price_max = self._wallet.settings.wallet.price_max or None
        selection, now = self._wanted.source.selection, self._fetch.clock()
        return await self._conversation.ask_quote(selection, held, price_per_gib_max=price_max, now=now), best

    def _best_vouchers(self) -> dict[bytes, int]:
        return {key: line.best_amount for key, line in self._wallet.lines.items()}

    def _check_budget(self, quote: Quote, *, except_deal: DealId | None = None) -> None:
        """Before anything is signed: this deal at its worst, and what the other deals of this fetch cost."""
        spent = sum(amount for deal, amount in self._tally.spent.items() if deal != except_deal)
        if spent + quote.amount_max <= self._wanted.spend_max:
            return
        decimals = quote.settlement.decimals if quote.settlement else 0
        asked, paid, limit = (format_amount(n, decimals=decimals) for n in (quote.amount_max, spent, self._wanted.spend_max))
        before = f" on top of {paid} paid already" if spent else ""
        raise LocalProtocolError(ErrorCode.OVER_BUDGET, f"it may cost {asked}{before}, and {limit} is the limit; nothing was signed")

    async def _line_for(self, quote: Quote, best: dict[bytes, int]) -> SpendingLine:
        """The channel to pay on, known to the provider and agreed on what was paid before.

        ``best`` are our vouchers when the quote was asked for.
        """
        wallet, now = self._wallet, self._fetch.clock()
        if quote.settlement is None:
            return wallet.line(self._wanted.provider.peer_id)
        line = wallet.channel_with(self._wanted.provider.peer_id, quote.settlement)
        if line is None or line.credit < quote.amount_max:
            line = await self._open_channel(line, quote)
        assert line.channel is not None
        known, needed_until = quote.channel, now + quote.lifetime_s
        is_current = known is not None and known.channel_id == line.key and known.balance >= line.channel.balance
        if known is None or not is_current or not wallet.is_vouched_for(line, needed_until):
            presentation = await trio.to_thread.run_sync(lambda: wallet.presentation(line, needed_until=needed_until, now=now))
            best = self._best_vouchers()
            known = await self._conversation.present(presentation)
        await self._agree_on_paid(line, known, best.get(line.key))
        if line.credit < quote.amount_max:
            raise self._short_of_money(line, quote)
        return line

    async def _agree_on_paid(self, line: SpendingLine, known: KnownChannel, best_before: int | None) -> None:
        """Go by what the provider counts as paid, unless a deal pays now, or has paid since it was asked: that it need not have seen."""
        is_paying = any(purchase.state is not PurchaseState.INTERRUPTED for purchase in line.purchases.values())
        if is_paying or line.best_amount != best_before:
            return
        await self._give_up_unpaid(line, known.best.amount if known.best else 0)
        step = line.adopt(known, self._wallet.key.address, self._fetch.clock())
        await self._fetch.writer.commit(step.records)

    async def _give_up_unpaid(self, line: SpendingLine, promised: int) -> None:
        """End deals whose last payment the provider never counted, by what it says is ``promised``.

        Their receipts stand on a voucher that it does not have, so that nothing more could be added to them: the rest of what they
        were about is bought anew.
        """
        for open_deal in self._wallet.open_deals():
            receipt = open_deal.receipt
            if open_deal.deal.line_key == line.key and receipt and Receipt.decode(receipt.receipt.body).channel_amount > promised:
                await self._give_up(open_deal, ErrorCode.STALE_VOUCHER, "the provider does not have its last payment")

    async def _open_channel(self, line: SpendingLine | None, quote: Quote) -> SpendingLine:
        """Look for a deposit that we do not know of; open a channel where there is none, as far as the wallet's owner allowed.

        A channel that was used up is not topped up here: then ``auto_open_max`` would be no limit.
        """
        wallet, settlement, provider = self._wallet, quote.settlement, self._wanted.provider
        assert settlement is not None
        rpc, deposit = wallet.settings.chain.rpc, wallet.settings.wallet.auto_open_max
        if not rpc:
            raise self._short_of_money(line, quote)
        chain, began = self._fetch.open_chain(rpc), self._fetch.clock()

        def open_or_find() -> SpendingLine | None:
            if line is not None:
                wallet.refresh(chain, [line], now=began)
                if line.credit >= quote.amount_max:
                    return line
            is_empty = line is None or (line.channel is not None and line.channel.balance == 0)
            if not is_empty or deposit < max(quote.amount_max, settlement.deposit_min):
                return None
            return wallet.fund(chain, settlement, provider.peer_id, str(provider), deposit, now=began).line

        opened = await trio.to_thread.run_sync(open_or_find)
        self._tally.channel_open_s += self._fetch.clock() - began
        if opened is None:
            raise self._short_of_money(line, quote)
        return opened

    def _short_of_money(self, line: SpendingLine | None, quote: Quote) -> LocalProtocolError:
        """The error that names the exact command."""
        settlement = quote.settlement
        assert settlement is not None
        # Ten such fetches, and a round sum at the least.
        amount = format_amount(max(quote.amount_max * 10, settlement.deposit_min, 10**settlement.decimals), decimals=settlement.decimals)
        short = "" if line is None else f"{format_amount(quote.amount_max - line.credit, decimals=settlement.decimals)} is missing; "
        command = f"{short}run `{self._wallet.home.command('fund')} {amount} --provider {self._wanted.provider}`"
        if len(command) > DETAIL_MAX:  # rather a command without its home than one that is cut off
            command = f"{short}run `retrieval-client fund {amount} --provider {self._wanted.provider}`"
        return LocalProtocolError(ErrorCode.CHANNEL_MISSING if line is None else ErrorCode.CHANNEL_UNFUNDED, command)

    # receiving

    async def _receive(self, purchase: Purchase) -> None:
        """Until the selection is verified; then a moment longer for the countersignature."""
        began = self._fetch.clock()
        while not await self._take(await self._hear_in_time(began), purchase):
            pass
        with trio.move_on_after(DONE_WAIT_S * self._conversation.patience):
            while not purchase.lifecycle.is_over:
                match await self._conversation.hear():
                    case SessionFailed() | Refused() as failed:
                        log.info("deal %s: no countersignature: %s", purchase.deal_id.hex(), failed.detail)
                        return

    async def _hear_in_time(self, began: float) -> Event:
        """What is told next, as long as the person's patience lasts: it may be shorter than the machine's own deadlines."""
        with trio.move_on_after(max(0.0, self._fetch.gives_up_at(began) - self._fetch.clock())):
            return await self._conversation.hear()
        raise RemoteProtocolError(ErrorCode.TRANSFER_STALLED)

    async def _take(self, event: Event, purchase: Purchase) -> bool:
        """Act on one event of a running deal; True when everything is verified and paid."""
        match event:
            case BlocksVerified():
                self._fetch.moved(event)
            case Paid():
                self._tally.spent[purchase.deal_id] = purchase.paid.deal_amount
                self._fetch.tell()
            case SelectionVerified():
                return True
            case DealEnded(outcome=Outcome.DONE):
                return True
            case DealEnded(code=code, detail=detail):
                self._fetch.n_failed_deals += 1
                raise RemoteProtocolError(code or ErrorCode.INTERNAL, detail)
            case Refused() | SessionFailed():
                raise as_error(event)
            case _:
                pass
        return False
