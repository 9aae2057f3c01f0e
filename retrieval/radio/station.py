"""A node at the end of the radio: what it hears and says, without a port or a clock.

Frames and ``now`` in; ``next_frame`` gives what may leave whenever the link has room, with the records that must be on disk before it
does. Wants, quotes, adverts and sessions are told as events. What is for others, relays carry; a station does not.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, NewType

from retrieval.cid import Cid
from retrieval.errors import ErrorCode, LocalProtocolError, RemoteProtocolError, RetrievalError
from retrieval.identity import PeerId, PeerKey, public_key_of
from retrieval.ledger.journal import Record
from retrieval.radio.account import RelayAccount
from retrieval.radio.advert import Advert, Role, read_advert, signed_advert
from retrieval.radio.airtime import Modulation, airtime_us
from retrieval.radio.bearer import Bearer, piece_size_of
from retrieval.radio.codes import code8_down, code16_up
from retrieval.radio.compact import dictionary
from retrieval.radio.delivery import Arrivals
from retrieval.radio.floods import Answer, Answers, HeldFloods, is_faint
from retrieval.radio.packet import (
    EVERYONE,
    FRAME_SIZE_MAX,
    FREE_TYPES,
    HOPS_MAX,
    TOKEN_SIZE,
    Cost,
    Entry,
    Packet,
    PacketHash,
    PacketType,
    RadioId,
    check,
    cost_of,
    payload_size_max,
    radio_id,
)
from retrieval.radio.payload import NUMBER_MAX, SEAL_SIZE, WANTED_SIZE, Ack, Quote, Segment, Want, check_seal, sealed
from retrieval.radio.searches import Searches
from retrieval.units import KIB

BLOCK_SIZE_MAX: Final = 4 * KIB
"""Payload bytes of a block that this transport carries."""
CONTENT_BYTES_MAX: Final = 16 * KIB
"""Of all blocks of one selection: four minutes of the relay band's budget, at every relay on the way."""
NODES_MAX: Final = 256
SEEN_MAX: Final = 1024
SESSIONS_MAX: Final = 16
SESSION_IDLE_S: Final = 1800.0
WANTS_PER_NODE: Final = 8
"""Of one node within ``WANTS_WITHIN_S``: each costs us an answer's airtime."""
WANTS_WITHIN_S: Final = 60.0
OUTBOX_MAX: Final = 64
SPACING_MAX: Final = 3
"""Lengths of a frame until our next: we, our neighbour and the next one share the air; whoever is beyond does not."""
ROUTE_FRESH_S: Final = 60.0
"""How long after it was last used a better way is kept when a worse one is heard: nodes move, relays go, and who asks again may not have
heard our answer."""
FRAMES_PER_HOP: Final = 2
"""Lengths of a frame that a relay takes to pass one on: sensing, waiting, sending."""
DETOUR_HOPS: Final = 2
"""By how many relays a session may become longer on its way: its segments leave room for so many."""
SEAL_PURPOSE: Final = "radio-seal"

SessionId = NewType("SessionId", tuple[RadioId, int])
"""The other node, and the number that the client chose."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StationSettings:
    """What the operator decides."""

    modulation: Modulation = Modulation()
    fee_cap: int
    """The most that relays may ask together for one packet of ours."""
    hop_limit: int = 4
    """Of floods."""
    bandwidth_bps: int = 547
    """What we can send on average, by our duty budget."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WantHeard:
    """Somebody looks for content. Answer with ``Station.quote``, or not at all."""

    want: Want
    packet: Packet


@dataclass(frozen=True, slots=True, kw_only=True)
class QuoteHeard:
    """An answer to our want."""

    quote: Quote
    way: Cost
    """Of the answer: of the way there, ``quote.way`` tells."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AdvertHeard:
    advert: Advert
    way: Cost


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionOpened:
    """A client began a session with us."""

    session: SessionId
    peer: PeerId


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionMoved:
    """There is something to read, room to write, or an end."""

    session: SessionId


@dataclass(frozen=True, slots=True, kw_only=True)
class RelayReceiptHeard:
    """A relay's receipt, for whoever operates it."""

    signed: bytes


