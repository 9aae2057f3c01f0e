"""Gateways that lie about money: what they can make a client pay, sign or believe."""

from __future__ import annotations

import itertools
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from paid_gateway import PRICE, RECEIVER, Lies, PaidGateway, give_channel
from retrieval_client.config import ClientSettings
from retrieval_client.source import Source
from retrieval_client.unwrap import one_error
from retrieval_client.wallet import open_wallet_in_turn
from retrieval_client.web.address import parse_gateway
from retrieval_client.web.fetch import WebFetch, WebWanted
from shop import new_home

from retrieval.dag.importer import import_path
from retrieval.deal.audit import check
from retrieval.errors import ErrorCode, RetrievalError
from retrieval.home import Home
from retrieval.identity import EvmAddress, EvmKey
from retrieval.payment.chain import Chain
from retrieval.payment.x402.answer import Charge
from retrieval.payment.x402.offer import ChannelSight, Requirements
from retrieval.payment.x402.reasons import RESYNC
from retrieval.settings import load
from retrieval.store.blocks import MemoryBlockStore
from retrieval.store.lmdb import LmdbStateStorage
from retrieval.transport.writer import open_writer, steady_clock
from retrieval.units import KIB

DEPOSIT = 10_000
BUDGET = 1_000
OTHER_RECEIVER = EvmKey.from_secret(bytes(31) + b"\x08").address


@dataclass(frozen=True)
class Outcome:
    """What a fetch came to."""

    error: RetrievalError | None
    spent: int
    unanswered: int
    charged: int
    signed: int
    are_receipts_verified: bool

    @property
    def code(self) -> ErrorCode | None:
        return None if self.error is None else self.error.code


@dataclass
class Buyer:
    """A client with a channel, who may do several fetches, each in a process of its own as far as the disk can tell."""

    home: Home
    store: MemoryBlockStore
    source: Source
    has_channel: bool = False
    receivers: tuple[EvmAddress, ...] = (RECEIVER,)
    """Whom the client has a channel with."""

    def fetch(self, gateway: PaidGateway, *, timeout_s: float = 0.4, budget: int = BUDGET) -> Outcome:
        own_settings, _ = load(ClientSettings, self.home.config_path, {}, {})

        async def main(url: str) -> Outcome:
            clock = steady_clock()
            with one_error():
                async with (
                    open_wallet_in_turn(self.home, own_settings, command="test", now=clock()) as wallet,
                    open_writer(wallet.journal, clock) as writer,
                ):
                    if not self.has_channel:
                        for receiver in self.receivers:
                            give_channel(wallet, gateway.offer(), DEPOSIT, receiver=receiver)
                        self.has_channel = True
                    wanted = WebWanted(source=self.source, provider=parse_gateway(url), spend_max=budget, timeout_s=timeout_s)
                    fetch = WebFetch(wallet, MemoryBlockStore(), writer, wanted, clock=clock, open_chain=_no_chain)
                    error = None
                    try:
                        await fetch.run()
                    except RetrievalError as failed:
                        error = failed
                    outlay, *_ = [channel.outlay for channel in wallet.web_channels.values()]
                    spent, unanswered = fetch.tally.spent_sum, fetch.unanswered
                    return Outcome(error, spent, unanswered, outlay.charged, outlay.signed, fetch.are_receipts_verified)
            raise AssertionError

        with gateway.serving() as served:
            outcome = trio.run(main, served.url)
        with closing(LmdbStateStorage.open_readonly(self.home.state_path)) as state:
            assert check(state).promised == outcome.charged
        return outcome


def _no_chain(rpc: str) -> Chain:
    raise AssertionError("the channel is there")


@pytest.fixture
def buyer(tmp_path: Path) -> Buyer:
    return new_buyer(tmp_path)


def new_buyer(folder: Path) -> Buyer:
    store = MemoryBlockStore()
    folder.mkdir(exist_ok=True)
    (folder / "content").write_bytes(bytes(range(256)) * KIB)
    home = new_home(folder / "client", "retrieval-client", ClientSettings, {"wallet.per_fetch": "1 USD", "chain.rpc": ""})
    return Buyer(home, store, Source(root=import_path(store, folder / "content").cid))


def test_an_honest_gateway_is_paid_its_price_once(buyer: Buyer) -> None:
    gateway = PaidGateway(buyer.store)
    outcome = buyer.fetch(gateway)
    assert (outcome.code, outcome.spent, outcome.signed, outcome.are_receipts_verified) == (None, PRICE, PRICE, True)


def test_an_answer_without_a_receipt_is_paid_and_told_apart(buyer: Buyer) -> None:
    outcome = buyer.fetch(PaidGateway(buyer.store, Lies(has_receipt=False)))
    assert (outcome.code, outcome.are_receipts_verified) == (None, False)


