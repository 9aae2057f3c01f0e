"""What was earned, traced: each receipt, the voucher that paid it, and the claim that brought it home.

One rule: everything here is read from the journal, so that a statement and `journal check` rest on the same records. A statement is read
once from the beginning and then carried on: what a later claim says of an earlier payment is entered where that stands, in every sum.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

from retrieval.cid import Cid, format_cid
from retrieval.console import show_time
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
from retrieval.payment.channel import ChannelConfig
from retrieval.wire import shape
from retrieval.wire.receipt import Receipt, receipt_digest

Key: TypeAlias = bytes | int | None
"""What a group is known by: a root, a payer's address or None where nobody pays, a number of days or hours since 1970."""
CHANNEL_ID_SIZE: Final = 32
"""Bytes: what is paid through a channel is kept under its id; a peer's id and a payer's address have other sizes."""


@dataclass(slots=True, kw_only=True)
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
    """None where nothing is paid, and for what the payer's own transfer brought."""
    payer: bytes | None
    n_bytes: int
    amount: int
    voucher_amount: int
    """Over HTTP, what was charged to the payer by then."""
    claimed: int = 0
    """How much of ``amount`` the chain has paid out."""
    transaction: bytes | None = None
    """The claim that did; None also when this node did not see it mined, and where the payer sent it straight to us."""


@dataclass(slots=True, kw_only=True)
class DealSum:
    """The payouts of one deal."""

    last: Payout
    keys: tuple[Key, ...] = ()
    """Of the groups that the last payout is in, as ``GROUPS`` has them."""
    outcome: str
    n_bytes: int = 0
    amount: int = 0
    claimed: int = 0
    transactions: dict[bytes, None] = field(default_factory=dict)


@dataclass(slots=True)
class Sums:
    """The payouts of one content, payer, day or hour."""

    n_deals: int = 0
    n_bytes: int = 0
    amount: int = 0
    claimed: int = 0
    http_amount: int = 0
    """Of it, what came over HTTP."""

    def to_json(self) -> dict[str, object]:
        return {
            "deals": self.n_deals,
            "bytes": self.n_bytes,
            "amount": str(self.amount),
            "claimed": str(self.claimed),
            "over_http": str(self.http_amount),
        }


