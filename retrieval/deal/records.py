"""What the journal keeps of channels and deals. Each record is the newest word on its subject, so state is the last record of each.

A record's kind is also the name of the table that holds the newest body of each subject; ``Balances`` of the ledger are the fold of
the transfer records. ``retrieval.ledger.journal`` chains and stores them, and knows nothing of what they say.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from retrieval.ledger.journal import Record, RecordKind
from retrieval.units import KIB, SIZE_BYTES_MAX
from retrieval.wire import shape
from retrieval.wire.messages import (
    CHANNEL_CONFIG_SIZE,
    DETAIL_MAX,
    PEER_ID_SIZE,
    Selection,
    SessionKeyFields,
    Signed,
    SignedReceipt,
    VoucherFields,
)
from retrieval.wire.shape import blob, flag, many, nested, text, uint, wire

TOKEN_ID_SIZE = 8
TOKEN_NAME_MAX = 64  # characters
TOKEN_ORIGINS_MAX = 16
RADIO_ID_SIZE = 8
DELIVERY_ID_SIZE = 16
RELAYS_MAX = 8
RADIO_RECEIPT_SIZE_MAX = 255  # bytes; a radio frame has no more
ORIGIN_MAX = 256  # characters of ``https://host:port``; a host name has at most 253, and one so long none has

SALE_RECEIPT_BYTES_MAX = 8 * KIB
"""A receipt out of a header, which clients read up to 8 KiB."""

_bytes = uint(SIZE_BYTES_MAX)
_time_ms = uint(1 << 53)


class Outcome(IntEnum):
    """How a deal ended. Every accepted deal has exactly one."""

    DONE = 1
    CANCELLED = 2
    REFUSED = 3
    FAILED = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelRecord:
    """A channel as the chain and its owner describe it. Subject: the channel id."""

    config: bytes = wire(1, blob(CHANNEL_CONFIG_SIZE))
    chain_id: int = wire(2, uint())
    contract: bytes = wire(3, blob(20))
    peer: bytes = wire(4, blob(PEER_ID_SIZE))
    """The other party: the client that may spend (provider's journal), or the provider (client's journal)."""
    session_key: SessionKeyFields = wire(5, nested(SessionKeyFields))
    balance: int = wire(6, shape.amount)
    """Deposits the contract holds for the channel; claims do not reduce it."""
    total_claimed: int = wire(7, shape.amount)
    closing: bool = wire(8, flag)
    """Whether a withdrawal has begun: no more credit."""
    withdraw_at: int = wire(9, uint(1 << 40))
    """Block timestamp from which the withdrawal can be finalized; 0 when none has begun."""
    address: str = wire(10, text(512))
    """The provider's multiaddr as last used (client's journal), else empty."""

    @property
    def is_paid_by_us(self) -> bool:
        """Whether we spend from it: then the SessionKey names us, and else the other party. A provider has channels of both kinds."""
        return self.session_key.peer_id != self.peer


@dataclass(frozen=True, slots=True, kw_only=True)
class LineRecord:
    """The running totals between us and one payer. Subject: the channel id, or the peer id where nothing is paid."""

    best: VoucherFields | None = wire(1, nested(VoucherFields), optional=True)
    paid_bytes: int = wire(2, _bytes)
    written_off_bytes: int = wire(3, _bytes)
    """Sent and never paid, forgiven up to one first window; paid bytes make room again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DealRecord:
    """A deal as it was agreed. Subject: the deal id."""

    selection: Selection = wire(1, nested(Selection))
    quote: Signed = wire(2, nested(Signed))
    accept: Signed = wire(3, nested(Signed))
    peer: bytes = wire(4, blob(PEER_ID_SIZE))
    """The other party."""
    line_key: bytes = wire(5, blob(32, PEER_ID_SIZE))
    opened_ms: int = wire(6, _time_ms)
    expires_ms: int = wire(7, _time_ms)


