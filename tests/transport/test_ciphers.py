"""The messages of Noise: equal to those of the library that did the handshake, whole in any split, and refused when altered."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from noise.backends.default import DefaultNoiseBackend
from noise.noise_protocol import NoiseProtocol
from noise.state import CipherState

from retrieval.errors import ErrorCode, RemoteProtocolError
from retrieval.transport.libp2p.ciphers import MESSAGE_BYTES_MAX, PLAINTEXT_BYTES_MAX, Cipher

KEY = bytes(range(32))
SIZES = st.sampled_from([0, 1, 12, 65_518, 65_519, 65_520, 131_038, 200_000])


def reference(n_messages: int) -> CipherState:
    state = CipherState(NoiseProtocol(b"Noise_XX_25519_ChaChaPoly_SHA256", DefaultNoiseBackend()))
    state.initialize_key(KEY)
    state.n = n_messages
    return state


@given(st.lists(SIZES, max_size=4), st.integers(0, 1 << 40))
def test_a_batch_is_what_the_handshakes_own_library_would_send(sizes: list[int], n_messages: int) -> None:
    parts = [bytes((n,)) * size for n, size in enumerate(sizes)]
    stock = reference(n_messages)
    expected = b""
    for part in parts:
        for start in range(0, len(part), PLAINTEXT_BYTES_MAX):
            ciphertext = stock.encrypt_with_ad(None, part[start : start + PLAINTEXT_BYTES_MAX])
            assert len(ciphertext) <= MESSAGE_BYTES_MAX
            expected += len(ciphertext).to_bytes(2, "big") + ciphertext
    assert Cipher(KEY, n_messages).seal(parts) == expected


@given(st.lists(SIZES, min_size=1, max_size=4), st.lists(st.integers(1, 70_000), min_size=1, max_size=8))
def test_what_was_sealed_opens_in_any_split(sizes: list[int], cuts: list[int]) -> None:
    parts = [bytes((n,)) * size for n, size in enumerate(sizes)]
    sealed = Cipher(KEY, 0).seal(parts)
    opening, opened, at, held = Cipher(KEY, 0), b"", 0, b""
    turn = 0
    while at < len(sealed):
        step = cuts[turn % len(cuts)]
        turn += 1
        held += sealed[at : at + step]
        at += step
        plaintext, n_used = opening.open(memoryview(held))
        opened += plaintext
        held = held[n_used:]
    assert not held
    assert opened == b"".join(parts)


@given(st.integers(2, 117))
def test_one_flipped_bit_is_refused(position: int) -> None:
    sealed = Cipher(KEY, 0).seal([bytes(100)])
    sealed[position] ^= 1
    with pytest.raises(RemoteProtocolError) as caught:
        Cipher(KEY, 0).open(memoryview(sealed))
    assert caught.value.code is ErrorCode.TRANSFER_TRUNCATED


def test_a_message_out_of_its_turn_is_refused() -> None:
    cipher = Cipher(KEY, 0)
    first, second = cipher.seal([b"one"]), cipher.seal([b"two"])
    with pytest.raises(RemoteProtocolError):
        Cipher(KEY, 0).open(memoryview(second + first))


@pytest.mark.parametrize("size", [0, 1, 15])
def test_a_message_without_room_for_its_tag_is_refused(size: int) -> None:
    with pytest.raises(RemoteProtocolError):
        Cipher(KEY, 0).open(memoryview(size.to_bytes(2, "big") + bytes(size)))
