"""Random histories of three channels against a model of a few integers: solvency, conservation, and never more than was signed.

Values come from small sets, so that edges meet: equal amounts, a claim in the last second before a withdrawal, a refund of all.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import pytest
from contract_vm import ContractVm, Reverted, claim_row, config_tuple, id_of, sign_batch, sign_refund
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from retrieval.identity import EvmKey
from retrieval.payment.chain import DEVCHAIN
from retrieval.payment.channel import ChannelConfig

DELAY_S = 900
WEALTH = 10_000

payer, hot, receiver, authorizer, stranger, other_receiver = (EvmKey.from_secret(bytes([index]) * 32) for index in range(1, 7))
FIRST = ChannelConfig(
    payer=payer.address,
    payer_authorizer=hot.address,
    receiver=receiver.address,
    receiver_authorizer=authorizer.address,
    token=DEVCHAIN.token,
    withdraw_delay_s=DELAY_S,
    salt=bytes(32),
)
CONFIGS = (FIRST, replace(FIRST, salt=b"\x01" * 32), replace(FIRST, receiver=other_receiver.address))
RECEIVERS = {receiver.address: receiver, other_receiver.address: other_receiver}

channels = st.integers(0, len(CONFIGS) - 1)
amounts = st.sampled_from([0, 1, 5, 10, 15, 20])
# Those who may come first and often, so that most histories get somewhere (hypothesis shrinks towards the first).
claimants = st.sampled_from([authorizer, authorizer, authorizer, receiver, other_receiver, stranger])
leavers = st.sampled_from([payer, hot, payer, hot, payer, receiver])
batch_signers = st.sampled_from([authorizer, authorizer, authorizer, receiver])


@dataclass(slots=True)
class Model:
    """What one channel should be."""

    balance: int = 0
    claimed: int = 0
    signed: int = 0
    withdraw_amount: int = 0
    withdraw_started_at: int = 0
    refund_nonce: int = 0

    @property
    def unclaimed(self) -> int:
        return self.balance - self.claimed

    def may_take(self, voucher: int, take: int) -> bool:
        return take <= self.claimed or take <= min(voucher, self.balance)


class Histories(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.vm = ContractVm()
        self.vm.mint(payer, WEALTH)
        self.models = [Model(balance=20) for _ in CONFIGS]
        for config in CONFIGS:
            self.vm.deposit(config, 20, payer)
        self.claimed = dict.fromkeys(RECEIVERS, 0)
        self.settled = dict.fromkeys(RECEIVERS, 0)

    def attempt(self, allowed: bool, sender: EvmKey, function: str, *arguments: Any) -> None:
        """Call; the contract must take exactly what the model allows."""
        if allowed:
            self.vm.call(sender.address, "channels", function, *arguments)
        else:
            with pytest.raises(Reverted):
                self.vm.call(sender.address, "channels", function, *arguments)

    @rule(index=channels, amount=amounts)
    def deposit(self, index: int, amount: int) -> None:
        data = self.vm.collector_data(CONFIGS[index], amount, payer)
        self.attempt(amount > 0, stranger, "deposit", config_tuple(CONFIGS[index]), amount, DEVCHAIN.collector, data)
        self.models[index].balance += amount

    @rule(index=channels, voucher=amounts, take=amounts, sender=claimants)
    def claim(self, index: int, voucher: int, take: int, sender: EvmKey) -> None:
        config, model = CONFIGS[index], self.models[index]
        model.signed = max(model.signed, voucher)
        allowed = sender.address in (config.receiver, config.receiver_authorizer) and model.may_take(voucher, take)
        self.attempt(allowed, sender, "claim", [claim_row(config, voucher, hot, take=take)])
        if allowed:
            self.book(index, take)

    @rule(voucher=amounts, takes=st.tuples(amounts, amounts, amounts), signer=batch_signers)
    def claim_all_with_signature(self, voucher: int, takes: tuple[int, ...], signer: EvmKey) -> None:
        takes = tuple(min(take, voucher) for take in takes)  # the signer of ours asserts as much
        for model in self.models:
            model.signed = max(model.signed, voucher)
        rows = [claim_row(config, voucher, hot, take=take) for config, take in zip(CONFIGS, takes, strict=True)]
        signature = sign_batch([(config, voucher, take) for config, take in zip(CONFIGS, takes, strict=True)], signer)
        allowed = signer is authorizer and all(model.may_take(voucher, take) for model, take in zip(self.models, takes, strict=True))
        self.attempt(allowed, stranger, "claimWithSignature", rows, signature)
        if allowed:
            for index, take in enumerate(takes):
                self.book(index, take)

    def book(self, index: int, take: int) -> None:
        model = self.models[index]
        gain = max(take - model.claimed, 0)
        model.claimed += gain
        self.claimed[CONFIGS[index].receiver] += gain

    @rule(index=channels, take=amounts)
    def claim_with_a_forged_voucher(self, index: int, take: int) -> None:
        allowed = take <= self.models[index].claimed  # such a row is skipped, whatever it says
        self.attempt(allowed, authorizer, "claim", [claim_row(CONFIGS[index], 1_000, stranger, take=take)])

    @rule(to=st.sampled_from(sorted(RECEIVERS)))
    def settle(self, to: Any) -> None:
        self.attempt(True, stranger, "settle", to, DEVCHAIN.token)
        self.settled[to] = self.claimed[to]

    @rule(index=channels, amount=amounts, sender=leavers)
    def initiate_withdraw(self, index: int, amount: int, sender: EvmKey) -> None:
        model = self.models[index]
        allowed = sender is not receiver and model.withdraw_amount == 0 and 0 < amount <= model.unclaimed
        self.attempt(allowed, sender, "initiateWithdraw", config_tuple(CONFIGS[index]), amount)
        if allowed:
            model.withdraw_amount, model.withdraw_started_at = amount, self.vm.now

    @rule(index=channels, sender=leavers)
    def finalize_withdraw(self, index: int, sender: EvmKey) -> None:
        model = self.models[index]
        over = self.vm.now >= model.withdraw_started_at + DELAY_S
        allowed = sender is not receiver and model.withdraw_amount > 0 and over
        self.attempt(allowed, sender, "finalizeWithdraw", config_tuple(CONFIGS[index]))
        if allowed:
            model.balance -= min(model.withdraw_amount, model.unclaimed)
            model.withdraw_amount = model.withdraw_started_at = 0

    @rule(index=channels, amount=amounts, signed=st.booleans(), nonce_ahead=st.sampled_from([0, 0, 0, 1]))
    def refund(self, index: int, amount: int, signed: bool, nonce_ahead: int) -> None:
        config, model = CONFIGS[index], self.models[index]
        if signed:
            nonce = model.refund_nonce + nonce_ahead
            signature = sign_refund(config, amount, nonce, authorizer)
            allowed = amount > 0 and nonce_ahead == 0
            self.attempt(allowed, stranger, "refundWithSignature", config_tuple(config), amount, nonce, signature)
        else:
            allowed = amount > 0
            self.attempt(allowed, RECEIVERS[config.receiver], "refund", config_tuple(config), amount)
        if allowed:
            paid = min(amount, model.unclaimed)
            model.refund_nonce += 1
            model.balance -= paid
            model.withdraw_amount = max(model.withdraw_amount - paid, 0)
            model.withdraw_started_at *= model.withdraw_amount > 0

    @rule(seconds=st.sampled_from([1, DELAY_S - 1, DELAY_S]))
    def wait(self, seconds: int) -> None:
        self.vm.wait(seconds)

    @invariant()
    def every_channel_is_what_the_model_says(self) -> None:
        for config, model in zip(CONFIGS, self.models, strict=True):
            assert self.vm.channel(config) == (model.balance, model.claimed)
            assert self.vm.withdrawal(config) == (model.withdraw_amount, model.withdraw_started_at)
            assert self.vm.call(payer.address, "channels", "refundNonce", id_of(config)) == model.refund_nonce

    @invariant()
    def no_more_is_claimed_than_was_signed_and_deposited(self) -> None:
        for config, model in zip(CONFIGS, self.models, strict=True):
            balance, claimed = self.vm.channel(config)
            assert claimed <= min(model.signed, balance)

    @invariant()
    def the_contract_holds_exactly_what_it_owes(self) -> None:
        owed = sum(balance - claimed for balance, claimed in map(self.vm.channel, CONFIGS))
        for to in RECEIVERS:
            claimed, settled = self.vm.call(payer.address, "channels", "receivers", to, DEVCHAIN.token)
            assert (claimed, settled) == (self.claimed[to], self.settled[to])
            assert self.vm.balance_of(to) == settled
            owed += claimed - settled
        assert self.vm.balance_of(DEVCHAIN.contract) == owed

    @invariant()
    def no_money_appears_or_disappears(self) -> None:
        holders = [payer.address, DEVCHAIN.contract, DEVCHAIN.collector, *RECEIVERS]
        assert sum(map(self.vm.balance_of, holders)) == WEALTH
        assert self.vm.balance_of(DEVCHAIN.collector) == 0


TestHistories = Histories.TestCase
TestHistories.settings = settings(max_examples=50, stateful_step_count=40, deadline=None)
