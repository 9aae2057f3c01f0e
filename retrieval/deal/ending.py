"""The end of a deal, which both roles record alike: its one outcome, with how far its receipts reach."""

from __future__ import annotations

from retrieval.deal.events import DealEnded
from retrieval.deal.records import Outcome, OutcomeRecord, record
from retrieval.deal.step import Step
from retrieval.deal.terms import Position
from retrieval.errors import DETAIL_MAX, ErrorCode
from retrieval.wire.messages import DealId, Signed


def ended(
    deal_id: DealId, outcome: Outcome, position: Position, now: float, *, code: ErrorCode | None, detail: str, done: Signed | None
) -> Step:
    """The record of an outcome, and the news of it. ``done`` is the countersignature, where there is one."""
    kept = OutcomeRecord(
        outcome=outcome,
        code=code or 0,
        n_bytes=position.n_bytes,
        n_blocks=position.n_blocks,
        amount=position.deal_amount,
        done=done,
        detail=detail[:DETAIL_MAX],
        ended_ms=int(now * 1000),
    )
    told = DealEnded(
        deal_id=deal_id,
        outcome=outcome,
        code=code,
        n_bytes=position.n_bytes,
        n_blocks=position.n_blocks,
        amount=position.deal_amount,
        detail=detail,
    )
    return Step(records=(record(deal_id, kept),), events=(told,))
