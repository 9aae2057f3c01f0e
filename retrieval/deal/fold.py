"""How journal entries become the current state. The same fold runs at every commit and, from the beginning, in ``journal check``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, TypeVar

from retrieval.deal import allowance, postings
from retrieval.deal.books import Tables
from retrieval.deal.records import (
    BODY_OF_KIND,
    AdvertRecord,
    Body,
    CarriageRecord,
    ChannelRecord,
    ClaimRecord,
    DealRecord,
    DeliveryRecord,
    ExactRecord,
    HoldRecord,
    HttpChannelRecord,
    HttpCountRecord,
    HttpPurchaseRecord,
    HttpSaleRecord,
    LineRecord,
    OutcomeRecord,
    PacketRecord,
    PriceRecord,
    ReceiptRecord,
    RelayReceiptRecord,
    SentRecord,
    TabRecord,
    TokenRecord,
)
from retrieval.errors import ErrorCode, LocalProtocolError
from retrieval.identity import DIGEST_SIZE
from retrieval.ledger.entry import Entry
from retrieval.ledger.journal import RecordKind
from retrieval.ledger.state import Row, StateView
from retrieval.ledger.transfers import open_reservations, transfer_rows
from retrieval.units import floor_div
from retrieval.wire import shape
from retrieval.wire.receipt import NO_RECEIPT, receipt_digest

BodyT = TypeVar("BodyT", bound=Body)

TABLE_OF_BODY: Final[dict[type, str]] = {
    ChannelRecord: "channels/1",
    LineRecord: "lines/1",
    DealRecord: "deals/1",
    SentRecord: "sent/1",
    ReceiptRecord: "receipts/1",
    OutcomeRecord: "outcomes/1",
    ClaimRecord: "claims/1",
    PriceRecord: "prices/1",
    HttpChannelRecord: "http-channels/1",
    TabRecord: "tabs/1",
    HttpSaleRecord: "http-sales/1",
    ExactRecord: "exact/1",
    TokenRecord: "tokens/1",
    HoldRecord: "holds/1",
    HttpCountRecord: "http-counts/1",
    HttpPurchaseRecord: "http-purchases/1",
    PacketRecord: "packets/1",
    DeliveryRecord: "deliveries/1",
    CarriageRecord: "carriages/1",
    RelayReceiptRecord: "relay-receipts/1",
    AdvertRecord: "adverts/1",
}
OPEN_DEALS: Final = "open-deals/1"
"""Ids of deals without an outcome, so that a start does not read every deal there ever was."""
HTTP_FEES: Final = "http-fees/1"
"""By tab and digest of a selection: when its flat fee was charged last over HTTP, so that a restart does not charge it again that day."""
UNHEARD_EXACTS: Final = "unheard-exacts/1"
"""Ids of ``exact`` transfers that were submitted and not seen mined, for the same reason."""
LAST_RECEIPTS: Final = "last-receipts/1"
"""By peer: the digest of the last receipt of the deal that ended last, which the next deal's receipts name as ``prev``."""


