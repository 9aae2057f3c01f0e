"""Statements: each receipt's part of a voucher, the claim that took it, and sums that agree however they are grouped."""

from __future__ import annotations

import csv
import dataclasses
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from retrieval_provider.earnings import Payout, Statement, deal_rows, grouped_rows, receipt_row
from retrieval_provider.screens import write_csv
from takings import Payer, channel_record, new_payer

from retrieval.cid import RAW, cid_of
from retrieval.deal import fold
from retrieval.deal.records import ClaimRecord, DealRecord, HttpChannelRecord, HttpSaleRecord, OutcomeRecord, ReceiptRecord, record
from retrieval.identity import EvmKey, PeerKey
from retrieval.ledger.journal import Journal
from retrieval.ledger.state import MemoryStateStorage
from retrieval.wire.messages import Scope, Selection, Signed, SignedReceipt
from retrieval.wire.receipt import NO_RECEIPT, Receipt

DAY_MS = 86_400_000


class Books:
    """A journal of one provider, written by hand."""

    def __init__(self) -> None:
        self.journal = Journal(MemoryStateStorage(), fold.reduce)
        self.now_ms = DAY_MS
        self.totals: dict[bytes, Receipt] = {}
        self.promised: dict[bytes, int] = {}
        self.client = PeerKey.generate()

    def append(self, subject: bytes, body: object) -> None:
        self.journal.append([record(subject, body)], self.now_ms)  # type: ignore[arg-type]

    def channel(self) -> Payer:
        payer = new_payer(EvmKey.generate().address)
        self.see(payer, claimed=0)
        return payer

    def see(self, payer: Payer, *, claimed: int) -> None:
        self.append(payer.channel, dataclasses.replace(channel_record(payer, self.client, 1_000_000), total_claimed=claimed))

    def deal(self, deal_id: bytes, line_key: bytes, content: bytes = b"film") -> bytes:
        selection = Selection(root=cid_of(RAW, content), path=(), scope=Scope.ALL, range_start=None, range_end=None)
        signed = Signed(body=b"x", signature=bytes(64))
        self.append(
            deal_id.ljust(16, b"\0"),
            DealRecord(
                selection=selection, quote=signed, accept=signed, peer=self.client.peer_id, line_key=line_key, opened_ms=0, expires_ms=0
            ),
        )
        self.promised.setdefault(line_key, 0)
        return deal_id.ljust(16, b"\0")

    def receipt(self, deal_id: bytes, line_key: bytes, *, n_bytes: int, amount: int) -> None:
        before = self.totals.get(deal_id)
        self.promised[line_key] += amount
        receipt = Receipt(
            deal_id=deal_id,
            root=bytes(32),
            prev=NO_RECEIPT,
            n_bytes=n_bytes + (before.n_bytes if before else 0),
            n_blocks=1 + (before.n_blocks if before else 0),
            deal_amount=amount + (before.deal_amount if before else 0),
            channel_amount=self.promised[line_key],
            sequence=1 + (before.sequence if before else 0),
            time=0,
        )
        self.totals[deal_id] = receipt
        self.append(deal_id, ReceiptRecord(receipt=SignedReceipt(body=receipt.encode(), signature=bytes(64))))

    def claim(self, payer: Payer, total: int, transaction: bytes, *, seen: int | None = None) -> None:
        self.append(payer.channel, ClaimRecord(amount=total, transaction=b"", settled=0))
        if transaction:
            self.append(payer.channel, ClaimRecord(amount=total, transaction=transaction, settled=total))
        self.see(payer, claimed=total if seen is None else seen)

    def found(self) -> list[Payout]:
        return list(Statement(self.journal).read())

    def statement(self) -> Statement:
        """Read to the end."""
        statement = Statement(self.journal)
        assert list(statement.read()) == self.found()
        return statement


ONE, TWO = b"\x01" * 32, b"\x02" * 32


@pytest.fixture
def books() -> Books:
    return Books()


