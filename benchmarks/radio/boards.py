"""The boards a node can be, by the names that ``firmware/boards`` gives them: what each lacks here, and how one is started."""

from __future__ import annotations

from typing import Final, Literal

from benchmarks.radio import c3_machine, host_machine, qemu_machine
from benchmarks.radio.c3_machine import C3Machine
from benchmarks.radio.chip import Sx1262
from benchmarks.radio.host_machine import HostMachine
from benchmarks.radio.node import Machine
from benchmarks.radio.qemu_machine import QemuMachine

Board = Literal["host", "qemu_virt", "mps2_an385", "esp32c3_ct62"]
BOARDS: Final[tuple[Board, ...]] = ("host", "qemu_virt", "mps2_an385", "esp32c3_ct62")


def missing(board: Board) -> str | None:
    """Why that board cannot run here; None where it can."""
    if board == "host":
        return host_machine.missing()
    return c3_machine.missing() if board == "esp32c3_ct62" else qemu_machine.missing(board)


def start(board: Board, chip: Sx1262, *, seed: int) -> Machine:
    """A machine of that kind, its flash blank."""
    if board == "host":
        return HostMachine(chip, seed=seed)
    return C3Machine(chip, seed=seed) if board == "esp32c3_ct62" else QemuMachine(board, chip, seed=seed)
