"""One provider process, one client process, one fetch: what every peer of the transfer benchmark has in common."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Final, Protocol

from benchmarks.processes import Worker, cpu_seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """One fetch. Times run from the request; the connection is part of it, the start of the processes is not."""

    n_bytes: int
    seconds: float
    """Until the call returned: everything is where the peer keeps it, verified and stored where it does so."""
    first_s: float | None
    """To the first byte of content; None where the peer does not say."""
    provider_cpu_s: float
    client_cpu_s: float
    stall_s: float = 0.0
    """The longest time without a verified block, where the peer says so."""
    paid: int = 0
    """In the token's smallest unit."""
    verified_s: float | None = None
    """To the last verified byte, where the peer says so; what it does after that makes it sure and tidy."""


class Peer(Protocol):
    """Something content can be fetched from and with."""

    def fetch(self) -> Fetched:
        """Fetch the whole content into an empty store, once."""
        ...


class Unavailable(Exception):
    """This peer cannot be measured here; the message says why."""


class WorkerPair:
    """A peer whose client is a worker of its own for every fetch, so that nothing is warm that a new user would find cold."""

    def __init__(
        self, provider_pid: int, start_client: Callable[[], AbstractContextManager[Worker]], command: Mapping[str, object]
    ) -> None:
        self._provider_pid: Final = provider_pid
        self._start_client: Final = start_client
        self._command: Final = command

    def fetch(self) -> Fetched:
        with self._start_client() as client:
            provider_before, client_before = cpu_seconds(self._provider_pid), cpu_seconds(client.pid)
            client.tell(**self._command)
            answer = client.hear()
            return Fetched(
                n_bytes=answer["n_bytes"],
                seconds=answer["seconds"],
                first_s=answer["first_s"],
                stall_s=answer.get("stall_s", 0.0),
                paid=answer.get("paid", 0),
                verified_s=answer.get("verified_s"),
                provider_cpu_s=cpu_seconds(self._provider_pid) - provider_before,
                client_cpu_s=cpu_seconds(client.pid) - client_before,
            )
