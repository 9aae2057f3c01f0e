"""Settlement against a real chain: what is claimed when, and what no failure of the RPC, the payer or the machine can take away."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest
import trio
from chain_fixture import devchain, rpc  # noqa: F401
from retrieval_provider.settlement import ATTEMPTS_LEFT_MIN, RETRY_MAX_S, Claimed, claimable
from takings import DEPOSIT, DOLLAR, Takings
from trio.testing import MockClock, trio_test

from retrieval.deal import fold
from retrieval.deal.records import ClaimRecord, record
from retrieval.errors import ErrorCode, RemoteProtocolError, RetrievalError
from retrieval.payment.chain import Claim

RPC_DOWN = RemoteProtocolError(ErrorCode.RPC_UNAVAILABLE, "connection refused")


@pytest.fixture
def takings(devchain: str) -> Iterator[Takings]:  # noqa: F811
    """A takings with gas money, whose accounts agree with the chain's when the test is over."""
    takings = Takings(url=devchain)
    takings.evm.send_gas(takings.receiver.address)
    yield takings
    takings.journal.check()


def newest_claim(takings: Takings, channel: bytes) -> ClaimRecord:
    claim = fold.get(takings.state, ClaimRecord, channel)
    assert claim is not None
    return claim


# when it claims


@trio_test
async def test_what_is_earned_is_claimed_once_it_reaches_the_threshold(takings: Takings) -> None:
    payer = takings.open_channel()
    async with takings.settler(claim_above=100) as settler:
        takings.take(payer, 99)
        await settler.watch()
        assert takings.received() == 0
        takings.take(payer, 1)
        await settler.watch()
    assert takings.received() == 100
    assert takings.channel(payer).total_claimed == 100


@trio_test
async def test_the_threshold_counts_over_all_channels_and_the_claim_takes_them_all(takings: Takings) -> None:
    payers = [takings.open_channel() for _ in range(3)]
    async with takings.settler(claim_above=90) as settler:
        for payer in payers:
            takings.take(payer, 30)
        await settler.watch()
        assert settler.unclaimed() == 0
    assert takings.received() == 90


@trio_test
async def test_a_withdrawal_ends_credit_and_is_answered_by_a_claim_before_its_delay(takings: Takings) -> None:
    payer = takings.open_channel(withdraw_delay_s=3_600)
    async with takings.settler(claim_above=DOLLAR) as settler:
        takings.take(payer, 40)
        takings.evm.initiate_withdraw(payer.config, DEPOSIT, sender=payer.key)
        await settler.watch()
        assert takings.channel(payer).closing
        assert takings.received() == 40
        takings.take(payer, 2)  # an open window is paid late
        await settler.watch()
    assert takings.received() == 42
    rpc(takings.url, "evm_increaseTime", 3_600)
    takings.evm.finalize_withdraw(payer.config, sender=payer.key)
    assert takings.evm.token_balance(payer.key.address) == 10 * DEPOSIT - 42


@trio_test
async def test_a_withdrawal_that_came_to_nothing_opens_the_channel_again(takings: Takings) -> None:
    payer = takings.open_channel(withdraw_delay_s=3_600)
    async with takings.settler() as settler:
        takings.evm.initiate_withdraw(payer.config, 1, sender=payer.key)
        await settler.watch()
        assert takings.channel(payer).closing
        rpc(takings.url, "evm_increaseTime", 3_600)
        takings.evm.finalize_withdraw(payer.config, sender=payer.key)
        await settler.watch()
    assert (takings.channel(payer).closing, takings.channel(payer).balance) == (False, DEPOSIT - 1)


@trio_test
async def test_a_deposit_that_grew_is_noticed(takings: Takings) -> None:
    payer = takings.open_channel()
    async with takings.settler() as settler:
        takings.evm.deposit(payer.config, DOLLAR, payer=payer.key, sender=payer.key)
        await settler.watch()
    assert takings.channel(payer).balance == DEPOSIT + DOLLAR


