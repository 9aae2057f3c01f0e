"""A small air for the protocol's own tests: stations and relays in a row or a graph, airtime, loss by a seed, and no collisions.

The virtual air that firmware runs in is elsewhere; here only the protocol is looked at.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count, pairwise

from radio_relays import Relay

from retrieval.radio.airtime import Modulation, airtime_us
from retrieval.radio.codes import code16_up
from retrieval.radio.packet import Carriage, Hop, Packet, carriage, check
from retrieval.radio.station import Outgoing, Station, StationEvent

MODULATION = Modulation()


@dataclass
class RelayNode:
    """What the firmware does, by the specification."""

    relay: Relay
    forwarded: dict[bytes, tuple[int, int]] = field(default_factory=dict)

    def hear(self, frame: bytes, frame_s: float) -> bytes | None:
        if check(frame):
            return None
        packet = Packet.decode(frame)
        hop = Hop(relay=self.relay.id, fee_code=code16_up(self.relay.fee), latency_ms=int(frame_s * 1000), bandwidth_bps=547, mtu=255)
        price, (best, times) = code16_up(packet.price), self.forwarded.get(packet.hash, (1 << 16, 0))
        if carriage(packet, hop) is not Carriage.CARRIED or times == 3 or (times and (packet.direct or price >= best)):
            return None
        self.forwarded[packet.hash] = price, times + 1
        return self.relay.carry(packet).encode()


@dataclass
class StationNode:
    """A station, what it was told, and its disk."""

    station: Station
    on_event: Callable[[StationEvent], None] = lambda event: None
    commit: Callable[[tuple], None] = lambda records: None
    events: list[StationEvent] = field(default_factory=list)


class Air:
    """Time goes from one event to the next."""

    def __init__(self, *, seed: int = 1, loss: float = 0.0, start: float = 1_800_000_000.0) -> None:
        self.now = start
        self.nodes: dict[str, RelayNode | StationNode] = {}
        self.neighbours: dict[str, set[str]] = {}
        self.frames: list[tuple[float, str, bytes]] = []
        """Every transmission there was: when, by whom, what."""
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._order = count()
        self._free_at: dict[str, float] = {}
        self._random = random.Random(seed)
        self._loss = loss

    def line(self, *nodes: tuple[str, RelayNode | StationNode]) -> None:
        """Put nodes in a row: each hears its neighbours only."""
        for name, node in nodes:
            self.nodes[name] = node
            self.neighbours[name] = set()
        names = [name for name, _ in nodes]
        for left, right in pairwise(names):
            self.neighbours[left].add(right)
            self.neighbours[right].add(left)

    def run(self, seconds: float) -> None:
        """Let so much time pass, or less if nothing more would happen."""
        end = self.now + seconds
        while True:
            self._pull()
            due = min(
                [event[0] for event in self._events[:1]] + [due for due in map(self._due, self.nodes) if due is not None], default=end
            )
            if due >= end:
                break
            self.now = max(self.now, due)
            while self._events and self._events[0][0] <= self.now:
                heapq.heappop(self._events)[2]()
            for node in self.nodes.values():
                if isinstance(node, StationNode):
                    self._tell(node, node.station.tick(self.now))
        self.now = end

    def airtime_s(self) -> float:
        return sum(airtime_us(len(frame), MODULATION) for _, _, frame in self.frames) / 1e6

    def _due(self, name: str) -> float | None:
        node = self.nodes[name]
        due = node.station.next_deadline() if isinstance(node, StationNode) else None
        return None if due is None else max(due, self._free_at.get(name, 0.0))

    def _pull(self) -> None:
        for name, node in self.nodes.items():
            if not isinstance(node, StationNode):
                continue
            node.commit(node.station.take_records())
            while self._free_at.get(name, 0.0) <= self.now and (out := node.station.next_frame(self.now)) is not None:
                self._send(name, node, out)

    def _send(self, name: str, node: StationNode, out: Outgoing) -> None:
        node.commit(out.records)
        self._transmit(name, out.frame)

    def _transmit(self, name: str, frame: bytes) -> None:
        """After what it is sending now, and a random pause."""
        start = max(self.now, self._free_at.get(name, 0.0)) + self._random.uniform(0.0, 0.05)
        end = start + airtime_us(len(frame), MODULATION) / 1e6
        self._free_at[name] = end
        self.frames.append((start, name, frame))
        for other in sorted(self.neighbours[name]):
            if self._random.random() >= self._loss:
                heapq.heappush(self._events, (end, next(self._order), lambda other=other, s=end - start: self._hear(other, frame, s)))

    def _hear(self, name: str, frame: bytes, frame_s: float) -> None:
        node = self.nodes[name]
        if isinstance(node, StationNode):
            self._tell(node, node.station.hear(frame, self.now))
        elif (onward := node.hear(frame, frame_s)) is not None:
            self._transmit(name, onward)

    def _tell(self, node: StationNode, events: list[StationEvent]) -> None:
        for event in events:
            node.events.append(event)
            node.on_event(event)
