"""A credit line: what the provider knows of one payer, over all deals, sessions and reconnects.

A line belongs to a channel, or to a peer while nothing costs anything. Unpaid bytes belong to the line, so that taking a second deal,
or coming back on a second connection, opens no second window.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from retrieval.deal import terms
from retrieval.deal.records import ChannelRecord, LineRecord, record
from retrieval.errors import ErrorCode, RemoteProtocolError
from retrieval.ledger.journal import Record
from retrieval.payment.channel import credit
from retrieval.wire.messages import DealId, KnownChannel, VoucherFields

if TYPE_CHECKING:
    from retrieval.deal.sale import Sale

SEEN_PAYMENTS_MAX: Final = 64
"""Digests of recent payments, so that one that arrives twice is recognised. An older one is stale, not unknown."""


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
    seen_payments: deque[bytes] = field(default_factory=lambda: deque(maxlen=SEEN_PAYMENTS_MAX))

    @property
    def best_amount(self) -> int:
        return self.best.amount if self.best else 0

    @property
    def unpaid_bytes(self) -> int:
        """Sent and not covered by a receipt that is on disk."""
        return sum(sale.unpaid_bytes for sale in self.sales.values())

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
        """Whether a block of ``size`` bytes may leave. One block always may when nothing is unpaid."""
        unpaid = self.unpaid_bytes
        return unpaid == 0 or unpaid + size <= self.window

    def write_off(self, n_bytes: int) -> None:
        """Forgive what was sent and lost on the way. Raises ``RemoteProtocolError(debt_outstanding)`` above one first window."""
        if n_bytes and self.written_off_bytes + n_bytes > self.window_first:
            raise self._debt(n_bytes)
        self.written_off_bytes += n_bytes

    def require_no_debt(self) -> None:
        """Raises ``RemoteProtocolError(debt_outstanding)`` when deals that ended took more than a window with them.

        What a deal leaves unpaid at its end counts without limit, so without this a client could take a window, cancel, and begin anew.
        """
        if self.written_off_bytes > self.window:
            raise self._debt(0)

    def _debt(self, n_bytes: int) -> RemoteProtocolError:
        return RemoteProtocolError(
            ErrorCode.DEBT_OUTSTANDING,
            f"{n_bytes} bytes were sent and never paid, {self.written_off_bytes} before them; {self.window_first} are forgiven",
        )

    def settle_debts(self, except_deal: DealId | None = None) -> None:
        """Before a deal begins, write off what deals that were cut off still owe, or refuse."""
        from retrieval.deal.states import SaleState

        owing = [sale for sale in self.sales.values() if sale.state is SaleState.INTERRUPTED and sale.deal_id != except_deal]
        self.write_off(sum(sale.unpaid_bytes for sale in owing))
        for sale in owing:
            sale.forgive()

    def take(self, n_bytes: int) -> None:
        """Count bytes that were paid: they widen the window and make room for write-offs again."""
        assert n_bytes >= 0
        self.paid_bytes += n_bytes
        self.written_off_bytes = max(0, self.written_off_bytes - n_bytes)

    def require_open(self) -> None:
        """Raises unless new credit may be given on this channel."""
        if self.channel is not None and self.channel.closing:
            raise RemoteProtocolError(ErrorCode.CHANNEL_CLOSING, "its withdrawal has begun on chain")

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
