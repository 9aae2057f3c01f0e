"""What the page tells of the past, from the journal and the stores, read beside whoever writes them.

The rows are those of the command line: `earnings` is the same statement, `status` the same figures. The journal is read once from its
beginning and then carried on; the books are loaded again when it has grown.
"""

from __future__ import annotations

import heapq
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from itertools import islice
from pathlib import Path
from typing import Final

from retrieval.cid import Cid, format_cid
from retrieval.deal import fold
from retrieval.deal.books import ProviderBooks
from retrieval.deal.records import ChannelRecord, PriceRecord
from retrieval.deal.tab import Tab
from retrieval.errors import ErrorCode, LocalProtocolError
from retrieval.identity import EvmAddress, PeerId, PeerKey, format_address, format_peer_id
from retrieval.ledger.journal import Journal
from retrieval.ledger.state import StateStorage
from retrieval.payment.channel import ChannelConfig
from retrieval.store.blocks import BlockStore, Root
from retrieval.store.disk import DiskBlockStore
from retrieval.store.lmdb import LmdbStateStorage
from retrieval.transport.control import Json

from ..config import Pricing
from ..earnings import DAY_MS, HOUR_MS, Statement, Sums, deal_row, grouped_row
from ..figures import figures_of
from ..pricing import PriceList
from ..settlement import Account, claimable

DEALS_KEPT: Final = 20_000
"""Deals that can be looked at one by one; `earnings` shows them all."""
READ_AT_ONCE: Final = 4_096
"""Payouts."""
SPAN: Final = {"hour": 48, "day": 30}
"""Bars of a plot."""
_UNIT_MS: Final = {"hour": HOUR_MS, "day": DAY_MS}

_NOTHING: Final = Sums()


class Reports:
    """One provider's. May be asked from any thread; one answer is made at a time."""

    def __init__(self, state: StateStorage, store: BlockStore, pricing: Pricing) -> None:
        self._journal: Final = Journal(state, fold.reduce)
        self._state: Final = state
        self._store: Final = store
        self._prices: Final = PriceList(state, pricing)
        self._statement: Final = Statement(self._journal, deals_kept=DEALS_KEPT)
        self._turn: Final = threading.Lock()
        self._stopped = False
        self._books: ProviderBooks | None = None
        self._books_of = -1

    def catch_up(self) -> None:
        """Read what the journal has; others are let in between, and read on themselves."""
        is_behind = True
        while is_behind and not self._stopped:
            with self._turn:
                is_behind = len(list(islice(self._statement.read(), READ_AT_ONCE))) == READ_AT_ONCE

    def stop(self) -> None:
        """Read no further: whoever waits for a long journal gets an error."""
        self._stopped = True

    def figures(self) -> Json:
        """The sums of `status`, as far as the disk tells them."""
        with self._turn:
            return figures_of(self._read_books()).to_json()

    def earned(self, by: str, *, offset: int, limit: int) -> tuple[list[Json], int]:
        """Rows of `earnings --by` cid, payer, day or hour, those with the most first, and how many there are."""
        with self._turn:
            sums = self._read().sums[by]
            most = heapq.nlargest(offset + limit, sums.items(), key=lambda each: (each[1].amount, each[1].n_bytes))
            return [grouped_row(by, key, found) for key, found in most[offset:]], len(sums)

    def over_time(self, by: str, now_s: float) -> list[Json]:
        """The last hours or days until now, those in which nothing was earned too."""
        with self._turn:
            sums = self._read().sums[by]
            last = int(now_s * 1000) // _UNIT_MS[by]
            return [grouped_row(by, key, sums.get(key, Sums())) for key in range(last - SPAN[by] + 1, last + 1)]

    def deals(self, *, offset: int, limit: int) -> tuple[list[Json], int]:
        """The rows of `earnings`, the newest first, and how many there are."""
        with self._turn:
            deals = self._read().deals
            newest = heapq.nlargest(offset + limit, reversed(deals.values()), key=lambda deal: deal.last.time_ms)
            return [deal_row(deal) for deal in newest[offset:]], len(deals)

    def last_claim_s(self) -> float | None:
        """When a claim was last seen mined."""
        with self._turn:
            claimed_ms = self._read().last_claim_ms
            return None if claimed_ms is None else claimed_ms / 1000

    def channels(self, *, offset: int, limit: int) -> tuple[list[Json], int]:
        """Every channel: those that are closing first, then those with the most to claim; and how many there are."""
        with self._turn:
            books = self._read_books()
        accounts: tuple[Account, ...] = (*books.lines.values(), *books.tabs.values())
        rows = [_channel_row(each) for each in accounts if each.channel is not None]
        rows.sort(key=lambda row: (not row["closing"], -int(row["unclaimed"]), -int(row["balance"])))
        return rows[offset : offset + limit], len(rows)

    def content(self, *, offset: int, limit: int) -> tuple[list[Json], int]:
        """What is pinned, and what was sold and is no more; what earned most first; and how many there are."""
        with self._turn:
            sums = dict(self._read().sums["cid"])
        roots = {root.cid: root for root in self._store.roots()}
        sold = {Cid(key): found for key, found in sums.items() if isinstance(key, bytes)}

        def rank(cid: Cid) -> tuple[int, int, str]:
            found = sold.get(cid, _NOTHING)
            return -found.amount, -found.n_bytes, roots[cid].name if cid in roots else ""

        cids = sorted({*roots, *sold}, key=rank)
        rows = [_content_row(cid, roots.get(cid), self._prices.of(cid), sold.get(cid, _NOTHING)) for cid in cids[offset : offset + limit]]
        return rows, len(cids)

    def prices(self) -> list[Json]:
        """The default, and the roots with a price of their own."""
        own = [{"cid": format_cid(cid), **price_json(price)} for cid, price in self._prices.own().items()]
        return [{"cid": "default", **price_json(self._prices.default)}, *own]

    def _read(self) -> Statement:
        for _ in self._statement.read():
            if self._stopped:
                raise LocalProtocolError(ErrorCode.SHUTTING_DOWN)
        return self._statement

    def _read_books(self) -> ProviderBooks:
        with self._state.snapshot() as stored:
            last = stored.last_entry()
        head = 0 if last is None else last.sequence
        if self._books is None or head != self._books_of:
            # To be looked at only: they sign nothing, and no secret key comes into this process.
            self._books, self._books_of = ProviderBooks(PeerKey.generate(), tables=fold.load_tables(self._state)), head
        return self._books


