"""What all sessions of one provider share: credit lines, open sales, live quotes. Rebuilt from the journal's tables at start."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Final

from retrieval.deal import postings
from retrieval.deal.ending import ended
from retrieval.deal.line import CreditLine
from retrieval.deal.records import (
    ChannelRecord,
    DealRecord,
    HttpChannelRecord,
    LineRecord,
    Outcome,
    ReceiptRecord,
    SentRecord,
    TabRecord,
)
from retrieval.deal.sale import Sale, position_of
from retrieval.deal.states import SaleEvent, SaleState
from retrieval.deal.step import NOTHING, Step
from retrieval.deal.tab import Tab
from retrieval.deal.terms import FLAT_FEE_ONCE_S, WINDOW_FIRST_DEFAULT, WINDOW_MAX_DEFAULT
from retrieval.errors import ErrorCode
from retrieval.identity import PeerKey
from retrieval.ledger.journal import Record
from retrieval.payment.channel import ChannelTerms, session_domain, settlement_domain
from retrieval.wire.messages import DealId, Quote, QuoteDigest, Selection, Signed
from retrieval.wire.receipt import Receipt

QUOTES_MAX: Final = 10_000
"""Live quotes kept over all sessions; the oldest make room."""
EXPIRED_AT_ONCE_MAX: Final = 128
"""Deals ended by one call, so that their records fit one commit; the next call ends more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Offered:
    """A quote that may still be accepted."""

    quote: Quote
    signed: Signed
    selection: Selection
    expires_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Tables:
    """The newest body of each subject, as the journal's tables hold them."""

    channels: Mapping[bytes, ChannelRecord] = field(default_factory=dict)
    lines: Mapping[bytes, LineRecord] = field(default_factory=dict)
    open_deals: Mapping[bytes, DealRecord] = field(default_factory=dict)
    """Deals without an outcome."""
    receipts: Mapping[bytes, ReceiptRecord] = field(default_factory=dict)
    """Of open deals."""
    sent: Mapping[bytes, SentRecord] = field(default_factory=dict)
    http_channels: Mapping[bytes, HttpChannelRecord] = field(default_factory=dict)
    tabs: Mapping[bytes, TabRecord] = field(default_factory=dict)
    fees: Mapping[tuple[bytes, bytes], float] = field(default_factory=dict)
    """When a tab was charged the flat fee of a selection last, by its key and the digest; unix seconds."""
    reservations: tuple[bytes, ...] = ()
    """Ids of transfers that are still pending."""


