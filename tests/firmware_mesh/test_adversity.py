"""What befalls nodes that is nobody's protocol: garbage on the air, and a simulator that is killed."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from firmware_build import require
from relay_mesh import relay_mesh

from benchmarks.radio.boards import Board
from benchmarks.radio.host import Own
from benchmarks.radio.links import Links
from retrieval.radio.packet import FRAME_SIZE_MAX, PacketType

ROOT = Path(__file__).resolve().parent.parent.parent
SILENCE_S = 120.0
GONE_WITHIN_S = 10.0


def garbage(drawn: random.Random, real: list[bytes]) -> bytes:
    """Noise, or a packet that was heard, with some of it changed, cut off or made up."""
    if not real or drawn.random() < 0.3:
        return drawn.randbytes(drawn.randrange(1, FRAME_SIZE_MAX + 1))
    frame = bytearray(drawn.choice(real))
    for _ in range(drawn.randrange(1, 4)):
        frame[drawn.randrange(len(frame))] = drawn.randrange(256)
    return bytes(frame[: drawn.randrange(1, len(frame) + 1)] if drawn.random() < 0.5 else frame)


@pytest.mark.parametrize("board", ["host", "esp32c3_ct62"])
def test_garbage_on_the_air_stops_no_relay(board: Board) -> None:
    """The third node sends what it likes; what a relay makes of it stays within the law, and the next packet is carried."""
    links = Links.matrix({("a", "r1"): 110, ("r1", "b"): 110, ("noise", "r1"): 110})
    with relay_mesh(links, {"a": "host", "r1": board, "b": "host", "noise": "host"}) as mesh:
        mesh.run(SILENCE_S)
        drawn, real, noise = random.Random(5), list[bytes](), mesh.ends["noise"].host
        mesh.simulation.air.on_sent = lambda sent: real.append(sent.payload)
        mesh.ends["a"].flood(b"who has this?")
        mesh.run(10)
        noise.ask(Own.RAW, b"\x01")
        for _ in range(150):
            noise.send(garbage(drawn, real))
            mesh.run(1)
        heard = len(mesh.ends["b"].of(PacketType.WANT))
        mesh.ends["a"].flood(b"and this?")
        assert mesh.run_until(lambda: len(mesh.ends["b"].of(PacketType.WANT)) > heard, limit_s=60)
        assert mesh.simulation.auditor.breaches == []
        assert mesh.simulation.findings() == []


CHILD = """
import sys
from benchmarks.radio.links import Links
from benchmarks.radio.simulation import Simulation
with Simulation(Links.line(["a"])) as simulation:
    simulation.add("a", sys.argv[1])
    print(simulation.nodes["a"].machine.pid, flush=True)
    sys.stdin.read()
"""


def is_running(pid: int) -> bool:
    """Whether there is such a process, and not only what its parent has not asked about yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM])
@pytest.mark.parametrize("board", ["qemu_virt", "mps2_an385"])
def test_an_emulated_machine_ends_with_a_simulator_that_is_killed(board: Board, end: signal.Signals) -> None:
    require(board)
    simulator = subprocess.Popen([sys.executable, "-c", CHILD, board], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT)
    with simulator:
        assert simulator.stdout is not None
        pid = int(simulator.stdout.readline())
        assert is_running(pid)
        simulator.send_signal(end)
        simulator.wait(GONE_WITHIN_S)
    deadline = time.monotonic() + GONE_WITHIN_S
    while is_running(pid) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not is_running(pid)
