"""The peripherals of an ESP32-C3 that the relay uses, as its technical reference manual describes them, register by register.

The rule: an access that the real block would not serve - not clocked, not routed, not enabled, not known - is a finding. It is what its
author believes of the chip: it proves the driver's logic, and says nothing of silicon.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from typing import Final

from benchmarks.radio.chip import Sx1262
from benchmarks.radio.flash import PAGE_SIZE, SECTOR_SIZE, Flash

UART0: Final = 0x00000
SPI1: Final = 0x02000
GPIO: Final = 0x04000
RTC: Final = 0x08000
IO_MUX: Final = 0x09000
TIMER_GROUP_0: Final = 0x1F000
SYSTIMER: Final = 0x23000
SPI2: Final = 0x24000
RNG: Final = 0x260B0
SYSTEM: Final = 0xC0000
"""Offsets from 0x60000000."""

PIN_DIO1, PIN_BUSY, PIN_RESET, PIN_MISO, PIN_MOSI, PIN_NSS, PIN_SCK = 3, 4, 5, 6, 7, 8, 10
"""Of a Heltec HT-CT62."""
SIGNAL_SCK, SIGNAL_MISO, SIGNAL_MOSI = 63, 64, 65
SIGNAL_PLAIN: Final = 128
"""A pin routed to this is driven by the GPIO registers."""
INPUT_ENABLE: Final = 1 << 9
WATCHDOG_KEY: Final = 0x50D83AA1
SUPER_WATCHDOG_KEY: Final = 0x8F1D312A
TICKS_PER_US: Final = 16
FLASH_BASE: Final = 0x3F0000
"""Where the relay's own sectors lie in 4 MiB."""
SPI_BUFFER: Final = 64
UART_FIFO: Final = 128
MASK: Final = 0xFFFFFFFF


