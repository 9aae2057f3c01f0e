"""Trio. A station on the air: frames between it and a board, records to the journal, and sessions as the streams that pumps take.

Its rule: a frame leaves when what it promises is on disk. Streams close without a word; what was written before is carried on in the
background until the other side has it.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final, Protocol

import trio

from retrieval.errors import ErrorCode, RemoteProtocolError
from retrieval.identity import PeerId, PeerKey, public_key_of
from retrieval.ledger.state import StateView
from retrieval.payment.voucher import VoucherSigner
from retrieval.radio.account import RelayAccount, next_packet_id, tables_of
from retrieval.radio.bearer import Bearer
from retrieval.radio.modem import DutyTold, FrameHeard, FrameRefused, ModemEvent, Online, ReceiptDue
from retrieval.radio.packet import PacketType, RadioId, radio_id
from retrieval.radio.station import (
    BLOCK_SIZE_MAX,
    SessionId,
    SessionMoved,
    SessionOpened,
    Station,
    StationEvent,
    StationSettings,
    trail_key_of,
)
from retrieval.transport.source import Source
from retrieval.transport.writer import Clock, JournalWriter
from retrieval.units import KIB
from retrieval.wire.messages import FrameType

log: Final = logging.getLogger(__name__)

PATIENCE: Final = 20
"""How much slower than on the internet a session's clock goes: a frame and its answer take seconds, over relays with little budget
minutes."""
SESSION_BYTES_MAX: Final = 64 * KIB
"""Of one session in one direction; a selection's blocks are at most a quarter of it."""
TICK_S: Final = 0.25
QUEUED_BYTES_MAX: Final = 16 * KIB
"""What a session may have waiting for the air before who writes waits too."""
FAREWELL_S: Final = 60.0
"""How long our last words may take when we go."""
RECEIPTS_S: Final = 15.0
"""How long receipts for our packets may then take; relays whose packets have none are not paid for them."""


class Link(Protocol):
    """A board that sends and hears frames: ``SerialRadio``, or a test's."""

    @property
    def has_room(self) -> bool: ...
    @property
    def events(self) -> trio.MemoryReceiveChannel[ModemEvent]: ...
    def send(self, frame: bytes) -> None: ...
    async def moved(self) -> None: ...


class RadioStream:
    """One session as a stream of bytes (``retrieval.transport.pump.ByteStream``)."""

    def __init__(self, network: RadioNetwork, session: SessionId, bearer: Bearer, peer: PeerId) -> None:
        self._network: Final = network
        self._session: Final = session
        self._bearer: Final = bearer
        self.peer_id: Final = peer
        self._unread = b""
        self._n_sent = 0
        self.is_closed = False

    @property
    def send_bytes(self) -> int:
        return BLOCK_SIZE_MAX

    async def send_all(self, data: bytes) -> None:
        """Return when the session has taken the bytes. Raises ``RemoteProtocolError``: ``transfer_truncated``, ``transfer_stalled``, and
        ``too_large_for_transport``."""
        self._n_sent += len(data)
        if self._n_sent > SESSION_BYTES_MAX:
            raise RemoteProtocolError(ErrorCode.TOO_LARGE_FOR_TRANSPORT, f"a session of the radio carries {SESSION_BYTES_MAX} bytes")
        while self._bearer.error is None and not self.is_closed and self._bearer.queued_bytes + len(data) > QUEUED_BYTES_MAX:
            await self._network.moved()
        if self._bearer.error is not None:
            raise self._bearer.error
        if self.is_closed:
            raise RemoteProtocolError(ErrorCode.TRANSFER_TRUNCATED, "the stream is closed")
        self._bearer.write(data, _type_of(data))
        self._network.wake()

    async def send_source(self, source: Source) -> None:
        await self.send_all(source.use(0, len(source), b"".join))

    async def receive_into(self, target: memoryview) -> int:
        """Wait for bytes; 0 once the stream is closed. Raises ``RemoteProtocolError`` when the way is broken."""
        while not self._unread:
            if self.is_closed:
                return 0
            self._unread = self._bearer.read()
            if not self._unread:
                if self._bearer.error is not None:
                    raise self._bearer.error
                await self._network.moved()
        n_bytes = min(len(target), len(self._unread))
        target[:n_bytes] = self._unread[:n_bytes]
        self._unread = self._unread[n_bytes:]
        return n_bytes

    async def close(self) -> None:
        """Nothing more is said; what was said before still arrives."""
        self.is_closed = True
        self._network.wake()

    async def reset(self) -> None:
        """Forget the session at once."""
        self.is_closed = True
        self._network.forget(self._session)

    @property
    def is_spent(self) -> bool:
        """Whether it is closed and has no more to do."""
        return self.is_closed and (self._bearer.is_idle or self._bearer.error is not None)


