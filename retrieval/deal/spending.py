"""Spending: what the client knows of one channel, and how it pays for what it verified.

Every amount is computed here from our own counts. A voucher is signed for exactly what was verified, and nothing is signed that the
deposit, or the total agreed for the deal, does not cover.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from retrieval.deal import postings, terms
from retrieval.deal.events import Paid
from retrieval.deal.records import ChannelRecord, LineRecord, ReceiptRecord, record
from retrieval.deal.step import NOTHING, Step
from retrieval.errors import ErrorCode, RemoteProtocolError
from retrieval.identity import EvmAddress, PeerKey
from retrieval.ledger.journal import Record
from retrieval.ledger.transfers import Transfer
from retrieval.payment.channel import ChannelId, credit, settlement_domain
from retrieval.payment.voucher import Voucher, VoucherSigner, verify_voucher
from retrieval.wire.messages import RECEIPTS_PER_PAYMENT_MAX, DealId, KnownChannel, Payment, SignedReceipt, VoucherFields

if TYPE_CHECKING:
    from retrieval.deal.purchase import Purchase


@dataclass(slots=True, kw_only=True)
class SpendingLine:
    """One channel, or one provider while nothing costs anything."""

    key: bytes
    channel: ChannelRecord | None = None
    best: VoucherFields | None = None
    """The last voucher that counts."""
    paid_bytes: int = 0
    purchases: dict[DealId, Purchase] = field(default_factory=dict)
    """Deals of this line without an outcome."""

    @property
    def best_amount(self) -> int:
        return self.best.amount if self.best else 0

    @property
    def reserved(self) -> int:
        """What the open deals may still cost."""
        return sum(purchase.reserved_amount for purchase in self.purchases.values())

    @property
    def credit(self) -> int:
        """What the deposit still covers beyond vouchers and the deals that are open."""
        if self.channel is None:
            return 0
        return credit(
            balance=self.channel.balance,
            total_claimed=self.channel.total_claimed,
            best_voucher=self.best_amount,
            open_windows_price=self.reserved,
        )

    def channel_seen(self, channel: ChannelRecord, now: float) -> Step:
        """Adopt what the chain says of the channel."""
        before, self.channel = self.channel, channel
        if before == channel:
            return NOTHING
        moved = postings.chain_moved(self.key, before, channel, promised=self.best_amount, reserved=self.reserved, now_ms=int(now * 1000))
        return Step(records=tuple(moved))

    def adopt(self, known: KnownChannel, authorizer: EvmAddress, now: float) -> Step:
        """Bring our best voucher and the one in a quote that the provider signed in line, while no deal is open.

        Above ours, it is one we signed and forgot: adopted if our own signature on it verifies. Below ours, the provider never got the
        last payment and says so under its signature: we go on from there, since what it does not count it does not ask for again.
        Raises ``RemoteProtocolError(bad_voucher)``.
        """
        theirs = known.best.amount if known.best else 0
        if self.channel is None or theirs == self.best_amount:
            return NOTHING
        if known.best is not None:
            voucher = Voucher(channel_id=ChannelId(self.key), amount=theirs, signature=known.best.signature)
            verify_voucher(voucher, authorizer, settlement_domain(self.channel.chain_id, EvmAddress(self.channel.contract)))
        if theirs + self.reserved > self.channel.balance:
            raise RemoteProtocolError(ErrorCode.BAD_VOUCHER, f"{theirs} is more than is left of the {self.channel.balance} deposited")
        if theirs < min(self.best_amount, self.channel.total_claimed):
            raise RemoteProtocolError(ErrorCode.BAD_VOUCHER, f"{theirs} is less than the {self.channel.total_claimed} it has claimed")
        correction = postings.correction(self.key, promised_before=self.best_amount, promised=theirs, now_ms=int(now * 1000))
        self.best = known.best
        return Step(records=(correction, self.to_record()))

    def to_record(self) -> Record:
        return record(self.key, LineRecord(best=self.best, paid_bytes=self.paid_bytes, written_off_bytes=0))


class Payer:
    """The two pens of a client: the peer key for receipts, the channel's authorizer for vouchers."""

    def __init__(self, key: PeerKey, signer: VoucherSigner | None) -> None:
        self._key = key
        self._signer = signer

    def pay(self, purchases: Sequence[Purchase], now: float) -> Step:
        """One voucher a line, and a receipt for each deal that has verified bytes to pay for."""
        step = NOTHING
        for line in {id(purchase.line): purchase.line for purchase in purchases}.values():
            due = [purchase for purchase in purchases if purchase.line is line and purchase.is_unpaid]
            for first in range(0, len(due), RECEIPTS_PER_PAYMENT_MAX):
                step += self._pay_line(line, due[first : first + RECEIPTS_PER_PAYMENT_MAX], now)
        return step

    def _pay_line(self, line: SpendingLine, due: Sequence[Purchase], now: float) -> Step:
        increases = [purchase.rate.owed(purchase.verified_bytes) - purchase.paid.deal_amount for purchase in due]
        channel_amount = line.best_amount + terms.total(increases)
        if line.channel is not None:
            assert self._signer is not None
            assert channel_amount <= line.channel.balance, "an accepted deal fits the deposit"
            voucher = self._signer.sign(ChannelId(line.key), channel_amount)
            line.best = VoucherFields(channel_id=line.key, amount=channel_amount, signature=voucher.signature)
        else:
            assert channel_amount == 0, "what costs something has a channel"
        records: list[Record] = []
        receipts: list[SignedReceipt] = []
        for purchase, increase in zip(due, increases, strict=True):
            line.paid_bytes += purchase.unpaid_bytes
            body = purchase.next_receipt(channel_amount=channel_amount, now=now)
            encoded = body.encode()
            signed = SignedReceipt(body=encoded, signature=self._key.sign("receipt", encoded))
            purchase.receipted(body, signed)
            receipts.append(signed)
            records.append(record(purchase.deal_id, ReceiptRecord(receipt=signed)))
            if purchase.reservation is not None:
                records.append(_post(purchase, purchase.reservation, increase))
            else:
                assert increase == 0, "what costs something is reserved first"
        records.append(line.to_record())
        payment = Payment(voucher=line.best, receipts=tuple(receipts))
        paid = Paid(deal_ids=tuple(purchase.deal_id for purchase in due), amount=sum(increases), voucher_amount=channel_amount)
        return Step(records=tuple(records), messages=(payment,), events=(paid,))


def reserve(purchase: Purchase, now: float) -> tuple[Record, ...]:
    """Set aside what the deal may still cost."""
    assert purchase.reservation is None
    amount = purchase.quote.amount_max - purchase.paid.deal_amount
    if purchase.line.channel is None or amount <= 0:
        return ()
    purchase.n_reservations += 1
    purchase.reservation = postings.reserve(
        purchase.line.key, purchase.deal_id, ordinal=purchase.n_reservations, now_ms=int(now * 1000), amount=amount
    )
    return (postings.transfer_record(purchase.reservation),)


def _post(purchase: Purchase, reservation: Transfer, amount: int) -> Record:
    """Pay ``amount`` out of what is set aside, and keep the rest of what the deal may cost set aside."""
    left = reservation.amount - amount
    if left == 0:
        purchase.reservation = None
        return postings.post(reservation, amount=amount)
    purchase.reservation, posted = postings.renew(reservation, amount=amount, reserved=left)
    return posted


def release(purchase: Purchase) -> tuple[Record, ...]:
    """Give back what was set aside."""
    if purchase.reservation is None:
        return ()
    reservation, purchase.reservation = purchase.reservation, None
    return (postings.void(reservation.id),)
