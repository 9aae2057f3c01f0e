"""The VRF of RFC 9381, by its own examples, and nothing else accepted."""

from __future__ import annotations

import golden
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retrieval.errors import RemoteProtocolError
from retrieval.identity import PeerKey, public_key_of
from retrieval.radio.vrf import output_of, prove, verify, vrf_public_key

EXAMPLES = golden.load("radio_vrf")["examples"]


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example["why"])
def test_a_proof_is_that_of_its_example(example):
    seed, alpha, proof = (bytes.fromhex(example[name]) for name in ("seed", "alpha", "proof"))
    assert vrf_public_key(seed).hex() == example["public_key"]
    assert prove(seed, alpha) == proof
    assert verify(bytes.fromhex(example["public_key"]), alpha, proof).hex() == example["output"]
    assert output_of(proof).hex() == example["output"]


def test_its_public_keys_are_those_of_ed25519():
    assert vrf_public_key(b"\x07" * 32) == public_key_of(PeerKey.from_seed(b"\x07" * 32).peer_id)


@settings(max_examples=15, deadline=None)
@given(st.binary(min_size=32, max_size=32), st.binary(max_size=64))
def test_every_proof_holds_for_its_message_and_key_alone(seed, alpha):
    proof, public_key = prove(seed, alpha), vrf_public_key(seed)
    assert verify(public_key, alpha, proof) == output_of(proof)
    for key, message in ((public_key, alpha + b"x"), (vrf_public_key(bytes(32)), alpha)):
        if (key, message) != (public_key, alpha):
            with pytest.raises(RemoteProtocolError):
                verify(key, message, proof)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 8 * 80 - 1))
def test_a_flipped_bit_is_no_proof(bit):
    proof = bytearray.fromhex(EXAMPLES[0]["proof"])
    proof[bit // 8] ^= 1 << bit % 8
    with pytest.raises(RemoteProtocolError):
        verify(bytes.fromhex(EXAMPLES[0]["public_key"]), b"", bytes(proof))


@pytest.mark.parametrize("key", [bytes(32), b"\x01" + bytes(31), b"\xff" * 32, b"\xec" + b"\xff" * 30 + b"\x7f", b"short"])
def test_a_key_of_small_order_or_none_at_all_proves_nothing(key):
    with pytest.raises(RemoteProtocolError):
        verify(key, b"", bytes.fromhex(EXAMPLES[0]["proof"]))