class Peripherals:
    """All blocks of one chip. ``read`` and ``write`` are its bus; ``now_us`` is told before each step."""

    def __init__(self, radio: Sx1262, *, seed: int, flash: Flash) -> None:
        self.now_us = 0
        """Runs ahead of the air by a microsecond for each time the clock is read, so that waiting ends."""
        self.findings: Final[list[str]] = []
        self.received: Final[deque[int]] = deque()
        """Bytes from the host on their way in."""
        self.sent: Final = bytearray()
        """Bytes for the host."""
        self._radio: Final = radio
        self._flash: Final = flash
        self._random: Final = random.Random(seed)
        self._held: Final[dict[int, int]] = {}
        """Registers that only keep what is written."""
        self._out = self._enabled = 0
        self._latched = 0
        self._spi2: Final = bytearray(SPI_BUFFER)
        self._spi1: Final = bytearray(SPI_BUFFER)
        self._may_write = False
        self._readers: Final[dict[int, Callable[[], int]]] = {
            UART0: self._read_uart,
            UART0 + 0x1C: self._uart_status,
            GPIO + 0x3C: self._read_pins,
            SYSTIMER + 0x04: lambda: 1 << 29,
            SYSTIMER + 0x40: lambda: self._latched >> 32,
            SYSTIMER + 0x44: self._clock_low,
            SPI2: lambda: 0,
            SPI1: lambda: 0,
            RNG: lambda: self._random.getrandbits(32),
        }
        self._writers: Final[dict[int, Callable[[int], None]]] = {
            UART0: self._write_uart,
            GPIO + 0x08: lambda value: self._drive(self._out | value),
            GPIO + 0x0C: lambda value: self._drive(self._out & ~value),
            GPIO + 0x24: lambda value: self._enable(self._enabled | value),
            GPIO + 0x28: lambda value: self._enable(self._enabled & ~value),
            SYSTIMER + 0x04: self._latch_clock,
            SPI2: self._run_spi2,
            SPI1: self._run_spi1,
        }
        self._plain: Final = {
            *(GPIO + 0x154 + 4 * signal for signal in (SIGNAL_SCK, SIGNAL_MISO, SIGNAL_MOSI)),
            *(GPIO + 0x554 + 4 * pin for pin in range(22)),
            *(IO_MUX + 4 + 4 * pin for pin in range(22)),
            *(RTC + register for register in (0x90, 0xA8, 0xAC, 0xB0)),
            *(TIMER_GROUP_0 + register for register in (0x48, 0x64)),
            SYSTIMER,
            *(SPI2 + register for register in (0x04, 0x08, 0x0C, 0x10, 0x14, 0x18, 0x1C, 0x20, 0x30, 0xE0, 0xE8)),
            *(SPI1 + register for register in (0x04, 0x08, 0x14, 0x18, 0x1C, 0x20, 0x24, 0x28)),
            SYSTEM + 0x10,
            SYSTEM + 0x18,
        }
        self._watchdogs: Final = {"the RTC watchdog", "the super-watchdog", "the watchdog of timer group 0"}

    def read(self, offset: int) -> int:
        """A word of the bus, 32 bits."""
        reader = self._readers.get(offset)
        if reader is not None:
            return reader() & MASK
        buffer = self._buffer(offset)
        if buffer is not None:
            return int.from_bytes(buffer[0][buffer[1] : buffer[1] + 4], "little")
        if offset not in self._plain:
            self._punish(f"read from {0x60000000 + offset:#x}, which the model does not know")
        return self._held.get(offset, 0)

    def write(self, offset: int, value: int) -> None:
        writer = self._writers.get(offset)
        if writer is not None:
            writer(value)
            return
        buffer = self._buffer(offset)
        if buffer is not None:
            buffer[0][buffer[1] : buffer[1] + 4] = value.to_bytes(4, "little")
            return
        if offset not in self._plain:
            self._punish(f"wrote {value:#x} to {0x60000000 + offset:#x}, which the model does not know")
        self._held[offset] = value
        self._calm_watchdogs(offset, value)

    def barking(self) -> set[str]:
        """The watchdogs that would have reset the chip by now, since ROM leaves them on."""
        return set(self._watchdogs)

    # UART0.

    def _read_uart(self) -> int:
        if not self.received:
            self._punish("read the UART while it was empty")
            return 0
        return self.received.popleft()

    def _uart_status(self) -> int:
        return min(len(self.received), UART_FIFO)

    def _write_uart(self, value: int) -> None:
        self.sent.append(value & 0xFF)

    # SYSTIMER.

    def _latch_clock(self, value: int) -> None:
        if value >> 30 & 1:
            if not self._held.get(SYSTIMER, 0) >> 30 & 1:
                self._punish("asked the time of a clock that was not enabled")
            self.now_us += 1
            self._latched = self.now_us * TICKS_PER_US

    def _clock_low(self) -> int:
        return self._latched & MASK

    # GPIO.

    def _drive(self, out: int) -> None:
        changed, self._out = self._out ^ out, out & MASK
        for pin, act in ((PIN_NSS, self._on_nss), (PIN_RESET, self._on_reset)):
            if changed >> pin & 1:
                if not self._enabled >> pin & 1 and out >> pin & 1 == 0:
                    self._punish(f"drove pin {pin} low while it was no output")
                act(bool(out >> pin & 1))

    def _enable(self, enabled: int) -> None:
        if (enabled & ~self._enabled) >> PIN_NSS & 1 and not self._out >> PIN_NSS & 1:
            self._punish("made NSS an output while it was low, which selects the radio")
        self._enabled = enabled & MASK

    def _on_nss(self, is_high: bool) -> None:
        if not self._enabled >> PIN_NSS & 1:
            return
        if is_high:
            self._radio.deselect()
        else:
            self._radio.select()

    def _on_reset(self, is_high: bool) -> None:
        if not is_high:
            self._radio.reset()

    def _read_pins(self) -> int:
        self.now_us += 1  # a loop that waits for a pin ends
        levels = self._radio.busy << PIN_BUSY | self._radio.dio1 << PIN_DIO1
        for pin in (PIN_BUSY, PIN_DIO1):
            if not self._held.get(IO_MUX + 4 + 4 * pin, 0) & INPUT_ENABLE:
                self._punish(f"read pin {pin} while its input was off")
        return levels

    # SPI2: the radio.

    def _run_spi2(self, value: int) -> None:
        if not value >> 24 & 1:
            return
        for lacking in self._spi2_lacks():
            self._punish(f"ran SPI2 without {lacking}")
        n_bits = (self._held.get(SPI2 + 0x1C, 0) & 0x3FFFF) + 1
        if n_bits % 8 or n_bits > 8 * SPI_BUFFER:
            self._punish(f"ran SPI2 for {n_bits} bits")
        size = min(n_bits // 8, SPI_BUFFER)
        self._spi2[:size] = self._radio.exchange(bytes(self._spi2[:size]))

    def _spi2_lacks(self) -> list[str]:
        held = self._held
        clocks = held.get(SYSTEM + 0x10, 0) >> 6 & 1 and not held.get(SYSTEM + 0x18, 0) >> 6 & 1 and held.get(SPI2 + 0xE8, 0) & 7 == 7
        user = held.get(SPI2 + 0x10, 0)
        lacks = {
            "its clocks": not clocks,
            "MOSI, MISO and full duplex": not (user >> 27 & 1 and user >> 28 & 1 and user & 1),
            "being master": held.get(SPI2 + 0xE0, 0) != 0,
            "SCK on its pin": held.get(GPIO + 0x554 + 4 * PIN_SCK, SIGNAL_PLAIN) & 0xFF != SIGNAL_SCK,
            "MOSI on its pin": held.get(GPIO + 0x554 + 4 * PIN_MOSI, SIGNAL_PLAIN) & 0xFF != SIGNAL_MOSI,
            "MISO from its pin": held.get(GPIO + 0x154 + 4 * SIGNAL_MISO, 0) & 0x7F != (1 << 6 | PIN_MISO),
            "MISO's input": not held.get(IO_MUX + 4 + 4 * PIN_MISO, 0) & INPUT_ENABLE,
        }
        return [what for what, is_lacking in lacks.items() if is_lacking]

    # SPI1: the flash.

    def _run_spi1(self, value: int) -> None:
        if not value >> 18 & 1:
            return
        phases = self._held.get(SPI1 + 0x18, 0)
        opcode = self._held.get(SPI1 + 0x20, 0) & 0xFF if phases >> 31 else None
        at = (self._held.get(SPI1 + 0x04, 0) & 0xFFFFFF) - FLASH_BASE if phases >> 30 & 1 else None
        n_out = (self._held.get(SPI1 + 0x24, 0) & 0x3FF) // 8 + 1 if phases >> 27 & 1 else 0
        n_in = (self._held.get(SPI1 + 0x28, 0) & 0x3FF) // 8 + 1 if phases >> 28 & 1 else 0
        if max(n_out, n_in) > SPI_BUFFER:
            self._punish(f"ran SPI1 for {max(n_out, n_in)} bytes at once")
        match opcode:
            case 0x03 if at is not None:
                found = self._flash.read(at, n_in)
                if found is None:
                    self._punish(f"read {n_in} bytes of flash outside its sectors")
                self._spi1[:n_in] = found or bytes(n_in)
            case 0x05:
                self._spi1[0] = self._may_write << 1
            case 0x06:
                self._may_write = True
            case 0x04:
                self._may_write = False
            case 0x02 | 0x20 if at is not None:
                self._alter_flash(opcode, at, bytes(self._spi1[:n_out]))
            case _:
                self._punish(f"sent the flash {opcode}, which the model does not know, or without an address")

    def _alter_flash(self, opcode: int, at: int, written: bytes) -> None:
        if not self._may_write:
            self._punish("altered flash without enabling it")
            return
        self._may_write = False
        if not 0 <= at < len(self._flash.image):
            self._punish(f"altered flash at {FLASH_BASE + at:#x}, outside its sectors")
        elif opcode == 0x20:
            self._flash.erase(at - at % SECTOR_SIZE)
        else:
            room = PAGE_SIZE - at % PAGE_SIZE
            if len(written) > room:
                self._punish(f"wrote {len(written)} bytes of flash where {room} are left of a page")
            self._flash.write(at, written[:room])

    # The rest.

    def _buffer(self, offset: int) -> tuple[bytearray, int] | None:
        """The data buffer of an SPI block that lies there, and where in it."""
        for base, buffer in ((SPI2 + 0x98, self._spi2), (SPI1 + 0x58, self._spi1)):
            if base <= offset < base + SPI_BUFFER:
                return buffer, offset - base
        return None

    def _calm_watchdogs(self, offset: int, value: int) -> None:
        held = self._held
        if offset == RTC + 0x90 and value == 0 and held.get(RTC + 0xA8) == WATCHDOG_KEY:
            self._watchdogs.discard("the RTC watchdog")
        if offset == RTC + 0xAC and value >> 31 & 1 and held.get(RTC + 0xB0) == SUPER_WATCHDOG_KEY:
            self._watchdogs.discard("the super-watchdog")
        if offset == TIMER_GROUP_0 + 0x48 and value == 0 and held.get(TIMER_GROUP_0 + 0x64) == WATCHDOG_KEY:
            self._watchdogs.discard("the watchdog of timer group 0")

    def _punish(self, words: str) -> None:
        self.findings.append(f"{self.now_us / 1_000_000:.6f} the firmware {words}")
