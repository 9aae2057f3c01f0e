"""A credit line: what the provider knows of one payer, over all deals, sessions and reconnects.

A line belongs to a channel, or to a peer while nothing costs anything. Unpaid bytes belong to the line, so that taking a second deal,
or coming back on a second connection, opens no second window. What was sent and will not be paid fills the window too, but for one
first window, so that at no time more than a window and a first window are lost to one payer.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from retrieval.deal import terms
from retrieval.deal.records import ChannelRecord, LineRecord, record
from retrieval.errors import ErrorCode, RemoteProtocolError
from retrieval.ledger.journal import Record
from retrieval.payment.channel import credit
from retrieval.wire.messages import DealId, KnownChannel, Payment, VoucherFields

if TYPE_CHECKING:
    from retrieval.deal.sale import Sale

SEEN_PAYMENTS_MAX: Final = 64
"""Recent payments, so that one that arrives twice is recognised. An older one is stale, not unknown."""


@dataclass(slots=True, kw_only=True)
class CreditLine:
    key: bytes
    window_first: int
    window_max: int
    channel: ChannelRecord | None = None
    best: VoucherFields | None = None
    paid_bytes: int = 0
    written_off_bytes: int = 0
    sales: dict[DealId, Sale] = field(default_factory=dict)
    """Deals of this line without an outcome."""
    seen_payments: dict[Payment, None] = field(default_factory=dict)
    """The newest last."""

    @property
    def best_amount(self) -> int:
        return self.best.amount if self.best else 0

    @property
    def unpaid_bytes(self) -> int:
        """Sent by deals without an outcome, and not covered by a receipt that is on disk."""
        return sum(sale.unpaid_bytes for sale in self.sales.values())

    @property
    def due_bytes(self) -> int:
        """The part of it that deals now under way will be paid for."""
        return sum(sale.unpaid_bytes for sale in self.sales.values() if not sale.is_cut_off)

    @property
    def debt_bytes(self) -> int:
        """Sent and never paid: by deals that are over, and by those that were cut off until they are taken up again."""
        return self.written_off_bytes + self.unpaid_bytes - self.due_bytes

    @property
    def filled_bytes(self) -> int:
        """How much of the window is taken: by what is due, and by debts above the one first window that is forgiven."""
        return self.due_bytes + max(0, self.debt_bytes - self.window_first)

    @property
    def window(self) -> int:
        return terms.window_bytes(self.paid_bytes, window_first=self.window_first, window_max=self.window_max)

    @property
    def reserved(self) -> int:
        """Prices of the open windows of all deals."""
        return sum(sale.reserved_amount for sale in self.sales.values())

    @property
    def credit(self) -> int:
        """What the deposit still covers beyond vouchers and open windows."""
        if self.channel is None:
            return 0
        return credit(
            balance=self.channel.balance,
            total_claimed=self.channel.total_claimed,
            best_voucher=self.best_amount,
            open_windows_price=self.reserved,
        )

    def has_room(self, size: int) -> bool:
        """Whether a block of ``size`` bytes may leave. One block always may when nothing is in the window."""
        filled = self.filled_bytes
        return filled == 0 or filled + size <= self.window

    def take(self, n_bytes: int) -> None:
        """Count bytes that were paid: they widen the window and make room for write-offs again."""
        assert n_bytes >= 0
        self.paid_bytes += n_bytes
        self.written_off_bytes = max(0, self.written_off_bytes - n_bytes)

    def remember(self, payment: Payment) -> None:
        """Know a payment that was taken, should it come again."""
        self.seen_payments[payment] = None
        if len(self.seen_payments) > SEEN_PAYMENTS_MAX:
            del self.seen_payments[next(iter(self.seen_payments))]

    def require_open(self, block_size_max: int) -> None:
        """Raises ``RemoteProtocolError`` unless a deal with such blocks may begin: ``channel_closing``, then ``debt_outstanding``."""
        if self.is_closing:
            raise RemoteProtocolError(ErrorCode.CHANNEL_CLOSING, "its withdrawal has begun on chain")
        if self.due_bytes == 0 and not self.has_room(block_size_max):
            raise RemoteProtocolError(
                ErrorCode.DEBT_OUTSTANDING, f"{self.debt_bytes} bytes were sent and never paid; {self.window_first} are forgiven"
            )

    @property
    def is_closing(self) -> bool:
        """Whether the payer has begun to withdraw the deposit."""
        return self.channel is not None and self.channel.closing

    def known(self) -> KnownChannel | None:
        """What a quote tells the client of its own channel."""
        if self.channel is None:
            return None
        return KnownChannel(channel_id=self.key, balance=self.channel.balance, best=self.best, reserved=self.reserved)

    def to_record(self) -> Record:
        return record(self.key, LineRecord(best=self.best, paid_bytes=self.paid_bytes, written_off_bytes=self.written_off_bytes))


def unpaid_total(lines: Iterable[CreditLine]) -> int:
    """Bytes at risk over all lines."""
    return sum(line.unpaid_bytes for line in lines)
