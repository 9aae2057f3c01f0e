"""What a script gets: each result as one JSON object. Amounts are integer strings in the token's smallest unit, ids are hex.

The tables in ``screens`` are made from these very rows, so that a person and a script are told the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from retrieval.cid import format_cid
from retrieval.console import show_time
from retrieval.deal import fold
from retrieval.deal.audit import Audit
from retrieval.deal.records import ChannelRecord, DealRecord, LineRecord, Outcome, OutcomeRecord, ReceiptRecord
from retrieval.errors import ErrorCode
from retrieval.identity import EvmAddress, PeerId, format_address, format_peer_id
from retrieval.ledger.state import StateView
from retrieval.payment.http_receipt import VerifiedSale
from retrieval.payment.receipt import VerifiedReceipt
from retrieval.wire.messages import DealId, KnownChannel
from retrieval.wire.receipt import Receipt

from .leaving import Leaving
from .receipts import bundle_of, receipt_status, receipted_deals
from .source import Source

if TYPE_CHECKING:
    from .api import Retrieval
    from .funding import Offer

Row: TypeAlias = dict[str, Any]  # one JSON object


def retrieval_row(fetched: Retrieval) -> Row:
    """The keys that the contract of ``get`` names."""
    return {
        "root": fetched.root,
        "bytes": fetched.bytes,
        "blocks": fetched.blocks,
        "verified": fetched.verified,
        "paid": str(fetched.paid),
        "receipt_verified": fetched.receipt_verified,
        "ttfb_ms": fetched.ttfb_ms,
        "seconds": fetched.seconds,
        "path": fetched.path,
        "deal_id": fetched.deal_id,
        "resumed_bytes": fetched.resumed_bytes,
        "channel_open_ms": fetched.channel_open_ms,
    }


def offer_row(source: Source, provider: str, offer: Offer, *, per_fetch: int) -> Row:
    """A signed quote. ``left_after`` is what the channel would still cover, by what the provider knows of it."""
    quote = offer.quote
    known = quote.channel
    return {
        "root": format_cid(source.root),
        "path": "/".join(source.path),
        "provider": provider,
        "deal_id": offer.deal_id.hex(),
        "bytes": quote.n_bytes,
        "blocks": quote.n_blocks,
        "exact": quote.exact,
        "price_per_gib": str(quote.price_per_gib),
        "flat_fee": str(quote.flat_fee),
        "total": str(quote.amount_max),
        "lifetime_s": quote.lifetime_s,
        "receiver": None if quote.settlement is None else format_address(EvmAddress(quote.settlement.receiver)),
        "channel_id": None if known is None else known.channel_id.hex(),
        "channel_left": None if known is None else str(_left(known)),
        "left_after": None if known is None else str(_left(known) - quote.amount_max),
        "within_per_fetch": quote.amount_max <= per_fetch,
    }


def channel_rows(state: StateView) -> Iterator[Row]:
    """Every channel there ever was, as the journal has it."""
    for channel_id, channel in fold.scan(state, ChannelRecord):
        line = fold.get(state, LineRecord, channel_id)
        promised = line.best.amount if line is not None and line.best is not None else 0
        left = max(0, channel.balance - max(promised, channel.total_claimed))
        if not channel.closing:
            status = "open" if channel.balance else "empty"
        elif channel.withdraw_at:
            status = "closing"
        else:
            status = "leaving" if left else "closed"
        yield {
            "channel_id": channel_id.hex(),
            "provider": format_peer_id(PeerId(channel.peer)),
            "address": channel.address,
            "balance": str(channel.balance),
            "promised": str(promised),
            "claimed": str(channel.total_claimed),
            "left": str(left),
            "state": status,
            "withdraw_at": show_time(channel.withdraw_at) if channel.withdraw_at else None,
        }


def deal_rows(state: StateView) -> Iterator[Row]:
    """Every deal, the oldest first: what was paid for it, and how it ended."""
    for subject, deal in sorted(fold.scan(state, DealRecord), key=lambda row: row[1].opened_ms):
        yield deal_row(state, subject, deal)


def deal_row(state: StateView, deal_id: bytes, deal: DealRecord) -> Row:
    """One deal."""
    receipt, ended = fold.get(state, ReceiptRecord, deal_id), fold.get(state, OutcomeRecord, deal_id)
    last = Receipt.decode(receipt.receipt.body) if receipt is not None else None
    source = Source.of(deal.selection)
    return {
        "time": show_time(deal.opened_ms // 1000),
        "deal_id": deal_id.hex(),
        "provider": format_peer_id(PeerId(deal.peer)),
        "root": format_cid(source.root),
        "path": "/".join(source.path),
        "bytes": last.n_bytes if last else 0,
        "blocks": last.n_blocks if last else 0,
        "paid": str(last.deal_amount if last else 0),
        "voucher_amount": str(last.channel_amount if last else 0),
        "channel_id": deal.line_key.hex() if fold.get(state, ChannelRecord, deal.line_key) is not None else None,
        "outcome": "open" if ended is None else Outcome(ended.outcome).name.lower(),
        "reason": ErrorCode(ended.code).label if ended is not None and ended.code else None,
        "countersigned": ended is not None and ended.done is not None,
    }


def channel_sums(state: StateView, deals: Sequence[Row]) -> Iterator[Row]:
    """For each channel what its deals sum to, beside what its voucher promises."""
    for channel in channel_rows(state):
        own = [deal for deal in deals if deal["channel_id"] == channel["channel_id"]]
        paid = str(sum(int(deal["paid"]) for deal in own))
        yield {
            "channel_id": channel["channel_id"],
            "provider": channel["provider"],
            "deals": len(own),
            "paid": paid,
            "promised": channel["promised"],
            "claimed": channel["claimed"],
            "agrees": paid == channel["promised"],
        }


def closing_row(channel_id: bytes, payer: EvmAddress, leaving: Leaving) -> Row:
    """How far the closing of a channel is."""
    return {
        "channel_id": channel_id.hex(),
        "state": leaving.stage.value,
        "amount": str(leaving.amount),
        "payer": format_address(payer),
        "withdraw_at": show_time(leaving.withdraw_at) if leaving.withdraw_at else None,
        "transaction": None if leaving.transaction is None else f"0x{leaving.transaction.hex()}",
    }


def audit_row(audit: Audit) -> Row:
    """What `journal check` found."""
    return {
        "ok": True,
        "entries": audit.n_entries,
        "head": audit.head.hex(),
        "deals": audit.n_deals,
        "deals_open": audit.n_open,
        "channels": audit.n_channels,
        "paid": str(audit.promised),
        "claimed": str(audit.claimed),
    }


def receipt_rows(state: StateView, client: PeerId) -> Iterator[Row]:
    """Every deal's last receipt, checked."""
    for deal_id in receipted_deals(state):
        yield receipt_row(state, deal_id, client)


