"""How money goes back to the payer: withdrawals against the clock, refunds by the receiver, and calls that go together."""

from __future__ import annotations

import pytest
from contract_vm import ContractVm, Reverted, claim_row, config_tuple, function_of, id_of, sign_refund
from eth_abi import encode

from retrieval.identity import EvmKey
from retrieval.payment.chain import DEVCHAIN
from retrieval.payment.channel import ChannelConfig

DELAY_S = 900

payer, hot, receiver, authorizer, stranger = (EvmKey.from_secret(bytes([index]) * 32) for index in range(1, 6))
CONFIG = ChannelConfig(
    payer=payer.address,
    payer_authorizer=hot.address,
    receiver=receiver.address,
    receiver_authorizer=authorizer.address,
    token=DEVCHAIN.token,
    withdraw_delay_s=DELAY_S,
    salt=bytes(32),
)


@pytest.fixture
def vm() -> ContractVm:
    """An EVM in which the payer holds 9,000 and the channel 1,000."""
    vm = ContractVm()
    vm.mint(payer, 10_000)
    vm.deposit(CONFIG, 1_000, payer)
    return vm


def initiate(vm: ContractVm, amount: int, sender: EvmKey = payer) -> None:
    vm.call(sender.address, "channels", "initiateWithdraw", config_tuple(CONFIG), amount)


def finalize(vm: ContractVm, sender: EvmKey = payer) -> None:
    vm.call(sender.address, "channels", "finalizeWithdraw", config_tuple(CONFIG))


def claim(vm: ContractVm, amount: int) -> None:
    vm.call(receiver.address, "channels", "claim", [claim_row(CONFIG, amount, hot)])


def refund(vm: ContractVm, amount: int, sender: EvmKey = receiver) -> None:
    vm.call(sender.address, "channels", "refund", config_tuple(CONFIG), amount)


# Withdrawals


@pytest.mark.parametrize("sender", [payer, hot])
def test_the_payers_side_leaves_when_the_delay_is_over_and_not_a_second_before(vm: ContractVm, sender: EvmKey) -> None:
    initiate(vm, 600, sender)
    assert vm.withdrawal(CONFIG) == (600, vm.now)
    vm.wait(DELAY_S - 1)
    with pytest.raises(Reverted, match="WithdrawDelayNotElapsed"):
        finalize(vm, sender)
    vm.wait(1)
    finalize(vm, sender)
    assert vm.channel(CONFIG) == (400, 0)
    assert vm.withdrawal(CONFIG) == (0, 0)
    assert vm.balance_of(payer.address) == 9_600


@pytest.mark.parametrize("sender", [receiver, authorizer, stranger])
def test_nobody_else_starts_or_ends_a_withdrawal(vm: ContractVm, sender: EvmKey) -> None:
    with pytest.raises(Reverted, match="NotPayer"):
        initiate(vm, 600, sender)
    initiate(vm, 600)
    vm.wait(DELAY_S)
    with pytest.raises(Reverted, match="NotPayer"):
        finalize(vm, sender)


def test_a_withdrawal_is_of_something_and_of_no_more_than_is_unclaimed(vm: ContractVm) -> None:
    claim(vm, 400)
    for amount, reason in ((0, "ZeroAmount"), (601, "AboveUnclaimed")):
        with pytest.raises(Reverted, match=reason):
            initiate(vm, amount)
    initiate(vm, 600)


def test_a_second_withdrawal_waits_for_the_first(vm: ContractVm) -> None:
    """Otherwise the clock of a small one could be used by a large one."""
    initiate(vm, 1)
    with pytest.raises(Reverted, match="WithdrawalPending"):
        initiate(vm, 999)


def test_without_a_withdrawal_there_is_nothing_to_finalize(vm: ContractVm) -> None:
    vm.wait(DELAY_S)
    with pytest.raises(Reverted, match="NoWithdrawal"):
        finalize(vm)
    initiate(vm, 100)
    vm.wait(DELAY_S)
    finalize(vm)
    with pytest.raises(Reverted, match="NoWithdrawal"):
        finalize(vm)


def test_the_receiver_claims_in_the_window_and_the_payer_gets_what_is_left(vm: ContractVm) -> None:
    initiate(vm, 1_000)
    vm.wait(DELAY_S)
    claim(vm, 700)
    finalize(vm)
    assert vm.channel(CONFIG) == (700, 700)
    assert vm.balance_of(payer.address) == 9_300


def test_a_withdrawal_of_what_was_claimed_meanwhile_ends_with_nothing(vm: ContractVm) -> None:
    initiate(vm, 1_000)
    vm.wait(DELAY_S)
    claim(vm, 1_000)
    finalize(vm)
    assert vm.withdrawal(CONFIG) == (0, 0)
    assert vm.balance_of(payer.address) == 9_000


