"""Trio. Whether this provider can serve and be paid: a few checks, each with a state and a sentence for whoever has to mend it.

What they say is for anybody on this machine: nothing of what is earned, and no paths; what there is for gas, the chain tells anybody.
Looking costs little and ends: a check has two seconds, whatever it looks at hangs or not, and what was found is good for a few seconds,
whoever asks how often.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

import trio

from retrieval.console import show_duration, show_size
from retrieval.errors import RetrievalError
from retrieval.home import Home
from retrieval.identity import EvmAddress, format_address
from retrieval.store.blocks import BlockStore
from retrieval.transport.writer import JournalWriter
from retrieval.units import format_amount

from ..config import ProviderSettings
from ..settlement import Settler, claimable

if TYPE_CHECKING:
    from ..http.workers import Worker

T = TypeVar("T")
E = TypeVar("E", bound=Exception)

CHECK_S: Final = 2.0
KEPT_S: Final = 3.0
CALLS_MAX: Final = 4
"""Threads that looks at one thing may have: those that hang stay, no more are added, and what else there is can still be looked at."""
COMMIT_DUE_S: Final = 5.0
"""A commit that takes longer holds every client up."""
SILENT_S: Final = 15.0
"""A process that serves HTTP says something every two seconds: one that is silent for so long stands still, whoever is connected to it."""
LOOKS_MISSED_MAX: Final = 4
"""Polls of the chain that may fail before what is known of the channels counts as old."""
PROBE: Final = bytes(4096)
ETHER_DECIMALS: Final = 18


class State(Enum):
    OK = "ok"
    WARNING = "warning"
    """It serves, and somebody should look."""
    FAILING = "failing"


@dataclass(frozen=True, slots=True)
class Finding:
    state: State
    says: str


class ChainPort(Protocol):
    """What is asked of the chain. Raises ``RetrievalError``."""

    def block_number(self) -> int: ...
    def native_balance(self, owner: EvmAddress) -> int: ...


Check = Callable[[], Awaitable[Finding]]


class Health:
    """The checks of one node."""

    def __init__(self, checks: Mapping[str, Check]) -> None:
        self._checks: Final = checks
        self._turn: Final = trio.Lock()
        self._looked_at = -KEPT_S
        self._found: dict[str, Finding] = {}

    async def look(self) -> dict[str, Finding]:
        """What each check finds, in their order; at most ``KEPT_S`` old."""
        async with self._turn:
            if trio.current_time() - self._looked_at >= KEPT_S or len(self._found) < len(self._checks):
                async with trio.open_nursery() as nursery:
                    for name, check in self._checks.items():
                        nursery.start_soon(self._run, name, check)
                self._looked_at = trio.current_time()
        return {name: self._found[name] for name in self._checks}

    async def _run(self, name: str, check: Check) -> None:
        found = Finding(State.FAILING, f"it could not be told within {CHECK_S:g} s")
        with trio.move_on_after(CHECK_S):
            found = await check()
        self._found[name] = found


def is_ready(found: Mapping[str, Finding]) -> bool:
    """Whether nothing is failing."""
    return all(each.state is not State.FAILING for each in found.values())


def to_json(found: Mapping[str, Finding]) -> dict[str, Any]:
    """The body of ``/readyz``."""
    return {"ready": is_ready(found), "checks": {name: {"state": each.state.value, "says": each.says} for name, each in found.items()}}


class Checks:
    """What a node's checks look at."""

    def __init__(
        self,
        home: Home,
        settings: ProviderSettings,
        *,
        store: BlockStore,
        writer: JournalWriter,
        settler: Settler | None,
        chain: ChainPort | None,
        receiver: EvmAddress | None,
        addresses: tuple[str, ...],
        workers: tuple[Worker, ...],
        clock: Callable[[], float],
    ) -> None:
        """``settler``, ``chain`` and ``receiver`` are None where nothing is sold."""
        self._home: Final = home
        self._settings: Final = settings
        self._store: Final = store
        self._writer: Final = writer
        self._settler: Final = settler
        self._chain: Final = chain
        self._receiver: Final = receiver
        self._addresses: Final = addresses
        self._workers: Final = workers
        self._clock: Final = clock
        self._disk_calls: Final = trio.CapacityLimiter(CALLS_MAX)
        self._chain_calls: Final = trio.CapacityLimiter(CALLS_MAX)
        self._head: int | None = None
        self._looked_at: float | None = None
        self._block_of_look = 0
        self.chain_lag_blocks: int | None = None
        """Blocks that the chain was ahead of our last look at the channels, as of the last check; None where that could not be told."""

    def all(self) -> dict[str, Check]:
        return {"store": self.storage, "listeners": self.listeners, "journal": self.journal, "chain": self.chain, "funds": self.funds}

    async def storage(self) -> Finding:
        """Both stores can be written to, and there is room."""
        folders = (self._home.blocks_path, self._home.state_path)
        free = await _call(self._disk_calls, lambda: min(map(_free_bytes, folders)), OSError)
        if isinstance(free, OSError):
            return Finding(State.FAILING, f"nothing can be written ({free.strerror or free}): see to the disk of this home")
        wanted = self._settings.operator.free_space_min
        if free < wanted:
            return Finding(State.FAILING, f"{show_size(free)} of disk space are free, and {show_size(wanted)} should be; free some")
        used, limit = self._store.bytes_used(), self._store.bytes_max
        held = f"{show_size(used)} of {show_size(limit)} are used, {show_size(free)} of disk space are free"
        return Finding(State.WARNING if used * 10 >= limit * 9 else State.OK, held)

    async def listeners(self) -> Finding:
        """Clients can come in at every door that is meant to be open."""
        if not self._addresses:
            return Finding(State.FAILING, "nothing listens for libp2p")
        if not self._workers:
            return Finding(State.OK, f"libp2p listens at {_count(len(self._addresses), 'address', 'es')}; there is no HTTP gateway")
        living = [worker for worker in self._workers if worker.lives]
        heard = [worker for worker in living if trio.current_time() - worker.heard_at <= SILENT_S]
        addresses = _count(len(self._addresses), "address", "es")
        says = f"libp2p listens at {addresses}; {len(heard)} of {len(self._workers)} HTTP processes serve"
        if len(heard) == len(self._workers):
            return Finding(State.OK, says)
        if len(heard) < len(living):
            return Finding(
                State.FAILING, f"{says}: one has said nothing for {show_duration(SILENT_S)}; end it, and another takes its place"
            )
        return Finding(State.FAILING, f"{says}: what fell is started again, and the log says how it ended")

    async def journal(self) -> Finding:
        """Payments reach the disk."""
        since = self._writer.busy_since
        if since is not None and (waited_s := trio.current_time() - since) > COMMIT_DUE_S:
            return Finding(State.FAILING, f"a commit has been under way for {show_duration(waited_s)}: the disk hangs, or is very slow")
        return Finding(State.OK, f"{self._writer.head_sequence:,} entries, all of them on disk")

    async def chain(self) -> Finding:
        """The chain answers, and what we know of the channels is fresh."""
        if self._settler is None or self._chain is None:
            return Finding(State.OK, "nothing is sold, so none is needed")
        self.chain_lag_blocks = None
        head = await _call(self._chain_calls, self._chain.block_number, RetrievalError)
        if isinstance(head, RetrievalError):
            return Finding(State.FAILING, f"it does not answer ({head}); see to the RPC in chain.rpc")
        looked_at = self._settler.looked_at
        if looked_at != self._looked_at:  # it was looked at since the last check, so not before the block that was the newest then
            self._looked_at, self._block_of_look = looked_at, head if self._head is None else self._head
        self._head = head
        self.chain_lag_blocks = head - self._block_of_look
        age_s = self._clock() - looked_at
        says = f"block {head:,}; the channels were looked at {show_duration(max(0.0, age_s))} ago"
        if age_s > LOOKS_MISSED_MAX * self._settings.chain.poll:
            return Finding(State.FAILING, f"{says}, and should be every {show_duration(self._settings.chain.poll)}; the log says why not")
        return Finding(State.OK, says)

    async def funds(self) -> Finding:
        """Claims can be sent, and no money is about to go back to a payer."""
        if self._settler is None or self._chain is None or self._receiver is None:
            return Finding(State.OK, "nothing is sold, so none are needed")
        chain, receiver = self._chain, self._receiver
        wei = await _call(self._chain_calls, lambda: chain.native_balance(receiver), RetrievalError)
        if isinstance(wei, RetrievalError):
            return Finding(State.FAILING, "the chain does not tell what is there to pay for claims")
        if wei == 0:
            return Finding(State.FAILING, f"no gas money, so nothing can be claimed: send some to {format_address(receiver)}")
        leaving = [line for line in self._settler.accounts() if line.channel is not None and line.channel.closing and claimable(line)]
        if leaving:
            channels = _count(len(leaving), "channel")
            return Finding(State.WARNING, f"something in {channels} must be claimed before the payer can take it back")
        return Finding(State.OK, f"{_short(format_amount(wei, decimals=ETHER_DECIMALS, symbol='ETH'))} to pay for claims")


async def _call(limiter: trio.CapacityLimiter, ask: Callable[[], T], refusal: type[E]) -> T | E:
    """``ask`` in a thread, which is left behind when it hangs; that it is refused is an answer too."""

    def attempt() -> T | E:
        try:
            return ask()
        except refusal as error:
            return error

    return await trio.to_thread.run_sync(  # type: ignore[call-arg]  # mypy loses what stands behind *args
        attempt, abandon_on_cancel=True, limiter=limiter
    )


def _free_bytes(folder: Path) -> int:
    """Room for this user on the disk of a folder, which can be written to. Raises ``OSError``."""
    with tempfile.TemporaryFile(dir=folder) as probe:
        probe.write(PROBE)
        probe.flush()
    disk = os.statvfs(folder)
    return disk.f_bavail * disk.f_frsize


def _count(n: int, noun: str, plural: str = "s") -> str:
    return f"{n:,} {noun}" + ("" if n == 1 else plural)


def _short(amount: str) -> str:
    """Gas to four places: what a claim costs is not told in wei."""
    number, _, symbol = amount.partition(" ")
    whole, _, fraction = number.partition(".")
    return f"{whole}.{fraction[:4]} {symbol}"
