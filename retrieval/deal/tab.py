"""A tab: what a payer over HTTP has paid for, and what of it was delivered. The counterpart of a credit line, where money comes first.

A tab belongs to a channel, whose vouchers promise it more, or to a payer's address, to which ``exact`` transfers are credited. Each
request is an *order*: its price is set aside before a byte of the answer leaves, and what of the answer left is charged afterwards. So a
cut answer costs what of it was sent, an order that a restart interrupted costs nothing, and nothing is charged twice, whatever arrives
twice.

Bytes are charged on the tab's running total: what an order pays beyond its bytes by rounding up, a fraction of the smallest unit, is kept
and used by the next.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, NewType

from retrieval.deal import postings
from retrieval.deal.records import HttpChannelRecord, HttpSaleRecord, TabRecord, record
from retrieval.errors import ErrorCode, RemoteProtocolError
from retrieval.identity import EvmAddress
from retrieval.ledger.journal import Record
from retrieval.ledger.transfers import Transfer
from retrieval.payment.channel import ChannelConfig, credit
from retrieval.payment.rate import Rate
from retrieval.units import GIB, ceil_div
from retrieval.wire.messages import Selection, VoucherFields

OrderId = NewType("OrderId", bytes)
"""16 random bytes."""

ORDERS_OPEN_MAX: Final = 8
"""Answers under way from one tab: a stream of ranges asks for the next while the last one is sent."""


@dataclass(slots=True, kw_only=True, eq=False)
class Order:
    """One answer that is paid for and under way. ``fee`` and ``bytes_price`` are what it costs when all of it is sent."""

    id: OrderId
    selection: Selection
    rate: Rate
    n_bytes: int
    fee: int
    bytes_price: int
    overpaid: int
    """By rounding ``bytes_price`` up, beyond what earlier orders had overpaid; in 2^-30 of the smallest unit."""
    charged_after: int
    """The tab's charged total once this and all orders before it are delivered whole."""
    reservation: Transfer | None

    @property
    def price(self) -> int:
        return self.fee + self.bytes_price


