"""Content identifiers: binary inside, text at the edge.

A ``Cid`` is the binary CID as it stands in blocks and on the wire (multiformats/cid: a CIDv0 is a bare sha2-256 multihash, a CIDv1
is ``0x01 ‖ codec ‖ multihash``). Loops use the C core through ``parts``; what people type and read goes through ``multibase``.
Payloads are held against their CIDs by the C core too, but for BLAKE3, which goes through ``blake3``.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Final, NewType

from retrieval import _native, multibase
from retrieval._native import BlockStatus
from retrieval.errors import ErrorCode, RemoteProtocolError

Cid = NewType("Cid", bytes)

CBOR: Final = 0x51
RAW: Final = 0x55
DAG_PB: Final = 0x70
DAG_CBOR: Final = 0x71
DAG_JSON: Final = 0x0129
JSON: Final = 0x0200
IDENTITY: Final = 0x00
SHA2_256: Final = 0x12
BLAKE3: Final = 0x1E

BLAKE3_SIZE: Final = 32  # bytes; the hash has digests of any length, and this is the one that CIDs carry
CID_SIZE_MAX: Final = 128  # bytes; a sha2-512 CIDv1 needs 68, an inlined identity block rarely more
CID_TEXT_MAX: Final = 512  # characters


@dataclass(frozen=True, slots=True)
class CidParts:
    """The fields of a binary CID."""

    version: int
    codec: int
    hash_code: int
    digest: bytes


def parts(cid: bytes) -> CidParts:
    """Split a binary CID. Raises ``RemoteProtocolError(invalid_cid)`` unless ``cid`` is exactly one CID."""
    try:
        version, codec, hash_code, digest_start, end = _native.parse_cid(cid, 0)
    except ValueError as error:
        raise RemoteProtocolError(ErrorCode.INVALID_CID, str(error)) from error
    if end != len(cid):
        raise RemoteProtocolError(ErrorCode.INVALID_CID, f"{len(cid) - end} bytes follow the CID")
    return CidParts(version, codec, hash_code, bytes(cid[digest_start:end]))


def cid_of(codec: int, payload: bytes | memoryview) -> Cid:
    """The CIDv1 of a block under sha2-256."""
    return Cid(_PREFIX[codec] + hashlib.sha256(payload).digest())


def verify(cid: bytes, payload: bytes | memoryview) -> BlockStatus:
    """Whether a payload is what its CID says: under sha2-256 or BLAKE3 with all their 32 bytes, or identity."""
    status = BlockStatus(_native.verify_block(cid, payload))
    return verify_blake3(cid, payload) if status is BlockStatus.UNSUPPORTED_HASH else status


def verify_blake3(cid: bytes, payload: bytes | memoryview) -> BlockStatus:
    """What ``verify`` says of a block that the C core finds to be under an ``UNSUPPORTED_HASH``."""
    fields = parts(cid)
    if fields.hash_code != BLAKE3 or len(fields.digest) != BLAKE3_SIZE:
        return BlockStatus.UNSUPPORTED_HASH
    from blake3 import blake3

    return BlockStatus.OK if blake3(payload).digest() == fields.digest else BlockStatus.CORRUPT


def is_identity(cid: bytes) -> bool:
    """Whether the CID carries its content inline, so that nothing needs to be fetched."""
    return parts(cid).hash_code == IDENTITY


def parse_cid(text: str) -> Cid:
    """Read a CID as people write it, in any multibase. Raises ``RemoteProtocolError(invalid_cid)``."""
    text = text.strip().removeprefix("ipfs://").removeprefix("/ipfs/")
    if not 0 < len(text) <= CID_TEXT_MAX:
        raise RemoteProtocolError(ErrorCode.INVALID_CID, f"{text[:32]!r} has {len(text)} characters")
    is_version_0 = text.startswith("Qm") and len(text) == 46
    try:
        cid = Cid(multibase.decode("z" + text if is_version_0 else text))
    except (ValueError, LookupError) as error:
        raise RemoteProtocolError(ErrorCode.INVALID_CID, repr(text[:64])) from error
    if not is_version_0 and cid.startswith(b"\x12\x20"):
        raise RemoteProtocolError(ErrorCode.INVALID_CID, "a version 0 CID is written without a multibase letter")
    parts(cid)
    return cid


def format_cid(cid: bytes) -> str:
    """Show a CID: base58btc for version 0, base32 for version 1."""
    if cid.startswith(b"\x12\x20"):
        return multibase.to_base58(cid)  # version 0 is written without the letter that names the base
    return "b" + multibase.to_base32(cid)


def _prefix(codec: int) -> bytes:
    return b"\x01" + _native.encode_uvarint(codec) + bytes((SHA2_256, 32))


_PREFIX: Final = {codec: _prefix(codec) for codec in (CBOR, RAW, DAG_PB, DAG_CBOR, DAG_JSON, JSON)}
