"""Trio. Looks at channels on the chain.

One rule: looks take turns, and whoever waits meanwhile shares the next one. So an older sight never overwrites a newer one, and
a crowd that presents channels costs one call to the chain at a time, not one thread each.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import trio

from retrieval.errors import RetrievalError
from retrieval.payment.chain import Chain, ChannelState
from retrieval.payment.channel import ChannelId


@dataclass(slots=True, eq=False)
class _Waiting:
    channel_ids: tuple[ChannelId, ...]
    seen: list[ChannelState] | None = None
    error: RetrievalError | None = None


class Lookout:
    """One provider's eyes on one chain."""

    def __init__(self, chain: Chain, *, confirmations: int) -> None:
        self._chain: Final = chain
        self._confirmations: Final = confirmations
        self._turn: Final = trio.Lock()
        self._queue: list[_Waiting] = []

    async def look(self, channel_ids: Sequence[ChannelId]) -> list[ChannelState]:
        """The state of each channel, in the order asked: deposits that lie ``confirmations`` deep, everything else as of now.

        Adopt what it says before the next await. Raises ``RetrievalError``: ``rpc_unavailable``, ``wrong_chain``.
        """
        waiting = _Waiting(tuple(channel_ids))
        self._queue.append(waiting)
        async with self._turn:
            if waiting.seen is None and waiting.error is None:
                await self._look_for_all()
        if waiting.error is not None:
            raise waiting.error
        assert waiting.seen is not None
        return waiting.seen

    async def _look_for_all(self) -> None:
        batch, self._queue = self._queue, []
        wanted = list(dict.fromkeys(channel_id for waiting in batch for channel_id in waiting.channel_ids))
        with trio.CancelScope(shield=True):  # others wait for this look too; the adapter's own deadline bounds it
            try:
                states = await trio.to_thread.run_sync(self._read, wanted)
            except RetrievalError as error:
                for waiting in batch:
                    waiting.error = error
                return
        found = dict(zip(wanted, states, strict=True))
        for waiting in batch:
            waiting.seen = [found[channel_id] for channel_id in waiting.channel_ids]

    def _read(self, channel_ids: list[ChannelId]) -> list[ChannelState]:
        if not channel_ids:
            return []
        newest = self._chain.channel_states(channel_ids)
        if not self._confirmations:
            return newest
        # A deposit counts once it is buried; a withdrawal that has begun counts at once.
        buried = self._chain.channel_states(channel_ids, confirmations=self._confirmations)
        return [replace(now, balance=min(now.balance, before.balance)) for now, before in zip(newest, buried, strict=True)]
