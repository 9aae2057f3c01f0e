"""The contracts in a bare EVM (pyrevm): no blocks, no signatures of transactions, thousands of calls a second."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

import pytest
from eth_abi import decode, encode

pytest.importorskip("pyrevm", reason="pyrevm has no wheels for Python 3.13")
from pyrevm import EVM, AccountInfo, BlockEnv, CfgEnv, Env

from retrieval.devchain.genesis import CONTRACTS
from retrieval.devchain.methods import revert_reason
from retrieval.identity import EvmAddress, EvmKey, format_address, keccak256
from retrieval.payment.chain import DEVCHAIN
from retrieval.payment.channel import ChannelConfig, ChannelId, channel_id, settlement_domain
from retrieval.payment.contracts import load_artifact
from retrieval.payment.voucher import (
    ClaimEntry,
    ReceiveAuthorization,
    VoucherSigner,
    claim_batch_digest,
    receive_with_authorization_digest,
    refund_digest,
)

READER = EvmAddress(b"\x0b" * 20)  # a caller of views; contracts cannot be callers here
START = 1_800_000_000  # block time of the first call
DOMAIN = settlement_domain(DEVCHAIN.chain_id, DEVCHAIN.contract)


class Reverted(Exception):
    """A contract refused; the argument is its reason."""


class ContractVm:
    """Contracts at their addresses, and a clock that the test moves."""

    def __init__(self, *, chain_id: int = DEVCHAIN.chain_id) -> None:
        self.evm = EVM(env=Env(cfg=CfgEnv(chain_id=chain_id)), spec_id="CANCUN")
        self.now = START
        self.salt = 0
        for name, address in CONTRACTS.items():
            self.place(address, load_artifact(name).runtime_code)
        self.wait(0)

    def place(self, address: EvmAddress, code: bytes) -> None:
        self.evm.insert_account_info(format_address(address), AccountInfo(nonce=1, code=code))

    def wait(self, seconds: int) -> None:
        self.now += seconds
        self.evm.set_block_env(BlockEnv(number=1, timestamp=self.now))

    def call(self, sender: EvmAddress, name: str, function: str, *arguments: Any, at: EvmAddress | None = None) -> Any:
        """Call a contract by its artifact's name; returns its one result, or all of them, or None."""
        selector, inputs, outputs = function_of(name, function)
        self.evm.reset_transient_storage()  # as at the end of every transaction
        to = CONTRACTS[name] if at is None else at
        output = self.call_raw(sender, to, selector + encode(list(inputs), arguments))
        results = decode(list(outputs), output)
        return results[0] if len(results) == 1 else results or None

    def call_raw(self, sender: EvmAddress, to: EvmAddress, data: bytes) -> bytes:
        """Call with bytes. A revert leaves no trace; anything else that goes wrong in the EVM is the test's own mistake."""
        try:
            return bytes(self.evm.message_call(format_address(sender), format_address(to), data))
        except RuntimeError as error:
            found = re.match(r"Revert \{.*output: 0x([0-9a-f]*)", str(error))
            if found is None:
                raise
            raise Reverted(revert_reason(bytes.fromhex(found[1])) or "without a reason") from error

    # Shorthands for the channel contract

    def mint(self, to: EvmKey, amount: int) -> None:
        self.call(to.address, "test_dollar", "mint", to.address, amount)

    def balance_of(self, owner: EvmAddress) -> int:
        return int(self.call(READER, "test_dollar", "balanceOf", owner))

    def deposit(self, config: ChannelConfig, amount: int, payer: EvmKey, *, sender: EvmKey | None = None) -> None:
        data = self.collector_data(config, amount, payer)
        caller = (sender or payer).address
        self.call(caller, "channels", "deposit", config_tuple(config), amount, DEVCHAIN.collector, data)

    def collector_data(self, config: ChannelConfig, amount: int, payer: EvmKey, *, valid_after: int = 0, lifetime_s: int = 3_600) -> bytes:
        self.salt += 1
        valid_before = self.now + lifetime_s
        authorization = ReceiveAuthorization(
            payer=payer.address,
            payee=DEVCHAIN.collector,
            amount=amount,
            valid_after=valid_after,
            valid_before=valid_before,
            nonce=keccak256(id_of(config) + self.salt.to_bytes(32, "big")),
        )
        signature = payer.sign_digest(receive_with_authorization_digest(authorization, DEVCHAIN.token_domain))
        return encode(["uint256", "uint256", "uint256", "bytes"], [valid_after, valid_before, self.salt, signature])

    def channel(self, config: ChannelConfig) -> tuple[int, int]:
        """Balance and total claimed."""
        balance, claimed = self.call(READER, "channels", "channels", id_of(config))
        return balance, claimed

    def withdrawal(self, config: ChannelConfig) -> tuple[int, int]:
        """Amount and start; zeros when none is pending."""
        amount, started_at = self.call(READER, "channels", "pendingWithdrawals", id_of(config))
        return amount, started_at


def id_of(config: ChannelConfig) -> ChannelId:
    return channel_id(config, DEVCHAIN.chain_id, DEVCHAIN.contract)


def config_tuple(config: ChannelConfig) -> tuple[Any, ...]:
    return (
        config.payer,
        config.payer_authorizer,
        config.receiver,
        config.receiver_authorizer,
        config.token,
        config.withdraw_delay_s,
        config.salt,
    )


def claim_row(config: ChannelConfig, amount: int, authorizer: EvmKey, *, take: int | None = None) -> tuple[Any, ...]:
    """A line of `claim`, with a voucher for `amount` of which `take` (default: all) is taken."""
    voucher = VoucherSigner(authorizer, DEVCHAIN.chain_id, DEVCHAIN.contract).sign(id_of(config), amount)
    return ((config_tuple(config), amount), voucher.signature, amount if take is None else take)


def sign_batch(rows: list[tuple[ChannelConfig, int, int]], authorizer: EvmKey) -> bytes:
    """The receiver's authorizer on lines of (config, voucher amount, total claimed)."""
    entries = [ClaimEntry(channel_id=id_of(config), max_claimable=amount, total_claimed=take) for config, amount, take in rows]
    return authorizer.sign_digest(claim_batch_digest(entries, DOMAIN))


def sign_refund(config: ChannelConfig, amount: int, nonce: int, authorizer: EvmKey) -> bytes:
    return authorizer.sign_digest(refund_digest(id_of(config), nonce, amount, DOMAIN))


@cache
def function_of(name: str, function: str) -> tuple[bytes, tuple[str, ...], tuple[str, ...]]:
    """Selector, input types and output types of a function of an artifact."""
    (entry,) = (each for each in load_artifact(name).abi if each["type"] == "function" and each["name"] == function)
    inputs, outputs = (tuple(_type_of(item) for item in entry[side]) for side in ("inputs", "outputs"))
    return keccak256(f"{function}({','.join(inputs)})".encode())[:4], inputs, outputs


def _type_of(item: dict[str, Any]) -> str:
    inner = ",".join(_type_of(part) for part in item.get("components", []))
    kind: str = item["type"]
    return kind.replace("tuple", f"({inner})")
