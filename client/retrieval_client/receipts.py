"""Receipts, from the journal and from files: what shows a third party what was delivered and paid.

The rule: whether a receipt holds is found out by checking it as that third party would, never by what we remember of the deal.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from retrieval.deal import fold
from retrieval.deal.records import ChannelRecord, DealRecord, LineRecord, OutcomeRecord, ReceiptRecord
from retrieval.errors import ErrorCode, LocalProtocolError, RemoteProtocolError
from retrieval.home import file_error, replace_file
from retrieval.identity import PeerId
from retrieval.ledger.state import StateView
from retrieval.payment.http_receipt import SaleReceipt, is_sale_receipt
from retrieval.payment.receipt import BUNDLE_SIZE_MAX, BUNDLE_SUFFIX, ChannelProof, ReceiptBundle, verify_bundle
from retrieval.wire.messages import DealId

FILE_MODE: Final = 0o644  # a receipt is made to be shown


def bundle_of(state: StateView, deal_id: DealId, client: PeerId) -> ReceiptBundle | None:
    """Everything that gives a deal's last receipt its meaning; None where it has no receipt, or no voucher of ours is left to cover it."""
    deal, receipt = fold.get(state, DealRecord, deal_id), fold.get(state, ReceiptRecord, deal_id)
    if deal is None or receipt is None:
        return None
    channel, line = fold.get(state, ChannelRecord, deal.line_key), fold.get(state, LineRecord, deal.line_key)
    if channel is not None and (line is None or line.best is None):
        return None
    ended = fold.get(state, OutcomeRecord, deal_id)
    return ReceiptBundle(
        version=1,
        provider=deal.peer,
        client=client,
        selection=deal.selection,
        quote=deal.quote,
        accept=deal.accept,
        receipt=receipt.receipt,
        done=ended.done if ended is not None else None,
        channel=None
        if channel is None or line is None or line.best is None
        else ChannelProof(
            config=channel.config, chain_id=channel.chain_id, contract=channel.contract, session_key=channel.session_key, voucher=line.best
        ),
    )


def receipt_status(bundle: ReceiptBundle | None) -> str:
    """``verified``, ``client_signed_only``, ``missing``, or the label of the error that a check of it ends in."""
    if bundle is None:
        return "missing"
    try:
        return verify_bundle(bundle).status.value
    except RemoteProtocolError as error:
        return error.code.label


def read_bundle(path: Path) -> ReceiptBundle | SaleReceipt:
    """A receipt file, of a deal or of an answer over HTTP; nothing in it is believed yet.

    Raises ``LocalProtocolError(file_unreadable)`` and ``RemoteProtocolError(malformed_receipt)``.
    """
    try:
        with open(path, "rb") as file:
            encoded = file.read(BUNDLE_SIZE_MAX + 1)
    except OSError as error:
        raise file_error(error, path) from error
    return SaleReceipt.decode(encoded) if is_sale_receipt(encoded) else ReceiptBundle.decode(encoded)


def export(state: StateView, client: PeerId, deals: Sequence[str], out: Path) -> list[dict[str, str]]:
    """Write receipts into the folder ``out``, or one of them to the file ``out`` where that is named like a receipt.

    ``deals`` name them by the first digits of their ids; none names all. Returns a row for each file. Raises ``LocalProtocolError``:
    ``usage``, ``deal_unknown``, ``receipt_unsigned`` where no voucher covers a receipt, ``file_unreadable``, ``disk_full``.
    """
    wanted = [_find_deal(state, text) for text in deals] or receipted_deals(state)
    is_file = out.name.endswith(BUNDLE_SUFFIX)
    if is_file and len(wanted) != 1:
        raise LocalProtocolError(ErrorCode.USAGE, f"{len(wanted)} receipts do not go into one file; name a directory")
    make_folder(out.parent if is_file else out)
    rows = []
    for deal_id in wanted:
        bundle = bundle_of(state, deal_id, client)
        if bundle is None:
            raise LocalProtocolError(ErrorCode.RECEIPT_UNSIGNED, f"the provider never got the payment for deal {deal_id.hex()}")
        path = out if is_file else out / f"{deal_id.hex()}{BUNDLE_SUFFIX}"
        replace_file(path, bundle.encode(), mode=FILE_MODE)
        rows.append({"deal_id": deal_id.hex(), "path": str(path), "status": receipt_status(bundle)})
    return rows


def receipted_deals(state: StateView) -> list[DealId]:
    """The deals that have a receipt, the oldest first."""
    receipted = {subject for subject, _ in fold.scan(state, ReceiptRecord)}
    return [
        DealId(subject) for subject, _ in sorted(fold.scan(state, DealRecord), key=lambda row: row[1].opened_ms) if subject in receipted
    ]


def make_folder(path: Path) -> None:
    """Where receipts go. Raises ``LocalProtocolError(file_unreadable)``."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise file_error(error, path) from error


def _find_deal(state: StateView, text: str) -> DealId:
    """The deal with a receipt whose id begins with these hex digits. Raises ``LocalProtocolError``: ``deal_unknown``, ``usage``."""
    found = [deal_id for deal_id, _ in fold.scan(state, ReceiptRecord) if text and deal_id.hex().startswith(text.lower())]
    if not found:
        raise LocalProtocolError(ErrorCode.DEAL_UNKNOWN, f"no receipt's deal id begins with {text[:64]!r}; `receipts list` shows them")
    if len(found) > 1:
        raise LocalProtocolError(ErrorCode.USAGE, f"{len(found)} deal ids begin with {text[:64]!r}; give more of it")
    return DealId(found[0])
