"""A faint flood waits for a better copy, and an answer for silence: neither for ever, neither more than there is room for."""

from __future__ import annotations

from dataclasses import replace

import pytest
from radio_relays import TRAIL_KEY, Relay, id_of

from retrieval.cid import RAW, cid_of
from retrieval.identity import PeerKey
from retrieval.radio.account import RelayAccount, Tables
from retrieval.radio.airtime import Modulation
from retrieval.radio.codes import code16_up
from retrieval.radio.floods import ANSWERS_MAX, HELD_MAX, SAYS_MAX, Answer, Answers, HeldFloods, is_faint
from retrieval.radio.packet import EVERYONE, FRAME_SIZE_MAX, TOKEN_SIZE, Packet, PacketType
from retrieval.radio.station import QuoteHeard, Station, StationSettings, WantHeard

NOW = 1_800_000_000.0
LATE = NOW + 60.0
CID = cid_of(RAW, b"content")
FAINT, STRONG = -20, 20


def flood(number: int) -> Packet:
    return Packet(
        type=PacketType.WANT,
        direct=False,
        hop_limit=3,
        packet_id=number,
        origin=id_of(PeerKey.from_seed(bytes(32))),
        destination=EVERYONE,
        fee_cap_code=code16_up(100),
        payload=b"?",
        hops=0,
        latency_code=0,
        bandwidth_code=0,
        mtu=FRAME_SIZE_MAX,
        token=bytes(TOKEN_SIZE),
        trail=(),
    )


def station(number: int) -> Station:
    key = PeerKey.from_seed(bytes([number]) * 32)
    account = RelayAccount(id_of(key), TRAIL_KEY, None, Tables(), now=NOW)
    return Station(key, StationSettings(fee_cap=1000), account, first_packet_id=1)


@pytest.mark.parametrize(("spreading", "limit"), [(7, -30), (8, -40), (12, -80)])
def test_what_is_faint_depends_on_the_spreading_factor(spreading: int, limit: int) -> None:
    modulation = replace(Modulation(), spreading_factor=spreading)
    assert is_faint(limit + 19, modulation)
    assert not is_faint(limit + 20, modulation)
    assert not is_faint(None, modulation)


def test_a_faint_flood_is_told_when_no_better_copy_came() -> None:
    client, provider = station(1), station(2)
    client.want(CID, price_max=5, now=NOW)
    out = client.next_frame(NOW)
    assert out is not None
    assert provider.hear(out.frame, NOW, snr_quarter_db=FAINT) == []
    assert provider.tick(NOW) == []
    due = provider.next_deadline()
    assert due is not None
    assert NOW < due < LATE
    assert [type(event) for event in provider.tick(due)] == [WantHeard]
    assert provider.tick(LATE) == []


def test_a_dearer_way_that_holds_is_taken_before_a_faint_one() -> None:
    client, provider = station(1), station(2)
    client.want(CID, price_max=5, now=NOW)
    out = client.next_frame(NOW)
    assert out is not None
    relayed = Relay(PeerKey.from_seed(bytes([9]) * 32), 10).carry(Packet.decode(out.frame)).encode()
    provider.hear(out.frame, NOW, snr_quarter_db=FAINT)
    assert [type(event) for event in provider.hear(relayed, NOW, snr_quarter_db=STRONG)] == [WantHeard]
    assert provider.tick(LATE) == []
    assert provider.hear(out.frame, LATE, snr_quarter_db=FAINT) == []
    assert len(provider.nodes[client.id].route) == 1


def test_an_answer_leaves_when_the_want_has_passed_on() -> None:
    client, provider = station(1), station(2)
    client.want(CID, price_max=5, now=NOW)
    out = client.next_frame(NOW)
    assert out is not None
    (heard,) = provider.hear(out.frame, NOW)
    assert isinstance(heard, WantHeard)
    provider.quote(heard, n_bytes=7, n_blocks=1, price=5, now=NOW)
    assert provider.next_frame(NOW + 1) is None
    assert not provider.is_quiet
    due = provider.next_deadline()
    assert due is not None
    answer = provider.next_frame(due)
    assert answer is not None
    assert [type(event) for event in client.hear(answer.frame, due)] == [QuoteHeard]
    assert provider.is_quiet


def test_of_too_many_floods_the_oldest_is_forgotten() -> None:
    held = HeldFloods(Modulation())
    for number in range(HELD_MAX + 5):
        held.add(flood(number), NOW)
    assert [packet.packet_id for packet in held.due(LATE)] == list(range(5, HELD_MAX + 5))
    assert held.next_deadline() is None


def test_the_cheapest_faint_copy_is_held() -> None:
    held, packet = HeldFloods(Modulation()), flood(1)
    dear, cheap = (Relay(PeerKey.from_seed(bytes([fee]) * 32), fee).carry(packet) for fee in (20, 10))
    for copy in (dear, cheap, dear):
        held.add(copy, NOW)
    assert [copy.price for copy in held.due(LATE)] == [10]


def test_more_answers_than_there_is_room_for_are_refused() -> None:
    answers = Answers(Modulation())
    taken = [answers.add(Answer(want=flood(number), n_bytes=1, n_blocks=1, price=1), NOW) for number in range(ANSWERS_MAX + 1)]
    assert taken == [True] * ANSWERS_MAX + [False]
    assert not answers.is_said
    assert len(answers.due(LATE)) == ANSWERS_MAX
    assert answers.is_said


def test_an_answer_is_repeated_until_the_asker_is_heard_and_not_for_ever() -> None:
    answers, asked, heard = Answers(Modulation()), flood(1), replace(flood(2), origin=id_of(PeerKey.from_seed(bytes([1]) * 32)))
    for want in (asked, heard):
        assert answers.add(Answer(want=want, n_bytes=1, n_blocks=1, price=1), NOW)
    said, now = [answer.want for answer in answers.due(LATE)], LATE
    answers.drop(heard.origin)
    while (due := answers.next_deadline()) is not None:
        now = max(now, due)
        said += [answer.want for answer in answers.due(now)]
    assert said == [asked, heard] + [asked] * (SAYS_MAX - 1)
