"""Trio. What pays relays for carrying what this provider sends: channels in which it is the payer, to the operators that relays name.

They are paid for, signed for and refilled with the key that receives the earnings: it holds gas and income already, so that nobody has a
second wallet to fill and to guard. One rule: a channel is on disk before money moves into it, and a promise before its voucher leaves.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

import trio

from retrieval.deal import fold
from retrieval.deal.records import AdvertRecord, ChannelRecord, LineRecord
from retrieval.deal.spending import SpendingLine
from retrieval.errors import ErrorCode, LocalProtocolError, RemoteProtocolError
from retrieval.identity import (
    ZERO_ADDRESS,
    EvmAddress,
    EvmKey,
    PeerId,
    PeerKey,
    format_address,
    format_peer_id,
    parse_address,
    public_key_of,
)
from retrieval.ledger.state import StateView
from retrieval.payment.chain import Chain
from retrieval.payment.channel import ChannelConfig, ChannelId, ChannelTerms, channel_id, session_domain, sign_session_key
from retrieval.payment.voucher import VoucherSigner
from retrieval.radio.account import Claim, RelayAccount, Settlement, tables_of
from retrieval.radio.advert import read_advert
from retrieval.radio.packet import Packet, radio_id
from retrieval.radio.station import trail_key_of
from retrieval.transport.writer import Clock, JournalWriter
from retrieval.wire.messages import Present, SessionKeyFields

from ..settlement import as_record

OPENING_LIFETIME_S: Final = 30 * 86_400
"""How long an operator may take to bring a settlement home before it needs a new one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Funded:
    """A channel after it was funded. Amounts in the token's smallest unit."""

    channel_id: ChannelId
    operator: EvmAddress
    balance: int
    left: int
    """What the deposit covers beyond what was promised."""
    sent: bool
    """False where the deposit of an earlier, interrupted call was found, and nothing new was sent."""


