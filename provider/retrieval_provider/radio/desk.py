"""Trio. A provider on the air: its board, its station, and the sessions that clients begin there.

One rule: the radio is one more transport. Quotes, credit, payments and receipts are those of ``SessionServer``; only what is too large
for the air is refused here, before anybody pays.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Final

import trio

from retrieval.cid import Cid, format_cid
from retrieval.dag.measure import totals_of
from retrieval.deal import terms
from retrieval.deal.offer import Offer
from retrieval.deal.records import RelayReceiptRecord, record
from retrieval.errors import ErrorCode, RemoteProtocolError, RetrievalError
from retrieval.identity import ZERO_ADDRESS, EvmAddress, EvmKey, PeerId, PeerKey, format_peer_id, peer_id_of, public_key_of
from retrieval.payment.voucher import VoucherSigner
from retrieval.radio.advert import Advert, Role
from retrieval.radio.airtime import Modulation
from retrieval.radio.carriage import packets_of
from retrieval.radio.codes import code16_up
from retrieval.radio.modem import DutyTold, ModemEvent, ModemSettings, ReceiptDue
from retrieval.radio.packet import RadioId, radio_id
from retrieval.radio.proof import RelayReceipt
from retrieval.radio.station import BLOCK_SIZE_MAX, CONTENT_BYTES_MAX, AdvertHeard, Station, StationEvent, StationSettings, WantHeard
from retrieval.transport.radio import RadioNetwork, RadioStream, on_air, patient, station_of
from retrieval.transport.serial import SerialRadio, open_serial
from retrieval.units import GIB, ceil_div
from retrieval.wire.messages import Query, Scope, Selection

from ..config import Radio
from ..serving import Service, SessionServer

log: Final = logging.getLogger("retrieval.provider")

ADVERT_EVERY_S: Final = 1800.0
ADVERT_LIFETIME_MIN: Final = 90
ASK_DUTY_EVERY_S: Final = 60.0
BUDGET_RETRY_S: Final = 3600
"""When a client may ask again after what relays may be promised was spent: by then an hour of it has come back."""
ANSWERS_AT_ONCE_MAX: Final = 4
"""Wants that are looked up at the same time; of more, none is answered: the client asks again."""


@dataclass(slots=True, kw_only=True)
class Desk:
    """A provider's radio, for whoever looks at it."""

    station: Station
    board: SerialRadio
    operator: EvmAddress
    charges_relays: bool
    """Whether a client pays for what relays ask for the way back to it."""
    duty: tuple[tuple[int, int], ...] = ()
    """Spent in the last hour, and the budget, by sub-band in microseconds, as the board told it last."""
    heard: dict[RadioId, Advert] = field(default_factory=dict)

    @property
    def board_id(self) -> RadioId | None:
        """Of the relay at our port, where it is one of ours."""
        return radio_id(self.board.public_key) if self.board.public_key else None


class RadioSessionServer(SessionServer):
    """One client on the air."""

    def __init__(self, service: Service, stream: RadioStream, desk: Desk) -> None:
        super().__init__(service, stream, stream.peer_id, prefix=None)
        self._desk: Final = desk

    def _offer(self, query: Query) -> Offer:
        offer = super()._offer(query)
        if not fits_the_air(offer.n_bytes, offer.n_blocks):
            raise RemoteProtocolError(
                ErrorCode.TOO_LARGE_FOR_TRANSPORT,
                f"it has {offer.n_bytes} bytes in {offer.n_blocks} blocks, {CONTENT_BYTES_MAX} are carried",
            )
        # Content is weighed in a worker thread, and the station belongs to Trio's.
        carriage = trio.from_thread.run_sync(
            lambda: carriage_to(self._desk, self._peer, offer.n_bytes, offer.n_blocks, now=self._service.clock())
        )
        return replace(offer, price_per_gib=offer.price_per_gib + per_gib(carriage, offer.n_bytes))


def carriage_to(desk: Desk, peer: PeerId, n_bytes: int, n_blocks: int, *, now: float) -> int:
    """What a client pays for the relays of a sale of this size, over the way to it as it is now.

    Raises ``RemoteProtocolError(rate_limited)`` when relays may not be promised so much: then nothing is begun that could not be ended.
    """
    station = desk.station
    node = station.nodes[radio_id(public_key_of(peer))]
    carriage = node.fee * packets_of(n_bytes, n_blocks, hops=len(node.route))
    budget = station.account.budget
    left = 0 if budget is None else budget.left(now)
    if node.fee > station.settings.fee_cap or carriage > max(0, left):
        raise RemoteProtocolError(
            ErrorCode.RATE_LIMITED,
            f"relays ask {node.fee} a packet, which is more than may be promised them now",
            retry_after_s=BUDGET_RETRY_S,
        )
    return carriage if desk.charges_relays else 0


def per_gib(carriage: int, n_bytes: int) -> int:
    """The price per GiB at which so many bytes pay for their carriage. A flat fee would be charged once a day, and relays ask each time."""
    return ceil_div(carriage * GIB, n_bytes) if n_bytes else 0


def fits_the_air(n_bytes: int, n_blocks: int) -> bool:
    """Whether the radio carries so much. Blocks that are too large all together are certain; a single one is found when it leaves."""
    return n_bytes <= CONTENT_BYTES_MAX and n_bytes <= n_blocks * BLOCK_SIZE_MAX