def test_a_cut_answer_is_not_paid_for_twice_by_accident(buyer: Buyer) -> None:
    gateway = PaidGateway(buyer.store, Lies(n_cut=1))
    outcome = buyer.fetch(gateway, timeout_s=10)
    assert outcome.code is None
    assert outcome.spent == gateway.charged == 2 * PRICE, "it charged both, and says so"


def test_a_payment_whose_answer_never_came_is_counted_after_a_restart(buyer: Buyer) -> None:
    gateway = PaidGateway(buyer.store)
    gateway.lies.n_cut = 100
    first = buyer.fetch(gateway, budget=3 * PRICE)
    assert first.code is not None
    assert gateway.charged <= 3 * PRICE
    gateway.lies.n_cut = 0
    assert buyer.fetch(gateway).code is None
    assert max(gateway.vouchers) == gateway.charged


@pytest.mark.parametrize(
    ("lies", "code"),
    [
        (Lies(price=lambda price: BUDGET + 1), ErrorCode.OVER_BUDGET),
        (Lies(charge=lambda charge: replace(charge, charged=PRICE + 1)), ErrorCode.PAYMENT_MISMATCH),
        (Lies(charge=lambda charge: replace(charge, channel=_counting(charge, 7 * PRICE))), ErrorCode.PAYMENT_MISMATCH),
        (Lies(statement=lambda said: replace(said, amount=PRICE - 1)), ErrorCode.BAD_RECEIPT),
        (Lies(statement=lambda said: replace(said, channel_amount=PRICE - 1, amount=1)), ErrorCode.BAD_RECEIPT),
        (Lies(statement=lambda said: replace(said, n_bytes=1)), ErrorCode.BAD_RECEIPT),
        (Lies(statement=lambda said: replace(said, selection=replace(said.selection, range_end=5))), ErrorCode.BAD_RECEIPT),
        (Lies(statement=lambda said: replace(said, selection=replace(said.selection, path=("elsewhere",)))), ErrorCode.BAD_RECEIPT),
        (Lies(statement=lambda said: replace(said, channel_id=bytes(32))), ErrorCode.BAD_RECEIPT),
        (Lies(offers=lambda offer: replace(offer, chain_id=1)), ErrorCode.WRONG_CHAIN),
        (Lies(offers=lambda offer: replace(offer, token=EvmAddress(bytes(20)))), ErrorCode.WRONG_CHAIN),
        (Lies(offers=lambda offer: replace(offer, pay_to=EvmAddress(bytes(20)))), ErrorCode.CHANNEL_UNACCEPTABLE),
        (Lies(offers=lambda offer: replace(offer, pay_to=EvmAddress(b"\x01" * 20))), ErrorCode.CHANNEL_MISSING),
        (Lies(offers=lambda offer: replace(offer, withdraw_delay_s=40 * 86_400)), ErrorCode.CHANNEL_UNACCEPTABLE),
    ],
)
def test_a_lie_is_a_registered_error_and_costs_one_answer_at_most(buyer: Buyer, lies: Lies, code: ErrorCode) -> None:
    gateway = PaidGateway(buyer.store)
    gateway.offer()
    buyer.fetch(PaidGateway(buyer.store))  # the channel is made with honest terms
    gateway.charged, gateway.lies = PRICE, lies
    outcome = buyer.fetch(gateway)
    assert outcome.code is code
    assert outcome.signed <= 2 * PRICE


def _counting(charge: Charge, charged: int) -> ChannelSight:
    assert charge.channel is not None
    return replace(charge.channel, charged=charged, signed=None, signature=None)


def test_a_count_that_nobody_signed_is_not_believed(buyer: Buyer) -> None:
    gateway = PaidGateway(buyer.store, Lies(sight=lambda sight: replace(sight, charged=sight.charged + 1, signed=None, signature=None)))
    gateway.charged = 5
    outcome = buyer.fetch(gateway)
    assert outcome.code is ErrorCode.PAYMENT_MISMATCH
    assert (outcome.charged, outcome.signed) == (0, PRICE)


@given(
    prices=st.lists(st.integers(0, 700), min_size=1, max_size=8),
    counts=st.lists(st.integers(-300, 300), min_size=1, max_size=8),
    n_cut=st.integers(0, 4),
    budget=st.integers(0, 900),
)
@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_it_says_no_more_is_signed_than_the_budgets_allow(
    tmp_path_factory: pytest.TempPathFactory, prices: list[int], counts: list[int], n_cut: int, budget: int
) -> None:
    buyer = new_buyer(tmp_path_factory.mktemp("buyer"))
    asked, counted = iter(prices * 100), iter(counts * 100)
    gateway = PaidGateway(buyer.store)
    buyer.fetch(gateway)  # so that there is a channel, and an honest beginning
    signed_before = max(gateway.vouchers)

    def miscount(sight: ChannelSight) -> ChannelSight:
        return replace(sight, charged=max(0, min(sight.charged + next(counted), sight.signed or 0)))

    gateway.lies = Lies(price=lambda price: next(asked), sight=miscount, n_cut=n_cut)
    for _ in range(2):
        before = max(gateway.vouchers)
        outcome = buyer.fetch(gateway, timeout_s=0.05, budget=budget)
        assert max(gateway.vouchers) <= outcome.signed, "what left had been written down"
        assert outcome.signed <= before + budget
        assert outcome.spent <= budget
    assert max(gateway.vouchers) <= min(DEPOSIT, signed_before + 2 * budget)


