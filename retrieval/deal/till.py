"""The till: whether a payment is worth what it says, and what booking it changes.

All or nothing. A payment may pay for several deals of one line; it is taken when its voucher and each of its receipts say the same and
every receipt covers a prefix of what was sent, and otherwise changes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from retrieval.deal import terms
from retrieval.deal.books import ProviderBooks
from retrieval.deal.events import PaymentTaken
from retrieval.deal.line import CreditLine
from retrieval.deal.records import ReceiptRecord, record
from retrieval.deal.sale import Sale
from retrieval.errors import ErrorCode, RemoteProtocolError
from retrieval.identity import PeerId, verify_peer
from retrieval.ledger.journal import Record
from retrieval.payment.accumulator import Accumulator
from retrieval.payment.channel import ChannelConfig, ChannelId
from retrieval.payment.voucher import Voucher, verify_voucher
from retrieval.wire.messages import Payment
from retrieval.wire.receipt import Receipt


@dataclass(frozen=True, slots=True)
class Tender:
    """A payment as it came, its receipts read. Nothing in it is believed yet."""

    payment: Payment
    receipts: tuple[Receipt, ...]

    @classmethod
    def of(cls, payment: Payment) -> Tender:
        """Raises ``RemoteProtocolError(bad_receipt)``."""
        return cls(payment, tuple([Receipt.decode(signed.body) for signed in payment.receipts]))


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """A payment that counts, once its records are on disk."""

    records: tuple[Record, ...]
    events: tuple[PaymentTaken, ...]
    sales: tuple[Sale, ...]
    """The deals it paid for."""


class Till:
    """Takes the payments of one client."""

    def __init__(self, books: ProviderBooks, peer: PeerId) -> None:
        self._books = books
        self._peer = peer

    def take(self, tender: Tender, sales: Sequence[Sale | None], now: float) -> Taken | None:
        """Check a payment and book it; None when it was booked before.

        ``sales`` are the deals of its receipts, None where one is not open on this session. Raises ``RemoteProtocolError``, in this order
        of precedence: replays are no errors, then deal, line, signatures, sums, coverage, deposit, reservation. Then nothing has changed.
        """
        payment, receipts = tender.payment, tender.receipts
        found = [sale for sale in sales if sale is not None]
        line = found[0].line if found else self._books.line_of_peer(self._peer)
        if line is not None and self._is_replay(line, payment, found):
            return None
        if len(found) != len(sales):
            raise RemoteProtocolError(ErrorCode.DEAL_UNKNOWN, "a receipt is of a deal that is not open on this session")
        assert line is not None
        if any(sale.line is not line for sale in found):
            raise RemoteProtocolError(ErrorCode.PAYMENT_MISMATCH, "its deals belong to different channels")
        self._check_signatures(line, payment)
        claims = [terms.Claim(receipt, sale.position, sale.rate) for receipt, sale in zip(receipts, found, strict=True)]
        voucher_amount = payment.voucher.amount if payment.voucher else 0
        for receipt, sale, signed in zip(receipts, found, payment.receipts, strict=True):
            if receipt.sequence == sale.position.sequence and sale.last_receipt and sale.last_receipt.body != signed.body:
                raise RemoteProtocolError(ErrorCode.EQUIVOCATION, f"sequence {receipt.sequence} was used for another receipt")
        if payment.voucher is not None and voucher_amount < line.best_amount:
            raise RemoteProtocolError(ErrorCode.STALE_VOUCHER, f"{voucher_amount} is below {line.best_amount}")
        terms.check_sums(claims, best_amount=line.best_amount, voucher_amount=voucher_amount)
        reached = [sale.check_receipt(receipt) for receipt, sale in zip(receipts, found, strict=True)]
        if line.channel is not None and voucher_amount > line.channel.balance:
            raise RemoteProtocolError(ErrorCode.VOUCHER_OVER_DEPOSIT, f"{voucher_amount} of {line.channel.balance}")
        for claim, sale in zip(claims, found, strict=True):
            if claim.increase > sale.reserved_amount:  # never by blocks we sent: only a deposit that shrank leaves too little
                raise RemoteProtocolError(ErrorCode.CHANNEL_UNFUNDED, f"{claim.increase} is paid, {sale.reserved_amount} was set aside")
        return self._apply(line, tender, found, reached, now)

    def _is_replay(self, line: CreditLine, payment: Payment, sales: list[Sale]) -> bool:
        """Whether this payment was taken before: seen by this process, or on disk as the newest receipt of each of its deals."""
        if payment in line.seen_payments:
            return True
        newest = [sale.last_receipt.body if sale.last_receipt else None for sale in sales]
        return newest == [signed.body for signed in payment.receipts]

    def _check_signatures(self, line: CreditLine, payment: Payment) -> None:
        for signed in payment.receipts:
            verify_peer(self._peer, "receipt", signed.body, signed.signature)
        if line.channel is None:
            if payment.voucher is not None:
                raise RemoteProtocolError(ErrorCode.PAYMENT_MISMATCH, "a voucher came for what is free")
            return
        if payment.voucher is None or payment.voucher.channel_id != line.key:
            raise RemoteProtocolError(ErrorCode.BAD_VOUCHER, "it is missing, or of another channel")
        authorizer = ChannelConfig.from_bytes(line.channel.config).payer_authorizer
        voucher = Voucher(
            channel_id=ChannelId(payment.voucher.channel_id), amount=payment.voucher.amount, signature=payment.voucher.signature
        )
        verify_voucher(voucher, authorizer, self._books.settlement_domain)

    def _apply(self, line: CreditLine, tender: Tender, sales: list[Sale], reached: list[Accumulator], now: float) -> Taken:
        books, payment = self._books, tender.payment
        records: list[Record] = []
        events: list[PaymentTaken] = []
        paid: list[tuple[Sale, int]] = []
        for receipt, signed, sale, accumulator in zip(tender.receipts, payment.receipts, sales, reached, strict=True):
            n_bytes = receipt.n_bytes - sale.position.n_bytes
            amount = receipt.deal_amount - sale.position.deal_amount
            paid.append((sale, amount))
            if sale.position.n_bytes == 0:
                books.charge_flat_fee(sale, now)
            sale.apply_receipt(receipt, accumulator, signed, now)
            line.take(n_bytes)
            records.append(record(sale.deal_id, ReceiptRecord(receipt=signed)))
            events.append(
                PaymentTaken(line_key=line.key, deal_id=sale.deal_id, n_bytes=n_bytes, amount=amount, receipted_bytes=sale.position.n_bytes)
            )
        line.best = payment.voucher or line.best
        line.remember(payment)
        records += (*books.pay(paid, now), line.to_record())
        return Taken(records=tuple(records), events=tuple(events), sales=tuple(sales))
