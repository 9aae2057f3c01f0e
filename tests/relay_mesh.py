"""Real firmware in simulated air, for tests: places, boards, and what their hosts say first."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from firmware_build import require

from benchmarks.radio.boards import Board
from benchmarks.radio.host import Host, Setup
from benchmarks.radio.links import Links
from benchmarks.radio.simulation import Simulation
from benchmarks.radio.timeline import SECOND_US
from retrieval.identity import PeerKey, peer_id_of, public_key_of
from retrieval.radio.codes import code16_up
from retrieval.radio.packet import EVERYONE, Entry, Packet, PacketType, RadioId, first_token, next_token, radio_id
from retrieval.radio.proof import RelayReceipt

TRAIL_KEY = b"the trail key of a client in test"


@dataclass(slots=True)
class End:
    """A computer with a key of its own behind a node: what it heard, and how it sends."""

    key: PeerKey
    host: Host
    heard: list[Packet] = field(default_factory=list)
    sent: list[Packet] = field(default_factory=list)

    @property
    def id(self) -> RadioId:
        return radio_id(public_key_of(self.key.peer_id))

    def of(self, type_: PacketType) -> list[Packet]:
        return [packet for packet in self.heard if packet.type is type_]

    def flood(
        self, payload: bytes, *, to: RadioId = EVERYONE, type_: PacketType = PacketType.WANT, fee_cap: int = 1000, hop_limit: int = 5
    ) -> Packet:
        return self._send(self.packet(payload, to=to, type_=type_, fee_cap=fee_cap, hop_limit=hop_limit))

    def answer(self, flood: Packet, payload: bytes, *, type_: PacketType = PacketType.QUOTE) -> Packet:
        """Direct, over the reversed trail of what came, for the fees it asked."""
        trail = tuple(reversed(flood.trail))
        return self._send(
            self.packet(payload, to=flood.origin, type_=type_, fee_cap=sum(entry.fee for entry in trail), hop_limit=len(trail), trail=trail)
        )

    def packet(
        self, payload: bytes, *, to: RadioId, type_: PacketType, fee_cap: int, hop_limit: int, trail: tuple[Entry, ...] | None = None
    ) -> Packet:
        packet = Packet(
            type=type_, direct=trail is not None, hop_limit=hop_limit, packet_id=len(self.sent) + 1, origin=self.id, destination=to,
            fee_cap_code=code16_up(fee_cap), payload=payload, hops=0, latency_code=0, bandwidth_code=0xFF, mtu=0xFF, token=bytes(8),
            trail=trail or (),
        )  # fmt: skip
        return replace(packet, token=first_token(TRAIL_KEY, packet.hash))

    def _send(self, packet: Packet) -> Packet:
        self.sent.append(packet)
        self.host.send(packet.encode())
        return packet


@dataclass(slots=True)
class RelayMesh:
    """A running mesh. ``ends`` have computers with keys of their own, ``relays`` only carry."""

    simulation: Simulation
    ends: dict[str, End]
    relays: dict[str, bytes]
    """Public keys."""
    fees: dict[str, int]

    def run(self, seconds: float) -> None:
        timeline = self.simulation.timeline
        timeline.run(timeline.now_us + round(seconds * SECOND_US))

    def run_until(self, done: Callable[[], bool], *, limit_s: float) -> bool:
        timeline = self.simulation.timeline
        return timeline.run_until(done, timeline.now_us + round(limit_s * SECOND_US))

    def id_of(self, relay: str) -> RadioId:
        return radio_id(self.relays[relay])

    def tag_of(self, relay: str) -> bytes:
        return self.id_of(relay)[:4]

    def receipts(self, relay: str) -> list[RelayReceipt]:
        """What that relay's host holds, each checked."""
        peer = peer_id_of(self.relays[relay])
        return [RelayReceipt.read(signed, peer) for signed in self.simulation.hosts[relay].receipts.values()]

    def token_over(self, packet: Packet, *relays: str) -> bytes:
        """The token that is due after these relays, in their order."""
        token = first_token(TRAIL_KEY, packet.hash)
        for relay in relays:
            token = next_token(token, packet.hash, self.id_of(relay), self.fees[relay])
        return token


@contextmanager
def relay_mesh(
    links: Links, boards: Mapping[str, Board], *, seed: int = 1, fees: Mapping[str, int] | None = None, setup: Setup | None = None
) -> Iterator[RelayMesh]:
    """Nodes called r… are relays, all others ends. Relays ask 11, 12, 13, … unless ``fees`` says otherwise. Skips what cannot run."""
    require(*boards.values())
    base = setup or Setup()
    with Simulation(links, seed=seed) as simulation:
        ends: dict[str, End] = {}
        setups: dict[str, Setup] = {}
        asked = dict(fees or {})
        for number, (name, board) in enumerate(boards.items()):
            host = simulation.add(name, board)
            if name.startswith("r"):
                asked.setdefault(name, 10 + number)
                setups[name] = replace(base, carries=True, fee_code=code16_up(asked[name]))
            else:
                end = ends[name] = End(PeerKey.from_seed(bytes((number + 1,)) * 32), host)
                host.on_frame = lambda frame, end=end: end.heard.append(Packet.decode(frame))  # type: ignore[misc]
                setups[name] = replace(base, carries=False, host_id=end.id)
        keys = simulation.boot(setups)
        yield RelayMesh(simulation, ends, {name: key for name, key in keys.items() if name not in ends}, asked)
