"""Tills for the HTTP door that remember what was put to them, or want money."""

from __future__ import annotations

import queue
from collections.abc import Mapping
from dataclasses import dataclass, field

from http_door import PATIENCE_S
from retrieval_provider.http.till import NO_PRICE, Order, Refused, Sale


@dataclass(slots=True, kw_only=True)
class Ledger:
    """Lets every order go, and remembers it."""

    orders: list[Order] = field(default_factory=list)
    settled: queue.SimpleQueue[tuple[int, bool]] = field(default_factory=queue.SimpleQueue)
    headers: Mapping[str, str] = field(default_factory=lambda: {"PAYMENT-RESPONSE": "paid"})

    def ended(self) -> tuple[int, bool]:
        """How the next sale ended: bytes of the body, and whether that was all of it."""
        return self.settled.get(timeout=PATIENCE_S)

    async def open(self, order: Order) -> Sale:
        self.orders.append(order)
        return _Receipt(self)

    async def quote(self, order: Order | None) -> Mapping[str, object]:
        return NO_PRICE

    async def receipt(self, order_id: bytes) -> bytes:
        return b"receipt of " + order_id


@dataclass(frozen=True, slots=True)
class _Receipt:
    ledger: Ledger

    @property
    def headers(self) -> Mapping[str, str]:
        return self.ledger.headers

    async def ended(self, sent_bytes: int, *, is_whole: bool) -> None:
        self.ledger.settled.put((sent_bytes, is_whole))


class Closed:
    """Wants money."""

    async def open(self, order: Order) -> Sale:
        raise Refused(402, {"Payment-Required": "some"}, b"pay")

    async def quote(self, order: Order | None) -> Mapping[str, object]:
        return NO_PRICE

    async def receipt(self, order_id: bytes) -> bytes:
        return b"receipt of " + order_id