def test_a_payment_that_was_shown_as_uncounted_and_is_counted_later_is_spent_all_the_same(buyer: Buyer) -> None:
    """It takes no payment, asks for a small one after each large one, and then counts the large one."""
    buyer.fetch(PaidGateway(buyer.store), timeout_s=10)
    expected = 7 * PRICE
    prices = itertools.chain([PRICE], itertools.cycle([expected, 1, expected, PRICE]))
    counts = itertools.cycle([False, True])
    gateway = PaidGateway(buyer.store, charged=PRICE)

    def miscount(sight: ChannelSight) -> ChannelSight:
        if next(counts):
            gateway.charged = gateway.best
        return replace(sight, charged=gateway.charged)

    gateway.lies = Lies(price=lambda price: next(prices), sight=miscount)
    budget = PRICE + PRICE // 2
    outcome = buyer.fetch(gateway, timeout_s=10, budget=budget)
    assert gateway.vouchers[:2] == [2 * PRICE, PRICE + 1]
    assert outcome.signed <= PRICE + budget
    assert outcome.charged - PRICE == outcome.spent <= budget


def test_a_gateway_of_several_receivers_is_signed_no_more_than_one_budget(buyer: Buyer) -> None:
    """It takes no payment, and names another receiver each time it is asked."""
    buyer.receivers = (RECEIVER, OTHER_RECEIVER)
    named = itertools.cycle(buyer.receivers)

    def another(offer: Requirements) -> Requirements:
        receiver = next(named)
        return replace(offer, pay_to=receiver, receiver_authorizer=receiver)

    prices = itertools.chain([PRICE, PRICE, PRICE], itertools.cycle([PRICE + 1, PRICE]))  # for two channels, the offer; payment, offer, …
    gateway = PaidGateway(buyer.store, Lies(price=lambda price: next(prices), offers=another, reason="payment_required"))
    outcome = buyer.fetch(gateway, budget=PRICE + PRICE // 2)
    assert outcome.code is ErrorCode.OVER_BUDGET
    assert gateway.vouchers == [PRICE]


@pytest.mark.parametrize(("reason", "is_proven"), [("payment_required", True), (RESYNC, False), (RESYNC, True)])
def test_a_payment_that_was_not_taken_is_counted_by_the_fetch_that_signed_it(buyer: Buyer, reason: str, is_proven: bool) -> None:
    """It refuses a payment, and counts it in the next fetch, which signed next to nothing: the two account for all of it together."""
    prices = iter([PRICE, PRICE, 7, BUDGET + 1])  # for the channel, the offer, the payment and the offer that follows
    gateway = PaidGateway(buyer.store)

    def forgetful(sight: ChannelSight) -> ChannelSight:
        return sight if is_proven else replace(sight, signed=None, signature=None)

    gateway.lies = Lies(price=lambda price: next(prices), sight=forgetful, reason=reason)
    first = buyer.fetch(gateway)
    assert (first.code, first.spent, first.signed) == (ErrorCode.OVER_BUDGET, 0, PRICE)

    prices = itertools.chain([1, 7], itertools.repeat(1))
    gateway.lies, gateway.charged = Lies(price=lambda price: next(prices)), PRICE
    second = buyer.fetch(gateway)
    assert (second.code, second.charged) == (None, PRICE + 1)
    assert first.unanswered == PRICE
    assert first.unanswered + second.spent + second.unanswered >= second.charged


def test_a_fetch_that_is_cancelled_anywhere_leaves_its_channel_to_others(buyer: Buyer) -> None:
    gateway = PaidGateway(buyer.store)
    own_settings, _ = load(ClientSettings, buyer.home.config_path, {}, {})

    async def main(url: str) -> None:
        clock = steady_clock()
        async with (
            open_wallet_in_turn(buyer.home, own_settings, command="test", now=clock()) as wallet,
            open_writer(wallet.journal, clock) as writer,
        ):
            channel = give_channel(wallet, gateway.offer(), DEPOSIT)

            async def fetch() -> None:
                wanted = WebWanted(source=buyer.source, provider=parse_gateway(url), spend_max=BUDGET, timeout_s=20)
                await WebFetch(wallet, MemoryBlockStore(), writer, wanted, clock=clock, open_chain=_no_chain).run()

            for n in range(40):
                with trio.move_on_after(n / 1000):
                    await fetch()
            await fetch()
            assert channel.outlay.signed >= gateway.charged == channel.outlay.charged

    with gateway.serving() as served:
        trio.run(main, served.url)
    with closing(LmdbStateStorage.open_readonly(buyer.home.state_path)) as state:
        assert check(state).promised == gateway.charged
