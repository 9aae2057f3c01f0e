"""Transfers between accounts: money is reserved, then posted or voided, and never made or lost.

Every transfer debits one account and credits another by the same amount, so the sum over all accounts stays zero. Transfers are immutable.
``PENDING`` reserves; ``POST_PENDING`` turns a reservation, or the part of it that is earned, into a posted transfer and releases the rest;
``VOID_PENDING`` releases all of it; ``RENEW_PENDING`` posts part and reserves anew between the same accounts, so that a payment, which
opens the next window as it pays for the last one, is one transfer. A reservation is resolved once.

A transfer's id makes it idempotent for ever, and no memory grows with it: accounts and ids are rows of the state (``accounts/1``,
``transfers/1`` and ``reservations/1``), read when needed. An id's row holds a digest of the transfer; only an open reservation is kept
whole. The tables are a fold of the journal's transfer records, as all state is.
"""

from __future__ import annotations

import hashlib
from collections.abc import Set
from dataclasses import dataclass
from enum import Enum, IntEnum
from typing import Final, NamedTuple

from retrieval.errors import ErrorCode, LocalProtocolError
from retrieval.ledger.state import Overlay, Row, StateView
from retrieval.units import AMOUNT_MAX
from retrieval.wire import cbor
from retrieval.wire.shape import dump_amount

ID_SIZE: Final = 16
ACCOUNT_SIZE_MAX: Final = 128  # bytes of ASCII; a channel id in hex, with its class before it, needs 80

ACCOUNTS: Final = "accounts/1"
TRANSFERS: Final = "transfers/1"
RESERVATIONS: Final = "reservations/1"
"""The reservations that are still open, so that a start finds them without reading every transfer there ever was."""


class TransferFlag(IntEnum):
    """What a transfer does. The numbers are on disk."""

    POSTED = 1
    PENDING = 2
    POST_PENDING = 3
    VOID_PENDING = 4
    RENEW_PENDING = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Transfer:
    """One movement of ``amount`` smallest units. A resolution names its reservation, and takes the accounts from there."""

    id: bytes
    debit: str = ""
    credit: str = ""
    amount: int
    flag: TransferFlag = TransferFlag.POSTED
    pending_id: bytes | None = None
    renewed: int = 0
    """What a renewal reserves under its own id; ``amount`` is what it posts."""

    def __post_init__(self) -> None:
        assert len(self.id) == ID_SIZE
        assert 0 <= self.amount <= AMOUNT_MAX
        assert 0 <= self.renewed <= AMOUNT_MAX
        assert self.renewed == 0 or self.flag is TransferFlag.RENEW_PENDING
        if self.flag in (TransferFlag.POSTED, TransferFlag.PENDING):
            assert self.pending_id is None
            assert self.debit != self.credit
            for account in (self.debit, self.credit):
                assert account.isascii()
                assert 0 < len(account) <= ACCOUNT_SIZE_MAX
        else:
            assert self.pending_id is not None
            assert len(self.pending_id) == ID_SIZE
            assert self.debit == self.credit == ""
            assert self.flag is not TransferFlag.VOID_PENDING or self.amount == 0, "a void moves nothing"


class Result(Enum):
    """What ``apply`` made of a transfer. When several would fit, the first of this list is given."""

    EXISTS = "exists"
    """The same transfer was applied before: nothing changed, and all is well."""
    ID_TAKEN = "id_taken"
    """A different transfer has this id."""
    PENDING_NOT_FOUND = "pending_not_found"
    """``pending_id`` names no reservation."""
    PENDING_RESOLVED = "pending_resolved"
    """The reservation was posted or voided before."""
    EXCEEDS_PENDING = "exceeds_pending"
    """More would be posted than was reserved."""
    OVERFLOW = "overflow"
    """A balance would leave the range of a uint128."""
    EXCEEDS_CREDITS = "exceeds_credits"
    """A limited account would owe, counting what is reserved."""
    APPLIED = "applied"


