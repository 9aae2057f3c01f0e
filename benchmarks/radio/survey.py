"""What an hour of a mesh looked like, in figures: every number that is drawn, printed or held against a target.

The rule: it is counted from the air. What the firmware says of itself stands nowhere in here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any, Final

from benchmarks.radio.air import Air, Fate, Transmission
from benchmarks.radio.lora import QDB
from benchmarks.radio.mesh import Mesh
from retrieval.radio.packet import PacketType

PURPOSES: Final[dict[int, str]] = {
    PacketType.WANT: "finding",
    PacketType.QUOTE: "finding",
    PacketType.ADVERT: "adverts",
    PacketType.FRAGMENT: "content",
    PacketType.RECORD: "content",
    PacketType.VOUCHER: "paying",
    PacketType.RECEIPT: "paying",
    PacketType.ACK: "answering",
}
OTHER: Final = "other"
ORDER: Final = ("content", "paying", "answering", "finding", "adverts", OTHER)
"""As they are stacked and listed."""
OVERHEAD: Final = ("finding", "adverts")
"""What a mesh spends on knowing itself, and on finding who has something."""

DELIVERY_MIN: Final = 0.95
OVERHEAD_MAX: Final = 0.10


class Census:
    """Watches every transmission, and adds up airtime by sender and purpose."""

    def __init__(self) -> None:
        self.airtime_us: Final[Counter[tuple[str, str]]] = Counter()
        self.n_frames: Final[Counter[str]] = Counter()

    def sent(self, transmission: Transmission) -> None:
        purpose = purpose_of(transmission.payload)
        self.airtime_us[transmission.sender, purpose] += transmission.end_us - transmission.start_us
        self.n_frames[purpose] += 1


def purpose_of(frame: bytes) -> str:
    """What a frame is for, by the type in its first byte."""
    return PURPOSES.get(frame[0] & 0x0F, OTHER) if frame else OTHER


@dataclass(frozen=True, slots=True, kw_only=True)
class Want:
    """One piece of content that a node asked for."""

    client: str
    provider: str
    asked_us: int
    hops: int
    """Relays between the two, as the shortest path of good links has it."""
    has_path: bool
    delivered_us: int | None = None
    price: int = 0
    """Of relaying a packet, in millionths."""
    failure: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeFigures:
    """One node's hour."""

    name: str
    east_km: float
    north_km: float
    n_sent: int
    airtime_us: int
    worst_hour_us: int
    budget_us: int
    airtime_by_purpose_us: dict[str, int]
    n_heard: int
    n_collided: int
    n_lost: int
    n_deaf: int

    @property
    def share(self) -> float:
        """Of what it may send in an hour, in its worst."""
        return self.worst_hour_us / self.budget_us


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkFigures:
    """Between two nodes that can understand each other."""

    one: str
    other: str
    snr_db: float
    loss: float
    n_heard: int
    """Frames, both ways."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HopFigures:
    """All content that came over so many relays."""

    hops: int
    n_delivered: int
    median_s: float
    median_price: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """Everything about one run."""

    region: str
    seed: int
    hours: float
    content_bytes: int
    nodes: list[NodeFigures]
    links: list[LinkFigures]
    hops: list[HopFigures]
    n_wants: int
    n_with_path: int
    n_delivered: int
    """Of those with a path."""
    failures: dict[str, int]
    airtime_by_purpose_us: dict[str, int]
    n_frames_by_purpose: dict[str, int]
    n_frames: int
    n_collided: int
    breaches: list[str]
    findings: list[str]
    log_sha256: str
    cpu_s: float

    @property
    def delivery(self) -> float:
        return self.n_delivered / self.n_with_path if self.n_with_path else 1.0

    @property
    def available_us(self) -> float:
        """What all nodes together may send in the time that was run."""
        return sum(node.budget_us for node in self.nodes) * self.hours

    @property
    def overhead(self) -> float:
        """Adverts and finding, of what may be sent."""
        return sum(self.airtime_by_purpose_us.get(purpose, 0) for purpose in OVERHEAD) / self.available_us

    @property
    def worst_share(self) -> float:
        return max((node.share for node in self.nodes), default=0.0)

    def targets(self) -> list[tuple[str, str, bool]]:
        """What was to be reached, what was, and whether that is enough."""
        return [
            ("airtime within the law in every hour", f"{self.worst_share:.0%} of the budget at most", not self.breaches),
            (f"delivery where a path exists, at least {DELIVERY_MIN:.0%}", f"{self.delivery:.1%}", self.delivery >= DELIVERY_MIN),
            (f"adverts and finding, at most {OVERHEAD_MAX:.0%} of the budget", f"{self.overhead:.1%}", self.overhead <= OVERHEAD_MAX),
            ("nothing that a real radio would punish", f"{len(self.findings)} findings", not self.findings),
        ]

    def as_json(self) -> dict[str, Any]:
        """Every figure, for another program; what JSON holds is for it to know."""
        derived = {"delivery": self.delivery, "overhead": self.overhead, "worst_share": self.worst_share}
        return asdict(self) | derived | {"targets_met": all(met for _, _, met in self.targets())}


def take(
    air: Air, mesh: Mesh, census: Census, wants: Iterable[Want], *, region: str, seed: int, hours: float, content_bytes: int,
    budget_us: int, findings: list[str], cpu_s: float,
) -> Survey:  # fmt: skip
    """Sum up a run that has ended."""
    asked = list(wants)
    with_path = [want for want in asked if want.has_path]
    delivered = [want for want in asked if want.delivered_us is not None]
    return Survey(
        region=region,
        seed=seed,
        hours=hours,
        content_bytes=content_bytes,
        nodes=[_node(air, mesh, census, name, budget_us) for name in sorted(mesh.places)],
        links=_links(air, mesh),
        hops=[_hop(hops, [want for want in delivered if want.hops == hops]) for hops in sorted({want.hops for want in delivered})],
        n_wants=len(asked),
        n_with_path=len(with_path),
        n_delivered=sum(want.delivered_us is not None for want in with_path),
        failures=dict(Counter(want.failure for want in with_path if want.delivered_us is None).most_common()),
        airtime_by_purpose_us=_sums(census.airtime_us, by=1),
        n_frames_by_purpose={purpose: census.n_frames[purpose] for purpose in ORDER if census.n_frames[purpose]},
        n_frames=sum(station.tally.n_sent for station in air.stations.values()),
        n_collided=sum(station.tally.fates[Fate.COLLIDED] for station in air.stations.values()),
        breaches=air.auditor.breaches,
        findings=findings,
        log_sha256=air.journal.digest(),
        cpu_s=round(cpu_s, 2),
    )


def _sums(airtime_us: Counter[tuple[str, str]], *, by: int) -> dict[str, int]:
    sums: Counter[str] = Counter()
    for key, length_us in airtime_us.items():
        sums[key[by]] += length_us
    return {purpose: sums[purpose] for purpose in ORDER if sums[purpose]}


def _node(air: Air, mesh: Mesh, census: Census, name: str, budget_us: int) -> NodeFigures:
    tally = air.stations[name].tally
    return NodeFigures(
        name=name,
        east_km=mesh.places[name][0],
        north_km=mesh.places[name][1],
        n_sent=tally.n_sent,
        airtime_us=tally.airtime_us,
        worst_hour_us=air.auditor.worst_us(name),
        budget_us=budget_us,
        airtime_by_purpose_us={purpose: census.airtime_us[name, purpose] for purpose in ORDER if census.airtime_us[name, purpose]},
        n_heard=tally.fates[Fate.HEARD],
        n_collided=tally.fates[Fate.COLLIDED],
        n_lost=tally.fates[Fate.LOST],
        n_deaf=tally.fates[Fate.DEAF],
    )


def _links(air: Air, mesh: Mesh) -> list[LinkFigures]:
    def heard(one: str, other: str) -> int:
        return air.stations[other].tally.heard_from.get(one, 0)

    return [
        LinkFigures(
            one=one,
            other=other,
            snr_db=snr_qdb / QDB,
            loss=mesh.losses_per_10_000[one, other] / 10_000,
            n_heard=heard(one, other) + heard(other, one),
        )
        for (one, other), snr_qdb in sorted(mesh.snrs_qdb.items())
        if one < other
    ]


def _hop(hops: int, delivered: list[Want]) -> HopFigures:
    waits = [want.delivered_us - want.asked_us for want in delivered if want.delivered_us is not None]
    return HopFigures(
        hops=hops,
        n_delivered=len(delivered),
        median_s=round(median(waits) / 1_000_000, 1),
        median_price=round(median(want.price for want in delivered)),
    )
