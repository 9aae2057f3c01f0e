"""One deal as the client sees it: what was verified, what was paid, what may still come."""

from __future__ import annotations

from retrieval._native import BlockStatus
from retrieval.cid import Cid
from retrieval.dag.walk import Walk
from retrieval.deal import terms
from retrieval.deal.records import DealRecord
from retrieval.deal.sale import position_of
from retrieval.deal.spending import SpendingLine
from retrieval.deal.states import PURCHASE, Lifecycle, PurchaseEvent, PurchaseState
from retrieval.errors import ErrorCode, RemoteProtocolError
from retrieval.ledger.transfers import Transfer
from retrieval.payment.accumulator import Accumulator
from retrieval.units import floor_div
from retrieval.wire import shape
from retrieval.wire.framing import Block
from retrieval.wire.messages import DealId, Payment, Quote, SignedReceipt
from retrieval.wire.receipt import NO_RECEIPT, Receipt


class Purchase:
    """Mutable; changed only by ``ClientSession`` and by its own few verbs."""

    def __init__(self, deal_id: DealId, deal: DealRecord, line: SpendingLine, walk: Walk, *, start: PurchaseState) -> None:
        """``walk`` stands where the deal begins: behind ``quote.cursor`` blocks."""
        self.deal_id = deal_id
        self.deal = deal
        self.quote = shape.decode(Quote, deal.quote.body)
        self.line = line
        self.rate = terms.Rate(price_per_gib=self.quote.price_per_gib, flat_fee=self.quote.flat_fee)
        self.lifecycle: Lifecycle[PurchaseState, PurchaseEvent] = Lifecycle(PURCHASE, start)
        self.walk = walk
        assert walk.n_blocks == self.quote.cursor
        self.verified_bytes = 0
        self.verified_blocks = 0
        self.accumulator = Accumulator()
        """Over the verified blocks."""
        self.paid = terms.Position()
        self.last_receipt: SignedReceipt | None = None
        self.prev: bytes = NO_RECEIPT
        self.reservation: Transfer | None = None
        self.n_reservations = 0
        self.progress_at = 0.0
        self.unpaid_since = 0.0

    @classmethod
    def restore(cls, deal_id: DealId, deal: DealRecord, receipt: SignedReceipt | None, line: SpendingLine, walk: Walk) -> Purchase:
        """A deal that was cut off. The caller then steps ``walk`` over the blocks it still has, with ``hold``."""
        purchase = cls(deal_id, deal, line, walk, start=PurchaseState.INTERRUPTED)
        if receipt is not None:
            body = Receipt.decode(receipt.body)
            purchase.paid, purchase.last_receipt, purchase.prev = position_of(body), receipt, body.prev
        line.purchases[deal_id] = purchase
        return purchase

    @property
    def state(self) -> PurchaseState:
        return self.lifecycle.state

    @property
    def reserved_amount(self) -> int:
        return self.reservation.amount if self.reservation else 0

    @property
    def unpaid_bytes(self) -> int:
        """Verified, and not in any receipt."""
        return self.verified_bytes - self.paid.n_bytes

    @property
    def pay_interval(self) -> int:
        """How many verified unpaid bytes call for a payment: what the quote says, or as the window grows the deal's share of a quarter.

        The window is at least what this deal alone has opened. A GiB in blocks of 1 MiB is paid for in 84 payments, where the quote
        alone would ask for 1,024.
        """
        window = terms.window_bytes(self.paid.n_bytes, window_first=self.quote.window_first, window_max=self.quote.window_max)
        n_deals = max(1, len(self.line.purchases))
        return max(self.quote.pay_interval, floor_div(window, terms.PAY_INTERVAL_DIVISOR * n_deals))

    @property
    def is_unpaid(self) -> bool:
        """Whether a block was verified that no receipt counts. Blocks may be empty, so bytes do not tell."""
        return self.verified_blocks > self.paid.n_blocks

    @property
    def last_payment(self) -> Payment | None:
        """The payment whose arrival nobody confirmed, while no other deal of the line was paid after it."""
        if self.last_receipt is None or Receipt.decode(self.last_receipt.body).channel_amount != self.line.best_amount:
            return None
        return Payment(voucher=self.line.best, receipts=(self.last_receipt,))

    @property
    def may_resume(self) -> bool:
        """Whether everything a receipt was given for is still here."""
        return self.verified_blocks >= self.paid.n_blocks and self.verified_bytes >= self.paid.n_bytes

    def hold(self, payload: bytes | None, size: int) -> None:
        """Count a block that was verified before and is still in the store. Leaves are counted unread: ``payload`` None."""
        cid = self.walk.expected
        assert cid is not None
        if payload is None:
            self.walk.skip(size)
        else:
            self.walk.advance(payload)
        self._count(cid, size)

    def verify(self, block: Block, now: float) -> None:
        """Take a block, or raise ``RemoteProtocolError`` and take nothing: hash first, then place, then the quote's bounds."""
        if block.status is not BlockStatus.OK:
            raise RemoteProtocolError(_ERROR_OF_STATUS[block.status], f"block {block.index}")
        if block.index != self.verified_blocks or block.cid != self.walk.expected:
            raise RemoteProtocolError(ErrorCode.UNEXPECTED_BLOCK, f"block {block.index} came where {self.verified_blocks} was due")
        size = len(block.payload)
        if self.verified_bytes + size > self.quote.n_bytes or self.verified_blocks + 1 > self.quote.n_blocks:
            raise RemoteProtocolError(ErrorCode.QUOTE_EXCEEDED, f"more than {self.quote.n_bytes} bytes in {self.quote.n_blocks} blocks")
        if not self.is_unpaid:
            self.unpaid_since = now
        if self.walk.needs_payload:
            self.walk.advance(block.payload)
        else:
            self.walk.skip(size)
        self._count(block.cid, size)
        self.progress_at = now

    def _count(self, cid: Cid, size: int) -> None:
        self.accumulator.append(cid)
        self.verified_bytes += size
        self.verified_blocks += 1

    def receipted(self, receipt: Receipt, signed: SignedReceipt) -> None:
        """Everything verified so far has a receipt now."""
        self.paid = position_of(receipt)
        self.last_receipt = signed

    def next_receipt(self, *, channel_amount: int, now: float) -> Receipt:
        """The receipt for everything verified so far."""
        return Receipt(
            deal_id=self.deal_id,
            root=self.accumulator.root(),
            prev=self.prev,
            n_bytes=self.verified_bytes,
            n_blocks=self.verified_blocks,
            deal_amount=self.rate.owed(self.verified_bytes),
            channel_amount=channel_amount,
            sequence=self.paid.sequence + 1,
            time=int(now),
        )


_ERROR_OF_STATUS = {
    BlockStatus.CORRUPT: ErrorCode.CORRUPT_BLOCK,
    BlockStatus.UNSUPPORTED_HASH: ErrorCode.UNSUPPORTED_CODEC,
    BlockStatus.MALFORMED: ErrorCode.MALFORMED_FRAME,
}
