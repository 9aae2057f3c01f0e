"""What a relay does with what it hears, over its real driver: carry, refuse, take back, wait, keep, and say so under its signature."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from relay_line import RelayLine

from benchmarks.radio.host import Own
from retrieval.identity import peer_id_of
from retrieval.radio.advert import Role, read_advert
from retrieval.radio.packet import EVERYONE, Entry, Packet, PacketHash, PacketType, RadioId, first_token, next_token
from retrieval.radio.proof import RelayReceipt

Lines = Callable[[int], RelayLine]
ORIGIN = RadioId(b"host0000")
TRAIL_KEY = bytes(32)
OVER_CAP, HOPS_SPENT, SENT_AGAIN, DUPLICATE, DROPPED = 4, 5, 7, 3, 12
"""Places in the firmware's enum counter."""


def flood(number: int = 1, *, cap: int = 1000, hop_limit: int = 8, type_: PacketType = PacketType.WANT, payload: bytes = b"?") -> Packet:
    packet = Packet(
        type=type_, direct=False, hop_limit=hop_limit, packet_id=number, origin=ORIGIN, destination=EVERYONE, fee_cap_code=cap,
        payload=payload, hops=0, latency_code=0, bandwidth_code=255, mtu=255, token=bytes(8), trail=(),
    )  # fmt: skip
    return replace(packet, token=first_token(TRAIL_KEY, packet.hash))


def direct(line: RelayLine, relays: list[int], *, fee: int = 10, number: int = 1, type_: PacketType = PacketType.RECORD) -> Packet:
    trail = tuple(Entry(tag=line.ids[relay][:4], fee_code=fee) for relay in relays)
    return Packet(
        type=type_, direct=True, hop_limit=len(relays), packet_id=number, origin=ORIGIN, destination=RadioId(b"far away"),
        fee_cap_code=1000, payload=b"record", hops=0, latency_code=0, bandwidth_code=255, mtu=255, token=bytes(8), trail=trail,
    )  # fmt: skip


def test_a_flood_crosses_three_relays_and_its_trail_proves_the_way(lines: Lines) -> None:
    line = lines(5)
    line.set_up(fee_code=11)
    sent = flood()
    line.hosts[0].send(sent.encode())
    line.run(20)
    arrived = [packet for packet in map(Packet.decode, line.heard[4]) if packet.type is PacketType.WANT]
    assert [(packet.hops, packet.price) for packet in arrived] == [(3, 33)]
    assert [entry.tag for entry in arrived[0].trail] == [id_[:4] for id_ in line.ids[1:4]]
    token = sent.token
    for id_ in line.ids[1:4]:
        token = next_token(token, sent.hash, id_, 11)
    assert arrived[0].token == token
    assert arrived[0].latency_code > 0
    assert arrived[0].bandwidth_code < 255


def test_a_relay_sends_a_flood_on_once_however_often_it_hears_it(lines: Lines) -> None:
    line = lines(3)
    line.set_up()
    for _ in range(4):
        line.hosts[0].send(flood().encode())
        line.run(5)
    assert len(line.sends(1)) == 1
    assert line.hosts[1].counters()[DUPLICATE] >= 3


def test_a_dear_copy_that_was_refused_does_not_block_the_cheap_one(lines: Lines) -> None:
    line = lines(3)
    line.set_up(fee_code=10)
    dear = replace(flood(cap=50), hops=1, trail=(Entry(tag=b"dear", fee_code=41),))
    line.hosts[0].send(dear.encode())
    line.run(5)
    assert line.sends(1) == []
    assert line.hosts[1].counters()[OVER_CAP] == 1
    line.hosts[0].send(replace(dear, trail=(Entry(tag=b"fair", fee_code=40),)).encode())
    line.run(5)
    assert [packet.price for packet in line.sends(1)] == [50]


def test_a_cheaper_copy_is_sent_on_again_and_a_dearer_one_is_not(lines: Lines) -> None:
    line = lines(3)
    line.set_up(fee_code=1)
    for fee in (30, 40, 30, 20, 10, 5):
        line.hosts[0].send(replace(flood(), hops=1, trail=(Entry(tag=b"past", fee_code=fee),)).encode())
        line.run(5)
    assert [packet.price for packet in line.sends(1)] == [31, 21, 11]  # three times in all


