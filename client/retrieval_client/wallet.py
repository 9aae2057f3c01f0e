"""The wallet: keys, channels and what was promised on them, kept in the home's journal.

One process writes it at a time; whoever only reads the state needs no turn. A channel is on disk before money moves into it or out of it.
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, closing, contextmanager
from dataclasses import dataclass, replace
from typing import Final

import trio

from retrieval.deal import fold, postings
from retrieval.deal.ending import ended
from retrieval.deal.outlay import Outlay
from retrieval.deal.records import ChannelRecord, DealRecord, HttpChannelRecord, HttpCountRecord, LineRecord, Outcome, ReceiptRecord
from retrieval.deal.sale import position_of
from retrieval.deal.spending import SpendingLine
from retrieval.deal.states import PURCHASE, Lifecycle, PurchaseEvent, PurchaseState
from retrieval.deal.terms import Position
from retrieval.errors import ErrorCode, LocalProtocolError
from retrieval.home import Home, read_secret
from retrieval.identity import EvmAddress, EvmKey, PeerId, PeerKey
from retrieval.ledger.journal import Journal, Record
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
from retrieval.transport.writer import JournalWriter
from retrieval.units import format_amount
from retrieval.wire.messages import DealId, Present, SessionKeyFields, Settlement
from retrieval.wire.receipt import Receipt

from .config import ClientSettings
from .web.channel import WebChannel

TURN_WAIT_S: Final = 10.0
"""How long a second process waits for its turn to sign (ARCHITECTURE.md, "Storage and processes")."""
TURN_POLL_S: Final = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenDeal:
    """A deal without an outcome, as the journal has it."""

    deal_id: DealId
    deal: DealRecord
    receipt: ReceiptRecord | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Funding:
    """What funding a channel came to."""

    line: SpendingLine
    sent: bool
    """False where the deposit of an earlier call was found."""


class Wallet:
    """An open wallet. ``journal`` is the only writer of the home's state while it is open.

    Its methods block, and what they change is on disk when they return. Alone, they write in the calling thread. While it is ``shared``
    with deals that run, they are called from Trio's worker threads, and change its books where the deals do: in Trio's, through their
    writer, so that a line's records are written in the order of what happened to it.
    """

    def __init__(self, home: Home, settings: ClientSettings, storage: LmdbStateStorage, *, now: float) -> None:
        self.home: Final = home
        self.settings: Final = settings
        self.state: Final = storage
        self.journal: Final = Journal(storage, fold.reduce)
        self.peer_key: Final = PeerKey.from_seed(read_secret(home.identity_key_path).reveal())
        self.deployment: Final[Deployment] = DEVCHAIN
        self.key: Final = EvmKey.from_secret(read_secret(home.wallet_key_path).reveal())
        self.voucher_signer: Final = VoucherSigner(self.key, self.deployment.chain_id, self.deployment.contract)
        self.lines: Final[dict[bytes, SpendingLine]] = {}
        self.web_channels: Final[dict[bytes, WebChannel]] = {
            key: WebChannel(Outlay.restored(key, channel, fold.get(storage, HttpCountRecord, key)), self.voucher_signer)
            for key, channel in fold.scan(storage, HttpChannelRecord)
        }
        """Those that are spent from over HTTP; they belong to Trio's thread."""
        self.web_opening: Final = trio.Lock()
        """To be held by who opens one, so that two fetches do not open two."""
        self._writer: JournalWriter | None = None
        self._turns: Final[dict[PeerId, trio.Lock]] = {}
        for key, channel in fold.scan(storage, ChannelRecord):
            self.line(key).channel = channel
        for key, row in fold.scan(storage, LineRecord):
            line = self.line(key)
            line.best, line.paid_bytes = row.best, row.paid_bytes
        # The last process may have died with deals open: what it had set aside for them is set aside again when one is taken up.
        self._write(lambda: [postings.void(reservation.id) for reservation in open_reservations(storage)], now)

    @contextmanager
    def shared(self, writer: JournalWriter) -> Iterator[None]:
        """Let deals run with this writer while the block does."""
        self._writer = writer
        try:
            yield
        finally:
            self._writer = None

    def turn_with(self, provider: PeerId) -> trio.Lock:
        """To be held from the look at a channel to the deal that is made on it: two deals neither open two channels, nor agree on what was
        paid while one of them pays."""
        return self._turns.setdefault(provider, trio.Lock())

    def line(self, key: bytes) -> SpendingLine:
        """The line of a channel, or of a provider where nothing is paid."""
        return self.lines.setdefault(key, SpendingLine(key=key))

    def open_deals(self) -> Iterator[OpenDeal]:
        """Deals that have no outcome yet."""
        for subject in fold.open_deals(self.state):
            deal = fold.get(self.state, DealRecord, subject)
            assert deal is not None
            yield OpenDeal(deal_id=DealId(subject), deal=deal, receipt=fold.get(self.state, ReceiptRecord, subject))

    def is_running(self, open_deal: OpenDeal) -> bool:
        """Whether a session of this process has the deal: then it is not to be taken up by another."""
        purchase = self.line(open_deal.deal.line_key).purchases.get(open_deal.deal_id)
        return purchase is not None and purchase.state is not PurchaseState.INTERRUPTED

    def last_final_receipt(self, provider: PeerId) -> bytes:
        """Digest of the last receipt of the newest ended deal with this provider, for the next deal's ``prev``."""
        return fold.last_receipt(self.state, provider)

    # channels

    def channel_with(self, provider: PeerId, settlement: Settlement) -> SpendingLine | None:
        """Our usable channel with a provider on the chain and contract its terms name, the one with most credit."""
        fitting = [line for line in [*self.lines.values()] if line.channel is not None and _fits(line.channel, provider, settlement)]
        return max(fitting, key=lambda line: line.credit, default=None)

    def fund(self, chain: Chain, settlement: Settlement, provider: PeerId, address: str, amount: int, *, now: float) -> Funding:
        """Open a channel with a provider, or top up the one there is. Blocks on the chain: never in the path of a retrieval.

        A deposit that an earlier call sent, and did not live to see mined, counts as this one: then nothing is sent. Raises
        ``LocalProtocolError``: ``wrong_chain``, ``wallet_insufficient``, and ``channel_unfunded`` when it would hold less than the
        provider's least deposit; and what the chain raises.
        """
        self._require_same_chain(settlement)
        line = self.channel_with(provider, settlement)
        if line is not None and self.refresh(chain, [line], now=now) >= amount:
            return Funding(line=line, sent=False)
        if (line.channel.balance if line is not None and line.channel is not None else 0) + amount < settlement.deposit_min:
            least = format_amount(settlement.deposit_min, decimals=settlement.decimals)
            raise LocalProtocolError(ErrorCode.CHANNEL_UNFUNDED, f"this provider asks for a deposit of at least {least}")
        if line is None:
            channel = self._new_channel(provider, address, settlement, now)
            line = fresh = SpendingLine(key=_id_of(channel))

            def enter() -> Sequence[Record]:
                self.lines[fresh.key] = fresh
                return fresh.channel_seen(channel, now).records

            # On disk before any money moves: a deposit whose config was lost could never be spent or taken back.
            self._write(enter, now)
        assert line.channel is not None
        chain.deposit(ChannelConfig.from_bytes(line.channel.config), amount, payer=self.key, sender=self.key)
        self.refresh(chain, [line], now=now)
        return Funding(line=line, sent=True)

    def refresh(self, chain: Chain, lines: Sequence[SpendingLine], *, now: float) -> int:
        """Bring the records of channels in line with the chain; returns by how much their balances rose.

        A channel that we began to leave stays closed for us, whatever the chain forgets of it: its salt, and with it its id, is not
        used again, because old vouchers would count against a new deposit.
        """
        rise = 0
        states = chain.channel_states([ChannelId(line.key) for line in lines]) if lines else []
        for line, state in zip(lines, states, strict=True):
            assert line.channel is not None
            seen = replace(
                line.channel,
                balance=state.balance,
                total_claimed=state.total_claimed,
                closing=line.channel.closing or state.withdraw_pending,
                withdraw_at=state.withdraw_finalizes_at(ChannelConfig.from_bytes(line.channel.config)) or 0,
            )
            rise += seen.balance - line.channel.balance
            self._see(line, seen, now)
        return rise

    def mark_leaving(self, line: SpendingLine, *, now: float) -> None:
        """Nothing more is promised on this channel."""
        assert line.channel is not None
        self._see(line, replace(line.channel, closing=True), now)

    def presentation(self, line: SpendingLine, *, needed_until: float, now: float) -> Present:
        """What shows the provider that we may spend from this channel; its SessionKey is renewed when it would not last."""
        channel = line.channel
        assert channel is not None
        if not self.is_vouched_for(line, needed_until):
            key = self._session_key(ChannelId(line.key), channel.chain_id, EvmAddress(channel.contract), now)
            self._see(line, replace(channel, session_key=key), now)
            channel = line.channel
            assert channel is not None
        return Present(config=channel.config, session_key=channel.session_key)

    def is_vouched_for(self, line: SpendingLine, needed_until: float) -> bool:
        """Whether the channel's SessionKey lasts until then."""
        return line.channel is not None and line.channel.session_key.expires_at > needed_until

    # deals

    def give_up(self, open_deal: OpenDeal, *, code: ErrorCode, detail: str, now: float) -> None:
        """End a deal that was cut off and cannot be taken up again, where its last receipt left it."""
        Lifecycle(PURCHASE, PurchaseState.INTERRUPTED).advance(PurchaseEvent.EXPIRED)
        last = Receipt.decode(open_deal.receipt.receipt.body) if open_deal.receipt is not None else None
        position = position_of(last) if last is not None else Position()
        step = ended(open_deal.deal_id, Outcome.FAILED, position, now, code=code, detail=detail, done=None)

        def forget() -> Sequence[Record]:
            self.line(open_deal.deal.line_key).purchases.pop(open_deal.deal_id, None)
            return step.records

        self._write(forget, now)

    # inside

    def _see(self, line: SpendingLine, channel: ChannelRecord, now: float) -> None:
        self._write(lambda: line.channel_seen(channel, now).records, now)

    def _write(self, change: Callable[[], Sequence[Record]], now: float) -> None:
        """Change the books, and return when the records of it are on disk."""
        writer = self._writer
        if writer is None:
            self.journal.append(change(), int(now * 1000))
            return

        async def commit() -> None:
            await writer.commit(change())  # with nothing between the change and its place in the journal

        trio.from_thread.run(commit)

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
        channel = channel_id(config, settlement.chain_id, contract)
        return ChannelRecord(
            config=config.to_bytes(),
            chain_id=settlement.chain_id,
            contract=settlement.contract,
            peer=provider,
            session_key=self._session_key(channel, settlement.chain_id, contract, now),
            balance=0,
            total_claimed=0,
            closing=False,
            withdraw_at=0,
            address=address,
        )

    def _session_key(self, channel: ChannelId, chain_id: int, contract: EvmAddress, now: float) -> SessionKeyFields:
        signed = sign_session_key(
            self.key,
            session_domain(chain_id, contract),
            channel_id=channel,
            peer_id=self.peer_key.peer_id,
            expires_at=int(now) + self.settings.wallet.session_key_lifetime,
        )
        return SessionKeyFields(
            channel_id=signed.channel_id, peer_id=signed.peer_id, expires_at=signed.expires_at, signature=signed.signature
        )

    def _require_same_chain(self, settlement: Settlement) -> None:
        ours = (self.deployment.chain_id, bytes(self.deployment.contract), bytes(self.deployment.token))
        if ours != (settlement.chain_id, settlement.contract, settlement.token):
            raise LocalProtocolError(
                ErrorCode.WRONG_CHAIN,
                f"the provider is paid on chain {settlement.chain_id} in a token or contract that this wallet does not use",
            )


@contextmanager
def open_wallet(home: Home, settings: ClientSettings, *, command: str, now: float, wait_s: float = TURN_WAIT_S) -> Iterator[Wallet]:
    """Take the turn to write. Raises ``LocalProtocolError``: ``not_initialised``, ``state_locked`` naming the process that has it."""
    home.require()
    with closing(LmdbStateStorage.open(home.state_path, command=command, wait_s=wait_s)) as storage:
        yield Wallet(home, settings, storage, now=now)


@asynccontextmanager
async def open_wallet_in_turn(home: Home, settings: ClientSettings, *, command: str, now: float) -> AsyncIterator[Wallet]:
    """``open_wallet`` for Trio: others run, and a cancellation is heard, while it waits for its turn."""
    deadline = trio.current_time() + TURN_WAIT_S
    while True:
        opening = open_wallet(home, settings, command=command, now=now, wait_s=0)
        try:
            wallet = await trio.to_thread.run_sync(opening.__enter__)
            break
        except LocalProtocolError as error:
            if error.code is not ErrorCode.STATE_LOCKED or trio.current_time() >= deadline:
                raise
        await trio.sleep(TURN_POLL_S)
    try:
        yield wallet
    finally:
        opening.__exit__(None, None, None)


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
