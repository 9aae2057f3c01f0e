"""Who hears whom: thresholds, collisions, capture, hidden nodes, deafness; and that a run repeats to the byte."""

from __future__ import annotations

from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st
from radio_driver import World, world

from benchmarks.radio.air import Fate
from benchmarks.radio.links import Links
from benchmarks.radio.lora import Channel

POWER_DBM = 22
MS = 1000
PAIR = Links.matrix({("a", "b"): 100.0})
FORK = {("a", "b"): 100.0, ("c", "b"): 100.0}
"""b hears a and c, which do not hear each other."""


def received(run: World, name: str) -> list[bytes]:
    return [payload for payload, crc_ok in run.drivers[name].received if crc_ok]


def test_a_frame_arrives_when_its_airtime_has_passed() -> None:
    run = world(PAIR)
    run.drivers["a"].send(b"hello")
    run.timeline.run(39_168 - 1)
    assert received(run, "b") == []
    run.timeline.run(39_168)
    assert received(run, "b") == [b"hello"]
    assert run.findings() == []


@pytest.mark.parametrize(("loss_db", "hears"), [(146.5, True), (146.75, False)])
def test_sf7_needs_minus_124_5_dbm(loss_db: float, hears: bool) -> None:
    run = world(Links.matrix({("a", "b"): loss_db}))
    run.drivers["a"].send(b"faint")
    run.timeline.run(100 * MS)
    assert (received(run, "b") == [b"faint"]) is hears


def test_each_step_of_the_spreading_factor_is_worth_two_and_a_half_db() -> None:
    floors = [Channel(frequency_hz=869_525_000, bandwidth_hz=125_000, spreading=spreading).floor_qdb for spreading in range(7, 13)]
    assert floors == [-498 - 10 * step for step in range(6)]


def test_two_frames_of_like_strength_spoil_each_other() -> None:
    run = world(Links.matrix(FORK))
    run.drivers["a"].send(b"one" * 20)
    run.timeline.run(30 * MS)
    run.drivers["c"].send(b"two" * 20)
    run.timeline.run(500 * MS)
    assert received(run, "b") == []
    assert run.air.stations["b"].tally.fates[Fate.COLLIDED] == 2
    assert [crc_ok for _, crc_ok in run.drivers["b"].received] == [False]  # the receiver stayed with the first


def test_a_frame_six_db_stronger_survives_whichever_came_first_within_the_preamble() -> None:
    for first, second in (("a", "c"), ("c", "a")):
        run = world(Links.matrix(FORK | {("a", "b"): 94.0}))
        run.drivers[first].send(first.encode())
        run.timeline.run(5 * MS)
        run.drivers[second].send(second.encode())
        run.timeline.run(500 * MS)
        assert received(run, "b") == [b"a"]


def test_a_stronger_frame_that_comes_after_the_header_ruins_both() -> None:
    run = world(Links.matrix(FORK | {("c", "b"): 80.0}))
    run.drivers["a"].send(b"one" * 20)
    run.timeline.run(60 * MS)
    run.drivers["c"].send(b"two" * 20)
    run.timeline.run(500 * MS)
    assert received(run, "b") == []


def test_a_signal_too_weak_to_understand_still_spoils_a_frame_near_the_limit() -> None:
    run = world(Links.matrix({("a", "b"): 146.0, ("c", "b"): 150.0}))
    run.drivers["a"].send(b"faint" * 9)
    run.timeline.run(20 * MS)
    run.drivers["c"].send(b"fainter" * 9)
    run.timeline.run(500 * MS)
    assert received(run, "b") == []


def test_who_sends_hears_nothing() -> None:
    run = world(PAIR)
    run.drivers["b"].send(b"x" * 60)
    run.timeline.run(1 * MS)
    run.drivers["a"].send(b"y")
    run.timeline.run(500 * MS)
    assert received(run, "b") == []
    assert run.air.stations["b"].tally.fates[Fate.DEAF] == 1