class Balance(NamedTuple):
    """The four sums of an account; what is pending is not yet in what is posted. (A tuple: each transfer makes two.)"""

    debits_pending: int = 0
    credits_pending: int = 0
    debits_posted: int = 0
    credits_posted: int = 0

    @property
    def posted(self) -> int:
        """What the account holds."""
        return self.credits_posted - self.debits_posted

    @property
    def available(self) -> int:
        """What the account holds and nobody has reserved."""
        return self.posted - self.debits_pending


class Balances:
    """Accounts as of a state, and what transfers make of them. ``rows`` gives the changes, to be committed with their records."""

    def __init__(self, state: StateView, *, limited: Set[str]) -> None:
        """``limited`` names the classes of accounts, the part of their name before the first colon, that must never owe."""
        self._state = Overlay(state)
        self._limited = limited

    def balance(self, account: str) -> Balance:
        return _decode_balance(self._state.get(ACCOUNTS, account.encode("ascii")))

    def rows(self) -> list[Row]:
        """What has changed since the state this began with."""
        return self._state.changes()

    def apply(self, transfer: Transfer) -> Result:
        """Apply ``transfer``, or change nothing and say why."""
        return self._apply(transfer, encode_transfer(transfer))

    def apply_encoded(self, body: bytes) -> tuple[Transfer, Result]:
        """The same, of a transfer record's body; gives what it says as well."""
        transfer = decode_transfer(body)
        return transfer, self._apply(transfer, body)

    def _apply(self, transfer: Transfer, encoded: bytes) -> Result:
        digest = hashlib.sha256(encoded).digest()[:_DIGEST_SIZE]
        known = self._state.get(TRANSFERS, transfer.id)
        if known is not None:
            return Result.EXISTS if known[1:] == digest else Result.ID_TAKEN
        if transfer.pending_id is not None:
            return self._resolve(transfer, transfer.pending_id, digest)
        if transfer.flag is not TransferFlag.PENDING:
            moved = self._move(transfer, posted=transfer.amount)
            return moved or self._keep(transfer.id, _Status.CLOSED, digest)
        moved = self._move(transfer, pending=transfer.amount)
        return moved or self._keep(transfer.id, _Status.OPEN, digest, reservation=encoded)

    def _resolve(self, transfer: Transfer, pending_id: bytes, digest: bytes) -> Result:
        """Post part of a reservation, or none of it, release the rest, and where it is renewed reserve again."""
        known = self._state.get(TRANSFERS, pending_id)
        if known is None or known[0] == _Status.CLOSED:
            return Result.PENDING_NOT_FOUND
        if known[0] == _Status.RESOLVED:
            return Result.PENDING_RESOLVED
        reservation = _decode_reservation(self._state.get(RESERVATIONS, pending_id))
        if transfer.amount > reservation.amount:
            return Result.EXCEEDS_PENDING
        moved = self._move(reservation, pending=transfer.renewed - reservation.amount, posted=transfer.amount)
        if moved is not None:
            return moved
        self._keep(pending_id, _Status.RESOLVED, known[1:])
        if transfer.flag is not TransferFlag.RENEW_PENDING:
            return self._keep(transfer.id, _Status.CLOSED, digest)
        return self._keep(transfer.id, _Status.OPEN, digest, reservation=encode_transfer(renewal_of(reservation, transfer)))

    def _move(self, between: Transfer, *, pending: int = 0, posted: int = 0) -> Result | None:
        """Change both accounts alike, or change nothing and say why."""
        debit, credit = self.balance(between.debit), self.balance(between.credit)
        debited = Balance(debit.debits_pending + pending, debit.credits_pending, debit.debits_posted + posted, debit.credits_posted)
        credited = Balance(credit.debits_pending, credit.credits_pending + pending, credit.debits_posted, credit.credits_posted + posted)
        assert debited.debits_pending >= 0
        assert credited.credits_pending >= 0
        if max(*debited, *credited) > AMOUNT_MAX:
            return Result.OVERFLOW
        if debited.available < 0 and between.debit.partition(":")[0] in self._limited:
            return Result.EXCEEDS_CREDITS
        assert debited.posted + credited.posted == debit.posted + credit.posted, "money was made or lost"
        self._state.write(
            [
                Row(table=ACCOUNTS, key=between.debit.encode("ascii"), value=_encode_balance(debited)),
                Row(table=ACCOUNTS, key=between.credit.encode("ascii"), value=_encode_balance(credited)),
            ]
        )
        return None

    def _keep(self, transfer_id: bytes, status: _Status, digest: bytes, *, reservation: bytes | None = None) -> Result:
        """Know a transfer for ever, and its reservation while that is open."""
        rows = [Row(table=TRANSFERS, key=transfer_id, value=bytes((status,)) + digest)]
        if status is not _Status.CLOSED:
            rows.append(Row(table=RESERVATIONS, key=transfer_id, value=reservation))
        self._state.write(rows)
        return Result.APPLIED


