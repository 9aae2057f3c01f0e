"""A relay is paid once, against its own receipt and the destination's, and never against one of them or a trail that was rewritten."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from radio_relays import Parties, Relay, deliver

from retrieval.deal import fold
from retrieval.deal.audit import check
from retrieval.deal.records import AdvertRecord, CarriageRecord, PacketRecord, record
from retrieval.errors import ErrorCode, LocalProtocolError, RemoteProtocolError, RetrievalError
from retrieval.identity import PeerKey
from retrieval.radio.account import IDENTITIES_PER_TAG_MAX, RECEIPTS_PER_CLAIM_MAX, Claim, Settlement
from retrieval.radio.codes import code16_up
from retrieval.radio.packet import Entry, Packet, RadioId
from retrieval.radio.proof import CARRIED_MAX, Carried, RelayReceipt
from retrieval.wire import shape


def claim_of(parties: Parties, relay: Relay, receipts: tuple[bytes, ...] | None = None) -> Claim:
    return Claim(
        relay=relay.key.peer_id,
        channel_id=parties.pair.channel_id,
        receipts=relay.receipts() if receipts is None else receipts,
        adverts=(relay.advert_frame(),),
    )


def settle(parties: Parties, relay: Relay, receipts: tuple[bytes, ...] | None = None) -> Settlement:
    claim = shape.decode(Claim, shape.encode(claim_of(parties, relay, receipts)))
    settlement, step = parties.account.settle(claim, parties.line)
    parties.origin.commit(step, parties.now)
    parties.take_payment(settlement, relay, claim.receipts)
    return settlement


def refusal(parties: Parties, relay: Relay, receipts: tuple[bytes, ...] | None = None) -> ErrorCode:
    before = parties.line.best_amount
    with pytest.raises(RetrievalError) as refused:
        settle(parties, relay, receipts)
    assert parties.line.best_amount == before
    return refused.value.code


def carriages(parties: Parties) -> dict[bytes, int]:
    return {key: row.amount for key, row in fold.scan(parties.origin.storage, CarriageRecord)}


def promised(parties: Parties) -> tuple[int, int]:
    """By the journals of both, each checked."""
    return check(parties.origin.storage).promised, check(parties.pair.provider.storage).promised


@pytest.fixture
def parties() -> Parties:
    return Parties()


@pytest.fixture
def arrived(parties: Parties) -> Packet:
    """A packet that came over three relays."""
    return parties.carry(parties.send())


def test_every_relay_on_the_trail_is_paid_its_fee(parties: Parties, arrived: Packet) -> None:
    parties.take_delivery(deliver(arrived, parties.destination))
    for relay in parties.relays:
        assert settle(parties, relay).paid == (arrived.hash,)
    assert parties.line.best_amount == 11 + 12 + 13
    assert promised(parties) == (36, 36)


def test_a_relay_that_asks_again_gets_the_same_voucher(parties: Parties, arrived: Packet) -> None:
    parties.take_delivery(deliver(arrived, parties.destination))
    first = settle(parties, parties.relays[0])
    parties.restart_origin()
    parties.restart_operator()
    assert settle(parties, parties.relays[0]) == first
    assert promised(parties) == (11, 11)


def test_a_payment_that_was_lost_on_its_way_is_booked_when_asked_for_again(parties: Parties, arrived: Packet) -> None:
    parties.take_delivery(deliver(arrived, parties.destination))
    claim = claim_of(parties, parties.relays[0])
    _, step = parties.account.settle(claim, parties.line)
    parties.origin.commit(step, parties.now)
    settle(parties, parties.relays[0], claim.receipts)
    assert promised(parties) == (11, 11)


def test_without_a_delivery_receipt_nobody_is_paid(parties: Parties, arrived: Packet) -> None:
    assert settle(parties, parties.relays[0]).paid == ()
    assert promised(parties) == (0, 0)


def test_a_relay_whose_entry_was_replaced_takes_nobody_elses_fee(parties: Parties) -> None:
    first, second, thief = parties.relays
    packet = first.carry(parties.send())
    own = Entry(tag=thief.id[:4], fee_code=packet.trail[0].fee_code)
    forged = thief.carry(replace(packet, trail=(own,)))
    parties.take_delivery(deliver(forged, parties.destination))
    for relay in (first, second, thief):
        assert settle(parties, relay, (relay.receipt(packet, 0),)).paid == ()
    assert promised(parties) == (0, 0)


def test_a_destination_that_signs_for_another_trail_has_nobody_paid(parties: Parties, arrived: Packet) -> None:
    entries = (arrived.trail[0], replace(arrived.trail[1], fee_code=code16_up(40)), arrived.trail[2])
    parties.take_delivery(deliver(arrived, parties.destination, entries))
    assert settle(parties, parties.relays[1]).paid == ()


def test_a_trail_above_the_cap_is_not_taken(parties: Parties, arrived: Packet) -> None:
    entries = (*arrived.trail[:2], replace(arrived.trail[2], fee_code=code16_up(101)))
    with pytest.raises(RemoteProtocolError, match="fee cap"):
        parties.take_delivery(deliver(arrived, parties.destination, entries))


def test_a_stranger_delivers_nothing(parties: Parties, arrived: Packet) -> None:
    with pytest.raises(RemoteProtocolError, match="another destination"):
        parties.account.deliver(deliver(arrived, PeerKey.from_seed(bytes(32))), PeerKey.from_seed(bytes(32)).peer_id)


def test_a_receipt_at_another_hop_or_for_another_fee_is_refused(parties: Parties, arrived: Packet) -> None:
    parties.take_delivery(deliver(arrived, parties.destination))
    relay = parties.relays[1]
    assert refusal(parties, relay, (relay.receipt(arrived, 0),)) is ErrorCode.BAD_RECEIPT
    relay.fee = 99
    assert refusal(parties, relay) is ErrorCode.BAD_RECEIPT


def test_a_relay_is_paid_on_its_operators_channel_only(parties: Parties, arrived: Packet) -> None:
    parties.take_delivery(deliver(arrived, parties.destination))
    parties.relays[0].operator = bytes(19) + b"\x01"
    assert refusal(parties, parties.relays[0]) is ErrorCode.CHANNEL_UNACCEPTABLE


def test_a_relay_that_was_never_heard_of_is_paid_once_its_neighbours_are_known(parties: Parties, arrived: Packet) -> None:
    known = parties.relays
    parties.relays = []
    parties.restart_origin()
    parties.take_delivery(deliver(arrived, parties.destination))
    assert settle(parties, known[0]).paid == ()
    for relay in known:
        parties.account.heard(relay.id)
    assert settle(parties, known[0]).paid == (arrived.hash,)
    assert promised(parties) == (11, 11)


def test_a_tag_that_was_ground_to_be_anothers_is_seen_through(parties: Parties, arrived: Packet) -> None:
    twin = type(arrived.origin)(parties.relays[0].id[:4] + b"twin")
    parties.account.heard(twin)
    parties.take_delivery(deliver(arrived, parties.destination))
    assert settle(parties, parties.relays[0]).paid == (arrived.hash,)


def test_a_claims_own_relay_needs_no_room_among_strangers_of_its_tag(parties: Parties, arrived: Packet) -> None:
    known, parties.relays = parties.relays, []
    parties.restart_origin()
    for relay in known:
        for number in range(IDENTITIES_PER_TAG_MAX):
            parties.account.heard(RadioId(relay.id[:4] + bytes((number,)) * 4))
    parties.take_delivery(deliver(arrived, parties.destination))
    assert settle(parties, known[0]).paid == ()
    claim = replace(claim_of(parties, known[0]), adverts=tuple(relay.advert_frame() for relay in known))
    settlement, step = parties.account.settle(claim, parties.line)
    parties.origin.commit(step, parties.now)
    parties.take_payment(settlement, known[0], claim.receipts)
    assert settlement.paid == (arrived.hash,)
    later = parties.carry_over(known, parties.send())
    parties.take_delivery(deliver(later, parties.destination))
    assert settle(parties, known[1]).paid == (arrived.hash, later.hash)  # who was proven has a place from then on


def test_a_claim_that_is_refused_leaves_its_adverts_to_be_learned(parties: Parties, arrived: Packet) -> None:
    relay = parties.relays[0]
    claim = replace(claim_of(parties, relay), channel_id=b"x" * 32)
    for adverts in (claim.adverts, (*claim.adverts, b"no frame")):
        with pytest.raises(RemoteProtocolError):
            parties.account.settle(replace(claim, adverts=adverts), parties.line)
    with pytest.raises(RemoteProtocolError):
        parties.account.meet(*claim.adverts, b"no frame")
    parties.origin.commit(parties.account.meet(*claim.adverts), parties.now)
    assert [row.frame for _, row in fold.scan(parties.origin.storage, AdvertRecord)] == [relay.advert_frame()]


def test_of_too_many_adverts_the_oldest_go_that_nobody_is_owed(parties: Parties, arrived: Packet) -> None:
    parties.restart_origin(adverts_max=3)
    strangers = [Relay(PeerKey.from_seed(bytes([0x80 + number]) * 32), fee=1) for number in range(4)]
    parties.take_delivery(deliver(arrived, parties.destination))
    for relay in (parties.relays[0], *strangers):
        parties.origin.commit(parties.account.meet(relay.advert_frame()), parties.now)
    kept = {key for key, _ in fold.scan(parties.origin.storage, AdvertRecord)}
    assert kept == {parties.relays[0].id, strangers[2].id, strangers[3].id}
    assert settle(parties, parties.relays[0]).paid == (arrived.hash,)
    parties.origin.commit(parties.account.meet(strangers[0].advert_frame()), parties.now)
    kept = {key for key, _ in fold.scan(parties.origin.storage, AdvertRecord)}
    assert kept == {strangers[0].id, strangers[2].id, strangers[3].id}


def test_relays_are_paid_as_far_as_the_deposit_goes() -> None:
    poor = Parties(deposit=20)
    packets = [poor.carry(poor.send()) for _ in range(2)]
    for packet in packets:
        poor.take_delivery(deliver(packet, poor.destination))
    for _ in range(2):  # who asks again gets the voucher that stands
        assert settle(poor, poor.relays[0]).paid == (packets[0].hash,)
        assert promised(poor) == (11, 11)
    assert refusal(poor, poor.relays[1]) is ErrorCode.CHANNEL_UNFUNDED


def test_a_claim_need_not_name_the_channel(parties: Parties, arrived: Packet) -> None:
    parties.take_delivery(deliver(arrived, parties.destination))
    claim = replace(claim_of(parties, parties.relays[0]), channel_id=b"")
    assert parties.account.settle(claim, parties.line)[0].paid == (arrived.hash,)
    with pytest.raises(RemoteProtocolError, match="another channel"):
        parties.account.settle(replace(claim, channel_id=b"x" * 32), parties.line)


def test_the_largest_claim_fits_one_commit() -> None:
    rich = Parties()
    for _ in range(RECEIPTS_PER_CLAIM_MAX * CARRIED_MAX):
        rich.take_delivery(deliver(rich.carry(rich.send()), rich.destination))
    relay = rich.relays[0]
    carried = [Carried(packet=packet.hash, fee_code=code16_up(relay.fee), hop=hop) for packet, hop in relay.carried]
    receipts = tuple(
        RelayReceipt(
            relay=relay.id, origin=relay.carried[0][0].origin, sequence=at, time_s=0, carried=tuple(carried[at : at + CARRIED_MAX])
        ).sign(relay.key)
        for at in range(0, len(carried), CARRIED_MAX)
    )
    assert len(settle(rich, relay, receipts).paid) == RECEIPTS_PER_CLAIM_MAX * CARRIED_MAX


def test_a_payment_of_another_sum_is_not_booked(parties: Parties, arrived: Packet) -> None:
    parties.take_delivery(deliver(arrived, parties.destination))
    relay = parties.relays[0]
    settlement, step = parties.account.settle(claim_of(parties, relay), parties.line)
    parties.origin.commit(step, parties.now)
    with pytest.raises(RemoteProtocolError) as refused:
        parties.take_payment(replace(settlement, voucher=None), relay, relay.receipts())
    assert refused.value.code is ErrorCode.BAD_VOUCHER
    other = parties.origin.signer.sign(parties.pair.channel_id, 12)
    wrong = replace(settlement.voucher, amount=12, signature=other.signature)
    with pytest.raises(RemoteProtocolError) as refused:
        parties.take_payment(replace(settlement, voucher=wrong), relay, relay.receipts())
    assert refused.value.code is ErrorCode.PAYMENT_MISMATCH


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda row: replace(row, relays=b""), "no delivery receipt proves"),
        (lambda row: replace(row, fee_cap=10), "more than its fee cap"),
        (lambda row: replace(row, delivery=bytes(16)), "its delivery receipt is missing"),
    ],
)
def test_journal_check_names_a_payment_that_nothing_proves(parties: Parties, arrived: Packet, change, complaint: str) -> None:
    parties.take_delivery(deliver(arrived, parties.destination))
    settle(parties, parties.relays[0])
    row = fold.get(parties.origin.storage, PacketRecord, arrived.hash)
    assert row is not None
    parties.origin.journal.append([record(arrived.hash, change(row))], 0)
    with pytest.raises(LocalProtocolError, match=complaint):
        check(parties.origin.storage)


class Carrying(RuleBasedStateMachine):
    """Packets, receipts, claims and restarts in any order, each any number of times."""

    def __init__(self) -> None:
        super().__init__()
        self.parties = Parties(deposit=400)
        self.arrived: list[Packet] = []
        self.delivered: set[bytes] = set()

    @rule(cap=st.integers(36, 60))
    def send(self, cap: int) -> None:
        self.arrived.append(self.parties.carry(self.parties.send(cap=cap)))

    @precondition(lambda self: self.arrived)
    @rule(data=st.data())
    def deliver(self, data: st.DataObject) -> None:
        packet = data.draw(st.sampled_from(self.arrived))
        self.parties.take_delivery(deliver(packet, self.parties.destination))
        self.delivered.add(packet.hash)

    @precondition(lambda self: self.arrived)
    @rule(number=st.integers(0, 2), newest=st.integers(1, 6))
    def claim(self, number: int, newest: int) -> None:
        relay = self.parties.relays[number]
        try:
            settle(self.parties, relay, relay.receipts()[-newest:])
        except LocalProtocolError as error:
            if error.code is not ErrorCode.CHANNEL_UNFUNDED:
                raise

    @rule()
    def restart(self) -> None:
        self.parties.restart_origin()
        self.parties.restart_operator()

    @invariant()
    def nobody_is_paid_twice_or_unproven(self) -> None:
        paid = carriages(self.parties)
        assert {key[:16] for key in paid} <= self.delivered
        assert self.parties.line.best_amount == sum(paid.values()) <= 400
        assert promised(self.parties) == (sum(paid.values()),) * 2


Carrying.TestCase.settings = settings(max_examples=25, stateful_step_count=20, deadline=None)
test_any_order_pays_each_carriage_once = Carrying.TestCase
