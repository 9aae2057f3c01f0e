"""Trio. Settlement: watches channels on the chain, stops credit when a withdrawal begins, and claims before it is too late.

Never in the path of a retrieval. A claim is journalled before it is sent and again with its transaction; repeating one does nothing
twice, so a node that dies in between claims again when it starts.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final, TypeAlias, TypeVar

import trio

from retrieval.deal import fold
from retrieval.deal.books import ProviderBooks
from retrieval.deal.line import CreditLine
from retrieval.deal.records import ChannelRecord, ClaimRecord, HttpChannelRecord, record
from retrieval.deal.tab import Tab
from retrieval.errors import ErrorCode, RetrievalError
from retrieval.identity import EvmKey, format_address
from retrieval.ledger.journal import Record
from retrieval.ledger.state import StateView
from retrieval.payment.chain import Chain, ChannelState, Claim
from retrieval.payment.channel import ChannelConfig, ChannelId
from retrieval.payment.evm import CLAIMS_PER_TRANSACTION
from retrieval.transport.writer import Clock, JournalWriter

from .lookout import Lookout

Account: TypeAlias = CreditLine | Tab
"""What a channel is claimed by: a libp2p client's line, or the tab of who pays over HTTP."""

log: Final = logging.getLogger("retrieval.provider.settlement")

ChannelT = TypeVar("ChannelT", bound=ChannelRecord | HttpChannelRecord)

RETRY_MAX_S: Final = 300.0
"""Between attempts while the chain does not answer; doubled from one poll interval up to this."""
RETRY_MIN_S: Final = 5.0
"""Between attempts when little time is left."""
ATTEMPTS_LEFT_MIN: Final = 20
"""Attempts that must still fit before money could be withdrawn: the pause between them shrinks accordingly."""
RECORD_S: Final = 5.0
"""How long a claim that was mined may take to reach the journal while everything else is being ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claimed:
    """What a round of claims did, in the token's smallest unit."""

    channels: tuple[bytes, ...] = ()
    claimed: int = 0
    settled: int = 0
    transactions: tuple[bytes, ...] = ()

    def __add__(self, other: Claimed) -> Claimed:
        return Claimed(
            channels=self.channels + other.channels,
            claimed=self.claimed + other.claimed,
            settled=self.settled + other.settled,
            transactions=self.transactions + other.transactions,
        )