class ProviderBooks:
    """Shared by every ``ProviderSession`` of a node; owned by one thread."""

    def __init__(
        self,
        key: PeerKey,
        *,
        channel_terms: ChannelTerms | None = None,
        window_first: int = WINDOW_FIRST_DEFAULT,
        window_max: int = WINDOW_MAX_DEFAULT,
        tables: Tables | None = None,
    ) -> None:
        tables = tables or Tables()
        self.key = key
        self.channel_terms = channel_terms
        if channel_terms is not None:
            self.settlement_domain = settlement_domain(channel_terms.chain_id, channel_terms.contract)
            self.session_domain = session_domain(channel_terms.chain_id, channel_terms.contract)
        self.window_first = window_first
        self.window_max = window_max
        self._stale_reservations = tables.reservations
        self.lines: dict[bytes, CreditLine] = {}
        self.sales: dict[DealId, Sale] = {}
        self._sale_of_quote: dict[bytes, Sale] = {}
        self.quotes: OrderedDict[QuoteDigest, Offered] = OrderedDict()
        """The oldest first. (A plain dict looks for its first key past all that were taken away before it.)"""
        self.channel_of_peer: dict[bytes, bytes] = {}
        self.tabs: dict[bytes, Tab] = {
            key: Tab.restored(key, tables.tabs.get(key), tables.http_channels.get(key)) for key in {*tables.tabs, *tables.http_channels}
        }
        """Of those who pay over HTTP, by channel id or payer's address."""
        self._fees = dict(tables.fees)
        for channel_id, channel in tables.channels.items():
            self.line(channel_id).channel = channel
            self.channel_of_peer[channel.session_key.peer_id] = channel_id
        for key_bytes, row in tables.lines.items():
            line = self.line(key_bytes)
            line.best, line.paid_bytes, line.written_off_bytes = row.best, row.paid_bytes, row.written_off_bytes
        for deal_bytes, deal in tables.open_deals.items():
            self._restore(DealId(deal_bytes), deal, tables.receipts.get(deal_bytes), tables.sent.get(deal_bytes))

    def line(self, key: bytes) -> CreditLine:
        """The line of a channel or peer, made when it is new."""
        if key not in self.lines:
            self.lines[key] = CreditLine(key=key, window_first=self.window_first, window_max=self.window_max)
        return self.lines[key]

    def line_of_peer(self, peer: bytes) -> CreditLine | None:
        """The line of the channel this peer last presented, if any."""
        key = self.channel_of_peer.get(peer)
        return self.lines[key] if key else None

    def _restore(self, deal_id: DealId, deal: DealRecord, receipt: ReceiptRecord | None, sent: SentRecord | None) -> None:
        """A deal that was open when the node went down is one that was cut off.

        How much of it had left is known if it was cut before; else one first window is presumed, at most: what ramped windows hold
        beyond that was earned by twice as much payment.
        """
        sale = Sale(deal_id, deal, self.line(deal.line_key), start=SaleState.INTERRUPTED)
        if receipt is not None:
            body = Receipt.decode(receipt.receipt.body)
            sale.position, sale.last_receipt, sale.prev = position_of(body), receipt.receipt, body.prev
        sale.sent_bytes = sale.released_bytes = sale.position.n_bytes
        if sent is not None and sent.n_bytes is not None:
            sale.sent_bytes = max(sale.sent_bytes, sent.n_bytes)
        else:
            sale.presumed_bytes = min(self.window_first, max(0, sale.quote.n_bytes - sale.sent_bytes))
        self.add(sale)

    def start(self) -> Step:
        """First step of a node: release the reservations that the last run left pending."""
        return Step(records=tuple(postings.void(pending) for pending in self._stale_reservations))

    # sales

    def add(self, sale: Sale) -> None:
        """Know a deal until it ends."""
        self.sales[sale.deal_id] = sale.line.sales[sale.deal_id] = sale
        self._sale_of_quote[sale.acceptance.quote_digest] = sale

    def sale_of(self, quote_digest: bytes, peer: bytes) -> Sale | None:
        """The open deal that this quote became, if it is this peer's."""
        sale = self._sale_of_quote.get(quote_digest)
        return sale if sale is not None and sale.deal.peer == peer else None

    # quotes

    def offer(self, offered: Offered, digest: QuoteDigest) -> None:
        while len(self.quotes) >= QUOTES_MAX:
            self.quotes.popitem(last=False)
        self.quotes[digest] = offered

    def flat_fee_due(self, peer: bytes, selection_digest: bytes, now: float) -> bool:
        """Whether this peer has not paid a flat fee for the same selection within 24 hours."""
        charged = self._fees.get((peer, selection_digest))
        return charged is None or now - charged >= FLAT_FEE_ONCE_S

    def charge_flat_fee(self, sale: Sale, now: float) -> None:
        """Remember that the fee of a deal fell due with its first verified byte."""
        if sale.rate.flat_fee:
            self.fee_charged(sale.deal.peer, sale.deal.selection.digest, now)

    def fee_charged(self, payer: bytes, selection_digest: bytes, now: float) -> None:
        """Remember that this payer, a peer or a tab, has paid the fee of a selection."""
        self._fees[payer, selection_digest] = now

    # money

    def pay(self, paid: Sequence[tuple[Sale, int]], now: float) -> list[Record]:
        """Book what receipts paid for deals of one line, and set their next windows aside."""
        if len(paid) == 1 and not paid[0][0].is_paid_up:
            return [self._renew(*paid[0])] if paid[0][0].reservation is not None else self.reserve(paid[0][0], now)
        records = []
        for sale, amount in paid:
            if sale.reservation is not None:
                records.append(postings.post(sale.reservation, amount=amount))
                sale.reservation = None
        for sale, _ in paid:
            if not sale.is_paid_up:
                records += self.reserve(sale, now)
        return records

    def _renew(self, sale: Sale, amount: int) -> Record:
        reservation, sale.reservation = sale.reservation, None
        assert reservation is not None
        reserved = self._next_window(sale)
        if reserved == 0:
            return postings.post(reservation, amount=amount)
        sale.reservation, posted = postings.renew(reservation, amount=amount, reserved=reserved)
        return posted

    def reserve(self, sale: Sale, now: float) -> list[Record]:
        """Set aside the price of the deal's next window, or as much of it as the deposit covers, in place of what was."""
        records = self.release(sale)
        amount = self._next_window(sale)
        if amount > 0:
            sale.n_reservations += 1
            sale.reservation = postings.reserve(
                sale.line.key, sale.deal_id, ordinal=sale.n_reservations, now_ms=int(now * 1000), amount=amount
            )
            records.append(postings.transfer_record(sale.reservation))
        return records

    def _next_window(self, sale: Sale) -> int:
        """The price of the deal's next window, or as much of it as the deposit covers."""
        return max(0, min(sale.price_of_window(), sale.line.credit))

    def release(self, sale: Sale) -> list[Record]:
        """Give a reservation back."""
        if sale.reservation is None:
            return []
        reservation, sale.reservation = sale.reservation, None
        return [postings.void(reservation.id)]

    # ends

    def end(
        self,
        sale: Sale,
        event: SaleEvent,
        outcome: Outcome,
        now: float,
        *,
        code: ErrorCode | None = None,
        detail: str = "",
        done: Signed | None = None,
    ) -> Step:
        """Give a deal its one outcome."""
        sale.lifecycle.advance(event)
        sale.leave()
        del self.sales[sale.deal_id], sale.line.sales[sale.deal_id], self._sale_of_quote[sale.acceptance.quote_digest]
        lost = sale.sent_bytes + sale.presumed_bytes - sale.position.n_bytes
        assert lost >= 0
        sale.line.written_off_bytes += lost
        debt = (sale.line.to_record(),) if lost else ()
        return Step(records=(*self.release(sale), *debt)) + ended(
            sale.deal_id, outcome, sale.position, now, code=code, detail=detail, done=done
        )

    def expire(self, now: float) -> Step:
        """End what was cut off and not taken up while its quote lived; forget dead quotes and fees, and strangers. Called now and then."""
        self.quotes = OrderedDict((digest, offered) for digest, offered in self.quotes.items() if offered.expires_at > now)
        self._fees = {key: at for key, at in self._fees.items() if now - at < FLAT_FEE_ONCE_S}
        # A free peer id costs nothing to make. Its owner keeps what it received, and begins with a first window again.
        self.lines = {key: line for key, line in self.lines.items() if line.channel is not None or line.sales}
        expired = (sale for sale in self.sales.values() if sale.is_cut_off and sale.deal.expires_ms <= now * 1000)
        step = NOTHING
        for sale in tuple(islice(expired, EXPIRED_AT_ONCE_MAX)):
            step += self.end(
                sale, SaleEvent.EXPIRED, Outcome.FAILED, now, code=ErrorCode.TRANSFER_TRUNCATED, detail="it was not taken up in time"
            )
        return step

    # the chain

    def channel_seen(self, channel_id: bytes, channel: ChannelRecord | HttpChannelRecord, now: float) -> Step:
        """Adopt what the chain says of a channel."""
        line: CreditLine | Tab
        if isinstance(channel, HttpChannelRecord):
            line = self.tabs.setdefault(channel_id, Tab(key=channel_id))
            before: ChannelRecord | HttpChannelRecord | None = line.channel
            line.channel = channel
        else:
            line = self.line(channel_id)
            before = line.channel
            line.channel = channel
        if before == channel:
            return NOTHING
        moved = postings.chain_moved(channel_id, before, channel, promised=line.best_amount, reserved=line.reserved, now_ms=int(now * 1000))
        return Step(records=tuple(moved))
