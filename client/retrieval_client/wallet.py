"""The wallet: keys, channels and what was promised on them, kept in the home's journal.

One process writes it at a time. Opening it for writing waits for the turn; reading needs no turn.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from typing import Final

from retrieval.deal import fold, postings
from retrieval.deal.records import ChannelRecord, DealRecord, LineRecord, OutcomeRecord, ReceiptRecord
from retrieval.deal.spending import SpendingLine
from retrieval.errors import ErrorCode, LocalProtocolError
from retrieval.home import Home, read_secret
from retrieval.identity import EvmAddress, EvmKey, PeerId, PeerKey
from retrieval.ledger.journal import Journal
from retrieval.ledger.transfers import open_reservations
from retrieval.payment.chain import DEVCHAIN, Chain, Deployment
from retrieval.payment.channel import (
    WITHDRAW_DELAY_MIN_S,
    ChannelConfig,
    ChannelId,
    channel_id,
    session_domain,
    sign_session_key,
)
from retrieval.payment.voucher import VoucherSigner
from retrieval.store.lmdb import LmdbStateStorage
from retrieval.wire.messages import DealId, Present, SessionKeyFields, Settlement
from retrieval.wire.receipt import NO_RECEIPT, receipt_digest

from .config import ClientSettings

TURN_WAIT_S: Final = 10.0
"""How long a second process waits for its turn to sign (ARCHITECTURE.md, "Storage and processes")."""


class Wallet:
    """An open wallet. ``journal`` is the only writer of the home's state while it is open."""

    def __init__(self, home: Home, settings: ClientSettings, storage: LmdbStateStorage, *, now: float) -> None:
        self.settings: Final = settings
        self.state: Final = storage
        self.journal: Final = Journal(storage, fold.reduce)
        self.peer_key: Final = PeerKey.from_seed(read_secret(home.identity_key_path).reveal())
        self.deployment: Final = DEVCHAIN
        self.key: Final = EvmKey.from_secret(read_secret(home.wallet_key_path).reveal())
        self.voucher_signer: Final = VoucherSigner(self.key, self.deployment.chain_id, self.deployment.contract)
        self.lines: Final[dict[bytes, SpendingLine]] = {}
        for key, channel in fold.scan(storage, ChannelRecord):
            self.line(key).channel = channel
        for key, row in fold.scan(storage, LineRecord):
            line = self.line(key)
            line.best, line.paid_bytes = row.best, row.paid_bytes
        # The last process may have died with deals open: what it had set aside for them is set aside again when one is taken up.
        stale = [postings.void(reservation.id) for reservation in open_reservations(storage)]
        self.journal.append(stale, int(now * 1000))

    def line(self, key: bytes) -> SpendingLine:
        """The line of a channel, or of a provider where nothing is paid."""
        return self.lines.setdefault(key, SpendingLine(key=key))

    def channel_with(self, provider: PeerId, settlement: Settlement) -> SpendingLine | None:
        """Our usable channel with a provider on the chain and contract its quote names, the one with most credit."""
        fitting = [line for line in self.lines.values() if line.channel is not None and _fits(line.channel, provider, settlement)]
        return max(fitting, key=lambda line: line.credit, default=None)

    def open_deals_with(self, provider: PeerId) -> Iterator[tuple[DealId, DealRecord, ReceiptRecord | None]]:
        """Deals with this provider that have no outcome yet."""
        for subject in fold.open_deals(self.state):
            deal = fold.get(self.state, DealRecord, subject)
            if deal is not None and deal.peer == provider:
                yield DealId(subject), deal, fold.get(self.state, ReceiptRecord, subject)

    def last_final_receipt(self, provider: PeerId) -> bytes:
        """Digest of the last receipt of the newest ended deal with this provider, for the next deal's ``prev``."""
        newest_ms, digest = -1, NO_RECEIPT
        for subject, ended in fold.scan(self.state, OutcomeRecord):
            deal, receipt = fold.get(self.state, DealRecord, subject), fold.get(self.state, ReceiptRecord, subject)
            if deal is not None and receipt is not None and deal.peer == provider and ended.ended_ms > newest_ms:
                newest_ms, digest = ended.ended_ms, receipt_digest(receipt.receipt.body)
        return digest

    # channels

    def fund(
        self, chain: Chain, deployment: Deployment, provider: PeerId, address: str, settlement: Settlement, amount: int, *, now: float
    ) -> SpendingLine:
        """Open a channel with a provider, or top up the one there is. Blocks on the chain: never in the path of a retrieval.

        Raises ``LocalProtocolError``: ``wrong_chain``, ``wallet_insufficient``, ``transaction_failed``, ``rpc_unavailable``,
        ``channel_unfunded`` when ``amount`` is below the provider's least deposit.
        """
        _require_same_chain(settlement, deployment)
        line = self.channel_with(provider, settlement)
        if line is None and amount < settlement.deposit_min:
            raise LocalProtocolError(ErrorCode.CHANNEL_UNFUNDED, f"this provider asks for a deposit of at least {settlement.deposit_min}")
        channel = line.channel if line is not None else None
        if channel is None:
            channel = self._new_channel(provider, address, settlement, now)
            line = self.line(_id_of(channel))
            # On disk before any money moves: a deposit whose config was lost could never be spent or taken back.
            self.journal.append(line.channel_seen(channel, now).records, int(now * 1000))
        assert line is not None
        chain.deposit(ChannelConfig.from_bytes(channel.config), amount, payer=self.key, sender=self.key)
        self.refresh(chain, line, now=now)
        return line

    def refresh(self, chain: Chain, line: SpendingLine, *, now: float) -> None:
        """Bring a channel's record in line with the chain."""
        assert line.channel is not None
        (state,) = chain.channel_states([ChannelId(line.key)])
        config = ChannelConfig.from_bytes(line.channel.config)
        seen = replace(
            line.channel,
            balance=state.balance,
            total_claimed=state.total_claimed,
            closing=state.withdraw_pending,
            withdraw_at=state.withdraw_finalizes_at(config) or 0,
        )
        self.journal.append(line.channel_seen(seen, now).records, int(now * 1000))

    def presentation(self, line: SpendingLine) -> Present:
        """What shows the provider that we may spend from this channel."""
        assert line.channel is not None
        return Present(config=line.channel.config, session_key=line.channel.session_key)

    def _new_channel(self, provider: PeerId, address: str, settlement: Settlement, now: float) -> ChannelRecord:
        wanted = self.settings.wallet.withdraw_delay
        delay_s = min(max(wanted, settlement.withdraw_delay_min_s, WITHDRAW_DELAY_MIN_S), settlement.withdraw_delay_max_s)
        config = ChannelConfig(
            payer=self.key.address,
            payer_authorizer=self.key.address,
            receiver=EvmAddress(settlement.receiver),
            receiver_authorizer=EvmAddress(settlement.receiver_authorizer),
            token=EvmAddress(settlement.token),
            withdraw_delay_s=delay_s,
            salt=secrets.token_bytes(32),
        )
        contract = EvmAddress(settlement.contract)
        session_key = sign_session_key(
            self.key,
            session_domain(settlement.chain_id, contract),
            channel_id=channel_id(config, settlement.chain_id, contract),
            peer_id=self.peer_key.peer_id,
            expires_at=int(now) + self.settings.wallet.session_key_lifetime,
        )
        fields = SessionKeyFields(
            channel_id=session_key.channel_id,
            peer_id=session_key.peer_id,
            expires_at=session_key.expires_at,
            signature=session_key.signature,
        )
        return ChannelRecord(
            config=config.to_bytes(),
            chain_id=settlement.chain_id,
            contract=settlement.contract,
            peer=provider,
            session_key=fields,
            balance=0,
            total_claimed=0,
            closing=False,
            withdraw_at=0,
            address=address,
        )