def transfer_rows(state: StateView, body: bytes, *, limited: Set[str]) -> list[Row]:
    """The rows a transfer record changes: the ledger's share of a reducer.

    Whoever journals a transfer has applied it first, so a refusal here raises ``LocalProtocolError(journal_broken)``.
    """
    balances = Balances(state, limited=limited)
    transfer, result = balances.apply_encoded(body)
    if result not in (Result.APPLIED, Result.EXISTS):
        raise LocalProtocolError(ErrorCode.JOURNAL_BROKEN, f"transfer {transfer.id.hex()} is refused: {result.value}")
    return balances.rows()


def renewal_of(reservation: Transfer, transfer: Transfer) -> Transfer:
    """The reservation that is open once ``transfer`` has renewed ``reservation``."""
    return Transfer(id=transfer.id, debit=reservation.debit, credit=reservation.credit, amount=transfer.renewed, flag=TransferFlag.PENDING)


def encode_transfer(transfer: Transfer) -> bytes:
    """The body of a transfer record: deterministic CBOR, the amounts in minimal big-endian bytes, ``renewed`` only where it renews."""
    fields = {
        0: transfer.id,
        1: int(transfer.flag),
        2: dump_amount(transfer.amount),
        3: transfer.debit,
        4: transfer.credit,
        5: transfer.pending_id,
    }
    if transfer.flag is TransferFlag.RENEW_PENDING:
        fields[6] = dump_amount(transfer.renewed)
    return cbor.encode(fields)


def decode_transfer(body: bytes) -> Transfer:
    """Read what ``encode_transfer`` wrote; the journal's hashes vouch for the bytes."""
    fields = cbor.decode(body)
    return Transfer(
        id=fields[0],
        flag=TransferFlag(fields[1]),
        amount=int.from_bytes(fields[2], "big"),
        debit=fields[3],
        credit=fields[4],
        pending_id=fields[5],
        renewed=int.from_bytes(fields.get(6, b""), "big"),
    )


def open_reservations(state: StateView) -> list[Transfer]:
    """The reservations that were neither posted nor voided."""
    return [decode_transfer(row) for _, row in state.scan(RESERVATIONS)]


def _decode_reservation(row: bytes | None) -> Transfer:
    assert row is not None, "an open reservation is kept whole"
    return decode_transfer(row)


class _Status(IntEnum):
    """First byte of a row of ``transfers/1``; after it the digest."""

    CLOSED = 0
    OPEN = 1
    RESOLVED = 2


_DIGEST_SIZE: Final = 16
_UINT128_SIZE: Final = 16  # bytes; a balance's row holds four, in the order of ``Balance``


def _encode_balance(balance: Balance) -> bytes:
    return b"".join([amount.to_bytes(_UINT128_SIZE, "big") for amount in balance])


def _decode_balance(row: bytes | None) -> Balance:
    if row is None:
        return Balance()
    assert len(row) == 4 * _UINT128_SIZE
    return Balance(
        int.from_bytes(row[:16], "big"),
        int.from_bytes(row[16:32], "big"),
        int.from_bytes(row[32:48], "big"),
        int.from_bytes(row[48:], "big"),
    )
