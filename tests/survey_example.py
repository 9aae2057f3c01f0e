"""A survey with something in each of its parts, for what draws one."""

from __future__ import annotations

from benchmarks.radio.survey import ORDER, HopFigures, LinkFigures, NodeFigures, Survey

MINUTE_US = 60_000_000


def example(word: str = "n1", *, n_nodes: int = 4, share: float = 0.2) -> Survey:
    """``word`` is what things are called; each node spent ``share`` of its budget in its worst hour."""
    names = [f"{word}{number}" for number in range(n_nodes)]
    airtime_us = round(share * 6 * MINUTE_US)
    parts = {purpose: airtime_us // len(ORDER) for purpose in ORDER}
    nodes = [
        NodeFigures(
            name=name, east_km=number * 1.5, north_km=number % 2 * 2.0, n_sent=100, airtime_us=airtime_us, worst_hour_us=airtime_us,
            budget_us=6 * MINUTE_US, airtime_by_purpose_us=parts, n_heard=300, n_collided=20, n_lost=5, n_deaf=1,
        )
        for number, name in enumerate(names)
    ]  # fmt: skip
    snrs = (12.0, 0.0, -6.5)
    links = [
        LinkFigures(one=one, other=other, snr_db=snr_db, loss=0.1, n_heard=number * 10)
        for number, (one, other, snr_db) in enumerate(zip(names, names[1:], snrs))
    ]
    return Survey(
        region=word, seed=7, hours=1, content_bytes=1024, nodes=nodes, links=links,
        hops=[HopFigures(hops=hops, n_delivered=9, median_s=3.5, median_price=hops * 11) for hops in range(3)],
        n_wants=30, n_with_path=28, n_delivered=27, failures={word: 1},
        airtime_by_purpose_us={purpose: n_nodes * length_us for purpose, length_us in parts.items()},
        n_frames_by_purpose=dict.fromkeys(parts, 17), n_frames=100 * n_nodes, n_collided=20 * n_nodes, breaches=[], findings=[word],
        log_sha256="ab" * 32, cpu_s=1.5,
    )  # fmt: skip