class RadioNetwork:
    """Made by ``on_air``."""

    def __init__(
        self,
        station: Station,
        link: Link,
        writer: JournalWriter,
        clock: Clock,
        *,
        on_event: Callable[[StationEvent | ModemEvent], None],
        on_session: Callable[[RadioStream], None],
    ) -> None:
        self.station: Final = station
        self._link: Final = link
        self._writer: Final = writer
        self._clock: Final = clock
        self._on_event: Final = on_event
        self._on_session: Final = on_session
        self._streams: Final[dict[SessionId, RadioStream]] = {}
        self._moved = trio.Event()

    def open(self, provider: RadioId, number: int) -> RadioStream:
        """Begin a session with a provider that was heard. Raises as ``Station.open`` does."""
        session = self.station.open(provider, number, self._clock())
        return self._stream(session, self.station.nodes[provider].peer)

    def forget(self, session: SessionId) -> None:
        """Drop a session, and what it had still to say."""
        self._streams.pop(session, None)
        self.station.close(session)
        self.wake()

    def wake(self) -> None:
        """Something was said, or heard: whoever waits looks again."""
        self._moved.set()
        self._moved = trio.Event()

    async def moved(self) -> None:
        """Return when something has changed."""
        await self._moved.wait()

    async def farewell(self, other: RadioId) -> None:
        """Return when the streams that were closed have said what they had to, relays have our receipts, and the other station has sent
        those for what we sent it; or after ``FAREWELL_S`` and ``RECEIPTS_S``."""
        self.station.farewell()
        with trio.move_on_after(FAREWELL_S):
            while any(stream.is_closed for stream in self._streams.values()) or not self.station.is_quiet or not self._link.has_room:
                await self.moved()
        with trio.move_on_after(RECEIPTS_S):
            while not self.station.account.is_proven(other):
                await self.moved()

    async def run(self) -> None:
        """Keep the station on the air until cancelled."""
        async with trio.open_nursery() as nursery:
            for task in (self._hear, self._talk, self._watch_link, self._keep_time):
                nursery.start_soon(task)

    async def _hear(self) -> None:
        async for event in self._link.events:
            match event:
                case FrameHeard():
                    self._told(self.station.hear(event.frame, self._clock(), snr_quarter_db=event.snr_quarter_db))
                    self._writer.submit(self.station.take_records())
                case FrameRefused():
                    log.warning("the board refused a frame: %d", event.reason)
                case Online() | ReceiptDue() | DutyTold():
                    self._on_event(event)

    async def _talk(self) -> None:
        while True:
            moved = self._moved
            if self._link.has_room and (out := self.station.next_frame(self._clock())) is not None:
                await self._writer.commit(out.records)
                while not self._link.has_room:
                    await self.moved()
                self._link.send(out.frame)
            else:
                await moved.wait()

    async def _watch_link(self) -> None:
        while True:
            await self._link.moved()
            self.wake()

    async def _keep_time(self) -> None:
        while True:
            self._told(self.station.tick(self._clock()))
            for session, stream in tuple(self._streams.items()):
                if stream.is_spent:
                    self.forget(session)
            self.wake()
            await trio.sleep(TICK_S)

    def _told(self, events: list[StationEvent]) -> None:
        for event in events:
            match event:
                case SessionOpened():
                    self._on_session(self._stream(event.session, event.peer))
                case SessionMoved():
                    pass
                case _:
                    self._on_event(event)
        if events:
            self.wake()

    def _stream(self, session: SessionId, peer: PeerId) -> RadioStream:
        stream = self._streams[session] = RadioStream(self, session, self.station.sessions[session], peer)
        return stream


@asynccontextmanager
async def on_air(
    station: Station,
    link: Link,
    writer: JournalWriter,
    clock: Clock,
    *,
    on_event: Callable[[StationEvent | ModemEvent], None],
    on_session: Callable[[RadioStream], None],
) -> AsyncIterator[RadioNetwork]:
    """The station on the air while the block runs."""
    network = RadioNetwork(station, link, writer, clock, on_event=on_event, on_session=on_session)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(network.run)
        yield network
        nursery.cancel_scope.cancel()


def station_of(
    key: PeerKey, settings: StationSettings, state: StateView, signer: VoucherSigner | None, *, now: float, per_day: int | None = None
) -> Station:
    """The station of a node, with what its journal knows of packets and relays; ``per_day`` is as ``RelayAccount`` has it."""
    tables = tables_of(state)
    account = RelayAccount(radio_id(public_key_of(key.peer_id)), trail_key_of(key), signer, tables, now=now, per_day=per_day)
    return Station(key, settings, account, first_packet_id=next_packet_id(tables, now))


def patient(clock: Clock) -> Clock:
    """A clock for one session, which begins now and goes so slowly that the internet's deadlines are the radio's."""
    began = clock()
    return lambda: began + (clock() - began) / PATIENCE


def no_sessions(stream: RadioStream) -> None:
    """For a station that serves nobody."""
    stream.is_closed = True


def _type_of(data: bytes) -> PacketType:
    """How urgent what a pump writes is, by the type of its first frame, behind a length of one to three bytes."""
    at = next(at for at, byte in enumerate(data) if byte < 0x80) + 1
    return _TYPE_OF_FRAME.get(data[at] if at < len(data) else 0, PacketType.RECORD)


_TYPE_OF_FRAME: Final[dict[int, PacketType]] = {FrameType.BLOCK: PacketType.FRAGMENT, FrameType.PAYMENT: PacketType.VOUCHER}
