"""How strongly one place hears another: a table of losses, written by hand or made from places on a map.

The rule: a link that is not in the table does not exist, which is how nodes are hidden from each other.
"""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from benchmarks.radio.lora import QDB

LOSS_AT_1_KM_DB: Final = 128.95
LOSS_PER_DECADE_DB: Final = 23.2
"""Measured in and around Oulu at 868 MHz, antenna on a car: Petäjäjärvi et al., "On the coverage of LPWANs", 2015."""
SHADOWING_DB: Final = 7.8  # standard deviation, from the same measurements
NEAREST_KM: Final = 0.02  # nearer than this the formula means nothing
LOSS_MAX_QDB: Final = 165 * QDB  # what no LoRa link bridges: 22 dBm against -143 dBm

Point = tuple[float, float]
"""Kilometres east and north."""


@dataclass(frozen=True, slots=True)
class Links:
    """Path losses in quarters of a dB by (sender, hearer)."""

    losses_qdb: Mapping[tuple[str, str], int]

    def hearers(self, sender: str) -> list[tuple[str, int]]:
        """Who may hear a sender, and the loss on the way."""
        return [(hearer, loss) for (one, hearer), loss in self.losses_qdb.items() if one == sender]

    @classmethod
    def line(cls, names: Sequence[str], *, loss_db: int = 110) -> Links:
        """Each hears its neighbours and nobody else."""
        pairs = list(itertools.pairwise(names))
        return cls({pair: loss_db * QDB for one, other in pairs for pair in ((one, other), (other, one))})

    @classmethod
    def matrix(cls, losses_db: Mapping[tuple[str, str], float]) -> Links:
        """Both ways alike, unless both are given."""
        both = {(other, one): loss for (one, other), loss in losses_db.items()} | dict(losses_db)
        return cls({pair: round(loss * QDB) for pair, loss in both.items()})

    @classmethod
    def over(cls, places: Mapping[str, Point], *, seed: int, shadowing_db: float = SHADOWING_DB) -> Links:
        """Log-distance loss with shadowing that is drawn once for each pair, alike both ways."""
        drawn = random.Random(seed)
        losses: dict[tuple[str, str], int] = {}
        for one, other in _pairs(sorted(places)):
            apart_km = max(math.dist(places[one], places[other]), NEAREST_KM)
            loss = round(QDB * (LOSS_AT_1_KM_DB + LOSS_PER_DECADE_DB * math.log10(apart_km) + drawn.gauss(0.0, shadowing_db)))
            if loss <= LOSS_MAX_QDB:
                losses[one, other] = losses[other, one] = loss
        return cls(losses)


def _pairs(names: Sequence[str]) -> Iterable[tuple[str, str]]:
    return ((one, other) for number, one in enumerate(names) for other in names[number + 1 :])