class Statement:
    """What a journal says was earned, as far as ``read`` has read it."""

    def __init__(self, journal: Journal, *, deals_kept: int | None = None) -> None:
        """``deals_kept`` limits how many deals are kept one by one, the newest; the sums are of all."""
        self.deals: Final = OrderedDict[bytes, DealSum]()
        """By id, in the order in which they first paid."""
        self.sums: Final[dict[str, dict[Key, Sums]]] = {by: {} for by in GROUPS}
        """By what ``GROUPS`` names and its key, in the order in which they first appear."""
        self.last_claim_ms: int | None = None
        """When a claim was last seen mined."""
        self._journal: Final = journal
        self._deals_kept: Final = deals_kept
        self._read_to = 0
        self._agreed: Final[dict[bytes, _Agreed]] = {}
        self._accounts: Final[dict[bytes, _Account]] = {}

    def read(self) -> Iterator[Payout]:
        """Read what is new, and give each payout in it, oldest first. What a payout says of claims is true once all is read."""
        for entry in self._journal.iterate(self._read_to + 1):
            self._read_to = entry.sequence
            subject, body = entry.record.subject, entry.record.body
            match entry.record.kind:
                case RecordKind.DEAL:
                    deal = shape.decode(DealRecord, body)
                    self._agreed[subject] = _Agreed(root=deal.selection.root, peer=deal.peer, line_key=deal.line_key)
                case RecordKind.RECEIPT:
                    yield self._paid(entry)
                case RecordKind.OUTCOME:
                    ended = self._agreed.pop(subject, None)
                    if ended is not None and ended.sum is not None:
                        ended.sum.outcome = Outcome(shape.decode(OutcomeRecord, body).outcome).name.lower()
                case RecordKind.HTTP_SALE:
                    yield self._sold_over_http(entry)
                case RecordKind.CHANNEL:
                    channel = shape.decode(ChannelRecord, body)
                    account = self._account(subject)
                    account.payer = ChannelConfig.from_bytes(channel.config).payer
                    account.paid_out(channel.total_claimed)
                case RecordKind.HTTP_CHANNEL:
                    self._account(subject).paid_out(shape.decode(HttpChannelRecord, body).total_claimed)
                case RecordKind.CLAIM:
                    claim = shape.decode(ClaimRecord, body)
                    if claim.transaction:
                        self.last_claim_ms = entry.time_ms
                        self._account(subject).claimed_by(claim)
                case _:
                    pass

    def _paid(self, entry: Entry) -> Payout:
        body = shape.decode(ReceiptRecord, entry.record.body).receipt.body
        receipt = Receipt.decode(body)
        deal = self._agreed[receipt.deal_id]
        before, deal.reached = deal.reached, receipt
        account = self._account(deal.line_key) if len(deal.line_key) == CHANNEL_ID_SIZE else None
        payout = Payout(
            time_ms=entry.time_ms,
            deal_id=receipt.deal_id,
            sequence=receipt.sequence,
            receipt_digest=receipt_digest(body),
            root=deal.root,
            peer=deal.peer,
            channel_id=None if account is None else deal.line_key,
            payer=None if account is None else account.payer,
            n_bytes=receipt.n_bytes - (before.n_bytes if before else 0),
            amount=receipt.deal_amount - (before.deal_amount if before else 0),
            voucher_amount=receipt.channel_amount,
        )
        deal.sum = self._add(payout, deal.sum, account, outcome="open")
        return payout

    def _sold_over_http(self, entry: Entry) -> Payout:
        """One answer. Without a channel the payer's transfer has reached us before."""
        sale = shape.decode(HttpSaleRecord, entry.record.body)
        is_channel = len(sale.tab) == CHANNEL_ID_SIZE
        account = self._account(sale.tab)
        payout = Payout(
            time_ms=entry.time_ms,
            deal_id=entry.record.subject,
            sequence=1,
            receipt_digest=None,
            root=sale.selection.root,
            peer=None,
            channel_id=sale.tab if is_channel else None,
            payer=sale.payer,
            n_bytes=sale.n_bytes,
            amount=sale.amount,
            voucher_amount=account.promised + sale.amount,
        )
        if not is_channel:
            account.promised += sale.amount
            payout.claimed = sale.amount
        self._add(payout, None, account if is_channel else None, outcome="done")
        return payout

    def _add(self, payout: Payout, deal: DealSum | None, account: _Account | None, *, outcome: str) -> DealSum:
        keys = tuple(key_of(payout) for key_of in GROUPS.values())
        groups = tuple(self.sums[by].setdefault(key, Sums()) for by, key in zip(GROUPS, keys, strict=True))
        before = (None,) * len(keys) if deal is None else deal.keys
        for group, key, key_before in zip(groups, keys, before, strict=True):
            group.n_deals += deal is None or key != key_before  # the payouts of a deal in one group follow each other
        if deal is None:
            deal = self.deals[payout.deal_id] = DealSum(last=payout, outcome=outcome)
            if self._deals_kept is not None and len(self.deals) > self._deals_kept:
                self.deals.popitem(last=False)
        deal.last, deal.keys = payout, keys
        summed: tuple[DealSum | Sums, ...] = (deal, *groups)
        for each in summed:
            each.n_bytes += payout.n_bytes
            each.amount += payout.amount
            each.claimed += payout.claimed
        for group in groups:
            group.http_amount += payout.amount if payout.peer is None else 0
        if account is not None:
            account.add(_Pending(payout=payout, deal=deal, groups=groups, promised_before=account.promised))
        return deal

    def _account(self, key: bytes) -> _Account:
        return self._accounts.setdefault(key, _Account())


@dataclass(slots=True, kw_only=True)
class _Agreed:
    """A deal without an outcome."""

    root: bytes
    peer: bytes
    line_key: bytes
    reached: Receipt | None = None
    sum: DealSum | None = None


@dataclass(slots=True, kw_only=True)
class _Pending:
    """A payout of which a claim may still say something, and the sums it is in."""

    payout: Payout
    deal: DealSum
    groups: tuple[Sums, ...]
    promised_before: int
    """By the channel's vouchers, before this payout."""

    @property
    def is_settled(self) -> bool:
        return self.payout.transaction is not None and self.payout.claimed == self.payout.amount


