"""The x402 package's own client and facilitator against our contracts: whoever speaks `batch-settlement` can pay us and claim for us."""

from __future__ import annotations

from typing import Any

import pytest
from chain_fixture import chain_url, devchain  # noqa: F401
from eth_account import Account
from x402.mechanisms.evm.batch_settlement.abi import BATCH_SETTLEMENT_ABI
from x402.mechanisms.evm.batch_settlement.authorizer_signer import LocalAuthorizerSigner
from x402.mechanisms.evm.batch_settlement.client import (
    BatchSettlementDepositPolicy,
    BatchSettlementEvmScheme,
    update_channel_from_settle,
)
from x402.mechanisms.evm.batch_settlement.client.config import BatchSettlementEvmSchemeOptions
from x402.mechanisms.evm.batch_settlement.facilitator import BatchSettlementEvmFacilitator
from x402.mechanisms.evm.signers import EthAccountSigner, FacilitatorWeb3Signer
from x402.schemas import PaymentPayload, PaymentRequirements

from retrieval.identity import EvmKey, format_address
from retrieval.payment.chain import DEVCHAIN
from retrieval.payment.channel import ChannelId, settlement_domain
from retrieval.payment.contracts import load_artifact
from retrieval.payment.evm import EvmChain
from retrieval.payment.voucher import ClaimEntry, VoucherSigner, claim_batch_digest

PRICE = 1_000
DEPOSIT_MULTIPLIER = 50


class Market:
    """A payer with x402's client, a receiver, and x402's facilitator that pays the gas."""

    def __init__(self, url: str) -> None:
        self.chain = EvmChain(url)
        self.payer, self.hot_key, self.receiver, self.relayer = (EvmKey.generate() for _ in range(4))
        self.chain.mint(self.payer.address, 10**6)
        self.chain.send_gas(self.relayer.address)
        signer = FacilitatorWeb3Signer(self.relayer.secret.hex(), url)
        self.facilitator = BatchSettlementEvmFacilitator(signer, LocalAuthorizerSigner(Account.from_key(self.receiver.secret)))
        self.client = BatchSettlementEvmScheme(
            EthAccountSigner(Account.from_key(self.payer.secret)),
            BatchSettlementEvmSchemeOptions(
                deposit_policy=BatchSettlementDepositPolicy(deposit_multiplier=DEPOSIT_MULTIPLIER),
                voucher_signer=EthAccountSigner(Account.from_key(self.hot_key.secret)),
            ),
        )
        self.requirements = PaymentRequirements(
            scheme="batch-settlement",
            network=f"eip155:{DEVCHAIN.chain_id}",
            asset=format_address(DEVCHAIN.token),
            amount=str(PRICE),
            pay_to=format_address(self.receiver.address),
            max_timeout_seconds=3600,
            extra={
                "receiverAuthorizer": format_address(self.receiver.address),
                "withdrawDelay": 86_400,
                "name": DEVCHAIN.token_name,
                "version": DEVCHAIN.token_version,
                "minDeposit": str(DEPOSIT_MULTIPLIER * PRICE),
            },
        )

    def open(self) -> dict[str, Any]:
        """Pay for a first request, which deposits; returns the payload."""
        payload: dict[str, Any] = self.client.create_payment_payload(self.requirements)
        assert payload["type"] == "deposit"
        assert self.verify(payload).is_valid
        settled = self.settle(payload)
        assert settled.success, settled
        return payload

    def verify(self, payload: dict[str, Any]) -> Any:
        return self.facilitator.verify(PaymentPayload(payload=payload, accepted=self.requirements), self.requirements)

    def settle(self, payload: dict[str, Any]) -> Any:
        return self.facilitator.settle(PaymentPayload(payload=payload, accepted=self.requirements), self.requirements)

    def claim_line(self, payload: dict[str, Any], voucher: dict[str, Any]) -> dict[str, Any]:
        amount = voucher["maxClaimableAmount"]
        return {
            "voucher": {"channel": payload["channelConfig"], "maxClaimableAmount": amount},
            "signature": voucher["signature"],
            "totalClaimed": amount,
        }

    def state(self, payload: dict[str, Any]) -> Any:
        (state,) = self.chain.channel_states([channel_of(payload)])
        return state


