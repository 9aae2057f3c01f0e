"""A block of a DAG as its CID announces it, and where its payload is: in the store or in the CID itself.

Only raw and dag-pb blocks under sha2-256 or BLAKE3, or carried inline by an identity CID, can be walked; anything else is refused with
``RemoteProtocolError(unsupported_codec)`` before somebody pays for it.
"""

from __future__ import annotations

from enum import Enum
from typing import Final

from retrieval.cid import BLAKE3, DAG_PB, IDENTITY, RAW, SHA2_256, Cid, format_cid, parts
from retrieval.errors import ErrorCode, LocalProtocolError, RemoteProtocolError
from retrieval.store.blocks import BlockStore

_RAW_SHA2_256: Final = bytes((1, RAW, SHA2_256, 32))
_DAG_PB_SHA2_256: Final = bytes((1, DAG_PB, SHA2_256, 32))


class BlockKind(Enum):
    """What a CID alone says about its block."""

    LEAF = "leaf"
    """Bytes without links (raw)."""
    NODE = "node"
    """A dag-pb node, which may have links."""
    INLINE_LEAF = "inline leaf"
    INLINE_NODE = "inline node"


def kind_of(cid: Cid) -> BlockKind:
    """Classify a CID. Raises ``RemoteProtocolError`` (``invalid_cid``, ``unsupported_codec``)."""
    if len(cid) == 36:  # nearly every CID there is, without taking it apart
        if cid.startswith(_RAW_SHA2_256):
            return BlockKind.LEAF
        if cid.startswith(_DAG_PB_SHA2_256):
            return BlockKind.NODE
    fields = parts(cid)
    if fields.codec not in (RAW, DAG_PB):
        raise RemoteProtocolError(ErrorCode.UNSUPPORTED_CODEC, f"codec 0x{fields.codec:x}")
    if fields.hash_code == IDENTITY:
        return BlockKind.INLINE_LEAF if fields.codec == RAW else BlockKind.INLINE_NODE
    if fields.hash_code in (SHA2_256, BLAKE3) and len(fields.digest) == 32:
        return BlockKind.LEAF if fields.codec == RAW else BlockKind.NODE
    raise RemoteProtocolError(ErrorCode.UNSUPPORTED_CODEC, f"hash 0x{fields.hash_code:x} of {len(fields.digest)} bytes")


def inline_payload(cid: Cid) -> bytes:
    """The content of an identity CID."""
    return parts(cid).digest


def load(store: BlockStore, cid: Cid) -> bytes:
    """The payload of a block. Raises ``LocalProtocolError(not_found)`` when the store lacks it."""
    if kind_of(cid) in (BlockKind.INLINE_LEAF, BlockKind.INLINE_NODE):
        return inline_payload(cid)
    payload = store.get(cid)
    if payload is None:
        raise not_held(cid)
    return payload


def not_held(cid: Cid) -> LocalProtocolError:
    return LocalProtocolError(ErrorCode.NOT_FOUND, f"the store lacks block {format_cid(cid)}")
