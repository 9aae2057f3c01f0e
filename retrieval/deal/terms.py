"""What bytes cost, how wide a window is, and whether a payment's sums agree. Pure arithmetic on integers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from retrieval.errors import ErrorCode, RemoteProtocolError
from retrieval.payment.rate import Rate as Rate  # part of the terms, shared with the receipts a third party checks
from retrieval.units import MIB, floor_div
from retrieval.wire.receipt import Receipt

WINDOW_FIRST_DEFAULT: Final = 4 * MIB
WINDOW_MAX_DEFAULT: Final = 64 * MIB
PAY_INTERVAL_DIVISOR: Final = 4
"""At most a quarter of a window per payment, so that the next window is paid for before this one is used up."""
FLAT_FEE_ONCE_S: Final = 24 * 3600
"""A flat fee is not charged again for the same selection and payer within this time."""


def window_bytes(paid_bytes: int, *, window_first: int, window_max: int) -> int:
    """How many bytes may be unpaid on a line that has paid for ``paid_bytes`` over its life.

    Half of what was paid, so that running away after a ramp loses the provider less than it has earned.
    """
    return max(window_first, min(floor_div(paid_bytes, 2), window_max))


def pay_interval(window: int, block_size_max: int) -> int:
    """How many verified unpaid bytes call for a payment: a quarter of the window, at least one block, never more than the window."""
    return min(window, max(block_size_max, floor_div(window, PAY_INTERVAL_DIVISOR)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """How far the receipts of one deal reach."""

    n_bytes: int = 0
    n_blocks: int = 0
    deal_amount: int = 0
    sequence: int = 0


@dataclass(frozen=True, slots=True)
class Claim:
    """One receipt of a payment, with what is known of its deal."""

    receipt: Receipt
    before: Position
    rate: Rate

    @property
    def increase(self) -> int:
        """What the receipt adds to what was paid for its deal."""
        return self.receipt.deal_amount - self.before.deal_amount


def check_sums(claims: Sequence[Claim], *, best_amount: int, voucher_amount: int) -> None:
    """Check that a voucher and its receipts say the same. Raises ``RemoteProtocolError(payment_mismatch)``; then nothing may change.

    All ``channel_amount``s equal the voucher's amount, the increases of ``deal_amount`` sum to the voucher's increase, and each
    ``deal_amount`` is what its bytes cost. Receipts are cumulative, so one may follow another that was lost on the way.
    """
    seen: set[bytes] = set()
    increase = 0
    for claim in claims:
        receipt, before = claim.receipt, claim.before
        if receipt.deal_id in seen:
            raise _mismatch("a deal has two receipts")
        seen.add(receipt.deal_id)
        if receipt.channel_amount != voucher_amount:
            raise _mismatch(f"a receipt names the voucher amount {receipt.channel_amount}, the voucher says {voucher_amount}")
        if receipt.sequence <= before.sequence:
            raise _mismatch(f"receipt {receipt.sequence} follows receipt {before.sequence}")
        if receipt.n_bytes < before.n_bytes or receipt.n_blocks <= before.n_blocks:
            raise _mismatch("a receipt takes back what an earlier one confirmed")
        owed = claim.rate.owed(receipt.n_bytes)
        if receipt.deal_amount != owed:
            raise _mismatch(f"{receipt.n_bytes} bytes cost {owed}, the receipt says {receipt.deal_amount}")
        increase += claim.increase
    if best_amount + increase != voucher_amount:
        raise _mismatch(f"the receipts add {increase} to {best_amount}, the voucher says {voucher_amount}")


def total(amounts: Iterable[int]) -> int:
    """Sum of amounts, none of which may be negative."""
    amounts = tuple(amounts)
    assert all(amount >= 0 for amount in amounts)
    return sum(amounts)


def _mismatch(why: str) -> RemoteProtocolError:
    return RemoteProtocolError(ErrorCode.PAYMENT_MISMATCH, why)