@dataclass(frozen=True, slots=True, kw_only=True)
class SentRecord:
    """How much of a deal had been sent when it was cut off (provider's journal). Subject: the deal id."""

    n_bytes: int | None = wire(1, _bytes, optional=True)
    """None once it was taken up again, or where the node went down before it could count."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceiptRecord:
    """The newest receipt of a deal. Subject: the deal id."""

    receipt: SignedReceipt = wire(1, nested(SignedReceipt))


@dataclass(frozen=True, slots=True, kw_only=True)
class OutcomeRecord:
    """How a deal ended. Subject: the deal id."""

    outcome: int = wire(1, uint(4, least=1))
    code: int = wire(2, uint(999))
    """The registered error, 0 where there was none."""
    n_bytes: int = wire(3, _bytes)
    n_blocks: int = wire(4, _bytes)
    amount: int = wire(5, shape.amount)
    done: Signed | None = wire(6, nested(Signed), optional=True)
    detail: str = wire(7, text(DETAIL_MAX))
    ended_ms: int = wire(8, _time_ms)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimRecord:
    """A claim on chain. Subject: the channel id. Written before the transaction with ``transaction`` empty, and after it with its hash."""

    amount: int = wire(1, shape.amount)
    """The channel's claimed total after it."""
    transaction: bytes = wire(2, blob(0, 32))
    settled: int = wire(3, shape.amount)
    """What the settlement that followed moved to the receiver, over all channels of the batch."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpChannelRecord:
    """A channel that is spent from over HTTP, as the chain describes it. Subject: the channel id. No peer has a SessionKey for it."""

    config: bytes = wire(1, blob(CHANNEL_CONFIG_SIZE))
    chain_id: int = wire(2, uint())
    contract: bytes = wire(3, blob(20))
    balance: int = wire(4, shape.amount)
    """Deposits the contract holds for the channel; claims do not reduce it."""
    total_claimed: int = wire(5, shape.amount)
    closing: bool = wire(6, flag)
    """Whether a withdrawal has begun: no more credit."""
    withdraw_at: int = wire(7, uint(1 << 40))
    """Block timestamp from which the withdrawal can be finalized; 0 when none has begun."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TabRecord:
    """The running totals of one payer over HTTP. Subject: the channel id, or the payer's address where it pays by ``exact``."""

    best: VoucherFields | None = wire(1, nested(VoucherFields), optional=True)
    charged: int = wire(2, shape.amount)
    """For answers that have ended: what may be claimed."""
    overpaid: int = wire(3, shape.amount)
    """By rounding, in 2^-30 of the smallest unit; the next answer costs so much less."""
    received: int = wire(4, shape.amount)
    """By ``exact`` transfers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpSaleRecord:
    """An answer that was paid for and has ended. Subject: the order's id."""

    tab: bytes = wire(1, blob(20, 32))
    payer: bytes = wire(2, blob(20))
    selection: Selection = wire(3, nested(Selection))
    n_bytes: int = wire(4, _bytes)
    amount: int = wire(5, shape.amount)
    price_per_gib: int = wire(6, shape.amount)
    flat_fee: int | None = wire(7, shape.amount, optional=True)
    """What of the amount was for the content itself, once a day; None where nothing was due."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpCountRecord:
    """What we count on a channel over HTTP (client's journal). Subject: the channel id. Written before a payment leaves."""

    charged: int = wire(1, shape.amount)
    signed: int = wire(2, shape.amount)
    """The largest amount that ever left under our signature: what may be claimed at most."""
    n_corrections: int | None = wire(3, uint(), optional=True)
    """Of the count, over the channel's life; absent before the first, and in journals from before they were counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpPurchaseRecord:
    """An answer that we paid for (client's journal). Subject: an id of ours. Written when its head is here, and when its body has ended."""

    channel: bytes = wire(1, blob(32))
    provider: str = wire(2, text(512))
    """The gateway's URL."""
    selection: Selection = wire(3, nested(Selection))
    n_bytes: int | None = wire(4, _bytes, optional=True)
    """Of its body, as they came; None while it comes, or where it never came whole."""
    amount: int = wire(5, shape.amount)
    """What its head said was charged."""
    receipt: bytes = wire(6, blob(0, SALE_RECEIPT_BYTES_MAX))
    """The provider's ``SaleReceipt``; empty where it gave none."""
    bought_ms: int = wire(7, _time_ms)


@dataclass(frozen=True, slots=True, kw_only=True)
class ExactRecord:
    """A signed transfer (EIP-3009) that a request came with. Subject: its id, of payer and nonce. Written before it is submitted, with
    ``transaction`` empty, and once it is mined; or where it was only shown, to spend what an earlier one left."""

    payer: bytes = wire(1, blob(20))
    nonce: bytes = wire(2, blob(32))
    amount: int = wire(3, shape.amount)
    """What it moves; 0 where it was only shown, and is never submitted by us."""
    transaction: bytes = wire(4, blob(0, 32))
    from_block: int = wire(5, uint())
    """Where to begin looking for it, should we not hear that it was mined."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenRecord:
    """What lets a program use the client's gateway. Subject: its id, the first bytes of the digest. The token itself is kept nowhere."""

    name: str = wire(1, text(TOKEN_NAME_MAX))
    digest: bytes = wire(2, blob(32))
    scopes: int = wire(3, uint(7))
    cap: int = wire(4, shape.amount)
    """What it may spend in all."""
    per_request: int = wire(5, shape.amount)
    origins: tuple[str, ...] = wire(6, many(text(ORIGIN_MAX), TOKEN_ORIGINS_MAX))
    """Web pages that it is good for; none where it is good for anybody who has it."""
    created_ms: int = wire(7, _time_ms)
    expires_ms: int = wire(8, _time_ms)
    revoked: bool = wire(9, flag)


@dataclass(frozen=True, slots=True, kw_only=True)
class HoldRecord:
    """What one errand of the client's gateway may still cost, and has cost, for the budgets it counts against. Subject: the hold's id.

    Written before anything is signed, with what it may cost at the worst; and at its end, with nothing held.
    """

    token: bytes = wire(1, blob(TOKEN_ID_SIZE))
    origin: str = wire(2, text(ORIGIN_MAX))
    """The web page that asked; empty where none did."""
    day: int = wire(3, uint(1 << 32))
    """Since 1970."""
    held: int = wire(4, shape.amount)
    spent: int = wire(5, shape.amount)
    selection_digest: bytes = wire(6, blob(32))
    before: int = wire(7, shape.amount)
    """What deals for the same selection, that were open then, had cost before."""
    opened_ms: int = wire(8, _time_ms)


@dataclass(frozen=True, slots=True, kw_only=True)
class PacketRecord:
    """A radio packet that we sent, and what its relays may ask (``retrieval.radio``). Subject: its hash."""

    packet_id: int = wire(1, uint(0xFFFFFFFF))
    destination: bytes = wire(2, blob(RADIO_ID_SIZE))
    fee_cap: int = wire(3, shape.amount)
    sent_ms: int = wire(4, _time_ms)
    delivery: bytes = wire(5, blob(0, DELIVERY_ID_SIZE))
    """The first delivery receipt for it, empty until there is one."""
    relays: bytes = wire(6, blob(0, RELAYS_MAX * RADIO_ID_SIZE))
    """Radio ids of the relays on that receipt's trail, in its order, once the token has proven them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryRecord:
    """A delivery receipt of the radio, checked. Subject: the first bytes of its digest."""

    signed: bytes = wire(1, blob(0, RADIO_RECEIPT_SIZE_MAX))
    destination: bytes = wire(2, blob(PEER_ID_SIZE))


@dataclass(frozen=True, slots=True, kw_only=True)
class CarriageRecord:
    """What a relay was paid for carrying one packet. Subject: the packet's hash, then the relay's radio id."""

    channel: bytes = wire(1, blob(32))
    amount: int = wire(2, shape.amount)
    receipt: bytes = wire(3, blob(0, RADIO_RECEIPT_SIZE_MAX))
    """The relay's own, signed."""
    relay: bytes = wire(4, blob(PEER_ID_SIZE))


@dataclass(frozen=True, slots=True, kw_only=True)
class RelayReceiptRecord:
    """A receipt of a relay that we operate, to be shown to its origin. Subject: the relay's radio id, then the receipt's sequence."""

    signed: bytes = wire(1, blob(0, RADIO_RECEIPT_SIZE_MAX))
    relay: bytes = wire(2, blob(PEER_ID_SIZE))


@dataclass(frozen=True, slots=True, kw_only=True)
class AdvertRecord:
    """The frame of a relay's advertisement, checked: who it is, and who is paid for it; empty once it is forgotten. Subject: the
    relay's radio id."""

    frame: bytes = wire(1, blob(0, RADIO_RECEIPT_SIZE_MAX))


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceRecord:
    """What a provider asks. Subject: a root's CID, or ``DEFAULT_PRICE`` for all others."""

    price_per_gib: int = wire(1, shape.amount)
    flat_fee: int = wire(2, shape.amount)


DEFAULT_PRICE = b"*"

Body = (
    ChannelRecord
    | LineRecord
    | DealRecord
    | SentRecord
    | ReceiptRecord
    | OutcomeRecord
    | ClaimRecord
    | PriceRecord
    | HttpChannelRecord
    | TabRecord
    | HttpSaleRecord
    | ExactRecord
    | TokenRecord
    | HoldRecord
    | HttpCountRecord
    | HttpPurchaseRecord
    | PacketRecord
    | DeliveryRecord
    | CarriageRecord
    | RelayReceiptRecord
    | AdvertRecord
)

KIND_OF_BODY: dict[type[Body], RecordKind] = {
    ChannelRecord: RecordKind.CHANNEL,
    LineRecord: RecordKind.LINE,
    DealRecord: RecordKind.DEAL,
    SentRecord: RecordKind.SENT,
    ReceiptRecord: RecordKind.RECEIPT,
    OutcomeRecord: RecordKind.OUTCOME,
    ClaimRecord: RecordKind.CLAIM,
    PriceRecord: RecordKind.PRICE,
    HttpChannelRecord: RecordKind.HTTP_CHANNEL,
    TabRecord: RecordKind.TAB,
    HttpSaleRecord: RecordKind.HTTP_SALE,
    ExactRecord: RecordKind.EXACT,
    TokenRecord: RecordKind.TOKEN,
    HoldRecord: RecordKind.HOLD,
    HttpCountRecord: RecordKind.HTTP_COUNT,
    HttpPurchaseRecord: RecordKind.HTTP_PURCHASE,
    PacketRecord: RecordKind.PACKET,
    DeliveryRecord: RecordKind.DELIVERY,
    CarriageRecord: RecordKind.CARRIAGE,
    RelayReceiptRecord: RecordKind.RELAY_RECEIPT,
    AdvertRecord: RecordKind.ADVERT,
}
BODY_OF_KIND = {kind: body for body, kind in KIND_OF_BODY.items()}


def record(subject: bytes, body: Body) -> Record:
    """The journal record of a body."""
    return Record(kind=KIND_OF_BODY[type(body)], subject=subject, body=shape.encode(body))
