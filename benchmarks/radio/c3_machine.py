"""The ESP32-C3 image in Unicorn, byte for byte as it would be flashed: loaded as ROM loads it, run instruction by instruction.

Its rule: the machine stops at ``board_idle`` and nowhere else, and every finding of its peripherals fails the run that asks for them.
"""

from __future__ import annotations

import ctypes
import mmap
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from benchmarks.processes import ROOT
from benchmarks.radio.c3_image import CODE_START, DATA_START, RAM_SIZE, offset_in_ram, parse, symbols
from benchmarks.radio.c3_peripherals import Peripherals
from benchmarks.radio.chip import Sx1262
from benchmarks.radio.flash import Flash
from benchmarks.radio.node import Stuck

if TYPE_CHECKING:
    from unicorn import Uc

BUILD: Final = ROOT / "firmware" / "build"
BOARD: Final = "esp32c3_ct62"
PERIPHERALS_START: Final = 0x60000000
PERIPHERALS_SIZE: Final = 0x100000
FLASH_SIZE: Final = 8192
STEP_TIMEOUT_US: Final = 60_000_000
"""Of real time: a signature takes some tens of milliseconds, so a step that needs this much does not end."""
NEVER: Final = (1 << 64) - 1
PAINT: Final = 0xA5
"""Fills RAM before the start: after power-on it holds anything but zeros."""


def missing() -> str | None:
    """Why the image cannot run here."""
    try:
        import unicorn  # noqa: F401
    except ImportError:
        return "`unicorn` is not installed; it is among the packages for tests"
    absent = [name for name in (f"{BOARD}.bin", f"{BOARD}.elf") if not (BUILD / name).exists()]
    return f"firmware/build/{absent[0]} is not built (make -C firmware)" if absent else None


class C3Machine:
    """One chip. ``findings`` are the driver's faults against the chip, those of its flash included."""

    def __init__(self, radio: Sx1262, *, seed: int, build: Path = BUILD) -> None:
        """Raises ``BadImage`` for what ROM would not start."""
        from unicorn import UC_ARCH_RISCV, UC_MODE_RISCV32, UC_PROT_ALL, UC_PROT_READ, UC_PROT_WRITE, Uc
        from unicorn.riscv_const import UC_RISCV_REG_PC, UC_RISCV_REG_RA

        image = parse((build / f"{BOARD}.bin").read_bytes())
        self._symbols: Final = symbols((build / f"{BOARD}.elf").read_bytes())
        self.flash: Final = Flash(FLASH_SIZE)
        self.peripherals: Final = Peripherals(radio, seed=seed, flash=self.flash)
        radio.clock = lambda: self.peripherals.now_us
        self._ram: Final = mmap.mmap(-1, RAM_SIZE)
        self._ram[:] = bytes([PAINT]) * RAM_SIZE
        for segment in image.segments:
            offset = offset_in_ram(segment.address, len(segment.content))
            assert offset is not None
            self._ram[offset : offset + len(segment.content)] = segment.content
        self._pc, self._ra = UC_RISCV_REG_PC, UC_RISCV_REG_RA
        self._engine: Uc = Uc(UC_ARCH_RISCV, UC_MODE_RISCV32)
        self._held: Final = ctypes.c_char.from_buffer(self._ram)
        place = ctypes.addressof(self._held)
        self._engine.mem_map_ptr(DATA_START, RAM_SIZE, UC_PROT_READ | UC_PROT_WRITE, place)
        self._engine.mem_map_ptr(CODE_START, RAM_SIZE, UC_PROT_ALL, place)
        self._engine.mmio_map(PERIPHERALS_START, PERIPHERALS_SIZE, self._on_read, None, self._on_write, None)
        self._failure: BaseException | None = None
        self._resume_at = image.entry

    @property
    def findings(self) -> list[str]:
        return self.peripherals.findings + self.flash.findings

    def step(self, now_us: int, *, dio1: bool) -> int | None:
        from unicorn import UcError

        self.peripherals.now_us = max(self.peripherals.now_us, now_us)
        idle = self._symbols["board_idle"]
        try:
            self._engine.emu_start(self._resume_at, idle, timeout=STEP_TIMEOUT_US)
        except UcError as error:
            raise Stuck(f"{error} at {self._engine.reg_read(self._pc):#x}") from error
        if self._failure is not None:
            raise self._failure
        stopped_at = self._engine.reg_read(self._pc)
        if stopped_at != idle:
            raise Stuck(f"it stopped at {stopped_at:#x}, which is not board_idle")
        self._resume_at = self._engine.reg_read(self._ra)
        if barking := self.peripherals.barking():
            raise Stuck(f"reset by {' and '.join(sorted(barking))}")
        next_us = int.from_bytes(self._read(self._symbols["board_next_us"], 8), "little")
        return None if next_us == NEVER else next_us

    def feed(self, sent: bytes) -> None:
        self.peripherals.received.extend(sent)

    def take(self) -> bytes:
        taken = bytes(self.peripherals.sent)
        self.peripherals.sent.clear()
        return taken

    def read_flash(self) -> bytes:
        return bytes(self.flash.image)

    def write_flash(self, image: bytes) -> None:
        assert len(image) == FLASH_SIZE
        self.flash.image[:] = image

    def close(self) -> None:
        self._engine.emu_stop()

    def _read(self, address: int, size: int) -> bytes:
        return bytes(self._engine.mem_read(address, size))

    def _on_read(self, _engine: Uc, offset: int, size: int, _data: Any) -> int:
        try:
            if size != 4:
                self.peripherals.findings.append(f"the firmware read {size} bytes of a register at {offset:#x}")
            return self.peripherals.read(offset & ~3)
        except BaseException as failure:  # noqa: BLE001 - it must not pass through the engine; `step` raises it again
            self._fail(failure)
            return 0

    def _on_write(self, _engine: Uc, offset: int, size: int, value: int, _data: Any) -> None:
        try:
            if size != 4:
                self.peripherals.findings.append(f"the firmware wrote {size} bytes of a register at {offset:#x}")
            self.peripherals.write(offset & ~3, value)
        except BaseException as failure:  # noqa: BLE001 - as above
            self._fail(failure)

    def _fail(self, failure: BaseException) -> None:
        self._failure = failure
        self._engine.emu_stop()