def test_a_cheaper_copy_takes_the_place_of_the_one_that_waits(lines: Lines) -> None:
    line = lines(2)
    line.set_up(fee_code=1)
    for fee in (30, 20):
        line.hosts[0].send(replace(flood(), hops=1, trail=(Entry(tag=b"past", fee_code=fee),)).encode())
    line.run(10)
    relayed = line.sends(1)
    assert relayed[-1].price == 21
    assert len(relayed) <= 2


def test_a_flood_without_a_hop_left_stays(lines: Lines) -> None:
    line = lines(3)
    line.set_up()
    line.hosts[0].send(flood(hop_limit=1).encode())
    line.run(5)
    assert len(line.sends(1)) == 1
    assert line.sends(2) == []
    assert line.hosts[2].counters()[HOPS_SPENT] == 1


def test_packets_of_its_host_and_for_its_host_are_handed_up_and_not_carried_on(lines: Lines) -> None:
    line = lines(2)
    line.set_up()
    line.hosts[0].send(replace(flood(), destination=RadioId(b"host0001")).encode())
    line.run(5)
    assert line.sends(1) == []
    assert [Packet.decode(frame).type for frame in line.heard[1]][:1] == [PacketType.WANT]


def test_a_relay_that_was_told_not_to_carry_carries_nothing_and_advertises_nothing(lines: Lines) -> None:
    line = lines(2)
    line.set_up(carries=False)
    line.hosts[0].send(flood().encode())
    line.run(120)
    assert line.sends(1) == line.sends(1, PacketType.ADVERT) == []


def test_a_direct_packet_goes_along_its_trail_and_no_other_relay_carries_it(lines: Lines) -> None:
    line = lines(4)
    line.set_up(fee_code=10)
    line.hosts[0].send(direct(line, [1, 2]).encode())
    line.run(30)
    assert [len(line.sends(number)) for number in (1, 3)] == [1, 0]
    arrived = [packet for packet in map(Packet.decode, line.heard[3]) if packet.type is PacketType.RECORD]
    assert [packet.hops for packet in arrived][:1] == [2]
    assert line.hosts[0].counters()[SENT_AGAIN] == 0  # it heard the first relay carry it on


def test_a_direct_packet_that_offers_less_than_the_fee_stays(lines: Lines) -> None:
    line = lines(3)
    line.set_up(fee_code=10)
    line.hosts[0].send(direct(line, [1], fee=9).encode())
    line.run(10)
    assert line.sends(1) == []
    line.hosts[0].send(direct(line, [1], fee=10, number=2).encode())
    line.run(10)
    assert len(line.sends(1)) == 1


def test_a_record_that_nobody_carried_on_is_kept_and_sent_three_times_and_charged_each_time(lines: Lines) -> None:
    line = lines(2)
    line.set_up()
    absent = replace(direct(line, [1]), trail=(Entry(tag=b"gone", fee_code=10),))
    line.hosts[0].send(absent.encode())
    line.run(70)
    mine = [one for one in line.sent if one.sender == "n0" and one.payload == absent.encode()]
    assert len(mine) == 3
    assert line.hosts[0].counters()[SENT_AGAIN] == 2
    duty = line.hosts[0].ask(Own.DUTY)
    assert int.from_bytes(duty[32:36], "big") == sum(one.end_us - one.start_us for one in line.sent if one.sender == "n0")


def test_a_relay_signs_what_it_carried_and_says_it_until_the_host_has_it(lines: Lines) -> None:
    line = lines(3)
    line.set_up(fee_code=7, time_s=1_800_000_000)
    key = peer_id_of(line.hosts[1].ask(Own.IDENTITY))
    packets = [flood(number) for number in range(1, 9)]
    for packet in packets:
        line.hosts[0].send(packet.encode())
        line.run(4)
    line.run(200)
    receipts = [RelayReceipt.read(signed, key) for _, signed in sorted(line.hosts[1].receipts.items())]
    carried = [one for receipt in receipts for one in receipt.carried]
    assert {receipt.origin for receipt in receipts} == {ORIGIN}
    assert [one.packet for one in carried] == [PacketHash(packet.hash) for packet in packets]
    assert {(one.fee, one.hop) for one in carried} == {(7, 0)}
    assert len(receipts[0].carried) == 6
    assert all(1_800_000_000 < receipt.time_s < 1_800_000_300 for receipt in receipts)
    assert line.hosts[1].ask(Own.RECEIPT) == b""  # none is left