def reduce(state: StateView, entry: Entry) -> list[Row]:
    """The rows an entry changes. Raises ``LocalProtocolError(journal_broken)`` at a deal that ends twice, or never began."""
    record = entry.record
    if record.kind is RecordKind.TRANSFER:
        return transfer_rows(state, record.body, limited=postings.LIMITED)
    if record.kind not in BODY_OF_KIND:
        return []
    if record.kind is RecordKind.HOLD:
        return allowance.rows(state, TABLE_OF_BODY[HoldRecord], record)
    if record.kind is RecordKind.ADVERT and not shape.decode(AdvertRecord, record.body).frame:
        return [Row(table=TABLE_OF_BODY[AdvertRecord], key=record.subject, value=None)]
    rows = [Row(table=TABLE_OF_BODY[BODY_OF_KIND[record.kind]], key=record.subject, value=record.body)]
    if record.kind is RecordKind.DEAL:
        rows.append(Row(table=OPEN_DEALS, key=record.subject, value=b"\x01"))
    elif record.kind is RecordKind.EXACT:
        transfer = shape.decode(ExactRecord, record.body)
        is_unheard = transfer.amount > 0 and not transfer.transaction
        rows.append(Row(table=UNHEARD_EXACTS, key=record.subject, value=b"\x01" if is_unheard else None))
    elif record.kind is RecordKind.HTTP_SALE:
        sale = shape.decode(HttpSaleRecord, record.body)
        if sale.flat_fee is not None:
            rows.append(Row(table=HTTP_FEES, key=sale.tab + sale.selection.digest, value=entry.time_ms.to_bytes(8, "big")))
    elif record.kind is RecordKind.OUTCOME:
        if state.get(OPEN_DEALS, record.subject) is None:
            raise LocalProtocolError(ErrorCode.JOURNAL_BROKEN, f"deal {record.subject.hex()} ended and was not open")
        rows += [
            Row(table=OPEN_DEALS, key=record.subject, value=None),
            Row(table=TABLE_OF_BODY[SentRecord], key=record.subject, value=None),
        ]
        deal, receipt = get(state, DealRecord, record.subject), get(state, ReceiptRecord, record.subject)
        if deal is not None and receipt is not None:
            rows.append(Row(table=LAST_RECEIPTS, key=deal.peer, value=receipt_digest(receipt.receipt.body)))
    return rows


def get(state: StateView, body: type[BodyT], subject: bytes) -> BodyT | None:
    """The newest record of a subject."""
    row = state.get(TABLE_OF_BODY[body], subject)
    return None if row is None else shape.decode(body, row)


def scan(state: StateView, body: type[BodyT]) -> Iterator[tuple[bytes, BodyT]]:
    """The newest record of every subject."""
    for subject, row in state.scan(TABLE_OF_BODY[body]):
        yield subject, shape.decode(body, row)


def open_deals(state: StateView) -> list[bytes]:
    """Ids of the deals without an outcome."""
    return [deal_id for deal_id, _ in state.scan(OPEN_DEALS)]


def unheard_exacts(state: StateView) -> list[bytes]:
    """Ids of the ``exact`` transfers that were submitted, and that the chain has not shown yet."""
    return [exact_id for exact_id, _ in state.scan(UNHEARD_EXACTS)]


def last_receipt(state: StateView, peer: bytes) -> bytes:
    """Digest of the last receipt of the deal with ``peer`` that ended last."""
    return state.get(LAST_RECEIPTS, peer) or NO_RECEIPT


def load_tables(state: StateView) -> Tables:
    """What the provider's books begin with: what it sells on, and not the channels from which it pays relays itself."""
    deals = open_deals(state)
    channels, spending = dict[bytes, ChannelRecord](), set[bytes]()
    for key, channel in scan(state, ChannelRecord):
        if channel.is_paid_by_us:
            spending.add(key)
        else:
            channels[key] = channel

    def of_open(body: type[BodyT]) -> dict[bytes, BodyT]:
        return {deal_id: row for deal_id in deals if (row := get(state, body, deal_id)) is not None}

    return Tables(
        channels=channels,
        lines={key: line for key, line in scan(state, LineRecord) if key not in spending},
        open_deals=of_open(DealRecord),
        receipts=of_open(ReceiptRecord),
        sent=of_open(SentRecord),
        http_channels=dict(scan(state, HttpChannelRecord)),
        tabs=dict(scan(state, TabRecord)),
        fees=_fees(state),
        reservations=tuple(transfer.id for transfer in open_reservations(state)),
    )


def _fees(state: StateView) -> dict[tuple[bytes, bytes], float]:
    """As ``Tables`` has them."""
    return {
        (key[:-DIGEST_SIZE], key[-DIGEST_SIZE:]): floor_div(int.from_bytes(time_ms, "big"), 1000) for key, time_ms in state.scan(HTTP_FEES)
    }
