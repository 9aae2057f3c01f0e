"""Budgets: how much of what may be spent has been, or is set aside, by day, by web page and by token.

A fold of the hold records, like all state: a hold counts with what it may cost at the worst, and once its end is known with what it did
cost. So a restart forgets nothing, and what a process that died had set aside counts until somebody finds out what it spent.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Final

from retrieval.deal.records import HoldRecord
from retrieval.ledger.journal import Record
from retrieval.ledger.state import Row, StateView
from retrieval.wire import shape
from retrieval.wire.shape import wire

TABLE: Final = "budgets/1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Used:
    """What counts against one budget, in the token's smallest unit."""

    spent: int = wire(1, shape.amount)
    held: int = wire(2, shape.amount)

    @property
    def total(self) -> int:
        return self.spent + self.held


NOTHING_USED: Final = Used(spent=0, held=0)


def day_key(day: int) -> bytes:
    """The budget of a day, counted since 1970."""
    return b"day:" + day.to_bytes(4, "big")


def origin_key(day: int, origin: str) -> bytes:
    """The budget of a web page for a day."""
    return b"origin:" + day.to_bytes(4, "big") + hashlib.sha256(origin.encode()).digest()


def token_key(token: bytes) -> bytes:
    """The budget of a token, for as long as it lives."""
    return b"token:" + token


def keys_of(hold: HoldRecord) -> tuple[bytes, ...]:
    """The budgets that a hold counts against."""
    pages = (origin_key(hold.day, hold.origin),) if hold.origin else ()
    return (day_key(hold.day), *pages, token_key(hold.token))


def used(state: StateView, key: bytes) -> Used:
    """What counts against a budget."""
    row = state.get(TABLE, key)
    return NOTHING_USED if row is None else shape.decode(Used, row)


def rows(state: StateView, table: str, record: Record) -> list[Row]:
    """The rows that a hold record changes. ``table`` has the holds that are open."""
    hold = shape.decode(HoldRecord, record.body)
    row = state.get(table, record.subject)
    before = None if row is None else shape.decode(HoldRecord, row)
    changed = [Row(table=table, key=record.subject, value=record.body if hold.held else None)]
    for key in keys_of(hold):
        now = used(state, key)
        spent = now.spent + hold.spent - (before.spent if before else 0)
        held = now.held + hold.held - (before.held if before else 0)
        changed.append(Row(table=TABLE, key=key, value=shape.encode(Used(spent=spent, held=held))))
    return changed
