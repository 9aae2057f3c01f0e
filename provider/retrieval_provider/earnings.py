"""What was earned, traced: each receipt, the voucher that paid it, and the claim that brought it home.

One rule: everything here is read from the journal, so that a statement and `journal check` rest on the same records.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from retrieval.cid import Cid, format_cid
from retrieval.console import show_time
from retrieval.deal import fold
from retrieval.deal.records import (
    ChannelRecord,
    ClaimRecord,
    DealRecord,
    HttpChannelRecord,
    HttpSaleRecord,
    Outcome,
    OutcomeRecord,
    ReceiptRecord,
)
from retrieval.identity import EvmAddress, PeerId, format_address, format_peer_id
from retrieval.ledger.journal import Entry, Journal, RecordKind
from retrieval.ledger.state import StateView
from retrieval.payment.channel import ChannelConfig
from retrieval.wire import shape
from retrieval.wire.receipt import Receipt, receipt_digest


@dataclass(frozen=True, slots=True, kw_only=True)
class Payout:
    """What one receipt added, or one answer over HTTP brought, in the token's smallest unit."""

    time_ms: int
    deal_id: bytes
    """Of an answer over HTTP the order's."""
    sequence: int
    receipt_digest: bytes | None
    """None over HTTP, where the payer signs no receipt."""
    root: bytes
    peer: bytes | None
    """None over HTTP, where a payer is known by its address alone."""
    channel_id: bytes | None
    """None where nothing is paid."""
    payer: bytes | None
    n_bytes: int
    amount: int
    voucher_amount: int
    """Over HTTP, what was charged to the payer by then."""
    claimed: int
    """How much of ``amount`` the chain has paid out."""
    transaction: bytes | None
    """The claim that did; None also when this node did not see it mined, and where the payer sent it straight to us."""


def payouts(journal: Journal) -> Iterator[Payout]:
    """Every receipt and answer over HTTP in the journal, oldest first."""
    state = journal.state
    claims = _claims(journal)
    channels: dict[bytes, ChannelRecord] = dict(fold.scan(state, ChannelRecord))
    http_channels = dict(fold.scan(state, HttpChannelRecord))
    charged = Counter[bytes]()
    reached: dict[bytes, Receipt] = {}
    for entry in journal.iterate():
        if entry.record.kind is RecordKind.OUTCOME:
            reached.pop(entry.record.subject, None)
        if entry.record.kind is RecordKind.HTTP_SALE:
            sale = shape.decode(HttpSaleRecord, entry.record.body)
            charged[sale.tab] += sale.amount
            yield _http_payout(entry, sale, charged[sale.tab], http_channels.get(sale.tab), claims.get(sale.tab, _NO_CLAIMS))
        if entry.record.kind is not RecordKind.RECEIPT:
            continue
        body = shape.decode(ReceiptRecord, entry.record.body).receipt.body
        receipt = Receipt.decode(body)
        before = reached.get(receipt.deal_id)
        reached[receipt.deal_id] = receipt
        deal = fold.get(state, DealRecord, receipt.deal_id)
        assert deal is not None, "a receipt is of a deal"
        channel = channels.get(deal.line_key)
        amount = receipt.deal_amount - (before.deal_amount if before else 0)
        total_claimed = channel.total_claimed if channel else 0
        yield Payout(
            time_ms=entry.time_ms,
            deal_id=receipt.deal_id,
            sequence=receipt.sequence,
            receipt_digest=receipt_digest(body),
            root=deal.selection.root,
            peer=deal.peer,
            channel_id=deal.line_key if channel else None,
            payer=ChannelConfig.from_bytes(channel.config).payer if channel else None,
            n_bytes=receipt.n_bytes - (before.n_bytes if before else 0),
            amount=amount,
            voucher_amount=receipt.channel_amount,
            claimed=max(0, min(amount, total_claimed - (receipt.channel_amount - amount))),
            transaction=claims.get(deal.line_key, _NO_CLAIMS).of(receipt.channel_amount),
        )


def _http_payout(entry: Entry, sale: HttpSaleRecord, charged: int, channel: HttpChannelRecord | None, claims: _Claims) -> Payout:
    """One answer; ``charged`` is the total of its payer with it. Without a channel the payer's transfer has reached us before."""
    claimed = sale.amount if channel is None else max(0, min(sale.amount, channel.total_claimed - (charged - sale.amount)))
    return Payout(
        time_ms=entry.time_ms,
        deal_id=entry.record.subject,
        sequence=1,
        receipt_digest=None,
        root=sale.selection.root,
        peer=None,
        channel_id=None if channel is None else sale.tab,
        payer=sale.payer,
        n_bytes=sale.n_bytes,
        amount=sale.amount,
        voucher_amount=charged,
        claimed=claimed,
        transaction=None if channel is None else claims.of(charged),
    )


