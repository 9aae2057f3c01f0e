"""One provider process, one client process, one fetch: what every peer of the transfer benchmark has in common.

Its rule: every fetch finds the same disk. The client's store does not exist before it and is deleted after it, what other fetches wrote
has reached the disk or is gone, and what the provider serves lies in the page cache.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from benchmarks.processes import Worker, cpu_seconds
from retrieval.units import MIB

WARM_UP_BYTES: Final = MIB


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
    synced_s: float | None = None
    """From then until the disk had it all too; None where the peer stores nothing."""
    stall_s: float = 0.0
    """The longest time without a verified block, where the peer says so."""
    paid: int = 0
    """In the token's smallest unit."""
    verified_s: float | None = None
    """To the last verified byte, where the peer says so; what it does after that makes it sure and tidy."""


class Peer(Protocol):
    """Something content can be fetched from and with."""

    def fetch(self) -> Fetched:
        """Fetch the whole content into an empty store, once, and delete it."""
        ...


class Unavailable(Exception):
    """This peer cannot be measured here; the message says why."""


class WorkerPair:
    """A peer whose client is a worker of its own for every fetch, so that nothing is warm that a new user would find cold."""

    def __init__(
        self,
        provider_pid: int,
        start_client: Callable[[], AbstractContextManager[Worker]],
        command: Mapping[str, object],
        *,
        stored_in: Path | None = None,
    ) -> None:
        """``stored_in`` is the folder or file that the client writes what it fetched to, where it does."""
        self._provider_pid: Final = provider_pid
        self._start_client: Final = start_client
        self._command: Final = command
        self._stored_in: Final = stored_in

    def fetch(self) -> Fetched:
        prepare(self._stored_in)
        with self._start_client() as client:
            provider_before, client_before = cpu_seconds(self._provider_pid), cpu_seconds(client.pid)
            client.tell(**self._command)
            answer = client.hear()
            provider_cpu_s, client_cpu_s = cpu_seconds(self._provider_pid) - provider_before, cpu_seconds(client.pid) - client_before
            synced_s = sync(self._stored_in)
        delete(self._stored_in)
        return Fetched(
            n_bytes=answer["n_bytes"],
            seconds=answer["seconds"],
            first_s=answer["first_s"],
            synced_s=synced_s,
            stall_s=answer.get("stall_s", 0.0),
            paid=answer.get("paid", 0),
            verified_s=answer.get("verified_s"),
            provider_cpu_s=provider_cpu_s,
            client_cpu_s=client_cpu_s,
        )


def prepare(stored_in: Path | None) -> None:
    """Before a fetch: nothing is stored there, and no write of an earlier fetch is still under way."""
    delete(stored_in)
    os.sync()


def warm_up(served_from: Path) -> None:
    """Before the first fetch: what a provider serves lies in the page cache, also where it was written around it."""
    for path in filter(Path.is_file, served_from.rglob("*")):
        with path.open("rb", buffering=0) as file:
            piece = bytearray(WARM_UP_BYTES)
            while file.readinto(piece):
                pass


def sync(stored_in: Path | None) -> float | None:
    """Have the disk take every file there; returns how long that took."""
    if stored_in is None:
        return None
    began = time.perf_counter()
    for path in [stored_in] if stored_in.is_file() else filter(Path.is_file, stored_in.rglob("*")):
        file = os.open(path, os.O_RDONLY)
        os.fdatasync(file)
        os.close(file)
    return time.perf_counter() - began


def delete(stored_in: Path | None) -> None:
    """After a fetch: its pages and its room on the disk are free again."""
    if stored_in is None:
        return
    if stored_in.is_dir():
        shutil.rmtree(stored_in)
    else:
        stored_in.unlink(missing_ok=True)
