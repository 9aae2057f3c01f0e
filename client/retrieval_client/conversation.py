"""Trio. One session with one provider: what we say, and what we wait to hear.

Its rule: every answer is waited for with a deadline, and leaving the conversation leaves its deals where the journal has them.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Final, TypeVar

import trio

from retrieval.cid import Cid
from retrieval.dag.walk import Walk
from retrieval.deal.client import QUOTE_DUE_S, ClientSession
from retrieval.deal.events import ChannelConfirmed, Event, Quoted, Refused, SessionFailed, TermsLearned
from retrieval.deal.step import Step
from retrieval.errors import ErrorCode, RemoteProtocolError
from retrieval.identity import PeerId, PeerKey
from retrieval.payment.voucher import VoucherSigner
from retrieval.transport.libp2p import Host, PeerAddress
from retrieval.transport.pump import ByteStream, Pump
from retrieval.transport.writer import Clock, JournalWriter
from retrieval.wire.messages import DealId, KnownChannel, Present, Selection, Settlement

from .unwrap import one_error

DIAL_TIMEOUT_S: Final = 10.0  # PROTOCOL.md, "Errors and deadlines"
CHANNEL_DUE_S: Final = 25.0  # for the provider's look at the chain: two RPC deadlines and a margin
PARTING_S: Final = 3.0  # for the last messages of a conversation to leave
EVENTS_MAX: Final = 1 << 16  # told and not yet heard; a batch of verified blocks is one event

StoreBlocks = Callable[[Iterable[tuple[Cid, bytes | bytearray | memoryview]]], None]
EventT = TypeVar("EventT", bound=Event)


class Conversation:
    """Made by ``converse`` and ``converse_on``."""

    def __init__(self, machine: ClientSession, pump: Pump, events: trio.MemoryReceiveChannel[Event], patience: float = 1.0) -> None:
        self.machine: Final = machine
        self.patience: Final = patience
        """By how much longer than over the internet an answer may take."""
        self.pump: Final = pump
        self._events: Final = events

    def say(self, step: Step) -> None:
        """Have a Step carried out, after those before it."""
        self.pump.put(step)

    def follow(self, deal_id: DealId) -> None:
        """Be told of a deal that was made in another conversation. Here there is nobody else who could be."""

    async def hear(self) -> Event:
        """Whatever is told next."""
        return await self._events.receive()

    async def learn_terms(self) -> Settlement | None:
        """What a channel with this provider must be; None where it takes no payment. Raises ``RemoteProtocolError``."""
        self.say(self.machine.ask_terms())
        return (await self._answer(TermsLearned, QUOTE_DUE_S, ErrorCode.QUOTE_TIMEOUT)).settlement

    async def ask_quote(self, selection: Selection, held: Walk, *, price_per_gib_max: int | None, now: float) -> Quoted:
        """The provider's offer for what of the selection lies behind ``held``. Raises ``RemoteProtocolError``."""
        _, step = self.machine.query(selection, held, now=now, price_per_gib_max=price_per_gib_max)
        self.say(step)
        return await self._answer(Quoted, QUOTE_DUE_S, ErrorCode.QUOTE_TIMEOUT)

    async def present(self, present: Present) -> KnownChannel:
        """Show a channel, and hear what the provider knows of it. Raises ``RemoteProtocolError``."""
        self.say(self.machine.present(present))
        return (await self._answer(ChannelConfirmed, CHANNEL_DUE_S, ErrorCode.CHANNEL_TIMEOUT)).channel

    async def _answer(self, kind: type[EventT], due_s: float, late: ErrorCode) -> EventT:
        with trio.move_on_after(due_s * self.patience):
            while True:
                match await self.hear():
                    case Refused() | SessionFailed() as ended:
                        raise as_error(ended)
                    case event if isinstance(event, kind):
                        return event
        raise RemoteProtocolError(late)


@asynccontextmanager
async def converse(
    host: Host,
    address: PeerAddress,
    key: PeerKey,
    *,
    signer: VoucherSigner | None,
    writer: JournalWriter,
    store: StoreBlocks,
    clock: Clock,
    dial_timeout_s: float = DIAL_TIMEOUT_S,
    last_final_receipt: bytes | None = None,
) -> AsyncIterator[Conversation]:
    """A session with the peer at ``address`` while the block runs.

    Raises what ``Host.dial``, the journal and the store raise, each by itself and in no group.
    """
    with one_error():
        stream = await host.dial(str(address), timeout_s=dial_timeout_s)
        talking = converse_on(
            stream, address.peer_id, key, signer=signer, writer=writer, store=store, clock=clock, last_final_receipt=last_final_receipt
        )
        async with talking as conversation:
            yield conversation


@asynccontextmanager
async def converse_on(
    stream: ByteStream,
    provider: PeerId,
    key: PeerKey,
    *,
    signer: VoucherSigner | None,
    writer: JournalWriter,
    store: StoreBlocks,
    clock: Clock,
    last_final_receipt: bytes | None = None,
    patience: float = 1.0,
) -> AsyncIterator[Conversation]:
    """A session with a provider on a stream that is open already. Raises what the journal and the store raise."""
    with one_error():
        machine = ClientSession(key, provider, signer=signer, now=clock())
        if last_final_receipt is not None:
            machine.last_final_receipt = last_final_receipt
        told, events = trio.open_memory_channel[Event](EVENTS_MAX)
        pump = Pump(machine, stream, writer, store=store, clock=clock, on_event=told.send_nowait)
        pump.put(machine.start())
        async with trio.open_nursery() as nursery:
            nursery.start_soon(pump.run)
            try:
                yield Conversation(machine, pump, events, patience)
            finally:
                with trio.CancelScope(shield=True, deadline=trio.current_time() + PARTING_S):
                    pump.put(machine.closed(clock()))
                    await pump.ended.wait()
                nursery.cancel_scope.cancel()


def as_error(event: Refused | SessionFailed) -> RemoteProtocolError:
    """What the provider said, as an error."""
    return RemoteProtocolError(event.code, event.detail, retry_after_s=event.retry_after_s)