@contextmanager
def open_wallet(home: Home, settings: ClientSettings, *, command: str, now: float) -> Iterator[Wallet]:
    """Take the turn to write. Raises ``LocalProtocolError``: ``not_initialised``, ``state_locked`` naming the process that has it."""
    home.require()
    with closing(LmdbStateStorage.open(home.state_path, command=command, wait_s=TURN_WAIT_S)) as storage:
        yield Wallet(home, settings, storage, now=now)


def _fits(channel: ChannelRecord, provider: PeerId, settlement: Settlement) -> bool:
    config = ChannelConfig.from_bytes(channel.config)
    return (
        channel.peer == provider
        and not channel.closing
        and (channel.chain_id, channel.contract) == (settlement.chain_id, settlement.contract)
        and (config.receiver, config.receiver_authorizer, config.token)
        == (settlement.receiver, settlement.receiver_authorizer, settlement.token)
        and settlement.withdraw_delay_min_s <= config.withdraw_delay_s <= settlement.withdraw_delay_max_s
    )


def _id_of(channel: ChannelRecord) -> ChannelId:
    return ChannelId(channel.session_key.channel_id)


def _require_same_chain(settlement: Settlement, deployment: Deployment) -> None:
    ours = (deployment.chain_id, bytes(deployment.contract), bytes(deployment.token))
    if ours != (settlement.chain_id, settlement.contract, settlement.token):
        raise LocalProtocolError(
            ErrorCode.WRONG_CHAIN,
            f"the provider is paid on chain {settlement.chain_id} in a token or contract that this wallet does not use",
        )
