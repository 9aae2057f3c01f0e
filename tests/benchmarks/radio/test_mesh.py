"""A mesh follows from its seed, its links from the distance, and a path exists where good links lead."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from benchmarks.radio.lora import QDB, Channel
from benchmarks.radio.mesh import FADE_QDB, GOOD_LOSS_PER_10_000, line_mesh, make_mesh

CHANNEL = Channel(frequency_hz=869_525_000, bandwidth_hz=125_000, spreading=7)


@given(st.integers(2, 40), st.integers(0, 1000))
def test_a_mesh_is_a_function_of_its_seed_and_its_links_go_both_ways(n_nodes: int, seed: int) -> None:
    mesh = make_mesh(n_nodes, seed=seed, channel=CHANNEL, power_dbm=22)
    assert mesh == make_mesh(n_nodes, seed=seed, channel=CHANNEL, power_dbm=22)
    assert len(mesh.places) == n_nodes
    assert all(mesh.snrs_qdb[other, one] == snr for (one, other), snr in mesh.snrs_qdb.items())


def test_thirty_nodes_have_links_of_every_kind() -> None:
    mesh = make_mesh(30, seed=1, channel=CHANNEL, power_dbm=22)
    margins = [snr + CHANNEL.noise_qdb - CHANNEL.floor_qdb for snr in mesh.snrs_qdb.values()]
    assert min(margins) >= 0
    assert sum(margin < FADE_QDB for margin in margins) > 20
    assert sum(margin > 2 * FADE_QDB for margin in margins) > 20
    assert max(mesh.reached("n01").values()) >= 3


@given(st.integers(0, 50))
def test_whoever_is_reached_is_reached_over_good_links(seed: int) -> None:
    mesh = make_mesh(12, seed=seed, channel=CHANNEL, power_dbm=22)
    reached = mesh.reached("n01")
    for name, hops in reached.items():
        nearer = [other for other, count in {"n01": 0, **reached}.items() if count == hops - 1]
        assert any(mesh.losses_per_10_000.get((other, name), 10_000) <= GOOD_LOSS_PER_10_000 for other in nearer)


def test_in_a_line_everybody_hears_their_neighbours_alone() -> None:
    names = ["a", "b", "c", "d"]
    mesh = line_mesh(names, channel=CHANNEL, power_dbm=22)
    assert mesh.reached("a") == {"b": 1, "c": 2, "d": 3}
    assert set(mesh.snrs_qdb) == {pair for one, other in pairwise(names) for pair in ((one, other), (other, one))}
    assert set(mesh.snrs_qdb.values()) == {(22 - 110 + 117) * QDB}