@trio_test
async def test_a_claim_can_be_asked_for_one_channel_alone(takings: Takings) -> None:
    one, other = takings.open_channel(), takings.open_channel()
    told: list[Claimed] = []
    async with takings.settler(on_claimed=told.append) as settler:
        takings.take(one, 10)
        takings.take(other, 20)
        claimed = await settler.claim(one.channel)
        again = await settler.claim(one.channel)
    assert (claimed.channels, claimed.claimed, claimed.settled) == ((one.channel,), 10, 10)
    assert again == Claimed()
    assert told == [claimed]
    assert claimable(takings.line(other)) == 20


@trio_test
async def test_a_claim_is_recorded_with_the_transaction_it_was_in(takings: Takings) -> None:
    payers = [takings.open_channel() for _ in range(17)]  # one more than a transaction carries
    async with takings.settler() as settler:
        for payer in payers:
            takings.take(payer, 1)
        claimed = await settler.claim()
    assert (claimed.claimed, len(claimed.transactions)) == (17, 2)
    first, second = ({newest_claim(takings, payer.channel).transaction for payer in some} for some in (payers[:16], payers[16:]))
    assert (first, second) == ({claimed.transactions[0]}, {claimed.transactions[1]})


@trio_test
async def test_the_accounts_keep_up_with_claims(takings: Takings) -> None:
    payer = takings.open_channel()
    async with takings.settler() as settler:
        for amount in (7, 11):
            takings.take(payer, amount)
            await settler.claim()
    assert takings.booked() == (18, 18)


# what goes wrong


@trio_test
async def test_one_channel_the_chain_refuses_does_not_hold_up_the_others(takings: Takings) -> None:
    honest, broken = takings.open_channel(), takings.open_channel()
    async with takings.settler() as settler:
        takings.take(honest, 50)
        takings.take(broken, 60, signature=bytes(64) + b"\x1b")
        with pytest.raises(RetrievalError) as refused:
            await settler.claim()
    assert refused.value.code is ErrorCode.TRANSACTION_FAILED
    assert takings.received() == 50
    assert claimable(takings.line(honest)) == 0


@trio_test
async def test_what_a_payer_took_back_in_time_is_not_claimed_again_and_again(takings: Takings, caplog: pytest.LogCaptureFixture) -> None:
    payer = takings.open_channel(withdraw_delay_s=3_600)
    takings.take(payer, DEPOSIT)
    takings.evm.initiate_withdraw(payer.config, DEPOSIT - 10, sender=payer.key)
    rpc(takings.url, "evm_increaseTime", 3_600)
    takings.evm.finalize_withdraw(payer.config, sender=payer.key)
    async with takings.settler(claim_above=0) as settler:
        await settler.watch()
        await settler.watch()
    assert takings.received() == 10
    assert takings.chain.calls.count("claim_and_settle") == 1
    assert "cannot be claimed whole" in caplog.text


@trio_test
async def test_a_claim_that_never_left_is_sent_after_a_restart(takings: Takings) -> None:
    payer = takings.open_channel()
    takings.take(payer, 5)
    takings.append(record(payer.channel, ClaimRecord(amount=5, transaction=b"", settled=0)))
    takings.restart()
    async with takings.settler(claim_above=DOLLAR) as settler:
        await settler.watch()
    assert takings.received() == 5
    assert newest_claim(takings, payer.channel).transaction


@trio_test
async def test_a_claim_that_was_mined_and_not_recorded_is_not_sent_twice(takings: Takings) -> None:
    payer = takings.open_channel()
    takings.take(payer, 5)
    takings.append(record(payer.channel, ClaimRecord(amount=5, transaction=b"", settled=0)))
    best = takings.line(payer).best
    assert best is not None
    takings.evm.claim_and_settle(
        [Claim(config=payer.config, voucher_amount=5, signature=best.signature, total_claimed=5)], sender=takings.receiver
    )
    takings.restart()
    async with takings.settler(claim_above=1) as settler:
        await settler.watch()
    assert (takings.received(), takings.channel(payer).total_claimed) == (5, 5)
    assert "claim_and_settle" not in takings.chain.calls
    assert takings.booked() == (5, 5)


