"""The life of a deal, as each side sees it. All legal transitions stand in the two tables; everything else is an error.

A deal is one agreed price for one selection between two peers. The provider's side of it is a *sale*, the client's a *purchase*.
A connection is not part of either: when one breaks, the deal is ``INTERRUPTED`` and any later session of the same peers may take it up
again, at the same terms, until the quote's lifetime ends. Every deal that was accepted ends in exactly one outcome, which the
journal holds: ``DONE``, ``CANCELLED``, ``FAILED``, or on the client's side ``REFUSED`` when the provider would not begin.

``python -m retrieval.deal.states`` prints the diagrams that ARCHITECTURE.md shows; a test compares them.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Final, Generic, TypeVar

from retrieval.errors import ErrorCode, LocalProtocolError


class SaleState(Enum):
    ACCEPTED = "accepted"
    """The client said yes; nothing leaves before that is on disk."""
    SERVING = "serving"
    PAUSED = "paused"
    DRAINING = "draining"
    """Everything was sent; the last payment is due."""
    INTERRUPTED = "interrupted"
    DONE = "done"
    CANCELLED = "cancelled"
    FAILED = "failed"


class SaleEvent(Enum):
    COMMITTED = "committed"
    PAUSED = "paused"
    RESUMED = "resumed"
    ALL_SENT = "all sent"
    PAID_UP = "paid up"
    CUT = "cut"
    TAKEN_UP = "taken up"
    CANCELLED = "cancelled"
    FAILED = "failed"
    EXPIRED = "expired"


class PurchaseState(Enum):
    ACCEPTED = "accepted"
    """We said yes; the first block is due."""
    RECEIVING = "receiving"
    VERIFIED = "verified"
    """The whole selection is here and paid for; the provider's Done is still out."""
    INTERRUPTED = "interrupted"
    DONE = "done"
    CANCELLED = "cancelled"
    REFUSED = "refused"
    FAILED = "failed"


class PurchaseEvent(Enum):
    BLOCK_VERIFIED = "block verified"
    ALL_VERIFIED = "all verified"
    COUNTERSIGNED = "countersigned"
    CUT = "cut"
    TAKEN_UP = "taken up"
    REFUSED = "refused"
    CANCELLED = "cancelled"
    FAILED = "failed"
    EXPIRED = "expired"


_S, _SE, _P, _PE = SaleState, SaleEvent, PurchaseState, PurchaseEvent

# fmt: off
SALE: Final[Mapping[SaleState, Mapping[SaleEvent, SaleState]]] = {
    _S.ACCEPTED:    {_SE.COMMITTED: _S.SERVING, _SE.CUT: _S.INTERRUPTED, _SE.CANCELLED: _S.CANCELLED, _SE.FAILED: _S.FAILED},
    _S.SERVING:     {_SE.PAUSED: _S.PAUSED, _SE.ALL_SENT: _S.DRAINING, _SE.CUT: _S.INTERRUPTED, _SE.CANCELLED: _S.CANCELLED,
                     _SE.FAILED: _S.FAILED},
    _S.PAUSED:      {_SE.RESUMED: _S.SERVING, _SE.CUT: _S.INTERRUPTED, _SE.CANCELLED: _S.CANCELLED, _SE.FAILED: _S.FAILED},
    _S.DRAINING:    {_SE.PAID_UP: _S.DONE, _SE.CUT: _S.INTERRUPTED, _SE.CANCELLED: _S.CANCELLED, _SE.FAILED: _S.FAILED},
    _S.INTERRUPTED: {_SE.TAKEN_UP: _S.ACCEPTED, _SE.EXPIRED: _S.FAILED, _SE.CANCELLED: _S.CANCELLED},
    _S.DONE: {}, _S.CANCELLED: {}, _S.FAILED: {},
}
PURCHASE: Final[Mapping[PurchaseState, Mapping[PurchaseEvent, PurchaseState]]] = {
    _P.ACCEPTED:    {_PE.BLOCK_VERIFIED: _P.RECEIVING, _PE.ALL_VERIFIED: _P.VERIFIED, _PE.CUT: _P.INTERRUPTED, _PE.REFUSED: _P.REFUSED,
                     _PE.CANCELLED: _P.CANCELLED, _PE.FAILED: _P.FAILED},
    _P.RECEIVING:   {_PE.BLOCK_VERIFIED: _P.RECEIVING, _PE.ALL_VERIFIED: _P.VERIFIED, _PE.CUT: _P.INTERRUPTED,
                     _PE.CANCELLED: _P.CANCELLED, _PE.FAILED: _P.FAILED},
    _P.VERIFIED:    {_PE.COUNTERSIGNED: _P.DONE, _PE.CUT: _P.INTERRUPTED, _PE.FAILED: _P.FAILED},
    _P.INTERRUPTED: {_PE.TAKEN_UP: _P.ACCEPTED, _PE.COUNTERSIGNED: _P.DONE, _PE.EXPIRED: _P.FAILED, _PE.CANCELLED: _P.CANCELLED},
    _P.DONE: {}, _P.CANCELLED: {}, _P.REFUSED: {}, _P.FAILED: {},
}
# fmt: on

StateT = TypeVar("StateT", bound=Enum)
EventT = TypeVar("EventT", bound=Enum)


class Lifecycle(Generic[StateT, EventT]):
    """A position in one of the tables. ``advance`` is the only way to move."""

    __slots__ = ("_state", "_table")

    def __init__(self, table: Mapping[StateT, Mapping[EventT, StateT]], start: StateT) -> None:
        self._table = table
        self._state = start

    @property
    def state(self) -> StateT:
        return self._state

    @property
    def is_over(self) -> bool:
        return not self._table[self._state]

    def may(self, event: EventT) -> bool:
        return event in self._table[self._state]

    def advance(self, event: EventT) -> StateT:
        """Move, or raise ``LocalProtocolError(unexpected_message)``: callers ask ``may`` first where the event is foreign."""
        if event not in self._table[self._state]:
            raise LocalProtocolError(ErrorCode.UNEXPECTED_MESSAGE, f"'{event.value}' while {self._state.value}")
        self._state = self._table[self._state][event]
        return self._state


def diagram(table: Mapping[StateT, Mapping[EventT, StateT]]) -> str:
    """A Mermaid state diagram of a table."""
    lines = ["stateDiagram-v2", f"    [*] --> {next(iter(table)).name}"]
    for state, row in table.items():
        lines += [f"    {state.name} --> {target.name}: {event.value}" for event, target in row.items()]
        if not row:
            lines.append(f"    {state.name} --> [*]")
    return "\n".join(lines)


if __name__ == "__main__":
    for name, table in (("Sale (provider)", diagram(SALE)), ("Purchase (client)", diagram(PURCHASE))):
        print(f"### {name}\n\n```mermaid\n{table}\n```\n")  # noqa: T201 - this is the generator's output
