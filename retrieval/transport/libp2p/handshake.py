"""Sans-IO: the handshake of Noise XX as libp2p uses it (Noise revision 34, §5 and §7.5; libp2p specs, ``noise``).

Three messages: the dialer's ephemeral key; the listener's ephemeral key, its Noise key and who it is; the dialer's Noise key and who it
is. Who a side is stands in a protobuf of two fields, its public key and that key's signature over the Noise key.

Its rule: nothing is believed of a peer before that signature was checked, and whatever a peer sends raises ``RemoteProtocolError`` only.

XX is some forty lines over the primitives that ``ciphers`` uses anyway. py-libp2p's own needs its whole package to be loaded first,
which takes three quarters of a second of every command (ARCHITECTURE.md, "Decisions").
"""

from __future__ import annotations

import hmac
import struct
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Final

from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from retrieval.dag.protobuf import BYTES, bytes_field, read_fields
from retrieval.errors import ErrorCode, RemoteProtocolError
from retrieval.identity import PeerId, format_peer_id, peer_id_of, public_key_of

from .ciphers import TAG_BYTES

KEY_BYTES: Final = 32

_NAME: Final = b"Noise_XX_25519_ChaChaPoly_SHA256"  # as long as a hash, so it is the first hash itself (Noise §5.2)
_SIGNED_PREFIX: Final = b"noise-libp2p-static-key:"
_IDENTITY_KEY: Final = 1
_IDENTITY_SIGNATURE: Final = 2
_MULTIHASH_HEAD: Final = b"\x00\x24"  # a peer id is an identity multihash of 36 bytes: the public key as the payload has it
_NONCE: Final = struct.Struct("<4xQ")


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """What a handshake came to: the peer, and a key for each direction. No message was sealed with either yet."""

    peer_id: PeerId
    sending_key: bytes = field(repr=False)
    receiving_key: bytes = field(repr=False)


class Credentials:
    """What this node shows of itself in every handshake: a Noise key made for this process, vouched for by its Ed25519 peer key."""

    def __init__(self, peer_key_seed: bytes) -> None:
        peer_key = Ed25519PrivateKey.from_private_bytes(peer_key_seed)
        self.noise_key: Final = X25519PrivateKey.generate()
        self.noise_public: Final = self.noise_key.public_key().public_bytes_raw()
        peer_id = peer_id_of(peer_key.public_key().public_bytes_raw())
        self.payload: Final = bytes_field(_IDENTITY_KEY, peer_id.removeprefix(_MULTIHASH_HEAD)) + bytes_field(
            _IDENTITY_SIGNATURE, peer_key.sign(_SIGNED_PREFIX + self.noise_public)
        )


class DialerHandshake:
    """The side that connected, and knows who must answer."""

    def __init__(self, credentials: Credentials, expected: PeerId) -> None:
        self._credentials: Final = credentials
        self._expected: Final = expected
        self._ephemeral: Final = X25519PrivateKey.generate()
        self._transcript: Final = _Transcript()

    def begin(self) -> bytes:
        """The first message."""
        public = self._ephemeral.public_key().public_bytes_raw()
        self._transcript.add(public)
        return public + self._transcript.seal(b"")

    def finish(self, message: bytes) -> tuple[bytes, Session]:
        """Take the second message; returns the third, and the session.

        Raises ``RemoteProtocolError``: ``dial_failed`` when another peer answers, ``unsupported_key`` unless it is an Ed25519 peer,
        ``transfer_truncated`` for all else.
        """
        transcript, ours = self._transcript, self._credentials
        theirs, rest = _split_key(message, KEY_BYTES)
        transcript.add(theirs)
        transcript.mix(_agree(self._ephemeral, theirs))
        sealed_key, sealed_payload = _split_key(rest, KEY_BYTES + TAG_BYTES)
        noise_key = transcript.open(sealed_key)
        transcript.mix(_agree(self._ephemeral, noise_key))
        peer_id = _identify(transcript.open(sealed_payload), noise_key)
        if peer_id != self._expected:
            detail = f"a peer other than {format_peer_id(self._expected)} answers at this address"
            raise RemoteProtocolError(ErrorCode.DIAL_FAILED, detail)
        last = transcript.seal(ours.noise_public)
        transcript.mix(_agree(ours.noise_key, theirs))
        last += transcript.seal(ours.payload)
        sending_key, receiving_key = transcript.split()
        return last, Session(peer_id=peer_id, sending_key=sending_key, receiving_key=receiving_key)


