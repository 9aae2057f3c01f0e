"""A station hears anything: noise, forgeries, floods and replays change nothing but counts, and memory stays within its bounds."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from radio_relays import TRAIL_KEY, Relay, id_of

from retrieval.cid import RAW, cid_of
from retrieval.errors import ErrorCode, LocalProtocolError
from retrieval.identity import PeerKey
from retrieval.radio.account import RelayAccount, Tables
from retrieval.radio.bearer import PIECE_SIZE_MIN
from retrieval.radio.packet import Entry, Packet, PacketType, check, payload_size_max
from retrieval.radio.payload import sealed
from retrieval.radio.searches import SEARCHES_MAX
from retrieval.radio.station import (
    NODES_MAX,
    OUTBOX_MAX,
    SESSION_IDLE_S,
    SESSIONS_MAX,
    WANTS_PER_NODE,
    QuoteHeard,
    SessionMoved,
    SessionOpened,
    Station,
    StationSettings,
    WantHeard,
)

NOW = 1_800_000_000.0
CID = cid_of(RAW, b"content")


def station(number: int, *, fee_cap: int = 1000) -> Station:
    key = PeerKey.from_seed(bytes([number]) * 32)
    account = RelayAccount(id_of(key), TRAIL_KEY, None, Tables(), now=NOW)
    return Station(key, StationSettings(fee_cap=fee_cap), account, first_packet_id=1)


def frames(of: Station, now: float = NOW) -> list[bytes]:
    """Everything it has to say, as long as that takes."""
    said = []
    for _ in range(200):
        if (out := of.next_frame(now)) is not None:
            said.append(out.frame)
        now += 2.0
    return said


@pytest.fixture
def met() -> tuple[Station, Station]:
    """A client and a provider that know each other."""
    client, provider = station(1), station(2)
    client.want(CID, price_max=100, now=NOW)
    (want,) = frames(client)
    (heard,) = provider.hear(want, NOW)
    assert isinstance(heard, WantHeard)
    provider.quote(heard, n_bytes=7, n_blocks=1, price=5, now=NOW)
    quote, *_ = frames(provider)
    (answer,) = client.hear(quote, NOW)
    assert isinstance(answer, QuoteHeard)
    return client, provider


def test_an_answer_to_nothing_that_was_asked_is_not_heard(met: tuple[Station, Station]) -> None:
    client, provider = met
    stranger = station(3)
    stranger.want(CID, price_max=100, now=NOW)
    (heard,) = provider.hear(frames(stranger)[0], NOW)
    provider.quote(heard, n_bytes=7, n_blocks=1, price=5, now=NOW)
    assert not any(client.hear(frame, NOW) for frame in frames(provider))


def test_a_frame_that_comes_twice_is_told_once(met: tuple[Station, Station]) -> None:
    _, provider = met
    other = station(4)
    other.want(CID, price_max=100, now=NOW)
    (want,) = frames(other)
    assert len(provider.hear(want, NOW)) == 1
    assert provider.hear(want, NOW) == []


def test_the_answer_takes_the_cheapest_way_that_was_heard() -> None:
    client, provider = station(1), station(2)
    client.want(CID, price_max=100, now=NOW)
    want = Packet.decode(frames(client)[0])
    dear, cheap = (Relay(PeerKey.from_seed(bytes([seed]) * 32), fee) for seed, fee in ((8, 50), (9, 5)))
    assert len(provider.hear(dear.carry(want).encode(), NOW)) == 1
    assert provider.hear(cheap.carry(want).encode(), NOW) == []
    assert [entry.fee for entry in provider.nodes[client.id].route] == [5]


def test_a_session_of_a_stranger_is_not_opened(met: tuple[Station, Station]) -> None:
    client, provider = met
    session = client.open(provider.id, 7, NOW)
    client.sessions[session].write(b"hello", PacketType.RECORD)
    (frame,) = frames(client)
    forged = replace(Packet.decode(frame), payload=Packet.decode(frame).payload[:-1] + b"\x00")
    assert provider.hear(forged.encode(), NOW) == []
    opened, moved = provider.hear(frame, NOW)
    assert isinstance(opened, SessionOpened)
    assert isinstance(moved, SessionMoved)
    assert provider.sessions[opened.session].read() == b"hello"


def test_a_clients_next_session_ends_its_last(met: tuple[Station, Station]) -> None:
    client, provider = met
    for number in range(3):
        session = client.open(provider.id, number, NOW)
        client.sessions[session].write(b"hello", PacketType.RECORD)
        for frame in frames(client):
            provider.hear(frame, NOW)
        client.close(session)
    assert sum(bearer.error is None for bearer in provider.sessions.values()) == 1


def test_a_session_that_falls_silent_is_over(met: tuple[Station, Station]) -> None:
    client, provider = met
    session = client.open(provider.id, 7, NOW)
    client.tick(NOW + SESSION_IDLE_S)
    error = client.sessions[session].error
    assert error is not None
    assert error.code is ErrorCode.TRANSFER_STALLED


def searching(client: Station, provider: Station) -> tuple[float, list[bytes]]:
    """A session whose way fails: when that is noticed, and all that the client floods until it gives the way up."""
    session = client.open(provider.id, 7, NOW)
    client.sessions[session].write(b"hello", PacketType.RECORD)
    floods, noticed, now = [], 0.0, NOW
    while client.sessions[session].error is None:
        client.tick(now)
        while (out := client.next_frame(now)) is not None:
            if out.type is PacketType.WANT:
                noticed = noticed or now
                floods.append(out.frame)
        now += 1.0
    return noticed, floods


def test_a_session_whose_way_fails_looks_for_another_and_not_for_ever(met: tuple[Station, Station]) -> None:
    noticed, floods = searching(*met)
    assert noticed > NOW
    assert len(floods) == SEARCHES_MAX


def test_a_session_goes_on_over_another_way_though_it_is_dearer(met: tuple[Station, Station]) -> None:
    client, provider = met
    relay = Relay(PeerKey.from_seed(bytes([8]) * 32), 5)
    session = client.open(provider.id, 7, NOW)
    client.sessions[session].write(b"hello", PacketType.RECORD)
    now = NOW
    want = None
    while want is None:
        now += 1.0
        client.tick(now)
        if (out := client.next_frame(now)) is not None and out.type is PacketType.WANT:
            want = Packet.decode(out.frame)
    (heard,) = provider.hear(relay.carry(want).encode(), now)
    assert isinstance(heard, WantHeard)
    provider.nodes[client.id].route = (Entry(tag=relay.id[:4], fee_code=5),)
    provider.quote(heard, n_bytes=7, n_blocks=1, price=5, now=now)
    quote, *_ = frames(provider, now)
    client.hear(relay.carry(Packet.decode(quote)).encode(), now + 10.0)
    assert [entry.tag for entry in client.nodes[provider.id].route] == [relay.id[:4]]
    said = [Packet.decode(frame) for frame in frames(client, now + 10.0)]
    assert [packet.hop_limit for packet in said if packet.type is PacketType.RECORD] == [1]


def test_there_are_so_many_sessions_and_no_more(met: tuple[Station, Station]) -> None:
    client, provider = met
    for number in range(SESSIONS_MAX):
        client.open(provider.id, number, NOW)
    with pytest.raises(LocalProtocolError) as refused:
        client.open(provider.id, 99, NOW)
    assert refused.value.code is ErrorCode.TOO_MANY_SESSIONS


def test_a_way_above_the_fee_cap_is_not_taken() -> None:
    client, provider = station(1, fee_cap=10), station(2)
    client.want(CID, price_max=100, now=NOW)
    (heard,) = provider.hear(frames(client)[0], NOW)
    provider.quote(heard, n_bytes=7, n_blocks=1, price=5, now=NOW)
    quote = Packet.decode(frames(provider)[0])
    client.hear(quote.encode(), NOW)
    client.nodes[provider.id].route = (Entry(tag=b"dear", fee_code=11),)
    with pytest.raises(LocalProtocolError) as refused:
        client.open(provider.id, 7, NOW)
    assert refused.value.code is ErrorCode.OVER_BUDGET


def test_a_node_that_asks_too_often_is_not_answered() -> None:
    client, provider = station(1), station(2)
    answered = 0
    for _ in range(WANTS_PER_NODE * 2):
        client.want(CID, price_max=100, now=NOW)
        answered += sum(len(provider.hear(frame, NOW)) for frame in frames(client))
    assert answered == WANTS_PER_NODE
    client.want(CID, price_max=100, now=NOW)
    assert len(provider.hear(frames(client)[0], NOW + 61.0)) == 1


def test_strangers_fill_no_memory() -> None:
    provider = station(2)
    for number in range(NODES_MAX + 40):
        key = PeerKey.from_seed(number.to_bytes(32, "big"))
        account = RelayAccount(id_of(key), TRAIL_KEY, None, Tables(), now=NOW)
        stranger = Station(key, StationSettings(fee_cap=0), account, first_packet_id=1)
        stranger.want(CID, price_max=100, now=NOW)
        provider.hear(frames(stranger)[0], NOW)
    assert len(provider.nodes) == NODES_MAX


def test_what_cannot_leave_is_dropped_and_not_kept(met: tuple[Station, Station]) -> None:
    client, _ = met
    for _ in range(OUTBOX_MAX * 2):
        client.want(CID, price_max=100, now=NOW)
    assert len(frames(client)) == OUTBOX_MAX


def test_pieces_fit_the_longest_way() -> None:
    assert payload_size_max(8) - 7 - 4 >= PIECE_SIZE_MIN


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(PacketType), st.binary(max_size=120), st.booleans()), max_size=12))
def test_whoever_holds_the_key_still_says_what_it_likes(said) -> None:
    """The other end of a session is no friend: any payload, sealed or not, is taken or dropped."""
    client, provider = station(1), station(2)
    client.want(CID, price_max=100, now=NOW)
    provider.hear(frames(client)[0], NOW)
    node = provider.nodes[client.id]
    for number, (kind, payload, is_sealed) in enumerate(said):
        bare = replace(
            Packet.decode(_EMPTY),
            type=kind,
            packet_id=1000 + number,
            origin=client.id,
            destination=provider.id,
            fee_cap_code=0,
            payload=b"",
        )
        packet = sealed(bare, payload, node.seal_key) if is_sealed else replace(bare, payload=payload)
        provider.hear(packet.encode(), NOW)
        provider.tick(NOW)
        for frame in frames(provider):
            assert not check(frame)


@given(st.binary(max_size=260))
def test_noise_is_counted_and_nothing_else(noise) -> None:
    provider = station(2)
    assert provider.hear(noise, NOW) == []
    assert provider.counts.refused == 1


_EMPTY = station(9)._packet(PacketType.ACK, b"", station(8).id, hop_limit=0, route=()).encode()
