"""The client's side of one session: messages and ``now`` in, Steps out.

The client pays only for what it has verified. Everything it signs is computed here from its own counts; the provider's figures are
checked against them and never copied.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, assert_never

from retrieval.cid import Cid
from retrieval.dag.walk import Walk
from retrieval.deal import hello, terms
from retrieval.deal.ending import ended
from retrieval.deal.events import (
    BlocksVerified,
    ChannelConfirmed,
    Quoted,
    Refused,
    SelectionVerified,
    SessionFailed,
    SessionReady,
    TermsLearned,
)
from retrieval.deal.purchase import Purchase
from retrieval.deal.records import DealRecord, Outcome, record
from retrieval.deal.spending import Payer, SpendingLine, release, reserve
from retrieval.deal.states import PurchaseEvent, PurchaseState
from retrieval.deal.step import NOTHING, Step
from retrieval.errors import ErrorCode, LocalProtocolError, RemoteProtocolError, RetrievalError, code_of
from retrieval.identity import PeerId, PeerKey, verify_peer
from retrieval.payment.channel import ChannelId
from retrieval.payment.voucher import VoucherSigner
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
    Refuse,
    Resume,
    Selection,
    Signed,
    SignedDone,
    SignedQuote,
    Terms,
    TermsQuery,
    deal_id,
    hellos_digest,
    quote_digest,
)
from retrieval.wire.receipt import NO_RECEIPT, receipt_digest

HELLO_DUE_S: Final = 5.0
QUOTE_DUE_S: Final = 10.0
FIRST_BLOCK_DUE_S: Final = 15.0
PROGRESS_DUE_S: Final = 20.0
PAY_AFTER_S: Final = 0.25
"""A payment leaves this long after something was first verified and unpaid, so that a slow link never waits for an interval."""
QUERIES_MAX: Final = 64


@dataclass(slots=True, kw_only=True)
class _Asked:
    query: Query
    walk: Walk | None
    due: float
    signed: SignedQuote | None = None
    quote: Quote | None = None
    arrived_at: float = 0.0


class ClientSession:
    def __init__(self, key: PeerKey, provider: PeerId, *, signer: VoucherSigner | None, now: float, can_pay: bool = True) -> None:
        self._key = key
        self._provider = provider
        self._payer = Payer(key, signer)
        self._our_hello = hello.ours(can_pay)
        self._their_hello: Hello | None = None
        self._opened_at = now
        self._over = False
        self._next_query_id = 1
        self._asked: dict[int, _Asked] = {}
        self._presented: set[bytes] = set()
        self._n_terms_asked = 0
        self._purchases: dict[DealId, Purchase] = {}
        self._winding_up: dict[int, DealId] = {}
        """By the number of the Ping that went with the Pause."""
        self._next_nonce = 1
        self.last_final_receipt: bytes = NO_RECEIPT
        """Digest of the last receipt of the previous deal with this provider; the next deal's ``prev``."""

    @property
    def is_over(self) -> bool:
        return self._over

    def has(self, deal: DealId) -> bool:
        """Whether a deal runs on this session."""
        return deal in self._purchases

    # commands

    def start(self) -> Step:
        """The first message. A query may follow in the same write."""
        return Step(messages=(self._our_hello,))

    def query(self, selection: Selection, walk: Walk, *, now: float, price_per_gib_max: int | None = None) -> tuple[int, Step]:
        """Ask for an offer. ``walk`` stands behind the blocks that are already here."""
        query = self._new_query(selection=selection, cursor=walk.n_blocks, price_per_gib_max=price_per_gib_max)
        self._asked[query.query_id] = _Asked(query=query, walk=walk, due=now + QUOTE_DUE_S)
        return query.query_id, Step(messages=(query,))

    def ask_done(self, purchase: Purchase, *, now: float) -> Step:
        """Ask for the countersignature of a deal that was cut off after everything was verified and paid.

        Answered by ``DealEnded``, or by ``Refused`` where the provider still has the deal open: then ``take_up``.
        """
        assert purchase.walk.done
        purchase.progress_at = now
        self._purchases[purchase.deal_id] = purchase
        query = self._new_query(cursor=0, deal_id=purchase.deal_id)
        self._asked[query.query_id] = _Asked(query=query, walk=None, due=now + QUOTE_DUE_S)
        return Step(messages=(query,))

    def _new_query(self, **fields: object) -> Query:
        assert len(self._asked) < QUERIES_MAX
        query = Query(query_id=self._next_query_id, **fields)  # type: ignore[arg-type]
        self._next_query_id += 1
        return query

    def ask_terms(self) -> Step:
        """Ask what a channel with this provider must be. Answered by ``TermsLearned``."""
        self._n_terms_asked += 1
        return Step(messages=(TermsQuery(),))

    def present(self, present: Present) -> Step:
        """Show the provider a channel and that we may spend from it."""
        self._presented.add(present.session_key.channel_id)
        return Step(messages=(present,))

    def accept(self, query_id: int, line: SpendingLine, *, spend_max: int, now: float) -> tuple[Purchase, Step]:
        """Say yes to an offer that costs at most ``spend_max``.

        Raises ``LocalProtocolError`` before anything is signed: ``over_budget``, ``quote_expired``, ``channel_missing``,
        ``channel_unfunded``.
        """
        asked = self._asked[query_id]
        quote, signed, walk = asked.quote, asked.signed, asked.walk
        assert quote is not None
        assert signed is not None
        assert walk is not None
        assert not walk.done, "what is all here needs no deal"
        assert asked.query.selection is not None
        if quote.amount_max > spend_max:
            raise LocalProtocolError(ErrorCode.OVER_BUDGET, f"it may cost {quote.amount_max}, the budget is {spend_max}")
        if now >= asked.arrived_at + quote.lifetime_s:
            raise LocalProtocolError(ErrorCode.QUOTE_EXPIRED)
        is_paid = quote.settlement is not None
        if is_paid and line.channel is None:
            raise LocalProtocolError(ErrorCode.CHANNEL_MISSING)
        if is_paid and line.credit < quote.amount_max:
            raise LocalProtocolError(ErrorCode.CHANNEL_UNFUNDED, f"{line.credit} is free, it may cost {quote.amount_max}")
        channel_id = line.key if is_paid else None
        deal = deal_id(signed.body, self._key.peer_id)
        body = shape.encode(
            Acceptance(
                version=1,
                quote_digest=quote_digest(signed.body),
                channel_id=channel_id,
                spend_max=quote.amount_max,
                cursor=0,
                time=int(now),
            )
        )
        accept = Accept(body=body, signature=self._key.sign("accept", body))
        agreed = DealRecord(
            selection=asked.query.selection,
            quote=Signed(body=signed.body, signature=signed.signature),
            accept=Signed(body=body, signature=accept.signature),
            peer=self._provider,
            line_key=line.key,
            opened_ms=int(now * 1000),
            expires_ms=int((asked.arrived_at + quote.lifetime_s) * 1000),
        )
        purchase = Purchase(deal, agreed, line, walk, start=PurchaseState.ACCEPTED)
        purchase.prev = self.last_final_receipt
        del self._asked[query_id]
        self._purchases[deal] = line.purchases[deal] = purchase
        purchase.progress_at = now
        records = (record(deal, agreed), *reserve(purchase, now))
        return purchase, Step(records=records, messages=(accept,))

    def take_up(self, purchase: Purchase, *, now: float) -> Step:
        """Go on with a deal that was cut off: same terms, from our last verified block, beginning with what we owe for it.

        The last payment goes first, in case it was lost; if it was not, the provider knows it and nothing changes.
        Raises ``LocalProtocolError(channel_unfunded)`` before anything is signed, when other deals have used what it may still cost.
        """
        assert purchase.may_resume
        line, left = purchase.line, purchase.quote.amount_max - purchase.paid.deal_amount
        if line.channel is not None and line.credit < left:
            raise LocalProtocolError(ErrorCode.CHANNEL_UNFUNDED, f"{line.credit} is free, it may still cost {left}")
        purchase.lifecycle.advance(PurchaseEvent.TAKEN_UP)
        self._purchases[purchase.deal_id] = purchase
        purchase.progress_at = purchase.unpaid_since = now
        agreed = shape.decode(Acceptance, purchase.deal.accept.body)
        body = shape.encode(
            Acceptance(
                version=1,
                quote_digest=agreed.quote_digest,
                channel_id=agreed.channel_id,
                spend_max=agreed.spend_max,
                cursor=purchase.verified_blocks,
                time=int(now),
            )
        )
        step = Step(records=reserve(purchase, now), messages=(Accept(body=body, signature=self._key.sign("accept", body)),))
        if (last := purchase.last_payment) is not None:
            step += Step(messages=(last,))
        if purchase.is_unpaid:
            step += self._payer.pay([purchase], now)
        if purchase.walk.done:
            step += self._all_verified(purchase)
        return step

    def cancel(self, deal: DealId, *, now: float, error: RetrievalError | None = None) -> Step:
        """Stop a deal: pay for what was verified, then part."""
        purchase = self._purchases.pop(deal)
        step = self._payer.pay([purchase], now) if purchase.is_unpaid else NOTHING
        code = error.code if error else ErrorCode.CANCELLED
        step += Step(messages=(Cancel(deal_id=deal, code=code),))
        event, outcome = (PurchaseEvent.FAILED, Outcome.FAILED) if error else (PurchaseEvent.CANCELLED, Outcome.CANCELLED)
        return step + self._end(purchase, event, outcome, now, code=code, detail=error.detail if error else "")

    def wind_up(self, deal: DealId) -> Step:
        """Stop a deal without a loss to the provider: it pauses, what it sent before that is verified and paid, and then we ``cancel``.

        A block that was sent and never paid fills the credit line for good, so that a person who looks here and there in a film would soon
        have none. The Pong comes behind the last block, since a provider sends nothing of a deal after the Pause that it has read.
        """
        nonce = self._next_nonce
        self._next_nonce += 1
        self._winding_up[nonce] = deal
        return Step(messages=(Pause(deal_id=deal), Ping(nonce=nonce)))

    # messages in

    def receive(self, message: Message, now: float) -> Step:
        """Take one message. What the provider did wrong ends in a Cancel or an Error inside the Step; nothing foreign raises."""
        if self._over:
            return NOTHING
        try:
            return self._dispatch(message, now)
        except RemoteProtocolError as error:
            return self.fail(error, now)

    def _dispatch(self, message: Message, now: float) -> Step:
        if isinstance(message, Error):
            return self._part(code_of(message.code), message.detail, now, by_peer=True, retry_after_s=message.retry_after_s)
        if self._their_hello is None:
            if not isinstance(message, Hello):
                raise RemoteProtocolError(ErrorCode.UNEXPECTED_MESSAGE, f"{type(message).__name__} came before Hello")
            agreed = hello.agree(self._our_hello, message)
            self._their_hello = message
            return Step(events=(SessionReady(capabilities=agreed, agent=message.agent),))
        match message:
            case SignedQuote():
                return self._receive_quote(message, now)
            case SignedDone():
                return self._receive_done(message, now)
            case Refuse():
                return self._receive_refuse(message, now)
            case ChannelStatus():
                return self._receive_status(message)
            case Terms():
                return self._receive_terms(message)
            case Ping():
                return Step(messages=(Pong(nonce=message.nonce),))
            case Pong():
                return self._receive_pong(message, now)
            case Hello() | Query() | Accept() | Payment() | Cancel() | Pause() | Resume() | Present() | TermsQuery():
                raise RemoteProtocolError(ErrorCode.UNEXPECTED_MESSAGE, f"a provider does not send {type(message).__name__} here")
            case _:
                assert_never(message)

    def _receive_pong(self, pong: Pong, now: float) -> Step:
        purchase = self._purchases.get(self._winding_up.pop(pong.nonce, DealId(b"")))
        if purchase is None or purchase.walk.done:  # it has ended, or is about to, by itself
            return NOTHING
        return self.cancel(purchase.deal_id, now=now)

    def _receive_status(self, status: ChannelStatus) -> Step:
        """An answer to Present. What nobody asked is not told: a provider could fill our memory with it."""
        if status.channel.channel_id not in self._presented:
            return NOTHING
        self._presented.remove(status.channel.channel_id)
        return Step(events=(ChannelConfirmed(channel=status.channel),))

    def _receive_terms(self, terms: Terms) -> Step:
        if self._n_terms_asked == 0:
            return NOTHING
        self._n_terms_asked -= 1
        return Step(events=(TermsLearned(settlement=terms.settlement),))

    def _receive_quote(self, signed: SignedQuote, now: float) -> Step:
        """Check an offer: signature, that it answers our query to us on this session, and that its arithmetic is right."""
        verify_peer(self._provider, "quote", signed.body, signed.signature)
        quote = shape.decode(Quote, signed.body)
        asked = self._asked.get(quote.query_id)
        if 0 < quote.query_id < self._next_query_id and (asked is None or asked.quote is not None):
            return NOTHING  # answered before
        if asked is None or asked.query.selection is None:
            raise RemoteProtocolError(ErrorCode.QUOTE_MISMATCH, f"query {quote.query_id} asks for no quote")
        assert self._their_hello is not None
        hellos = hellos_digest(shape.encode(self._our_hello), shape.encode(self._their_hello))
        rate = terms.Rate(price_per_gib=quote.price_per_gib, flat_fee=quote.flat_fee)
        price_max = asked.query.price_per_gib_max
        wrong = (
            "it is for another client"
            if quote.client_peer != self._key.peer_id
            else "it is for another query"
            if quote.selection_digest != asked.query.selection.digest or quote.cursor != asked.query.cursor
            else "the hellos were altered on the way"
            if quote.hellos_digest != hellos
            else "its total is not what its bytes cost"
            if quote.amount_max != rate.owed(quote.n_bytes)
            else "it has a price and says not where to pay"
            if not rate.is_free and quote.settlement is None
            else "it asks more than our query allows"
            if price_max is not None and quote.price_per_gib > price_max
            else "its window is below its largest block"
            if quote.window_first < quote.block_size_max
            else "its pay interval is above its window"
            if quote.pay_interval > quote.window_max
            else None
        )
        if wrong:
            raise RemoteProtocolError(ErrorCode.QUOTE_MISMATCH, wrong)
        asked.signed, asked.quote, asked.arrived_at = signed, quote, now
        deal = deal_id(signed.body, self._key.peer_id)
        return Step(events=(Quoted(query_id=quote.query_id, deal_id=deal, quote=quote),))

    def _receive_refuse(self, refuse: Refuse, now: float) -> Step:
        """Our query, channel or deal is refused. A refusal of anything else crossed our own last word on it, and is not told."""
        code, deal = code_of(refuse.code), self._refused_deal(refuse)
        told = Refused(
            code=code,
            detail=refuse.detail,
            retry_after_s=refuse.retry_after_s,
            query_id=refuse.query_id,
            deal_id=deal,
            channel_id=ChannelId(refuse.channel_id) if refuse.channel_id else None,
        )
        if refuse.query_id is not None and self._asked.pop(refuse.query_id, None) is not None:
            return Step(events=(told,))
        if refuse.channel_id is not None and refuse.channel_id in self._presented:
            self._presented.remove(refuse.channel_id)
            return Step(events=(told,))
        purchase = self._purchases.pop(deal, None) if deal else None
        if purchase is None:
            return NOTHING
        step = Step(events=(told,))
        if purchase.state is PurchaseState.ACCEPTED and purchase.verified_blocks == 0:
            return self._end(purchase, PurchaseEvent.REFUSED, Outcome.REFUSED, now, code=code, detail=refuse.detail) + step
        if code in _MENDABLE or purchase.walk.done:
            return self._cut(purchase) + step  # what is all verified and paid lacks the countersignature only
        return self._end(purchase, PurchaseEvent.FAILED, Outcome.FAILED, now, code=code, detail=refuse.detail) + step

    def _refused_deal(self, refuse: Refuse) -> DealId | None:
        """The deal a refusal speaks of, by its id or by the quote we accepted."""
        if refuse.quote_digest is None:
            return DealId(refuse.deal_id) if refuse.deal_id else None
        accepted = (deal for deal, purchase in self._purchases.items() if quote_digest(purchase.deal.quote.body) == refuse.quote_digest)
        return next(accepted, None)

    def _receive_done(self, signed: SignedDone, now: float) -> Step:
        """A countersignature. It must speak of exactly what we receipted, or it is no countersignature of it."""
        verify_peer(self._provider, "done", signed.body, signed.signature)
        completion = shape.decode(Completion, signed.body)
        self._asked = {key: asked for key, asked in self._asked.items() if asked.query.deal_id != completion.deal_id}
        purchase = self._purchases.get(DealId(completion.deal_id))
        if purchase is None or purchase.last_receipt is None:
            return NOTHING
        if not purchase.lifecycle.may(PurchaseEvent.COUNTERSIGNED):
            raise RemoteProtocolError(ErrorCode.TRANSFER_TRUNCATED, "the provider said Done before the selection was complete")
        totals = (completion.receipt_digest, completion.n_bytes, completion.n_blocks, completion.complete)
        if totals != (receipt_digest(purchase.last_receipt.body), purchase.paid.n_bytes, purchase.paid.n_blocks, True):
            raise RemoteProtocolError(ErrorCode.BAD_RECEIPT, "the Done is not for our last receipt")
        del self._purchases[purchase.deal_id]
        done = Signed(body=signed.body, signature=signed.signature)
        return self._end(purchase, PurchaseEvent.COUNTERSIGNED, Outcome.DONE, now, done=done)

    # blocks in

    def receive_blocks(self, blocks: Sequence[Block], now: float) -> Step:
        """Take a run of blocks in the order they came. They are stored and paid for as one Step."""
        if self._over:
            return NOTHING
        stored: list[tuple[Cid, memoryview]] = []
        counts: dict[DealId, tuple[int, int]] = {}
        failures: dict[DealId, RemoteProtocolError] = {}
        for block in blocks:
            purchase = self._purchases.get(DealId(block.deal_id))
            if purchase is None or purchase.state not in (PurchaseState.ACCEPTED, PurchaseState.RECEIVING) or purchase.walk.done:
                continue
            if purchase.deal_id in failures:
                continue
            try:
                purchase.verify(block, now)
            except RemoteProtocolError as error:
                failures[purchase.deal_id] = error
                continue
            purchase.lifecycle.advance(PurchaseEvent.BLOCK_VERIFIED)
            stored.append((block.cid, block.payload))
            n_bytes, n_blocks = counts.get(purchase.deal_id, (0, 0))
            counts[purchase.deal_id] = (n_bytes + len(block.payload), n_blocks + 1)
        news = tuple(BlocksVerified(deal_id=deal, n_bytes=size, n_blocks=n) for deal, (size, n) in counts.items())
        step = Step(blocks=tuple(stored), news=news)
        step += self._payer.pay([self._purchases[deal] for deal in counts if self._is_payment_due(self._purchases[deal])], now)
        for deal in counts:
            if self._purchases[deal].walk.done:
                step += self._all_verified(self._purchases[deal])
        for deal, failure in failures.items():
            step += self.cancel(deal, now=now, error=failure)
        return step

    def _is_payment_due(self, purchase: Purchase) -> bool:
        return purchase.unpaid_bytes >= purchase.pay_interval or purchase.walk.done

    def _all_verified(self, purchase: Purchase) -> Step:
        purchase.lifecycle.advance(PurchaseEvent.ALL_VERIFIED)
        return Step(events=(SelectionVerified(deal_id=purchase.deal_id),))

    def committed(self, step: Step) -> None:
        """The pump's word that a step is on disk. Nothing here waits for it: the pump sends only after it."""

    # ends

    def _end(
        self,
        purchase: Purchase,
        event: PurchaseEvent,
        outcome: Outcome,
        now: float,
        *,
        code: ErrorCode | None = None,
        detail: str = "",
        done: Signed | None = None,
    ) -> Step:
        purchase.lifecycle.advance(event)
        purchase.line.purchases.pop(purchase.deal_id, None)
        if purchase.last_receipt is not None:
            self.last_final_receipt = receipt_digest(purchase.last_receipt.body)
        return Step(records=release(purchase)) + ended(purchase.deal_id, outcome, purchase.paid, now, code=code, detail=detail, done=done)

    def _cut(self, purchase: Purchase) -> Step:
        if not purchase.lifecycle.may(PurchaseEvent.CUT):
            return NOTHING
        purchase.lifecycle.advance(PurchaseEvent.CUT)
        return Step(records=release(purchase))

    def closed(self, now: float) -> Step:
        """The connection is gone. Deals stay open and can be taken up on another."""
        if self._over:
            return NOTHING
        return self._part(ErrorCode.TRANSFER_TRUNCATED, "the connection ended", now, by_peer=False)

    def fail(self, error: RetrievalError, now: float) -> Step:
        """End the session and say why."""
        if self._over:
            return NOTHING
        word = Error(code=error.code, detail=error.detail, retry_after_s=error.retry_after_s)
        return self._part(error.code, error.detail, now, by_peer=False) + Step(messages=(word,))

    def _part(self, code: ErrorCode, detail: str, now: float, *, by_peer: bool, retry_after_s: int | None = None) -> Step:
        step = NOTHING
        for purchase in self._purchases.values():
            step += self._cut(purchase)
        self._purchases.clear()
        self._over = True
        return step + Step(events=(SessionFailed(code=code, detail=detail, retry_after_s=retry_after_s, by_peer=by_peer),))

    # time

    def next_deadline(self) -> float | None:
        """When ``tick`` is due, in the caller's clock."""
        if self._over:
            return None
        dues = [asked.due for asked in self._asked.values() if asked.quote is None]
        if self._their_hello is None:
            dues.append(self._opened_at + HELLO_DUE_S)
        for purchase in self._purchases.values():
            dues.append(self._progress_due(purchase))
            if purchase.is_unpaid:
                dues.append(purchase.unpaid_since + PAY_AFTER_S)
        return min(dues, default=None)

    def tick(self, now: float) -> Step:
        """Act on deadlines that have passed."""
        if self._over:
            return NOTHING
        if self._their_hello is None and now >= self._opened_at + HELLO_DUE_S:
            return self.fail(RemoteProtocolError(ErrorCode.HELLO_TIMEOUT), now)
        if any(asked.quote is None and now >= asked.due for asked in self._asked.values()):
            return self.fail(RemoteProtocolError(ErrorCode.QUOTE_TIMEOUT), now)
        step = self._payer.pay(
            [purchase for purchase in self._purchases.values() if purchase.is_unpaid and now >= purchase.unpaid_since + PAY_AFTER_S], now
        )
        for purchase in self._purchases.values():
            if now >= self._progress_due(purchase):
                code = ErrorCode.FIRST_BLOCK_TIMEOUT if purchase.state is PurchaseState.ACCEPTED else ErrorCode.TRANSFER_STALLED
                return step + self.fail(RemoteProtocolError(code), now)
        return step

    def _progress_due(self, purchase: Purchase) -> float:
        return purchase.progress_at + (FIRST_BLOCK_DUE_S if purchase.state is PurchaseState.ACCEPTED else PROGRESS_DUE_S)


_MENDABLE: Final = frozenset(
    {ErrorCode.CHANNEL_UNFUNDED, ErrorCode.OVER_BUDGET, ErrorCode.SHUTTING_DOWN, ErrorCode.RATE_LIMITED, ErrorCode.TOO_MANY_DEALS}
)
"""Refusals after which the deal can be taken up again."""
