"""The transfers that deals, deposits and claims make, as journal records.

The ids are derived from what a transfer is about, so that doing a thing twice is doing it once.

Accounts, in the token's smallest unit; ``X`` is a channel id in hex:

========== ======================================================================================================
account    holds
========== ======================================================================================================
chain      minus what the contract holds for the channels we know
channel:X  the deposit's part that no voucher promises yet; windows are reserved here, so it never goes below zero
earned:X   what vouchers promise (provider), or what we promised (client), and no claim has taken
claimed:X  what claims have taken out of the contract
received   minus what payers have sent straight to the receiver's wallet, by x402's ``exact``
prepaid:A  the part of it that payer A has not spent; answers are reserved here
sold:A     the part that answers have used
========== ======================================================================================================
"""

from __future__ import annotations

import hashlib
from typing import Final

from retrieval.deal.records import ChannelRecord, HttpChannelRecord, record
from retrieval.ledger.journal import Record, RecordKind
from retrieval.ledger.transfers import ID_SIZE, Transfer, TransferFlag, encode_transfer, renewal_of

CHAIN: Final = "chain"
RECEIVED: Final = "received"
LIMITED: Final = frozenset({"channel", "earned", "prepaid"})
"""Classes of accounts that never owe: nothing is reserved beyond a deposit, nothing claimed beyond a voucher."""


def channel_account(channel_id: bytes) -> str:
    return f"channel:{channel_id.hex()}"


def earned_account(channel_id: bytes) -> str:
    return f"earned:{channel_id.hex()}"


def claimed_account(channel_id: bytes) -> str:
    return f"claimed:{channel_id.hex()}"


def prepaid_account(payer: bytes) -> str:
    return f"prepaid:{payer.hex()}"


def sold_account(payer: bytes) -> str:
    return f"sold:{payer.hex()}"


def deposit(channel_id: bytes, *, balance_before: int, rise: int, now_ms: int) -> Record:
    """The contract's balance for a channel rose, or fell (a negative ``rise``) by a refund or withdrawal."""
    debit, credit = (CHAIN, channel_account(channel_id)) if rise > 0 else (channel_account(channel_id), CHAIN)
    transfer_id = _id(b"deposit" if rise > 0 else b"withdrawal", channel_id, balance_before, abs(rise), now_ms)
    return transfer_record(Transfer(id=transfer_id, debit=debit, credit=credit, amount=abs(rise)))


def chain_moved(
    channel_id: bytes,
    before: ChannelRecord | HttpChannelRecord | None,
    after: ChannelRecord | HttpChannelRecord,
    *,
    promised: int,
    reserved: int,
    now_ms: int,
) -> list[Record]:
    """What the chain newly says of a channel: its record, and the transfers for a changed balance or claimed total.

    ``promised`` is the best voucher's amount. A balance that fell below what is promised (the payer withdrew before a claim) leaves the
    channel's account at zero.
    """
    records = [record(channel_id, after)]
    balance_before = before.balance if before else 0
    rise = max(after.balance - balance_before, -max(0, balance_before - promised - reserved))
    if rise:
        records.append(deposit(channel_id, balance_before=balance_before, rise=rise, now_ms=now_ms))
    claimed_before = before.total_claimed if before else 0
    if claimed_before != after.total_claimed and max(claimed_before, after.total_claimed) <= promised:
        records.append(claim(channel_id, claimed_before=claimed_before, claimed=after.total_claimed, now_ms=now_ms))
    return records


def reserve(channel_id: bytes, deal_id: bytes, *, ordinal: int, now_ms: int, amount: int) -> Transfer:
    """Set the price of a window aside until the payment for it comes.

    ``ordinal`` counts a deal's reservations in this process; ``now_ms`` tells them from those of an earlier process.
    """
    return Transfer(
        id=_id(b"reserve", deal_id, ordinal, now_ms),
        debit=channel_account(channel_id),
        credit=earned_account(channel_id),
        amount=amount,
        flag=TransferFlag.PENDING,
    )


