"""Trio. One session with each provider, in which all fetches from it have a part.

The rule: payments of one channel go out in one order, on one stream. A voucher says what was promised in all, over every deal, so two
sessions that paid from one channel would each be refused for the payment that the other had just made. It saves dialling, too.
"""

from __future__ import annotations

import logging
import math
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from typing import Final

import trio

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
from retrieval.deal.hello import DEALS_PER_SESSION_MAX
from retrieval.deal.step import Step
from retrieval.errors import ErrorCode, RemoteProtocolError, RetrievalError
from retrieval.identity import PeerId, format_peer_id
from retrieval.transport.control import Starting
from retrieval.transport.libp2p import PeerAddress
from retrieval.wire.messages import DealId, Present, Query

from ..conversation import EVENTS_MAX, Conversation
from ..fetch import Meet

log: Final = logging.getLogger("retrieval_client.gateway")

IDLE_S: Final = 20.0
"""How long a session is kept that nobody has a part in: a page's next picture comes sooner."""
WIND_UP_S: Final = 5.0
"""How long a deal that is no longer wanted may take to end; then its session ends, and the deal can be taken up again."""


class Part(Conversation):
    """One fetch's part in a session: it hears of what it asked and bought, and of nothing else."""

    def __init__(self, whole: Conversation) -> None:
        told, events = trio.open_memory_channel[Event](EVENTS_MAX)
        super().__init__(whole.machine, whole.pump, events)
        self.deals: Final = set[DealId]()
        """Those that its quotes offered, and that it follows."""
        self._told: Final = told
        self._queries: Final = set[int]()
        self._channels: Final = set[bytes]()

    def say(self, step: Step) -> None:
        for message in step.messages:
            match message:
                case Query():
                    self._queries.add(message.query_id)
                case Present():
                    self._channels.add(message.session_key.channel_id)
        super().say(step)

    def follow(self, deal_id: DealId) -> None:
        self.deals.add(deal_id)

    def tell(self, event: Event) -> None:
        """Hear of an event, if it is this part's."""
        if self._concerns(event):
            self._told.send_nowait(event)

    def _concerns(self, event: Event) -> bool:
        match event:
            case SessionFailed():
                return True
            case Quoted() if event.query_id in self._queries:
                self.deals.add(event.deal_id)
                return True
            case Refused():
                return event.query_id in self._queries or event.deal_id in self.deals or event.channel_id in self._channels
            case ChannelConfirmed():
                return event.channel.channel_id in self._channels
            case BlocksVerified() | SelectionVerified() | DealEnded():
                return event.deal_id in self.deals
            case Paid():
                return not self.deals.isdisjoint(event.deal_ids)
            case _:
                return False


