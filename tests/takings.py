"""A provider's money without its network: books, journal and settler on a real chain, and payers who sign what they are told to."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from retrieval_provider.lookout import Lookout
from retrieval_provider.settlement import Claimed, Settler

from retrieval.deal import fold, postings
from retrieval.deal.books import ProviderBooks
from retrieval.deal.line import CreditLine
from retrieval.deal.records import ChannelRecord
from retrieval.identity import EvmAddress, EvmKey, PeerKey
from retrieval.ledger.journal import Journal, Record
from retrieval.ledger.state import MemoryStateStorage
from retrieval.ledger.transfers import Balances
from retrieval.payment.chain import DEVCHAIN, Chain, ChannelState, Claim, Settlement
from retrieval.payment.channel import (
    WITHDRAW_DELAY_DEFAULT_S,
    WITHDRAW_DELAY_FLOOR_S,
    WITHDRAW_DELAY_MAX_S,
    ChannelConfig,
    ChannelId,
    ChannelTerms,
    channel_id,
)
from retrieval.payment.evm import EvmChain
from retrieval.payment.voucher import VoucherSigner
from retrieval.transport.writer import Clock, open_writer, steady_clock
from retrieval.wire.messages import SessionKeyFields, VoucherFields

DOLLAR = 10**6
DEPOSIT = 5 * DOLLAR


@dataclass(slots=True, kw_only=True)
class Payer:
    """Somebody with a channel to the shop."""

    key: EvmKey
    config: ChannelConfig
    channel: ChannelId


class Unreliable:
    """A chain that can be made to fail: ``failures`` says which call and how, and ``calls`` what was asked so far."""

    def __init__(self, chain: Chain) -> None:
        self._chain = chain
        self.failures: dict[str, Exception] = {}
        self.calls: list[str] = []

    def channel_states(self, channel_ids: Sequence[ChannelId], *, confirmations: int = 0) -> list[ChannelState]:
        self._call("channel_states")
        return self._chain.channel_states(channel_ids, confirmations=confirmations)

    def claim_and_settle(self, claims: Sequence[Claim], *, sender: EvmKey) -> Settlement:
        self._call("claim_and_settle")
        return self._chain.claim_and_settle(claims, sender=sender)

    def token_balance(self, owner: EvmAddress) -> int:
        return self._chain.token_balance(owner)

    def native_balance(self, owner: EvmAddress) -> int:
        return self._chain.native_balance(owner)

    def deposit(self, config: ChannelConfig, amount: int, *, payer: EvmKey, sender: EvmKey) -> bytes:
        return self._chain.deposit(config, amount, payer=payer, sender=sender)

    def initiate_withdraw(self, config: ChannelConfig, amount: int, *, sender: EvmKey) -> bytes:
        return self._chain.initiate_withdraw(config, amount, sender=sender)

    def finalize_withdraw(self, config: ChannelConfig, *, sender: EvmKey) -> bytes:
        return self._chain.finalize_withdraw(config, sender=sender)

    def refund(self, config: ChannelConfig, amount: int, *, authorizer: EvmKey, sender: EvmKey) -> bytes:
        return self._chain.refund(config, amount, authorizer=authorizer, sender=sender)

    def _call(self, name: str) -> None:
        self.calls.append(name)
        if name in self.failures:
            raise self.failures[name]


@dataclass(slots=True, kw_only=True)
class Takings:
    """What a provider takes in. Its state, its keys and the chain outlive a ``restart``; nothing else does."""

    url: str
    """Of the chain's RPC."""
    receiver: EvmKey = field(default_factory=EvmKey.generate)
    peer: PeerKey = field(default_factory=PeerKey.generate)
    state: MemoryStateStorage = field(default_factory=MemoryStateStorage)
    evm: EvmChain = field(init=False)
    chain: Unreliable = field(init=False)
    journal: Journal = field(init=False)
    books: ProviderBooks = field(init=False)

    def __post_init__(self) -> None:
        self.evm = EvmChain(self.url)
        self.chain = Unreliable(self.evm)
        self.restart()

    def restart(self) -> None:
        """Forget all that is not in the state."""
        deployment = self.evm.deployment
        terms = ChannelTerms(
            receiver=self.receiver.address,
            receiver_authorizer=self.receiver.address,
            token=deployment.token,
            chain_id=deployment.chain_id,
            contract=deployment.contract,
            withdraw_delay_min_s=WITHDRAW_DELAY_FLOOR_S,
            withdraw_delay_max_s=WITHDRAW_DELAY_MAX_S,
            deposit_min=0,
        )
        self.journal = Journal(self.state, fold.reduce)
        self.books = ProviderBooks(self.peer, channel_terms=terms, tables=fold.load_tables(self.state))
        self.append(*self.books.start().records)

    def append(self, *records: Record) -> None:
        self.journal.append(records, 0)

    def open_channel(self, *, deposit: int = DEPOSIT, withdraw_delay_s: int = WITHDRAW_DELAY_DEFAULT_S) -> Payer:
        """A payer with a channel, which the provider has seen."""
        payer = new_payer(self.receiver.address, withdraw_delay_s=withdraw_delay_s)
        self.evm.mint(payer.key.address, 10 * deposit)
        self.evm.send_gas(payer.key.address)
        self.evm.deposit(payer.config, deposit, payer=payer.key, sender=payer.key)
        self.append(*self.books.channel_seen(payer.channel, channel_record(payer, self.peer, deposit), 0.0).records)
        return payer

    def line(self, payer: Payer) -> CreditLine:
        return self.books.lines[payer.channel]

    def channel(self, payer: Payer) -> ChannelRecord:
        """What the provider knows of the channel."""
        known = self.line(payer).channel
        assert known is not None
        return known

    def take(self, payer: Payer, amount: int, *, signature: bytes | None = None) -> None:
        """A payment: a voucher of ``amount`` more, journalled as a deal would."""
        line, deployment = self.line(payer), self.evm.deployment
        total = line.best_amount + amount
        voucher = VoucherSigner(payer.key, deployment.chain_id, deployment.contract).sign(payer.channel, total)
        reservation = postings.reserve(payer.channel, payer.channel[:16], ordinal=total, now_ms=0, amount=amount)
        line.best = VoucherFields(channel_id=payer.channel, amount=total, signature=signature or voucher.signature)
        self.append(postings.transfer_record(reservation), postings.post(reservation, amount=amount), line.to_record())

    def booked(self) -> tuple[int, int]:
        """What the accounts say was earned, claimed or not, and what was claimed."""
        balances = Balances(self.state, limited=postings.LIMITED)
        claimed = sum(balances.balance(postings.claimed_account(key)).posted for key in self.books.lines)
        return claimed + sum(balances.balance(postings.earned_account(key)).posted for key in self.books.lines), claimed

    def received(self) -> int:
        """What has reached the receiver."""
        return self.evm.token_balance(self.receiver.address)

    @asynccontextmanager
    async def settler(
        self,
        *,
        claim_above: int = DOLLAR,
        confirmations: int = 0,
        clock: Clock | None = None,
        on_claimed: Callable[[Claimed], None] = lambda claimed: None,
    ) -> AsyncIterator[Settler]:
        """A settler over the books, with a writer that runs while the block does."""
        clock = clock or steady_clock()
        async with open_writer(self.journal, clock) as writer:
            yield Settler(
                self.chain,
                Lookout(self.chain, confirmations=confirmations),
                self.books,
                self.state,
                writer,
                self.receiver,
                clock=clock,
                poll_s=15,
                claim_above=claim_above,
                on_claimed=on_claimed,
            )


def new_payer(receiver: EvmAddress, *, withdraw_delay_s: int = WITHDRAW_DELAY_DEFAULT_S) -> Payer:
    """Somebody new, and the channel they would pay this receiver from."""
    key = EvmKey.generate()
    config = ChannelConfig(
        payer=key.address,
        payer_authorizer=key.address,
        receiver=receiver,
        receiver_authorizer=receiver,
        token=DEVCHAIN.token,
        withdraw_delay_s=withdraw_delay_s,
        salt=bytes(32),
    )
    return Payer(key=key, config=config, channel=channel_id(config, DEVCHAIN.chain_id, DEVCHAIN.contract))


def channel_record(payer: Payer, client: PeerKey, balance: int) -> ChannelRecord:
    """A channel as a provider knows it on the development chain."""
    return ChannelRecord(
        config=payer.config.to_bytes(),
        chain_id=DEVCHAIN.chain_id,
        contract=DEVCHAIN.contract,
        peer=client.peer_id,
        session_key=SessionKeyFields(channel_id=payer.channel, peer_id=client.peer_id, expires_at=1, signature=bytes(65)),
        balance=balance,
        total_claimed=0,
        closing=False,
        withdraw_at=0,
        address="",
    )
