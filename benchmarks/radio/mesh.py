"""A mesh made from a seed: places on a map, how well each hears each, and which of them can reach which.

The rule: links are as uneven as those in the field. Loss follows distance and shadowing, and a link near the limit of what can be
demodulated loses frames by chance, the more the nearer.
"""

from __future__ import annotations

import math
import random
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from benchmarks.radio.links import Links, Point
from benchmarks.radio.lora import QDB, Channel

KM_BETWEEN: Final = 2.6
"""What a node has to itself: the side of the map is this times the square root of their number."""
APART_MIN_KM: Final = 0.4
TRIES_MAX: Final = 1000
FADE_QDB: Final = 6 * QDB
"""With less margin than this a link loses frames by chance: half of them at the limit, none here."""
GOOD_LOSS_PER_10_000: Final = 1000
"""A link that loses no more than this is one that a path may be made of."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mesh:
    """Where nodes are, and what is between them."""

    places: dict[str, Point]
    links: Links
    snrs_qdb: dict[tuple[str, str], int]
    """Of every link on which something can be understood."""
    losses_per_10_000: dict[tuple[str, str], int]

    def reached(self, start: str) -> dict[str, int]:
        """Everybody to whom a path of good links leads, and over how many links at the least."""
        hops, queue = {start: 0}, deque([start])
        while queue:
            here = queue.popleft()
            for (one, other), loss in self.losses_per_10_000.items():
                if one == here and other not in hops and loss <= GOOD_LOSS_PER_10_000:
                    hops[other] = hops[here] + 1
                    queue.append(other)
        del hops[start]
        return hops


def make_mesh(n_nodes: int, *, seed: int, channel: Channel, power_dbm: int) -> Mesh:
    """A mesh of ``n01``, ``n02``, ... that sends with this power on this channel."""
    width = max(2, len(str(n_nodes)))
    names = [f"n{number:0{width}}" for number in range(1, n_nodes + 1)]
    places = _places(names, seed)
    links = Links.over(places, seed=seed)
    levels = {pair: QDB * power_dbm - loss for pair, loss in links.losses_qdb.items()}
    snrs = {pair: level - channel.noise_qdb for pair, level in levels.items() if level >= channel.floor_qdb}
    losses = {pair: _loss(snr + channel.noise_qdb - channel.floor_qdb) for pair, snr in snrs.items()}
    return Mesh(places=places, links=links, snrs_qdb=snrs, losses_per_10_000=losses)


def line_mesh(names: Iterable[str], *, channel: Channel, power_dbm: int, loss_db: int = 110) -> Mesh:
    """Everybody hears their neighbours well, and nobody else."""
    ordered = list(names)
    links = Links.line(ordered, loss_db=loss_db)
    snr_qdb = QDB * (power_dbm - loss_db) - channel.noise_qdb
    places = {name: (float(number), 0.0) for number, name in enumerate(ordered)}
    return Mesh(
        places=places, links=links, snrs_qdb=dict.fromkeys(links.losses_qdb, snr_qdb), losses_per_10_000=dict.fromkeys(links.losses_qdb, 0)
    )


def _loss(margin_qdb: int) -> int:
    return 5000 * max(0, FADE_QDB - margin_qdb) // FADE_QDB


def _places(names: list[str], seed: int) -> dict[str, Point]:
    """Strewn over a square, none too near to another where that can be helped."""
    drawn, side_km = random.Random(seed), KM_BETWEEN * math.sqrt(len(names))
    places: dict[str, Point] = {}
    for name in names:
        for _ in range(TRIES_MAX):
            point = (round(drawn.uniform(0, side_km), 3), round(drawn.uniform(0, side_km), 3))
            if all(math.dist(point, other) >= APART_MIN_KM for other in places.values()):
                break
        places[name] = point
    return places
