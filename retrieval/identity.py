"""Who signs: the Ed25519 key of a peer and the secp256k1 key of an EVM account.

This is the only door to ``nacl``, ``coincurve`` and ``sha3``. Their exceptions do not pass it, and no key shows its secret unless it
is asked for by name. The libraries of the EVM world are loaded on first use, because a node that sells nothing never needs them.
"""

from __future__ import annotations

import hashlib
import secrets
from functools import lru_cache
from typing import TYPE_CHECKING, Final, NewType

from nacl.bindings import (
    crypto_scalarmult,
    crypto_sign_ed25519_pk_to_curve25519,
    crypto_sign_ed25519_sk_to_curve25519,
    crypto_sign_open,
)
from nacl.exceptions import BadSignatureError
from nacl.exceptions import RuntimeError as NaclError
from nacl.signing import SigningKey
from sha3 import keccak_256

from retrieval import multibase
from retrieval.errors import ErrorCode, LocalProtocolError, RemoteProtocolError

if TYPE_CHECKING:
    from coincurve import PrivateKey

PeerId = NewType("PeerId", bytes)
"""A libp2p peer id: the identity multihash of the protobuf-encoded public key (libp2p specs, ``peer-ids``)."""

EvmAddress = NewType("EvmAddress", bytes)
"""The 20 bytes of an EVM account or contract."""

ZERO_ADDRESS: Final = EvmAddress(bytes(20))

PEER_ID_SIZE: Final = 38
PEER_SIGNATURE_SIZE: Final = 64
PEER_ID_TEXT_MAX: Final = 128  # characters; base58btc needs 52, base32 of the CID form 65
EVM_ADDRESS_SIZE: Final = 20
EVM_SIGNATURE_SIZE: Final = 65
DIGEST_SIZE: Final = 32
SECRET_SIZE: Final = 32

# identity multihash (0x00) of 36 bytes ‖ protobuf field 1: key type 1, Ed25519 ‖ protobuf field 2: 32 bytes of key
_ED25519_PREFIX: Final = bytes.fromhex("002408011220")
_LIBP2P_KEY_CID_PREFIX: Final = b"\x01\x72"  # CIDv1, multicodec libp2p-key

_SECP256K1_ORDER: Final = 0xFFFFFFFF_FFFFFFFF_FFFFFFFF_FFFFFFFE_BAAEDCE6_AF48A03B_BFD25E8C_D0364141
_ADDRESSES_CACHED: Final = 4096  # of keys that signed lately: each payment of a channel is signed by the same one
_V_OFFSET: Final = 27  # EVM signatures end in 27 or 28, secp256k1 libraries count from 0


class PeerKey:
    """The Ed25519 identity of a provider or a client."""

    __slots__ = ("_signing_key", "peer_id")

    def __init__(self, signing_key: SigningKey) -> None:
        self._signing_key: Final = signing_key
        self.peer_id: Final = peer_id_of(bytes(signing_key.verify_key))

    @classmethod
    def generate(cls) -> PeerKey:
        return cls.from_seed(secrets.token_bytes(SECRET_SIZE))

    @classmethod
    def from_seed(cls, seed: bytes) -> PeerKey:
        """The key of a 32-byte seed (RFC 8032 calls it the private key). Raises ``LocalProtocolError(config_invalid)``."""
        if len(seed) != SECRET_SIZE:
            raise LocalProtocolError(ErrorCode.CONFIG_INVALID, f"an Ed25519 seed has 32 bytes, not {len(seed)}")
        return cls(SigningKey(seed))

    @property
    def seed(self) -> bytes:
        return bytes(self._signing_key)

    def sign(self, kind: str, body: bytes) -> bytes:
        """Sign the exact bytes of a message as one of its kind: 64 bytes over ``retrieval/<kind>/1 ‖ 0x00 ‖ body``."""
        return self._signing_key.sign(_signed_bytes(kind, body)).signature

    def secret_with(self, peer_id: PeerId, purpose: str) -> bytes:
        """32 bytes that only this peer and the other can compute: SHA-256 over the purpose, a zero byte, and X25519 of both identities'
        keys (RFC 7748, section 4.1 maps them). Raises ``RemoteProtocolError(unsupported_key)`` when the other has no such key."""
        try:
            theirs = crypto_sign_ed25519_pk_to_curve25519(public_key_of(peer_id))
            shared = crypto_scalarmult(crypto_sign_ed25519_sk_to_curve25519(self.seed + public_key_of(self.peer_id)), theirs)
        except NaclError as error:
            raise RemoteProtocolError(ErrorCode.UNSUPPORTED_KEY, "the peer's key agrees on no secret") from error
        return hashlib.sha256(b"retrieval/%b/1\0%b" % (purpose.encode("ascii"), shared)).digest()

    def __repr__(self) -> str:
        return f"PeerKey({self.peer_id.hex()})"