class Settler:
    """One provider's channels on one chain."""

    def __init__(
        self,
        chain: Chain,
        lookout: Lookout,
        books: ProviderBooks,
        state: StateView,
        writer: JournalWriter,
        key: EvmKey,
        *,
        clock: Clock,
        poll_s: int,
        claim_above: int,
        on_claimed: Callable[[Claimed], None] = lambda claimed: None,
        on_held_up: Callable[[RetrievalError], None] = lambda error: None,
    ) -> None:
        """``state`` is what ``writer`` writes; ``key`` is the receiver's, which signs transactions and pays their gas."""
        self._chain: Final = chain
        self.lookout: Final = lookout
        self._books: Final = books
        self._state: Final = state
        self._writer: Final = writer
        self._key: Final = key
        self._clock: Final = clock
        self._poll_s: Final = poll_s
        self._claim_above: Final = claim_above
        self._on_claimed: Final = on_claimed
        self._on_held_up: Final = on_held_up
        self.looked_at = clock()
        """When the channels were last looked at, by our clock; before the first time, when this began."""
        self._turn: Final = trio.Lock()
        self._started_at: Final = clock()
        self._seen: Final[dict[bytes, tuple[float, ChannelState]]] = {}
        """When each channel was last looked at, by our clock, and what was seen."""

    async def run(self) -> None:
        """Watch until cancelled. A chain that does not answer is asked ever less often, and ever more often as time runs out."""
        pause_s = float(self._poll_s)
        while True:
            try:
                await self.watch()
                pause_s = float(self._poll_s)
            except RetrievalError as error:
                self._on_held_up(error)
                pause_s = min(RETRY_MAX_S, pause_s * 2)
                left_s = self._complain(error)
                if left_s is not None:
                    pause_s = min(pause_s, max(RETRY_MIN_S, left_s / ATTEMPTS_LEFT_MIN))
            await trio.sleep(pause_s)

    async def watch(self) -> None:
        """One look at every channel, and the claims it calls for. Raises ``RetrievalError`` when the chain, or gas, fails us."""
        async with self._turn:
            await self._look(self.accounts())
            self.looked_at = self._clock()
            lines = self.accounts()
            is_urgent = any(self._must_claim(line) for line in lines if claimable(line))
            if is_urgent or sum(map(claimable, lines)) >= max(1, self._claim_above):
                await self._claim(lines)

    async def claim(self, only: ChannelId | None = None) -> Claimed:
        """Claim what vouchers promise and settle it to the receiver: of all channels, or of one. Raises as ``watch``."""
        async with self._turn:
            lines = [line for line in self.accounts() if only is None or line.key == only]
            await self._look(lines)
            return await self._claim(lines)

    async def warn_without_gas(self) -> None:
        """Say so when the receiver could not pay for a claim. Raises ``RetrievalError``."""
        held = await trio.to_thread.run_sync(self._chain.native_balance, self._key.address)
        if held == 0:
            log.warning("%s has no gas money: what is earned cannot be claimed until it has some", format_address(self._key.address))

    def unclaimed(self) -> int:
        """What can be claimed, over all channels."""
        return sum(map(claimable, self.accounts()))

    def channels(self) -> list[ChannelId]:
        """The channels it settles."""
        return [ChannelId(line.key) for line in self.accounts()]

    def accounts(self) -> list[Account]:
        """What it claims from: lines and tabs that have a channel."""
        accounts: tuple[Account, ...] = (*self._books.lines.values(), *self._books.tabs.values())
        return [account for account in accounts if account.channel is not None]

    def _must_claim(self, line: Account) -> bool:
        """A withdrawal has begun, or a claim that was under way when the node went down was not finished."""
        assert line.channel is not None
        intent = fold.get(self._state, ClaimRecord, line.key)
        return line.channel.closing or (intent is not None and not intent.transaction)

    # looking

    async def _look(self, lines: Sequence[Account]) -> None:
        if not lines:
            return
        states = await self.lookout.look([ChannelId(line.key) for line in lines])
        records: list[Record] = []
        for line, state in zip(lines, states, strict=True):
            assert line.channel is not None
            seen = as_record(line.channel, state)
            if seen.closing and not line.channel.closing:
                log.warning("a withdrawal from channel %s has begun: no more credit, claiming now", line.key.hex())
            if seen.balance < min(line.best_amount, line.channel.balance):
                log.error(
                    "channel %s holds %d, and its voucher of %d cannot be claimed whole", line.key.hex(), seen.balance, line.best_amount
                )
            self._seen[line.key] = (self._clock(), state)
            records += self._books.channel_seen(line.key, seen, self._clock()).records
        await self._writer.commit_each(records)

    def _complain(self, error: RetrievalError) -> float | None:
        """Log that the chain failed us; returns the seconds after which a payer could have taken back what is not claimed yet."""
        owing = [line for line in self.accounts() if claimable(line)]
        if not owing:
            log.warning("settlement is held up, and nothing is waiting to be claimed: %s", error)
            return None
        left_s, delay_s = min(self._time_left_s(line) for line in owing)
        amount = sum(map(claimable, owing))
        level = logging.ERROR if left_s < delay_s / 2 else logging.WARNING
        log.log(
            level, "settlement is held up; %d is not claimed, and could be withdrawn in %d min: %s", amount, max(0, left_s) // 60, error
        )
        return left_s

    def _time_left_s(self, line: Account) -> tuple[float, int]:
        """How long until the payer could have withdrawn, for all we know, by the chain's own clock; and the channel's whole delay."""
        assert line.channel is not None
        delay_s = ChannelConfig.from_bytes(line.channel.config).withdraw_delay_s
        looked_at, state = self._seen.get(line.key, (self._started_at, None))
        passed_s = self._clock() - looked_at
        if not line.channel.closing:
            return delay_s - passed_s, delay_s  # one could have begun right after we looked
        return line.channel.withdraw_at - (state.block_timestamp if state else looked_at) - passed_s, delay_s

    # claiming

    async def _claim(self, lines: Sequence[Account]) -> Claimed:
        due = [line for line in lines if claimable(line)]
        claimed = Claimed()
        # One transaction a batch, so that the hash a claim is recorded with is that of the transaction it was in.
        for start in range(0, len(due), CLAIMS_PER_TRANSACTION):
            claimed += await self._claim_batch(due[start : start + CLAIMS_PER_TRANSACTION])
        return claimed

    async def _claim_batch(self, lines: list[Account]) -> Claimed:
        """Claim together; when the chain refuses that, one by one, so that one channel does not hold up the others."""
        try:
            return await self._claim_together(lines)
        except RetrievalError as error:
            if error.code is not ErrorCode.TRANSACTION_FAILED or len(lines) == 1:
                raise
            log.warning("a claim of %d channels was refused, claiming one by one: %s", len(lines), error)
        claimed, refusals = Claimed(), []
        for line in lines:
            try:
                claimed += await self._claim_together([line])
            except RetrievalError as error:
                log.error("channel %s cannot be claimed: %s", line.key.hex(), error)
                refusals.append(error)
        if refusals:
            raise refusals[0]
        return claimed

    async def _claim_together(self, lines: list[Account]) -> Claimed:
        claims = [_claim_of(line) for line in lines]
        intents = [ClaimRecord(amount=claim.total_claimed, transaction=b"", settled=0) for claim in claims]
        await self._writer.commit(
            record(line.key, intent)
            for line, intent in zip(lines, intents, strict=True)
            if fold.get(self._state, ClaimRecord, line.key) != intent  # an attempt that failed left the same intent behind
        )
        # The adapter's own deadlines bound it; a claim that was sent is recorded, whatever else is being ended.
        with trio.CancelScope(shield=True) as sending:
            done = await trio.to_thread.run_sync(lambda: self._chain.claim_and_settle(claims, sender=self._key))
            sending.deadline = trio.current_time() + RECORD_S
            last = done.transactions[-1] if done.transactions else b""
            await self._writer.commit(
                record(line.key, ClaimRecord(amount=claim.total_claimed, transaction=last, settled=done.settled))
                for line, claim in zip(lines, claims, strict=True)
            )
        log.info("claimed %d over %d channels, %d reached the receiver", done.claimed, len(lines), done.settled)
        claimed = Claimed(
            channels=tuple(line.key for line in lines), claimed=done.claimed, settled=done.settled, transactions=done.transactions
        )
        self._on_claimed(claimed)
        await self._look(lines)
        return claimed


def claimable(line: Account) -> int:
    """What a claim on this channel would still take: the best voucher's amount, as far as the contract holds it."""
    return max(0, min(line.best_amount, line.channel.balance) - line.channel.total_claimed) if line.channel else 0


def as_record(known: ChannelT, state: ChannelState) -> ChannelT:
    """A channel's record, brought in line with the chain."""
    finalizes_at = state.withdraw_finalizes_at(ChannelConfig.from_bytes(known.config))
    return replace(
        known,
        balance=state.balance,
        total_claimed=state.total_claimed,
        closing=finalizes_at is not None,
        withdraw_at=finalizes_at or 0,
    )


def _claim_of(line: Account) -> Claim:
    assert line.channel is not None
    assert line.best is not None
    return Claim(
        config=ChannelConfig.from_bytes(line.channel.config),
        voucher_amount=line.best.amount,
        signature=line.best.signature,
        total_claimed=min(line.best_amount, line.channel.balance),
    )
