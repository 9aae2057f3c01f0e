"""Money: conserved, reserved once, resolved once, never owed by a limited account, and refused in one order."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from retrieval.errors import ErrorCode, LocalProtocolError
from retrieval.ledger.state import MemoryStateStorage
from retrieval.ledger.transfers import (
    ACCOUNTS,
    Balance,
    Balances,
    Result,
    Transfer,
    TransferFlag,
    decode_transfer,
    encode_transfer,
    open_reservations,
    renewal_of,
    transfer_rows,
)
from retrieval.units import AMOUNT_MAX

LIMITED = frozenset({"channel"})
CHAIN, CHANNEL, EARNED, OTHER = "chain", "channel:00", "earned:00", "channel:01"
NAMES = (CHAIN, CHANNEL, EARNED, OTHER)


def number(n: int) -> bytes:
    return n.to_bytes(16, "big")


def posted(n: int, debit: str, credit: str, amount: int) -> Transfer:
    return Transfer(id=number(n), debit=debit, credit=credit, amount=amount)


def reserved(n: int, debit: str, credit: str, amount: int) -> Transfer:
    return Transfer(id=number(n), debit=debit, credit=credit, amount=amount, flag=TransferFlag.PENDING)


def post(n: int, pending: int, amount: int) -> Transfer:
    return Transfer(id=number(n), amount=amount, flag=TransferFlag.POST_PENDING, pending_id=number(pending))


def void(n: int, pending: int) -> Transfer:
    return Transfer(id=number(n), amount=0, flag=TransferFlag.VOID_PENDING, pending_id=number(pending))


def renew(n: int, pending: int, amount: int, again: int) -> Transfer:
    return Transfer(id=number(n), amount=amount, flag=TransferFlag.RENEW_PENDING, pending_id=number(pending), renewed=again)


def balances() -> Balances:
    """A channel with a deposit of 100."""
    ledger = Balances(MemoryStateStorage(), limited=LIMITED)
    assert ledger.apply(posted(0, CHAIN, CHANNEL, 100)) is Result.APPLIED
    return ledger


def test_a_posted_transfer_moves_money() -> None:
    ledger = balances()
    assert ledger.apply(posted(1, CHANNEL, EARNED, 40)) is Result.APPLIED
    assert ledger.balance(CHANNEL).posted == 60
    assert ledger.balance(EARNED).posted == 40
    assert ledger.balance(CHAIN).posted == -100


def test_a_reservation_takes_from_what_is_available_only() -> None:
    ledger = balances()
    assert ledger.apply(reserved(1, CHANNEL, EARNED, 40)) is Result.APPLIED
    assert ledger.balance(CHANNEL).posted == 100
    assert ledger.balance(CHANNEL).available == 60
    assert ledger.balance(EARNED) == Balance(credits_pending=40)


@pytest.mark.parametrize("amount", [0, 1, 39, 40])
def test_posting_part_of_a_reservation_releases_the_rest(amount: int) -> None:
    ledger = balances()
    ledger.apply(reserved(1, CHANNEL, EARNED, 40))
    assert ledger.apply(post(2, 1, amount)) is Result.APPLIED
    assert ledger.balance(CHANNEL) == Balance(credits_posted=100, debits_posted=amount)
    assert ledger.balance(EARNED) == Balance(credits_posted=amount)


def test_voiding_releases_all() -> None:
    ledger = balances()
    ledger.apply(reserved(1, CHANNEL, EARNED, 40))
    assert ledger.apply(void(2, 1)) is Result.APPLIED
    assert ledger.balance(CHANNEL) == Balance(credits_posted=100)
    assert ledger.balance(EARNED) == Balance()


@pytest.mark.parametrize(("amount", "again"), [(0, 0), (0, 40), (40, 60), (40, 1), (1, 99)])
def test_renewing_is_posting_and_reserving_again(amount: int, again: int) -> None:
    renewed, apart = balances(), balances()
    renewed.apply(reserved(1, CHANNEL, EARNED, 40))
    assert renewed.apply(renew(2, 1, amount, again)) is Result.APPLIED
    for transfer in (reserved(1, CHANNEL, EARNED, 40), post(2, 1, amount), reserved(3, CHANNEL, EARNED, again)):
        assert apart.apply(transfer) is Result.APPLIED
    assert [renewed.balance(name) for name in NAMES] == [apart.balance(name) for name in NAMES]
    assert renewed.apply(post(4, 2, again)) is Result.APPLIED
    assert renewed.balance(EARNED) == Balance(credits_posted=amount + again)


def test_a_renewal_reserves_no_more_than_is_there_and_then_posts_nothing() -> None:
    ledger = balances()
    ledger.apply(reserved(1, CHANNEL, EARNED, 40))
    before = ledger.rows()
    assert ledger.apply(renew(2, 1, 40, 61)) is Result.EXCEEDS_CREDITS
    assert ledger.rows() == before
    assert ledger.apply(renew(2, 1, 40, 60)) is Result.APPLIED
    assert ledger.balance(CHANNEL).available == 0


def test_a_limited_account_never_owes_counting_reservations() -> None:
    ledger = balances()
    assert ledger.apply(reserved(1, CHANNEL, EARNED, 60)) is Result.APPLIED
    assert ledger.apply(reserved(2, CHANNEL, EARNED, 41)) is Result.EXCEEDS_CREDITS
    assert ledger.apply(posted(3, CHANNEL, EARNED, 41)) is Result.EXCEEDS_CREDITS
    assert ledger.apply(posted(4, CHANNEL, EARNED, 40)) is Result.APPLIED
    assert ledger.balance(CHANNEL).available == 0


def test_what_is_only_reserved_for_an_account_cannot_be_spent_from_it() -> None:
    ledger = balances()
    ledger.apply(reserved(1, CHANNEL, OTHER, 50))
    assert ledger.apply(posted(2, OTHER, EARNED, 1)) is Result.EXCEEDS_CREDITS


def test_other_accounts_may_owe() -> None:
    assert Balances(MemoryStateStorage(), limited=LIMITED).apply(posted(1, EARNED, CHAIN, 5)) is Result.APPLIED


@pytest.mark.parametrize(
    "transfer",
    [posted(1, CHANNEL, EARNED, 10), reserved(1, CHANNEL, EARNED, 10), post(1, 9, 10), void(1, 9), renew(1, 9, 10, 30)],
    ids=lambda transfer: transfer.flag.name.lower(),
)
def test_a_transfer_twice_is_a_transfer_once(transfer: Transfer) -> None:
    ledger = balances()
    ledger.apply(reserved(9, CHANNEL, EARNED, 20))
    assert ledger.apply(transfer) is Result.APPLIED
    before = [ledger.balance(name) for name in NAMES]
    assert ledger.apply(transfer) is Result.EXISTS
    assert [ledger.balance(name) for name in NAMES] == before


def test_a_resolved_reservation_applied_again_exists() -> None:
    ledger = balances()
    reservation = reserved(1, CHANNEL, EARNED, 40)
    ledger.apply(reservation)
    ledger.apply(void(2, 1))
    assert ledger.apply(reservation) is Result.EXISTS
    assert ledger.balance(CHANNEL).available == 100


refused_in_order = [
    # A later reason would fit as well wherever there is one: only the first is given.
    (replace(posted(0, CHAIN, CHANNEL, 100), amount=AMOUNT_MAX), Result.ID_TAKEN),
    (replace(post(7, 99, 1), id=number(0)), Result.ID_TAKEN),
    (post(7, 99, 1), Result.PENDING_NOT_FOUND),
    (post(7, 0, AMOUNT_MAX), Result.PENDING_NOT_FOUND),
    (post(7, 2, AMOUNT_MAX), Result.PENDING_RESOLVED),
    (void(7, 2), Result.PENDING_RESOLVED),
    (renew(7, 2, AMOUNT_MAX, AMOUNT_MAX), Result.PENDING_RESOLVED),
    (post(7, 1, 41), Result.EXCEEDS_PENDING),
    (renew(7, 1, 41, AMOUNT_MAX), Result.EXCEEDS_PENDING),
    (posted(7, OTHER, CHANNEL, AMOUNT_MAX), Result.OVERFLOW),
    (reserved(7, OTHER, CHANNEL, 1), Result.EXCEEDS_CREDITS),
    (renew(7, 1, 40, AMOUNT_MAX), Result.EXCEEDS_CREDITS),
]


@pytest.mark.parametrize(("transfer", "result"), refused_in_order)
def test_a_refusal_changes_nothing_and_gives_the_first_reason(transfer: Transfer, result: Result) -> None:
    ledger = balances()
    ledger.apply(reserved(1, CHANNEL, EARNED, 40))
    ledger.apply(reserved(2, CHANNEL, EARNED, 10))
    ledger.apply(void(3, 2))
    before = ledger.rows()
    assert ledger.apply(transfer) is result
    assert ledger.rows() == before


def test_refusals_are_tested_in_the_order_of_the_enum() -> None:
    order = list(Result)
    tested = [order.index(result) for _, result in refused_in_order]
    assert tested == sorted(tested)
    assert set(order) == {result for _, result in refused_in_order} | {Result.EXISTS, Result.APPLIED}


def test_posting_can_overflow_too() -> None:
    ledger = Balances(MemoryStateStorage(), limited=frozenset())
    ledger.apply(reserved(1, CHAIN, EARNED, 10))
    ledger.apply(posted(2, OTHER, EARNED, AMOUNT_MAX - 9))
    assert ledger.apply(post(3, 1, 10)) is Result.OVERFLOW
    assert ledger.apply(post(4, 1, 9)) is Result.APPLIED


transfers = st.one_of(
    st.builds(
        Transfer,
        id=st.binary(min_size=16, max_size=16),
        debit=st.sampled_from((CHAIN, EARNED)),
        credit=st.sampled_from((CHANNEL, OTHER)),
        amount=st.integers(0, AMOUNT_MAX),
        flag=st.sampled_from((TransferFlag.POSTED, TransferFlag.PENDING)),
    ),
    st.builds(
        Transfer,
        id=st.binary(min_size=16, max_size=16),
        amount=st.integers(0, AMOUNT_MAX),
        flag=st.just(TransferFlag.POST_PENDING),
        pending_id=st.binary(min_size=16, max_size=16),
    ),
    st.builds(
        Transfer,
        id=st.binary(min_size=16, max_size=16),
        amount=st.integers(0, AMOUNT_MAX),
        flag=st.just(TransferFlag.RENEW_PENDING),
        pending_id=st.binary(min_size=16, max_size=16),
        renewed=st.integers(0, AMOUNT_MAX),
    ),
)


@given(transfers)
def test_a_transfer_is_read_as_it_was_written(transfer: Transfer) -> None:
    assert decode_transfer(encode_transfer(transfer)) == transfer


def test_the_rows_of_a_record_are_those_of_its_transfer() -> None:
    storage = MemoryStateStorage()
    body = encode_transfer(posted(1, CHAIN, CHANNEL, 7))
    storage.commit([], transfer_rows(storage, body, limited=LIMITED))
    assert Balances(storage, limited=LIMITED).balance(CHANNEL).posted == 7
    assert transfer_rows(storage, body, limited=LIMITED) == []


def test_a_journalled_transfer_that_is_refused_breaks_the_journal() -> None:
    body = encode_transfer(posted(1, CHANNEL, EARNED, 1))
    with pytest.raises(LocalProtocolError, match="exceeds_credits") as refused:
        transfer_rows(MemoryStateStorage(), body, limited=LIMITED)
    assert refused.value.code is ErrorCode.JOURNAL_BROKEN


amounts = st.integers(0, 200) | st.sampled_from((AMOUNT_MAX, AMOUNT_MAX - 100))
accounts = st.sampled_from(NAMES)


class Ledger(RuleBasedStateMachine):
    """Any sequence of transfers, with restarts, against a model that keeps every transfer it saw applied."""

    def __init__(self) -> None:
        super().__init__()
        self.storage = MemoryStateStorage()
        self.applied: list[Transfer] = []
        self.reservations: dict[bytes, Transfer] = {}
        self.resolved: set[bytes] = set()
        self.n_ids = 0

    def apply(self, transfer: Transfer) -> Result:
        ledger = Balances(self.storage, limited=LIMITED)  # a fresh one each time: nothing but rows carries over
        result = ledger.apply(transfer)
        if result is Result.APPLIED:
            self.applied.append(transfer)
            if transfer.flag is TransferFlag.PENDING:
                self.reservations[transfer.id] = transfer
            elif transfer.flag is TransferFlag.RENEW_PENDING:
                assert transfer.pending_id is not None
                self.reservations[transfer.id] = renewal_of(self.reservations[transfer.pending_id], transfer)
        else:
            assert ledger.rows() == []
        self.storage.write(ledger.rows())
        return result

    def next_id(self) -> bytes:
        self.n_ids += 1
        return number(self.n_ids)

    @rule(debit=accounts, credit=accounts, amount=amounts, flag=st.sampled_from((TransferFlag.POSTED, TransferFlag.PENDING)))
    def move(self, debit: str, credit: str, amount: int, flag: TransferFlag) -> None:
        if debit != credit:
            self.apply(Transfer(id=self.next_id(), debit=debit, credit=credit, amount=amount, flag=flag))

    @precondition(lambda self: self.applied)
    @rule(data=st.data(), part=st.integers(0, 130), void_it=st.booleans())
    def resolve(self, data: st.DataObject, part: int, void_it: bool) -> None:
        pending = data.draw(st.sampled_from(self.applied))
        reserved_amount = self.reservations.get(pending.id, pending).amount
        amount = 0 if void_it else min(reserved_amount * part // 100, AMOUNT_MAX)
        flag = TransferFlag.VOID_PENDING if void_it else TransferFlag.POST_PENDING
        result = self.apply(Transfer(id=self.next_id(), amount=amount, flag=flag, pending_id=pending.id))
        self.judge(result, pending.id, amount, {Result.OVERFLOW})

    @precondition(lambda self: self.applied)
    @rule(data=st.data(), part=st.integers(0, 130), again=amounts)
    def renew(self, data: st.DataObject, part: int, again: int) -> None:
        pending = data.draw(st.sampled_from(self.applied))
        amount = min(self.reservations.get(pending.id, pending).amount * part // 100, AMOUNT_MAX)
        flag = TransferFlag.RENEW_PENDING
        result = self.apply(Transfer(id=self.next_id(), amount=amount, flag=flag, pending_id=pending.id, renewed=again))
        self.judge(result, pending.id, amount, {Result.OVERFLOW, Result.EXCEEDS_CREDITS})

    def judge(self, result: Result, pending_id: bytes, amount: int, refusals: set[Result]) -> None:
        """What came of resolving a transfer; ``refusals`` are those that depend on the accounts."""
        if pending_id not in self.reservations:
            assert result is Result.PENDING_NOT_FOUND
        elif pending_id in self.resolved:
            assert result is Result.PENDING_RESOLVED
        elif amount > self.reservations[pending_id].amount:
            assert result is Result.EXCEEDS_PENDING
        elif result is Result.APPLIED:
            self.resolved.add(pending_id)
        else:
            assert result in refusals

    @precondition(lambda self: self.applied)
    @rule(data=st.data())
    def repeat(self, data: st.DataObject) -> None:
        assert self.apply(data.draw(st.sampled_from(self.applied))) is Result.EXISTS

    @precondition(lambda self: self.applied)
    @rule(data=st.data(), amount=amounts)
    def reuse_an_id(self, data: st.DataObject, amount: int) -> None:
        transfer = data.draw(st.sampled_from(self.applied))
        other = Transfer(id=transfer.id, debit=CHAIN, credit="elsewhere", amount=amount)
        assert self.apply(other) is Result.ID_TAKEN

    @invariant()
    def money_is_conserved(self) -> None:
        found = [Balances(self.storage, limited=LIMITED).balance(key.decode()) for key, _ in self.storage.scan(ACCOUNTS)]
        assert sum(balance.posted for balance in found) == 0
        assert sum(balance.debits_pending for balance in found) == sum(balance.credits_pending for balance in found)

    @invariant()
    def balances_are_what_the_applied_transfers_sum_to(self) -> None:
        expected = dict.fromkeys(NAMES, 0)
        available = dict.fromkeys(NAMES, 0)
        for transfer in self.applied:
            if transfer.flag is not TransferFlag.PENDING:
                accounts_of = self.reservations[transfer.pending_id] if transfer.pending_id else transfer
                expected[accounts_of.debit] -= transfer.amount
                expected[accounts_of.credit] += transfer.amount
        for reservation in self.reservations.values():
            if reservation.id not in self.resolved:
                available[reservation.debit] -= reservation.amount
        for name in NAMES:
            balance = Balances(self.storage, limited=LIMITED).balance(name)
            assert balance.posted == expected[name]
            assert balance.available == expected[name] + available[name]

    @invariant()
    def open_reservations_are_those_applied_and_not_resolved(self) -> None:
        expected = [each for each in self.reservations.values() if each.id not in self.resolved]
        assert open_reservations(self.storage) == expected  # ids rise here, so that both are in the order of ids

    @invariant()
    def limited_accounts_never_owe(self) -> None:
        ledger = Balances(self.storage, limited=LIMITED)
        assert ledger.balance(CHANNEL).available >= 0
        assert ledger.balance(OTHER).available >= 0


Ledger.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestLedger = Ledger.TestCase