def verify_peer(peer_id: PeerId, kind: str, body: bytes, signature: bytes) -> None:
    """Check a peer's signature over the bytes as they were received.

    Raises ``RemoteProtocolError``: ``unsupported_key`` when the peer is not an Ed25519 key, ``bad_signature`` otherwise.
    """
    public_key = public_key_of(peer_id)
    if len(signature) != PEER_SIGNATURE_SIZE:
        raise RemoteProtocolError(ErrorCode.BAD_SIGNATURE, f"a signature has 64 bytes, not {len(signature)}")
    try:
        crypto_sign_open(signature + _signed_bytes(kind, body), public_key)
    except BadSignatureError as error:
        raise RemoteProtocolError(ErrorCode.BAD_SIGNATURE, f"the {kind} is not signed by the peer that sent it") from error


def peer_id_of(public_key: bytes) -> PeerId:
    """The peer id of a 32-byte Ed25519 public key."""
    assert len(public_key) == 32
    return PeerId(_ED25519_PREFIX + public_key)


def public_key_of(peer_id: bytes) -> bytes:
    """The Ed25519 public key inside a binary peer id. Raises ``RemoteProtocolError(unsupported_key)`` for any other kind of id."""
    if len(peer_id) != PEER_ID_SIZE or not peer_id.startswith(_ED25519_PREFIX):
        raise RemoteProtocolError(ErrorCode.UNSUPPORTED_KEY, f"{peer_id[:PEER_ID_SIZE].hex()} does not hold an Ed25519 key")
    return peer_id[len(_ED25519_PREFIX) :]


def format_peer_id(peer_id: PeerId) -> str:
    """Show a peer id as multiaddrs carry it: ``12D3KooW…``, base58btc without a multibase prefix."""
    return multibase.to_base58(peer_id)


def parse_peer_id(text: str) -> PeerId:
    """Read ``12D3KooW…``, or the CIDv1 ``libp2p-key`` form in any multibase.

    Raises ``RemoteProtocolError(unsupported_key)`` when it is neither, or not of an Ed25519 key.
    """
    if not 0 < len(text) <= PEER_ID_TEXT_MAX:
        raise RemoteProtocolError(ErrorCode.UNSUPPORTED_KEY, f"a peer id does not have {len(text)} characters")
    bare = text.startswith(("1", "Qm"))  # the bare base58btc of a multihash, by the rule of libp2p's peer-ids specification
    try:
        binary = multibase.decode("z" + text if bare else text)
    except (ValueError, KeyError) as error:
        raise RemoteProtocolError(ErrorCode.UNSUPPORTED_KEY, f"{text!r} is not a peer id") from error
    if not bare and not binary.startswith(_LIBP2P_KEY_CID_PREFIX):
        raise RemoteProtocolError(ErrorCode.UNSUPPORTED_KEY, f"{text!r} is not a peer id")
    multihash = PeerId(binary if bare else binary.removeprefix(_LIBP2P_KEY_CID_PREFIX))
    public_key_of(multihash)
    return multihash


class EvmKey:
    """A secp256k1 key: a payer's wallet, its hot authorizer, or a receiver's authorizer."""

    __slots__ = ("_private_key", "address")

    def __init__(self, private_key: PrivateKey) -> None:
        self._private_key: Final = private_key
        self.address: Final = _address_of(private_key.public_key.format(compressed=False))

    @classmethod
    def generate(cls) -> EvmKey:
        return cls.from_secret((1 + secrets.randbelow(_SECP256K1_ORDER - 1)).to_bytes(SECRET_SIZE, "big"))

    @classmethod
    def from_secret(cls, secret: bytes) -> EvmKey:
        """The key of a 32-byte secret. Raises ``LocalProtocolError(config_invalid)`` when it is none of secp256k1."""
        from coincurve import PrivateKey

        if len(secret) != SECRET_SIZE or not 0 < int.from_bytes(secret, "big") < _SECP256K1_ORDER:
            raise LocalProtocolError(ErrorCode.CONFIG_INVALID, "an EVM key is 32 bytes below the order of secp256k1, and not zero")
        return cls(PrivateKey(secret))

    @property
    def secret(self) -> bytes:
        return bytes(self._private_key.secret)

    def sign_digest(self, digest: bytes) -> bytes:
        """Sign 32 bytes as they are: ``r ‖ s ‖ v`` with low ``s`` and ``v`` of 27 or 28, deterministic by RFC 6979."""
        assert len(digest) == DIGEST_SIZE
        signature = self._private_key.sign_recoverable(digest, hasher=None)
        assert signature[64] <= 1, "r overflowed the curve order, which happens once in 2^127 signatures"
        return bytes(signature[:64]) + bytes((signature[64] + _V_OFFSET,))

    def __repr__(self) -> str:
        return f"EvmKey({format_address(self.address)})"


