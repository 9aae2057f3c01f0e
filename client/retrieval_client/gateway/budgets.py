"""Trio. The budgets, kept while errands run: what may be spent by a day, a web page and a token.

One rule: what an errand may cost at the worst is held, and on disk, before anything of it is signed. At its end the hold becomes what was
spent. A process that dies leaves its holds, and the next one asks the journal what they came to.
"""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final

from retrieval.deal import allowance, fold
from retrieval.deal.records import DealRecord, HoldRecord, OutcomeRecord, ReceiptRecord, record
from retrieval.errors import ErrorCode, LocalProtocolError
from retrieval.ledger.state import StateView
from retrieval.transport.writer import Clock, JournalWriter
from retrieval.units import USD_DECIMALS, floor_div, format_amount
from retrieval.wire.messages import DealId, Selection
from retrieval.wire.receipt import Receipt

from .tokens import Token

DAY_S: Final = 86_400
HOLD_ID_SIZE: Final = 16
NOT_BY_DEALS: Final = bytes(32)
"""In place of a selection's digest: what is held is not for deals, by which it could be found out later."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """In the token's smallest unit."""

    per_request: int
    per_day: int
    per_origin: int
    """For a day too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Left:
    """What may still be spent."""

    per_request: int
    today: int
    origin: int | None
    """None where no web page asks."""
    token: int

    @property
    def least(self) -> int:
        return min(self.per_request, self.today, self.token, *(() if self.origin is None else (self.origin,)))


class Budgets:
    """What counts, in memory; the journal follows."""

    def __init__(self, state: StateView, writer: JournalWriter, limits: Limits, clock: Clock) -> None:
        self.limits: Final = limits
        self._state: Final = state
        self._writer: Final = writer
        self._clock: Final = clock
        self._used: Final[dict[bytes, int]] = {}

    async def find_out(self) -> None:
        """Settle what a process that died held, as its deals came to: none of them can cost more unless somebody takes it up.

        What a gateway charged for payments that it did not live to answer, nobody can find out here: there all that was held counts.
        """
        for subject, hold in list(fold.scan(self._state, HoldRecord)):
            spent = hold.held
            if hold.selection_digest != NOT_BY_DEALS:
                spent = max(0, _cost(self._state, _deals_since(self._state, hold)) - hold.before)
            await self._writer.commit([record(subject, _ended(hold, spent))])

    def left(self, token: Token, origin: str) -> Left:
        """What a token may still spend today for a web page; the empty ``origin`` is no page."""
        return self._left_on(self._today(), token, origin)

    def _left_on(self, day: int, token: Token, origin: str) -> Left:
        limits = self.limits
        return Left(
            per_request=min(limits.per_request, token.per_request),
            today=max(0, limits.per_day - self._count(allowance.day_key(day))),
            origin=max(0, limits.per_origin - self._count(allowance.origin_key(day, origin))) if origin else None,
            token=max(0, token.cap - self._count(allowance.token_key(token.id))),
        )

    def spent_today(self) -> int:
        """By all tokens, what is held included."""
        return self._count(allowance.day_key(self._today()))

    def open(self, token: Token, origin: str, selection: Selection) -> Hold:
        """A hold of nothing yet."""
        day, opened_ms = self._today(), int(self._clock() * 1000)
        before = {deal_id: _cost(self._state, [deal_id]) for deal_id in _open_deals_for(self._state, selection.digest)}
        first = HoldRecord(
            token=token.id,
            origin=origin,
            day=day,
            held=0,
            spent=0,
            selection_digest=selection.digest,
            before=sum(before.values()),
            opened_ms=opened_ms,
        )
        # Of the day against which it counts: after midnight the next day's budget would let through what nobody takes from it.
        return Hold(secrets.token_bytes(HOLD_ID_SIZE), first, before, lambda: self._left_on(day, token, origin), self._write)

    async def _write(self, subject: bytes, before: HoldRecord, after: HoldRecord) -> None:
        grown = after.held + after.spent - before.held - before.spent
        for key in allowance.keys_of(after):
            self._used[key] = self._count(key) + grown
        await self._writer.commit([record(subject, after)])

    def _count(self, key: bytes) -> int:
        if key not in self._used:
            self._used[key] = allowance.used(self._state, key).total
        return self._used[key]

    def _today(self) -> int:
        return floor_div(int(self._clock()), DAY_S)


class Hold:
    """What one errand may still cost, and has cost."""

    def __init__(
        self,
        subject: bytes,
        first: HoldRecord,
        before: Mapping[bytes, int],
        left: Callable[[], Left],
        write: Callable[[bytes, HoldRecord, HoldRecord], Awaitable[None]],
    ) -> None:
        """``before`` is what open deals for the same selection had cost, by deal."""
        self._subject: Final = subject
        self._now = first
        self._before: Final = before
        self._left: Final = left
        self._write: Final = write

    def grown(self, costs: Mapping[DealId, int]) -> int:
        """What of the costs of an errand's deals was not paid before it; nothing is taken off for open deals that it never took up."""
        return sum(max(0, cost - self._before.get(deal_id, 0)) for deal_id, cost in costs.items())

    async def raise_to(self, amount: int, *, by_deals: bool) -> None:
        """Hold this much in all. Raises ``LocalProtocolError(over_budget)``, naming the budget, with nothing changed.

        ``by_deals`` says whether what it comes to can be read from deals in the journal. Where less is asked for than is held, and not by
        deals, that is written down all the same: deals alone no longer tell what it came to.
        """
        digest = self._now.selection_digest if by_deals else NOT_BY_DEALS
        more = max(0, amount - self._now.held)
        if more == 0 and digest == self._now.selection_digest:
            return
        left = self._left()
        for limit, name in (
            (left.per_request - self._now.held, "for a request"),
            (left.token, "by this token"),
            (left.today, "today"),
            (left.origin, "today for this web page"),
        ):
            if limit is not None and more > limit:
                asked, may = (format_amount(max(0, each), decimals=USD_DECIMALS) for each in (amount, limit))
                raise LocalProtocolError(ErrorCode.OVER_BUDGET, f"it may cost {asked}, and {may} may be spent {name}; nothing was signed")
        await self._become(replace(self._now, held=self._now.held + more, selection_digest=digest))

    async def settle(self, spent: int) -> None:
        """The end: this much was spent."""
        if self._now.held:
            await self._become(_ended(self._now, spent))

    async def _become(self, after: HoldRecord) -> None:
        before, self._now = self._now, after
        await self._write(self._subject, before, after)


def _ended(hold: HoldRecord, spent: int) -> HoldRecord:
    return replace(hold, held=0, spent=spent)


def _open_deals_for(state: StateView, selection_digest: bytes) -> Iterator[bytes]:
    for deal_id in fold.open_deals(state):
        deal = fold.get(state, DealRecord, deal_id)
        if deal is not None and deal.selection.digest == selection_digest:
            yield deal_id


def _deals_since(state: StateView, hold: HoldRecord) -> Iterator[bytes]:
    """The deals for a hold's selection that were open when it was made, or began after that."""
    for deal_id, deal in fold.scan(state, DealRecord):
        ended = fold.get(state, OutcomeRecord, deal_id)
        if deal.selection.digest == hold.selection_digest and (ended is None or ended.ended_ms >= hold.opened_ms):
            yield deal_id


def _cost(state: StateView, deals: Iterable[bytes]) -> int:
    """What deals have cost, by their last receipts."""
    receipts = (fold.get(state, ReceiptRecord, deal_id) for deal_id in deals)
    return sum(Receipt.decode(each.receipt.body).deal_amount for each in receipts if each is not None)
