"""What others owe the relay at our port: claims to hand over, and the vouchers that come back for them.

Both are files, so that they travel over whatever there is. One rule: a receipt is kept, and claimed again, until a voucher for it is
booked.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from retrieval.deal import fold
from retrieval.deal.books import ProviderBooks
from retrieval.deal.records import AdvertRecord, CarriageRecord, ChannelRecord, RelayReceiptRecord
from retrieval.deal.step import Step
from retrieval.errors import ErrorCode, LocalProtocolError, RemoteProtocolError
from retrieval.identity import EvmAddress, PeerId, public_key_of
from retrieval.ledger.state import StateView
from retrieval.payment.chain import ChannelState
from retrieval.payment.channel import (
    ChannelConfig,
    ChannelId,
    SessionKey,
    check_config,
    check_deposit,
    settlement_domain,
    verify_session_key,
)
from retrieval.radio.account import ADVERTS_PER_CLAIM_MAX, RECEIPTS_PER_CLAIM_MAX, Claim, Settlement, take_payment
from retrieval.radio.packet import RadioId, radio_id
from retrieval.radio.proof import RelayReceipt
from retrieval.wire import shape

from ..settlement import as_record

FILE_SIZE_MAX: Final = 64 * 1024  # bytes; the most that a control message of the protocol has


def claim_on(state: StateView, origin: PeerId) -> Claim:
    """The oldest receipts that this origin owes us for, as many as one claim takes, all of one relay.

    It names the channel that the origin buys from, where it has one here; another provider brings one with its settlement. Raises
    ``LocalProtocolError(usage)`` when the origin owes nothing.
    """
    rows = fold.scan(state, ChannelRecord)
    channels = [(row.balance, key) for key, row in rows if row.peer == origin and not row.closing and not row.is_paid_by_us]
    due = list(_unpaid(state, radio_id(public_key_of(origin))))
    if not due:
        raise LocalProtocolError(ErrorCode.USAGE, "there is no receipt of ours that it has not paid")
    relay = due[0].relay
    adverts = sorted(fold.scan(state, AdvertRecord), key=lambda row: row[0] != radio_id(public_key_of(PeerId(relay))))
    return Claim(
        relay=relay,
        channel_id=max(channels)[1] if channels else b"",
        receipts=tuple(row.signed for row in due if row.relay == relay)[:RECEIPTS_PER_CLAIM_MAX],
        adverts=tuple(row.frame for _, row in adverts)[:ADVERTS_PER_CLAIM_MAX],
    )


def unseen_channel(books: ProviderBooks, settlement: Settlement, *, now: float) -> ChannelRecord | None:
    """The channel of a settlement, where the chain is to be asked about it: one that is new, and checked but for that, or one that
    must have been topped up since it was seen.

    Raises ``RetrievalError``: ``channel_missing``, ``channel_unacceptable``, ``session_key_invalid``.
    """
    voucher, opening, terms = settlement.voucher, settlement.opening, books.channel_terms
    if voucher is None:
        return None
    line = books.lines.get(voucher.channel_id)
    if line is not None and line.channel is not None:
        return line.channel if voucher.amount > line.channel.balance else None
    if opening is None or terms is None or voucher.channel_id in books.tabs:
        raise LocalProtocolError(ErrorCode.CHANNEL_MISSING, "the voucher is of a channel that was never presented here")
    key, config = opening.session_key, ChannelConfig.from_bytes(opening.config)
    channel_id, peer = ChannelId(voucher.channel_id), PeerId(key.peer_id)
    check_config(config, terms, channel_id)
    session_key = SessionKey(channel_id=ChannelId(key.channel_id), peer_id=peer, expires_at=key.expires_at, signature=key.signature)
    verify_session_key(
        session_key, books.session_domain, channel_id=channel_id, peer_id=peer, authorizer=config.payer_authorizer, now_s=int(now)
    )
    return ChannelRecord(
        config=opening.config,
        chain_id=terms.chain_id,
        contract=terms.contract,
        peer=peer,
        session_key=key,
        balance=0,
        total_claimed=0,
        closing=False,
        withdraw_at=0,
        address="",
    )


def adopt(books: ProviderBooks, channel: ChannelRecord, seen: ChannelState, *, now: float) -> Step:
    """Take on a channel from ``unseen_channel`` as the chain has it. Raises ``RemoteProtocolError`` as ``check_deposit`` does."""
    assert books.channel_terms is not None
    check_deposit(books.channel_terms, balance=seen.balance, withdraw_pending=seen.withdraw_pending)
    return books.channel_seen(channel.session_key.channel_id, as_record(channel, seen), now)


def book(books: ProviderBooks, state: StateView, settlement: Settlement) -> Step:
    """Book what came back for a claim. Raises ``LocalProtocolError(channel_missing)``, and what ``take_payment`` raises."""
    voucher = settlement.voucher
    line = None if voucher is None else books.lines.get(voucher.channel_id)
    if line is None or line.channel is None:
        raise LocalProtocolError(ErrorCode.CHANNEL_MISSING, "there is no voucher, or it is of a channel that was never presented here")
    receipts = [row.signed for _, row in fold.scan(state, RelayReceiptRecord) if row.relay == settlement.relay]
    booked = {key: row.amount for key, row in fold.scan(state, CarriageRecord)}
    domain = settlement_domain(line.channel.chain_id, EvmAddress(line.channel.contract))
    return take_payment(line, settlement, PeerId(settlement.relay), receipts, booked, domain)


def settlement_of(data: bytes) -> Settlement:
    """Read what an origin answered. Raises ``RemoteProtocolError(malformed_message)``."""
    return shape.decode(Settlement, data)


def _unpaid(state: StateView, origin: RadioId) -> Iterator[RelayReceiptRecord]:
    for _, row in fold.scan(state, RelayReceiptRecord):
        try:
            receipt = RelayReceipt.read(row.signed, PeerId(row.relay))
        except RemoteProtocolError as error:
            raise LocalProtocolError(ErrorCode.JOURNAL_BROKEN, f"a relay's receipt in the journal: {error.detail}") from error
        paid = (fold.get(state, CarriageRecord, one.packet + receipt.relay) for one in receipt.carried)
        if receipt.origin == origin and not all(paid):
            yield row
