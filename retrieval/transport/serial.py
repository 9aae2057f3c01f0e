"""Trio. A radio board on a serial port, or a pty: opened, set, and opened again when it went away in the middle of a frame.

Its rule: bytes pass through ``retrieval.radio.modem``, which decides everything; here there are only a port, a clock and patience.
"""

from __future__ import annotations

import logging
import os
import termios
import tty
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import trio

from retrieval.errors import ErrorCode, LocalProtocolError
from retrieval.radio.modem import Modem, ModemEvent, ModemSettings, Online
from retrieval.transport.writer import Clock

log: Final = logging.getLogger(__name__)

READ_SIZE: Final = 4096
EVENTS_MAX: Final = 256
"""Events that nobody has taken yet; beyond it frames from the air are lost, as they are on the air."""
START_DUE_S: Final = 15.0
"""How long a board may take at first; one that was reset by opening its port boots for some seconds."""
BACKOFF_FIRST_S: Final = 0.5
BACKOFF_MAX_S: Final = 15.0
CLOCK_EVERY_S: Final = 600.0


class SerialRadio:
    """Made by ``open_serial``."""

    def __init__(self, port: str, settings: ModemSettings, clock: Clock) -> None:
        self.port: Final = port
        self._settings: Final = settings
        self._clock: Final = clock
        self._modem: Modem | None = None
        told, events = trio.open_memory_channel[ModemEvent](EVENTS_MAX)
        self._told: Final = told
        self.events: Final = events
        self.public_key = b""
        """Of the board, where it is a relay of ours."""
        self.n_connections = 0
        self._moved = trio.Event()
        """Set and replaced when there may be something to write, or room."""

    @property
    def is_online(self) -> bool:
        return self._modem is not None and self._modem.is_online

    @property
    def has_room(self) -> bool:
        """Whether ``send`` may be called."""
        return self._modem is not None and self._modem.has_room

    def send(self, frame: bytes) -> None:
        """Have a frame sent over the air. Asserts ``has_room``."""
        assert self._modem is not None
        self._modem.send(frame, self._clock())
        self._wake()

    def keep(self, signed: bytes) -> None:
        """A receipt of the board is on disk."""
        if self._modem is not None:
            self._modem.keep(signed)
            self._wake()

    def ask_duty(self) -> None:
        """Have the board say what it has sent; answered by ``DutyTold`` where it can."""
        if self._modem is not None:
            self._modem.ask_duty()
            self._wake()

    async def run(self) -> None:
        """Keep the board connected until cancelled."""
        backoff_s = BACKOFF_FIRST_S
        while True:
            connected = self.n_connections
            try:
                await self._connect()
            except* (OSError, LocalProtocolError, trio.BrokenResourceError) as group:
                why = "; ".join(map(str, _leaves(group)))
                log.log(logging.WARNING if self._modem is not None else logging.DEBUG, "the radio on %s is gone: %s", self.port, why)
            self._modem = None
            self._wake()
            backoff_s = BACKOFF_FIRST_S if self.n_connections > connected else min(2 * backoff_s, BACKOFF_MAX_S)
            await trio.sleep(backoff_s)

    async def _connect(self) -> None:
        """From opening the port to losing it. Raises what was wrong with it."""
        fd = open_port(self.port)
        async with trio.lowlevel.FdStream(fd) as line:
            self._modem = Modem(self._settings, now=self._clock())
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._read, line, self._modem)
                nursery.start_soon(self._write, line, self._modem)
                nursery.start_soon(self._keep_time, self._modem)

    async def _read(self, line: trio.lowlevel.FdStream, modem: Modem) -> None:
        while True:
            data = await line.receive_some(READ_SIZE)
            if not data:
                raise trio.BrokenResourceError("the port was closed")
            for event in modem.feed(data, self._clock()):
                self._tell(event)
            self._wake()

    def _tell(self, event: ModemEvent) -> None:
        if isinstance(event, Online):
            self.public_key, self.n_connections = event.public_key, self.n_connections + 1
            assert self._modem is not None
            self._modem.set_clock(int(self._clock()))
            log.info("the radio on %s is set", self.port)
        try:
            self._told.send_nowait(event)
        except trio.WouldBlock:
            log.warning("a frame from the radio was lost: %d wait already", EVENTS_MAX)

    async def _write(self, line: trio.lowlevel.FdStream, modem: Modem) -> None:
        while True:
            moved = self._moved
            if data := modem.outgoing():
                await line.send_all(data)
            else:
                await moved.wait()

    async def _keep_time(self, modem: Modem) -> None:
        clock_due = self._clock() + CLOCK_EVERY_S
        while True:
            now = self._clock()
            modem.tick(now)
            if now >= clock_due:
                modem.set_clock(int(now))
                clock_due = now + CLOCK_EVERY_S
            self._wake()
            due = modem.next_deadline()
            await trio.sleep(0.25 if due is None else min(0.25, max(0.0, due - now)))

    async def moved(self) -> None:
        """Return when there may be room, or not any more."""
        await self._moved.wait()

    def _wake(self) -> None:
        self._moved.set()
        self._moved = trio.Event()


@asynccontextmanager
async def open_serial(port: str, settings: ModemSettings, clock: Clock) -> AsyncIterator[SerialRadio]:
    """The radio on a port, set, while the block runs; it comes back by itself when it goes away meanwhile.

    Raises ``LocalProtocolError(radio_unavailable)`` when it cannot be had at first.
    """
    os.close(open_port(port))  # what is wrong with the port itself is said at once
    radio = SerialRadio(port, settings, clock)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(radio.run)
        with trio.move_on_after(START_DUE_S):
            while not radio.is_online:
                await radio.moved()
        if not radio.is_online:
            raise LocalProtocolError(
                ErrorCode.RADIO_UNAVAILABLE, f"the board on {port} did not take its settings within {START_DUE_S:.0f} s"
            )
        yield radio
        nursery.cancel_scope.cancel()


def open_port(port: str) -> int:
    """The port as a file descriptor: raw, 115200 8N1 where it has a speed, ours alone.

    Raises ``LocalProtocolError(radio_unavailable)``.
    """
    try:
        fd = os.open(port, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
    except OSError as error:
        raise LocalProtocolError(ErrorCode.RADIO_UNAVAILABLE, f"{port}: {error.strerror}") from error
    try:
        tty.setraw(fd)
        attributes = termios.tcgetattr(fd)
        attributes[2] |= termios.CLOCAL | termios.CREAD
        attributes[2] &= ~(termios.CSTOPB | termios.CRTSCTS)
        attributes[4] = attributes[5] = termios.B115200
        termios.tcsetattr(fd, termios.TCSANOW, attributes)
        termios.tcflush(fd, termios.TCIFLUSH)
    except termios.error as error:
        os.close(fd)
        raise LocalProtocolError(ErrorCode.RADIO_UNAVAILABLE, f"{port} is no serial port") from error
    return fd


def _leaves(group: BaseExceptionGroup[BaseException]) -> list[BaseException]:
    return [leaf for each in group.exceptions for leaf in (_leaves(each) if isinstance(each, BaseExceptionGroup) else [each])]