def channel_of(payload: dict[str, Any]) -> ChannelId:
    return ChannelId(bytes.fromhex(payload["voucher"]["channelId"][2:]))


@pytest.fixture
def market(chain_url: str) -> Market:  # noqa: F811
    return Market(chain_url)


def test_every_function_and_event_that_x402_calls_exists_with_the_same_types() -> None:
    def shape(entry: dict[str, Any]) -> tuple[Any, ...]:
        def type_of(item: dict[str, Any]) -> str:
            kind: str = item["type"]
            inner = ",".join(type_of(part) for part in item.get("components", []))
            return kind.replace("tuple", f"({inner})")

        fields = [(type_of(item), item.get("indexed", False)) for item in entry["inputs"]]
        return entry["type"], entry["name"], fields, [type_of(item) for item in entry.get("outputs", [])]

    ours = [shape(entry) for entry in load_artifact("channels").abi]
    assert [entry["name"] for entry in BATCH_SETTLEMENT_ABI if shape(entry) not in ours] == []


def test_a_deposit_by_x402s_client_through_its_facilitator_opens_our_channel(market: Market) -> None:
    payload = market.open()
    assert market.state(payload).balance == DEPOSIT_MULTIPLIER * PRICE


def test_a_later_voucher_of_x402s_client_verifies(market: Market) -> None:
    payload = market.open()
    # The server's side of the round: it charged the first request in full.
    local = {"channel_id": payload["voucher"]["channelId"], "request_amount": str(PRICE), "deposit_amount": payload["deposit"]["amount"]}
    update_channel_from_settle(market.client._storage, {"server": {"charged_amount": str(PRICE)}, "local": local})
    second = market.client.create_payment_payload(market.requirements)
    assert (second["type"], second["voucher"]["maxClaimableAmount"]) == ("voucher", str(2 * PRICE))
    assert market.verify(second).is_valid


def test_x402s_facilitator_claims_and_settles_what_its_client_signed(market: Market) -> None:
    payload = market.open()
    claimed = market.settle({"type": "claim", "claims": [market.claim_line(payload, payload["voucher"])]})
    assert claimed.success, claimed
    assert market.state(payload).total_claimed == PRICE
    settled = market.settle(
        {"type": "settle", "receiver": format_address(market.receiver.address), "token": format_address(DEVCHAIN.token)}
    )
    assert settled.success, settled
    assert market.chain.token_balance(market.receiver.address) == PRICE


def test_x402s_facilitator_claims_our_vouchers_with_our_batch_signature(market: Market) -> None:
    payload = market.open()
    voucher = VoucherSigner(market.hot_key, DEVCHAIN.chain_id, DEVCHAIN.contract).sign(channel_of(payload), 7 * PRICE)
    entry = ClaimEntry(channel_id=voucher.channel_id, max_claimable=voucher.amount, total_claimed=voucher.amount)
    domain = settlement_domain(DEVCHAIN.chain_id, DEVCHAIN.contract)
    ours = {"maxClaimableAmount": str(voucher.amount), "signature": "0x" + voucher.signature.hex()}
    claimed = market.settle(
        {
            "type": "claim",
            "claims": [market.claim_line(payload, ours)],
            "claimAuthorizerSignature": "0x" + market.receiver.sign_digest(claim_batch_digest([entry], domain)).hex(),
        }
    )
    assert claimed.success, claimed
    assert market.state(payload).total_claimed == 7 * PRICE


def test_x402s_refund_claims_and_pays_back_in_one_transaction(market: Market) -> None:
    payload = market.open()
    refunded = market.settle(
        {
            "type": "refund",
            "channelConfig": payload["channelConfig"],
            "voucher": payload["voucher"],
            "amount": str(DEPOSIT_MULTIPLIER * PRICE),
            "refundNonce": "0",
            "claims": [market.claim_line(payload, payload["voucher"])],
        }
    )
    assert refunded.success, refunded
    assert refunded.amount == str((DEPOSIT_MULTIPLIER - 1) * PRICE)
    state = market.state(payload)
    assert (state.balance, state.total_claimed, state.refund_nonce) == (PRICE, PRICE, 1)
