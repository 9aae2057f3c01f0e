"""Trio. Settlement: watches channels on the chain, stops credit when a withdrawal begins, and claims before it is too late.

Never in the path of a retrieval. A claim is journalled before it is sent and again with its hash; repeating one does nothing twice, so a
node that dies in between claims again.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final

import trio

from retrieval.deal.books import ProviderBooks
from retrieval.deal.line import CreditLine
from retrieval.deal.records import ChannelRecord, ClaimRecord, record
from retrieval.errors import RetrievalError
from retrieval.identity import EvmKey
from retrieval.payment.chain import Chain, ChannelState, Claim
from retrieval.payment.channel import ChannelConfig, ChannelId
from retrieval.transport.writer import Clock, JournalWriter

log: Final = logging.getLogger("retrieval.settlement")

RETRY_MAX_S: Final = 300
"""Between attempts while the chain does not answer; doubled from one poll interval up to this."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claimed:
    """What a round of claims did, in the token's smallest unit."""

    n_channels: int
    claimed: int
    settled: int
    transactions: tuple[bytes, ...]


class Settler:
    """One provider's channels on one chain."""

    def __init__(
        self, chain: Chain, books: ProviderBooks, writer: JournalWriter, key: EvmKey, *, clock: Clock, poll_s: int, claim_above: int
    ) -> None:
        self._chain: Final = chain
        self._books: Final = books
        self._writer: Final = writer
        self._key: Final = key
        self._clock = clock
        self._poll_s: Final = poll_s
        self._claim_above: Final = claim_above
        self._turn: Final = trio.Lock()

    async def run(self) -> None:
        """Watch until cancelled. An RPC that is down is logged and asked again, ever less often."""
        pause_s = self._poll_s
        while True:
            await trio.sleep(pause_s)
            try:
                await self.watch()
                pause_s = self._poll_s
            except RetrievalError as error:
                pause_s = min(RETRY_MAX_S, pause_s * 2)
                log.warning("the chain could not be watched, trying again in %d s: %s", pause_s, error)

    async def watch(self) -> None:
        """One look at every channel, and the claims it calls for."""
        async with self._turn:
            await self._look(self._channel_lines())
            urgent = [line for line in self._channel_lines() if line.channel and line.channel.closing and self._unclaimed(line)]
            if urgent or sum(map(self._unclaimed, self._channel_lines())) >= max(1, self._claim_above):
                await self._claim(self._channel_lines())

    async def claim(self, only: ChannelId | None = None) -> Claimed:
        """Claim what vouchers promise and settle it to the receiver: all channels, or one."""
        async with self._turn:
            lines = [line for line in self._channel_lines() if only is None or line.key == only]
            return await self._claim(lines)

    def unclaimed(self) -> int:
        """What vouchers promise beyond what was claimed, over all channels."""
        return sum(map(self._unclaimed, self._channel_lines()))

    def _channel_lines(self) -> list[CreditLine]:
        return [line for line in self._books.lines.values() if line.channel is not None]

    def _unclaimed(self, line: CreditLine) -> int:
        return max(0, line.best_amount - line.channel.total_claimed) if line.channel else 0

    async def _look(self, lines: Sequence[CreditLine]) -> None:
        if not lines:
            return
        states = await trio.to_thread.run_sync(self._chain.channel_states, [ChannelId(line.key) for line in lines])
        for line, state in zip(lines, states, strict=True):
            await self._adopt(line, state)

    async def _adopt(self, line: CreditLine, state: ChannelState) -> None:
        assert line.channel is not None
        seen = _as_record(line.channel, state)
        if seen.closing and not line.channel.closing:
            log.warning("a withdrawal from channel %s has begun: no more credit, claiming now", line.key.hex())
        await self._writer.commit(self._books.channel_seen(line.key, seen, self._clock()).records)

    async def _claim(self, lines: Iterable[CreditLine]) -> Claimed:
        due = [line for line in lines if self._unclaimed(line)]
        claims, intents = [], []
        for line in due:
            assert line.channel is not None
            assert line.best is not None
            config = ChannelConfig.from_bytes(line.channel.config)
            best = line.best
            claims.append(Claim(config=config, voucher_amount=best.amount, signature=best.signature, total_claimed=best.amount))
            intents.append(record(line.key, ClaimRecord(amount=best.amount, transaction=b"", settled=0)))
        if not claims:
            return Claimed(n_channels=0, claimed=0, settled=0, transactions=())
        await self._writer.commit(intents)
        with trio.CancelScope(shield=True):  # bounded by the adapter's own deadline; a claim that was sent is recorded
            done = await trio.to_thread.run_sync(lambda: self._chain.claim_and_settle(claims, sender=self._key))
        last = done.transactions[-1] if done.transactions else b""
        results = [
            record(line.key, ClaimRecord(amount=claim.total_claimed, transaction=last, settled=done.settled))
            for line, claim in zip(due, claims, strict=True)
        ]
        await self._writer.commit(results)
        await self._look(due)
        log.info("claimed %d over %d channels, %d reached the receiver", done.claimed, len(due), done.settled)
        return Claimed(n_channels=len(due), claimed=done.claimed, settled=done.settled, transactions=done.transactions)


def _as_record(known: ChannelRecord, state: ChannelState) -> ChannelRecord:
    finalizes_at = state.withdraw_finalizes_at(ChannelConfig.from_bytes(known.config))
    return replace(
        known,
        balance=state.balance,
        total_claimed=state.total_claimed,
        closing=finalizes_at is not None,
        withdraw_at=finalizes_at or 0,
    )
