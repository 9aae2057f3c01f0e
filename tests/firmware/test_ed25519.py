"""Ed25519 in C: the signatures that PyNaCl makes, of the kinds that ``retrieval.identity`` signs."""

from __future__ import annotations

import ctypes
import hashlib

import golden
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nacl.signing import SigningKey


def public_key(relay: ctypes.CDLL, seed: bytes) -> bytes:
    out = ctypes.create_string_buffer(32)
    relay.ed25519_public_key(seed, out)
    return out.raw


def signature(relay: ctypes.CDLL, seed: bytes, kind: bytes, message: bytes) -> bytes:
    out = ctypes.create_string_buffer(64)
    relay.ed25519_sign(seed, public_key(relay, seed), kind, message, len(message), out)
    return out.raw


@pytest.mark.parametrize("cut", [0, 1, 64])
def test_sha512_is_that_of_hashlib_at_every_length_of_two_blocks_and_more(relay: ctypes.CDLL, cut: int) -> None:
    """Padding fails at a few lengths in a hundred, if it fails: eight of 128 once did."""
    for size in range(300):
        message, state, digest = bytes(range(256)) + bytes(44), ctypes.create_string_buffer(512), ctypes.create_string_buffer(64)
        relay.sha512_begin(state)
        relay.sha512_add(state, message, min(cut, size))
        relay.sha512_add(state, message[min(cut, size) :], size - min(cut, size))
        relay.sha512_end(state, digest)
        assert digest.raw == hashlib.sha512(message[:size]).digest(), size


@pytest.mark.parametrize("size", range(260))
def test_messages_of_every_size_are_signed_as_pynacl_signs_them(relay: ctypes.CDLL, size: int) -> None:
    seed = bytes(range(32))
    assert signature(relay, seed, b"kind", bytes(size)) == SigningKey(seed).sign(b"kind\0" + bytes(size)).signature


@settings(max_examples=40)
@given(st.binary(min_size=32, max_size=32), st.binary(max_size=300))
def test_keys_and_signatures_are_those_of_pynacl(relay: ctypes.CDLL, seed: bytes, message: bytes) -> None:
    key = SigningKey(seed)
    assert public_key(relay, seed) == bytes(key.verify_key)
    assert signature(relay, seed, b"retrieval/radio-relay/1", message) == key.sign(b"retrieval/radio-relay/1\0" + message).signature


@pytest.mark.parametrize("case", golden.load("radio_packet")["relay_receipts"], ids=lambda case: str(case["why"]))
def test_receipt_vectors_have_the_signature_that_a_relay_makes(relay: ctypes.CDLL, case: dict[str, str | int]) -> None:
    signed = bytes.fromhex(str(case["signed"]))
    seed = int(case["signer"]).to_bytes(32, "big")
    if public_key(relay, seed) != bytes(SigningKey(seed).verify_key):
        pytest.fail("the key differs")
    seeds = [seed, bytes([int(case["signer"])]) * 32]
    assert signed[-64:] in [signature(relay, one, b"retrieval/radio-relay/1", signed[:-64]) for one in seeds]
