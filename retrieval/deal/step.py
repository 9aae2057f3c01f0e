"""The one thing a machine returns: what to store, commit, send and tell, in that order.

The pump that carries a Step out puts ``blocks`` into the store and tells the ``news`` of them, commits ``records`` to the journal, calls
``committed`` on the machine, and only then sends ``messages`` and tells ``events``. Whatever a message promises is on disk before it
leaves; that blocks were verified is true without the journal, and whoever waits for them need not wait for their payment.
"""

from __future__ import annotations

from dataclasses import dataclass

from retrieval.cid import Cid
from retrieval.deal.events import BlocksVerified, Event
from retrieval.ledger.journal import Record
from retrieval.wire.messages import Message


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    blocks: tuple[tuple[Cid, bytes | memoryview], ...] = ()
    """Verified payloads, where they were received: whoever stores them copies them."""
    news: tuple[BlocksVerified, ...] = ()
    records: tuple[Record, ...] = ()
    messages: tuple[Message, ...] = ()
    events: tuple[Event, ...] = ()

    def __add__(self, other: Step) -> Step:
        return Step(
            blocks=self.blocks + other.blocks,
            news=self.news + other.news,
            records=self.records + other.records,
            messages=self.messages + other.messages,
            events=self.events + other.events,
        )

    def __bool__(self) -> bool:
        return bool(self.blocks or self.news or self.records or self.messages or self.events)


NOTHING = Step()
