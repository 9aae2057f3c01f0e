"""What the page tells of the past: read on from where it was, whoever writes meanwhile."""

from __future__ import annotations

import threading

import pytest
from retrieval_provider.config import Pricing
from retrieval_provider.operator import reports
from retrieval_provider.operator.reports import Reports

from retrieval.cid import RAW, cid_of, format_cid
from retrieval.deal import fold
from retrieval.deal.records import DEFAULT_PRICE, HttpSaleRecord, PriceRecord, record
from retrieval.errors import ErrorCode, LocalProtocolError
from retrieval.ledger.journal import Journal
from retrieval.ledger.state import MemoryStateStorage
from retrieval.store.blocks import MemoryBlockStore, Root
from retrieval.wire.messages import Scope, Selection

HOUR_MS = 3_600_000
NOW_S = 1_800_000_000.0
FILM, SONG = cid_of(RAW, b"film"), cid_of(RAW, b"song")
PAYERS = [bytes((n,)) * 20 for n in range(3)]


class Shelf:
    """A provider's state that is written, and reports on it."""

    def __init__(self) -> None:
        state = MemoryStateStorage()
        self.journal = Journal(state, fold.reduce)
        self.store = MemoryBlockStore()
        self.reports = Reports(state, self.store, Pricing(default=7))
        self.n_sold = 0

    def sell(self, root: bytes = FILM, *, payer: int = 0, amount: int = 1, hours_ago: float = 0) -> None:
        self.n_sold += 1
        selection = Selection(root=root, path=(), scope=Scope.ALL)
        sale = HttpSaleRecord(tab=PAYERS[payer], payer=PAYERS[payer], selection=selection, n_bytes=10, amount=amount, price_per_gib=1)
        self.journal.append([record(self.n_sold.to_bytes(16, "big"), sale)], int(NOW_S * 1000 - hours_ago * HOUR_MS))


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


def test_those_with_the_most_come_first_and_pages_follow_each_other(shelf: Shelf) -> None:
    for payer, amount in ((0, 5), (1, 9), (2, 1), (0, 6)):
        shelf.sell(payer=payer, amount=amount)
    rows, n_rows = shelf.reports.earned("payer", offset=0, limit=2)
    assert ([row["amount"] for row in rows], n_rows) == (["11", "9"], 3)
    assert [row["amount"] for row in shelf.reports.earned("payer", offset=2, limit=2)[0]] == ["1"]


def test_what_is_written_later_is_in_the_next_answer(shelf: Shelf) -> None:
    assert shelf.reports.deals(offset=0, limit=10) == ([], 0)
    for n in (1, 2, 3):
        shelf.sell(amount=n)
        rows, n_rows = shelf.reports.deals(offset=0, limit=10)
        assert (n_rows, rows[0]["amount"]) == (n, str(n))


def test_hours_without_a_sale_are_shown_and_old_ones_are_not(shelf: Shelf) -> None:
    for hours_ago, amount in ((100, 50), (3, 7), (0, 2)):
        shelf.sell(amount=amount, hours_ago=hours_ago)
    hours = shelf.reports.over_time("hour", NOW_S)
    assert len(hours) == 48
    assert [row["amount"] for row in hours[-4:]] == ["7", "0", "0", "2"]
    assert sum(int(row["amount"]) for row in hours) == 9
    assert sum(int(row["amount"]) for row in shelf.reports.over_time("day", NOW_S)) == 59


def test_content_is_what_is_held_and_what_was_sold(shelf: Shelf) -> None:
    shelf.store.pin(Root(cid=SONG, name="song.ogg", n_bytes=4, n_blocks=1, file_bytes=4))
    shelf.sell(FILM, amount=3)
    prices = {SONG: PriceRecord(price_per_gib=9, flat_fee=1), DEFAULT_PRICE: PriceRecord(price_per_gib=8, flat_fee=0)}
    shelf.journal.append([record(subject, price) for subject, price in prices.items()], 0)
    rows, n_rows = shelf.reports.content(offset=0, limit=10)
    assert [(row["root"], row["pinned"], row["amount"], row["price_per_gib"]) for row in rows] == [
        (format_cid(FILM), False, "3", "8"),
        (format_cid(SONG), True, "0", "9"),
    ]
    assert n_rows == 2
    assert [row["price_per_gib"] for row in shelf.reports.prices()] == ["8", "9"]


def test_a_long_journal_is_read_in_parts_while_others_ask(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reports, "READ_AT_ONCE", 3)
    for _ in range(50):
        shelf.sell()
    reading = threading.Thread(target=shelf.reports.catch_up)
    reading.start()
    assert shelf.reports.deals(offset=0, limit=1)[1] == 50
    reading.join()
    assert shelf.reports.earned("cid", offset=0, limit=1)[0][0]["deals"] == 50


def test_who_waits_for_a_journal_when_it_is_closed_hears_so(shelf: Shelf) -> None:
    shelf.sell()
    shelf.reports.stop()
    shelf.reports.catch_up()
    with pytest.raises(LocalProtocolError) as refused:
        shelf.reports.deals(offset=0, limit=1)
    assert refused.value.code is ErrorCode.SHUTTING_DOWN