def test_each_receipt_is_traced_to_the_first_claim_that_took_its_voucher(books: Books) -> None:
    payer = books.channel()
    deal = books.deal(b"a", payer.channel)
    for amount in (10, 20):
        books.receipt(deal, payer.channel, n_bytes=100, amount=amount)
    books.claim(payer, 30, ONE)
    books.receipt(deal, payer.channel, n_bytes=100, amount=5)
    books.claim(payer, 35, TWO)
    books.receipt(deal, payer.channel, n_bytes=100, amount=7)
    assert [(payout.amount, payout.voucher_amount, payout.claimed, payout.transaction) for payout in books.found()] == [
        (10, 10, 10, ONE),
        (20, 30, 20, ONE),
        (5, 35, 5, TWO),
        (7, 42, 0, None),
    ]
    (row,) = deal_rows(books.statement())
    assert (row["amount"], row["claimed"], row["voucher_amount"], row["outcome"]) == ("42", "35", "42", "open")
    assert row["transactions"] == [f"0x{ONE.hex()}", f"0x{TWO.hex()}"]


def test_answers_over_http_stand_beside_deals_with_the_claim_that_took_them_or_as_they_were_sent(books: Books) -> None:
    payer, stranger = new_payer(EvmKey.generate().address), EvmKey.generate().address
    channel = HttpChannelRecord(
        config=payer.config.to_bytes(), chain_id=1, contract=bytes(20), balance=99, total_claimed=25, closing=False, withdraw_at=0
    )
    selection = Selection(root=cid_of(RAW, b"film"), path=(), scope=Scope.ALL)
    for number, (tab, address, amount) in enumerate(
        [(payer.channel, payer.key.address, 20), (stranger, stranger, 7), (payer.channel, payer.key.address, 10)]
    ):
        sale = HttpSaleRecord(tab=tab, payer=address, selection=selection, n_bytes=100, amount=amount, price_per_gib=1)
        books.append(bytes((number,)) * 16, sale)
    books.append(payer.channel, ClaimRecord(amount=20, transaction=ONE, settled=20))
    books.append(payer.channel, channel)
    assert [(payout.amount, payout.voucher_amount, payout.claimed, payout.transaction) for payout in books.found()] == [
        (20, 20, 20, ONE),
        (7, 7, 7, None),
        (10, 30, 5, None),
    ]
    rows = deal_rows(books.statement())
    assert [(row["outcome"], row["peer"], row["receipt"], row["bytes"]) for row in rows] == [("done", None, None, 100)] * 3
    assert [row["amount"] for row in grouped_rows(books.statement(), "payer")] == ["30", "7"]


def test_a_claim_that_was_mined_unseen_is_claimed_without_a_transaction(books: Books) -> None:
    payer = books.channel()
    books.receipt(books.deal(b"a", payer.channel), payer.channel, n_bytes=1, amount=9)
    books.claim(payer, 9, b"")  # the node went down before it learnt the hash
    (payout,) = books.found()
    assert (payout.claimed, payout.transaction) == (9, None)


def test_a_deposit_that_was_partly_withdrawn_pays_only_what_it_held(books: Books) -> None:
    payer = books.channel()
    deal = books.deal(b"a", payer.channel)
    for _ in range(3):
        books.receipt(deal, payer.channel, n_bytes=1, amount=10)
    books.claim(payer, 25, ONE)
    assert [payout.claimed for payout in books.found()] == [10, 10, 5]


def test_deals_of_one_channel_share_its_vouchers(books: Books) -> None:
    payer = books.channel()
    first, second = books.deal(b"a", payer.channel), books.deal(b"b", payer.channel, b"song")
    for deal, amount in ((first, 1), (second, 2), (first, 3)):
        books.receipt(deal, payer.channel, n_bytes=10, amount=amount)
    assert [row["amount"] for row in deal_rows(books.statement())] == ["4", "2"]


