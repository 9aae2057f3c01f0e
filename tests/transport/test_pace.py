"""Large writes go to peers that take them at once, and all peers together make little wait."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from retrieval.transport.libp2p.pace import FAST_S, SEALED_BYTES_MAX, SLOW_S, WRITE_MAX, WRITE_MIN, Pace


@pytest.fixture
def paces() -> Iterator[list[Pace]]:
    """Some connections, which have all ended afterwards: what they hold is counted together."""
    made = [Pace() for _ in range(1 + SEALED_BYTES_MAX // WRITE_MAX)]
    yield made
    for pace in made:
        pace.end()


def quicken(pace: Pace) -> None:
    while pace.write_max(1) < WRITE_MAX:
        pace.take(1)
        pace.sent(1, FAST_S / 2)


def test_writes_grow_while_the_peer_takes_them_at_once_and_shrink_when_it_does_not(paces: list[Pace]) -> None:
    pace = paces[0]
    assert pace.write_max(1) == WRITE_MIN
    quicken(pace)
    pace.sent(0, (FAST_S + SLOW_S) / 2)
    assert pace.write_max(1) == WRITE_MAX
    for _ in range(10):
        pace.sent(0, SLOW_S * 2)
    assert pace.write_max(1) == WRITE_MIN


def test_the_streams_of_a_connection_share_a_write(paces: list[Pace]) -> None:
    quicken(paces[0])
    assert paces[0].write_max(4) == WRITE_MAX // 4
    assert paces[0].write_max(1000) == WRITE_MIN


def test_peers_that_were_fast_and_stop_reading_hold_no_more_than_the_limit(paces: list[Pace]) -> None:
    for pace in paces:
        quicken(pace)
    for pace in paces[:-1]:
        pace.take(pace.write_max(1))
    assert paces[-1].write_max(1) == WRITE_MIN
    paces[0].end()
    assert paces[-1].write_max(1) == WRITE_MAX
