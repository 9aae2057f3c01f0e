"""What a node counts of its sessions: from the events that machines tell, and the words that leave.

Machines know nothing of it. Who is told of an event counts it after it is on disk; blocks are counted a batch at a time by who sends them.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Final

from retrieval.deal.books import ProviderBooks
from retrieval.deal.events import DealEnded, Event, PaymentTaken, SaleAccepted, SessionReady
from retrieval.deal.provider import ProviderSession
from retrieval.deal.step import Step
from retrieval.errors import ErrorCode, RetrievalError, code_of
from retrieval.identity import PeerId
from retrieval.ledger.journal import Record
from retrieval.wire.messages import Error, Message, Payment, Refuse, Settlement, SignedDone, SignedQuote

from . import metrics
from .tally import Tally

PAYMENT_CODES: Final = frozenset(
    {
        ErrorCode.BAD_VOUCHER,
        ErrorCode.STALE_VOUCHER,
        ErrorCode.VOUCHER_OVER_DEPOSIT,
        ErrorCode.PAYMENT_MISMATCH,
        ErrorCode.BAD_RECEIPT,
        ErrorCode.EQUIVOCATION,
    }
)
"""What only a payment meets."""


class TimedSession(ProviderSession):
    """A session that times how long it takes to judge a payment: a core for it is what a busy provider needs first."""

    def __init__(self, tally: Tally, books: ProviderBooks, peer: PeerId, *, settlement: Settlement | None, now: float) -> None:
        super().__init__(books, peer, settlement=settlement, now=now)
        self._tally: Final = tally

    def receive(self, message: Message, now: float) -> Step:
        if not isinstance(message, Payment):
            return super().receive(message, now)
        began = time.perf_counter()
        step = super().receive(message, now)
        self._tally.observe(metrics.VOUCHER_SECONDS, time.perf_counter() - began)
        return step


def count_event(tally: Tally, event: Event) -> None:
    """What happened in a session."""
    match event:
        case SessionReady():
            tally.count(metrics.SESSIONS, "served")
        case SaleAccepted():
            tally.count(metrics.OFFERS, "accepted")
        case PaymentTaken():
            tally.count(metrics.RECEIPTS, "taken")
            if event.amount:
                tally.count(metrics.VOUCHERS, "libp2p", "taken")
        case DealEnded():
            tally.count(metrics.DEALS, event.outcome.name.lower())
        case _:
            pass


def count_answer(tally: Tally, step: Step, seconds: float) -> None:
    """The answer to a query, and how long the client waited for it."""
    tally.observe(metrics.OFFER_SECONDS, max(0.0, seconds))
    for message in step.messages:
        match message:
            case SignedQuote():
                tally.count(metrics.QUERIES, "quoted")
                tally.count(metrics.OFFERS, "made")
            case SignedDone():
                tally.count(metrics.QUERIES, "answered")
            case Refuse():
                tally.count(metrics.QUERIES, "refused")
                if message.code == ErrorCode.RATE_LIMITED:
                    tally.count(metrics.RATE_LIMITED, "query")
            case _:
                pass


def count_word(tally: Tally, message: Message) -> None:
    """A refusal or an error, on its way to a client."""
    if isinstance(message, Refuse | Error) and message.code:
        code = code_of(message.code)
        tally.count(metrics.ERRORS, "libp2p", code.label)
        if isinstance(message, Refuse) and code in PAYMENT_CODES:
            tally.count(metrics.VOUCHERS, "libp2p", code.label)


def count_turned_away(tally: Tally, refusal: RetrievalError) -> None:
    """A client for which there was no place."""
    tally.count(metrics.SESSIONS, "turned_away")
    tally.count(metrics.RATE_LIMITED, "session")
    tally.count(metrics.ERRORS, "libp2p", refusal.code.label)


def count_commit(tally: Tally, records: Sequence[Record], seconds: float) -> None:
    """A group commit."""
    tally.observe(metrics.JOURNAL_SECONDS, seconds)
    for record in records:
        tally.count(metrics.JOURNAL_RECORDS, record.kind.name.lower())