StationEvent = WantHeard | QuoteHeard | AdvertHeard | SessionOpened | SessionMoved | RelayReceiptHeard


@dataclass(frozen=True, slots=True, kw_only=True)
class Outgoing:
    """A frame to send once its records are on disk."""

    frame: bytes
    type: PacketType
    records: tuple[Record, ...]


@dataclass(slots=True, kw_only=True)
class Node:
    """What is known of another node."""

    peer: PeerId
    route: tuple[Entry, ...]
    """Relays from us to it, each with the fee it asks."""
    way: Cost
    heard_at: float
    seal_key: bytes
    advert: Advert | None = None
    quoted: tuple[Cid, int] | None = None
    """What it has answered for last, and the most that we would pay for it."""
    hops_max: int = HOPS_MAX
    """What segments were cut for, while there is a session: a longer way has no room for them."""

    @property
    def fee(self) -> int:
        """What relays ask together for one packet to it."""
        return sum(entry.fee for entry in self.route)


@dataclass(slots=True)
class Counts:
    """For the operator."""

    heard: int = 0
    refused: int = 0
    sent: int = 0
    dropped: int = 0
    """Ours, that did not leave."""
    sent_us: int = 0
    by_type: dict[str, int] = field(default_factory=dict)


def trail_key_of(key: PeerKey) -> bytes:
    """The key of the tokens that a node's packets begin with: a secret of the node with itself, so that there is none more to keep."""
    return key.secret_with(key.peer_id, "radio-trail")


