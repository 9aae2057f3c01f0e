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
from retrieval.identity import EvmAddress, PeerId, format_peer_id, public_key_of
from retrieval.ledger.state import StateView
from retrieval.payment.channel import settlement_domain
from retrieval.radio.account import ADVERTS_PER_CLAIM_MAX, RECEIPTS_PER_CLAIM_MAX, Claim, Settlement, take_payment
from retrieval.radio.packet import RadioId, radio_id
from retrieval.radio.proof import RelayReceipt
from retrieval.wire import shape

FILE_SIZE_MAX: Final = 64 * 1024  # bytes; the most that a control message of the protocol has


def claim_on(state: StateView, origin: PeerId) -> Claim:
    """The oldest receipts that this origin owes us for, as many as one claim takes, all of one relay.

    Raises ``LocalProtocolError``: ``channel_missing`` when it never opened a channel to us, ``usage`` when it owes nothing.
    """
    channels = [(row.balance, key) for key, row in fold.scan(state, ChannelRecord) if row.peer == origin and not row.closing]
    if not channels:
        raise LocalProtocolError(
            ErrorCode.CHANNEL_MISSING, f"{format_peer_id(origin)} pays from a channel with this provider, and has none"
        )
    due = list(_unpaid(state, radio_id(public_key_of(origin))))
    if not due:
        raise LocalProtocolError(ErrorCode.USAGE, "there is no receipt of ours that it has not paid")
    relay = due[0].relay
    adverts = sorted(fold.scan(state, AdvertRecord), key=lambda row: row[0] != radio_id(public_key_of(PeerId(relay))))
    return Claim(
        relay=relay,
        channel_id=max(channels)[1],
        receipts=tuple(row.signed for row in due if row.relay == relay)[:RECEIPTS_PER_CLAIM_MAX],
        adverts=tuple(row.frame for _, row in adverts)[:ADVERTS_PER_CLAIM_MAX],
    )


def book(books: ProviderBooks, state: StateView, settlement: Settlement) -> Step:
    """Book what came back for a claim. Raises ``LocalProtocolError(channel_missing)``, and what ``take_payment`` raises."""
    voucher = settlement.voucher
    line = None if voucher is None else books.lines.get(voucher.channel_id)
    if line is None or line.channel is None:
        raise LocalProtocolError(ErrorCode.CHANNEL_MISSING, "the voucher is of a channel that was never presented here")
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