class Purse:
    """One provider's channels to operators of relays. Used by one task at a time: it reads a line, and writes it when it is done."""

    def __init__(
        self, key: EvmKey, peer: PeerKey, terms: ChannelTerms, account: RelayAccount, state: StateView, writer: JournalWriter, clock: Clock
    ) -> None:
        """``terms`` are what this provider asks of others, and offers them as well; ``state`` is what ``writer`` writes."""
        self._key: Final = key
        self._peer: Final = peer
        self._terms: Final = terms
        self._account: Final = account
        self._state: Final = state
        self._writer: Final = writer
        self._clock: Final = clock

    async def fund(self, chain: Chain, relay: PeerId, amount: int) -> Funded:
        """Open a channel to the operator of a relay, or top up the one there is.

        A deposit that an earlier call sent, and did not live to see mined, counts as this one: then nothing is sent. Raises
        ``RetrievalError``: ``channel_unacceptable`` when the relay never advertised, or nobody but ourselves is paid for it,
        ``invalid_amount``, and what the chain raises.
        """
        operator = self._account.operator_of(relay)
        if operator in (ZERO_ADDRESS, self._key.address):
            raise RemoteProtocolError(ErrorCode.CHANNEL_UNACCEPTABLE, f"the relay's fees go to {format_address(operator)}")
        if amount <= 0:
            raise LocalProtocolError(ErrorCode.INVALID_AMOUNT, "a deposit is above zero")
        line = self._line_to(operator)
        if line is not None and await self._refresh(chain, line) >= amount:
            return _funded(line, operator, sent=False)
        if line is None:
            channel = self._new_channel(operator, relay)
            line = SpendingLine(key=channel.session_key.channel_id)
            # On disk before any money moves: a deposit whose config was lost could never be spent or taken back.
            await self._writer.commit(line.channel_seen(channel, self._clock()).records)
        assert line.channel is not None
        config = ChannelConfig.from_bytes(line.channel.config)
        await trio.to_thread.run_sync(lambda: chain.deposit(config, amount, payer=self._key, sender=self._key))
        await self._refresh(chain, line)
        return _funded(line, operator, sent=True)

    async def settle(self, claim: Claim) -> Settlement:
        """Pay what a claim proves, as far as the channel goes, with what shows the channel to an operator that has not seen it.

        Raises ``RetrievalError``: ``channel_unfunded`` where no channel to the operator was funded, and as ``RelayAccount.settle``.
        """
        relay = PeerId(claim.relay)
        await self._writer.commit(self._account.meet(*claim.adverts).records)
        operator = self._account.operator_of(relay)
        line = self._line_of(claim.channel_id) if claim.channel_id else self._line_to(operator)
        if line is None or line.channel is None:
            raise LocalProtocolError(
                ErrorCode.CHANNEL_UNFUNDED, f"no channel to {format_address(operator)}: open one with `retrieval-provider radio fund`"
            )
        settlement, step = self._account.settle(claim, line)
        await self._writer.commit(step.records)
        opening = Present(config=line.channel.config, session_key=self._session_key(line.channel.config))
        return replace(settlement, opening=opening)

    # channels

    def _line_to(self, operator: EvmAddress) -> SpendingLine | None:
        """The line to spend from for an operator: that with most credit, of those on our chain and contract."""
        return max((line for line in self._lines() if self._fits(line, operator)), key=lambda line: line.credit, default=None)

    def _line_of(self, key: bytes) -> SpendingLine | None:
        return next((line for line in self._lines() if line.key == key), None)

    def _lines(self) -> Iterator[SpendingLine]:
        for key, channel in fold.scan(self._state, ChannelRecord):
            if channel.is_paid_by_us:
                row = fold.get(self._state, LineRecord, key)
                yield SpendingLine(key=key, channel=channel, best=row.best if row else None, paid_bytes=row.paid_bytes if row else 0)

    def _fits(self, line: SpendingLine, operator: EvmAddress) -> bool:
        channel = line.channel
        assert channel is not None
        config, terms = ChannelConfig.from_bytes(channel.config), self._terms
        return (
            not channel.closing
            and (channel.chain_id, channel.contract) == (terms.chain_id, terms.contract)
            and (config.receiver, config.token) == (operator, terms.token)
        )

    async def _refresh(self, chain: Chain, line: SpendingLine) -> int:
        """Bring a channel's record in line with the chain; returns by how much its balance rose."""
        (state,) = await trio.to_thread.run_sync(chain.channel_states, [ChannelId(line.key)])
        assert line.channel is not None
        seen = as_record(line.channel, state)
        rise = seen.balance - line.channel.balance
        await self._writer.commit(line.channel_seen(replace(seen, closing=seen.closing or line.channel.closing), self._clock()).records)
        return rise

    def _new_channel(self, operator: EvmAddress, relay: PeerId) -> ChannelRecord:
        """An operator signs its own claims: its advertisement has no room for a second address."""
        config = ChannelConfig(
            payer=self._key.address,
            payer_authorizer=self._key.address,
            receiver=operator,
            receiver_authorizer=operator,
            token=self._terms.token,
            withdraw_delay_s=self._terms.withdraw_delay_min_s,
            salt=secrets.token_bytes(32),
        ).to_bytes()
        return ChannelRecord(
            config=config,
            chain_id=self._terms.chain_id,
            contract=self._terms.contract,
            peer=relay,
            session_key=self._session_key(config),
            balance=0,
            total_claimed=0,
            closing=False,
            withdraw_at=0,
            address="",
        )

    def _session_key(self, config: bytes) -> SessionKeyFields:
        terms = self._terms
        signed = sign_session_key(
            self._key,
            session_domain(terms.chain_id, terms.contract),
            channel_id=channel_id(ChannelConfig.from_bytes(config), terms.chain_id, terms.contract),
            peer_id=self._peer.peer_id,
            expires_at=int(self._clock()) + OPENING_LIFETIME_S,
        )
        return SessionKeyFields(
            channel_id=signed.channel_id, peer_id=signed.peer_id, expires_at=signed.expires_at, signature=signed.signature
        )


def find_relay(state: StateView, *, relay: str | None, operator: str | None) -> PeerId:
    """The relay that a person means: by its radio id or peer id, or any whose fees go to an address.

    Raises ``LocalProtocolError``: ``usage`` when none that was heard fits, ``invalid_address``.
    """
    address = None if operator is None else parse_address(operator)
    for id_, row in fold.scan(state, AdvertRecord):
        advert = read_advert(Packet.decode(row.frame))
        if advert.operator == address or relay in (id_.hex(), format_peer_id(advert.peer_id)):
            return advert.peer_id
    raise LocalProtocolError(ErrorCode.USAGE, "no relay like it was heard; `retrieval-provider radio status` shows those that were")


def account_of(peer: PeerKey, signer: VoucherSigner, state: StateView, *, now: float) -> RelayAccount:
    """What is owed to relays, where no station is on the air that keeps account of it."""
    return RelayAccount(radio_id(public_key_of(peer.peer_id)), trail_key_of(peer), signer, tables_of(state), now=now)


def _funded(line: SpendingLine, operator: EvmAddress, *, sent: bool) -> Funded:
    assert line.channel is not None
    return Funded(channel_id=ChannelId(line.key), operator=operator, balance=line.channel.balance, left=line.credit, sent=sent)
