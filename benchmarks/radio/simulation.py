"""One run: an air, its nodes and the computers behind them, all of it from one seed.

The rule: nothing is left running when the block ends, and nothing the chip's model found is forgotten on the way.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from functools import partial
from types import TracebackType
from typing import Final

from benchmarks.radio import boards
from benchmarks.radio.air import Air
from benchmarks.radio.boards import Board
from benchmarks.radio.c3_machine import C3Machine
from benchmarks.radio.chip import Sx1262
from benchmarks.radio.duty import Auditor
from benchmarks.radio.flash import Flash
from benchmarks.radio.host import Host, Setup
from benchmarks.radio.journal import Journal
from benchmarks.radio.links import Links
from benchmarks.radio.node import Machine, Node
from benchmarks.radio.qemu_machine import QemuMachine
from benchmarks.radio.survey import Census
from benchmarks.radio.timeline import SECOND_US, Timeline

BOOT_US: Final = SECOND_US
"""Until every node has made its key, and its host may speak."""


class Simulation:
    """A context manager; its machines end with it."""

    def __init__(
        self,
        links: Links,
        *,
        seed: int = 1,
        region: str = "EU868",
        losses_per_10_000: Mapping[tuple[str, str], int] | int = 0,
        keep_log: bool = True,
        watch: Callable[[str], None] | None = None,
    ) -> None:
        self.timeline: Final = Timeline()
        self.journal: Final = Journal(self.timeline, keep=keep_log, watch=watch)
        self.auditor: Final = Auditor(region)
        self.air: Final = Air(self.timeline, links, self.journal, self.auditor, seed=seed, losses_per_10_000=losses_per_10_000)
        self.census: Final = Census()
        self.air.on_sent = self.census.sent
        self.nodes: Final[dict[str, Node]] = {}
        self.hosts: Final[dict[str, Host]] = {}
        self._seed: Final = seed

    def __enter__(self) -> Simulation:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for node in self.nodes.values():
            node.close()

    def add(self, name: str, board: Board = "host") -> Host:
        """A node of that board, and the computer behind it."""
        node = Node(self.air, name, partial(self._start, board), seed=self._seed_of(name, "chip"))
        self.nodes[name] = node
        self.hosts[name] = Host(node, self.timeline)
        return self.hosts[name]

    def boot(self, setups: Mapping[str, Setup]) -> dict[str, bytes]:
        """Let every node start, and tell it what it is. Returns the nodes' public keys."""
        self.timeline.run(self.timeline.now_us + BOOT_US)
        return {name: self.hosts[name].set_up(setup) for name, setup in setups.items()}

    def findings(self) -> list[str]:
        """What real chips would have punished."""
        return [finding for node in self.nodes.values() for finding in (*node.chip.findings, *findings_of(node.machine))]

    def _start(self, board: Board, name: str, chip: Sx1262) -> Machine:
        return boards.start(board, chip, seed=self._seed_of(name, "board"))

    def _seed_of(self, name: str, part: str) -> int:
        """Alike in every process, and unlike for every name."""
        return zlib.crc32(f"{self._seed} {part} {name}".encode())


def findings_of(machine: Machine) -> list[str]:
    """Those of the board's own model, where it has one."""
    flash: Flash | None = machine.flash if isinstance(machine, QemuMachine | C3Machine) else None
    return [*(machine.peripherals.findings if isinstance(machine, C3Machine) else ()), *(flash.findings if flash else ())]
