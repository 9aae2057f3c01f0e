"""A payer's tab over HTTP: what is set aside, charged and kept of it, through cuts, parallel answers and restarts."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retrieval.deal import fold, postings
from retrieval.deal.audit import check
from retrieval.deal.books import ProviderBooks
from retrieval.deal.records import ExactRecord, HttpChannelRecord, HttpSaleRecord, record
from retrieval.deal.tab import ORDERS_OPEN_MAX, OrderId, Tab
from retrieval.deal.terms import FLAT_FEE_ONCE_S
from retrieval.errors import ErrorCode, RemoteProtocolError
from retrieval.identity import EvmKey, PeerKey
from retrieval.ledger.journal import Journal, Record
from retrieval.ledger.state import MemoryStateStorage
from retrieval.ledger.transfers import Balances
from retrieval.payment.chain import DEVCHAIN
from retrieval.payment.channel import ChannelConfig, ChannelTerms, channel_id
from retrieval.payment.rate import Rate
from retrieval.payment.voucher import VoucherSigner
from retrieval.units import GIB, KIB, MIB, ceil_div
from retrieval.wire.messages import Scope, Selection, VoucherFields

CENT = Rate(price_per_gib=10_000)
DEPOSIT = 1_000_000
SELECTION = Selection(root=b"\x01\x55\x12\x20" + bytes(32), path=(), scope=Scope.ALL)
PAYER = EvmKey.from_secret(b"\1" * 32)
RECEIVER = EvmKey.from_secret(b"\2" * 32)
CONFIG = ChannelConfig(
    payer=PAYER.address,
    payer_authorizer=PAYER.address,
    receiver=RECEIVER.address,
    receiver_authorizer=RECEIVER.address,
    token=DEVCHAIN.token,
    withdraw_delay_s=86_400,
    salt=bytes(32),
)
CHANNEL = channel_id(CONFIG, DEVCHAIN.chain_id, DEVCHAIN.contract)
TERMS = ChannelTerms(
    receiver=RECEIVER.address,
    receiver_authorizer=RECEIVER.address,
    token=DEVCHAIN.token,
    chain_id=DEVCHAIN.chain_id,
    contract=DEVCHAIN.contract,
    withdraw_delay_min_s=3_600,
    withdraw_delay_max_s=2_592_000,
    deposit_min=0,
)


def seen(**fields: int | bool) -> HttpChannelRecord:
    known: dict[str, int | bool] = {"balance": DEPOSIT, "total_claimed": 0, "closing": False, "withdraw_at": 0}
    known |= fields
    return HttpChannelRecord(config=CONFIG.to_bytes(), chain_id=DEVCHAIN.chain_id, contract=DEVCHAIN.contract, **known)  # type: ignore[arg-type]


def voucher(amount: int) -> VoucherFields:
    signed = VoucherSigner(PAYER, DEVCHAIN.chain_id, DEVCHAIN.contract).sign(CHANNEL, amount)
    return VoucherFields(channel_id=signed.channel_id, amount=signed.amount, signature=signed.signature)


@dataclass(slots=True)
class Shop:
    """A provider's books and journal, without anything around them."""

    state: MemoryStateStorage = field(default_factory=MemoryStateStorage)
    n_orders: int = 0
    journal: Journal = field(init=False)
    books: ProviderBooks = field(init=False)

    def __post_init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        self.journal = Journal(self.state, fold.reduce)
        self.books = ProviderBooks(PeerKey.from_seed(bytes(32)), channel_terms=TERMS, tables=fold.load_tables(self.state))
        self.append(self.books.start().records)

    def append(self, records: list[Record] | tuple[Record, ...]) -> None:
        self.journal.append(records, 0)

    def look(self, **fields: int | bool) -> Tab:
        self.append(self.books.channel_seen(CHANNEL, seen(**fields), 0.0).records)
        return self.books.tabs[CHANNEL]

    def order(self, tab: Tab, n_bytes: int, *, rate: Rate = CENT, amount: int | None = None) -> OrderId:
        """An order as x402's client pays for it: what is due, and the quoted price."""
        signed = voucher(tab.due + rate.owed(n_bytes) if amount is None else amount)
        tab.check_count(signed.amount, rate.owed(n_bytes))
        tab.check_covered(signed.amount)
        return self.open(tab, n_bytes, rate, signed)

    def open(self, tab: Tab, n_bytes: int, rate: Rate, signed: VoucherFields | None) -> OrderId:
        self.n_orders += 1
        order_id = OrderId(self.n_orders.to_bytes(16, "big"))
        _, records = tab.open(order_id, SELECTION, rate, n_bytes, is_fee_due=True, voucher=signed)
        self.append(records)
        return order_id

    def close(self, tab: Tab, order_id: OrderId, sent_bytes: int) -> int:
        amount, records = tab.close(order_id, sent_bytes)
        self.append(records)
        return amount