class Shared:
    """A session, and the parts in it."""

    def __init__(self) -> None:
        self.is_over = False
        """Whether nobody may join any more."""
        self.ended: Final = trio.Event()
        """Set when its last words have left."""
        self._parts: Final = set[Part]()
        self._whole: Conversation | None = None
        self._hearing = trio.CancelScope()
        self._idle_at = math.inf
        self._failure: SessionFailed | None = None

    async def run(self, meeting: AbstractAsyncContextManager[Conversation], *, task_status: Starting = trio.TASK_STATUS_IGNORED) -> None:
        """Carry the session until it fails, or nobody has had a part in it for a while. What ``meeting`` raises at first, this raises."""
        try:
            async with meeting as self._whole:
                self._let_idle()
                task_status.started()
                try:
                    await self._hear_all(self._whole)
                finally:
                    self._fail(RemoteProtocolError(ErrorCode.TRANSFER_TRUNCATED, "the session ended"))
        except RetrievalError as error:
            if self._whole is None:
                raise
            log.error("a session ended: %s", error)
            self._fail(error)
        finally:
            self.is_over = True
            self.ended.set()

    def join(self) -> Part:
        """A part in it. The caller ``leave``s."""
        assert self._whole is not None
        part = Part(self._whole)
        if self._failure is not None:
            part.tell(self._failure)
        self._parts.add(part)
        self._idle_at = math.inf
        return part

    async def leave(self, part: Part, *, is_closing: bool) -> None:
        """Give a part up. Deals of it that run are wound up, but where all is ``closing``: then they are left to be taken up again."""
        try:
            if not is_closing and not self.is_over:
                with trio.CancelScope(shield=True, deadline=trio.current_time() + WIND_UP_S) as winding_up:
                    await self._wind_up(part)
                if winding_up.cancelled_caught:
                    self.is_over = True
                    self._hearing.cancel()
        finally:
            self._parts.discard(part)
            self._let_idle()

    async def _wind_up(self, part: Part) -> None:
        """Return when all that was signed for the deals of a part is on disk, and they are over."""
        ending = {deal_id for deal_id in part.deals if part.machine.has(deal_id)}
        for deal_id in ending:
            part.say(part.machine.wind_up(deal_id))
        while ending:
            match await part.hear():
                case DealEnded() | Refused() as event if event.deal_id is not None:
                    ending.discard(event.deal_id)
                case SessionFailed():
                    return

    async def _hear_all(self, whole: Conversation) -> None:
        while not self.is_over:
            event: Event | None = None
            with trio.CancelScope(deadline=self._idle_at) as self._hearing:
                event = await whole.hear()
            if event is None:
                self.is_over = self.is_over or not self._parts
                continue
            if isinstance(event, SessionFailed):
                self.is_over, self._failure = True, event
            self._tell_all(event)

    def _let_idle(self) -> None:
        self._idle_at = math.inf if self._parts else trio.current_time() + IDLE_S
        self._hearing.deadline = self._idle_at

    def _fail(self, error: RetrievalError) -> None:
        """Tell those who have a part in it that it has ended, unless that was said; and those who come too late to have heard it."""
        self.is_over = True
        if self._failure is None:
            self._failure = SessionFailed(code=error.code, detail=error.detail, retry_after_s=error.retry_after_s, by_peer=False)
            self._tell_all(self._failure)

    def _tell_all(self, event: Event) -> None:
        for part in tuple(self._parts):
            part.tell(event)


class Sessions:
    """Made by ``open_sessions``."""

    def __init__(self, nursery: trio.Nursery, meet: Meet) -> None:
        self._nursery: Final = nursery
        self._meet: Final = meet
        self._shared: Final[dict[PeerId, Shared]] = {}
        self._dialling: Final[dict[PeerId, trio.Lock]] = {}
        self._places: Final[dict[PeerId, trio.CapacityLimiter]] = {}
        self._is_closing = False

    def close(self) -> None:
        """From now on what is left is left as it is: deals stay open, to be taken up by a later process."""
        self._is_closing = True

    @asynccontextmanager
    async def meet(self, provider: PeerAddress, due_s: float) -> AsyncIterator[Conversation]:
        """A part in the session with a provider, which is begun where there is none. Raises what dialling raises.

        A provider has a limit to the deals of a session, and others wait for a place.
        """
        peer = provider.peer_id
        places = self._places.setdefault(peer, trio.CapacityLimiter(DEALS_PER_SESSION_MAX))
        async with places:
            async with self._dialling.setdefault(peer, trio.Lock()):
                shared = await self._session_with(provider, due_s)
                part = shared.join()
            try:
                yield part
            finally:
                await shared.leave(part, is_closing=self._is_closing)

    async def _session_with(self, provider: PeerAddress, due_s: float) -> Shared:
        shared = self._shared.get(provider.peer_id)
        if shared is not None and not shared.is_over:
            return shared
        if shared is not None:
            await shared.ended.wait()  # what it still writes about a channel comes before what the next one does
        log.info("%s is dialled", format_peer_id(provider.peer_id))
        self._shared[provider.peer_id] = shared = Shared()
        await self._nursery.start(partial(shared.run, self._meet(provider, due_s)))
        return shared


@asynccontextmanager
async def open_sessions(meet: Meet) -> AsyncIterator[Sessions]:
    """Sessions begun with ``meet``, while the block runs. At its end they part, and deals that run stay open."""
    async with trio.open_nursery() as nursery:
        sessions = Sessions(nursery, meet)
        try:
            yield sessions
        finally:
            sessions.close()
            nursery.cancel_scope.cancel()
