"""ECVRF-EDWARDS25519-SHA512-TAI (RFC 9381, suite 0x03): one output a key and message, which its owner can prove and nobody can choose.

Plain integers and hashlib: a relay proves in C, this checks it, and proves in tests. Proving is not constant in time, so a key that
matters belongs elsewhere. A proof has 80 bytes: Gamma (32), c (16), s (32); integers are little-endian.
"""

from __future__ import annotations

import hashlib
from typing import Final, NamedTuple

from retrieval.errors import ErrorCode, RemoteProtocolError

PROOF_SIZE: Final = 80
OUTPUT_SIZE: Final = 64
KEY_SIZE: Final = 32
_SUITE: Final = b"\x03"
_C_SIZE: Final = 16
_P: Final = 2**255 - 19
_L: Final = 2**252 + 27742317777372353535851937790883648493
_D: Final = -121665 * pow(121666, -1, _P) % _P
_ROOT_OF_MINUS_1: Final = pow(2, (_P - 1) // 4, _P)
_COFACTOR: Final = 8


class _Point(NamedTuple):
    """Extended coordinates (RFC 8032, section 5.1.4)."""

    x: int
    y: int
    z: int
    t: int


def vrf_public_key(seed: bytes) -> bytes:
    """The public key of a 32-byte seed: that of Ed25519 (RFC 8032, section 5.1.5)."""
    return _encode(_multiply(_scalar(seed)[0], _BASE))


def prove(seed: bytes, alpha: bytes) -> bytes:
    """The proof for ``alpha`` under the key of this seed (section 5.1)."""
    x, nonce_seed = _scalar(seed)
    public_key = _encode(_multiply(x, _BASE))
    h = _hash_to_curve(public_key, alpha)
    h_string = _encode(h)
    gamma = _multiply(x, h)
    k = int.from_bytes(hashlib.sha512(nonce_seed + h_string).digest(), "little") % _L
    c = _challenge(public_key, h_string, gamma, _multiply(k, _BASE), _multiply(k, h))
    return _encode(gamma) + c.to_bytes(_C_SIZE, "little") + ((k + c * x) % _L).to_bytes(32, "little")


def verify(public_key: bytes, alpha: bytes, proof: bytes) -> bytes:
    """The 64 bytes of output that the proof is of (section 5.3). Raises ``RemoteProtocolError(bad_signature)``."""
    if len(public_key) != KEY_SIZE or len(proof) != PROOF_SIZE:
        raise _bad("its length is wrong")
    y, gamma = _decode(public_key), _decode(proof[:32])
    if y is None or gamma is None or _is_identity(_multiply(_COFACTOR, y)):
        raise _bad("a point is not on the curve, or the key is of small order")
    c, s = int.from_bytes(proof[32:48], "little"), int.from_bytes(proof[48:], "little")
    if s >= _L:
        raise _bad("s is out of range")
    h = _hash_to_curve(public_key, alpha)
    u = _add(_multiply(s, _BASE), _negate(_multiply(c, y)))
    v = _add(_multiply(s, h), _negate(_multiply(c, gamma)))
    if _challenge(public_key, _encode(h), gamma, u, v) != c:
        raise _bad("it is of another key or message")
    return output_of(proof)


def output_of(proof: bytes) -> bytes:
    """The output that a proof stands for, which must have been verified (section 5.2)."""
    gamma = _decode(proof[:32])
    assert gamma is not None
    return hashlib.sha512(_SUITE + b"\x03" + _encode(_multiply(_COFACTOR, gamma)) + b"\x00").digest()


def _scalar(seed: bytes) -> tuple[int, bytes]:
    digest = hashlib.sha512(seed).digest()
    x = int.from_bytes(digest[:32], "little") & ((1 << 254) - 8) | 1 << 254
    return x, digest[32:]


def _hash_to_curve(salt: bytes, alpha: bytes) -> _Point:
    """Try and increment (section 5.4.1.1): each try is on the curve with a chance of one in two."""
    for count in range(256):
        tried = hashlib.sha512(_SUITE + b"\x01" + salt + alpha + bytes((count,)) + b"\x00").digest()[:32]
        if (point := _decode(tried)) is not None:
            return _multiply(_COFACTOR, point)
    raise AssertionError("256 hashes in a row were no points, which happens once in 2^256 messages")


def _challenge(public_key: bytes, h_string: bytes, *points: _Point) -> int:
    hashed = hashlib.sha512(_SUITE + b"\x02" + public_key + h_string + b"".join(map(_encode, points)) + b"\x00").digest()
    return int.from_bytes(hashed[:_C_SIZE], "little")


def _add(a: _Point, b: _Point) -> _Point:
    e1, e2 = (a.y - a.x) * (b.y - b.x) % _P, (a.y + a.x) * (b.y + b.x) % _P
    e3, e4 = 2 * a.t * b.t * _D % _P, 2 * a.z * b.z % _P
    e, f, g, h = e2 - e1, e4 - e3, e4 + e3, e2 + e1
    return _Point(e * f % _P, g * h % _P, f * g % _P, e * h % _P)


def _negate(a: _Point) -> _Point:
    return _Point(-a.x % _P, a.y, a.z, -a.t % _P)


def _multiply(scalar: int, point: _Point) -> _Point:
    total = _IDENTITY
    while scalar:
        if scalar & 1:
            total = _add(total, point)
        point, scalar = _add(point, point), scalar >> 1
    return total


def _is_identity(a: _Point) -> bool:
    return a.x % _P == 0 and (a.y - a.z) % _P == 0


def _encode(a: _Point) -> bytes:
    inverse = pow(a.z, -1, _P)
    x, y = a.x * inverse % _P, a.y * inverse % _P
    return (y | (x & 1) << 255).to_bytes(32, "little")


def _decode(encoded: bytes) -> _Point | None:
    """The point of 32 bytes in their one right form (RFC 8032, section 5.1.3), or None."""
    number = int.from_bytes(encoded, "little")
    sign, y = number >> 255, number & ((1 << 255) - 1)
    if y >= _P:
        return None
    u, v = (y * y - 1) % _P, (_D * y * y + 1) % _P
    x = u * pow(v, 3, _P) * pow(u * pow(v, 7, _P), (_P - 5) // 8, _P) % _P
    if v * x * x % _P == -u % _P:
        x = x * _ROOT_OF_MINUS_1 % _P
    if v * x * x % _P != u or (x == 0 and sign):
        return None
    x = x if x & 1 == sign else _P - x
    return _Point(x, y, 1, x * y % _P)


def _bad(why: str) -> RemoteProtocolError:
    return RemoteProtocolError(ErrorCode.BAD_SIGNATURE, f"the VRF proof does not hold: {why}")


_IDENTITY: Final = _Point(0, 1, 1, 0)
_BASE_Y: Final = 4 * pow(5, -1, _P) % _P
_BASE_OR_NONE: Final = _decode(_BASE_Y.to_bytes(32, "little"))
assert _BASE_OR_NONE is not None
_BASE: Final = _BASE_OR_NONE