def test_what_was_free_has_neither_payer_nor_channel(books: Books) -> None:
    deal = books.deal(b"a", books.client.peer_id)
    books.receipt(deal, books.client.peer_id, n_bytes=10, amount=0)
    ended = OutcomeRecord(outcome=1, code=0, n_bytes=10, n_blocks=1, amount=0, done=None, detail="", ended_ms=0)
    books.append(deal, ended)
    (row,) = deal_rows(books.statement())
    assert (row["payer"], row["channel"], row["amount"], row["outcome"], row["bytes"]) == (None, None, "0", "done", 10)
    assert grouped_rows(books.statement(), "payer")[0]["payer"] is None


def test_days_are_those_of_the_receipts_in_utc(books: Books) -> None:
    payer = books.channel()
    deal = books.deal(b"a", payer.channel)
    for now_ms in (2 * DAY_MS - 1, 2 * DAY_MS):
        books.now_ms = now_ms
        books.receipt(deal, payer.channel, n_bytes=1, amount=1)
    assert [(row["day"], row["amount"]) for row in grouped_rows(books.statement(), "day")] == [("1970-01-02", "1"), ("1970-01-03", "1")]


@given(
    st.lists(
        st.tuples(st.integers(0, 2), st.integers(0, 3), st.integers(0, 1000), st.integers(1, 1000)),  # payer, deal, amount, bytes
        max_size=25,
    ),
    st.lists(st.integers(0, 25), max_size=5),
)
def test_however_a_statement_is_grouped_its_sums_are_the_vouchers(bought: list[tuple[int, int, int, int]], claims_after: list[int]) -> None:
    books = Books()
    followed = Statement(books.journal)
    payers = [books.channel() for _ in range(3)]
    deals = {(p, d): books.deal(bytes((p, d)), payers[p].channel, bytes((d,))) for p in range(3) for d in range(4)}
    for n, (p, d, amount, n_bytes) in enumerate(bought):
        books.now_ms += DAY_MS // 3
        books.receipt(deals[p, d], payers[p].channel, n_bytes=n_bytes, amount=amount)
        if n in claims_after:
            books.claim(payers[p], books.promised[payers[p].channel], bytes([n + 1]) * 32)
        if n % 3 == 0:
            list(followed.read())
    list(followed.read())
    at_once = books.statement()
    assert (followed.deals, followed.sums) == (at_once.deals, at_once.sums), "read bit by bit, it says the same"
    promised = sum(books.promised.values())
    claimed = sum(channel.total_claimed for _, channel in fold.scan(books.journal.state, type(channel_record(payers[0], books.client, 1))))
    statements = [[receipt_row(payout) for payout in books.found()], deal_rows(books.statement())]
    statements += [grouped_rows(books.statement(), by) for by in ("cid", "payer", "day", "hour")]
    for rows in statements:
        assert sum(int(str(row["amount"])) for row in rows) == promised
        assert sum(int(str(row["claimed"])) for row in rows) == claimed
        assert sum(int(str(row["bytes"])) for row in rows) == sum(n_bytes for *_, n_bytes in bought)


def test_csv_holds_the_same_rows(books: Books) -> None:
    payer = books.channel()
    books.receipt(books.deal(b"a", payer.channel), payer.channel, n_bytes=1, amount=9)
    books.claim(payer, 9, ONE)
    rows = deal_rows(books.statement())
    text = io.StringIO()
    write_csv(text, rows)
    (read,) = csv.DictReader(io.StringIO(text.getvalue()))
    assert read == {name: " ".join(value) if isinstance(value, list) else str(value) for name, value in rows[0].items()}


def test_old_deals_are_let_go_and_the_sums_stay(books: Books) -> None:
    payer = books.channel()
    statement = Statement(books.journal, deals_kept=2)
    for name in (b"a", b"b", b"c"):
        books.receipt(books.deal(name, payer.channel), payer.channel, n_bytes=1, amount=5)
        list(statement.read())
    books.receipt(b"a".ljust(16, b"\0"), payer.channel, n_bytes=1, amount=5)
    books.claim(payer, 20, ONE)
    list(statement.read())
    assert [deal.last.deal_id[:1] for deal in statement.deals.values()] == [b"b", b"c"]
    (row,) = grouped_rows(statement, "payer")
    assert (row["deals"], row["amount"], row["claimed"]) == (3, "20", "20")
