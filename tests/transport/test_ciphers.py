"""The messages of Noise: equal to those of the library that did the handshake, whole in any split, and refused when altered."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from noise.backends.default import DefaultNoiseBackend
from noise.noise_protocol import NoiseProtocol
from noise.state import CipherState

from retrieval.errors import ErrorCode, RemoteProtocolError
from retrieval.transport.libp2p.ciphers import (
    MESSAGE_BYTES_MAX,
    SEALED_APART_BYTES,
    Cipher,
    sealed_bytes_max,
)

KEY = bytes(range(32))
SIZES = st.sampled_from([0, 1, 12, SEALED_APART_BYTES - 1, SEALED_APART_BYTES, 65_518, 65_519, 65_520, 131_038, 200_000])


def seal(cipher: Cipher, parts: list[bytes]) -> bytearray:
    out = bytearray(sealed_bytes_max(parts))
    size = cipher.seal(parts, memoryview(out))
    return out[:size]


def open_all(cipher: Cipher, received: bytes | bytearray) -> tuple[bytes, int]:
    out = bytearray(len(received))
    n_used, n_opened = cipher.open(memoryview(received), memoryview(out))
    return bytes(out[:n_opened]), n_used


def reference(n_messages: int) -> CipherState:
    state = CipherState(NoiseProtocol(b"Noise_XX_25519_ChaChaPoly_SHA256", DefaultNoiseBackend()))
    state.initialize_key(KEY)
    state.n = n_messages
    return state


@given(st.lists(SIZES, max_size=4), st.integers(0, 1 << 40))
def test_a_batch_opens_with_the_handshakes_own_library(sizes: list[int], n_messages: int) -> None:
    parts = [bytes((n,)) * size for n, size in enumerate(sizes)]
    stock, sealed, opened = reference(n_messages), seal(Cipher(KEY, n_messages), parts), b""
    while sealed:
        size = int.from_bytes(sealed[:2], "big")
        assert size <= MESSAGE_BYTES_MAX
        opened += stock.decrypt_with_ad(None, bytes(sealed[2 : 2 + size]))
        del sealed[: 2 + size]
    assert opened == b"".join(parts)


def test_small_parts_share_a_message_and_a_large_one_begins_its_own() -> None:
    large = bytes(SEALED_APART_BYTES)
    sealed, sizes = seal(Cipher(KEY, 0), [b"head", b"ers", large, b"tail", b"s"]), []
    while sealed:
        sizes.append(int.from_bytes(sealed[:2], "big") - 16)
        del sealed[: 2 + sizes[-1] + 16]
    assert sizes == [7, len(large), 5]


@given(st.lists(st.integers(1, 5_000), max_size=40))
def test_many_small_parts_are_whole_messages_of_the_largest_size(sizes: list[int]) -> None:
    parts = [bytes((n,)) * size for n, size in enumerate(sizes)]
    sealed = seal(Cipher(KEY, 0), parts)
    assert open_all(Cipher(KEY, 0), sealed) == (b"".join(parts), len(sealed))
    assert len(sealed) <= sealed_bytes_max(parts)


@given(st.lists(SIZES, min_size=1, max_size=4), st.lists(st.integers(1, 70_000), min_size=1, max_size=8))
def test_what_was_sealed_opens_in_any_split(sizes: list[int], cuts: list[int]) -> None:
    parts = [bytes((n,)) * size for n, size in enumerate(sizes)]
    sealed = seal(Cipher(KEY, 0), parts)
    opening, opened, at, held = Cipher(KEY, 0), b"", 0, b""
    turn = 0
    while at < len(sealed):
        step = cuts[turn % len(cuts)]
        turn += 1
        held += sealed[at : at + step]
        at += step
        plaintext, n_used = open_all(opening, held)
        opened += plaintext
        held = held[n_used:]
    assert not held
    assert opened == b"".join(parts)


@given(st.integers(2, 117))
def test_one_flipped_bit_is_refused(position: int) -> None:
    sealed = seal(Cipher(KEY, 0), [bytes(100)])
    sealed[position] ^= 1
    with pytest.raises(RemoteProtocolError) as caught:
        open_all(Cipher(KEY, 0), sealed)
    assert caught.value.code is ErrorCode.TRANSFER_TRUNCATED


def test_a_message_out_of_its_turn_is_refused() -> None:
    cipher = Cipher(KEY, 0)
    first, second = seal(cipher, [b"one"]), seal(cipher, [b"two"])
    with pytest.raises(RemoteProtocolError):
        open_all(Cipher(KEY, 0), second + first)


@pytest.mark.parametrize("size", [0, 1, 15])
def test_a_message_without_room_for_its_tag_is_refused(size: int) -> None:
    with pytest.raises(RemoteProtocolError):
        open_all(Cipher(KEY, 0), size.to_bytes(2, "big") + bytes(size))
