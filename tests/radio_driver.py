"""A small driver for the chip of the simulated air, in Python: what the firmware's own does, without the firmware.

It minds BUSY and follows the data sheet, so that tests of the model can also break one rule at a time.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from benchmarks.radio.air import Air
from benchmarks.radio.chip import Irq, Sx1262
from benchmarks.radio.duty import Auditor
from benchmarks.radio.journal import Journal
from benchmarks.radio.links import Links
from benchmarks.radio.timeline import Timeline

FREQUENCY_HZ = 869_525_000
ALL_IRQS = 0x03F7
START = {
    "standby": "80 00",
    "regulator": "96 01",
    "tcxo": "97 02 00 01 40",
    "calibrate": "89 7f",
    "antenna": "9d 01",
    "type": "8a 01",
    "image": "98 d7 db",
    "frequency": "86" + (FREQUENCY_HZ * (1 << 25) // 32_000_000).to_bytes(4).hex(),
    "amplifier": "95 04 07 00 01",
    "power": "8e 16 04",
    "base": "8f 00 00",
    "modulation": "8b 07 04 01 00",
    "packet": "8c 00 10 00 ff 01 00",
    "quality": "0d 08 89 05",
    "clamp": "0d 08 d8 de",
    "irq": "08 03 f7 03 e3 00 00 00 00",
}
"""Everything a board has to set, in an order that works."""


@dataclass(slots=True)
class Driver:
    """One radio. ``received`` holds what came, with whether its CRC was right."""

    chip: Sx1262
    received: list[tuple[bytes, bool]] = field(default_factory=list)
    irqs: list[Irq] = field(default_factory=list)

    def start(self, **changed: str | None) -> Driver:
        """Set everything and listen; ``changed`` replaces the bytes of a step, or leaves it out."""
        self.chip.on_interrupt = self.serve
        for bytes_sent in (START | changed).values():
            if bytes_sent is not None:
                self.do(bytes_sent)
        return self.listen()

    def do(self, bytes_sent: str) -> bytes:
        return self.chip.transfer(bytes.fromhex(bytes_sent))

    def listen(self) -> Driver:
        self.do("80 00")
        self.do("8c 00 10 00 ff 01 00")
        self.do("82 ff ff ff")
        return self

    def send(self, payload: bytes) -> None:
        self.do("80 00")
        self.do(f"8c 00 10 00 {len(payload):02x} 01 00")
        self.do("0e 00" + payload.hex())
        self.do("83 00 00 00")

    def serve(self) -> None:
        """What an interrupt makes a driver do."""
        irq = Irq(int.from_bytes(self.do("12 00 00 00")[2:]))
        self.irqs.append(irq)
        self.do("02" + int(irq).to_bytes(2).hex())
        if irq & Irq.RX_DONE:
            length, offset = self.do("13 00 00 00")[2:]
            self.received.append((self.do(f"1e {offset:02x} 00" + "00" * length)[3:], not irq & Irq.CRC_ERROR))
        if irq & Irq.TX_DONE:
            self.listen()


@dataclass(slots=True)
class World:
    """An air with a driver in each place."""

    timeline: Timeline
    journal: Journal
    auditor: Auditor
    air: Air
    drivers: dict[str, Driver]

    def findings(self) -> list[str]:
        return [finding for driver in self.drivers.values() for finding in driver.chip.findings]


def world(links: Links, names: str = "a b c", *, started: bool = True, seed: int = 1, losses_per_10_000: int = 0) -> World:
    """Places called ``names``, all of their radios listening."""
    timeline = Timeline()
    journal, auditor = Journal(timeline), Auditor()
    air = Air(timeline, links, journal, auditor, seed=seed, losses_per_10_000=losses_per_10_000)
    drivers = {name: Driver(Sx1262(air.station(name), timeline, seed=number)) for number, name in enumerate(names.split())}
    if started:
        for driver in drivers.values():
            driver.start()
    return World(timeline, journal, auditor, air, drivers)
