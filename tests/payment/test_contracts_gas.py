"""What the contract's calls cost: ceilings a little above what was measured, in full transaction gas.

A claim that suddenly costs more is a design change, so it should look like one. The figures are py-evm's, which agree with anvil's.
"""

from __future__ import annotations

from typing import Any

import pytest
from contract_vm import claim_row, config_tuple, function_of, sign_batch
from eth_abi import encode

from retrieval.devchain.chain import Call, DevelopmentChain
from retrieval.devchain.database import ChainDatabase
from retrieval.devchain.genesis import CONTRACTS, funded_keys
from retrieval.identity import EvmKey, keccak256
from retrieval.payment.chain import DEVCHAIN
from retrieval.payment.channel import ChannelConfig, channel_id
from retrieval.payment.voucher import ReceiveAuthorization, receive_with_authorization_digest

MARGIN_PERCENT = 3  # signatures and salts differ in their zero bytes, which cost less as calldata

payer, receiver, relayer = funded_keys()[:3]
hot = EvmKey.from_secret(b"\x02" * 32)


def calldata(function: str, *arguments: Any, name: str = "channels") -> bytes:
    selector, inputs, _ = function_of(name, function)
    return selector + encode(list(inputs), arguments)


class Meter:
    """A chain that says what each call cost."""

    def __init__(self) -> None:
        self.chain = DevelopmentChain(ChainDatabase(None))
        self.salt = 0
        self.gas(payer, "test_dollar", "mint", payer.address, 10**9)

    def gas(self, sender: EvmKey, name: str, function: str, *arguments: Any) -> int:
        call = Call(sender=sender.address, to=CONTRACTS[name], value=0, data=calldata(function, *arguments, name=name), gas=None)
        self.chain.send(call, gas_price=None, nonce=None)
        (receipt,) = self.chain.receipts(self.chain.head)
        assert receipt.state_root == b"\x01"
        return int(receipt.gas_used)

    def deposit(self, config: ChannelConfig, amount: int = 10**6) -> int:
        self.salt += 1
        authorization = ReceiveAuthorization(
            payer=payer.address,
            payee=DEVCHAIN.collector,
            amount=amount,
            valid_after=0,
            valid_before=2**40,
            nonce=keccak256(channel_id(config, DEVCHAIN.chain_id, DEVCHAIN.contract) + self.salt.to_bytes(32, "big")),
        )
        signature = payer.sign_digest(receive_with_authorization_digest(authorization, DEVCHAIN.token_domain))
        data = encode(["uint256", "uint256", "uint256", "bytes"], [0, 2**40, self.salt, signature])
        return self.gas(relayer, "channels", "deposit", config_tuple(config), amount, DEVCHAIN.collector, data)

    def claim(self, configs: list[ChannelConfig], amount: int) -> int:
        return self.gas(receiver, "channels", "claim", [claim_row(config, amount, hot) for config in configs])


def config_of(index: int) -> ChannelConfig:
    return ChannelConfig(
        payer=payer.address,
        payer_authorizer=hot.address,
        receiver=receiver.address,
        receiver_authorizer=receiver.address,
        token=DEVCHAIN.token,
        withdraw_delay_s=86_400,
        salt=keccak256(index.to_bytes(4, "big")),
    )


CONFIG = config_of(0)
TEN = [config_of(index) for index in range(10)]
ALL = [config_of(index) for index in range(32)]


@pytest.fixture(scope="module")
def measured() -> dict[str, int]:
    meter = Meter()
    spent: dict[str, int] = {"the first deposit of all": meter.deposit(CONFIG)}
    for config in ALL[1:]:
        spent["opening a channel"] = meter.deposit(config)
    spent["topping a channel up"] = meter.deposit(CONFIG)
    spent["a receiver's first claim"] = meter.claim([CONFIG], 100)
    spent["claiming one voucher"] = meter.claim([CONFIG], 200)
    meter.claim(ALL[1:], 200)
    spent["claiming ten vouchers"] = meter.claim(TEN, 300)
    spent["claiming thirty-two vouchers"] = meter.claim(ALL, 400)
    spent["claiming one with a signature"] = meter.gas(
        relayer, "channels", "claimWithSignature", [claim_row(CONFIG, 500, hot)], sign_batch([(CONFIG, 500, 500)], receiver)
    )
    spent["a receiver's first settling"] = meter.gas(relayer, "channels", "settle", receiver.address, DEVCHAIN.token)
    meter.claim([CONFIG], 600)
    spent["settling"] = meter.gas(relayer, "channels", "settle", receiver.address, DEVCHAIN.token)
    calls = [calldata("claim", [claim_row(CONFIG, 700, hot)]), calldata("settle", receiver.address, DEVCHAIN.token)]
    spent["claiming one and settling together"] = meter.gas(receiver, "channels", "multicall", calls)
    spent["starting a withdrawal"] = meter.gas(payer, "channels", "initiateWithdraw", config_tuple(CONFIG), 1_000)
    spent["refunding"] = meter.gas(receiver, "channels", "refund", config_tuple(CONFIG), 500)
    meter.chain.increase_time(86_400)
    spent["finishing a withdrawal"] = meter.gas(payer, "channels", "finalizeWithdraw", config_tuple(CONFIG))
    return spent


MEASURED = {
    "the first deposit of all": 127_447,
    "opening a channel": 110_371,
    "topping a channel up": 90_277,
    "a receiver's first claim": 65_525,
    "claiming one voucher": 48_425,
    "claiming ten vouchers": 213_776,
    "claiming thirty-two vouchers": 618_110,
    "claiming one with a signature": 58_380,
    "a receiver's first settling": 62_441,
    "settling": 45_341,
    "claiming one and settling together": 78_430,
    "starting a withdrawal": 51_727,
    "refunding": 76_382,
    "finishing a withdrawal": 48_472,
}


@pytest.mark.parametrize("call", MEASURED)
def test_a_call_costs_what_was_measured(measured: dict[str, int], call: str) -> None:
    assert measured[call] <= MEASURED[call] * (100 + MARGIN_PERCENT) // 100


def test_every_call_has_a_ceiling(measured: dict[str, int]) -> None:
    assert measured.keys() == MEASURED.keys()
