"""KISS framing (Chepponis and Karn, 1987), and the commands of the RNode host protocol in it.

A frame is ``FEND command data FEND``; inside, FEND is ``FESC TFEND`` and FESC is ``FESC TFESC``. The FEND that ends a frame may begin the
next. What is no frame is skipped up to the next FEND: bytes before the first one, a FESC followed by anything else, a frame longer than
the limit. So a line that was cut anywhere is in step again one frame later. Vectors: ``radio_kiss.json``.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Final

FEND: Final = 0xC0
FESC: Final = 0xDB
TFEND: Final = 0xDC
TFESC: Final = 0xDD
FRAME_SIZE_MAX: Final = 1 + 508
"""Bytes of a frame, its command included: the largest data of an RNode."""

_ESCAPED: Final = {FEND: bytes((FESC, TFEND)), FESC: bytes((FESC, TFESC))}
_MEANT: Final = {TFEND: FEND, TFESC: FESC}


class Command(IntEnum):
    """What a frame says. Values longer than a byte are big-endian."""

    DATA = 0x00
    FREQUENCY = 0x01
    """u32, Hz."""
    BANDWIDTH = 0x02
    """u32, Hz."""
    TX_POWER = 0x03
    SPREADING_FACTOR = 0x04
    CODING_RATE = 0x05
    RADIO_STATE = 0x06
    """0 off, 1 on, 0xFF asks."""
    DETECT = 0x08
    """0x73, answered by 0x46."""
    LEAVE = 0x0A
    """0xFF: the host goes."""
    SHORT_AIRTIME = 0x0B
    """u16, hundredths of a percent; 0 for no limit of the host's own."""
    LONG_AIRTIME = 0x0C
    """As SHORT_AIRTIME, over an hour."""
    READY = 0x0F
    """There is room for another frame."""
    RSSI = 0x23
    """u8, dBm + 157; sent before the frame that it is of."""
    SNR = 0x24
    """i8, quarters of a dB; sent before the frame that it is of."""
    CHANNEL_TIME = 0x25
    PLATFORM = 0x48
    MCU = 0x49
    FIRMWARE_VERSION = 0x50
    """Two bytes, major and minor."""
    ERROR = 0x90


@dataclass(frozen=True, slots=True)
class KissFrame:
    """One command and its data. The command may be one that ``Command`` has no name for."""

    command: int
    data: bytes


def encode_kiss(command: int, data: bytes = b"") -> bytes:
    """A frame as it goes over the line."""
    assert 1 + len(data) <= FRAME_SIZE_MAX
    return b"".join((bytes((FEND,)), *(_ESCAPED.get(byte) or bytes((byte,)) for byte in (command, *data)), bytes((FEND,))))


class KissDecoder:
    """Splits what comes over a line, in any pieces, into frames."""

    def __init__(self) -> None:
        self._frame: bytearray | None = None
        """What has come of a frame, or None while skipping."""
        self._is_escaped = False

    def feed(self, data: bytes) -> list[KissFrame]:
        """The frames that end in these bytes."""
        frames = []
        for byte in data:
            if byte == FEND:
                if self._frame and not self._is_escaped:
                    frames.append(KissFrame(self._frame[0], bytes(self._frame[1:])))
                self._frame, self._is_escaped = bytearray(), False
            elif self._frame is not None:
                self._take(byte, self._frame)
        return frames

    def _take(self, byte: int, frame: bytearray) -> None:
        if self._is_escaped:
            meant = _MEANT.get(byte)
        elif byte == FESC:
            self._is_escaped = True
            return
        else:
            meant = byte
        self._is_escaped = False
        if meant is None or len(frame) == FRAME_SIZE_MAX:
            self._frame = None
        else:
            frame.append(meant)