@pytest.fixture
def shop() -> Shop:
    return Shop()


@pytest.fixture
def tab(shop: Shop) -> Tab:
    return shop.look()


def refused(code: ErrorCode) -> Any:
    return pytest.raises(RemoteProtocolError, check=lambda error: error.code is code)


def test_a_whole_answer_costs_its_price(shop: Shop, tab: Tab) -> None:
    order = shop.order(tab, 16 * MIB)
    assert (tab.charged, tab.reserved, tab.credit) == (0, 157, DEPOSIT - 157)
    assert shop.close(tab, order, 16 * MIB) == 157
    assert (tab.charged, tab.reserved, tab.due) == (157, 0, 157)
    audit = check(shop.state)
    assert (audit.promised, audit.n_channels) == (157, 1)


def test_a_cut_answer_costs_what_was_sent_and_lowers_what_is_due(shop: Shop, tab: Tab) -> None:
    order = shop.order(tab, 16 * MIB)
    assert shop.close(tab, order, 4 * MIB) == 40
    assert tab.due == 40
    check(shop.state)


def test_an_answer_of_which_nothing_left_costs_nothing_and_leaves_no_sale(shop: Shop, tab: Tab) -> None:
    shop.close(tab, shop.order(tab, MIB, rate=Rate(price_per_gib=10_000, flat_fee=5)), 0)
    assert tab.charged == 0
    assert list(fold.scan(shop.state, HttpSaleRecord)) == []
    check(shop.state)


def test_no_more_is_charged_than_was_agreed_however_much_was_sent(shop: Shop, tab: Tab) -> None:
    assert shop.close(tab, shop.order(tab, MIB), GIB) == CENT.owed(MIB)


def test_many_small_answers_cost_what_one_large_one_does(shop: Shop, tab: Tab) -> None:
    for _ in range(64):
        shop.close(tab, shop.order(tab, 256 * KIB), 256 * KIB)
    assert tab.charged == CENT.owed(16 * MIB)
    assert 64 * CENT.owed(256 * KIB) == 192  # what rounding each up would have come to
    check(shop.state)


def test_a_flat_fee_that_was_charged_is_remembered_through_a_restart_for_a_day(shop: Shop, tab: Tab) -> None:
    with_fee = Rate(price_per_gib=10_000, flat_fee=5)
    assert shop.close(tab, shop.order(tab, MIB, rate=with_fee), 1) == 1 + 5
    [(_, sale)] = fold.scan(shop.state, HttpSaleRecord)
    assert (sale.amount, sale.flat_fee) == (6, 5)
    shop.restart()
    assert not shop.books.flat_fee_due(CHANNEL, SELECTION.digest, FLAT_FEE_ONCE_S - 1)
    assert shop.books.flat_fee_due(CHANNEL, SELECTION.digest, FLAT_FEE_ONCE_S)
    assert shop.books.flat_fee_due(PAYER.address, SELECTION.digest, 0)
    check(shop.state)


def test_a_restart_forgets_what_was_under_way_and_nothing_else(shop: Shop, tab: Tab) -> None:
    shop.close(tab, shop.order(tab, MIB), MIB)
    shop.order(tab, 16 * MIB)
    shop.restart()
    again = shop.books.tabs[CHANNEL]
    assert (again.charged, again.reserved, again.orders) == (10, 0, {})
    assert again.best is not None
    assert again.best.amount == 10 + 157  # the client's own signature, to show it what it has signed
    check(shop.state)


def test_a_voucher_that_came_twice_is_not_taken_twice(shop: Shop, tab: Tab) -> None:
    order = shop.order(tab, MIB)
    with refused(ErrorCode.PAYMENT_IN_FLIGHT):
        shop.order(tab, MIB, amount=10)
    shop.close(tab, order, MIB)
    with refused(ErrorCode.STALE_VOUCHER):
        shop.order(tab, MIB, amount=10)
    assert tab.charged == 10


