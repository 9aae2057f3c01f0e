"""The firmware in QEMU: a machine of another instruction set, driven in lock-step over its only UART.

Its rule: a child ends with whoever began it, whatever ends that; and no answer is waited for without a deadline. The frames are those of
``firmware/README.md``.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import socket
import subprocess
import tempfile
from enum import IntEnum
from functools import partial
from typing import Final

from benchmarks.processes import ROOT
from benchmarks.radio.chip import Sx1262
from benchmarks.radio.flash import Flash
from benchmarks.radio.node import Stuck

BUILD: Final = ROOT / "firmware" / "build"
COMMANDS: Final = {
    "qemu_virt": ("qemu-system-riscv32", "-M", "virt", "-bios", "none", "-m", "8M"),
    "mps2_an385": ("qemu-system-arm", "-M", "mps2-an385"),
}
"""Board to machine."""
BOOT_TIMEOUT_S: Final = 30.0  # a tenth of a second, on a machine that does nothing else
ANSWER_TIMEOUT_S: Final = 30.0
END_TIMEOUT_S: Final = 5.0
STDERR_TAIL: Final = 2048
FLASH_SIZE: Final = 8192
NEVER: Final = (1 << 64) - 1
FRAME_MAX: Final = 4096
"""Bytes between two FENDs, of a machine that has gone mad."""
FEND: Final = b"\xc0"
_PR_SET_PDEATHSIG: Final = 1  # linux/prctl.h
_libc: Final = ctypes.CDLL(None)  # loaded before anything forks


class Code(IntEnum):
    """Commands between the simulator and a machine; any other is the host's."""

    STEP = 0xE0
    IDLE = 0xE1
    TRANSFER = 0xE2
    RESET = 0xE3
    FLASH = 0xE4
    SEED = 0xE5
    HANDLED = 0xE7
    BANNER = 0xEF


class FlashOp(IntEnum):
    READ = 0
    ERASE = 1
    WRITE = 2


def missing(board: str) -> str | None:
    """Why that board cannot run here."""
    if shutil.which(COMMANDS[board][0]) is None:
        return f"`{COMMANDS[board][0]}` is not installed (make -C firmware toolchain)"
    if not (BUILD / f"{board}.elf").exists():
        return f"firmware/build/{board}.elf is not built (make -C firmware)"
    return None


class QemuMachine:
    """One child process, and the machine inside it."""

    def __init__(self, board: str, chip: Sx1262, *, seed: int) -> None:
        """Raises ``Stuck`` where it does not boot."""
        self._chip: Final = chip
        self.flash: Final = Flash(FLASH_SIZE)
        self._output = bytearray()
        self._fed = bytearray()
        self._received = bytearray()
        self._stderr: Final = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `close`
        ours, theirs = socket.socketpair()
        self._line: Final = ours
        with theirs:
            self._process: Final = subprocess.Popen(
                [
                    *COMMANDS[board],
                    *("-display", "none", "-monitor", "none", "-nodefaults"),
                    *("-chardev", f"socket,id=c0,fd={theirs.fileno()}", "-serial", "chardev:c0"),
                    *("-kernel", str(BUILD / f"{board}.elf")),
                ],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=self._stderr,
                pass_fds=[theirs.fileno()],
                preexec_fn=partial(_die_with, os.getpid()),
            )
        try:
            self._line.settimeout(BOOT_TIMEOUT_S)
            self._wait_for(Code.BANNER)
            self._line.settimeout(ANSWER_TIMEOUT_S)
            self._send(Code.SEED, seed.to_bytes(4))
        except BaseException:
            self.close()
            raise

    @property
    def pid(self) -> int:
        return self._process.pid

    def step(self, now_us: int, *, dio1: bool) -> int | None:
        self._send(Code.STEP, now_us.to_bytes(8) + bytes((dio1,)))
        next_us = int.from_bytes(self._wait_for(Code.IDLE))
        return None if next_us == NEVER else next_us

    def feed(self, sent: bytes) -> None:
        """Whole frames go to the machine, the rest waits for its end: the line also carries what the simulator says."""
        self._fed += sent
        while (end := self._fed.find(FEND)) >= 0:
            frame = bytes(self._fed[:end])
            del self._fed[: end + 1]
            if frame:
                self._line.sendall(FEND + frame + FEND)
                self._wait_for(Code.HANDLED)

    def take(self) -> bytes:
        taken = bytes(self._output)
        self._output.clear()
        return taken

    def read_flash(self) -> bytes:
        return bytes(self.flash.image)

    def write_flash(self, image: bytes) -> None:
        assert len(image) == FLASH_SIZE
        self.flash.image[:] = image

    def close(self) -> None:
        self._process.kill()
        self._process.wait(END_TIMEOUT_S)
        self._line.close()
        self._stderr.close()

    def _wait_for(self, wanted: Code) -> bytes:
        """Serve the machine until it says that; returns what it says."""
        while True:
            code, body = self._next_frame()
            if code == wanted:
                return body
            if code == Code.TRANSFER:
                self._send(Code.TRANSFER, self._chip.transfer(body))
            elif code == Code.RESET:
                self._chip.reset()
            elif code == Code.FLASH:
                self._send(Code.FLASH, self._serve_flash(body))
            elif code in list(Code):
                raise self._stuck(f"said {Code(code).name} where {wanted.name} was due")
            else:
                self._output += FEND + _escaped(bytes((code,)) + body) + FEND

    def _serve_flash(self, body: bytes) -> bytes:
        at, rest = int.from_bytes(body[1:5]), body[5:]
        if body[0] == FlashOp.READ:
            found = self.flash.read(at, int.from_bytes(rest))
            return b"\0" if found is None else b"\1" + found
        done = self.flash.erase(at) if body[0] == FlashOp.ERASE else self.flash.write(at, rest)
        return bytes((done,))

    def _send(self, code: Code, body: bytes) -> None:
        self._line.sendall(FEND + _escaped(bytes((code,)) + body) + FEND)

    def _next_frame(self) -> tuple[int, bytes]:
        """Command and body of the next frame that is not empty."""
        while True:
            while (end := self._received.find(FEND)) < 0:
                if len(self._received) > FRAME_MAX:
                    raise self._stuck("sends no end of a frame")
                try:
                    came = self._line.recv(65536)
                except TimeoutError as error:
                    raise self._stuck("does not answer") from error
                if not came:
                    raise self._stuck("has ended")
                self._received += came
            frame = bytes(self._received[:end])
            del self._received[: end + 1]
            if frame:
                plain = frame.replace(b"\xdb\xdc", FEND).replace(b"\xdb\xdd", b"\xdb")
                return plain[0], plain[1:]

    def _stuck(self, happened: str) -> Stuck:
        self._stderr.seek(0)
        said = self._stderr.read()[-STDERR_TAIL:].decode(errors="replace")
        return Stuck(f"the machine in process {self._process.pid} {happened}\n{said}".rstrip())


def _escaped(plain: bytes) -> bytes:
    return plain.replace(b"\xdb", b"\xdb\xdd").replace(FEND, b"\xdb\xdc")


def _die_with(parent_pid: int) -> None:
    """In the child, before it becomes QEMU: the kernel ends it with the thread that began it."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent_pid:  # it went in between
        os._exit(1)