def test_an_advert_says_who_the_relay_is_and_whom_to_pay(lines: Lines) -> None:
    line = lines(2)
    line.set_up(fee_code=11, operator=bytes(range(20)))
    line.run(70)
    adverts = [read_advert(packet) for packet in map(Packet.decode, line.heard[1]) if packet.origin == line.ids[0] and packet.hops == 0]
    assert [(advert.id, advert.roles, advert.operator, advert.fee) for advert in adverts[:1]] == [
        (line.ids[0], Role.RELAY, bytes(range(20)), 11)
    ]
    assert adverts[0].lifetime_min == 90
    assert adverts[0] in [read_advert(Packet.decode(frame)) for frame in line.heard[0]]  # its own host has it as well


def test_what_waits_is_sent_by_its_priority_and_the_lowest_is_not_starved(lines: Lines) -> None:
    line = lines(2)
    line.set_up(carries=False)
    for number in range(5):
        line.hosts[0].send(flood(number, hop_limit=0).encode())
    line.hosts[0].send(flood(99, type_=PacketType.FRAGMENT, hop_limit=0).encode())
    for number in range(5, 20):  # one comes for each that leaves
        n_sent = len(line.sends(0))
        while len(line.sends(0)) == n_sent:
            line.run(0.05)
        line.hosts[0].send(flood(number, hop_limit=0).encode())
    line.run(20)
    order = [packet.type for packet in line.sends(0)]
    assert order.index(PacketType.FRAGMENT) == 9


def test_a_full_queue_gives_up_what_is_worth_least_and_says_when_it_takes_nothing(lines: Lines) -> None:
    line = lines(2)
    line.set_up(carries=False)
    for number in range(20):
        line.hosts[0].send(flood(number, hop_limit=0, type_=PacketType.FRAGMENT, payload=bytes(150)).encode())
    assert bytes((0, 2)) in line.hosts[0].refusals
    line.hosts[0].send(flood(77, hop_limit=0, type_=PacketType.ACK, cap=0).encode())
    line.run(0.5)
    line.run(60)
    assert 77 in [packet.packet_id for packet in line.sends(0)]
    assert line.hosts[0].counters()[DROPPED] > 0


def test_what_is_older_than_its_deadline_is_not_sent(lines: Lines) -> None:
    line = lines(2)
    line.set_up(carries=False)
    line.hosts[0].tell(0x0C, (1).to_bytes(2, "big"))  # 0.01 % of an hour: 360 ms
    for number in range(6):
        line.hosts[0].send(flood(number, hop_limit=0, payload=bytes(150)).encode())
    line.run(3700)
    sent = line.sends(0)
    assert len(sent) == 1
    assert line.hosts[0].counters()[DROPPED] == 5


def test_a_flood_of_packets_never_makes_a_relay_exceed_its_hour(lines: Lines) -> None:
    line = lines(3)
    line.set_up(fee_code=1)
    for number in range(1500):
        line.hosts[number % 2 * 2].send(flood(number, payload=bytes(150)).encode())
        line.run(2)
    for node in line.nodes:
        assert line.auditor.worst_share(node.name) <= 1.0
    assert line.auditor.worst_share("n1") > 0.9  # and what the law allows is used


def test_other_protocols_pass_in_raw_mode_alone(lines: Lines) -> None:
    line = lines(2)
    line.set_up()
    line.hosts[0].send(b"of another mesh")
    assert line.hosts[0].refusals == [bytes((0, 1))]
    for host in line.hosts:
        assert host.ask(Own.RAW, b"\x01") == b"\x01"
    line.hosts[0].send(b"of another mesh")
    line.run(5)
    assert line.heard[1] == [b"of another mesh"]


def test_a_damaged_packet_is_not_carried_and_not_handed_up(lines: Lines) -> None:
    line = lines(3)
    line.set_up()
    line.hosts[0].ask(Own.RAW, b"\x01")
    damaged = bytearray(flood().encode())
    damaged[30] ^= 1
    line.hosts[0].send(bytes(damaged))
    line.run(5)
    assert bytes(damaged) not in line.heard[1]
    assert line.sends(1) == []


def test_a_host_sends_nothing_while_the_radio_is_off(lines: Lines) -> None:
    line = lines(1)
    line.run(1)
    line.hosts[0].send(flood().encode())
    assert line.hosts[0].refusals == [bytes((0, 3))]


