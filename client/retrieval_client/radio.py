"""Trio. Fetching over the radio: who has it is asked on the air, and what is bought comes in sessions of the station.

Its rule: a person hears what the radio does not carry before anything is paid.
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Final

import trio

from retrieval.errors import ErrorCode, LocalProtocolError, RemoteProtocolError
from retrieval.identity import PeerId, public_key_of
from retrieval.payment.chain import Chain
from retrieval.radio.airtime import Modulation
from retrieval.radio.modem import ModemEvent, ModemSettings
from retrieval.radio.packet import radio_id
from retrieval.radio.payload import NUMBER_MAX
from retrieval.radio.payload import Quote as RadioQuote
from retrieval.radio.station import BLOCK_SIZE_MAX, CONTENT_BYTES_MAX, QuoteHeard, StationEvent, StationSettings
from retrieval.store.blocks import BlockStore
from retrieval.transport.libp2p import PeerAddress
from retrieval.transport.libp2p.address import Endpoint
from retrieval.transport.radio import PATIENCE, RadioNetwork, no_sessions, on_air, patient, station_of
from retrieval.transport.serial import open_serial
from retrieval.transport.writer import Clock, JournalWriter
from retrieval.wire.messages import Quote

from .config import ClientSettings
from .conversation import Conversation, converse_on
from .fetch import Fetch, Progress, Tally, Wanted
from .source import Source
from .wallet import Wallet

WANT_HOPS: Final = (2, None, None)
"""How far each flood of a want goes, the settings' hop limit where it does not say: near first, then twice as far as it may, before nobody
has it."""
ANSWERED_S: Final = 30.0
"""How long the first answer to a want may take."""
MORE_ANSWERS_S: Final = 4.0
"""How long a better answer than the first may take."""
TIMEOUT_MIN_S: Final = 900.0
"""Without verified progress: a relay that has used its hour up may be silent for that long."""
ON_AIR: Final = Endpoint(family="dns", host="radio.invalid", port=1)
"""Where a provider is said to be that was only ever heard on the air."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RadioOrder:
    """What is fetched over which port, under which limits."""

    port: str
    source: Source
    spend_max: int
    timeout_s: float


class Listener:
    """Hears quotes. Others listen to nobody: this station serves nothing."""

    def __init__(self) -> None:
        told, quotes = trio.open_memory_channel[QuoteHeard](64)
        self._told: Final = told
        self.quotes: Final = quotes

    def hear(self, event: StationEvent | ModemEvent) -> None:
        if isinstance(event, QuoteHeard):
            try:
                self._told.send_nowait(event)
            except trio.WouldBlock:
                return  # there are more than enough


async def fetch_over_radio(
    order: RadioOrder,
    settings: ClientSettings,
    wallet: Wallet,
    store: BlockStore,
    writer: JournalWriter,
    *,
    clock: Clock,
    open_chain: Callable[[str], Chain],
    on_progress: Callable[[Progress], None],
) -> Tally:
    """Find a provider on the air and fetch from it. Raises ``RetrievalError``: ``radio_unavailable``, ``not_found`` when nobody answered,
    ``too_large_for_transport``, and what ``Fetch`` raises."""
    listener = Listener()
    async with _listening(order.port, settings, wallet, writer, clock, listener) as network:
        heard = await find(network, listener, order.source, order.spend_max, clock)
        provider = heard.quote.provider
        slow = patient(clock)
        timeout_s = max(order.timeout_s, TIMEOUT_MIN_S)
        wanted = Wanted(
            source=order.source,
            provider=PeerAddress(endpoint=ON_AIR, peer_id=provider),
            spend_max=order.spend_max,
            timeout_s=timeout_s,
        )
        meet = _sessions(network, provider, wallet, store, writer, slow)
        fetch = Fetch(
            meet, wallet, store, writer, wanted, clock=slow, open_chain=open_chain, on_progress=on_progress, on_quote=_require_small
        )
        await fetch.run()
        await network.farewell(radio_id(public_key_of(provider)))
    return fetch.tally