@dataclass(slots=True)
class _Account:
    """A channel, or the address of who pays by transfers."""

    payer: bytes | None = None
    promised: int = 0
    """Over its life, by all payouts."""
    total_claimed: int = 0
    """What the chain has paid out."""
    totals: list[int] = field(default_factory=list)
    transactions: list[bytes] = field(default_factory=list)
    """The mined claims, by the total each reached."""
    pending: list[_Pending] = field(default_factory=list)

    def add(self, pending: _Pending) -> None:
        self.promised += pending.payout.amount
        if not self._settle(pending):
            self.pending.append(pending)

    def paid_out(self, total_claimed: int) -> None:
        """The chain has paid out so much over the channel's life."""
        if total_claimed != self.total_claimed:
            self.total_claimed = total_claimed
            self._settle_all()

    def claimed_by(self, claim: ClaimRecord) -> None:
        """A claim was mined."""
        if not self.totals or claim.amount > self.totals[-1]:
            self.totals.append(claim.amount)
            self.transactions.append(claim.transaction)
            self._settle_all()

    def _settle_all(self) -> None:
        self.pending = [each for each in self.pending if not self._settle(each)]

    def _settle(self, pending: _Pending) -> bool:
        """Enter what is known now; whether nothing more can come."""
        payout = pending.payout
        claimed = max(0, min(payout.amount, self.total_claimed - pending.promised_before))
        summed: tuple[DealSum | Sums, ...] = (pending.deal, *pending.groups)
        for each in summed:
            each.claimed += claimed - payout.claimed
        payout.claimed = claimed
        place = bisect_left(self.totals, payout.voucher_amount)  # the first claim that took all the voucher promised
        if payout.transaction is None and place < len(self.totals):
            payout.transaction = self.transactions[place]
            pending.deal.transactions[payout.transaction] = None
        return pending.is_settled


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


def deal_rows(statement: Statement) -> list[dict[str, object]]:
    """One row a deal, with the last receipt, the voucher and the claims that paid it."""
    return [deal_row(deal) for deal in statement.deals.values()]


def deal_row(deal: DealSum) -> dict[str, object]:
    last = deal.last
    return {
        "time": show_time(last.time_ms / 1000),
        "root": format_cid(Cid(last.root)),
        "peer": _peer(last),
        "payer": _payer(last),
        "deal_id": last.deal_id.hex(),
        "outcome": deal.outcome,
        "receipt": last.receipt_digest.hex() if last.receipt_digest else None,
        "channel": last.channel_id.hex() if last.channel_id else None,
        "voucher_amount": str(last.voucher_amount),
        "bytes": deal.n_bytes,
        "amount": str(deal.amount),
        "claimed": str(deal.claimed),
        "transactions": [f"0x{transaction.hex()}" for transaction in deal.transactions],
    }


def grouped_rows(statement: Statement, by: str) -> list[dict[str, object]]:
    """Sums by ``cid``, ``payer``, ``day`` or ``hour`` (of the receipt, UTC), in the order in which they first appear."""
    return [grouped_row(by, key, sums) for key, sums in statement.sums[by].items()]


def grouped_row(by: str, key: Key, sums: Sums) -> dict[str, object]:
    return {by: _SHOWN[by](key), **sums.to_json()}


def _peer(payout: Payout) -> str | None:
    return format_peer_id(PeerId(payout.peer)) if payout.peer else None


def _payer(payout: Payout) -> str | None:
    return format_address(EvmAddress(payout.payer)) if payout.payer else None


DAY_MS: Final = 86_400_000
HOUR_MS: Final = 3_600_000

GROUPS: Final[Mapping[str, Callable[[Payout], Key]]] = {
    "cid": lambda payout: payout.root,
    "payer": lambda payout: payout.payer,
    "day": lambda payout: payout.time_ms // DAY_MS,
    "hour": lambda payout: payout.time_ms // HOUR_MS,
}
"""By what payouts are summed up."""

_SHOWN: Final[Mapping[str, Callable[[Any], str | None]]] = {
    "cid": lambda root: format_cid(Cid(root)),
    "payer": lambda payer: format_address(EvmAddress(payer)) if payer else None,
    "day": lambda day: show_time(day * DAY_MS / 1000)[:10],
    "hour": lambda hour: f"{show_time(hour * HOUR_MS / 1000)[:13]}:00Z",
}