def test_a_radio_that_speaks_while_nobody_listens_to_it_is_reset(lines: Lines) -> None:
    line = lines(2)
    line.set_up()
    machine = line.machines["n1"]
    machine.hangs = True  # BUSY hangs: the driver gives the radio up
    line.hosts[1].send(flood(5).encode())
    line.run(2)
    machine.hangs = False
    line.hosts[0].send(flood(6).encode())  # and then DIO1 rises
    line.run(120)
    line.hosts[0].send(flood(7).encode())
    line.run(10)
    assert 7 in [packet.packet_id for packet in line.sends(1)]


def test_a_record_that_is_heard_going_on_is_taken_out_of_the_queue(lines: Lines) -> None:
    line = lines(4)
    line.set_up(fee_code=10)
    for number in range(3):
        line.hosts[0].send(direct(line, [1, 2, 3], number=number).encode())
        line.run(12)
    assert [line.hosts[number].counters()[SENT_AGAIN] for number in (0, 1)] == [0, 0]
    assert len(line.sends(1)) == 3


def copies(original: Packet, fees: list[int]) -> list[bytes]:
    """The same flood over as many ways, each with one relay."""
    return [
        replace(original, hops=1, trail=(Entry(tag=bytes((number,)) * 4, fee_code=fee),)).encode()
        for number, fee in enumerate(fees, start=1)
    ]


def hold_back(line: RelayLine, number: int) -> None:
    """Let a relay spend the little airtime that its host allows it, so that what it hears has to wait."""
    line.hosts[number].tell(0x0C, (1).to_bytes(2, "big"))  # 360 ms an hour
    line.hosts[number].send(flood(50 + number, payload=bytes(170), hop_limit=0).encode())
    line.run(1)


def test_of_copies_that_come_while_a_flood_waits_the_cheapest_is_sent_on(lines: Lines) -> None:
    line = lines(2)
    line.set_up(fee_code=1)
    hold_back(line, 1)
    line.hosts[0].tell(Own.RAW, b"\x01")
    for copy in copies(flood(type_=PacketType.FRAGMENT), [30, 20]):
        line.hosts[0].send(copy)
        line.run(1)
    line.hosts[1].tell(0x0C, bytes(2))
    line.run(100)
    assert [packet.price for packet in line.sends(1, PacketType.FRAGMENT)] == [21]
    assert line.hosts[1].counters()[DUPLICATE] == 1


def test_a_flood_that_others_were_heard_sending_on_is_not_sent_on_once_more(lines: Lines) -> None:
    line = lines(2)
    line.set_up()
    hold_back(line, 1)
    line.hosts[0].tell(Own.RAW, b"\x01")
    for copy in copies(flood(payload=bytes(50), type_=PacketType.FRAGMENT), [0] * 6):
        line.hosts[0].send(copy)
        line.run(1)
    line.hosts[1].tell(0x0C, bytes(2))
    line.run(100)
    assert line.sends(1, PacketType.FRAGMENT) == []


def test_a_direct_packet_that_waits_is_not_sent_when_the_relay_behind_was_heard_with_it(lines: Lines) -> None:
    line = lines(2)
    line.set_up(fee_code=1)
    hold_back(line, 1)
    packet = direct(line, [1, 0])
    line.hosts[0].tell(Own.RAW, b"\x01")
    line.hosts[0].send(packet.encode())
    line.run(1)
    line.hosts[0].send(replace(packet, hops=2).encode())
    line.run(1)
    line.hosts[1].tell(0x0C, bytes(2))
    line.run(100)
    assert [one for one in line.sends(1) if one.type is PacketType.RECORD] == []
    assert line.hosts[1].counters()[DUPLICATE] == 1


def test_a_fee_that_rose_while_a_packet_waited_is_not_asked_beyond_its_cap(lines: Lines) -> None:
    line = lines(2)
    line.set_up(fee_code=10)
    hold_back(line, 1)
    line.hosts[0].send(flood(cap=10, type_=PacketType.FRAGMENT).encode())
    line.run(1)
    line.hosts[1].tell(Own.TERMS, b"\x01" + (11).to_bytes(2, "big") + bytes(20))
    line.hosts[1].tell(0x0C, bytes(2))
    line.run(100)
    assert line.sends(1, PacketType.FRAGMENT) == []