@dataclass(slots=True, kw_only=True)
class Tab:
    """One payer's."""

    key: bytes
    """The channel's id, or the payer's address."""
    channel: HttpChannelRecord | None = None
    best: VoucherFields | None = None
    charged: int = 0
    """For answers that have ended."""
    overpaid: int = 0
    """By rounding, in 2^-30 of the smallest unit."""
    received: int = 0
    """By ``exact`` transfers that were mined; nothing where there is a channel."""
    orders: dict[OrderId, Order] = field(default_factory=dict)
    """Under way, in the order they came."""

    @classmethod
    def restored(cls, key: bytes, row: TabRecord | None, channel: HttpChannelRecord | None) -> Tab:
        """As the disk has it: what was under way is no more. A channel that nothing was charged to has no row."""
        if row is None:
            return cls(key=key, channel=channel)
        return cls(key=key, channel=channel, best=row.best, charged=row.charged, overpaid=row.overpaid, received=row.received)

    @property
    def payer(self) -> EvmAddress:
        return EvmAddress(self.key) if self.channel is None else ChannelConfig.from_bytes(self.channel.config).payer

    @property
    def best_amount(self) -> int:
        """What may be claimed: of what the best voucher promises, what was charged."""
        return self.charged

    @property
    def reserved(self) -> int:
        return sum(order.price for order in self.orders.values())

    @property
    def due(self) -> int:
        """The charged total once everything under way is delivered; the next voucher counts on from here."""
        return self.charged + self.reserved

    @property
    def credit(self) -> int:
        """What is paid in and neither charged nor set aside."""
        if self.channel is None:
            return self.received - self.due
        return credit(
            balance=self.channel.balance,
            total_claimed=self.channel.total_claimed,
            best_voucher=self.charged,
            open_windows_price=self.reserved,
        )

    def check_count(self, voucher_amount: int, amount: int) -> None:
        """Judge whether a voucher pays for everything before and an order of at most ``amount``, and for nothing else.

        Raises ``RemoteProtocolError``: ``channel_closing``, ``payment_in_flight``, ``stale_voucher`` (the client counts otherwise than we
        do, and can be told).
        """
        if self.channel is not None and self.channel.closing:
            raise RemoteProtocolError(ErrorCode.CHANNEL_CLOSING, "its withdrawal has begun on chain")
        expected = self.due + amount
        if voucher_amount != expected:
            if self.orders and voucher_amount <= expected:
                raise RemoteProtocolError(ErrorCode.PAYMENT_IN_FLIGHT, f"{len(self.orders)} answers are under way from this channel")
            raise RemoteProtocolError(ErrorCode.STALE_VOUCHER, f"{self.due} is charged, so this request takes a voucher of {expected}")

    def check_covered(self, voucher_amount: int) -> None:
        """Judge whether the deposit holds what a voucher promises. Raises ``RemoteProtocolError(voucher_over_deposit)``."""
        assert self.channel is not None
        if voucher_amount > self.channel.balance:
            raise RemoteProtocolError(ErrorCode.VOUCHER_OVER_DEPOSIT, f"{voucher_amount} of {self.channel.balance}")

    def open(
        self,
        order_id: OrderId,
        selection: Selection,
        rate: Rate,
        n_bytes: int,
        *,
        is_fee_due: bool,
        voucher: VoucherFields | None,
    ) -> tuple[Order, list[Record]]:
        """Set an order's price aside; it may be answered once the records are on disk.

        Raises ``RemoteProtocolError``: ``payment_in_flight``, then ``channel_unfunded``. Then nothing has changed.
        """
        assert n_bytes > 0
        assert (voucher is None) == (self.channel is None)
        if len(self.orders) >= ORDERS_OPEN_MAX:
            raise RemoteProtocolError(ErrorCode.PAYMENT_IN_FLIGHT, f"{ORDERS_OPEN_MAX} answers are under way, and that is the most")
        left_over = self.overpaid + sum(order.overpaid for order in self.orders.values())
        unpaid = n_bytes * rate.price_per_gib - left_over
        bytes_price = ceil_div(max(0, unpaid), GIB)
        fee = rate.flat_fee if is_fee_due else 0
        if self.credit < fee + bytes_price:
            raise RemoteProtocolError(ErrorCode.CHANNEL_UNFUNDED, f"{max(0, self.credit)} is left, and this costs {fee + bytes_price}")
        order = Order(
            id=order_id,
            selection=selection,
            rate=rate,
            n_bytes=n_bytes,
            fee=fee,
            bytes_price=bytes_price,
            overpaid=bytes_price * GIB - n_bytes * rate.price_per_gib,
            charged_after=self.due + fee + bytes_price,
            reservation=None,
        )
        records: list[Record] = []
        if order.price:
            order.reservation = postings.order_reserved(self.key, order_id, amount=order.price, has_channel=self.channel is not None)
            records.append(postings.transfer_record(order.reservation))
        if voucher is not None and (self.best is None or voucher.amount > self.best.amount):
            self.best = voucher
            records.append(self.to_record())
        self.orders[order_id] = order
        return order, records

    def close(self, order_id: OrderId, sent_bytes: int) -> tuple[int, list[Record]]:
        """Charge an order for what of its answer was sent, at most what was set aside; gives the amount. The rest is released."""
        order = self.orders.pop(order_id)
        n_bytes = min(sent_bytes, order.n_bytes)
        if n_bytes == order.n_bytes:
            amount, overpaid = order.price, order.overpaid
        else:
            unpaid = n_bytes * order.rate.price_per_gib - self.overpaid
            bytes_price = min(order.bytes_price, ceil_div(max(0, unpaid), GIB))
            amount = bytes_price + (order.fee if n_bytes else 0)
            overpaid = bytes_price * GIB - n_bytes * order.rate.price_per_gib
        self.overpaid = max(0, self.overpaid + overpaid)
        self.charged += amount
        records: list[Record] = []
        if order.reservation is not None:
            records.append(postings.post(order.reservation, amount=amount) if amount else postings.void(order.reservation.id))
        if n_bytes:
            sale = HttpSaleRecord(
                tab=self.key,
                payer=self.payer,
                selection=order.selection,
                n_bytes=n_bytes,
                amount=amount,
                price_per_gib=order.rate.price_per_gib,
                flat_fee=order.fee or None,
            )
            records += (record(order_id, sale), self.to_record())
        return amount, records

    def receive(self, amount: int) -> None:
        """Credit an ``exact`` transfer that was mined; its own record and posting are made where it was seen."""
        assert self.channel is None
        self.received += amount

    def to_record(self) -> Record:
        return record(self.key, TabRecord(best=self.best, charged=self.charged, overpaid=self.overpaid, received=self.received))
