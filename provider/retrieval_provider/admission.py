"""Admission: how many sessions and queries one client may have, before any of them costs us something."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, TypeVar

from retrieval.errors import ErrorCode, RemoteProtocolError
from retrieval.units import ceil_div

from .config import Serve

K = TypeVar("K")

BUCKETS_MAX: Final = 10_000
"""Peers whose query rate is remembered; the one not seen for longest is forgotten first."""
RETRY_AFTER_S: Final = 5


class SessionLimits:
    """Counts open sessions in total, by peer id and by address prefix. A stranger costs a place before it costs anything else."""

    def __init__(self, limits: Serve) -> None:
        self._limits = limits
        self._n_open = 0
        self._by_peer: Counter[bytes] = Counter()
        self._by_prefix: Counter[str] = Counter()

    @contextmanager
    def admit(self, peer: bytes, prefix: str | None) -> Iterator[None]:
        """Hold a place while the session lasts. Raises ``RemoteProtocolError(too_many_sessions)``."""
        limits, place = self._limits, prefix or "?"
        if self._n_open >= limits.sessions_max:
            raise _too_many("over all clients")
        if self._by_peer[peer] >= limits.sessions_per_peer_max:
            raise _too_many("of this peer")
        if self._by_prefix[place] >= limits.sessions_per_prefix_max:
            raise _too_many("of this address range")
        self._n_open += 1
        self._by_peer[peer] += 1
        self._by_prefix[place] += 1
        try:
            yield
        finally:
            self._n_open -= 1
            _uncount(self._by_peer, peer)
            _uncount(self._by_prefix, place)


class QueryRate:
    """A token bucket a peer: bursts of a tenth of a minute's queries, refilled steadily."""

    def __init__(self, queries_per_minute: int) -> None:
        self._per_minute = queries_per_minute
        self._burst = max(10, ceil_div(queries_per_minute, 10))
        self._spent: dict[bytes, tuple[float, float]] = {}

    def admit(self, peer: bytes, now: float) -> None:
        """Count a query. Raises ``RemoteProtocolError(rate_limited)`` saying when to come back."""
        spent, since = self._spent.pop(peer, (0.0, now))
        spent = max(0.0, spent - (now - since) * self._per_minute / 60)
        if spent + 1 > self._burst:
            self._spent[peer] = (spent, now)
            raise RemoteProtocolError(
                ErrorCode.RATE_LIMITED, f"{self._per_minute} queries a minute are answered", retry_after_s=RETRY_AFTER_S
            )
        self._spent[peer] = (spent + 1, now)
        while len(self._spent) > BUCKETS_MAX:
            self._spent.pop(next(iter(self._spent)))


def _too_many(where: str) -> RemoteProtocolError:
    return RemoteProtocolError(ErrorCode.TOO_MANY_SESSIONS, where, retry_after_s=RETRY_AFTER_S)


def _uncount(counter: Counter[K], key: K) -> None:
    counter[key] -= 1
    if not counter[key]:
        del counter[key]