def test_the_next_range_may_be_paid_for_while_the_last_one_is_sent(shop: Shop, tab: Tab) -> None:
    orders = [shop.order(tab, MIB) for _ in range(ORDERS_OPEN_MAX)]
    with refused(ErrorCode.PAYMENT_IN_FLIGHT):
        shop.order(tab, MIB)
    for order in orders:
        shop.close(tab, order, MIB)
    assert tab.charged == CENT.owed(ORDERS_OPEN_MAX * MIB)
    check(shop.state)


@pytest.mark.parametrize("off", [-1, 1, 100])
def test_a_client_that_counts_otherwise_is_told(shop: Shop, tab: Tab, off: int) -> None:
    with refused(ErrorCode.STALE_VOUCHER):
        shop.order(tab, MIB, amount=10 + off)


def test_a_channel_that_was_seen_and_never_spent_from_is_known_after_a_restart(shop: Shop, tab: Tab) -> None:
    shop.restart()
    shop.look()
    held = Balances(shop.state, limited=postings.LIMITED).balance(postings.channel_account(CHANNEL))
    assert held.posted == shop.books.tabs[CHANNEL].credit == DEPOSIT


def test_nothing_is_sold_beyond_the_deposit_or_from_a_channel_that_is_being_left(shop: Shop) -> None:
    tab = shop.look(balance=9)
    with refused(ErrorCode.VOUCHER_OVER_DEPOSIT):
        shop.order(tab, MIB)
    tab = shop.look(balance=DEPOSIT, closing=True, withdraw_at=1)
    with refused(ErrorCode.CHANNEL_CLOSING):
        shop.order(tab, MIB)
    assert tab.due == 0


def test_a_claim_takes_what_was_charged_and_the_accounts_follow(shop: Shop, tab: Tab) -> None:
    shop.close(tab, shop.order(tab, 16 * MIB), MIB)
    assert tab.best_amount == 10
    shop.look(total_claimed=10)
    assert check(shop.state).claimed == 10


def test_transfers_are_spent_by_what_their_payer_is_sent_and_the_rest_is_kept(shop: Shop) -> None:
    tab = shop.books.tabs.setdefault(PAYER.address, Tab(key=PAYER.address))
    tab.receive(1_000)
    paid = ExactRecord(payer=PAYER.address, nonce=bytes(32), amount=1_000, transaction=bytes(32), from_block=0)
    shop.append([record(b"x" * 32, paid), postings.exact_received(PAYER.address, b"x" * 32, amount=1_000), tab.to_record()])
    shop.close(tab, shop.open(tab, 16 * MIB, CENT, None), 16 * MIB)
    shop.restart()
    tab = shop.books.tabs[PAYER.address]
    assert (tab.credit, tab.charged) == (843, 157)
    with refused(ErrorCode.CHANNEL_UNFUNDED):
        shop.open(tab, GIB, CENT, None)
    check(shop.state)


steps = st.lists(
    st.tuples(
        st.sampled_from(["order", "whole", "cut", "restart"]), st.integers(1, 40 * MIB), st.sampled_from([0, 1, 9_999, 10_000, 10**6])
    ),
    max_size=30,
)


@settings(max_examples=60, deadline=None)
@given(steps)
def test_whatever_happens_the_sums_agree_and_nobody_pays_for_what_was_not_sent(taken: list[tuple[str, int, int]]) -> None:
    shop = Shop()
    tab = shop.look(balance=10**12)
    sizes: dict[OrderId, tuple[int, int]] = {}
    sent_value = 0  # in 2^-30 of the smallest unit
    n_cut = 0
    for what, number, price in taken:
        if what == "order" and len(tab.orders) < ORDERS_OPEN_MAX:
            sizes[shop.order(tab, number, rate=Rate(price_per_gib=price))] = (number, price)
        elif what in ("whole", "cut") and sizes:
            order = list(sizes)[number % len(sizes)]
            n_bytes, at = sizes.pop(order)
            sent = n_bytes if what == "whole" else number % n_bytes
            n_cut += sent < n_bytes
            shop.close(tab, order, sent)
            sent_value += sent * at
        elif what == "restart":
            shop.restart()
            tab = shop.books.tabs[CHANNEL]
            n_cut += len(sizes)
            sizes.clear()
        if not sizes:
            assert ceil_div(sent_value, GIB) - n_cut <= tab.charged <= ceil_div(sent_value, GIB) + n_cut
        check(shop.state)
