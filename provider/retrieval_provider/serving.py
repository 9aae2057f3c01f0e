"""Trio. Serves one session: answers what the machine asks, and reads the blocks it wants.

One rule: a client learns which rule it met, and nothing of this machine. What is the operator's to mend goes to the log.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import trio

from retrieval.cid import Cid
from retrieval.dag.lookup import reach
from retrieval.dag.measure import VISITED_BLOCKS_MAX, totals_of
from retrieval.dag.walk import Walk, fast_forward
from retrieval.deal import fold, hello
from retrieval.deal.books import ProviderBooks
from retrieval.deal.events import ChannelPresented, DealEnded, Event, QueryReceived, SaleAccepted
from retrieval.deal.offer import Offer
from retrieval.deal.provider import Outgoing, Wanted
from retrieval.deal.records import OutcomeRecord
from retrieval.deal.sale import Sale
from retrieval.deal.step import NOTHING, Step
from retrieval.errors import Blame, ErrorCode, LocalProtocolError, RemoteProtocolError, RetrievalError
from retrieval.gateway.denylist import NOTHING_DENIED, Denylist
from retrieval.identity import PeerId, format_peer_id
from retrieval.ledger.state import StateView
from retrieval.store.blocks import BlockStore
from retrieval.transport.pump import ByteStream, Pump
from retrieval.transport.source import BlockFrames, Source
from retrieval.transport.writer import Clock, JournalWriter
from retrieval.wire.framing import block_head, encode_frame
from retrieval.wire.messages import BLOCK_SIZE_MAX, DealId, Error, Query, Settlement

from .admission import QueryRates
from .lookout import Lookout
from .operator import metrics
from .operator.counting import TimedSession, count_answer, count_word
from .operator.tally import Tally
from .pricing import PriceList

log: Final = logging.getLogger("retrieval.provider")

Listener = Callable[[PeerId, Event], None]

LOOKUPS_MAX: Final = 4
"""Queries whose content is weighed at the same time."""
MOVES_AT_ONCE_MAX: Final = 1024
"""Blocks read, measured or stepped over before others have their turn: a resumed deal can have a million behind it."""
QUESTIONS_MAX: Final = 64
"""Above what a session's machine lets wait: 16 queries and 4 channels."""
TURN_AWAY_S: Final = 2.0
"""How long a client without a place may take to hear why."""


@dataclass(slots=True)
class Traffic:
    """What has left this node since it started."""

    sent_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """What every session of a node stands on."""

    books: ProviderBooks
    store: BlockStore
    state: StateView
    writer: JournalWriter
    prices: PriceList
    settlement: Settlement | None
    lookout: Lookout | None
    quote_lifetime_s: int
    query_rates: QueryRates
    clock: Clock
    listener: Listener
    denylist: Callable[[], Denylist] = lambda: NOTHING_DENIED
    """What is withheld now; it is asked in threads."""
    tally: Tally = field(default_factory=Tally)
    traffic: Traffic = field(default_factory=Traffic)
    lookups: trio.CapacityLimiter = field(default_factory=lambda: trio.CapacityLimiter(LOOKUPS_MAX))
    """Questions are free, and must not take the threads that commit payments."""