def _claims(journal: Journal) -> dict[bytes, _Claims]:
    found: dict[bytes, _Claims] = {}
    for entry in journal.iterate():
        if entry.record.kind is RecordKind.CLAIM:
            claim = shape.decode(ClaimRecord, entry.record.body)
            if claim.transaction:
                found.setdefault(entry.record.subject, _Claims()).add(claim)
    return found


@dataclass(slots=True)
class _Claims:
    """The mined claims of one channel, by the total each reached."""

    totals: list[int] = field(default_factory=list)
    transactions: list[bytes] = field(default_factory=list)

    def add(self, claim: ClaimRecord) -> None:
        if not self.totals or claim.amount > self.totals[-1]:
            self.totals.append(claim.amount)
            self.transactions.append(claim.transaction)

    def of(self, voucher_amount: int) -> bytes | None:
        """The first claim that took all a voucher promised."""
        place = bisect_left(self.totals, voucher_amount)
        return self.transactions[place] if place < len(self.totals) else None


_NO_CLAIMS: Final = _Claims()


# Rows: what a statement shows


def receipt_row(payout: Payout) -> dict[str, object]:
    return {
        "time": show_time(payout.time_ms / 1000),
        "root": format_cid(Cid(payout.root)),
        "peer": _peer(payout),
        "payer": _payer(payout),
        "deal_id": payout.deal_id.hex(),
        "sequence": payout.sequence,
        "receipt": payout.receipt_digest.hex() if payout.receipt_digest else None,
        "channel": payout.channel_id.hex() if payout.channel_id else None,
        "voucher_amount": str(payout.voucher_amount),
        "bytes": payout.n_bytes,
        "amount": str(payout.amount),
        "claimed": str(payout.claimed),
        "transaction": f"0x{payout.transaction.hex()}" if payout.transaction else None,
    }


def deal_rows(found: Iterable[Payout], state: StateView) -> list[dict[str, object]]:
    """One row a deal, with the last receipt, the voucher and the claims that paid it."""
    deals: dict[bytes, list[Payout]] = {}
    for payout in found:
        deals.setdefault(payout.deal_id, []).append(payout)
    return [_deal_row(deal_id, of_deal, fold.get(state, OutcomeRecord, deal_id)) for deal_id, of_deal in deals.items()]


def _deal_row(deal_id: bytes, found: list[Payout], ended: OutcomeRecord | None) -> dict[str, object]:
    last = found[-1]
    return {
        "time": show_time(last.time_ms / 1000),
        "root": format_cid(Cid(last.root)),
        "peer": _peer(last),
        "payer": _payer(last),
        "deal_id": deal_id.hex(),
        "outcome": "done" if last.peer is None else Outcome(ended.outcome).name.lower() if ended else "open",
        "receipt": last.receipt_digest.hex() if last.receipt_digest else None,
        "channel": last.channel_id.hex() if last.channel_id else None,
        "voucher_amount": str(last.voucher_amount),
        "bytes": sum(payout.n_bytes for payout in found),
        "amount": str(sum(payout.amount for payout in found)),
        "claimed": str(sum(payout.claimed for payout in found)),
        "transactions": list(dict.fromkeys(f"0x{payout.transaction.hex()}" for payout in found if payout.transaction)),
    }


def grouped_rows(found: Iterable[Payout], by: str) -> list[dict[str, object]]:
    """Sums by ``cid``, ``payer`` or ``day`` (of the receipt, UTC), in the order in which they first appear."""
    key_of = GROUPS[by]
    sums: dict[str | None, _Sums] = {}
    for payout in found:
        sums.setdefault(key_of(payout), _Sums()).add(payout)
    return [{by: key, **each.to_json()} for key, each in sums.items()]


@dataclass(slots=True)
class _Sums:
    deals: set[bytes] = field(default_factory=set)
    n_bytes: int = 0
    amount: int = 0
    claimed: int = 0

    def add(self, payout: Payout) -> None:
        self.deals.add(payout.deal_id)
        self.n_bytes += payout.n_bytes
        self.amount += payout.amount
        self.claimed += payout.claimed

    def to_json(self) -> dict[str, object]:
        return {"deals": len(self.deals), "bytes": self.n_bytes, "amount": str(self.amount), "claimed": str(self.claimed)}


def _peer(payout: Payout) -> str | None:
    return format_peer_id(PeerId(payout.peer)) if payout.peer else None


def _payer(payout: Payout) -> str | None:
    return format_address(EvmAddress(payout.payer)) if payout.payer else None


GROUPS: Final[Mapping[str, Callable[[Payout], str | None]]] = {
    "cid": lambda payout: format_cid(Cid(payout.root)),
    "payer": _payer,
    "day": lambda payout: show_time(payout.time_ms / 1000)[:10],
}
