"""No host, no flood and no power cut makes a node send more than the law allows, counted by the air and not by the node."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from relay_mesh import RelayMesh, relay_mesh

from benchmarks.radio import boards
from benchmarks.radio.boards import Board
from benchmarks.radio.chip import Sx1262
from benchmarks.radio.host import Setup
from benchmarks.radio.links import Links
from benchmarks.radio.node import Machine
from benchmarks.radio.timeline import HOUR_US, SECOND_US
from retrieval.radio.airtime import Modulation
from retrieval.radio.kiss import Command
from retrieval.radio.packet import PacketType

PAIR: dict[str, Board] = {"a": "host", "b": "host"}
LINK = Links.line(["a", "b"])
SLOW = Setup(modulation=Modulation(spreading_factor=11, bandwidth_hz=125_000))
TEN_PER_CENT_US = HOUR_US // 10


def press(mesh: RelayMesh, hours: float, *, every_s: int = 3) -> None:
    """A host that always has something to send, and listens to nothing the node says."""
    for _ in range(round(hours * 3600 / every_s)):
        mesh.ends["a"].flood(bytes(120), type_=PacketType.FRAGMENT, hop_limit=0)
        mesh.run(every_s)


def spent_us(mesh: RelayMesh, name: str = "a") -> int:
    return mesh.simulation.auditor.worst_us(name)


@pytest.mark.parametrize("spreading", [7, 11, 12])
def test_a_node_under_pressure_uses_its_budget_and_no_more(spreading: int) -> None:
    with relay_mesh(LINK, PAIR, setup=Setup(modulation=Modulation(spreading_factor=spreading))) as mesh:
        press(mesh, 1.6, every_s=1 if spreading == 7 else 5)
        assert mesh.simulation.auditor.breaches == []
        assert 0.9 * TEN_PER_CENT_US < spent_us(mesh) <= TEN_PER_CENT_US
        assert mesh.simulation.findings() == []


def test_a_host_may_lower_the_budget_and_not_raise_it() -> None:
    with relay_mesh(LINK, PAIR, setup=SLOW) as mesh:
        host = mesh.simulation.hosts["a"]
        assert host.ask(Command.LONG_AIRTIME, (100).to_bytes(2)) == (100).to_bytes(2)
        press(mesh, 1.2)
        assert 0.8 * HOUR_US // 100 < spent_us(mesh) <= HOUR_US // 100
        host.ask(Command.LONG_AIRTIME, (10_000).to_bytes(2))
        press(mesh, 1.5)
        assert mesh.simulation.auditor.breaches == []
        assert spent_us(mesh) <= TEN_PER_CENT_US


def test_changing_bands_and_speeds_all_the_while_breaks_no_band() -> None:
    drawn = random.Random(7)
    with relay_mesh(LINK, PAIR, setup=replace(SLOW, power_dbm=14)) as mesh:
        for _ in range(400):
            host = mesh.simulation.hosts["a"]
            host.tell(Command.FREQUENCY, drawn.choice([869_525_000, 868_300_000, 867_100_000, 863_500_000, 915_000_000]).to_bytes(4))
            host.tell(Command.SPREADING_FACTOR, bytes((drawn.choice([7, 9, 12]),)))
            host.tell(Command.BANDWIDTH, drawn.choice([125_000, 250_000, 500_000, 0]).to_bytes(4))
            mesh.ends["a"].flood(bytes(100), type_=PacketType.FRAGMENT, hop_limit=0)
            mesh.run(drawn.choice([1, 5, 40]))
        assert mesh.simulation.auditor.breaches == []
        assert mesh.simulation.auditor.total_us("a") > 60 * SECOND_US


def test_a_node_that_is_switched_off_and_on_stays_within_the_hour() -> None:
    """Power goes at any time; what was sent before counts still."""

    def started(name: str, chip: Sx1262) -> Machine:
        return boards.start("host", chip, seed=len(cuts))

    drawn, cuts = random.Random(3), [0]
    with relay_mesh(LINK, PAIR, setup=SLOW) as mesh:
        node = mesh.simulation.nodes["a"]
        for _ in range(60):
            press(mesh, drawn.choice([0.005, 0.02, 0.1]))
            node.cut_power(started)
            cuts.append(mesh.simulation.timeline.now_us)
            mesh.run(1)
        assert mesh.simulation.auditor.breaches == []
        assert spent_us(mesh) > 0.3 * TEN_PER_CENT_US