def test_a_receiver_that_joins_within_the_preamble_still_finds_the_frame() -> None:
    for joined_ms, heard in ((10, [b"late"]), (13, [])):
        run = world(PAIR)
        run.drivers["b"].do("80 00")
        run.drivers["a"].send(b"late")
        run.timeline.run(joined_ms * MS)
        run.drivers["b"].listen()
        run.timeline.run(500 * MS)
        assert received(run, "b") == heard


def test_other_spreading_factors_and_sync_words_are_not_understood() -> None:
    for bytes_sent in ("8b 08 04 01 00", "0d 07 40 34 44"):
        run = world(PAIR)
        run.drivers["a"].do("80 00")
        run.drivers["a"].do(bytes_sent)
        run.drivers["a"].send(b"foreign")
        run.timeline.run(500 * MS)
        assert run.drivers["b"].received == []


def test_another_sync_word_still_spoils() -> None:
    run = world(Links.matrix(FORK))
    run.drivers["c"].do("80 00")
    run.drivers["c"].do("0d 07 40 34 44")
    run.drivers["a"].send(b"x" * 60)
    run.timeline.run(50 * MS)
    run.drivers["c"].send(b"x" * 60)
    run.timeline.run(500 * MS)
    assert received(run, "b") == []


def test_a_sender_that_stops_is_heard_by_nobody_and_disturbs_nobody_after() -> None:
    run = world(Links.matrix(FORK))
    run.drivers["c"].send(b"x" * 60)
    run.timeline.run(10 * MS)
    run.drivers["c"].do("80 00")
    run.drivers["a"].send(b"fine")
    run.timeline.run(500 * MS)
    assert received(run, "b") == [b"fine"]
    assert run.journal.counts["cut"] == 1


def test_losses_come_as_often_as_was_asked_and_alike_each_time() -> None:
    digests, lost = set(), set()
    for _ in range(2):
        run = world(PAIR, losses_per_10_000=2_500)
        for number in range(400):
            run.drivers["a"].send(bytes([number % 256]))
            run.timeline.run(run.timeline.now_us + 50 * MS)
        lost.add(run.air.stations["b"].tally.fates[Fate.LOST])
        digests.add(run.journal.digest())
    assert len(digests) == 1
    assert 60 < lost.pop() < 140


def test_what_a_collision_leaves_differs_from_what_was_sent() -> None:
    run = world(PAIR)
    assert all(run.air.garbled(bytes(size)) != bytes(size) for size in range(1, 256))


@given(st.lists(st.tuples(st.sampled_from("abcd"), st.integers(0, 400), st.integers(1, 255)), max_size=12), st.integers(0, 99))
def test_a_run_is_a_function_of_its_seed_and_forgets_no_signal(sends: list[tuple[str, int, int]], seed: int) -> None:
    places = {"a": (0.0, 0.0), "b": (1.0, 0.0), "c": (0.0, 1.5), "d": (2.0, 2.0)}
    logs = []
    for _ in range(2):
        run = world(Links.over(places, seed=seed), "a b c d", seed=seed, losses_per_10_000=1000)
        for name, at_ms, size in sends:
            run.timeline.at(at_ms * MS, partial(run.drivers[name].send, bytes(size)))
        run.timeline.run(5_000 * MS)
        logs.append(bytes(run.journal))
        assert not any(station.senses(CHANNEL) for station in run.air.stations.values())
    assert logs[0] == logs[1]


CHANNEL = Channel(frequency_hz=869_525_000, bandwidth_hz=125_000, spreading=7)


def test_a_frame_is_told_apart_from_its_own_channel_only() -> None:
    inverted = Channel(frequency_hz=869_525_000, bandwidth_hz=125_000, spreading=7, is_inverted=True)
    assert CHANNEL.meets(inverted)
    assert not CHANNEL.hears(inverted)
    assert not CHANNEL.meets(Channel(frequency_hz=869_525_000, bandwidth_hz=250_000, spreading=7))
