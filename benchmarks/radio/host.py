"""The computer behind a node, as far as every run needs one: it sets the node up, hears what comes, and keeps its receipts.

The rule: it speaks the serial line's own protocol, byte for byte, and knows nothing of the node that the line does not say.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from benchmarks.radio.node import Node
from benchmarks.radio.timeline import Timeline
from retrieval.radio.airtime import Modulation
from retrieval.radio.kiss import Command, KissDecoder, KissFrame, encode_kiss

RSSI_OFFSET: Final = 157
SEQUENCE: Final = slice(17, 21)
"""Of a relay's receipt."""


class Own(IntEnum):
    """Commands of the relay's own, beside those of RNodes (``firmware/README.md``)."""

    IDENTITY = 0xA0
    HOST_ID = 0xA1
    TERMS = 0xA2
    COUNTERS = 0xA3
    RECEIPT = 0xA4
    RAW = 0xA5
    DUTY = 0xA6
    CLOCK = 0xA7
    NEIGHBOURS = 0xA8
    REFUSED = 0xAF


class Refused(Exception):
    """The node did not take a setting, or did not answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """What a node is told before it begins."""

    frequency_hz: int = 869_525_000
    modulation: Modulation = Modulation()
    power_dbm: int = 22
    carries: bool = True
    fee_code: int = 0
    operator: bytes = bytes(20)
    host_id: bytes = bytes(8)
    time_s: int = 0


class Host:
    """One computer on one line."""

    def __init__(self, node: Node, timeline: Timeline) -> None:
        self.on_frame: Callable[[bytes], None] = lambda frame: None
        """Called with each frame that was heard."""
        self.on_ready: Callable[[], None] = lambda: None
        """Called when there is room for another frame."""
        self.snr_qdb = 0
        """Of the frame that is being told, in quarters of a dB."""
        self.receipts: Final[dict[int, bytes]] = {}
        """The node's own, by sequence."""
        self.refusals: Final[list[bytes]] = []
        self.node: Final = node
        self._timeline: Final = timeline
        self._decoder: Final = KissDecoder()
        self._answers: dict[int, bytes] = {}
        node.on_output = self._came

    def set_up(self, setup: Setup) -> bytes:
        """Tell the node everything, hold its echoes against it, and switch the radio on. Returns its public key. Raises ``Refused``."""
        modulation = setup.modulation
        for command, data in (
            (Command.FREQUENCY, setup.frequency_hz.to_bytes(4)),
            (Command.BANDWIDTH, modulation.bandwidth_hz.to_bytes(4)),
            (Command.SPREADING_FACTOR, bytes((modulation.spreading_factor,))),
            (Command.CODING_RATE, bytes((modulation.coding_rate,))),
            (Command.TX_POWER, setup.power_dbm.to_bytes(1, signed=True)),
            (Own.TERMS, bytes((setup.carries,)) + setup.fee_code.to_bytes(2) + setup.operator),
            (Own.HOST_ID, setup.host_id),
            (Own.CLOCK, setup.time_s.to_bytes(4)),
            (Command.RADIO_STATE, b"\x01"),
        ):
            if (answer := self.ask(command, data)) != data:
                raise Refused(f"{self.node.name}: {command.name} {data.hex()} was answered with {answer.hex()}")
        return self.ask(Own.IDENTITY)

    def ask(self, command: int, data: bytes = b"") -> bytes:
        """What the node answers, within this microsecond; not from within an appointment. Raises ``Refused``."""
        self._answers.pop(command, None)
        self.tell(command, data)
        self._timeline.run(self._timeline.now_us)
        if command not in self._answers:
            raise Refused(f"{self.node.name}: command {command:#04x} was not answered")
        return self._answers[command]

    def tell(self, command: int, data: bytes = b"") -> None:
        self.node.feed(encode_kiss(command, data))

    def send(self, frame: bytes) -> None:
        """Have a frame sent as it is."""
        self.tell(Command.DATA, frame)

    def counters(self) -> list[int]:
        """In the order of the firmware's ``enum counter``."""
        answer = self.ask(Own.COUNTERS)
        return [int.from_bytes(answer[at : at + 4]) for at in range(0, len(answer), 4)]

    def _came(self, received: bytes) -> None:
        for frame in self._decoder.feed(received):
            self._handle(frame)

    def _handle(self, frame: KissFrame) -> None:
        match frame.command:
            case Command.SNR:
                self.snr_qdb = int.from_bytes(frame.data, signed=True)
            case Command.DATA:
                self.on_frame(frame.data)
            case Command.READY:
                self.on_ready()
            case Own.REFUSED:
                self.refusals.append(frame.data)
            case Own.RECEIPT if frame.data:
                self.receipts[int.from_bytes(frame.data[SEQUENCE])] = frame.data
                self.tell(Own.RECEIPT, frame.data[SEQUENCE])
            case _:
                self._answers[frame.command] = frame.data
