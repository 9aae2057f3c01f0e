"""The chain as the rest of the project sees it: one contract on one chain, asked and told through a port.

One rule: nothing here knows how a chain is reached. `EvmChain` in `payment/evm.py` implements the port over JSON-RPC.
Amounts are integers in the token's smallest unit; times are block timestamps, Unix seconds by the chain's own clock.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from retrieval.identity import DIGEST_SIZE, EVM_SIGNATURE_SIZE, EvmAddress, EvmKey
from retrieval.payment.channel import ChannelConfig, ChannelId
from retrieval.payment.typed_data import Domain
from retrieval.units import AMOUNT_MAX

CANONICAL_CHANNELS: Final = EvmAddress(bytes.fromhex("4020074e9dF2ce1deE5A9C1b5c3f541D02a10003"))  # x402, the same on every public chain
CANONICAL_ERC3009_COLLECTOR: Final = EvmAddress(bytes.fromhex("4020806089470a89826cB9fB1f4059150b550004"))
MULTICALL3: Final = EvmAddress(bytes.fromhex("cA11bde05977b3631167028862bE2a173976CA11"))


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenFacts:
    """What a token says of itself: what it takes to write a `Deployment` for it."""

    name: str
    version: str
    symbol: str
    decimals: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """Where money lives: a channel contract, its deposit collector and one token on one chain."""

    chain_id: int
    contract: EvmAddress
    collector: EvmAddress
    """Pulls deposits by EIP-3009 authorization."""
    token: EvmAddress
    token_name: str
    """The token's EIP-712 domain name and version, which its authorizations are signed under."""
    token_version: str
    token_symbol: str
    token_decimals: int

    @property
    def token_domain(self) -> Domain:
        return Domain(name=self.token_name, version=self.token_version, chain_id=self.chain_id, contract=self.token)


DEVCHAIN: Final = Deployment(
    chain_id=31337,
    contract=CANONICAL_CHANNELS,
    collector=CANONICAL_ERC3009_COLLECTOR,
    token=EvmAddress(bytes.fromhex("7e57d0114a000000000000000000000000000001")),  # "test dollar", as far as hex digits spell
    token_name="Test Dollar",
    token_version="1",
    token_symbol="USD",
    token_decimals=6,
)
"""The development chain: its genesis puts the contracts here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelState:
    """What the contract says of a channel at one block. All zeros, but for the time, when it was never funded."""

    balance: int
    """Deposits less what went back to the payer. Claims do not reduce it."""
    total_claimed: int
    refund_nonce: int
    withdraw_amount: int
    """Zero when no withdrawal is pending."""
    withdraw_started_at: int
    block_timestamp: int

    @property
    def withdraw_pending(self) -> bool:
        return self.withdraw_amount > 0

    def withdraw_finalizes_at(self, config: ChannelConfig) -> int | None:
        """The earliest block time at which the payer can take the pending withdrawal; None when none is pending."""
        return self.withdraw_started_at + config.withdraw_delay_s if self.withdraw_pending else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """One channel's line of a claim: of what the voucher allows, take `total_claimed` over the channel's life."""

    config: ChannelConfig
    voucher_amount: int
    signature: bytes
    total_claimed: int

    def __post_init__(self) -> None:
        assert 0 <= self.total_claimed <= self.voucher_amount <= AMOUNT_MAX
        assert len(self.signature) == EVM_SIGNATURE_SIZE


@dataclass(frozen=True, slots=True, kw_only=True)
class Settlement:
    """What a claim and the settling after it did."""

    claimed: int
    """The sum that the claims booked for the receiver; zero when all of it was claimed before."""
    settled: int
    """What reached the receiver."""
    transactions: tuple[bytes, ...]
    """Their hashes, in the order they were mined."""

    def __post_init__(self) -> None:
        assert all(len(transaction) == DIGEST_SIZE for transaction in self.transactions)


class Chain(Protocol):
    """The port.

    Every method may raise `rpc_unavailable` and `wrong_chain`; those that send also `transaction_failed` and `wallet_insufficient`. A
    method that sends returns when its transaction is mined, with its hash. `sender` signs the transaction and pays its gas.
    """

    def channel_states(self, channel_ids: Sequence[ChannelId], *, confirmations: int = 0) -> list[ChannelState]:
        """The state of each channel, in the order asked, as it was `confirmations` blocks ago."""
        ...

    def token_balance(self, owner: EvmAddress) -> int: ...

    def native_balance(self, owner: EvmAddress) -> int:
        """In wei."""
        ...

    def deposit(self, config: ChannelConfig, amount: int, *, payer: EvmKey, sender: EvmKey) -> bytes:
        """Open or top up a channel with the payer's tokens."""
        ...

    def claim_and_settle(self, claims: Sequence[Claim], *, sender: EvmKey) -> Settlement:
        """Claim vouchers of one receiver, then send the receiver all that is claimed. What was claimed before is not claimed again.

        `sender` is the receiver, or the receiver's authorizer of every claim.
        """
        ...

    def initiate_withdraw(self, config: ChannelConfig, amount: int, *, sender: EvmKey) -> bytes:
        """Start the payer's way out; `sender` is the payer or the payer's authorizer."""
        ...

    def finalize_withdraw(self, config: ChannelConfig, *, sender: EvmKey) -> bytes:
        """Take what a withdrawal announced, after its delay; `sender` as for starting it."""
        ...

    def refund(self, config: ChannelConfig, amount: int, *, authorizer: EvmKey, sender: EvmKey) -> bytes:
        """Give up to `amount` of the unclaimed rest back to the payer at once; the receiver's authorizer signs it."""
        ...