class SessionServer:
    """One client on one stream."""

    def __init__(self, service: Service, stream: ByteStream, peer: PeerId, *, prefix: str | None) -> None:
        """``prefix`` is what limits count the client's address under."""
        self._service: Final = service
        self._peer: Final = peer
        self._prefix: Final = prefix
        self.machine: Final = TimedSession(service.tally, service.books, peer, settlement=service.settlement, now=service.clock())
        self._pump: Final = Pump(
            self.machine,
            stream,
            service.writer,
            store=service.store.put_many,
            clock=service.clock,
            on_event=self._told,
            on_sent=lambda message: count_word(service.tally, message),
            next_blocks=self._next_blocks,
        )
        asked, questions = trio.open_memory_channel[tuple[float, QueryReceived | ChannelPresented]](QUESTIONS_MAX)
        self._asked: Final = asked
        self._questions: Final = questions
        self._accepted_at: Final[dict[DealId, float]] = {}
        """When deals were accepted of which no block has left yet."""

    @property
    def ended(self) -> trio.Event:
        """Set when the session is over and its last words have left."""
        return self._pump.ended

    async def run(self) -> None:
        """Serve until the session is over."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._answer_questions)
            await self._pump.run()
            nursery.cancel_scope.cancel()

    def shut_down(self) -> None:
        """Tell the client that the provider is going, and that its deals can be taken up later."""
        error = LocalProtocolError(ErrorCode.SHUTTING_DOWN, retry_after_s=5)
        self._pump.put(self.machine.fail(error, self._service.clock()))

    def _told(self, event: Event) -> None:
        if isinstance(event, QueryReceived | ChannelPresented):
            self._asked.send_nowait((self._service.clock(), event))
        if isinstance(event, SaleAccepted) and (sale := self._service.books.sales.get(event.deal_id)) is not None:
            self._accepted_at[event.deal_id] = sale.unpaid_since
        if isinstance(event, DealEnded):
            self._accepted_at.pop(event.deal_id, None)
        self._service.listener(self._peer, event)

    async def _answer_questions(self) -> None:
        async for asked_at, question in self._questions:
            match question:
                case QueryReceived():
                    step = await self._answer_query(question.query)
                    self._pump.put(step)
                    count_answer(self._service.tally, step, self._service.clock() - asked_at)
                case ChannelPresented():
                    self._pump.put(await self._answer_channel(question))

    async def _answer_query(self, query: Query) -> Step:
        """Cheap checks first: rate, then price, then lookup."""
        service = self._service
        try:
            service.query_rates.admit(self._peer, self._prefix, service.clock())
            if query.deal_id is not None:
                return self._answer_past_deal(query.query_id, query.deal_id)
            offer = await trio.to_thread.run_sync(self._offer, query, limiter=service.lookups)
        except RetrievalError as error:
            return self.machine.refuse_query(query.query_id, self._for_client(error))
        return self.machine.quote(query.query_id, offer, nonce=secrets.token_bytes(16), now=service.clock())

    def _answer_past_deal(self, query_id: int, deal_id: bytes) -> Step:
        ended = fold.get(self._service.state, OutcomeRecord, deal_id)
        if ended is None or ended.done is None:
            raise RemoteProtocolError(ErrorCode.DEAL_UNKNOWN, "it has no countersignature here")
        return self.machine.answer_done(query_id, ended.done)

    def _offer(self, query: Query) -> Offer:
        service, selection = self._service, query.selection
        if selection is None:
            raise RemoteProtocolError(ErrorCode.MALFORMED_MESSAGE, "a query names content or a deal")
        denylist, root = service.denylist(), Cid(selection.root)
        denylist.require_allowed(root, selection.path)
        if selection.path:
            denylist.require_all_allowed(reach(service.store, root, selection.path).path_cids[1:])
        weight = totals_of(service.store, selection)
        # What the client has already costs nothing, as far as we may look for free.
        held = Walk.of(selection)
        n_passed = fast_forward(service.store, held, min(query.cursor, VISITED_BLOCKS_MAX))
        price = service.prices.of(root)
        return Offer(
            price_per_gib=price.price_per_gib,
            flat_fee=price.flat_fee,
            n_bytes=max(0, weight.n_bytes - held.n_bytes),
            n_blocks=max(0, weight.n_blocks - held.n_blocks),
            exact=weight.exact and n_passed == query.cursor,
            block_size_max=BLOCK_SIZE_MAX,
            lifetime_s=service.quote_lifetime_s,
        )

    async def _answer_channel(self, presented: ChannelPresented) -> Step:
        service = self._service
        assert service.lookout is not None
        try:
            (state,) = await service.lookout.look([presented.channel_id])
        except RetrievalError as error:
            return self.machine.refuse_channel(presented.channel_id, self._for_client(error))
        withdraw_at = state.withdraw_finalizes_at(presented.config) or 0
        return self.machine.channel_seen(
            presented.channel_id,
            balance=state.balance,
            total_claimed=state.total_claimed,
            withdraw_at=withdraw_at,
            now=service.clock(),
        )

    def _next_blocks(self, size_max: int) -> Source:
        """Block frames that may leave now, of about ``size_max`` bytes in all."""
        frames = BlockFrames(self._service.store.view_many)
        try:
            self._gather_blocks(frames, size_max)
        except LocalProtocolError as error:  # a store that cannot be read
            self._pump.put(self.machine.fail(self._for_client(error), self._service.clock()))
        return frames

    def _gather_blocks(self, frames: BlockFrames, size_max: int) -> None:
        service, machine = self._service, self.machine
        now, store = service.clock(), service.store
        left: dict[DealId, tuple[Sale, list[int]]] = {}
        for _ in range(MOVES_AT_ONCE_MAX):
            if len(frames) >= size_max:
                break
            match machine.next_send(now):
                case None:
                    break
                case Step() as step:
                    self._pump.put(step)
                case Wanted(cid=cid, size_only=True) as wanted:
                    weight = store.size(cid)
                    self._pump.put(machine.supply(wanted, None, -1 if weight is None else weight, now))
                case Wanted(cid=cid) as wanted:
                    payload = store.get(cid)
                    self._pump.put(machine.supply(wanted, payload, -1 if payload is None else len(payload), now))
                case Outgoing(deal_id, index, cid, size):
                    frames.append(block_head(deal_id, index, cid, size), cid, size)
                    left.setdefault(deal_id, (service.books.sales[deal_id], []))[1].append(size)
        else:
            self._pump.put(NOTHING)  # there is more to do: it asks again
        for sale, sizes in left.values():
            self._count_left(sale, sizes, now)

    def _count_left(self, sale: Sale, sizes: list[int], now: float) -> None:
        """Count blocks of a deal that were handed over to be sent."""
        service, n_bytes = self._service, sum(sizes)
        service.traffic.sent_bytes += n_bytes
        service.tally.count(metrics.BYTES, "out", "libp2p", "no" if sale.rate.is_free else "yes", n=n_bytes)
        service.tally.count(metrics.BLOCKS, "out", "sent", n=len(sizes))
        if (accepted_at := self._accepted_at.pop(sale.deal_id, None)) is not None:
            service.tally.observe(metrics.TTFB_SECONDS, max(0.0, now - accepted_at), "libp2p")

    def _for_client(self, error: RetrievalError) -> RetrievalError:
        """The error as the client may see it: the detail of what is ours to mend can hold paths and addresses."""
        if error.row.blame not in (Blame.OPERATOR, Blame.CHAIN):
            return error
        log.error("%s could not be served: %s", format_peer_id(self._peer), error)
        return LocalProtocolError(error.code, retry_after_s=error.retry_after_s)


async def turn_away(stream: ByteStream, refusal: RetrievalError, *, is_paid: bool) -> None:
    """Tell a client for which there is no place so, and when to come back."""
    farewell = Error(code=refusal.code, detail=refusal.detail, retry_after_s=refusal.retry_after_s)
    with trio.move_on_after(TURN_AWAY_S):
        await stream.send_all(encode_frame(hello.ours(is_paid)) + encode_frame(farewell))