def test_a_voucher_that_was_not_claimed_in_time_is_lost(vm: ContractVm) -> None:
    initiate(vm, 1_000)
    vm.wait(DELAY_S)
    finalize(vm)
    with pytest.raises(Reverted, match="AboveBalance"):
        claim(vm, 700)


def test_an_old_voucher_comes_back_to_life_with_a_new_deposit(vm: ContractVm) -> None:
    """The reason why the salt of a closed channel is not used again."""
    initiate(vm, 1_000)
    vm.wait(DELAY_S)
    finalize(vm)
    vm.deposit(CONFIG, 1_000, payer)
    claim(vm, 700)
    assert vm.channel(CONFIG) == (1_000, 700)


# Refunds


@pytest.mark.parametrize("sender", [receiver, authorizer])
def test_the_receivers_side_gives_back_what_is_unclaimed_at_once(vm: ContractVm, sender: EvmKey) -> None:
    claim(vm, 300)
    refund(vm, 200, sender)
    assert vm.channel(CONFIG) == (800, 300)
    refund(vm, 10_000, sender)
    assert vm.channel(CONFIG) == (300, 300)
    assert vm.balance_of(payer.address) == 9_700


@pytest.mark.parametrize("sender", [payer, hot, stranger])
def test_nobody_else_refunds_directly(vm: ContractVm, sender: EvmKey) -> None:
    with pytest.raises(Reverted, match="NotReceiver"):
        refund(vm, 1, sender)


def test_a_signed_refund_is_good_once_and_for_its_amount(vm: ContractVm) -> None:
    signature = sign_refund(CONFIG, 100, 0, authorizer)

    def submit(amount: int, nonce: int) -> None:
        vm.call(stranger.address, "channels", "refundWithSignature", config_tuple(CONFIG), amount, nonce, signature)

    with pytest.raises(Reverted, match="BadAuthorizerSignature"):
        submit(101, 0)
    submit(100, 0)
    for nonce, reason in ((0, "BadRefundNonce"), (1, "BadAuthorizerSignature")):
        with pytest.raises(Reverted, match=reason):
            submit(100, nonce)
    assert vm.balance_of(payer.address) == 9_100


def test_only_the_receivers_authorizer_signs_refunds(vm: ContractVm) -> None:
    for key in (receiver, payer, hot, stranger):
        signature = sign_refund(CONFIG, 100, 0, key)
        with pytest.raises(Reverted, match="BadAuthorizerSignature"):
            vm.call(stranger.address, "channels", "refundWithSignature", config_tuple(CONFIG), 100, 0, signature)


def test_a_refund_uses_up_its_nonce_even_when_nothing_is_left(vm: ContractVm) -> None:
    claim(vm, 1_000)
    refund(vm, 100)
    assert vm.call(stranger.address, "channels", "refundNonce", id_of(CONFIG)) == 1
    with pytest.raises(Reverted, match="ZeroAmount"):
        refund(vm, 0)


@pytest.mark.parametrize(("refunded", "left"), [(200, 400), (599, 1), (600, 0), (900, 0)])
def test_a_refund_shrinks_the_withdrawal_under_way(vm: ContractVm, refunded: int, left: int) -> None:
    initiate(vm, 600)
    started_at = vm.now
    refund(vm, refunded)
    assert vm.withdrawal(CONFIG) == ((left, started_at) if left else (0, 0))


# Calls together


def calldata(function: str, *arguments: object) -> bytes:
    selector, inputs, _ = function_of("channels", function)
    return selector + encode(list(inputs), arguments)


def test_calls_together_all_happen_or_none(vm: ContractVm) -> None:
    good = calldata("claim", [claim_row(CONFIG, 300, hot)])
    settle = calldata("settle", receiver.address, DEVCHAIN.token)
    bad = calldata("finalizeWithdraw", config_tuple(CONFIG))
    with pytest.raises(Reverted, match="NotPayer"):
        vm.call(receiver.address, "channels", "multicall", [good, settle, bad])
    assert vm.channel(CONFIG) == (1_000, 0)
    vm.call(receiver.address, "channels", "multicall", [good, settle])
    assert vm.balance_of(receiver.address) == 300


def test_calls_together_are_made_by_who_made_them(vm: ContractVm) -> None:
    with pytest.raises(Reverted, match="NotReceiver"):
        vm.call(stranger.address, "channels", "multicall", [calldata("claim", [claim_row(CONFIG, 300, hot)])])


def test_calls_together_bring_their_results(vm: ContractVm) -> None:
    results = vm.call(stranger.address, "channels", "multicall", [calldata("channels", id_of(CONFIG))])
    assert results == (encode(["uint128", "uint128"], [1_000, 0]),)