def recover_address(digest: bytes, signature: bytes) -> EvmAddress:
    """The account whose key signed this digest, as the chain's ``ecrecover`` would see it.

    Stricter than ``ecrecover``: a high ``s`` is refused (EIP-2), since with it every signature would have a twin that also verifies.
    Raises ``RemoteProtocolError(bad_signature)``.
    """
    from coincurve import PublicKey

    assert len(digest) == DIGEST_SIZE
    if len(signature) != EVM_SIGNATURE_SIZE:
        raise RemoteProtocolError(ErrorCode.BAD_SIGNATURE, f"a signature has 65 bytes, not {len(signature)}")
    r, s, recovery_id = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:64], "big"), signature[64] - _V_OFFSET
    if recovery_id not in (0, 1):
        raise RemoteProtocolError(ErrorCode.BAD_SIGNATURE, f"v is {signature[64]}, neither 27 nor 28")
    if not 0 < r < _SECP256K1_ORDER or not 0 < s <= _SECP256K1_ORDER // 2:
        raise RemoteProtocolError(ErrorCode.BAD_SIGNATURE, "r or s is out of range")
    try:
        public_key = PublicKey.from_signature_and_message(signature[:64] + bytes((recovery_id,)), digest, hasher=None)
    except ValueError as error:
        raise RemoteProtocolError(ErrorCode.BAD_SIGNATURE, "no key makes this signature") from error
    return _address_of(public_key.format(compressed=False))


def keccak256(message: bytes) -> bytes:
    """Keccak-256 as the EVM has it, which is SHA3-256 before NIST changed the padding."""
    return bytes(keccak_256(message).digest())


def format_address(address: EvmAddress) -> str:
    """Show an address as ``0x`` and 40 hex digits, whose capitals are a checksum (EIP-55)."""
    assert len(address) == EVM_ADDRESS_SIZE
    digits = address.hex()
    checksum = keccak256(digits.encode()).hex()
    return "0x" + "".join(digit.upper() if nibble >= "8" else digit for digit, nibble in zip(digits, checksum, strict=False))


def parse_address(text: str) -> EvmAddress:
    """Read an address: in one case throughout, or with a right EIP-55 checksum. Raises ``LocalProtocolError(invalid_address)``."""
    digits = text.removeprefix("0x")
    if len(digits) != 2 * EVM_ADDRESS_SIZE or len(text) == len(digits) or not set(digits) <= _HEX_DIGITS:
        raise LocalProtocolError(ErrorCode.INVALID_ADDRESS, f"{text[:64]!r} is not 0x and 40 hex digits")
    address = EvmAddress(bytes.fromhex(digits))
    if digits not in (digits.lower(), digits.upper()) and text != format_address(address):
        raise LocalProtocolError(ErrorCode.INVALID_ADDRESS, f"the checksum of {text} is wrong: a digit was mistyped")
    return address


def assert_fast_signatures() -> None:
    """Refuse to sell without libsecp256k1: the pure-Python code other packages fall back to takes 8 ms a voucher instead of 30 µs.

    Raises ``LocalProtocolError(slow_signatures)``.
    """
    try:
        from coincurve._libsecp256k1 import lib
    except ImportError as error:
        raise LocalProtocolError(ErrorCode.SLOW_SIGNATURES, f"coincurve cannot be loaded ({error.name})") from error
    if not hasattr(lib, "secp256k1_ecdsa_recover"):
        raise LocalProtocolError(ErrorCode.SLOW_SIGNATURES, "coincurve's library cannot recover keys")


_HEX_DIGITS: Final = frozenset("0123456789abcdefABCDEF")


def _signed_bytes(kind: str, body: bytes) -> bytes:
    return b"retrieval/%b/1\0%b" % (kind.encode("ascii"), body)


@lru_cache(maxsize=_ADDRESSES_CACHED)
def _address_of(uncompressed_public_key: bytes) -> EvmAddress:
    return EvmAddress(keccak256(uncompressed_public_key[1:])[-EVM_ADDRESS_SIZE:])
