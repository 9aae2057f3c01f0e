"""Who is at the door: how many connections an address has, and how fast it asks.

Pure; belongs to one thread. Addresses count as IPv4 addresses and IPv6 /64s. A proxy in front is no guest: it is believed when it says
who asks (``X-Forwarded-For``), and no limit by address counts for it.

One rule: when there is no room, whoever has been idle for longest makes it, and who is at work is never sent away.
"""

from __future__ import annotations

import ipaddress
import re
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final, Protocol, TypeAlias

from retrieval.buckets import Buckets
from retrieval.errors import ErrorCode, LocalProtocolError, RemoteProtocolError
from retrieval.transport.libp2p.address import address_prefix

RETRY_AFTER_S: Final = 5
"""When who found no room may come back."""
FORWARDED_MAX: Final = 8
"""Proxies behind each other that are looked through."""
REQUEST_CPU_S: Final = 0.02
"""What one request may take of a processor: ten times what most take, and a fifth of what a page about a large folder does. So at a rate
of 1,200 a minute nobody has more than 0.4 of a core for long."""
UNKNOWN: Final = "?"
"""Whoever has no address, such as at a socket in a file."""

Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network

_NETWORK: Final = re.compile(r"/ip[46]/([0-9A-Fa-f.:]{1,45})(?:/ipcidr/([0-9]{1,3}))?")


class Guest(Protocol):
    """A connection."""

    def send_away(self) -> None:
        """End it at once."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Of one process."""

    connections_max: int
    connections_per_prefix_max: int
    requests_per_minute: int
    """Of one prefix; as many may come at once."""
    proxies: tuple[Network, ...]


ONE_MACHINE: Final = Limits(connections_max=256, connections_per_prefix_max=257, requests_per_minute=1_000_000, proxies=())
"""Where nearly all who come are this machine's, and so have one address. Its own limit is never met: whoever has been idle for longest
makes room. How fast they ask does not matter."""


class Guests:
    """Those who are connected, and those who were."""

    def __init__(self, limits: Limits, clock: Callable[[], float]) -> None:
        """``clock`` gives seconds."""
        self._limits: Final = limits
        self._clock: Final = clock
        self._places: Final[dict[Guest, str | None]] = {}
        """Under which prefix each counts; None for proxies."""
        self._by_prefix: Final[Counter[str]] = Counter()
        self._idle: Final[dict[Guest, None]] = {}
        """Those without a request, idle for longest first."""
        self._rates: Final[Buckets[str]] = Buckets(limits.requests_per_minute, limits.requests_per_minute)

    @property
    def n_connected(self) -> int:
        return len(self._places)

    def arrive(self, guest: Guest, address: str) -> None:
        """A connection was made, and is idle. Raises ``RemoteProtocolError(too_many_sessions)``, and then it is not counted."""
        limits = self._limits
        prefix = None if self._is_proxy(address) else prefix_of(address)
        if prefix is not None and self._by_prefix[prefix] >= limits.connections_per_prefix_max:
            raise _no_room(f"{limits.connections_per_prefix_max} connections of one address range")
        if len(self._places) >= limits.connections_max:
            if not self._idle:
                raise _no_room("over all clients")
            longest = next(iter(self._idle))
            self.leave(longest)
            longest.send_away()
        self._places[guest] = prefix
        if prefix is not None:
            self._by_prefix[prefix] += 1
        self._idle[guest] = None

    def leave(self, guest: Guest) -> None:
        """A connection ended, or never had a place."""
        self._idle.pop(guest, None)
        prefix = self._places.pop(guest, None)
        if prefix is not None:
            self._by_prefix[prefix] -= 1
            if not self._by_prefix[prefix]:
                del self._by_prefix[prefix]

    def work(self, guest: Guest) -> None:
        """It has a request that is being answered."""
        self._idle.pop(guest, None)

    def rest(self, guest: Guest) -> None:
        """Its request is answered."""
        if guest in self._places:
            self._idle[guest] = None

    def client(self, address: str, forwarded_for: str) -> str:
        """Who asks, where the connection is from ``address``: the last of those named that is no proxy."""
        for named in reversed(forwarded_for.split(",")[-FORWARDED_MAX:]):
            if not self._is_proxy(address):
                break
            named = named.strip()
            if not _is_address(named):
                break
            address = named
        return address

    def count_request(self, client: str) -> None:
        """Raises ``RemoteProtocolError(rate_limited)`` saying when to come back."""
        if self._is_proxy(client):
            return
        prefix, now = prefix_of(client), self._clock()
        wait_s = self._rates.wait_s(prefix, now)
        if wait_s:
            detail = f"{self._rates.per_minute} requests a minute of one address range are answered"
            raise RemoteProtocolError(ErrorCode.RATE_LIMITED, detail, retry_after_s=wait_s)
        self._rates.spend(prefix, now)

    def count_work(self, client: str, cpu_s: float) -> None:
        """A request took this much of a processor: what is more than ``REQUEST_CPU_S`` counts as further requests."""
        n_further = int(cpu_s / REQUEST_CPU_S)
        if n_further and not self._is_proxy(client):
            self._rates.spend(prefix_of(client), self._clock(), n_further)

    def forgive_request(self, client: str) -> None:
        """It was paid for, and so does not count."""
        if not self._is_proxy(client):
            self._rates.give_back(prefix_of(client), self._clock())

    def _is_proxy(self, address: str) -> bool:
        if not _is_address(address):
            return False
        found = ipaddress.ip_address(address)
        return any(found in network for network in self._limits.proxies)


def networks(multiaddrs: Iterable[str]) -> tuple[Network, ...]:
    """Addresses and ranges of them, as ``/ip4/192.0.2.1`` and ``/ip6/2001:db8::/ipcidr/32``. Raises ``LocalProtocolError(usage)``."""
    found: list[Network] = []
    for text in multiaddrs:
        form = _NETWORK.fullmatch(text)
        try:
            if form is None:
                raise ValueError(text)
            found.append(ipaddress.ip_network(form[1] if form[2] is None else f"{form[1]}/{form[2]}"))
        except ValueError as error:
            raise LocalProtocolError(ErrorCode.USAGE, f"{text} is no range of addresses; write it like /ip4/10.0.0.0/ipcidr/8") from error
    return tuple(found)


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def prefix_of(address: str) -> str:
    """What an IP address counts under."""
    return address_prefix(address) if _is_address(address) else UNKNOWN


def _no_room(why: str) -> RemoteProtocolError:
    return RemoteProtocolError(ErrorCode.TOO_MANY_SESSIONS, why, retry_after_s=RETRY_AFTER_S)
