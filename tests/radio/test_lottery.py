"""On average a prize is the fee, and neither side has a say in who wins."""

from __future__ import annotations

import hashlib
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval.errors import ErrorCode, RemoteProtocolError
from retrieval.radio.lottery import alpha_of, check_draw, wins
from retrieval.radio.packet import PacketHash, RadioId
from retrieval.radio.vrf import output_of, prove, vrf_public_key

SEED = b"\x33" * 32
RELAY = RadioId(b"relay id")


def packet(number: int) -> PacketHash:
    return PacketHash(hashlib.sha256(number.to_bytes(4, "big")).digest()[:16])


@pytest.mark.parametrize(("fee", "prize"), [(11, 100), (11, 1_000), (250, 1_000), (999, 1_000)])
def test_the_mean_of_many_draws_is_the_fee(fee, prize):
    """Outputs are 64 bytes of SHA-512; drawn here from a seeded generator, 200,000 of them. Within four standard deviations."""
    draws, chance = random.Random(fee), fee / prize
    n_draws = 200_000
    n_won = sum(wins(draws.randbytes(8), fee=fee, prize=prize) for _ in range(n_draws))
    deviation = (n_draws * chance * (1 - chance)) ** 0.5
    assert abs(n_won - n_draws * chance) <= 4 * deviation
    assert abs(n_won * prize / n_draws - fee) <= 4 * deviation * prize / n_draws


def test_a_relays_real_draws_come_to_its_fees():
    outputs = [output_of(prove(SEED, alpha_of(packet(number), RELAY))) for number in range(60)]
    n_won = sum(wins(output, fee=25, prize=100) for output in outputs)
    assert abs(n_won - 15) <= 4 * (60 * 0.25 * 0.75) ** 0.5


@given(st.binary(min_size=64, max_size=64), st.integers(0, 1 << 40), st.integers(1, 1 << 40))
def test_a_higher_fee_never_loses_what_a_lower_one_wins(output, fee, prize):
    if wins(output, fee=fee, prize=prize):
        assert wins(output, fee=fee + 1, prize=prize)
    assert wins(output, fee=prize, prize=prize)
    assert not wins(output, fee=0, prize=prize)


def test_a_claim_is_held_against_its_packet_relay_and_key():
    won = next(number for number in range(100) if wins(output_of(prove(SEED, alpha_of(packet(number), RELAY))), fee=50, prize=100))
    lost = next(number for number in range(100) if not wins(output_of(prove(SEED, alpha_of(packet(number), RELAY))), fee=50, prize=100))
    key = vrf_public_key(SEED)
    check_draw(key, packet(won), RELAY, prove(SEED, alpha_of(packet(won), RELAY)), fee=50, prize=100)
    with pytest.raises(RemoteProtocolError) as refused:
        check_draw(key, packet(lost), RELAY, prove(SEED, alpha_of(packet(lost), RELAY)), fee=50, prize=100)
    assert refused.value.code is ErrorCode.BAD_RECEIPT
    for other, relay in ((packet(lost), RELAY), (packet(won), RadioId(b"somebody"))):
        with pytest.raises(RemoteProtocolError) as refused:
            check_draw(key, other, relay, prove(SEED, alpha_of(packet(won), RELAY)), fee=50, prize=100)
        assert refused.value.code is ErrorCode.BAD_SIGNATURE
