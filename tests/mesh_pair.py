"""A client and a provider that buy and sell over real firmware: both machines, both journals, both stations, and relays on any board."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from firmware_build import require
from pair import ClientParty, Pair, Prices
from radio_air import StationNode
from radio_pair import RadioPair
from radio_relays import DOMAIN, TRAIL_KEY

from benchmarks.radio.boards import Board
from benchmarks.radio.endpoint import EPOCH_S, Endpoint
from benchmarks.radio.host import Setup
from benchmarks.radio.links import Links
from benchmarks.radio.simulation import Simulation
from benchmarks.radio.timeline import SECOND_US
from retrieval.deal import fold
from retrieval.deal.records import CarriageRecord
from retrieval.deal.step import Step
from retrieval.identity import PeerId, peer_id_of, public_key_of
from retrieval.radio.account import Claim, RelayAccount, Tables, take_payment
from retrieval.radio.codes import code16_up
from retrieval.radio.packet import Packet, PacketType, RadioId, radio_id
from retrieval.radio.proof import RelayReceipt
from retrieval.radio.station import Station, StationEvent, StationSettings

RELAYS = ("r1", "r2", "r3")
LINE = ("client", *RELAYS, "provider")
ADVERTS_S = 180.0
"""Until every relay has said who it is, over and over if need be."""


class SimulatedAir:
    """What ``RadioPair`` wants of an air, over firmware."""

    def __init__(self, simulation: Simulation) -> None:
        self.simulation = simulation
        self.ends: list[Endpoint] = []

    @property
    def now(self) -> float:
        return EPOCH_S + self.simulation.timeline.now_us / SECOND_US

    def run(self, seconds: float) -> None:
        for end in self.ends:
            end.move()  # what the test had a station say in the meantime
        self.simulation.timeline.run(self.simulation.timeline.now_us + round(seconds * SECOND_US))


class MeshPair(RadioPair):
    """The two ends of a simulation's line. The adverts of its relays are kept by origin, as they were heard."""

    def __init__(self, simulation: Simulation, prices: Prices, *, fee_cap: int = 200) -> None:
        self.is_on_air = False
        Pair.__init__(self, prices=prices)
        self.run()
        self.present()
        self.client_session.closed(self.now)
        self.air = SimulatedAir(simulation)
        self.relays = []
        self.session = None
        self.adverts: dict[bytes, Packet] = {}
        settings = StationSettings(fee_cap=fee_cap)

        def station(party: ClientParty) -> Station:
            account = RelayAccount(id_of(party.key.peer_id), TRAIL_KEY, self.client.signer, Tables(), now=self.air.now)
            return Station(party.key, settings, account, first_packet_id=1)

        self.client_end, self.provider_end = StationNode(station(self.client)), StationNode(station(self.provider))
        for end, party, told in (
            (self.client_end, self.client, self._client_told),
            (self.provider_end, self.provider, self._provider_told),
        ):
            end.on_event = told
            end.commit = lambda records, party=party: party.commit(Step(records=records), self.air.now)
        for name, end in (("client", self.client_end), ("provider", self.provider_end)):
            self._wire(name, end)
        self.is_on_air = True

    def _wire(self, name: str, end: StationNode) -> None:
        host = self.air.simulation.hosts[name]
        endpoint = Endpoint(host, self.air.simulation.timeline, end.station)
        endpoint.commit = end.commit
        endpoint.on_event = lambda event: self._tell(end, event)
        listen = host.on_frame

        def hear(frame: bytes) -> None:
            if frame[0] & 0x0F == PacketType.ADVERT:
                packet = Packet.decode(frame)
                self.adverts[packet.origin] = packet
            listen(frame)

        host.on_frame = hear
        self.air.ends.append(endpoint)

    @staticmethod
    def _tell(end: StationNode, event: StationEvent) -> None:
        end.events.append(event)
        end.on_event(event)

    def settle(self, relay: str, public_key: bytes) -> int:
        """The relay's operator, which is the provider, shows the receipts of the client's packets and is paid. Returns how much."""
        peer, origin = peer_id_of(public_key), self.client_end.station.id
        receipts = [
            signed for signed in self.air.simulation.hosts[relay].receipts.values() if RelayReceipt.read(signed, peer).origin == origin
        ]
        line = self.client.line(self.channel_id)
        before = line.best_amount
        adverts = tuple(packet.encode() for packet in self.adverts.values())
        for start in range(0, len(receipts), 32):
            claim = Claim(relay=peer, channel_id=self.channel_id, receipts=tuple(receipts[start : start + 32]), adverts=adverts)
            settlement, step = self.client_end.station.account.settle(claim, line)
            self.client.commit(step, self.now)
            booked = {key: row.amount for key, row in fold.scan(self.provider.storage, CarriageRecord)}
            self.provider.commit(
                take_payment(self.provider.books.line(self.channel_id), settlement, peer, claim.receipts, booked, DOMAIN), self.now
            )
        return line.best_amount - before


@contextmanager
def mesh_pair(boards: tuple[Board, Board, Board], prices: Prices, *, seed: int = 1) -> Iterator[tuple[MeshPair, dict[str, bytes]]]:
    """A client, three relays on these boards, a provider, in a line; and the relays' public keys. They ask 11, 12 and 13."""
    require("host", *boards)
    with Simulation(Links.line(LINE), seed=seed) as simulation:
        for name, board in zip(LINE, ("host", *boards, "host")):
            simulation.add(name, board)
        pair = MeshPair(simulation, prices)
        ends = {"client": pair.client_end, "provider": pair.provider_end}
        setups = {name: Setup(carries=False, host_id=end.station.id, time_s=EPOCH_S) for name, end in ends.items()}
        for number, name in enumerate(RELAYS):
            setups[name] = Setup(fee_code=code16_up(11 + number), operator=pair.provider.wallet.address, time_s=EPOCH_S)
        keys = simulation.boot(setups)
        yield pair, {name: keys[name] for name in RELAYS}


def id_of(peer: PeerId) -> RadioId:
    return radio_id(public_key_of(peer))
