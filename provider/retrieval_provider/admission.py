"""Admission: how many sessions and queries one client may have, before any of them costs us something."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, TypeVar

from retrieval.buckets import Buckets
from retrieval.errors import ErrorCode, RemoteProtocolError
from retrieval.units import ceil_div

from .config import Serve

K = TypeVar("K")

BURST_MIN: Final = 10
"""A peer, a prefix or all may have this many queries at once, and where it is more a tenth of a minute's."""
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


class QueryRates:
    """Limits queries a minute of one peer, of one address prefix and in all, since a peer id costs nothing to make."""

    def __init__(self, limits: Serve) -> None:
        self._of_peer: Final = _buckets(limits.queries_per_minute)
        self._of_prefix: Final = _buckets(limits.queries_per_minute_prefix)
        self._of_all: Final = _buckets(limits.queries_per_minute_total)

    def admit(self, peer: bytes, prefix: str | None, now: float) -> None:
        """Count a query. Raises ``RemoteProtocolError(rate_limited)`` saying when to come back."""
        limits = (
            (self._of_peer, peer, "of one peer"),
            (self._of_prefix, prefix or "?", "of one address range"),
            (self._of_all, "", "in all"),
        )
        for buckets, key, whose in limits:
            wait_s = buckets.wait_s(key, now)
            if wait_s:
                detail = f"{buckets.per_minute} queries a minute {whose} are answered"
                raise RemoteProtocolError(ErrorCode.RATE_LIMITED, detail, retry_after_s=wait_s)
        for buckets, key, _ in limits:
            buckets.spend(key, now)


def _buckets(per_minute: int) -> Buckets[bytes | str]:
    return Buckets(per_minute, max(BURST_MIN, ceil_div(per_minute, 10)))


def _too_many(where: str) -> RemoteProtocolError:
    return RemoteProtocolError(ErrorCode.TOO_MANY_SESSIONS, where, retry_after_s=RETRY_AFTER_S)


def _uncount(counter: Counter[K], key: K) -> None:
    counter[key] -= 1
    if not counter[key]:
        del counter[key]
