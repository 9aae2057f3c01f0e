"""The host's end of the line to a board: RNode's host protocol, and our own commands where the board knows them.

Bytes and ``now`` in; ``outgoing`` has the bytes to write, ``feed`` and ``tick`` give events. A board is asked what it is, set, and believed
only when each value it echoes is the one it was given; before that nothing is sent over the air. One frame is on its way to the board at
a time, until it says that there is room for another.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from retrieval.errors import ErrorCode, LocalProtocolError
from retrieval.identity import EvmAddress
from retrieval.radio.airtime import Modulation
from retrieval.radio.kiss import Command, KissDecoder, KissFrame, encode_kiss
from retrieval.radio.packet import FRAME_SIZE_MAX, RadioId

DETECT_ASK: Final = b"\x73"
DETECT_ANSWER: Final = b"\x46"
FREQUENCY_TOLERANCE_HZ: Final = 100  # the step of the chip's synthesizer, and what other hosts allow
ANSWER_DUE_S: Final = 5.0
READY_DUE_S: Final = 5.0
"""An RNode says that there is room only if it was told to: after this we go on without its word."""
RSSI_OFFSET: Final = 157

# Ours. A board that is no relay of ours does not answer IDENTITY, and is not asked the others.
IDENTITY: Final = 0xA0
HOST_ID: Final = 0xA1
TERMS: Final = 0xA2
RECEIPT: Final = 0xA4
DUTY: Final = 0xA6
CLOCK: Final = 0xA7
REFUSED: Final = 0xAF


@dataclass(frozen=True, slots=True, kw_only=True)
class ModemSettings:
    """What the board is set to."""

    frequency_hz: int
    power_dbm: int
    modulation: Modulation
    airtime_max: int = 0
    """Hundredths of a percent of every hour, below what the band allows; 0 leaves it to the board."""
    station: RadioId
    """Ours, so that the board hands us what is for us."""
    carries: bool = False
    """Whether the board relays, for ``fee_code`` a packet, owed to ``operator``."""
    fee_code: int = 0
    operator: EvmAddress = EvmAddress(bytes(20))


@dataclass(frozen=True, slots=True, kw_only=True)
class Online:
    """The board is set and listens."""

    public_key: bytes
    """Of the board, where it is a relay of ours; else empty."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameHeard:
    frame: bytes
    rssi_dbm: int | None
    snr_quarter_db: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceiptDue:
    """The board's receipt for what it carried; ``Modem.keep`` once it is on disk."""

    signed: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class DutyTold:
    """What the board has sent in the last hour, and may send, by sub-band, in microseconds."""

    bands: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameRefused:
    """The board did not take a frame."""

    reason: int


ModemEvent = Online | FrameHeard | ReceiptDue | DutyTold | FrameRefused


@dataclass(slots=True)
class _Signal:
    rssi_dbm: int | None = None
    snr_quarter_db: int | None = None


