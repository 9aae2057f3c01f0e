"""What relays do to packets, in whatever they run: the compiled library, QEMU, or the image of the product byte for byte."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from relay_mesh import RelayMesh, relay_mesh

from benchmarks.radio.boards import Board
from benchmarks.radio.links import Links
from retrieval.radio.codes import code16_up
from retrieval.radio.packet import Entry, PacketType

LINE = ("a", "r1", "r2", "r3", "b")
SILENCE_S = 120.0
"""Relays advertise themselves within their first minute; tests that count frames wait for it to pass."""
RELAYS: dict[str, tuple[Board, Board, Board]] = {
    "compiled for this computer": ("host", "host", "host"),
    "emulated": ("qemu_virt", "esp32c3_ct62", "mps2_an385"),
    "the product alone": ("esp32c3_ct62", "esp32c3_ct62", "esp32c3_ct62"),
}


def line(relays: tuple[Board, Board, Board] = ("host", "host", "host")) -> dict[str, Board]:
    return dict(zip(LINE, ("host", *relays, "host")))


def crossed(mesh: RelayMesh) -> None:
    """A flood goes from a to b, its answer directly back; trail, tokens, fees and receipts are what the specification says."""
    a, b = mesh.ends["a"], mesh.ends["b"]
    mesh.run(SILENCE_S)
    asked = a.flood(b"who has this?")
    assert mesh.run_until(lambda: bool(b.of(PacketType.WANT)), limit_s=60)
    [came] = b.of(PacketType.WANT)
    relays = ("r1", "r2", "r3")
    assert came.immutable() == asked.immutable()
    assert came.trail == tuple(Entry(tag=mesh.tag_of(relay), fee_code=code16_up(mesh.fees[relay])) for relay in relays)
    assert came.token == mesh.token_over(asked, *relays)
    answered = b.answer(came, b"I have")
    assert mesh.run_until(lambda: bool(a.of(PacketType.QUOTE)), limit_s=60)
    [back] = a.of(PacketType.QUOTE)
    assert back.immutable() == answered.immutable()
    assert (back.hops, back.price) == (3, came.price)
    assert back.token == mesh.token_over(answered, *reversed(relays))
    mesh.run(120)
    for hop, relay in enumerate(relays):
        carried = {(one.packet, one.fee, one.hop) for receipt in mesh.receipts(relay) for one in receipt.carried}
        assert carried == {(asked.hash, mesh.fees[relay], hop), (answered.hash, mesh.fees[relay], 2 - hop)}
    assert mesh.simulation.auditor.breaches == []
    assert mesh.simulation.findings() == []


@pytest.mark.parametrize("relays", RELAYS.values(), ids=RELAYS.keys())
def test_a_flood_and_its_answer_cross_three_relays_that_sign_for_it(relays: tuple[Board, Board, Board]) -> None:
    with relay_mesh(Links.line(LINE), line(relays)) as mesh:
        crossed(mesh)


@pytest.mark.parametrize("relays", RELAYS.values(), ids=RELAYS.keys())
def test_two_runs_write_the_same_log(relays: tuple[Board, Board, Board]) -> None:
    logs = []
    for _ in range(2):
        with relay_mesh(Links.line(LINE), line(relays)) as mesh:
            crossed(mesh)
            logs.append(bytes(mesh.simulation.journal))
    assert logs[0] == logs[1]


@settings(max_examples=40)
@given(
    st.integers(0, 4),
    st.integers(0, 70),
    st.lists(st.integers(0, 30), min_size=3, max_size=3),
    st.sampled_from([PacketType.WANT, PacketType.FRAGMENT]),
)
@example(3, 36, [11, 12, 13], PacketType.WANT)
@example(3, 35, [11, 12, 13], PacketType.WANT)
@example(2, 36, [11, 12, 13], PacketType.WANT)
def test_a_flood_arrives_where_its_hops_and_its_cap_allow(hop_limit: int, fee_cap: int, fees: list[int], type_: PacketType) -> None:
    asked = dict(zip(("r1", "r2", "r3"), fees))
    with relay_mesh(Links.line(LINE), line(), fees=asked) as mesh:
        mesh.run(SILENCE_S)
        mesh.ends["a"].flood(b"?", fee_cap=fee_cap, hop_limit=hop_limit, type_=type_)
        mesh.run(30)
        arrived = mesh.ends["b"].of(type_)
        assert len(arrived) == (hop_limit >= 3 and sum(fees) <= fee_cap)
        assert all(packet.price == sum(fees) for packet in arrived)
        assert mesh.simulation.findings() == []


def test_a_dear_copy_does_not_block_the_cheap_one() -> None:
    """From a over r1, which asks nearly all of the cap, and over r2 and r3. Now and then the copies of both ways collide at r4."""
    near, far = 100, 100
    links = Links.matrix(
        {("a", "r1"): near, ("a", "r2"): near, ("r2", "r3"): far, ("r1", "r4"): near, ("r3", "r4"): near, ("r4", "b"): near}
    )
    boards: dict[str, Board] = dict.fromkeys(("a", "r1", "r2", "r3", "r4", "b"), "host")
    prices = []
    for seed in range(8):
        with relay_mesh(links, boards, seed=seed, fees={"r1": 95, "r2": 1, "r3": 1, "r4": 10}) as mesh:
            mesh.run(SILENCE_S)
            mesh.ends["a"].flood(b"?", fee_cap=100)
            mesh.run(60)
            prices += [packet.price for packet in mesh.ends["b"].of(PacketType.WANT)]
    assert set(prices) == {12}
    assert len(prices) >= 6


def test_relays_tell_who_they_are_and_what_they_ask() -> None:
    with relay_mesh(Links.line(LINE), line()) as mesh:
        mesh.run(SILENCE_S)
        adverts = mesh.ends["b"].of(PacketType.ADVERT)
        assert {packet.origin for packet in adverts} == {mesh.id_of(relay) for relay in ("r1", "r2", "r3")}


FAINT_DB = 144.5
"""Two dB above what is understood."""


def trails_over(links: dict[tuple[str, str], float]) -> list[list[str]]:
    """The relays of what b heard of a's flood."""
    names = sorted({name for pair in links for name in pair})
    with relay_mesh(Links.matrix(links), dict.fromkeys(names, "host")) as mesh:
        mesh.run(SILENCE_S)
        mesh.ends["a"].flood(b"?")
        mesh.run(30)
        relay_of = {mesh.tag_of(relay): relay for relay in mesh.relays}
        return [[relay_of[entry.tag] for entry in packet.trail] for packet in mesh.ends["b"].of(PacketType.WANT)]


def test_a_way_is_made_of_links_that_hold() -> None:
    assert trails_over({("a", "r1"): FAINT_DB, ("a", "r2"): 110, ("r2", "r1"): 110, ("r1", "b"): 110}) == [["r2", "r1"]]


def test_a_faint_link_is_used_where_there_is_no_other() -> None:
    assert trails_over({("a", "r1"): FAINT_DB, ("r1", "b"): 110}) == [["r1"]]
