"""Relays in a line, each hearing its neighbours only: the firmware in this process, its real driver, and a chip and an air in Python."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Final

import relay_library

from benchmarks.radio.air import Air, Transmission
from benchmarks.radio.chip import Sx1262
from benchmarks.radio.duty import Auditor
from benchmarks.radio.host import Host, Setup
from benchmarks.radio.host_machine import HostMachine, load
from benchmarks.radio.journal import Journal
from benchmarks.radio.links import Links
from benchmarks.radio.node import Node
from benchmarks.radio.timeline import Timeline
from retrieval.radio.packet import EVERYONE, Packet, PacketType, RadioId, check, radio_id

SECOND_US: Final = 1_000_000
BUSY: Final = 2  # among the pins of a step


class Board(HostMachine):
    """A board whose radio may hang: then BUSY stays high."""

    hangs = False

    def step(self, now_us: int, *, dio1: bool) -> int | None:
        if not self.hangs:
            return super().step(now_us, dio1=dio1)
        self._library.host_step(self._board, now_us, BUSY | dio1)
        return now_us + SECOND_US


class RelayLine:
    """The world of a test. ``heard[n]`` is what node n handed to its host."""

    def __init__(self, n_nodes: int, *, loss_db: int = 100, seed: int = 1) -> None:
        path = os.environ.get("RELAY_LIBRARY")
        self._library: Final = load(Path(path) if path else relay_library.FIRMWARE / "build" / "libtest.so")
        self.timeline: Final = Timeline()
        names = [f"n{number}" for number in range(n_nodes)]
        self.auditor: Final = Auditor()
        self.air: Final = Air(self.timeline, Links.line(names, loss_db=loss_db), Journal(self.timeline), self.auditor, seed=seed)
        self.machines: Final[dict[str, Board]] = {}
        self.sent: Final[list[Transmission]] = []
        self.air.on_sent = self.sent.append
        self.nodes: Final = [Node(self.air, name, self.build, seed=seed + number) for number, name in enumerate(names)]
        self.hosts: Final = [Host(node, self.timeline) for node in self.nodes]
        self.heard: Final[list[list[bytes]]] = [[] for _ in names]
        for host, heard in zip(self.hosts, self.heard):
            host.on_frame = heard.append
        self.ids: list[RadioId] = []

    def build(self, name: str, chip: Sx1262) -> Board:
        number = int(name[1:])
        made = self.machines[name] = Board(chip, seed=1000 + number, library=self._library)
        return made

    def set_up(self, **settings: Any) -> None:
        """Tell every node the same, each with an id of its own for its host; remembers the radio ids of those that have a key."""
        self.run(1)
        for number, host in enumerate(self.hosts):
            setup = Setup(**{"host_id": f"host{number:04}".encode(), "power_dbm": 14, **settings})
            key = host.set_up(setup)
            self.ids.append(radio_id(key) if key else EVERYONE)

    def run(self, seconds: float) -> None:
        self.timeline.run(self.timeline.now_us + int(seconds * SECOND_US))

    def sends(self, number: int, type_: PacketType | None = None) -> list[Packet]:
        """The packets that a node has sent, of one type or of all but adverts."""
        packets = [Packet.decode(one.payload) for one in self.sent if one.sender == f"n{number}" and not check(one.payload)]
        return [packet for packet in packets if packet.type is type_ or (type_ is None and packet.type is not PacketType.ADVERT)]

    def close(self) -> None:
        """End it; what a driver did that a chip would punish fails the test."""
        for node in self.nodes:
            node.close()
        assert [finding for node in self.nodes for finding in node.chip.findings] == []