@asynccontextmanager
async def open_desk(service: Service, key: PeerKey, radio: Radio, receiver: EvmKey | None) -> AsyncIterator[Desk]:
    """Serve over the radio while the block runs. ``receiver`` is paid for what the board carries, and pays relays for what is ours.

    Raises ``LocalProtocolError(radio_unavailable)``.
    """
    modulation = Modulation(spreading_factor=radio.spreading_factor, bandwidth_hz=radio.bandwidth)
    settings = StationSettings(modulation=modulation, fee_cap=min(radio.fee_cap, radio.relay_budget))
    terms = service.books.channel_terms
    signer = None if receiver is None or terms is None else VoucherSigner(receiver, terms.chain_id, terms.contract)
    station = station_of(key, settings, service.state, signer, now=service.clock(), per_day=radio.relay_budget)
    paid = ZERO_ADDRESS if receiver is None else receiver.address
    modem = ModemSettings(
        frequency_hz=radio.frequency,
        power_dbm=radio.power,
        modulation=modulation,
        station=station.id,
        carries=radio.relay,
        fee_code=code16_up(radio.relay_fee),
        operator=paid,
    )
    async with AsyncExitStack() as opened:
        board = await opened.enter_async_context(open_serial(radio.port, modem, service.clock))
        desk = Desk(station=station, board=board, operator=paid, charges_relays=radio.charge_relays)
        running = await opened.enter_async_context(trio.open_nursery())
        serving = _Serving(service, desk, running)
        network = await opened.enter_async_context(
            on_air(station, board, service.writer, service.clock, on_event=serving.told, on_session=serving.begin)
        )
        running.start_soon(serving.advertise, network)
        running.start_soon(serving.keep_receipts)
        log.info("it serves over the radio on %s, as %s", radio.port, station.id.hex())
        yield desk
        running.cancel_scope.cancel()


class _Serving:
    """What a desk does about what it hears."""

    def __init__(self, service: Service, desk: Desk, running: trio.Nursery) -> None:
        self._service: Final = service
        self._desk: Final = desk
        self._running: Final = running
        self._n_answering = 0
        due, receipts = trio.open_memory_channel[bytes](64)
        self._due: Final = due
        self._receipts: Final = receipts

    def told(self, event: StationEvent | ModemEvent) -> None:
        match event:
            case WantHeard() if self._n_answering < ANSWERS_AT_ONCE_MAX:
                self._n_answering += 1
                self._running.start_soon(self._answer, event)
            case AdvertHeard():
                self._desk.heard[event.advert.id] = event.advert
            case DutyTold():
                self._desk.duty = event.bands
            case ReceiptDue():
                try:
                    self._due.send_nowait(event.signed)
                except trio.WouldBlock:
                    return  # the board says it again
            case _:
                pass

    def begin(self, stream: RadioStream) -> None:
        """A client began a session."""
        self._running.start_soon(self._serve, stream)

    async def _serve(self, stream: RadioStream) -> None:
        service = replace(self._service, clock=patient(self._service.clock))
        log.info("%s came over the radio", format_peer_id(stream.peer_id))
        await RadioSessionServer(service, stream, self._desk).run()

    async def _answer(self, heard: WantHeard) -> None:
        """Quote what is here; say nothing of what is not, since many may have heard."""
        service, cid = self._service, heard.want.cid
        try:
            service.query_rates.admit(heard.want.asker, None, service.clock())
            weight = await trio.to_thread.run_sync(
                lambda: totals_of(service.store, Selection(root=cid, path=(), scope=Scope.ALL)), limiter=service.lookups
            )
            now = service.clock()
            carriage = carriage_to(self._desk, heard.want.asker, weight.n_bytes, weight.n_blocks, now=now)
        except RetrievalError as error:
            log.debug("no quote over the radio for %s: %s", format_cid(cid), error)
            return
        finally:
            self._n_answering -= 1
        price = service.prices.of(Cid(cid))
        rate = terms.Rate(price_per_gib=price.price_per_gib + per_gib(carriage, weight.n_bytes), flat_fee=price.flat_fee)
        self._desk.station.quote(heard, n_bytes=weight.n_bytes, n_blocks=weight.n_blocks, price=rate.owed(weight.n_bytes), now=now)

    async def advertise(self, network: RadioNetwork) -> None:
        """Say now and then who we are, and ask the board how much of its hour is spent."""
        station, sequence = self._desk.station, int(self._service.clock()) & 0xFFFFFFFF
        next_advert = trio.current_time()
        while True:
            if trio.current_time() >= next_advert:
                sequence += 1
                advert = Advert(
                    peer_id=station.key.peer_id,
                    roles=Role.PROVIDER,
                    operator=self._desk.operator,
                    sequence=sequence,
                    lifetime_min=ADVERT_LIFETIME_MIN,
                    fee_code=0,
                )
                station.advertise(advert, self._service.clock())
                network.wake()
                next_advert += ADVERT_EVERY_S
            self._desk.board.ask_duty()
            await trio.sleep(ASK_DUTY_EVERY_S)

    async def keep_receipts(self) -> None:
        """Put what our relay carried for others on disk before it may forget it."""
        async for signed in self._receipts:
            board_key = self._desk.board.public_key
            if not board_key:
                continue
            relay: PeerId = peer_id_of(board_key)
            try:
                receipt = RelayReceipt.read(signed, relay)
            except RemoteProtocolError as error:
                log.warning("the board's receipt cannot be kept: %s", error)
                continue
            subject = receipt.relay + receipt.sequence.to_bytes(4, "big")
            await self._service.writer.commit([record(subject, RelayReceiptRecord(signed=signed, relay=relay))])
            self._desk.board.keep(signed)
