"""One deal as the provider sees it: what was sent, what was receipted, what is reserved for it."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from itertools import islice
from typing import Final

from retrieval.cid import Cid
from retrieval.dag.walk import Walk
from retrieval.deal import terms
from retrieval.deal.line import CreditLine
from retrieval.deal.records import DealRecord, SentRecord, record
from retrieval.deal.states import SALE, Lifecycle, SaleEvent, SaleState
from retrieval.errors import ErrorCode, RemoteProtocolError
from retrieval.ledger.journal import Record
from retrieval.ledger.transfers import Transfer
from retrieval.payment.accumulator import Accumulator
from retrieval.wire import shape
from retrieval.wire.messages import Acceptance, DealId, Quote, SignedReceipt
from retrieval.wire.receipt import NO_RECEIPT, Receipt

IN_FLIGHT_BLOCKS_MAX: Final = 16_384
"""Sent blocks of one deal without a receipt. Bounds memory where blocks are tiny; the client pays after 250 ms anyway."""


@dataclass(frozen=True, slots=True)
class Sent:
    """A block on its way."""

    cid: Cid
    size: int


class Sale:
    """Mutable; changed only by ``ProviderSession`` and by its own few verbs."""

    def __init__(self, deal_id: DealId, terms_agreed: DealRecord, line: CreditLine, *, start: SaleState) -> None:
        self.deal_id = deal_id
        self.deal = terms_agreed
        self.quote = shape.decode(Quote, terms_agreed.quote.body)
        self.acceptance = shape.decode(Acceptance, terms_agreed.accept.body)
        self.line = line
        self.rate = terms.Rate(price_per_gib=self.quote.price_per_gib, flat_fee=self.quote.flat_fee)
        self.lifecycle: Lifecycle[SaleState, SaleEvent] = Lifecycle(SALE, start)
        self.position = terms.Position()
        self.released_bytes = 0
        """Receipted bytes whose receipt is on disk: what opens the window again."""
        self.last_receipt: SignedReceipt | None = None
        self.sent_bytes = 0
        """From the deal's beginning: what left, or what the client says it has, if that is more."""
        self.presumed_bytes = 0
        """What may have left besides when the node went down, which nobody knows. The client's word on it is taken with its cursor."""
        self.in_flight: deque[Sent] = deque()
        self.accumulator = Accumulator()
        """Over the receipted blocks."""
        self.prev: bytes = NO_RECEIPT
        self.reservation: Transfer | None = None
        self.n_reservations = 0
        self.unpaid_since = 0.0
        self.walk: Walk | None = None
        self.held: tuple[Cid, int] | None = None
        """The next block to send, and its size."""
        self.turns: deque[Sale] | None = None
        """The deals of the session that serves this one, itself among them; None while no session does."""
        self.n_taken_up = 0
        self._to_skip = 0
        self._stepped = 0
        self._stepped_bytes = 0

    @property
    def state(self) -> SaleState:
        return self.lifecycle.state

    @property
    def is_cut_off(self) -> bool:
        return self.state is SaleState.INTERRUPTED

    @property
    def unpaid_bytes(self) -> int:
        return self.sent_bytes + self.presumed_bytes - self.released_bytes

    @property
    def is_due(self) -> bool:
        """Whether a payment must still come, or is being written to disk. Blocks may be empty, so bytes alone do not tell."""
        return bool(self.in_flight) or self.unpaid_bytes > 0

    @property
    def reserved_amount(self) -> int:
        return self.reservation.amount if self.reservation else 0

    @property
    def is_skipping(self) -> bool:
        """Whether blocks the client already holds are still being stepped over."""
        return self.walk is not None and self._stepped < self._to_skip

    @property
    def n_sent_blocks(self) -> int:
        return self.position.n_blocks + len(self.in_flight)

    @property
    def is_all_sent(self) -> bool:
        return self.walk is not None and not self.is_skipping and self.walk.done and self.held is None

    @property
    def is_paid_up(self) -> bool:
        """Whether all of it was sent and has its receipt."""
        return self.state is SaleState.DRAINING and not self.in_flight

    # setting out

    def join(self, turns: deque[Sale]) -> None:
        """From now on the session with these turns serves it."""
        assert self.turns is None
        self.turns = turns
        turns.append(self)

    def leave(self) -> None:
        """No session serves it any more; where it stopped is kept."""
        if self.turns is not None:
            self.turns.remove(self)
            self.turns = None
        self.walk = self.held = None
        self.in_flight.clear()

    def set_out(self, cursor: int, now: float) -> None:
        """Begin, or begin again, where the client's verified blocks end.

        Raises ``RemoteProtocolError(invalid_cursor)``, with nothing changed, when the client takes back what it gave a receipt for.
        """
        if cursor < self.position.n_blocks:
            raise RemoteProtocolError(ErrorCode.INVALID_CURSOR, f"block {cursor} is before the last receipt's {self.position.n_blocks}")
        if cursor > self.quote.n_blocks:
            raise RemoteProtocolError(ErrorCode.INVALID_CURSOR, f"block {cursor} is beyond the quote's {self.quote.n_blocks}")
        self.walk = Walk.of(self.deal.selection)
        self._to_skip = self.quote.cursor + cursor
        self._stepped = 0
        self._stepped_bytes = 0
        self.accumulator = Accumulator()
        self.unpaid_since = now
        # Blocks leave only behind the record of this, and so behind the receipts before it.
        self.released_bytes = self.position.n_bytes

    def step(self, payload: bytes | None, size: int) -> None:
        """Go past the next block: hold it to be sent, or step over it where the client has it."""
        assert self.walk is not None
        cid = self.walk.expected
        assert cid is not None
        if payload is None:
            self.walk.skip(size)
        else:
            self.walk.advance(payload)
        if self.is_skipping:
            self._step_over(cid, size)
        else:
            self.held = (cid, size)

    def _step_over(self, cid: Cid, size: int) -> None:
        """A block the client has. Those beyond the last receipt count as sent: their payment is still due."""
        assert self.walk is not None
        if self._stepped >= self.quote.cursor:
            if self._stepped - self.quote.cursor < self.position.n_blocks:
                self.accumulator.append(cid)
            else:
                self.in_flight.append(Sent(cid, size))
                self._check_claimed(size)
            self._stepped_bytes += size
        self._stepped += 1
        if self.is_skipping and self.walk.done:
            raise RemoteProtocolError(ErrorCode.INVALID_CURSOR, "it lies behind the selection's end")

    def _check_claimed(self, size: int) -> None:
        if self._stepped_bytes + size - self.position.n_bytes > self.quote.window_max or len(self.in_flight) > IN_FLIGHT_BLOCKS_MAX:
            raise RemoteProtocolError(ErrorCode.INVALID_CURSOR, "it claims more unpaid blocks than a window holds")

    def arrive(self) -> int:
        """The client's position is reached; returns how many bytes were sent beyond it, and so lost on the way."""
        assert not self.is_skipping
        assert self._stepped_bytes >= self.position.n_bytes, "receipted blocks weigh less than their receipt says"
        lost_bytes = max(0, self.sent_bytes - self._stepped_bytes)
        self.sent_bytes = self._stepped_bytes
        self.presumed_bytes = 0
        return lost_bytes

    # sending

    def wants_only_size(self) -> bool:
        """Whether the next block decides nothing, so that its payload need not be read before it is sent."""
        assert self.walk is not None
        return not self.walk.needs_payload

    def obstacle(self, size: int) -> ErrorCode | None:
        """Why a block of ``size`` bytes may not leave, or None. ``WINDOW_EXCEEDED`` passes with the next payment; the rest do not."""
        if self.quote.n_bytes < self.sent_bytes + size or self.quote.n_blocks <= self.n_sent_blocks:
            return ErrorCode.QUOTE_EXCEEDED
        if len(self.in_flight) >= IN_FLIGHT_BLOCKS_MAX:
            return ErrorCode.WINDOW_EXCEEDED
        if not self.line.has_room(size):
            return ErrorCode.WINDOW_EXCEEDED if self.line.due_bytes else ErrorCode.DEBT_OUTSTANDING
        lacking = self._lacking(self.rate.owed(self.sent_bytes + size))
        return ErrorCode.WINDOW_EXCEEDED if lacking and self.is_due else lacking

    def _lacking(self, owed: int) -> ErrorCode | None:
        """What stands in the way of owing so much."""
        if self.line.is_closing:
            return ErrorCode.CHANNEL_CLOSING
        if owed - self.position.deal_amount > self.reserved_amount:
            return ErrorCode.CHANNEL_UNFUNDED
        if owed > self.acceptance.spend_max:
            return ErrorCode.OVER_BUDGET
        return None

    def sent(self, cid: Cid, size: int, now: float) -> int:
        """Count a block as sent; returns its index in the deal."""
        index = self.n_sent_blocks
        if not self.in_flight:
            self.unpaid_since = now
        self.in_flight.append(Sent(cid, size))
        self.sent_bytes += size
        return index

    def price_of_window(self) -> int:
        """What the next window of this deal costs beyond what is receipted: the sum to reserve."""
        window = max(self.line.window, self.quote.block_size_max)  # one block may leave whatever the window
        ahead = min(window, self.quote.n_bytes - self.position.n_bytes)
        ahead = max(ahead, self.sent_bytes - self.position.n_bytes)
        return self.rate.owed(self.position.n_bytes + ahead) - self.position.deal_amount

    def price_of_sent(self) -> int:
        """What is sent costs beyond what is receipted."""
        return self.rate.owed(self.sent_bytes) - self.position.deal_amount

    # receipts

    def check_receipt(self, receipt: Receipt) -> Accumulator:
        """Check that a receipt covers a prefix of what was sent; returns the accumulator over all blocks it counts.

        Raises ``RemoteProtocolError(bad_receipt)``.
        """
        n_new = receipt.n_blocks - self.position.n_blocks
        if not 0 < n_new <= len(self.in_flight):
            raise RemoteProtocolError(ErrorCode.BAD_RECEIPT, f"it counts {receipt.n_blocks} blocks, {self.n_sent_blocks} were sent")
        covered = list(islice(self.in_flight, n_new))
        if receipt.n_bytes != self.position.n_bytes + sum(sent.size for sent in covered):
            raise RemoteProtocolError(ErrorCode.BAD_RECEIPT, f"its {receipt.n_blocks} blocks do not weigh {receipt.n_bytes} bytes")
        reached = self.accumulator.copy()
        reached.append_many([sent.cid for sent in covered])
        if receipt.root != reached.root():
            raise RemoteProtocolError(ErrorCode.BAD_RECEIPT, "its root is not that of the blocks sent")
        if self.last_receipt is not None and receipt.prev != self.prev:
            raise RemoteProtocolError(ErrorCode.BAD_RECEIPT, "its prev changed within the deal")
        return reached

    def apply_receipt(self, receipt: Receipt, reached: Accumulator, signed: SignedReceipt, now: float) -> None:
        """Move the position to where ``check_receipt`` found that it leads."""
        for _ in range(receipt.n_blocks - self.position.n_blocks):
            self.in_flight.popleft()
        self.accumulator = reached
        self.position = position_of(receipt)
        self.last_receipt = signed
        self.prev = receipt.prev
        self.unpaid_since = now

    # parting

    def to_sent_record(self) -> Record:
        return record(self.deal_id, SentRecord(n_bytes=None if self.presumed_bytes else self.sent_bytes))

    def to_setting_out_record(self) -> Record:
        """From now on nobody knows how much has left, until the next ``to_sent_record``."""
        return record(self.deal_id, SentRecord(n_bytes=None))


def position_of(receipt: Receipt) -> terms.Position:
    return terms.Position(n_bytes=receipt.n_bytes, n_blocks=receipt.n_blocks, deal_amount=receipt.deal_amount, sequence=receipt.sequence)