def carried(channel_id: bytes, carriage: bytes, *, amount: int) -> tuple[Record, Record]:
    """A relay is paid for carrying a packet; ``carriage`` is the packet's hash and the relay's id, so that it is paid once. In two
    transfers, since a sum that is only posted is a correction."""
    reserved = Transfer(
        id=_id(b"carriage", carriage),
        debit=channel_account(channel_id),
        credit=earned_account(channel_id),
        amount=amount,
        flag=TransferFlag.PENDING,
    )
    return transfer_record(reserved), post(reserved, amount=amount)


def order_reserved(key: bytes, order_id: bytes, *, amount: int, has_channel: bool) -> Transfer:
    """Set the price of an answer over HTTP aside, on the tab ``key``, until it has ended."""
    debit, credit = (channel_account, earned_account) if has_channel else (prepaid_account, sold_account)
    return Transfer(id=_id(b"order", order_id), debit=debit(key), credit=credit(key), amount=amount, flag=TransferFlag.PENDING)


def exact_received(payer: bytes, exact_id: bytes, *, amount: int) -> Record:
    """A payer's ``exact`` transfer was mined, and is to be spent."""
    return transfer_record(Transfer(id=_id(b"exact", exact_id), debit=RECEIVED, credit=prepaid_account(payer), amount=amount))


def post(reservation: Transfer, *, amount: int) -> Record:
    """A payment: ``amount`` of a reservation is earned, and the rest of it released."""
    return _resolve(reservation.id, b"post", amount, TransferFlag.POST_PENDING)


def renew(reservation: Transfer, *, amount: int, reserved: int) -> tuple[Transfer, Record]:
    """The same, with ``reserved`` set aside for what comes next in one transfer; gives the reservation that is open then as well."""
    transfer = Transfer(
        id=_id(b"renew", reservation.id),
        pending_id=reservation.id,
        amount=amount,
        renewed=reserved,
        flag=TransferFlag.RENEW_PENDING,
    )
    return renewal_of(reservation, transfer), transfer_record(transfer)


def void(reservation_id: bytes) -> Record:
    """Release a reservation."""
    return _resolve(reservation_id, b"void", 0, TransferFlag.VOID_PENDING)


def claim(channel_id: bytes, *, claimed_before: int, claimed: int, now_ms: int) -> Record:
    """A claim was mined; or, where ``claimed`` is less, the chain was reorganised and it is no longer there."""
    debit, credit = earned_account(channel_id), claimed_account(channel_id)
    if claimed < claimed_before:
        debit, credit = credit, debit
    transfer_id = _id(b"claim", channel_id, claimed_before, claimed, now_ms)
    return transfer_record(Transfer(id=transfer_id, debit=debit, credit=credit, amount=abs(claimed - claimed_before)))


def correction(channel_id: bytes, *, promised_before: int, promised: int, now_ms: int, ordinal: int = 0) -> Record:
    """The other party counts another sum as promised than we did, and has shown it.

    ``ordinal`` tells a correction from an earlier one that was the same, for those who may take two within a millisecond.
    """
    debit, credit = channel_account(channel_id), earned_account(channel_id)
    if promised < promised_before:
        debit, credit = credit, debit
    transfer_id = _id(b"correction", channel_id, promised_before, promised, now_ms, ordinal)
    return transfer_record(Transfer(id=transfer_id, debit=debit, credit=credit, amount=abs(promised - promised_before)))


def transfer_record(transfer: Transfer) -> Record:
    return Record(kind=RecordKind.TRANSFER, subject=transfer.id, body=encode_transfer(transfer))


def _resolve(reservation_id: bytes, verb: bytes, amount: int, flag: TransferFlag) -> Record:
    return transfer_record(Transfer(id=_id(verb, reservation_id), pending_id=reservation_id, amount=amount, flag=flag))


def _id(verb: bytes, subject: bytes, *numbers: int) -> bytes:
    """It begins as its subject does, so that the ids of one deal or channel lie beside each other on the disk."""
    parts = [bytes((len(verb),)), verb, bytes((len(subject),)), subject]
    for number in numbers:
        parts += (_NUMBER_SIZE, number.to_bytes(17, "big"))
    return subject[:_ID_PREFIX_SIZE] + hashlib.sha256(b"".join(parts)).digest()[: ID_SIZE - _ID_PREFIX_SIZE]


_NUMBER_SIZE: Final = b"\x11"
_ID_PREFIX_SIZE: Final = 6
