"""The Noise handshake: against the library that py-libp2p uses, against altered messages, and against peers that lie."""

from __future__ import annotations

import os

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st
from noise.connection import Keypair, NoiseConnection

from retrieval.dag.protobuf import bytes_field, varint_field
from retrieval.errors import ErrorCode, RemoteProtocolError
from retrieval.identity import PeerKey
from retrieval.transport.libp2p.handshake import Credentials, DialerHandshake, ListenerHandshake, Session

DIALER, LISTENER = PeerKey.from_seed(b"d" * 32), PeerKey.from_seed(b"l" * 32)
SIGNED_PREFIX = b"noise-libp2p-static-key:"  # libp2p specs, noise: what an identity signs is this and the Noise key


def shake_hands() -> tuple[Session, Session]:
    dialer = DialerHandshake(Credentials(DIALER.seed), LISTENER.peer_id)
    listener = ListenerHandshake(Credentials(LISTENER.seed))
    last, dialed = dialer.finish(listener.answer(dialer.begin()))
    return dialed, listener.finish(last)


class StockParty:
    """One side as the library `noiseprotocol` speaks it, with an identity made from the specification."""

    def __init__(self, peer_key: PeerKey, *, initiator: bool) -> None:
        self.noise = NoiseConnection.from_name(b"Noise_XX_25519_ChaChaPoly_SHA256")
        self.noise.set_as_initiator() if initiator else self.noise.set_as_responder()
        self.noise.set_keypair_from_private_bytes(Keypair.STATIC, os.urandom(32))
        self.noise.start_handshake()
        public = self.noise.noise_protocol.keypairs["s"].public_bytes
        self.payload = payload(peer_key, Ed25519PrivateKey.from_private_bytes(peer_key.seed).sign(SIGNED_PREFIX + public))

    def read(self, message: bytes) -> bytes:
        return bytes(self.noise.read_message(message))

    def write(self, body: bytes) -> bytes:
        return bytes(self.noise.write_message(body))


def payload(peer_key: PeerKey, signature: bytes) -> bytes:
    public_key = varint_field(1, 1) + bytes_field(2, peer_key.peer_id[-32:])  # libp2p specs, peer-ids: type Ed25519, then the key
    return bytes_field(1, public_key) + bytes_field(2, signature)


def keys_of(stock: StockParty) -> tuple[bytes, bytes]:
    """Sending and receiving key."""
    protocol = stock.noise.noise_protocol
    return protocol.cipher_state_encrypt.k, protocol.cipher_state_decrypt.k


def test_both_sides_learn_who_the_other_is_and_agree_on_two_keys() -> None:
    dialed, accepted = shake_hands()

    assert (dialed.peer_id, accepted.peer_id) == (LISTENER.peer_id, DIALER.peer_id)
    assert dialed.sending_key == accepted.receiving_key
    assert dialed.receiving_key == accepted.sending_key
    assert dialed.sending_key != dialed.receiving_key


def test_no_two_sessions_have_a_key_in_common() -> None:
    keys = [key for _ in range(4) for session in shake_hands() for key in (session.sending_key, session.receiving_key)]

    assert len(set(keys)) == 8  # each is had by two


def test_a_session_does_not_show_its_keys() -> None:
    session, _ = shake_hands()

    assert not any(repr(key) in repr(session) for key in (session.sending_key, session.receiving_key))


def test_a_stock_listener_agrees() -> None:
    stock = StockParty(LISTENER, initiator=False)
    dialer = DialerHandshake(Credentials(DIALER.seed), LISTENER.peer_id)
    assert stock.read(dialer.begin()) == b""
    last, session = dialer.finish(stock.write(stock.payload))
    shown = stock.read(last)

    assert session.peer_id == LISTENER.peer_id
    assert DIALER.peer_id[2:] in shown
    assert keys_of(stock) == (session.receiving_key, session.sending_key)


def test_a_stock_dialer_agrees() -> None:
    stock = StockParty(DIALER, initiator=True)
    listener = ListenerHandshake(Credentials(LISTENER.seed))
    shown = stock.read(listener.answer(stock.write(b"")))
    session = listener.finish(stock.write(stock.payload))

    assert session.peer_id == DIALER.peer_id
    assert LISTENER.peer_id[2:] in shown
    assert keys_of(stock) == (session.receiving_key, session.sending_key)


