"""What was bought over HTTP, as the journal has it: rows for people and scripts, and receipts as files that anybody can check.

The rule is that of all receipts: whether one holds is found out by checking it as a third party would.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from retrieval.cid import format_cid
from retrieval.console import show_time
from retrieval.deal import fold
from retrieval.deal.records import HttpChannelRecord, HttpCountRecord, HttpPurchaseRecord
from retrieval.errors import ErrorCode, LocalProtocolError, RemoteProtocolError
from retrieval.home import replace_file
from retrieval.identity import PeerId
from retrieval.ledger.state import StateView
from retrieval.payment.channel import ChannelConfig
from retrieval.payment.http_receipt import SaleReceipt, verify_sale
from retrieval.payment.receipt import BUNDLE_SUFFIX

from ..receipts import FILE_MODE, export, make_folder, receipted_deals
from ..source import Source
from .address import GatewayAddress
from .replies import WebQuote


def purchases(state: StateView) -> list[tuple[bytes, HttpPurchaseRecord]]:
    """Everything that was paid for over HTTP, the oldest first."""
    return sorted(fold.scan(state, HttpPurchaseRecord), key=lambda row: row[1].bought_ms)


def sale_status(purchase: HttpPurchaseRecord) -> str:
    """``provider_signed``, ``missing``, or the label of the error that a check of its receipt ends in."""
    if not purchase.receipt:
        return "missing"
    try:
        verify_sale(SaleReceipt.decode(purchase.receipt))
    except RemoteProtocolError as error:
        return error.code.label
    return "provider_signed"


def purchase_rows(state: StateView) -> Iterator[dict[str, Any]]:
    """One for each answer that was paid for, with the keys of a deal's receipt."""
    for purchase_id, purchase in purchases(state):
        yield {
            "time": show_time(purchase.bought_ms // 1000),
            "deal_id": purchase_id.hex(),
            "provider": purchase.provider,
            "root": format_cid(Source.of(purchase.selection).root),
            "path": "/".join(purchase.selection.path),
            "bytes": purchase.n_bytes,
            "blocks": None,
            "paid": str(purchase.amount),
            "status": sale_status(purchase),
        }


def export_all(state: StateView, client: PeerId, wanted: Sequence[str], out: Path) -> list[dict[str, str]]:
    """As ``receipts.export``, with the receipts of answers over HTTP among the others."""
    prefixes = tuple(text.lower() for text in wanted if text)
    sold = [(key, purchase) for key, purchase in purchases(state) if purchase.receipt and (not wanted or key.hex().startswith(prefixes))]
    of_deals = [text for text in wanted if not any(key.hex().startswith(text.lower()) for key, _ in sold)]
    is_file = out.name.endswith(BUNDLE_SUFFIX)
    n_deals = len(of_deals) if wanted else len(receipted_deals(state))
    if is_file and n_deals + len(sold) != 1:
        raise LocalProtocolError(ErrorCode.USAGE, f"{n_deals + len(sold)} receipts do not go into one file; name a directory")
    rows = export(state, client, of_deals, out) if n_deals or not sold else []
    for key, purchase in sold:
        path = out if is_file else out / f"{key.hex()}{BUNDLE_SUFFIX}"
        make_folder(path.parent)
        replace_file(path, purchase.receipt, mode=FILE_MODE)
        rows.append({"deal_id": key.hex(), "path": str(path), "status": sale_status(purchase)})
    return rows


def channel_rows(state: StateView) -> Iterator[dict[str, Any]]:
    """The channels that are spent from over HTTP, with the keys of the others; ``promised`` is what was signed at most."""
    for key, channel in fold.scan(state, HttpChannelRecord):
        count = fold.get(state, HttpCountRecord, key)
        signed = 0 if count is None else count.signed
        receiver = ChannelConfig.from_bytes(channel.config).receiver
        yield {
            "channel_id": key.hex(),
            "provider": f"0x{receiver.hex()}",
            "balance": str(channel.balance),
            "promised": str(signed),
            "claimed": str(channel.total_claimed),
            "left": str(max(0, channel.balance - max(signed, channel.total_claimed))),
            "state": "closing" if channel.closing else "open",
            "withdraw_at": show_time(channel.withdraw_at) if channel.withdraw_at else None,
        }


def quote_row(source: Source, provider: GatewayAddress, quoted: WebQuote, *, per_fetch: int) -> dict[str, Any]:
    """A gateway's price. Nobody signed it."""
    return {
        "root": format_cid(source.root),
        "path": "/".join(source.path),
        "provider": str(provider),
        "bytes": quoted.bytes_max,
        "price_per_gib": str(quoted.rate.price_per_gib),
        "flat_fee": str(quoted.rate.flat_fee),
        "total": str(quoted.amount_max),
        "free_bytes_per_day": quoted.free_bytes_per_day,
        "pays_by": [offer.scheme.value for offer in quoted.accepts],
        "within_per_fetch": quoted.amount_max <= per_fetch,
    }