class ListenerHandshake:
    """The side that was connected to, and finds out by whom."""

    def __init__(self, credentials: Credentials) -> None:
        self._credentials: Final = credentials
        self._ephemeral: Final = X25519PrivateKey.generate()
        self._transcript: Final = _Transcript()

    def answer(self, message: bytes) -> bytes:
        """Take the first message; returns the second. Raises ``RemoteProtocolError(transfer_truncated)``."""
        transcript, ours = self._transcript, self._credentials
        theirs, payload = _split_key(message, KEY_BYTES)
        transcript.add(theirs)
        transcript.open(payload)  # in clear, and of no use to us
        public = self._ephemeral.public_key().public_bytes_raw()
        transcript.add(public)
        transcript.mix(_agree(self._ephemeral, theirs))
        sealed_key = transcript.seal(ours.noise_public)
        transcript.mix(_agree(ours.noise_key, theirs))
        return public + sealed_key + transcript.seal(ours.payload)

    def finish(self, message: bytes) -> Session:
        """Take the third message. Raises ``RemoteProtocolError``: ``unsupported_key`` unless it is an Ed25519 peer, else as above."""
        transcript = self._transcript
        sealed_key, sealed_payload = _split_key(message, KEY_BYTES + TAG_BYTES)
        noise_key = transcript.open(sealed_key)
        transcript.mix(_agree(self._ephemeral, noise_key))
        peer_id = _identify(transcript.open(sealed_payload), noise_key)
        receiving_key, sending_key = transcript.split()
        return Session(peer_id=peer_id, sending_key=sending_key, receiving_key=receiving_key)


class _Transcript:
    """All that was said so far, and the key that follows from what was agreed (Noise §5.2, ``SymmetricState``)."""

    def __init__(self) -> None:
        self._hash = _NAME
        self._chaining_key = _NAME
        self._aead: ChaCha20Poly1305 | None = None
        """None until keys were agreed: what is said before that is in clear."""
        self._n_sealed = 0
        self.add(b"")  # libp2p has no prologue

    def add(self, said: bytes) -> None:
        """``MixHash``."""
        self._hash = sha256(self._hash + said).digest()

    def mix(self, agreed: bytes) -> None:
        """``MixKey``."""
        self._chaining_key, key = _derive(self._chaining_key, agreed)
        self._aead, self._n_sealed = ChaCha20Poly1305(key), 0

    def seal(self, plaintext: bytes) -> bytes:
        """``EncryptAndHash``."""
        sealed = plaintext if self._aead is None else self._aead.encrypt(self._nonce(), plaintext, self._hash)
        self.add(sealed)
        return sealed

    def open(self, sealed: bytes) -> bytes:
        """``DecryptAndHash``. Raises ``RemoteProtocolError(transfer_truncated)``."""
        try:
            plaintext = sealed if self._aead is None else self._aead.decrypt(self._nonce(), sealed, self._hash)
        except InvalidTag as error:
            raise _broken("a message was altered, or made with another key") from error
        self.add(sealed)
        return plaintext

    def split(self) -> tuple[bytes, bytes]:
        """The dialer's sending key, and the listener's."""
        return _derive(self._chaining_key, b"")

    def _nonce(self) -> bytes:
        nonce = _NONCE.pack(self._n_sealed)
        self._n_sealed += 1
        return nonce


def _derive(chaining_key: bytes, agreed: bytes) -> tuple[bytes, bytes]:
    """``HKDF`` with two outputs (Noise §4.3)."""
    secret = hmac.digest(chaining_key, agreed, "sha256")
    first = hmac.digest(secret, b"\x01", "sha256")
    return first, hmac.digest(secret, first + b"\x02", "sha256")


def _agree(ours: X25519PrivateKey, theirs: bytes) -> bytes:
    try:
        return ours.exchange(X25519PublicKey.from_public_bytes(theirs))
    except ValueError as error:  # a point of small order, with which anybody could know the outcome
        raise _broken("an impossible key") from error


def _identify(payload: bytes, noise_key: bytes) -> PeerId:
    """Who vouches for this Noise key. Its extensions, early data and choices of a muxer, are not used."""
    key, signature = _read_payload(payload)
    peer_id = PeerId(_MULTIHASH_HEAD + key)
    public_key = public_key_of(peer_id)  # refuses keys of every other kind
    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(signature, _SIGNED_PREFIX + noise_key)
    except InvalidSignature as error:
        raise _broken("its peer key does not vouch for its Noise key") from error
    return peer_id


def _read_payload(payload: bytes) -> tuple[bytes, bytes]:
    try:
        fields = {number: payload[a:b] for number, wire_type, a, b in read_fields(payload, 0, len(payload)) if wire_type == BYTES}
        return fields[_IDENTITY_KEY], fields[_IDENTITY_SIGNATURE]
    except (RemoteProtocolError, KeyError) as error:
        raise _broken("it does not say who it is") from error


def _split_key(message: bytes, size: int) -> tuple[bytes, bytes]:
    if len(message) < size:
        raise _broken(f"a message of {len(message)} bytes has no room for its key")
    return message[:size], message[size:]


def _broken(what: str) -> RemoteProtocolError:
    return RemoteProtocolError(ErrorCode.TRANSFER_TRUNCATED, f"the peer broke the Noise handshake: {what}")
