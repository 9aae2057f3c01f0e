"""The provider's side of one session: messages and ``now`` in, Steps out.

The program around it answers two questions the machine cannot: what the content of a query weighs (``QueryReceived`` → ``quote``),
and what the chain says of a channel (``ChannelPresented`` → ``channel_seen``). It pulls blocks with ``next_send`` whenever the
transport has room.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, assert_never

from retrieval.cid import Cid
from retrieval.deal import hello
from retrieval.deal.books import Offered, ProviderBooks
from retrieval.deal.events import ChannelPresented, PaymentTaken, QueryReceived, SaleAccepted, SessionFailed, SessionReady
from retrieval.deal.line import CreditLine
from retrieval.deal.offer import Offer, sign_offer
from retrieval.deal.records import ChannelRecord, DealRecord, Outcome, record
from retrieval.deal.sale import Sale
from retrieval.deal.states import SaleEvent, SaleState
from retrieval.deal.step import NOTHING, Step
from retrieval.deal.till import Tender, Till
from retrieval.errors import ErrorCode, LocalProtocolError, RemoteProtocolError, RetrievalError, code_of
from retrieval.identity import PeerId, verify_peer
from retrieval.payment.channel import ChannelConfig, ChannelId, SessionKey, check_config, check_credit, check_deposit, verify_session_key
from retrieval.units import KIB, floor_div
from retrieval.wire import shape
from retrieval.wire.framing import Block
from retrieval.wire.messages import (
    Accept,
    Acceptance,
    Cancel,
    ChannelStatus,
    Completion,
    DealId,
    Error,
    Hello,
    Message,
    Pause,
    Payment,
    Ping,
    Pong,
    Present,
    Query,
    Quote,
    QuoteDigest,
    Refuse,
    Resume,
    Settlement,
    Signed,
    SignedDone,
    SignedQuote,
    Terms,
    TermsQuery,
    deal_id,
    hellos_digest,
    quote_digest,
)
from retrieval.wire.receipt import receipt_digest

HELLO_DUE_S: Final = 5.0
PAYMENT_DUE_S: Final = 15.0
LINK_RATE_MIN: Final = 64 * KIB
"""Bytes per second below which a client counts as stalled: what is unpaid may still be in buffers, so slow links get longer."""
QUERIES_PENDING_MAX: Final = 16
PRESENTS_PENDING_MAX: Final = 4
PARKED_PAYMENTS_MAX: Final = 32
"""Two for each deal of a session, all taken up at once."""
DEALS_PER_LINE_MAX: Final = 64
"""Deals of one payer without an end, over all its sessions and those that were cut off."""
TAKEN_UP_MAX: Final = 256
"""How often one deal is taken up while the node runs: each time is written down, and costs the client a message only."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """The next block of a deal: ``supply`` its size, and its payload unless that decides nothing."""

    deal_id: DealId
    cid: Cid
    size_only: bool


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A block to send now, wherever its payload is; it counts as sent."""

    deal_id: DealId
    index: int
    cid: Cid
    size: int