@contextmanager
def open_reports(state_path: Path, blocks_path: Path, *, store_bytes_max: int, pricing: Pricing) -> Iterator[Reports]:
    """Reports on a home, for reading only. Raises ``LocalProtocolError`` as the stores do."""
    with (
        closing(LmdbStateStorage.open_readonly(state_path)) as state,
        closing(DiskBlockStore(blocks_path, bytes_max=store_bytes_max, readonly=True)) as store,
    ):
        yield Reports(state, store, pricing)


def price_json(price: PriceRecord) -> Json:
    return {"price_per_gib": str(price.price_per_gib), "flat_fee": str(price.flat_fee)}


def _content_row(cid: Cid, root: Root | None, price: PriceRecord, sold: Sums) -> Json:
    return {
        "root": format_cid(cid),
        "name": "" if root is None else root.name,
        "pinned": root is not None,
        "size": None if root is None else root.file_bytes,
        **price_json(price),
        **sold.to_json(),
    }


def _channel_row(account: Account) -> Json:
    channel = account.channel
    assert channel is not None
    return {
        "channel": account.key.hex(),
        "over": "http" if isinstance(account, Tab) else "libp2p",
        "payer": format_address(EvmAddress(ChannelConfig.from_bytes(channel.config).payer)),
        "peer": format_peer_id(PeerId(channel.peer)) if isinstance(channel, ChannelRecord) else None,
        "balance": str(channel.balance),
        "promised": str(account.best_amount),
        "claimed": str(channel.total_claimed),
        "unclaimed": str(claimable(account)),
        "closing": channel.closing,
        "withdraw_at": channel.withdraw_at or None,
        "left_s": max(0, int(channel.withdraw_at - time.time())) if channel.closing else None,
    }
