"""Reticulum, as others publish it, takes our board for an RNode: what one stack announces, another hears across the simulated air.

It runs in processes of its own, by the clock on the wall, in any Python that has ``rns``: this one, or that of ``RETICULUM_PYTHON``.
"""

from __future__ import annotations

import os
import select
import subprocess
import sys
import time
import tty
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

import pytest
from firmware_build import require

from benchmarks.radio.host import Own
from benchmarks.radio.links import Links
from benchmarks.radio.simulation import Simulation
from benchmarks.radio.timeline import SECOND_US

PYTHON = os.environ.get("RETICULUM_PYTHON", sys.executable)
LIMIT_S = 60.0
"""Reticulum sleeps for two seconds before it speaks to a port, and now and then after."""
TICK_S = 0.005
CONFIG = """
[reticulum]
enable_transport = No
share_instance = No
panic_on_interface_error = Yes
[interfaces]
[[board]]
type = RNodeInterface
enabled = Yes
port = {port}
frequency = 869525000
bandwidth = 125000
txpower = 14
spreadingfactor = 7
codingrate = 5
"""
STACK = """
import sys, time
import RNS
home, announces = sys.argv[1], sys.argv[2] == "announces"
RNS.Reticulum(home)
class Heard:
    aspect_filter = "mesh.test"
    def received_announce(self, destination_hash, announced_identity, app_data):
        print("heard", app_data.decode(), flush=True)
RNS.Transport.register_announce_handler(Heard())
mine = RNS.Destination(RNS.Identity(), RNS.Destination.IN, RNS.Destination.SINGLE, "mesh", "test")
while True:
    if announces:
        mine.announce(app_data=b"over the air")
    time.sleep(4)
"""


def has_reticulum() -> bool:
    found = subprocess.run([PYTHON, "-c", "import RNS.Interfaces.RNodeInterface, serial"], capture_output=True, timeout=60, check=False)
    return found.returncode == 0


class Line:
    """A pty between one board and whoever opens the other end."""

    def __init__(self, simulation: Simulation, name: str) -> None:
        self.master, self._slave = os.openpty()
        tty.setraw(self._slave)
        os.set_blocking(self.master, False)
        self.port = os.ttyname(self._slave)
        self.node = simulation.nodes[name]
        self.node.on_output = partial(os.write, self.master)

    def carry(self) -> None:
        self.node.feed(os.read(self.master, 4096))

    def close(self) -> None:
        os.close(self.master)
        os.close(self._slave)


@contextmanager
def stack(line: Line, home: Path, role: str) -> Iterator[subprocess.Popen[bytes]]:
    """One Reticulum, which ends with the block."""
    home.mkdir()
    (home / "config").write_text(CONFIG.format(port=line.port))
    with subprocess.Popen([PYTHON, "-c", STACK, str(home), role], stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as child:
        try:
            yield child
        finally:
            child.kill()


def until_heard(simulation: Simulation, lines: list[Line], hearer: subprocess.Popen[bytes]) -> bytes:
    """Run the air as fast as time passes, until the hearer says that it heard; returns all it said."""
    said, began_s, began_us = b"", time.monotonic(), simulation.timeline.now_us
    by_file = {line.master: line for line in lines}
    assert hearer.stdout is not None
    while b"heard" not in said and time.monotonic() - began_s < LIMIT_S:
        ready, _, _ = select.select([*by_file, hearer.stdout], [], [], TICK_S)
        simulation.timeline.run(began_us + round((time.monotonic() - began_s) * SECOND_US))
        for file in ready:
            if file is hearer.stdout:
                said += os.read(hearer.stdout.fileno(), 4096)
            else:
                by_file[file].carry()
    return said


def test_one_reticulum_hears_what_another_announces(tmp_path: Path) -> None:
    require("host")
    if not has_reticulum():
        pytest.skip("`rns` is not installed (pip install rns; RETICULUM_PYTHON may name another Python that has it)")
    with Simulation(Links.line(["a", "b"]), seed=1) as simulation, ExitStack() as opened:
        for name in ("a", "b"):
            simulation.add(name)
        simulation.timeline.run(SECOND_US)
        for host in simulation.hosts.values():
            assert host.ask(Own.RAW, b"\x01") == b"\x01"
        lines = [Line(simulation, name) for name in ("a", "b")]
        for line in lines:
            opened.callback(line.close)
        opened.enter_context(stack(lines[0], tmp_path / "a", "announces"))
        hearer = opened.enter_context(stack(lines[1], tmp_path / "b", "listens"))
        assert b"heard over the air" in until_heard(simulation, lines, hearer)
        assert simulation.auditor.breaches == []
        assert simulation.findings() == []