@trio_test
async def test_an_rpc_that_is_down_is_told_and_changes_nothing(takings: Takings) -> None:
    payer = takings.open_channel()
    async with takings.settler() as settler:
        takings.take(payer, 5)
        takings.chain.failures["channel_states"] = RPC_DOWN
        with pytest.raises(RemoteProtocolError) as down:
            await settler.claim()
        assert down.value.code is ErrorCode.RPC_UNAVAILABLE
        takings.chain.failures.clear()
        assert (await settler.claim()).settled == 5


@trio_test
async def test_attempts_that_fail_leave_one_intent_behind(takings: Takings) -> None:
    payer = takings.open_channel()
    takings.chain.failures["claim_and_settle"] = RPC_DOWN
    async with takings.settler(claim_above=1) as settler:
        takings.take(payer, 5)
        before = takings.journal.head.sequence
        for _ in range(3):
            with pytest.raises(RetrievalError):
                await settler.watch()
    assert takings.journal.head.sequence == before + 1
    assert newest_claim(takings, payer.channel) == ClaimRecord(amount=5, transaction=b"", settled=0)


@trio_test
async def test_a_receiver_without_gas_is_warned(devchain: str, caplog: pytest.LogCaptureFixture) -> None:  # noqa: F811
    takings = Takings(url=devchain)
    payer = takings.open_channel()
    async with takings.settler() as settler:
        await settler.warn_without_gas()
        takings.take(payer, 5)
        with pytest.raises(RetrievalError) as refused:
            await settler.claim()
    assert "no gas money" in caplog.text
    assert refused.value.code is ErrorCode.WALLET_INSUFFICIENT


# how it keeps trying


def test_attempts_grow_rarer_while_there_is_time_and_then_more_frequent(takings: Takings, caplog: pytest.LogCaptureFixture) -> None:
    payer = takings.open_channel(withdraw_delay_s=7_200)
    takings.take(payer, 5)
    takings.chain.failures["channel_states"] = RPC_DOWN

    async def run() -> None:
        async with takings.settler(clock=trio.current_time) as settler:
            with trio.move_on_after(7_200):
                await settler.run()

    # The clock knows nothing of worker threads: it may jump only when a look at the chain has surely ended, on a busy machine too.
    trio.run(run, clock=MockClock(autojump_threshold=0.2))
    assert len(takings.chain.calls) >= ATTEMPTS_LEFT_MIN
    levels = [entry.levelno for entry in caplog.records if "held up" in entry.getMessage()]
    assert levels == sorted(levels), "warnings first, errors when half the delay has passed"
    assert {logging.WARNING, logging.ERROR} == set(levels)


def test_nothing_waiting_to_be_claimed_is_nothing_to_worry_about(takings: Takings, caplog: pytest.LogCaptureFixture) -> None:
    takings.open_channel()
    takings.chain.failures["channel_states"] = RPC_DOWN

    async def run() -> None:
        async with takings.settler(clock=trio.current_time) as settler:
            with trio.move_on_after(86_400):
                await settler.run()

    trio.run(run, clock=MockClock(autojump_threshold=0.01))
    assert len(takings.chain.calls) <= 86_400 / RETRY_MAX_S + 10
    assert all(entry.levelno == logging.WARNING for entry in caplog.records)


# confirmations


@trio_test
async def test_a_deposit_counts_when_it_is_buried_and_a_withdrawal_at_once(takings: Takings) -> None:
    payer = takings.open_channel(withdraw_delay_s=3_600)
    async with takings.settler(confirmations=3) as settler:
        for _ in range(3):
            rpc(takings.url, "evm_mine")
        takings.evm.deposit(payer.config, DOLLAR, payer=payer.key, sender=payer.key)
        await settler.watch()
        assert takings.channel(payer).balance == DEPOSIT
        for _ in range(3):
            rpc(takings.url, "evm_mine")
        await settler.watch()
        assert takings.channel(payer).balance == DEPOSIT + DOLLAR
        takings.evm.initiate_withdraw(payer.config, 1, sender=payer.key)
        await settler.watch()
        assert takings.channel(payer).closing