def test_a_stock_listener_refuses_what_was_altered_on_its_way() -> None:
    stock = StockParty(LISTENER, initiator=False)
    dialer = DialerHandshake(Credentials(DIALER.seed), LISTENER.peer_id)
    stock.read(dialer.begin())
    last, _ = dialer.finish(stock.write(stock.payload))
    with pytest.raises(InvalidTag):
        stock.read(last[:-1] + bytes((last[-1] ^ 1,)))


def test_another_peer_than_the_one_that_was_dialled_is_refused() -> None:
    dialer, listener = DialerHandshake(Credentials(DIALER.seed), DIALER.peer_id), ListenerHandshake(Credentials(LISTENER.seed))
    with pytest.raises(RemoteProtocolError) as caught:
        dialer.finish(listener.answer(dialer.begin()))

    assert caught.value.code is ErrorCode.DIAL_FAILED


def refused_payload(body: bytes) -> ErrorCode:
    """How a dialer takes a listener that says this of itself."""
    stock = StockParty(LISTENER, initiator=False)
    dialer = DialerHandshake(Credentials(DIALER.seed), LISTENER.peer_id)
    stock.read(dialer.begin())
    with pytest.raises(RemoteProtocolError) as caught:
        dialer.finish(stock.write(body))
    return caught.value.code


def test_a_peer_whose_key_vouches_for_another_noise_key_is_refused() -> None:
    other = Ed25519PrivateKey.from_private_bytes(LISTENER.seed).sign(SIGNED_PREFIX + bytes(32))

    assert refused_payload(payload(LISTENER, other)) is ErrorCode.TRANSFER_TRUNCATED
    assert refused_payload(payload(LISTENER, b"short")) is ErrorCode.TRANSFER_TRUNCATED


@pytest.mark.parametrize("key", [b"", varint_field(1, 0) + bytes_field(2, bytes(270)), varint_field(1, 2) + bytes_field(2, bytes(33))])
def test_a_peer_without_an_ed25519_key_is_told_apart(key: bytes) -> None:
    assert refused_payload(bytes_field(1, key) + bytes_field(2, bytes(64))) is ErrorCode.UNSUPPORTED_KEY


@pytest.mark.parametrize("body", [b"", b"\x0a", b"\xff" * 40, bytes_field(2, bytes(64)), varint_field(1, 7)])
def test_a_peer_that_does_not_say_who_it_is_is_refused(body: bytes) -> None:
    assert refused_payload(body) is ErrorCode.TRANSFER_TRUNCATED


@pytest.mark.parametrize("point", [bytes(32), b"\x01" + bytes(31)])
def test_a_key_of_small_order_is_refused(point: bytes) -> None:
    """With it the outcome would not depend on our key."""
    with pytest.raises(RemoteProtocolError) as caught:
        ListenerHandshake(Credentials(LISTENER.seed)).answer(point)

    assert caught.value.code is ErrorCode.TRANSFER_TRUNCATED


@given(st.sampled_from([0, 1, 2]), st.integers(min_value=0), st.integers(1, 255), st.booleans())
def test_a_message_that_was_altered_or_cut_anywhere_ends_the_handshake(number: int, at: int, flip: int, cut: bool) -> None:
    """The first message is in clear: what was done to it shows with the next."""
    said = 0

    def pass_on(message: bytes) -> bytes:
        nonlocal said
        said += 1
        if said != number + 1:
            return message
        where = at % len(message)
        return message[:where] if cut else message[:where] + bytes((message[where] ^ flip,)) + message[where + 1 :]

    dialer, listener = DialerHandshake(Credentials(DIALER.seed), LISTENER.peer_id), ListenerHandshake(Credentials(LISTENER.seed))

    def shake() -> None:
        last, _ = dialer.finish(pass_on(listener.answer(pass_on(dialer.begin()))))
        listener.finish(pass_on(last))

    with pytest.raises(RemoteProtocolError) as caught:
        shake()
    assert caught.value.code is ErrorCode.TRANSFER_TRUNCATED


@given(st.binary(max_size=200))
def test_noise_of_no_kind_raises_anything_else(message: bytes) -> None:
    dialer, listener = DialerHandshake(Credentials(DIALER.seed), LISTENER.peer_id), ListenerHandshake(Credentials(LISTENER.seed))
    dialer.begin()
    with pytest.raises(RemoteProtocolError):
        dialer.finish(message)
    if len(message) < 32:
        with pytest.raises(RemoteProtocolError):
            listener.answer(message)