class Modem:
    """One board, from the moment its port is open until that is gone."""

    def __init__(self, settings: ModemSettings, *, now: float) -> None:
        self._settings: Final = settings
        self._decoder: Final = KissDecoder()
        self._out = bytearray()
        self._pending: dict[int, bytes] = {}
        """Values that were given and not echoed yet."""
        self._signal = _Signal()
        self._public_key = b""
        self._is_online = False
        self._due: float | None = now + ANSWER_DUE_S
        self._room_at: float | None = None
        """While a frame is on its way to the board: when we stop waiting for it to say that there is room."""
        for command, data in ((Command.DETECT, DETECT_ASK), (Command.FIRMWARE_VERSION, b"\0"), (IDENTITY, b"")):
            self._out += encode_kiss(command, data)

    @property
    def is_online(self) -> bool:
        return self._is_online

    @property
    def has_room(self) -> bool:
        """Whether a frame may be sent."""
        return self._is_online and self._room_at is None

    def outgoing(self) -> bytes:
        """What is to be written to the line, and counts as written."""
        data = bytes(self._out)
        self._out.clear()
        return data

    def send(self, frame: bytes, now: float) -> None:
        """Have a frame sent. Asserts ``has_room``."""
        assert self.has_room
        assert 0 < len(frame) <= FRAME_SIZE_MAX
        self._room_at = now + READY_DUE_S
        self._out += encode_kiss(Command.DATA, frame)

    def keep(self, signed: bytes) -> None:
        """A receipt is on our disk: the board may forget it."""
        self._out += encode_kiss(RECEIPT, signed[17:21])

    def ask_duty(self) -> None:
        """Have a relay of ours say what it has sent."""
        if self._public_key:
            self._out += encode_kiss(DUTY)

    def leave(self) -> None:
        """We go; an RNode then falls back to its own ways."""
        self._out += encode_kiss(Command.LEAVE, b"\xff")

    def feed(self, data: bytes, now: float) -> list[ModemEvent]:
        """Take bytes of the line. Raises ``LocalProtocolError(radio_unavailable)`` when the board does not take its settings."""
        return [event for frame in self._decoder.feed(data) for event in self._take(frame, now)]

    def next_deadline(self) -> float | None:
        """When ``tick`` is due."""
        return min((due for due in (self._due, self._room_at) if due is not None), default=None)

    def tick(self, now: float) -> None:
        """Act on deadlines. Raises ``LocalProtocolError(radio_unavailable)`` when the board does not answer."""
        if self._due is not None and now >= self._due:
            missing = ", ".join(_name(command) for command in self._pending) or "detect"
            raise LocalProtocolError(ErrorCode.RADIO_UNAVAILABLE, f"it did not answer: {missing}")
        if self._room_at is not None and now >= self._room_at:
            self._room_at = None

    def _take(self, frame: KissFrame, now: float) -> list[ModemEvent]:
        match frame.command:
            case Command.DETECT if frame.data == DETECT_ANSWER and not self._pending and not self._is_online:
                self._configure(now)
            case Command.DATA if frame.data and self._is_online:
                signal, self._signal = self._signal, _Signal()
                return [FrameHeard(frame=frame.data, rssi_dbm=signal.rssi_dbm, snr_quarter_db=signal.snr_quarter_db)]
            case Command.RSSI if len(frame.data) == 1:
                self._signal.rssi_dbm = frame.data[0] - RSSI_OFFSET
            case Command.SNR if len(frame.data) == 1:
                self._signal.snr_quarter_db = int.from_bytes(frame.data, "big", signed=True)
            case Command.READY:
                self._room_at = None
            case Command.ERROR:
                raise LocalProtocolError(ErrorCode.RADIO_UNAVAILABLE, f"the board reports error {frame.data[:4].hex()}")
            case int() as command if command == IDENTITY and len(frame.data) == 32:
                self._meet_relay(frame.data)
            case int() as command if command == RECEIPT and frame.data:
                return [ReceiptDue(signed=frame.data)]
            case int() as command if command == DUTY and len(frame.data) % 8 == 0:
                numbers = [int.from_bytes(frame.data[at : at + 4], "big") for at in range(0, len(frame.data), 4)]
                return [DutyTold(bands=tuple(zip(numbers[::2], numbers[1::2], strict=True)))]
            case int() as command if command == REFUSED and frame.data[:1] == bytes((Command.DATA,)):
                return [FrameRefused(reason=frame.data[1] if len(frame.data) > 1 else 0)]
            case int() as command if command in self._pending:
                return self._echoed(command, frame.data, now)
        return []

    def _configure(self, now: float) -> None:
        settings, modulation = self._settings, self._settings.modulation
        values: list[tuple[int, bytes]] = [
            (Command.FREQUENCY, settings.frequency_hz.to_bytes(4, "big")),
            (Command.BANDWIDTH, modulation.bandwidth_hz.to_bytes(4, "big")),
            (Command.TX_POWER, settings.power_dbm.to_bytes(1, "big", signed=True)),
            (Command.SPREADING_FACTOR, bytes((modulation.spreading_factor,))),
            (Command.CODING_RATE, bytes((modulation.coding_rate,))),
            (Command.LONG_AIRTIME, settings.airtime_max.to_bytes(2, "big")),
            (Command.RADIO_STATE, b"\x01"),
        ]
        self._ask(values, now)

    def _meet_relay(self, public_key: bytes) -> None:
        if self._public_key:
            return
        self._public_key, settings = public_key, self._settings
        terms = bytes((settings.carries,)) + settings.fee_code.to_bytes(2, "big") + settings.operator
        for command, data in ((HOST_ID, settings.station), (TERMS, terms)):
            self._out += encode_kiss(command, data)

    def set_clock(self, unix_s: int) -> None:
        """Tell a relay of ours the time, for its receipts."""
        if self._public_key:
            self._out += encode_kiss(CLOCK, unix_s.to_bytes(4, "big"))

    def _ask(self, values: list[tuple[int, bytes]], now: float) -> None:
        self._due = now + ANSWER_DUE_S
        for command, data in values:
            self._pending[command] = data
            self._out += encode_kiss(command, data)

    def _echoed(self, command: int, data: bytes, now: float) -> list[ModemEvent]:
        given = self._pending.pop(command)
        if not _SAME.get(command, _is_equal)(given, data):
            raise LocalProtocolError(
                ErrorCode.RADIO_UNAVAILABLE,
                f"it was given {_name(command)} {given.hex()} and has {data[:8].hex()}; the band may not allow it",
            )
        self._due = now + ANSWER_DUE_S
        if self._pending:
            return []
        self._due, self._is_online = None, True
        return [Online(public_key=self._public_key)]


def _is_equal(given: bytes, echoed: bytes) -> bool:
    return given == echoed


def _is_near(given: bytes, echoed: bytes) -> bool:
    return len(given) == len(echoed) and abs(int.from_bytes(given, "big") - int.from_bytes(echoed, "big")) <= FREQUENCY_TOLERANCE_HZ


def _is_in_force(given: bytes, echoed: bytes) -> bool:
    """A board may hold its own airtime limit below ours; without one of ours, whatever it has is right."""
    return not any(given) or (len(echoed) == len(given) and echoed <= given)


def _name(command: int) -> str:
    return Command(command).name.lower() if command in _COMMANDS else f"{command:02x}"


_SAME: Final[dict[int, Callable[[bytes, bytes], bool]]] = {Command.FREQUENCY: _is_near, Command.LONG_AIRTIME: _is_in_force}
_COMMANDS: Final = frozenset(Command)
