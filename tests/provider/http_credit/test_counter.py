"""The counter against payers who lie, repeat themselves, come at the wrong time, and against a chain whose answers get lost."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from itertools import islice
from typing import Any

import pytest
import trio
from chain_fixture import devchain  # noqa: F401
from http_desk import DEPOSIT_MIN, EXACT_MIN, FREE_PER_DAY, RATE, open_desk
from retrieval_provider.http_credit.counter import Grant, Refusal
from retrieval_provider.http_credit.facilitator import OwnGas
from takings import DEPOSIT, Payer, Takings, channel_record, new_payer
from trio.testing import trio_test

from retrieval.deal import fold
from retrieval.deal.audit import check
from retrieval.deal.records import TabRecord
from retrieval.deal.tab import OrderId
from retrieval.errors import ErrorCode, RemoteProtocolError
from retrieval.identity import EvmKey
from retrieval.payment.chain import DEVCHAIN
from retrieval.payment.http_receipt import verify_sale
from retrieval.payment.voucher import VoucherSigner
from retrieval.payment.x402.answer import PAYMENT_RESPONSE, Charged
from retrieval.payment.x402.exact import sign_exact
from retrieval.payment.x402.offer import Scheme
from retrieval.payment.x402.payment import Payment
from retrieval.payment.x402.purse import Purse
from retrieval.payment.x402.reasons import RESYNC
from retrieval.units import MIB

PRICE = RATE.owed(MIB)


def refused(code: ErrorCode) -> Any:
    return pytest.raises(RemoteProtocolError, check=lambda error: error.code is code)


@pytest.fixture
def takings(devchain: str) -> Iterator[Takings]:  # noqa: F811
    """A takings with gas money, whose journal checks when the test is over."""
    takings = Takings(url=devchain)
    takings.evm.send_gas(takings.receiver.address)
    yield takings
    check(takings.state)


@pytest.fixture
def payer(takings: Takings) -> Payer:
    """Somebody with money and no channel yet."""
    payer = new_payer(takings.receiver.address)
    takings.evm.mint(payer.key.address, 2 * DEPOSIT)
    return payer


def fund(takings: Takings, payer: Payer, amount: int = DEPOSIT) -> None:
    """Open or top up the channel without the provider."""
    takings.evm.send_gas(payer.key.address)
    takings.evm.deposit(payer.config, amount, payer=payer.key, sender=payer.key)


class Deaf(OwnGas):
    """Submits, and never hears what became of it."""

    def settle(self, payment: Payment) -> bytes:
        super().settle(payment)
        raise RemoteProtocolError(ErrorCode.RPC_UNAVAILABLE, "the answer was lost")


class Down(OwnGas):
    """Submits nothing."""

    def settle(self, payment: Payment) -> bytes:
        raise RemoteProtocolError(ErrorCode.RPC_UNAVAILABLE, "connection refused")


# for nothing


@trio_test
async def test_the_allowance_comes_first_and_what_was_not_sent_of_it_comes_back(takings: Takings) -> None:
    async with open_desk(takings) as desk:
        grant = await desk.ask(n_bytes=FREE_PER_DAY)
        assert grant.order_id is not None
        assert await desk.code(n_bytes=1) is ErrorCode.PAYMENT_REQUIRED
        desk.counter.close(grant.order_id, FREE_PER_DAY - 100)
        await desk.ask(n_bytes=100)
        assert await desk.code(n_bytes=1) is ErrorCode.PAYMENT_REQUIRED
        await desk.ask(n_bytes=FREE_PER_DAY, prefix="198.51.100.7")


@trio_test
async def test_a_refusal_offers_both_schemes_and_empty_bodies_cost_nothing(takings: Takings) -> None:
    async with open_desk(takings) as desk:
        refusal = await desk.refusal(n_bytes=4 * MIB)
        assert refusal.required is not None
        assert [(each.scheme, each.amount) for each in refusal.required.accepts] == [
            (Scheme.BATCH, RATE.owed(4 * MIB)),
            (Scheme.EXACT, EXACT_MIN),
        ]
        assert (await desk.ask(n_bytes=0)).order_id is None


# from a channel


@trio_test
async def test_an_unknown_channel_is_looked_at_once(takings: Takings, payer: Payer) -> None:
    fund(takings, payer)
    async with open_desk(takings) as desk:
        for turn in range(3):
            grant = await desk.ask(desk.voucher(payer, (turn + 1) * PRICE))
            assert grant.order_id is not None
            desk.counter.close(grant.order_id, MIB)
        assert takings.chain.calls == ["channel_states"]
        assert takings.books.tabs[payer.channel].charged == RATE.owed(3 * MIB)


@trio_test
async def test_a_channel_that_holds_nothing_is_refused_and_not_remembered(takings: Takings, payer: Payer) -> None:
    async with open_desk(takings) as desk:
        assert await desk.code(desk.voucher(payer, PRICE)) is ErrorCode.CHANNEL_UNFUNDED
        assert takings.books.tabs == {}


@trio_test
async def test_what_is_wrong_by_itself_asks_the_chain_nothing(takings: Takings, payer: Payer) -> None:
    fund(takings, payer)
    async with open_desk(takings) as desk:
        stranger = new_payer(EvmKey.generate().address)
        assert await desk.code(desk.voucher(stranger, PRICE)) is ErrorCode.CHANNEL_UNACCEPTABLE
        hasty = new_payer(takings.receiver.address, withdraw_delay_s=900)
        assert await desk.code(desk.voucher(hasty, PRICE)) is ErrorCode.CHANNEL_UNACCEPTABLE
        assert await desk.code(desk.voucher(payer, PRICE, key=stranger.key)) is ErrorCode.BAD_VOUCHER
        refusal = await desk.refusal("nonsense")
        assert (refusal.error.code, refusal.required) == (ErrorCode.MALFORMED_PAYMENT, None)
        assert takings.chain.calls == []


@trio_test
async def test_a_channel_is_spent_from_over_http_or_over_libp2p_and_not_both(takings: Takings) -> None:
    payer = takings.open_channel()
    async with open_desk(takings) as desk:
        assert takings.books.channel_seen(payer.channel, channel_record(payer, takings.peer, DEPOSIT), 0.0).records == ()
        assert await desk.code(desk.voucher(payer, PRICE)) is ErrorCode.CHANNEL_UNACCEPTABLE


@trio_test
async def test_a_client_that_counts_otherwise_gets_its_own_signature_back(takings: Takings, payer: Payer) -> None:
    fund(takings, payer)
    async with open_desk(takings) as desk:
        grant = await desk.ask(desk.voucher(payer, PRICE))
        assert grant.order_id is not None
        desk.counter.close(grant.order_id, MIB // 2)
        refusal = await desk.refusal(desk.voucher(payer, 2 * PRICE))
        assert (refusal.error.code, refusal.required is not None) == (ErrorCode.STALE_VOUCHER, True)
        assert refusal.required is not None
        sight = refusal.required.accepts[0].channel
        assert (refusal.required.error, sight is not None) == (RESYNC, True)
        assert sight is not None
        assert (sight.charged, sight.signed) == (RATE.owed(MIB // 2), PRICE)
        assert (await desk.ask(desk.voucher(payer, sight.charged + PRICE))).order_id is not None


@trio_test
async def test_a_deposit_that_nobody_told_us_of_is_found_when_it_is_needed(takings: Takings, payer: Payer) -> None:
    fund(takings, payer, PRICE)
    async with open_desk(takings) as desk:
        grant = await desk.ask(desk.voucher(payer, PRICE))
        assert grant.order_id is not None
        desk.counter.close(grant.order_id, MIB)
        assert await desk.code(desk.voucher(payer, 2 * PRICE)) is ErrorCode.VOUCHER_OVER_DEPOSIT
        fund(takings, payer, PRICE)
        assert (await desk.ask(desk.voucher(payer, 2 * PRICE))).order_id is not None


@trio_test
async def test_a_channel_that_is_being_left_buys_nothing(takings: Takings, payer: Payer) -> None:
    fund(takings, payer)
    takings.evm.initiate_withdraw(payer.config, DEPOSIT, sender=payer.key)
    async with open_desk(takings) as desk:
        assert await desk.code(desk.voucher(payer, PRICE)) is ErrorCode.CHANNEL_CLOSING


@trio_test
async def test_our_own_purse_stays_in_step_through_cuts_and_restarts(takings: Takings, payer: Payer) -> None:
    fund(takings, payer)
    signer = VoucherSigner(payer.key, DEVCHAIN.chain_id, DEVCHAIN.contract)
    purse = Purse(signer, payer.config, chain_id=DEVCHAIN.chain_id, contract=DEVCHAIN.contract)
    sent_bytes = n_corrected = 0
    for part in (MIB, MIB // 3, 0, MIB, 1, MIB, MIB):
        async with open_desk(takings) as desk:
            offer, _ = desk.counter.tariff.accepts(PRICE)
            answer = await desk.answer(purse.pay(offer, amount_max=PRICE).to_header())
            if isinstance(answer, Refusal):
                assert answer.required is not None
                assert purse.correct(answer.required)
                n_corrected += 1
                answer = await desk.answer(purse.pay(offer, amount_max=PRICE).to_header())
            assert isinstance(answer, Grant)
            purse.answered(answer.headers[PAYMENT_RESPONSE])
            assert answer.order_id is not None
            desk.counter.close(answer.order_id, part)
            sent_bytes += part
        takings.restart()
    tab = takings.books.tabs[payer.channel]
    assert n_corrected == 3  # after each answer that was cut, and not else
    assert RATE.owed(sent_bytes) <= tab.charged <= RATE.owed(sent_bytes) + 3


@trio_test
async def test_a_receipt_of_an_ended_answer_says_what_it_came_to(takings: Takings, payer: Payer) -> None:
    fund(takings, payer)
    async with open_desk(takings) as desk:
        grant = await desk.ask(desk.voucher(payer, PRICE))
        assert grant.order_id is not None
        with refused(ErrorCode.DEAL_UNKNOWN):  # it is under way
            await desk.counter.receipt(grant.order_id)
        desk.counter.close(grant.order_id, MIB // 2)
        sold = verify_sale(await desk.counter.receipt(grant.order_id)).statement
        assert (sold.n_bytes, sold.amount, sold.channel_amount) == (MIB // 2, RATE.owed(MIB // 2), RATE.owed(MIB // 2))
        assert (sold.order_id, sold.payer, sold.channel_id) == (grant.order_id, payer.key.address, payer.channel)
    takings.restart()
    async with open_desk(takings) as desk:
        again = await desk.ask(desk.voucher(payer, RATE.owed(MIB // 2) + PRICE))
        assert again.order_id is not None
        desk.counter.close(again.order_id, MIB)
        later = verify_sale(await desk.counter.receipt(grant.order_id)).statement
        assert (later.n_bytes, later.amount, later.channel_amount) == (sold.n_bytes, sold.amount, takings.books.tabs[payer.channel].charged)


@trio_test
async def test_who_has_no_order_has_no_receipt(takings: Takings, payer: Payer) -> None:
    fund(takings, payer)
    async with open_desk(takings) as desk:
        free = await desk.ask(n_bytes=10)
        unsent = await desk.ask(desk.voucher(payer, PRICE))
        assert free.order_id is not None
        assert unsent.order_id is not None
        for order_id in (free.order_id, unsent.order_id):
            desk.counter.close(order_id, 0)
        for order_id in (free.order_id, unsent.order_id, OrderId(bytes(16))):
            with refused(ErrorCode.DEAL_UNKNOWN):
                await desk.counter.receipt(order_id)


def altered(header: str) -> Iterator[tuple[str, str]]:
    """A payment with one thing in it changed each time, and what that was."""
    members = json.loads(base64.b64decode(header))

    def places(node: Any, way: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
        inner = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
        for key, value in inner:
            yield (*way, key)
            yield from places(value, (*way, key))

    for way in places(members):
        for change in (_other, lambda value: None, lambda value: [], lambda value: "9" * 90, lambda value: -1):
            copy = json.loads(json.dumps(members))
            holder = copy
            for key in way[:-1]:
                holder = holder[key]
            holder[way[-1]] = change(holder[way[-1]])
            yield base64.b64encode(json.dumps(copy).encode()).decode(), f"{'.'.join(map(str, way))} = {holder[way[-1]]!r}"[:80]
    yield from ((header[:cut], f"cut at {cut}") for cut in range(0, len(header), 97))
    yield header + header, "twice"


def _other(value: Any) -> Any:
    """Something like it that it is not."""
    if isinstance(value, str):
        return value[:-1] + ("1" if value[-1:] == "2" else "2")
    return value + 1 if isinstance(value, int) and not isinstance(value, bool) else "x"


@pytest.mark.parametrize("scheme", list(Scheme))
@trio_test
async def test_an_altered_payment_buys_nothing_beyond_what_was_signed(takings: Takings, payer: Payer, scheme: Scheme) -> None:
    fund(takings, payer)
    async with open_desk(takings) as desk:

        def signed() -> str:
            return desk.voucher(payer, PRICE) if scheme is Scheme.BATCH else desk.header(desk.transfer(payer.key))

        honest, n_refused = signed(), 0
        for number in range(len(list(altered(honest)))):
            header, what = next(islice(altered(honest), number, None))
            answer = await desk.answer(header)
            if isinstance(answer, Grant):  # what nobody signs, such as the words for people, may say anything
                assert answer.order_id is not None
                charge = Charged.from_header(answer.headers[PAYMENT_RESPONSE])
                assert charge.charged == PRICE, what
                desk.counter.close(answer.order_id, 0)
                honest = signed()  # a transfer works once
            else:
                n_refused += 1
                assert answer.error.code not in (ErrorCode.INTERNAL, ErrorCode.USAGE), what
        assert n_refused > 5
        assert sum(tab.charged for tab in takings.books.tabs.values()) == 0


# with a deposit


@trio_test
async def test_a_deposit_opens_the_channel_before_the_answer_leaves(takings: Takings, payer: Payer) -> None:
    async with open_desk(takings) as desk:
        grant = await desk.ask(desk.voucher(payer, PRICE, deposit=desk.deposit(payer, DEPOSIT)))
        assert Charged.from_header(grant.headers[PAYMENT_RESPONSE]).charged_total == PRICE
        assert takings.books.tabs[payer.channel].credit == DEPOSIT - PRICE


@trio_test
async def test_the_chain_is_not_troubled_with_deposits_that_are_no_use(takings: Takings, payer: Payer) -> None:
    async with open_desk(takings, Down(takings.evm, takings.receiver)) as desk:
        assert await desk.code(desk.voucher(payer, PRICE, deposit=desk.deposit(payer, DEPOSIT_MIN - 1))) is ErrorCode.CHANNEL_UNFUNDED
        over = desk.voucher(payer, DEPOSIT_MIN + 1, deposit=desk.deposit(payer, DEPOSIT_MIN))
        assert await desk.code(over, n_bytes=MIB) is ErrorCode.STALE_VOUCHER
        other = new_payer(takings.receiver.address)
        assert await desk.code(desk.voucher(payer, PRICE, deposit=desk.deposit(other, DEPOSIT))) is ErrorCode.BAD_SIGNATURE
        assert takings.books.tabs == {}


@trio_test
async def test_a_deposit_whose_answer_was_lost_counts_when_the_chain_shows_it(takings: Takings, payer: Payer) -> None:
    async with open_desk(takings, Deaf(takings.evm, takings.receiver)) as desk:
        assert (await desk.ask(desk.voucher(payer, PRICE, deposit=desk.deposit(payer, DEPOSIT)))).order_id is not None
    assert takings.books.tabs[payer.channel].due == PRICE


@trio_test
async def test_two_deposits_at_the_same_time_are_not_both_submitted(takings: Takings, payer: Payer) -> None:
    async with open_desk(takings) as desk:
        header = desk.voucher(payer, PRICE, deposit=desk.deposit(payer, DEPOSIT))
        codes: list[ErrorCode] = []

        async def again() -> None:
            codes.append(await desk.code(header))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(desk.ask, header)
            await trio.testing.wait_all_tasks_blocked()
            nursery.start_soon(again)
    assert codes == [ErrorCode.PAYMENT_IN_FLIGHT]
    assert takings.books.tabs[payer.channel].channel is not None
    assert takings.books.tabs[payer.channel].credit == DEPOSIT - PRICE


@trio_test
async def test_a_node_that_stops_waits_for_answers_and_for_their_charges(takings: Takings, payer: Payer) -> None:
    fund(takings, payer)
    async with open_desk(takings) as desk:
        await desk.counter.settled()
        grants = [await desk.ask(n_bytes=1), await desk.ask(desk.voucher(payer, PRICE))]
        over = trio.Event()

        async def stop() -> None:
            await desk.counter.settled()
            over.set()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(stop)
            for grant in grants:
                await trio.testing.wait_all_tasks_blocked()
                assert not over.is_set()
                assert grant.order_id is not None
                desk.counter.close(grant.order_id, MIB)
        assert over.is_set()
        row = fold.get(takings.state, TabRecord, payer.channel)
        assert row is not None
        assert row.charged == PRICE


# by transfer


@trio_test
async def test_a_transfer_works_once_and_what_it_leaves_is_spent_by_showing_others(takings: Takings, payer: Payer) -> None:
    async with open_desk(takings) as desk:
        first, second = desk.transfer(payer.key), desk.transfer(payer.key)
        for transfer in (first, second):
            grant = await desk.ask(desk.header(transfer))
            assert grant.order_id is not None
            desk.counter.close(grant.order_id, MIB)
        for transfer in (first, second):
            assert await desk.code(desk.header(transfer)) is ErrorCode.PAYMENT_USED
        assert takings.received() == EXACT_MIN
    takings.restart()
    assert takings.books.tabs[payer.key.address].credit == EXACT_MIN - RATE.owed(2 * MIB)
    async with open_desk(takings) as desk:
        assert await desk.code(desk.header(second)) is ErrorCode.PAYMENT_USED


@trio_test
async def test_a_transfer_of_too_little_or_without_cover_moves_nothing(takings: Takings) -> None:
    async with open_desk(takings) as desk:
        poor = EvmKey.generate()
        assert await desk.code(desk.header(desk.transfer(poor, EXACT_MIN - 1))) is ErrorCode.PAYMENT_MISMATCH
        assert await desk.code(desk.header(desk.transfer(poor))) is ErrorCode.TRANSACTION_FAILED
        assert takings.books.tabs == {}
    assert takings.journal.head.sequence == 0


@trio_test
async def test_a_transfer_whose_answer_was_lost_is_credited_once(takings: Takings, payer: Payer) -> None:
    async with open_desk(takings, Deaf(takings.evm, takings.receiver)) as desk:
        grant = await desk.ask(desk.header(desk.transfer(payer.key)))
        assert grant.order_id is not None
        await desk.transfers.resume()
    assert (takings.received(), takings.books.tabs[payer.key.address].received) == (EXACT_MIN, EXACT_MIN)


@trio_test
async def test_a_transfer_that_was_not_submitted_can_be_sent_again(takings: Takings, payer: Payer) -> None:
    async with open_desk(takings, Down(takings.evm, takings.receiver)) as desk:
        header = desk.header(desk.transfer(payer.key))
        refusal = await desk.refusal(header)
        assert (refusal.error.code, refusal.required) == (ErrorCode.RPC_UNAVAILABLE, None)
    takings.restart()
    async with open_desk(takings) as desk:
        assert (await desk.ask(header)).order_id is not None
    assert takings.received() == EXACT_MIN


@trio_test
async def test_a_node_that_died_after_submitting_finds_the_money_when_it_starts(takings: Takings, payer: Payer) -> None:
    async with open_desk(takings, Down(takings.evm, takings.receiver)) as desk:
        transfer = desk.transfer(payer.key)
        await desk.refusal(desk.header(transfer))  # it is written down, and this process hears no more of it
    takings.evm.relay_exact(transfer, sender=takings.receiver)
    takings.restart()
    async with open_desk(takings) as desk:
        await desk.transfers.resume()
        await desk.transfers.resume()
        assert takings.books.tabs[payer.key.address].credit == EXACT_MIN
        assert await desk.code(desk.header(transfer)) is ErrorCode.PAYMENT_USED


@trio_test
async def test_a_nonce_that_was_used_up_for_another_transfer_pays_for_nothing(takings: Takings, payer: Payer) -> None:
    async with open_desk(takings, Down(takings.evm, takings.receiver)) as desk:
        transfer = desk.transfer(payer.key)
        await desk.refusal(desk.header(transfer))
    elsewhere = sign_exact(
        payer.key,
        payer.key.address,
        transfer.amount,
        token_domain=takings.evm.deployment.token_domain,
        nonce=transfer.nonce,
        valid_before=transfer.valid_before,
    )
    takings.evm.relay_exact(elsewhere, sender=takings.receiver)
    async with open_desk(takings) as desk:
        await desk.transfers.resume()
        assert await desk.code(desk.header(transfer)) is ErrorCode.TRANSACTION_FAILED
    assert takings.books.tabs == {}


@trio_test
async def test_a_provider_without_gas_money_says_that_it_is_not_the_payers_fault(devchain: str) -> None:  # noqa: F811
    takings = Takings(url=devchain)
    payer = new_payer(takings.receiver.address)
    takings.evm.mint(payer.key.address, DEPOSIT)
    async with open_desk(takings) as desk:
        assert await desk.code(desk.header(desk.transfer(payer.key))) is ErrorCode.RPC_UNAVAILABLE
