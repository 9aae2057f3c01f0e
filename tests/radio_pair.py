"""Both machines of a deal over the radio in memory: a client's station, relays in a row, a provider's station, both journals.

``pair.Pair`` does what the two programs do; here its wires are sessions of the stations.
"""

from __future__ import annotations

from pair import Pair, Prices
from radio_air import Air, RelayNode, StationNode
from radio_relays import TRAIL_KEY, Relay, deliver, id_of

from retrieval.cid import Cid
from retrieval.deal.step import Step
from retrieval.identity import PeerKey
from retrieval.radio.account import RelayAccount, Tables
from retrieval.radio.bearer import Bearer
from retrieval.radio.packet import PacketType
from retrieval.radio.station import QuoteHeard, SessionMoved, SessionOpened, Station, StationEvent, StationSettings, WantHeard
from retrieval.wire.framing import encode_frame
from retrieval.wire.messages import Payment

__all__ = ["RadioPair", "deliver"]


class RadioPair(Pair):
    """A client and a provider that only hear each other through relays."""

    def __init__(self, *, n_relays: int = 3, seed: int = 1, loss: float = 0.0, fee: int = 11, fee_cap: int = 200, prices: Prices) -> None:
        self.is_on_air = False
        super().__init__(prices=prices)
        self.run()
        self.present()
        self.client_session.closed(self.now)
        self.air = Air(seed=seed, loss=loss, start=self.now)
        self.relays = [
            Relay(PeerKey.from_seed(bytes([0x60 + number]) * 32), fee=fee + number, operator=self.provider.wallet.address)
            for number in range(n_relays)
        ]
        accounts = [
            RelayAccount(id_of(party.key), TRAIL_KEY, self.client.signer, Tables(), now=self.now) for party in (self.client, self.provider)
        ]
        for account in accounts:
            for relay in self.relays:
                account.heard(relay.id)
        settings = StationSettings(fee_cap=fee_cap)
        self.client_end = StationNode(Station(self.client.key, settings, accounts[0], first_packet_id=1))
        self.provider_end = StationNode(Station(self.provider.key, settings, accounts[1], first_packet_id=1))
        self.client_end.commit = lambda records: self.client.commit(Step(records=records), self.air.now)
        self.provider_end.commit = lambda records: self.provider.commit(Step(records=records), self.air.now)
        self.client_end.on_event = self._client_told
        self.provider_end.on_event = self._provider_told
        self.air.line(
            ("client", self.client_end), *((f"r{number}", RelayNode(relay)) for number, relay in enumerate(self.relays, start=1)),
            ("provider", self.provider_end),
        )  # fmt: skip
        self.session = None
        self.is_on_air = True

    # the stations

    @property
    def client_bearer(self) -> Bearer:
        return self.client_end.station.sessions[self.session]

    @property
    def provider_bearer(self) -> Bearer:
        (bearer,) = self.provider_end.station.sessions.values()
        return bearer

    def find(self, cid: Cid, *, seconds: float = 60.0) -> list[QuoteHeard]:
        """Flood a want, and hear who has it."""
        self.client_end.station.want(cid, price_max=1 << 30, now=self.air.now)
        self.air.run(seconds)
        return [event for event in self.client_end.events if isinstance(event, QuoteHeard)]

    def meet(self) -> None:
        """Begin a session with the provider."""
        self.now = self.air.now
        self.session = self.client_end.station.open(id_of(self.provider.key), 7, self.air.now)
        self.connect()

    def pass_air(self, seconds: float) -> None:
        self.air.run(seconds)
        self.now = self.air.now

    def _provider_told(self, event: StationEvent) -> None:
        self.now = self.air.now
        if isinstance(event, WantHeard) and (payload := self.provider.store.get(event.want.cid)) is not None:
            price = self.prices.flat_fee + (len(payload) * self.prices.price_per_gib >> 30)
            self.provider_end.station.quote(event, n_bytes=len(payload), n_blocks=1, price=price, now=self.now)
        if isinstance(event, SessionMoved | SessionOpened) and (data := self.provider_bearer.read()):
            self._feed_provider(data)
            self.serve()

    def _client_told(self, event: StationEvent) -> None:
        self.now = self.air.now
        if isinstance(event, SessionMoved) and (data := self.client_bearer.read()):
            self.to_client.queue.append(data)
            self.deliver_to_client()

    @property
    def prices(self) -> Prices:
        return self.provider.prices

    # the wires

    def client_step(self, step: Step, *, deliver: bool = True) -> None:
        if not self.is_on_air or not deliver:
            super().client_step(step, deliver=deliver)
            return
        self.client.commit(step, self.now)
        if step.messages:
            kind = PacketType.VOUCHER if isinstance(step.messages[0], Payment) else PacketType.RECORD
            self.client_bearer.write(b"".join(map(encode_frame, step.messages)), kind)

    def provider_step(self, step: Step, *, deliver: bool = True) -> None:
        super().provider_step(step, deliver=deliver)
        if self.is_on_air:
            self._flush_provider(PacketType.RECORD)

    def serve(self) -> bool:
        moved = super().serve()
        if self.is_on_air:
            self._flush_provider(PacketType.FRAGMENT)
        return moved

    def _flush_provider(self, kind: PacketType) -> None:
        if data := b"".join(self.to_client.take()):
            self.provider_bearer.write(data, kind)