class Station:
    """One node's end of the protocol; owned by one thread."""

    def __init__(self, key: PeerKey, settings: StationSettings, account: RelayAccount, *, first_packet_id: int) -> None:
        """``first_packet_id`` is above every id this key ever used."""
        self.key: Final = key
        self.id: Final = radio_id(public_key_of(key.peer_id))
        self.settings: Final = settings
        self.account: Final = account
        self.counts: Final = Counts()
        self.nodes: Final[OrderedDict[RadioId, Node]] = OrderedDict()
        """The last heard last."""
        self.sessions: Final[dict[SessionId, Bearer]] = {}
        self._arrivals: Final = Arrivals(key)
        self._held: Final = HeldFloods(settings.modulation)
        self._answers: Final = Answers(settings.modulation)
        self._next_packet_id = first_packet_id
        self._outbox: deque[tuple[Packet, tuple[Record, ...]]] = deque()
        self._seen: OrderedDict[PacketHash, int] = OrderedDict()
        """What the cheapest copy of each packet cost."""
        self._wants: dict[RadioId, deque[float]] = {}
        self._asked: OrderedDict[bytes, tuple[Cid, int]] = OrderedDict()
        """Content and highest price, by what quotes name."""
        self._searches: Final = Searches()
        self._records: tuple[Record, ...] = ()
        self._free_at = 0.0
        """When the way before us has had time to clear: a relay that still carries our last frame does not hear the next."""

    # saying

    def want(self, cid: Cid, *, price_max: int, now: float, hop_limit: int | None = None) -> bytes:
        """Look for content; gives what quotes name as ``wanted``.

        ``hop_limit`` is that of the settings, unless it says to look nearer first, which in a mesh takes a third of the air.
        """
        want = Want(asker=self.key.peer_id, price_max_code=code16_up(price_max), cid=cid)
        packet = self._flood(PacketType.WANT, want.encode(), hop_limit=hop_limit)
        self._put(packet, now)
        wanted = packet.hash[:WANTED_SIZE]
        self._asked[wanted] = cid, price_max
        if len(self._asked) > WANTS_PER_NODE:
            self._asked.popitem(last=False)
        return wanted

    def quote(self, heard: WantHeard, *, n_bytes: int, n_blocks: int, price: int, now: float) -> None:
        """Answer a want, once it has passed on around us. Its carriage is worth a delivery receipt now."""
        self._arrivals.add(heard.packet, now)
        answer = Answer(want=heard.packet, n_bytes=min(n_bytes, (1 << 32) - 1), n_blocks=min(n_blocks, (1 << 16) - 1), price=price)
        if not self._answers.add(answer, now):
            self.counts.dropped += 1

    def advertise(self, advert: Advert, now: float) -> None:
        """Say who we are."""
        self._put(signed_advert(self._flood(PacketType.ADVERT, b"", hop_limit=HOPS_MAX), advert, self.key), now)

    def open(self, provider: RadioId, number: int, now: float) -> SessionId:
        """Begin a session with a provider that was heard.

        Raises ``LocalProtocolError``: ``over_budget`` when the way there costs more than our fee cap, ``too_many_sessions``.
        """
        price = self.nodes[provider].fee
        if price > self.settings.fee_cap:
            raise LocalProtocolError(ErrorCode.OVER_BUDGET, f"relays ask {price} a packet, {self.settings.fee_cap} is the cap")
        session = SessionId((provider, number & NUMBER_MAX))
        self._new_bearer(session, dictionary(self.key.peer_id, self.nodes[provider].peer), now)
        if (quoted := self.nodes[provider].quoted) is not None:
            self._searches.begin(session, *quoted)
        return session

    def close(self, session: SessionId) -> None:
        """Forget a session; what has not left does not leave."""
        self.sessions.pop(session, None)
        self._searches.end(session)

    def farewell(self) -> None:
        """We are going: what relays are owed a receipt for is signed for now."""
        self._arrivals.hurry_all()

    @property
    def is_quiet(self) -> bool:
        """Whether nothing is to be said."""
        return not self._outbox and self._answers.is_said and self._arrivals.is_empty

    def next_frame(self, now: float) -> Outgoing | None:
        """What may leave now, and counts as sent. Asked whenever the link has room."""
        if now < self._free_at:
            return None
        self._put_receipts(now)
        self._put_answers(now)
        if not self._outbox:
            self._put_bodies(now)
        if not self._outbox:
            return None
        packet, records = self._outbox.popleft()
        frame = packet.encode()
        frame_us = airtime_us(len(frame), self.settings.modulation)
        self._free_at = now + frame_us * min(1 + (packet.hop_limit if packet.direct else 1), SPACING_MAX) * 1.25e-6
        self.counts.sent += 1
        self.counts.sent_us += frame_us
        self.counts.by_type[packet.type.name] = self.counts.by_type.get(packet.type.name, 0) + 1
        return Outgoing(frame=frame, type=packet.type, records=records)

    # hearing

    def hear(self, frame: bytes, now: float, *, snr_quarter_db: int | None = None) -> list[StationEvent]:
        """Take a frame from the air. What is not for us, or cannot be taken, changes nothing.

        A flood that was hard to understand waits for a copy over a better link: ``tick`` tells of it where none came.
        """
        self.counts.heard += 1
        if check(frame):
            self.counts.refused += 1
            return []
        packet = Packet.decode(frame)
        if packet.origin == self.id or packet.destination not in (self.id, EVERYONE):
            return []
        faint = not packet.direct and is_faint(snr_quarter_db, self.settings.modulation)
        if (price := self._seen.get(packet.hash)) is not None:
            if not faint and packet.origin in self.nodes and (packet.price < price or self._is_stalled(packet.origin, now)):
                self._know(packet, self.nodes[packet.origin].peer, now)
                self._remember(packet)
            return []
        if faint:
            self._held.add(packet, now)
            return []
        self._held.drop(packet.hash)
        return self._heard(packet, now)

    def _heard(self, packet: Packet, now: float) -> list[StationEvent]:
        try:
            events = self._take(packet, now)
        except RetrievalError:  # theirs, or ours when there is no room for one more session
            self.counts.refused += 1
            return []
        self._remember(packet)
        return events

    def take_records(self) -> tuple[Record, ...]:
        """What is to be committed of what was heard; nothing waits for it."""
        records, self._records = self._records, ()
        return records

    def _take(self, packet: Packet, now: float) -> list[StationEvent]:
        match packet.type:
            case PacketType.ADVERT:
                return self._take_advert(packet, now)
            case PacketType.WANT:
                return self._take_want(packet, now)
            case PacketType.QUOTE:
                return self._take_quote(packet, now)
            case PacketType.RECEIPT:
                return self._take_receipt(packet, now)
            case PacketType.ACK | PacketType.VOUCHER | PacketType.FRAGMENT | PacketType.RECORD:
                return self._take_session(packet, now)

    def _take_advert(self, packet: Packet, now: float) -> list[StationEvent]:
        advert = read_advert(packet)
        known = self.nodes.get(advert.id)
        if known is not None and known.advert is not None and advert.sequence < known.advert.sequence:
            return []
        node = self._know(packet, advert.peer_id, now)
        node.advert = advert
        if advert.roles & Role.RELAY:
            self._records += self.account.meet(packet.encode()).records
        return [AdvertHeard(advert=advert, way=cost_of(packet))]

    def _take_want(self, packet: Packet, now: float) -> list[StationEvent]:
        want = Want.read(packet)
        times = self._wants.setdefault(want.id, deque(maxlen=WANTS_PER_NODE))
        if len(times) == WANTS_PER_NODE and now - times[0] < WANTS_WITHIN_S:
            raise RemoteProtocolError(ErrorCode.RATE_LIMITED)
        times.append(now)
        if len(self._wants) > NODES_MAX:
            self._wants.pop(next(iter(self._wants)))
        self._know(packet, want.asker, now)
        return [WantHeard(want=want, packet=packet)]

    def _take_quote(self, packet: Packet, now: float) -> list[StationEvent]:
        quote = Quote.read(packet)
        if quote.wanted not in self._asked:
            raise RemoteProtocolError(ErrorCode.QUOTE_MISMATCH, "nothing like it was asked for")
        check_seal(packet, self._seal_key(packet.origin, quote.provider))
        self._know(packet, quote.provider, now).quoted = self._asked[quote.wanted]
        self._arrivals.add(packet, now)
        return [QuoteHeard(quote=quote, way=cost_of(packet))]

    def _take_receipt(self, packet: Packet, now: float) -> list[StationEvent]:
        if packet.payload[:1] == b"\x12":
            return [RelayReceiptHeard(signed=packet.payload)]
        node = self._node(packet.origin)
        self._records += self.account.deliver(packet.payload, node.peer).records
        self._arrivals.hurry(packet.origin, now)  # it pauses, or leaves: what we owe it a receipt for is better signed soon
        return []

    def _take_session(self, packet: Packet, now: float) -> list[StationEvent]:
        node = self._node(packet.origin)
        check_seal(packet, node.seal_key)
        self._know(packet, node.peer, now)
        self._answers.drop(packet.origin)
        events: list[StationEvent] = []
        if packet.type is PacketType.ACK:
            ack = Ack.decode(packet.payload)
            session = SessionId((packet.origin, ack.session))
            if (bearer := self.sessions.get(session)) is not None:
                bearer.acknowledged(ack, now)
                events.append(SessionMoved(session=session))
            return events
        segment = Segment.decode(packet.payload)
        session = SessionId((packet.origin, segment.session))
        if (bearer := self.sessions.get(session)) is None:
            if segment.record != 0:
                raise RemoteProtocolError(ErrorCode.UNEXPECTED_MESSAGE, "its session is over")
            events += self._supersede(packet.origin)
            bearer = self._new_bearer(session, dictionary(node.peer, self.key.peer_id), now)
            events.append(SessionOpened(session=session, peer=node.peer))
        self._arrivals.add(packet, now)
        try:
            bearer.receive(segment, now)
        except RemoteProtocolError as error:  # what it carries cannot be read from here on
            bearer.error = error
        return [*events, SessionMoved(session=session)]

    def _supersede(self, origin: RadioId) -> list[StationEvent]:
        """End the sessions of a client that begins another: it has one at a time, and nobody says goodbye over the radio."""
        old = [session for session in self.sessions if session[0] == origin]
        for session in old:
            self.sessions[session].error = RemoteProtocolError(ErrorCode.TRANSFER_TRUNCATED, "the client began another session")
        return [SessionMoved(session=session) for session in old]

    # time

    def next_deadline(self) -> float | None:
        """When ``tick``, or ``next_frame``, is due."""
        bearers = [bearer for bearer in self.sessions.values() if bearer.error is None]
        dues = [due for bearer in bearers if (due := bearer.next_deadline()) is not None]
        dues += [bearer.last_news + SESSION_IDLE_S for bearer in bearers]
        if self._outbox or any(bearer.has_body for bearer in bearers):
            dues.append(self._free_at)
        dues += [due for waits in (self._arrivals, self._held, self._answers) if (due := waits.next_deadline()) is not None]
        return max(min(dues), self._free_at) if dues else None

    def tick(self, now: float) -> list[StationEvent]:
        """Act on deadlines that have passed."""
        moved: list[StationEvent] = []
        for packet in self._held.due(now):
            moved += self._heard(packet, now)
        for session, bearer in tuple(self.sessions.items()):
            if bearer.error is not None:
                continue
            bearer.tick(now)
            if bearer.error is None and now - bearer.last_news >= SESSION_IDLE_S:
                bearer.error = RemoteProtocolError(ErrorCode.TRANSFER_STALLED, "the other side has fallen silent")
            if bearer.error is not None:
                moved.append(SessionMoved(session=session))
            elif bearer.is_stalled(now):
                self._search(session, now)
        return moved

    def _search(self, session: SessionId, now: float) -> None:
        """Have the provider of a session that we began, and which its way has failed, say again how it is reached."""
        node = self.nodes.get(session[0])
        if node is not None and (sought := self._searches.due(session, now)) is not None:
            cid, price_max = sought
            self.want(cid, price_max=price_max, now=now, hop_limit=min(len(node.route) + DETOUR_HOPS, self.settings.hop_limit))

    def _is_stalled(self, other: RadioId, now: float) -> bool:
        """Whether a session with that node had better go another way."""
        return any(bearer.is_stalled(now) for (end, _), bearer in self.sessions.items() if end == other)

    # inside

    def _know(self, packet: Packet, peer: PeerId, now: float) -> Node:
        """Remember a node and the way to it: a shorter or cheaper one, a fresh one in place of one that is old, or any other in place of
        one on which a session has stalled."""
        origin = packet.origin
        node = self.nodes.pop(origin, None)
        route = tuple(reversed(packet.trail[: packet.hops]))
        if node is None:
            seal_key = self.key.secret_with(peer, SEAL_PURPOSE)
            node = Node(peer=peer, route=route, way=cost_of(packet), heard_at=now, seal_key=seal_key)
            if len(self.nodes) >= NODES_MAX:
                self.nodes.popitem(last=False)
        elif len(route) <= node.hops_max and (
            _rank(route) <= _rank(node.route) or now - node.heard_at > ROUTE_FRESH_S or self._is_stalled(origin, now)
        ):
            if route != node.route:
                self._change_way(origin, now)
            node.route, node.way, node.heard_at = route, cost_of(packet), now
        self.nodes[origin] = node
        return node

    def _change_way(self, other: RadioId, now: float) -> None:
        for (end, _), bearer in self.sessions.items():
            if end == other and bearer.is_stalled(now):
                bearer.change_way(now)

    def _node(self, id_: RadioId) -> Node:
        node = self.nodes.get(id_)
        if node is None:
            raise RemoteProtocolError(ErrorCode.UNEXPECTED_MESSAGE, "the node never said who it is")
        return node

    def _seal_key(self, id_: RadioId, peer: PeerId) -> bytes:
        node = self.nodes.get(id_)
        return node.seal_key if node is not None else self.key.secret_with(peer, SEAL_PURPOSE)

    def _remember(self, packet: Packet) -> None:
        self._seen[packet.hash] = packet.price
        if len(self._seen) > SEEN_MAX:
            self._seen.popitem(last=False)

    def _new_bearer(self, session: SessionId, words: bytes, now: float) -> Bearer:
        if sum(bearer.error is None for bearer in self.sessions.values()) >= SESSIONS_MAX:
            raise LocalProtocolError(ErrorCode.TOO_MANY_SESSIONS, f"{SESSIONS_MAX} are open over the radio", retry_after_s=60)
        node = self.nodes[session[0]]
        if not any(other == session[0] for other, _ in self.sessions):
            node.hops_max = min(HOPS_MAX, len(node.route) + DETOUR_HOPS)
        piece_size = piece_size_of(payload_size_max(node.hops_max) - SEAL_SIZE)
        bearer = Bearer(session[1], piece_size=piece_size, round_trip_s=self._round_trip_s(node), words=words, now=now)
        self.sessions[session] = bearer
        return bearer

    def _round_trip_s(self, node: Node) -> float:
        """What a frame there and an answer take where each relay senses, and now and then repeats. What floods took says little of it: they
        wait at every relay."""
        frame_s = airtime_us(FRAME_SIZE_MAX, self.settings.modulation) / 1e6
        return 2 * frame_s * FRAMES_PER_HOP * (1 + len(node.route))

    # packets

    def _flood(self, type_: PacketType, payload: bytes, *, hop_limit: int | None = None) -> Packet:
        return self._packet(type_, payload, EVERYONE, hop_limit=self.settings.hop_limit if hop_limit is None else hop_limit, route=None)

    def _sealed(self, type_: PacketType, body: bytes, node: Node) -> Packet:
        """A packet along the way to a node, sealed."""
        destination = radio_id(public_key_of(node.peer))
        return sealed(self._packet(type_, b"", destination, hop_limit=len(node.route), route=node.route), body, node.seal_key)

    def _packet(
        self, type_: PacketType, payload: bytes, destination: RadioId, *, hop_limit: int, route: tuple[Entry, ...] | None
    ) -> Packet:
        packet_id, self._next_packet_id = self._next_packet_id, (self._next_packet_id + 1) & 0xFFFFFFFF
        fees = self.settings.fee_cap if route is None else sum(entry.fee for entry in route)
        return Packet(
            type=type_,
            direct=route is not None,
            hop_limit=hop_limit,
            packet_id=packet_id,
            origin=self.id,
            destination=destination,
            fee_cap_code=0 if type_ in FREE_TYPES else code16_up(fees),
            payload=payload,
            hops=0,
            latency_code=0,
            bandwidth_code=code8_down(self.settings.bandwidth_bps),
            mtu=FRAME_SIZE_MAX,
            token=bytes(TOKEN_SIZE),
            trail=route or (),
        )

    def _put(self, packet: Packet, now: float) -> None:
        """Have a packet sent, or drop it where the link is far behind or the way too dear: everything that matters is repeated."""
        if len(self._outbox) >= OUTBOX_MAX or packet.fee_cap > self.settings.fee_cap:
            self.counts.dropped += 1
            return
        try:
            promised, step = self.account.send(packet, now)
        except LocalProtocolError:  # more fees may be asked of us already than we keep account of
            self.counts.dropped += 1
            return
        self._outbox.append((promised, step.records))

    def _put_receipts(self, now: float) -> None:
        for origin, signed in self._arrivals.due(now, room_for=self._receipt_room):
            if (node := self.nodes.get(origin)) is not None:
                destination = radio_id(public_key_of(node.peer))
                self._put(self._packet(PacketType.RECEIPT, signed, destination, hop_limit=len(node.route), route=node.route), now)

    def _put_answers(self, now: float) -> None:
        for answer in self._answers.due(now):
            if (node := self.nodes.get(answer.want.origin)) is not None:
                quote = Quote(
                    provider=self.key.peer_id,
                    wanted=answer.want.hash[:WANTED_SIZE],
                    n_bytes=answer.n_bytes,
                    n_blocks=answer.n_blocks,
                    price_code=code16_up(answer.price),
                    way=node.way,
                )
                self._put(self._sealed(PacketType.QUOTE, quote.encode(), node), now)

    def _receipt_room(self, origin: RadioId) -> int:
        node = self.nodes.get(origin)
        return payload_size_max(len(node.route) if node is not None else HOPS_MAX)

    def _put_bodies(self, now: float) -> None:
        for (origin, _), bearer in self._in_turn():
            if bearer.error is None and (body := bearer.next_body(now)) is not None and (node := self.nodes.get(origin)) is not None:
                self._put(self._sealed(*body, node), now)
                return

    def _in_turn(self) -> Iterator[tuple[SessionId, Bearer]]:
        """Sessions, the one that had its turn last."""
        for session in tuple(self.sessions):
            bearer = self.sessions.pop(session)
            self.sessions[session] = bearer
            yield session, bearer


def _rank(route: tuple[Entry, ...]) -> tuple[int, int]:
    """What makes one way better than another: its price, then its length."""
    return sum(entry.fee for entry in route), len(route)
