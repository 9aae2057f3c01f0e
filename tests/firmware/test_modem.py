"""The host's end of the line to a board, held against the firmware: settings, frames, receipts, and its words about its hour."""

from __future__ import annotations

import ctypes

import pytest

from retrieval.errors import LocalProtocolError
from retrieval.identity import EvmAddress, peer_id_of
from retrieval.radio.airtime import Modulation
from retrieval.radio.codes import code8_down, code16_up
from retrieval.radio.modem import DutyTold, FrameHeard, FrameRefused, Modem, ModemEvent, ModemSettings, Online, ReceiptDue
from retrieval.radio.packet import FRAME_SIZE_MAX, TOKEN_SIZE, Packet, PacketType, RadioId, radio_id
from retrieval.radio.proof import RelayReceipt
from retrieval.radio.regions import RELAY_BAND, RELAY_HZ

SECOND_US = 1_000_000
HOUR_US = 3_700 * SECOND_US  # after which a node that restarted may send
OPERATOR = EvmAddress(b"\x0e" * 20)


class Line:
    """Boards in a row in simulated air, each with a modem at its serial line."""

    def __init__(self, n_boards: int) -> None:
        from benchmarks.radio.links import Links
        from benchmarks.radio.simulation import Simulation

        names = [f"b{number}" for number in range(n_boards)]
        self.simulation = Simulation(Links.line(names))
        self.modems: list[Modem] = []
        self.events: list[list[ModemEvent]] = []
        for name in names:
            self.simulation.add(name)
        self.run(2 * SECOND_US)

    def plug_in(self, number: int, **changed: object) -> Modem:
        """A computer opens the port."""
        values: dict = {"frequency_hz": RELAY_HZ, "power_dbm": 14, "modulation": Modulation(), "station": RadioId(bytes([number]) * 8)}
        terms: dict = {"carries": True, "fee_code": code16_up(11), "operator": OPERATOR}
        settings = ModemSettings(**(values | terms | changed))
        modem, events = Modem(settings, now=0.0), []
        node = self.simulation.nodes[f"b{number}"]
        node.on_output = lambda received: events.extend(modem.feed(received, 0.0))
        self.modems.append(modem)
        self.events.append(events)
        self.settle()
        return modem

    def settle(self) -> None:
        """Carry bytes to the boards until nobody says more."""
        moved = True
        while moved:
            moved = False
            for number, modem in enumerate(self.modems):
                if line := modem.outgoing():
                    self.simulation.nodes[f"b{number}"].feed(line)
                    moved = True
            self.run(0)

    def run(self, duration_us: int) -> None:
        self.simulation.timeline.run(self.simulation.timeline.now_us + duration_us)


@pytest.fixture
def line(relay: ctypes.CDLL) -> Line:
    return Line(3)


PACKET = Packet(
    type=PacketType.RECORD,
    direct=False,
    hop_limit=3,
    packet_id=1,
    origin=RadioId(bytes([0]) * 8),
    destination=RadioId(bytes([2]) * 8),
    fee_cap_code=code16_up(100),
    payload=b"a record",
    hops=0,
    latency_code=0,
    bandwidth_code=code8_down(500),
    mtu=FRAME_SIZE_MAX,
    token=bytes(TOKEN_SIZE),
    trail=(),
)


def test_a_board_of_ours_takes_its_settings(line: Line) -> None:
    modem = line.plug_in(0)
    (online,) = line.events[0]
    assert isinstance(online, Online)
    assert len(online.public_key) == 32
    assert modem.has_room


def test_power_that_the_band_forbids_is_noticed(line: Line) -> None:
    with pytest.raises(LocalProtocolError):
        line.plug_in(0, frequency_hz=868_100_000, power_dbm=22)


def test_a_frame_crosses_a_relay_that_signs_for_it(line: Line) -> None:
    line.run(HOUR_US)
    for number in range(3):
        line.plug_in(number)
    line.modems[0].send(PACKET.encode(), 0.0)
    line.settle()
    assert line.modems[0].has_room
    line.run(5 * SECOND_US)
    heard = [event for event in line.events[2] if isinstance(event, FrameHeard)]
    event, arrived = next((event, found) for event in heard if (found := Packet.decode(event.frame)).origin == bytes(8))
    assert event.rssi_dbm is not None
    assert event.snr_quarter_db is not None
    assert (arrived.hops, arrived.price) == (1, 11)
    line.run(120 * SECOND_US)
    signed = next(event.signed for event in line.events[1] if isinstance(event, ReceiptDue))
    (online, *_) = line.events[1]
    receipt = RelayReceipt.read(signed, peer_id_of(online.public_key))
    assert receipt.relay == radio_id(online.public_key)
    assert [(one.packet, one.fee, one.hop) for one in receipt.carried] == [(PACKET.hash, 11, 0)]
    line.modems[1].keep(signed)
    line.settle()
    line.events[1].clear()
    line.run(120 * SECOND_US)
    assert not [event for event in line.events[1] if isinstance(event, ReceiptDue)]


def test_it_tells_what_is_left_of_its_hour(line: Line) -> None:
    modem = line.plug_in(0)
    modem.ask_duty()
    line.settle()
    told = next(event for event in line.events[0] if isinstance(event, DutyTold))
    assert RELAY_BAND.budget_us in [budget for _, budget in told.bands]


def test_what_is_no_packet_is_refused(line: Line) -> None:
    modem = line.plug_in(0)
    modem.send(b"no packet", 0.0)
    line.settle()
    assert [event for event in line.events[0] if isinstance(event, FrameRefused)] == [FrameRefused(reason=1)]
    assert modem.has_room
