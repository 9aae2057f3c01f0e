"""Relays that carry packets and sign for it, and both ends of the money: an origin with its wallet, an operator with its books."""

from __future__ import annotations

from dataclasses import dataclass, field

from pair import CHAIN_ID, CONTRACT, START, ClientParty, Pair

from retrieval.deal import fold
from retrieval.deal.records import CarriageRecord
from retrieval.identity import PeerKey, public_key_of
from retrieval.payment.channel import settlement_domain
from retrieval.radio.account import ADVERTS_MAX, RelayAccount, Settlement, tables_of, take_payment
from retrieval.radio.advert import Advert, Role, signed_advert
from retrieval.radio.codes import code8_down, code16_up
from retrieval.radio.packet import EVERYONE, Entry, Hop, Packet, PacketType, RadioId, carry, radio_id
from retrieval.radio.proof import Carried, Delivered, DeliveryReceipt, RelayReceipt

TRAIL_KEY = b"\xaa" * 32
DOMAIN = settlement_domain(CHAIN_ID, CONTRACT)


def id_of(key: PeerKey) -> RadioId:
    return radio_id(public_key_of(key.peer_id))


def bare_packet(origin: PeerKey, destination: PeerKey, number: int, *, cap: int) -> Packet:
    """A flood as it is before it has a token."""
    return Packet(
        type=PacketType.RECORD,
        direct=False,
        hop_limit=8,
        packet_id=number,
        origin=id_of(origin),
        destination=id_of(destination),
        fee_cap_code=code16_up(cap),
        payload=b"record",
        hops=0,
        latency_code=0,
        bandwidth_code=code8_down(547),
        mtu=255,
        token=bytes(8),
        trail=(),
    )


@dataclass
class Relay:
    """One node on the way."""

    key: PeerKey
    fee: int
    operator: bytes = bytes(20)
    sequence: int = 0
    carried: list[tuple[Packet, int]] = field(default_factory=list)

    @property
    def id(self) -> RadioId:
        return id_of(self.key)

    def carry(self, packet: Packet) -> Packet:
        self.carried.append((packet, packet.hops))
        return carry(packet, Hop(relay=self.id, fee_code=code16_up(self.fee), latency_ms=300, bandwidth_bps=547, mtu=255))

    def advert(self) -> Advert:
        return Advert(
            peer_id=self.key.peer_id, roles=Role.RELAY, operator=self.operator, sequence=1, lifetime_min=60, fee_code=code16_up(self.fee)
        )

    def advert_frame(self) -> bytes:
        """The advertisement as it goes on the air."""
        bare = Packet(
            type=PacketType.ADVERT,
            direct=False,
            hop_limit=8,
            packet_id=1,
            origin=self.id,
            destination=EVERYONE,
            fee_cap_code=0,
            payload=b"",
            hops=0,
            latency_code=0,
            bandwidth_code=0,
            mtu=255,
            token=bytes(8),
            trail=(),
        )
        return signed_advert(bare, self.advert(), self.key).encode()

    def receipt(self, packet: Packet, hop: int) -> bytes:
        self.sequence += 1
        one = Carried(packet=packet.hash, fee_code=code16_up(self.fee), hop=hop)
        receipt = RelayReceipt(relay=self.id, origin=packet.origin, sequence=self.sequence, time_s=0, carried=(one,))
        return receipt.sign(self.key)

    def receipts(self) -> tuple[bytes, ...]:
        return tuple(self.receipt(packet, hop) for packet, hop in self.carried)


def deliver(packet: Packet, destination: PeerKey, trail: tuple[Entry, ...] | None = None) -> bytes:
    """The delivery receipt that an honest destination signs, or one that names another trail."""
    receipt = DeliveryReceipt(
        origin=packet.origin,
        destination=id_of(destination),
        time_s=0,
        trail=packet.trail if trail is None else trail,
        delivered=(Delivered(packet_id=packet.packet_id, token=packet.token),),
    )
    return receipt.sign(destination, [packet.hash])


class Parties:
    """An origin that pays from a channel to the operator of its relays: both journals, and what restarts leave of them."""

    def __init__(self, *, deposit: int = 1_000_000, n_relays: int = 3) -> None:
        self.pair = Pair(deposit=deposit)
        self.pair.run()
        self.pair.present()
        self.now = START
        self.destination = PeerKey.from_seed(b"\x55" * 32)
        self.relays = [
            Relay(PeerKey.from_seed(bytes([0x60 + number]) * 32), fee=11 + number, operator=self.pair.provider.wallet.address)
            for number in range(n_relays)
        ]
        self.n_packets = 0
        self.restart_origin()

    @property
    def origin(self) -> ClientParty:
        return self.pair.client

    @property
    def line(self):
        return self.origin.line(self.pair.channel_id)

    def restart_origin(self, *, adverts_max: int = ADVERTS_MAX) -> None:
        """As after a kill: everything but the journal is gone."""
        self.origin.restart(self.now)
        storage = self.origin.storage
        tables = tables_of(storage)
        self.account = RelayAccount(id_of(self.origin.key), TRAIL_KEY, self.origin.signer, tables, now=self.now, adverts_max=adverts_max)
        for relay in self.relays:
            self.account.heard(relay.id)

    def restart_operator(self) -> None:
        self.pair.provider.restart(self.now)

    def send(self, *, cap: int = 100, destination: PeerKey | None = None) -> Packet:
        """A packet that leaves the origin, its promise on disk."""
        self.n_packets += 1
        bare = bare_packet(self.origin.key, destination or self.destination, self.n_packets, cap=cap)
        packet, step = self.account.send(bare, self.now)
        self.origin.commit(step, self.now)
        return packet

    def carry(self, packet: Packet) -> Packet:
        return self.carry_over(self.relays, packet)

    def carry_over(self, relays: list[Relay], packet: Packet) -> Packet:
        for relay in relays:
            packet = relay.carry(packet)
        return packet

    def take_delivery(self, signed: bytes) -> None:
        self.origin.commit(self.account.deliver(signed, self.destination.peer_id), self.now)

    def take_payment(self, settlement: Settlement, relay: Relay, receipts: tuple[bytes, ...]) -> None:
        """The operator books what it was given."""
        provider = self.pair.provider
        booked = {key: row.amount for key, row in fold.scan(provider.storage, CarriageRecord)}
        step = take_payment(provider.books.line(self.pair.channel_id), settlement, relay.key.peer_id, receipts, booked, DOMAIN)
        provider.commit(step, self.now)