class ProviderSession:
    def __init__(self, books: ProviderBooks, peer: PeerId, *, settlement: Settlement | None, now: float) -> None:
        self._books = books
        self._peer = peer
        self._till = Till(books, peer)
        self._settlement = settlement
        self._our_hello = hello.ours(settlement is not None)
        self._their_hello: Hello | None = None
        self._hellos_digest = b""
        self._opened_at = now
        self._over = False
        self._queries: dict[int, Query] = {}
        self._presents: dict[bytes, Present] = {}
        self._turns: deque[Sale] = deque()
        """Deals of this session, in the order in which they may send next."""
        self._parked: deque[Tender] = deque()
        """Payments for blocks that are still being stepped over."""

    @property
    def peer(self) -> PeerId:
        return self._peer

    @property
    def is_over(self) -> bool:
        return self._over

    @property
    def n_deals(self) -> int:
        return len(self._turns)

    # messages in

    def receive(self, message: Message, now: float) -> Step:
        """Take one message. What the client did wrong ends in a Refuse or an Error inside the Step; nothing foreign raises."""
        if self._over:
            return NOTHING
        try:
            return self._dispatch(message, now)
        except RemoteProtocolError as error:
            return self.fail(error, now)

    def receive_blocks(self, blocks: Sequence[Block], now: float) -> Step:
        """A client sends no blocks."""
        return self.fail(RemoteProtocolError(ErrorCode.UNEXPECTED_MESSAGE, "a client sends no blocks"), now)

    def _dispatch(self, message: Message, now: float) -> Step:
        if self._their_hello is None:
            if not isinstance(message, Hello):
                raise RemoteProtocolError(ErrorCode.UNEXPECTED_MESSAGE, f"{type(message).__name__} came before Hello")
            return self._receive_hello(message)
        match message:
            case Query():
                return self._receive_query(message)
            case Present():
                return self._receive_present(message, now)
            case Accept():
                return self._receive_accept(message, now)
            case Payment():
                return self._receive_payment(message, now)
            case Cancel():
                return self._receive_cancel(message, now)
            case Pause() | Resume():
                return self._receive_pause(message)
            case Ping():
                return Step(messages=(Pong(nonce=message.nonce),))
            case TermsQuery():
                return Step(messages=(Terms(settlement=self._settlement),))
            case Pong():
                return NOTHING
            case Error():
                return self._part(ErrorCode.CANCELLED if message.code == 0 else code_of(message.code), message.detail, now, by_peer=True)
            case Refuse() | Hello() | SignedQuote() | SignedDone() | ChannelStatus() | Terms():
                raise RemoteProtocolError(ErrorCode.UNEXPECTED_MESSAGE, f"a client does not send {type(message).__name__} here")
            case _:
                assert_never(message)

    def _receive_hello(self, theirs: Hello) -> Step:
        agreed = hello.agree(self._our_hello, theirs)
        self._their_hello = theirs
        self._hellos_digest = hellos_digest(shape.encode(theirs), shape.encode(self._our_hello))
        return Step(messages=(self._our_hello,), events=(SessionReady(capabilities=agreed, agent=theirs.agent),))

    # queries and quotes

    def _receive_query(self, query: Query) -> Step:
        if len(self._queries) >= QUERIES_PENDING_MAX:
            return self._refusal(
                RemoteProtocolError(ErrorCode.RATE_LIMITED, "too many unanswered queries", retry_after_s=1), query_id=query.query_id
            )
        if query.query_id in self._queries:
            return NOTHING
        self._queries[query.query_id] = query
        return Step(events=(QueryReceived(query=query),))

    def quote(self, query_id: int, offer: Offer, *, nonce: bytes, now: float) -> Step:
        """Answer a query with a signed offer."""
        query = self._queries.pop(query_id)
        assert self._their_hello is not None
        try:
            signed = sign_offer(
                self._books,
                self._peer,
                query,
                offer,
                settlement=self._settlement,
                hellos_digest=self._hellos_digest,
                nonce=nonce,
                now=now,
            )
        except RetrievalError as error:
            return self._refusal(error, query_id=query_id)
        return Step(messages=(signed,))

    def answer_done(self, query_id: int, done: Signed) -> Step:
        """Answer a query for a past deal."""
        self._queries.pop(query_id)
        return Step(messages=(SignedDone(body=done.body, signature=done.signature),))

    def refuse_query(self, query_id: int, error: RetrievalError) -> Step:
        """Answer a query with a refusal."""
        self._queries.pop(query_id, None)
        return self._refusal(error, query_id=query_id)

    # channels

    def _receive_present(self, present: Present, now: float) -> Step:
        books = self._books
        try:
            config = ChannelConfig.from_bytes(present.config)
            if books.channel_terms is None:
                raise RemoteProtocolError(ErrorCode.CHANNEL_UNACCEPTABLE, "this provider sells nothing and needs no channel")
            channel_id = ChannelId(present.session_key.channel_id)
            if channel_id in self._presents:
                return NOTHING
            if channel_id in books.tabs:
                raise RemoteProtocolError(ErrorCode.CHANNEL_UNACCEPTABLE, "it is spent from over HTTP, which counts in another way")
            check_config(config, books.channel_terms, channel_id)
            if len(self._presents) >= PRESENTS_PENDING_MAX:
                raise RemoteProtocolError(ErrorCode.RATE_LIMITED, "too many channels are being looked at", retry_after_s=1)
            key = present.session_key
            session_key = SessionKey(channel_id=channel_id, peer_id=PeerId(key.peer_id), expires_at=key.expires_at, signature=key.signature)
            verify_session_key(
                session_key,
                books.session_domain,
                channel_id=channel_id,
                peer_id=self._peer,
                authorizer=config.payer_authorizer,
                now_s=int(now),
            )
        except RemoteProtocolError as error:
            return self._refusal(error, channel_id=present.session_key.channel_id)
        self._presents[channel_id] = present
        return Step(events=(ChannelPresented(channel_id=channel_id, config=config, session_key=key),))

    def channel_seen(self, channel_id: ChannelId, *, balance: int, total_claimed: int, withdraw_at: int, now: float) -> Step:
        """Tell what the chain says of a channel that was presented. ``withdraw_at`` is 0 unless a withdrawal has begun."""
        present = self._presents.pop(channel_id)
        books = self._books
        assert books.channel_terms is not None
        channel = ChannelRecord(
            config=present.config,
            chain_id=books.channel_terms.chain_id,
            contract=books.channel_terms.contract,
            peer=self._peer,
            session_key=present.session_key,
            balance=balance,
            total_claimed=total_claimed,
            closing=withdraw_at > 0,
            withdraw_at=withdraw_at,
            address="",
        )
        try:
            check_deposit(books.channel_terms, balance=balance, withdraw_pending=channel.closing)
        except RemoteProtocolError as error:
            refusal = self._refusal(error, channel_id=channel_id)
            # Of a channel that we sell on already, what the chain says counts from now on. Of another we keep nothing.
            return (books.channel_seen(channel_id, channel, now) if channel_id in books.lines else NOTHING) + refusal
        books.channel_of_peer[self._peer] = channel_id
        step = books.channel_seen(channel_id, channel, now)
        known = books.line(channel_id).known()
        assert known is not None
        return step + Step(messages=(ChannelStatus(channel=known),))

    def refuse_channel(self, channel_id: ChannelId, error: RetrievalError) -> Step:
        """Tell that a channel that was presented cannot be used."""
        self._presents.pop(channel_id, None)
        return self._refusal(error, channel_id=channel_id)

    # deals

    def _receive_accept(self, accept: Accept, now: float) -> Step:
        acceptance = shape.decode(Acceptance, accept.body)
        verify_peer(self._peer, "accept", accept.body, accept.signature)
        deal = DealId(b"")
        try:
            known = self._books.sale_of(acceptance.quote_digest, self._peer)
            if known is not None:
                deal = known.deal_id
                return self._take_up(known, acceptance, now)
            offered = self._books.quotes.get(QuoteDigest(acceptance.quote_digest))
            if offered is None:
                return self._refusal(RemoteProtocolError(ErrorCode.QUOTE_UNKNOWN), quote_digest=acceptance.quote_digest)
            deal = deal_id(offered.signed.body, self._peer)
            return self._open(deal, offered, accept, acceptance, now)
        except RemoteProtocolError as error:
            return self._refusal(error, deal_id=deal)

    def _open(self, deal: DealId, offered: Offered, accept: Accept, acceptance: Acceptance, now: float) -> Step:
        """A new deal. Refusals in this order: quote, limits, channel, debts, funds."""
        books, quote = self._books, offered.quote
        if quote.client_peer != self._peer:
            raise RemoteProtocolError(ErrorCode.QUOTE_MISMATCH, "the quote was made for another client")
        if offered.expires_at <= now:
            raise RemoteProtocolError(ErrorCode.QUOTE_EXPIRED)
        if len(self._turns) >= self._our_hello.deals_max:
            raise RemoteProtocolError(ErrorCode.TOO_MANY_DEALS, f"{len(self._turns)} are open on this session", retry_after_s=5)
        if acceptance.cursor != 0:
            raise RemoteProtocolError(ErrorCode.INVALID_CURSOR, "a new deal begins at 0")
        line = self._line_for(quote, acceptance, now)
        if len(line.sales) >= DEALS_PER_LINE_MAX:
            raise RemoteProtocolError(ErrorCode.TOO_MANY_DEALS, f"{len(line.sales)} of this payer have no end yet", retry_after_s=60)
        line.require_open(quote.block_size_max)
        agreed = DealRecord(
            selection=offered.selection,
            quote=Signed(body=offered.signed.body, signature=offered.signed.signature),
            accept=Signed(body=accept.body, signature=accept.signature),
            peer=self._peer,
            line_key=line.key,
            opened_ms=int(now * 1000),
            expires_ms=int(offered.expires_at * 1000),
        )
        sale = Sale(deal, agreed, line, start=SaleState.ACCEPTED)
        if not sale.rate.is_free:
            check_credit(line.credit, sale.price_of_window())
        sale.set_out(0, now)
        books.quotes.pop(quote_digest(offered.signed.body), None)
        books.add(sale)
        sale.join(self._turns)
        step = Step(records=(record(deal, agreed), *books.reserve(sale, now)), events=(SaleAccepted(deal_id=deal),))
        return step if sale.is_skipping else step + self._arrive(sale, now)

    def _line_for(self, quote: Quote, acceptance: Acceptance, now: float) -> CreditLine:
        if quote.settlement is None:
            return self._books.line(self._peer)
        if acceptance.channel_id is None:
            raise RemoteProtocolError(ErrorCode.CHANNEL_MISSING, "the quote has a price and the Accept names no channel")
        line = self._books.lines.get(acceptance.channel_id)
        if line is None or line.channel is None:
            raise RemoteProtocolError(ErrorCode.SESSION_KEY_MISSING, "the channel was never presented")
        if line.channel.session_key.peer_id != self._peer:
            raise RemoteProtocolError(ErrorCode.SESSION_KEY_INVALID, "the channel's SessionKey names another peer")
        if line.channel.session_key.expires_at <= now:
            raise RemoteProtocolError(ErrorCode.SESSION_KEY_INVALID, "the channel's SessionKey has expired")
        return line

    def _take_up(self, sale: Sale, acceptance: Acceptance, now: float) -> Step:
        """Go on with a deal that was cut off, perhaps without our noticing. On the session that serves it, this is a repeat."""
        if sale.turns is self._turns:
            return NOTHING
        if sale.deal.expires_ms <= now * 1000:
            raise RemoteProtocolError(ErrorCode.QUOTE_EXPIRED)
        if sale.n_taken_up >= TAKEN_UP_MAX:
            raise RemoteProtocolError(ErrorCode.QUOTE_EXPIRED, f"it was taken up {TAKEN_UP_MAX} times")
        if len(self._turns) >= self._our_hello.deals_max:
            raise RemoteProtocolError(ErrorCode.TOO_MANY_DEALS, f"{len(self._turns)} are open on this session", retry_after_s=5)
        step = NOTHING if sale.is_cut_off else self._cut(sale)
        try:
            sale.set_out(acceptance.cursor, now)
        except RemoteProtocolError as error:
            return step + self._refusal(error, deal_id=sale.deal_id)
        sale.n_taken_up += 1
        sale.lifecycle.advance(SaleEvent.TAKEN_UP)
        sale.join(self._turns)
        records = (sale.to_setting_out_record(), *self._books.reserve(sale, now))
        step += Step(records=records, events=(SaleAccepted(deal_id=sale.deal_id),))
        return step if sale.is_skipping else step + self._arrive(sale, now)

    def _arrive(self, sale: Sale, now: float) -> Step:
        """The client's position is reached. What was lost is owed; what it claims to have is set aside for, even above a window."""
        lost_bytes = sale.arrive()
        sale.line.written_off_bytes += lost_bytes
        records = [sale.line.to_record()] if lost_bytes else []
        if sale.price_of_sent() > sale.reserved_amount:
            records += self._books.reserve(sale, now)
        return Step(records=tuple(records))

    def _receive_cancel(self, cancel: Cancel, now: float) -> Step:
        sale = self._find(cancel.deal_id)
        if sale is None:
            return NOTHING
        done = self._signed_done(sale, complete=False) if sale.last_receipt else None
        messages = (SignedDone(body=done.body, signature=done.signature),) if done else ()
        ended = self._books.end(
            sale, SaleEvent.CANCELLED, Outcome.CANCELLED, now, code=code_of(cancel.code), detail="cancelled by the client", done=done
        )
        return ended + Step(messages=messages)

    def _receive_pause(self, message: Pause | Resume) -> Step:
        sale = self._find(message.deal_id)
        event = SaleEvent.PAUSED if isinstance(message, Pause) else SaleEvent.RESUMED
        if sale is not None and sale.lifecycle.may(event):
            sale.lifecycle.advance(event)
        return NOTHING

    def _find(self, deal: bytes) -> Sale | None:
        """The open deal of that id, if this session serves it."""
        sale = self._books.sales.get(DealId(deal))
        return sale if sale is not None and sale.turns is self._turns else None

    # payments

    def _receive_payment(self, payment: Payment, now: float) -> Step:
        """Payments are taken in the order they came, so one that must wait for its deal holds up those behind it."""
        tender = Tender.of(payment)
        if self._parked or self._must_wait(tender):
            if len(self._parked) >= PARKED_PAYMENTS_MAX:
                raise RemoteProtocolError(ErrorCode.RATE_LIMITED, "too many payments before the deal is taken up")
            self._parked.append(tender)
            return NOTHING
        return self._take_payment(tender, now)

    def _must_wait(self, tender: Tender) -> bool:
        """Whether blocks it pays for are still being stepped over."""
        return any(sale is not None and sale.is_skipping for sale in self._sales_of(tender))

    def _sales_of(self, tender: Tender) -> list[Sale | None]:
        return [self._find(receipt.deal_id) for receipt in tender.receipts]

    def _take_payment(self, tender: Tender, now: float) -> Step:
        try:
            taken = self._till.take(tender, self._sales_of(tender), now)
        except RemoteProtocolError as error:
            return self._refusal(error, deal_id=tender.receipts[0].deal_id)
        if taken is None:
            return NOTHING
        step = Step(records=taken.records, events=taken.events)
        for sale in taken.sales:
            if sale.is_paid_up:
                step += self._finish(sale, now)
        return step

    def committed(self, step: Step) -> None:
        """The pump's word that a step's records are on disk: only now do windows open and blocks leave."""
        for event in step.events:
            match event:
                case SaleAccepted():
                    sale = self._find(event.deal_id)
                    if sale is not None and sale.state is SaleState.ACCEPTED:
                        sale.lifecycle.advance(SaleEvent.COMMITTED)
                case PaymentTaken():
                    sale = self._books.sales.get(event.deal_id)  # perhaps on another session by now
                    if sale is not None:
                        sale.released_bytes = max(sale.released_bytes, event.receipted_bytes)
                case _:
                    pass

    # blocks out

    def next_send(self, now: float) -> Wanted | Outgoing | Step | None:
        """What to do next: a block to read, a block to send, a step to carry out, or None while nothing may leave. Deals take turns."""
        if self._parked and not self._must_wait(self._parked[0]):
            return self._take_payment(self._parked.popleft(), now)
        for _ in range(len(self._turns)):
            sale = self._turns[0]
            self._turns.rotate(-1)
            if sale.state is not SaleState.SERVING:
                continue
            assert sale.walk is not None
            if sale.is_all_sent:
                sale.lifecycle.advance(SaleEvent.ALL_SENT)
                if not sale.in_flight:
                    return self._finish(sale, now)
                continue
            if sale.held is None:
                assert sale.walk.expected is not None
                return Wanted(sale.deal_id, sale.walk.expected, sale.wants_only_size())
            cid, size = sale.held
            obstacle = sale.obstacle(size)
            if obstacle is None:
                sale.held = None
                return Outgoing(sale.deal_id, sale.sent(cid, size, now), cid, size)
            if obstacle is not ErrorCode.WINDOW_EXCEEDED:
                return self._stop(sale, RemoteProtocolError(obstacle), now)
        return None

    def supply(self, wanted: Wanted, payload: bytes | None, size: int, now: float) -> Step:
        """Tell of the block that ``next_send`` asked for; by its ``size`` alone where it asked for that. ``size`` -1 says it is gone."""
        sale = self._find(wanted.deal_id)
        if sale is None or sale.walk is None or sale.walk.expected != wanted.cid or sale.state is not SaleState.SERVING:
            return NOTHING
        try:
            if size < 0:
                raise LocalProtocolError(ErrorCode.NOT_FOUND, "a block of it has been removed")
            sale.step(payload, size)
        except RetrievalError as error:
            return self._stop(sale, error, now)
        return NOTHING if sale.is_skipping or sale.held is not None else self._arrive(sale, now)

    # ends

    def _finish(self, sale: Sale, now: float) -> Step:
        """Everything is sent and paid."""
        if sale.last_receipt is None:
            return self._books.end(sale, SaleEvent.PAID_UP, Outcome.DONE, now)
        done = self._signed_done(sale, complete=True)
        ended = self._books.end(sale, SaleEvent.PAID_UP, Outcome.DONE, now, done=done)
        return ended + Step(messages=(SignedDone(body=done.body, signature=done.signature),))

    def _signed_done(self, sale: Sale, *, complete: bool) -> Signed:
        assert sale.last_receipt is not None
        body = shape.encode(
            Completion(
                version=1,
                deal_id=sale.deal_id,
                n_bytes=sale.position.n_bytes,
                n_blocks=sale.position.n_blocks,
                receipt_digest=receipt_digest(sale.last_receipt.body),
                complete=complete,
            )
        )
        return Signed(body=body, signature=self._books.key.sign("done", body))

    def _stop(self, sale: Sale, error: RetrievalError, now: float) -> Step:
        """End a deal on our side. What can be mended (funds, budget, debts) leaves it to be taken up again; the rest fails it."""
        if error.code in _MENDABLE:
            return self._cut(sale) + self._refusal(error, deal_id=sale.deal_id)
        ended = self._books.end(sale, SaleEvent.FAILED, Outcome.FAILED, now, code=error.code, detail=error.detail)
        return ended + self._refusal(error, deal_id=sale.deal_id)

    def _cut(self, sale: Sale) -> Step:
        """The deal loses its session, ours or another; what is unpaid stays on its line."""
        sale.lifecycle.advance(SaleEvent.CUT)
        sale.leave()
        return Step(records=(sale.to_sent_record(), *self._books.release(sale)))

    def closed(self, now: float) -> Step:
        """The connection is gone."""
        if self._over:
            return NOTHING
        return self._part(ErrorCode.TRANSFER_TRUNCATED, "the connection ended", now, by_peer=False)

    def fail(self, error: RetrievalError, now: float) -> Step:
        """End the session and say why."""
        if self._over:
            return NOTHING
        word = Error(code=error.code, detail=error.detail, retry_after_s=error.retry_after_s)
        return self._part(error.code, error.detail, now, by_peer=False) + Step(messages=(word,))

    def _part(self, code: ErrorCode, detail: str, now: float, *, by_peer: bool) -> Step:
        step = NOTHING
        for sale in tuple(self._turns):
            step += self._cut(sale)
        self._parked.clear()
        self._over = True
        return step + Step(events=(SessionFailed(code=code, detail=detail, retry_after_s=None, by_peer=by_peer),))

    # time

    def next_deadline(self) -> float | None:
        """When ``tick`` is due, in the caller's clock."""
        if self._over:
            return None
        if self._their_hello is None:
            return self._opened_at + HELLO_DUE_S
        dues = [self._payment_due(sale) for sale in self._turns if sale.in_flight]
        return min(dues, default=None)

    def tick(self, now: float) -> Step:
        """Act on deadlines that have passed."""
        deadline = self.next_deadline()
        if deadline is None or now < deadline:
            return NOTHING
        if self._their_hello is None:
            return self.fail(RemoteProtocolError(ErrorCode.HELLO_TIMEOUT), now)
        return self.fail(RemoteProtocolError(ErrorCode.PAYMENT_TIMEOUT, f"nothing was paid for {PAYMENT_DUE_S:.0f} s"), now)

    def _payment_due(self, sale: Sale) -> float:
        return sale.unpaid_since + PAYMENT_DUE_S + floor_div(max(0, sale.unpaid_bytes), LINK_RATE_MIN)

    def _refusal(
        self,
        error: RetrievalError,
        *,
        query_id: int | None = None,
        deal_id: bytes | None = None,
        channel_id: bytes | None = None,
        quote_digest: bytes | None = None,
    ) -> Step:
        word = Refuse(
            code=error.code,
            detail=error.detail,
            retry_after_s=error.retry_after_s,
            query_id=query_id,
            deal_id=deal_id,
            channel_id=channel_id,
            quote_digest=quote_digest,
        )
        return Step(messages=(word,))


_MENDABLE: Final = frozenset({ErrorCode.CHANNEL_UNFUNDED, ErrorCode.OVER_BUDGET, ErrorCode.DEBT_OUTSTANDING})