async def find(network: RadioNetwork, listener: Listener, source: Source, spend_max: int, clock: Clock) -> QuoteHeard:
    """The best answer to a want: the lowest price for content and way together.

    Raises ``RemoteProtocolError(not_found)`` when nobody answered, and ``LocalProtocolError(too_large_for_transport)`` when all who did
    have more than the radio carries.
    """
    wanted = set[bytes]()
    for hop_limit in WANT_HOPS:
        wanted.add(network.station.want(source.root, price_max=spend_max, now=clock(), hop_limit=hop_limit))
        network.wake()
        heard: list[QuoteHeard] = []
        with trio.move_on_after(ANSWERED_S) as waiting:
            async for event in listener.quotes:
                if event.quote.wanted in wanted:
                    heard.append(event)
                    waiting.deadline = min(waiting.deadline, trio.current_time() + MORE_ANSWERS_S)
        if heard:
            return _best(heard, is_whole=not source.path)
    raise RemoteProtocolError(ErrorCode.NOT_FOUND, "nobody on the radio answered for it")


def _best(heard: list[QuoteHeard], *, is_whole: bool) -> QuoteHeard:
    """``is_whole`` unless a part of the content is wanted: then its size says little."""
    small = [event for event in heard if not is_whole or _fits(event.quote)]
    if not small:
        quote = heard[0].quote
        raise LocalProtocolError(ErrorCode.TOO_LARGE_FOR_TRANSPORT, f"it has {quote.n_bytes} bytes, the radio carries {CONTENT_BYTES_MAX}")
    return min(small, key=lambda event: (event.quote.price_code, event.quote.way.price, event.quote.way.hops))


def _fits(quote: RadioQuote) -> bool:
    return quote.n_bytes <= CONTENT_BYTES_MAX and quote.n_bytes <= quote.n_blocks * BLOCK_SIZE_MAX


async def _require_small(quote: Quote) -> None:
    """The binding quote of the session: before anything is signed."""
    if quote.n_bytes > CONTENT_BYTES_MAX or quote.n_bytes > quote.n_blocks * BLOCK_SIZE_MAX:
        detail = (
            f"it has up to {quote.n_bytes} bytes in {quote.n_blocks} blocks; {CONTENT_BYTES_MAX} in blocks of {BLOCK_SIZE_MAX} are carried"
        )
        raise LocalProtocolError(ErrorCode.TOO_LARGE_FOR_TRANSPORT, detail)


def _sessions(
    network: RadioNetwork, provider: PeerId, wallet: Wallet, store: BlockStore, writer: JournalWriter, clock: Clock
) -> Callable[[PeerAddress, float], AbstractAsyncContextManager[Conversation]]:
    """A session over the radio for each attempt of a fetch."""

    def meet(address: PeerAddress, due_s: float) -> AbstractAsyncContextManager[Conversation]:
        stream = network.open(radio_id(public_key_of(provider)), secrets.randbelow(NUMBER_MAX + 1))
        return converse_on(
            stream,
            provider,
            wallet.peer_key,
            signer=wallet.voucher_signer,
            writer=writer,
            store=store.put_many,
            clock=clock,
            last_final_receipt=wallet.last_final_receipt(provider),
            patience=PATIENCE,
        )

    return meet


@asynccontextmanager
async def _listening(
    port: str, settings: ClientSettings, wallet: Wallet, writer: JournalWriter, clock: Clock, listener: Listener
) -> AsyncIterator[RadioNetwork]:
    radio = settings.radio
    modulation = Modulation(spreading_factor=radio.spreading_factor, bandwidth_hz=radio.bandwidth)
    station_settings = StationSettings(modulation=modulation, fee_cap=radio.fee_cap)
    station = station_of(wallet.peer_key, station_settings, wallet.state, wallet.voucher_signer, now=clock())
    modem = ModemSettings(frequency_hz=radio.frequency, power_dbm=radio.power, modulation=modulation, station=station.id)
    async with open_serial(port, modem, clock) as link:
        air = on_air(station, link, writer, clock, on_event=listener.hear, on_session=no_sessions)
        async with air as network:
            yield network
