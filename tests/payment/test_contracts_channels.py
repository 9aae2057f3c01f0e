"""What the channel contract does, and what it refuses."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from contract_vm import READER, START, ContractVm, Reverted, claim_row, config_tuple, function_of, id_of, sign_batch
from eth_abi import encode
from hypothesis import given, settings
from hypothesis import strategies as st

from retrieval.identity import ZERO_ADDRESS, EvmAddress, EvmKey, keccak256
from retrieval.payment.chain import DEVCHAIN
from retrieval.payment.channel import ChannelConfig

SOURCES = Path(__file__).parent / "contracts"
DELAY_S = 86_400
ORDER = 0xFFFFFFFF_FFFFFFFF_FFFFFFFF_FFFFFFFE_BAAEDCE6_AF48A03B_BFD25E8C_D0364141  # of secp256k1
EIP1271_MAGIC = bytes.fromhex("1626ba7e").ljust(32, b"\0")
COLLECTOR = EvmAddress(b"\xc0" * 20)
TOKEN = EvmAddress(b"\x70" * 20)
ODD_TOKEN = ["uint256", "bool", "address", "bytes"]  # fee, what a transfer says, whom it calls, with what
ACCOUNT = EvmAddress(b"\xac" * 20)

payer, hot, receiver, authorizer, stranger = (EvmKey.from_secret(bytes([index]) * 32) for index in range(1, 6))


def config_of(**changes: Any) -> ChannelConfig:
    usual = ChannelConfig(
        payer=payer.address,
        payer_authorizer=hot.address,
        receiver=receiver.address,
        receiver_authorizer=authorizer.address,
        token=DEVCHAIN.token,
        withdraw_delay_s=DELAY_S,
        salt=bytes(32),
    )
    return replace(usual, **changes)


CONFIG = config_of()


@pytest.fixture
def vm() -> ContractVm:
    """An EVM in which the payer holds a million."""
    vm = ContractVm()
    vm.mint(payer, 10**6)
    return vm


@pytest.fixture
def funded(vm: ContractVm) -> ContractVm:
    """The same, with a thousand in the usual channel."""
    vm.deposit(CONFIG, 1_000, payer)
    return vm


@pytest.fixture(scope="module")
def odd_codes() -> dict[str, bytes]:
    """The code of the misbehaving contracts beside this file."""
    vyper = pytest.importorskip("vyper", reason="Vyper is a development dependency")
    return {
        path.stem: bytes.fromhex(vyper.compile_code(path.read_text(), output_formats=["bytecode_runtime"])["bytecode_runtime"][2:])
        for path in SOURCES.glob("*.vy")
    }


def claim(vm: ContractVm, rows: list[tuple[Any, ...]], sender: EvmKey = receiver) -> None:
    vm.call(sender.address, "channels", "claim", rows)


def configure(vm: ContractVm, at: EvmAddress, types: list[str], *values: Any) -> None:
    selector = keccak256(f"configure({','.join(types)})".encode())[:4]
    vm.call_raw(payer.address, at, selector + encode(types, values))


# Deposits


def test_a_first_deposit_opens_the_channel_and_anyone_may_top_it_up(vm: ContractVm) -> None:
    vm.deposit(CONFIG, 1_000, payer)
    vm.deposit(CONFIG, 500, payer, sender=stranger)
    assert vm.channel(CONFIG) == (1_500, 0)
    assert vm.balance_of(DEVCHAIN.contract) == 1_500
    assert vm.balance_of(payer.address) == 10**6 - 1_500


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        (config_of(payer=ZERO_ADDRESS), "ZeroPayer"),
        (config_of(receiver=ZERO_ADDRESS), "ZeroReceiver"),
        (config_of(receiver_authorizer=ZERO_ADDRESS), "ZeroReceiverAuthorizer"),
        (config_of(token=ZERO_ADDRESS), "ZeroToken"),
    ],
)
def test_a_channel_without_its_parties_cannot_be_opened(vm: ContractVm, config: ChannelConfig, reason: str) -> None:
    with pytest.raises(Reverted, match=f"^{reason}$"):
        vm.deposit(config, 1_000, payer)


@pytest.mark.parametrize("delay_s", [900, 2_592_000])
def test_the_withdraw_delay_is_a_quarter_hour_at_least_and_thirty_days_at_most(vm: ContractVm, delay_s: int) -> None:
    config = config_of(withdraw_delay_s=delay_s)
    vm.deposit(config, 1, payer)
    assert vm.channel(config) == (1, 0)
    beyond = list(config_tuple(config))  # ChannelConfig itself refuses such delays
    beyond[5] = delay_s + (1 if delay_s > 900 else -1)
    with pytest.raises(Reverted, match="WithdrawDelayOutOfRange"):
        vm.call(payer.address, "channels", "deposit", tuple(beyond), 1, DEVCHAIN.collector, b"")


def test_nothing_cannot_be_deposited(vm: ContractVm) -> None:
    with pytest.raises(Reverted, match="ZeroAmount"):
        vm.deposit(CONFIG, 0, payer)


def test_an_authorization_is_good_for_one_deposit_into_one_channel(vm: ContractVm) -> None:
    data = vm.collector_data(CONFIG, 1_000, payer)
    other = config_of(salt=b"\x01" * 32)
    with pytest.raises(Reverted, match="BadAuthorizationSignature"):
        vm.call(stranger.address, "channels", "deposit", config_tuple(other), 1_000, DEVCHAIN.collector, data)
    with pytest.raises(Reverted, match="BadAuthorizationSignature"):
        vm.call(stranger.address, "channels", "deposit", config_tuple(CONFIG), 999, DEVCHAIN.collector, data)
    vm.call(stranger.address, "channels", "deposit", config_tuple(CONFIG), 1_000, DEVCHAIN.collector, data)
    with pytest.raises(Reverted, match="AuthorizationUsed"):
        vm.call(stranger.address, "channels", "deposit", config_tuple(CONFIG), 1_000, DEVCHAIN.collector, data)


def test_an_authorization_counts_in_its_time_only(vm: ContractVm) -> None:
    early = vm.collector_data(CONFIG, 1_000, payer, valid_after=START, lifetime_s=100)
    with pytest.raises(Reverted, match="AuthorizationNotYetValid"):
        vm.call(payer.address, "channels", "deposit", config_tuple(CONFIG), 1_000, DEVCHAIN.collector, early)
    vm.wait(100)
    with pytest.raises(Reverted, match="AuthorizationExpired"):
        vm.call(payer.address, "channels", "deposit", config_tuple(CONFIG), 1_000, DEVCHAIN.collector, early)


def test_only_the_channel_contract_may_make_the_collector_collect(vm: ContractVm) -> None:
    data = vm.collector_data(CONFIG, 1_000, payer)
    arguments = (payer.address, DEVCHAIN.token, 1_000, id_of(CONFIG), stranger.address, data)
    with pytest.raises(Reverted, match="NotChannels"):
        vm.call(stranger.address, "erc3009_collector", "collect", *arguments)


def test_an_authorization_cannot_be_spent_around_the_collector(vm: ContractVm) -> None:
    nonce = b"\x01" * 32
    arguments = (payer.address, DEVCHAIN.collector, 1_000, 0, START + 9, nonce, 27, nonce, nonce)
    with pytest.raises(Reverted, match="NotReceiver"):
        vm.call(stranger.address, "test_dollar", "receiveWithAuthorization", *arguments)


@pytest.mark.parametrize("brings", [-1_000, -1, 1])
def test_exactly_the_amount_must_arrive(vm: ContractVm, odd_codes: dict[str, bytes], brings: int) -> None:
    vm.place(COLLECTOR, odd_codes["minting_collector"])
    configure(vm, COLLECTOR, ["int256"], brings)
    with pytest.raises(Reverted, match="DepositMismatch"):
        vm.call(stranger.address, "channels", "deposit", config_tuple(CONFIG), 1_000, COLLECTOR, b"")


def test_a_token_that_takes_a_fee_cannot_be_deposited(vm: ContractVm, odd_codes: dict[str, bytes]) -> None:
    vm.place(COLLECTOR, odd_codes["minting_collector"])
    vm.place(TOKEN, odd_codes["odd_token"])
    configure(vm, TOKEN, ODD_TOKEN, 10, True, ZERO_ADDRESS, b"")
    with pytest.raises(Reverted, match="DepositMismatch"):
        vm.call(stranger.address, "channels", "deposit", config_tuple(config_of(token=TOKEN)), 1_000, COLLECTOR, b"")


def test_a_collector_that_deposits_again_while_it_collects_is_refused(vm: ContractVm, odd_codes: dict[str, bytes]) -> None:
    """Otherwise one arrival of tokens would count for two deposits."""
    vm.place(COLLECTOR, odd_codes["minting_collector"])
    selector, inputs, _ = function_of("channels", "deposit")
    again = selector + encode(list(inputs), (config_tuple(CONFIG), 1_000, COLLECTOR, b""))
    with pytest.raises(Reverted):
        vm.call(stranger.address, "channels", "deposit", config_tuple(CONFIG), 1_000, COLLECTOR, again)
    vm.call(stranger.address, "channels", "deposit", config_tuple(CONFIG), 1_000, COLLECTOR, b"")
    assert vm.channel(CONFIG) == (1_000, 0)


def test_the_contract_takes_no_native_coin(vm: ContractVm) -> None:
    with pytest.raises(Reverted):
        vm.call_raw(payer.address, DEVCHAIN.contract, b"")


# Claims


@pytest.mark.parametrize("sender", [receiver, authorizer])
def test_the_receivers_side_claims_what_a_voucher_allows(funded: ContractVm, sender: EvmKey) -> None:
    claim(funded, [claim_row(CONFIG, 300, hot, take=200)], sender)
    assert funded.channel(CONFIG) == (1_000, 200)
    assert funded.call(stranger.address, "channels", "receivers", receiver.address, DEVCHAIN.token) == (200, 0)
    assert funded.balance_of(receiver.address) == 0


@pytest.mark.parametrize("sender", [payer, hot, stranger])
def test_nobody_else_claims_directly(funded: ContractVm, sender: EvmKey) -> None:
    with pytest.raises(Reverted, match="NotReceiver"):
        claim(funded, [claim_row(CONFIG, 300, hot)], sender)


def test_a_claim_at_or_below_what_is_claimed_changes_nothing(funded: ContractVm) -> None:
    claim(funded, [claim_row(CONFIG, 300, hot)])
    claim(funded, [claim_row(CONFIG, 300, hot), claim_row(CONFIG, 200, hot), claim_row(CONFIG, 900, hot, take=0)])
    assert funded.channel(CONFIG) == (1_000, 300)


def test_a_later_voucher_credits_the_receiver_with_the_difference(funded: ContractVm) -> None:
    for amount in (300, 500):
        claim(funded, [claim_row(CONFIG, amount, hot)])
        assert funded.call(READER, "channels", "receivers", receiver.address, DEVCHAIN.token) == (amount, 0)


def test_no_more_is_claimed_than_was_signed_or_deposited(funded: ContractVm) -> None:
    with pytest.raises(Reverted, match="AboveVoucher"):
        claim(funded, [claim_row(CONFIG, 300, hot, take=301)])
    with pytest.raises(Reverted, match="AboveBalance"):
        claim(funded, [claim_row(CONFIG, 1_001, hot)])
    claim(funded, [claim_row(CONFIG, 1_001, hot, take=1_000)])
    assert funded.channel(CONFIG) == (1_000, 1_000)


def test_one_bad_row_refuses_the_whole_claim(funded: ContractVm) -> None:
    other = config_of(salt=b"\x01" * 32)
    funded.deposit(other, 1_000, payer)
    with pytest.raises(Reverted, match="BadVoucherSignature"):
        claim(funded, [claim_row(CONFIG, 300, hot), claim_row(other, 300, stranger)])
    assert funded.channel(CONFIG) == (1_000, 0)


def test_thirty_two_vouchers_fit_one_claim_and_thirty_three_do_not(funded: ContractVm) -> None:
    configs = [config_of(salt=bytes([index]) * 32) for index in range(33)]
    for config in configs[1:]:
        funded.deposit(config, 10, payer)
    claim(funded, [claim_row(config, 5, hot) for config in configs[:32]])
    assert funded.channel(configs[31]) == (10, 5)
    with pytest.raises(Reverted):
        claim(funded, [claim_row(config, 6, hot) for config in configs])


VM = ContractVm()
VM.mint(payer, 10**6)
VM.deposit(CONFIG, 1_000, payer)
ROW = claim_row(CONFIG, 100, hot)


@settings(max_examples=200)
@given(bit=st.integers(0, 65 * 8 - 1))
def test_a_signature_with_any_bit_flipped_is_refused(bit: int) -> None:
    voucher, signature, take = ROW
    flipped = (int.from_bytes(signature, "big") ^ (1 << bit)).to_bytes(65, "big")
    with pytest.raises(Reverted, match="BadVoucherSignature"):
        claim(VM, [(voucher, flipped, take)])


def test_no_other_spelling_of_a_signature_is_accepted(funded: ContractVm) -> None:
    voucher, signature, take = ROW
    r, s, v = signature[:32], int.from_bytes(signature[32:64], "big"), signature[64]
    malleated = r + (ORDER - s).to_bytes(32, "big") + bytes([55 - v])
    parity = r + signature[32:64] + bytes([v - 27])
    compact = r + (s | (v - 27) << 255).to_bytes(32, "big")  # EIP-2098
    for other in (malleated, parity, compact, signature + b"\0", signature[:-1], b"", bytes(65), bytes(64) + b"\x1b"):
        with pytest.raises(Reverted, match="BadVoucherSignature"):
            claim(funded, [(voucher, other, take)])
    claim(funded, [ROW])


def test_the_payers_own_key_does_not_sign_vouchers_of_a_channel_with_an_authorizer(funded: ContractVm) -> None:
    with pytest.raises(Reverted, match="BadVoucherSignature"):
        claim(funded, [claim_row(CONFIG, 100, payer)])


def test_code_at_the_authorizers_address_does_not_revoke_its_vouchers(funded: ContractVm, odd_codes: dict[str, bytes]) -> None:
    """An EIP-7702 delegation, set after the voucher was signed."""
    funded.place(hot.address, odd_codes["smart_account"])
    claim(funded, [ROW])
    assert funded.channel(CONFIG) == (1_000, 100)


def test_a_voucher_counts_on_its_chain_and_contract_only() -> None:
    other_chain = ContractVm(chain_id=8453)
    other_chain.mint(payer, 1_000)
    elsewhere = EvmAddress(b"\x0e" * 20)
    assert other_chain.call(stranger.address, "channels", "getChannelId", config_tuple(CONFIG)) != id_of(CONFIG)
    VM.place(elsewhere, VM.evm.get_code("0x" + DEVCHAIN.contract.hex()) or b"")
    assert VM.call(stranger.address, "channels", "getChannelId", config_tuple(CONFIG), at=elsewhere) != id_of(CONFIG)


def test_without_an_authorizer_the_payers_key_signs(vm: ContractVm) -> None:
    config = config_of(payer_authorizer=ZERO_ADDRESS)
    vm.deposit(config, 1_000, payer)
    with pytest.raises(Reverted, match="BadVoucherSignature"):
        claim(vm, [claim_row(config, 100, hot)])
    claim(vm, [claim_row(config, 100, payer)])
    assert vm.channel(config) == (1_000, 100)


@pytest.mark.parametrize(("answer", "accepted"), [(EIP1271_MAGIC, True), (bytes(32), False), (b"\xff" * 32, False)])
def test_without_an_authorizer_a_smart_account_is_asked(vm: ContractVm, odd_codes: dict[str, bytes], answer: bytes, accepted: bool) -> None:
    """And may change its mind, which is why providers of ours want an authorizer."""
    vm.place(ACCOUNT, odd_codes["smart_account"])
    vm.place(COLLECTOR, odd_codes["minting_collector"])
    vm.place(TOKEN, odd_codes["silent_token"])
    config = config_of(payer=ACCOUNT, payer_authorizer=ZERO_ADDRESS, token=TOKEN)
    vm.call(stranger.address, "channels", "deposit", config_tuple(config), 1_000, COLLECTOR, b"")
    configure(vm, ACCOUNT, ["bytes32"], answer)
    row = ((config_tuple(config), 100), b"any bytes", 100)
    if accepted:
        claim(vm, [row])
    else:
        with pytest.raises(Reverted, match="BadVoucherSignature"):
            claim(vm, [row])
    assert vm.channel(config) == (1_000, 100 if accepted else 0)


# Claims with a signature


def test_anybody_submits_a_batch_that_the_authorizer_signed(funded: ContractVm) -> None:
    signature = sign_batch([(CONFIG, 300, 200)], authorizer)
    funded.call(stranger.address, "channels", "claimWithSignature", [claim_row(CONFIG, 300, hot, take=200)], signature)
    assert funded.channel(CONFIG) == (1_000, 200)


def test_a_batch_is_taken_as_it_was_signed_or_not_at_all(funded: ContractVm) -> None:
    signed = sign_batch([(CONFIG, 300, 200)], authorizer)
    for row in (claim_row(CONFIG, 300, hot, take=201), claim_row(CONFIG, 400, hot, take=200)):
        with pytest.raises(Reverted, match="BadAuthorizerSignature"):
            funded.call(stranger.address, "channels", "claimWithSignature", [row], signed)
    by_receiver = sign_batch([(CONFIG, 300, 200)], receiver)
    with pytest.raises(Reverted, match="BadAuthorizerSignature"):
        funded.call(stranger.address, "channels", "claimWithSignature", [claim_row(CONFIG, 300, hot, take=200)], by_receiver)
    with pytest.raises(Reverted, match="NoClaims"):
        funded.call(stranger.address, "channels", "claimWithSignature", [], signed)


def test_one_authorizer_cannot_sign_for_anothers_channels(funded: ContractVm) -> None:
    theirs = config_of(receiver_authorizer=stranger.address)
    funded.deposit(theirs, 1_000, payer)
    rows = [claim_row(CONFIG, 10, hot), claim_row(theirs, 10, hot)]
    signature = sign_batch([(CONFIG, 10, 10), (theirs, 10, 10)], authorizer)
    with pytest.raises(Reverted, match="MixedAuthorizers"):
        funded.call(stranger.address, "channels", "claimWithSignature", rows, signature)


# Settling


def test_settling_sends_the_receiver_what_is_claimed_once_and_anybody_may(funded: ContractVm) -> None:
    claim(funded, [claim_row(CONFIG, 300, hot)])
    for _ in range(2):
        funded.call(stranger.address, "channels", "settle", receiver.address, DEVCHAIN.token)
    assert funded.balance_of(receiver.address) == 300
    assert funded.balance_of(DEVCHAIN.contract) == 700
    assert funded.call(stranger.address, "channels", "receivers", receiver.address, DEVCHAIN.token) == (300, 300)


def open_with_token(vm: ContractVm, odd_codes: dict[str, bytes], token: str) -> ChannelConfig:
    vm.place(COLLECTOR, odd_codes["minting_collector"])
    vm.place(TOKEN, odd_codes[token])
    config = config_of(token=TOKEN)
    vm.call(stranger.address, "channels", "deposit", config_tuple(config), 1_000, COLLECTOR, b"")
    claim(vm, [claim_row(config, 300, hot)])
    return config


def test_a_token_that_returns_nothing_settles(vm: ContractVm, odd_codes: dict[str, bytes]) -> None:
    open_with_token(vm, odd_codes, "silent_token")
    vm.call(stranger.address, "channels", "settle", receiver.address, TOKEN)
    assert vm.call(stranger.address, "channels", "receivers", receiver.address, TOKEN) == (300, 300)


def test_a_token_that_says_false_does_not_settle(vm: ContractVm, odd_codes: dict[str, bytes]) -> None:
    open_with_token(vm, odd_codes, "odd_token")
    configure(vm, TOKEN, ODD_TOKEN, 0, False, ZERO_ADDRESS, b"")
    with pytest.raises(Reverted, match="TransferFailed"):
        vm.call(stranger.address, "channels", "settle", receiver.address, TOKEN)
    assert vm.call(stranger.address, "channels", "receivers", receiver.address, TOKEN) == (300, 0)


def test_a_token_that_calls_back_while_it_is_sent_is_refused(vm: ContractVm, odd_codes: dict[str, bytes]) -> None:
    config = open_with_token(vm, odd_codes, "odd_token")
    selector, inputs, _ = function_of("channels", "settle")
    again = selector + encode(list(inputs), (receiver.address, TOKEN))
    configure(vm, TOKEN, ODD_TOKEN, 0, True, DEVCHAIN.contract, again)
    with pytest.raises(Reverted):
        vm.call(stranger.address, "channels", "settle", receiver.address, TOKEN)
    with pytest.raises(Reverted):
        vm.call(receiver.address, "channels", "refund", config_tuple(config), 100)
    assert vm.channel(config) == (1_000, 300)