def receipt_row(state: StateView, deal_id: DealId, client: PeerId) -> Row:
    """The last receipt of a deal that has one, checked."""
    deal, receipt = fold.get(state, DealRecord, deal_id), fold.get(state, ReceiptRecord, deal_id)
    assert deal is not None
    assert receipt is not None
    last = Receipt.decode(receipt.receipt.body)
    return {
        "time": show_time(last.time),
        "deal_id": deal_id.hex(),
        "provider": format_peer_id(PeerId(deal.peer)),
        "root": format_cid(deal.selection.root),
        "path": "/".join(deal.selection.path),
        "bytes": last.n_bytes,
        "blocks": last.n_blocks,
        "paid": str(last.deal_amount),
        "status": receipt_status(bundle_of(state, deal_id, client)),
    }


def verified_row(path: str, proven: VerifiedReceipt) -> Row:
    """What a receipt file shows to whoever holds it."""
    return {
        "file": path,
        "status": proven.status.value,
        "deal_id": proven.deal_id.hex(),
        "provider": format_peer_id(proven.provider),
        "client": format_peer_id(proven.client),
        "root": format_cid(proven.root),
        "path": "/".join(proven.path),
        "bytes": proven.n_bytes,
        "blocks": proven.n_blocks,
        "blocks_before": proven.cursor,
        "complete": proven.complete,
        "paid": str(proven.deal_amount),
        "price_per_gib": str(proven.rate.price_per_gib),
        "channel_id": None if proven.channel_id is None else proven.channel_id.hex(),
        "channel_amount": str(proven.channel_amount),
        "chain_id": None if proven.settlement is None else proven.settlement.chain_id,
        "receiver": None if proven.settlement is None else format_address(EvmAddress(proven.settlement.receiver)),
        "time": show_time(proven.time),
    }


def sale_row(path: str, proven: VerifiedSale) -> Row:
    """What the receipt of an answer over HTTP shows to whoever holds it."""
    said = proven.statement
    return {
        "file": path,
        "status": "provider_signed",
        "order_id": said.order_id.hex(),
        "provider": format_peer_id(proven.provider),
        "payer": format_address(EvmAddress(said.payer)),
        "root": format_cid(proven.root),
        "path": "/".join(said.selection.path),
        "bytes": said.n_bytes,
        "paid": str(said.amount),
        "price_per_gib": str(said.price_per_gib),
        "channel_id": None if said.channel_id is None else said.channel_id.hex(),
        "channel_amount": None if said.channel_amount is None else str(said.channel_amount),
        "chain_id": said.chain_id,
        "receiver": format_address(EvmAddress(said.receiver)),
        "transaction": f"0x{said.transaction.hex()}" if said.transaction else None,
        "time": show_time(said.time),
    }


def _left(known: KnownChannel) -> int:
    return known.balance - (known.best.amount if known.best else 0) - known.reserved
