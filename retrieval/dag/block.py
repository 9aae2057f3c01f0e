"""A block of a DAG as its CID announces it, and where its payload is: in the store or in the CID itself.

Blocks of the codecs in ``NODE_CODECS`` and ``LEAF_CODECS`` under sha2-256 or BLAKE3, or carried inline by an identity CID, can be
walked; anything else is refused with ``RemoteProtocolError(unsupported_codec)`` before somebody pays for it.
"""

from __future__ import annotations

from enum import Enum
from typing import Final

from retrieval.cid import BLAKE3, CBOR, DAG_CBOR, DAG_JSON, DAG_PB, IDENTITY, JSON, RAW, SHA2_256, Cid, format_cid, parts
from retrieval.errors import ErrorCode, LocalProtocolError, RemoteProtocolError
from retrieval.store.blocks import BlockStore

NODE_CODECS: Final = (DAG_PB, DAG_CBOR, DAG_JSON)
LEAF_CODECS: Final = (RAW, CBOR, JSON)
"""Their blocks have no links: plain CBOR and JSON are documents that end in themselves, whatever they look like."""
VISITS_MAX: Final = 1 << 21
"""Blocks looked at in one reading, repetitions included, so that a DAG of nothing but links ends too, after half a minute at most. It is
every block that a walk may have (``walk.BLOCKS_MAX``), and as many repetitions: a directory of a million equal files has those."""

_RAW_SHA2_256: Final = bytes((1, RAW, SHA2_256, 32))
_DAG_PB_SHA2_256: Final = bytes((1, DAG_PB, SHA2_256, 32))


class BlockKind(Enum):
    """What a CID alone says about its block."""

    LEAF = "leaf"
    """Bytes without links."""
    NODE = "node"
    """A node or document, which may have links."""
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
    if fields.codec not in NODE_CODECS and fields.codec not in LEAF_CODECS:
        raise RemoteProtocolError(ErrorCode.UNSUPPORTED_CODEC, f"codec 0x{fields.codec:x}")
    if fields.hash_code == IDENTITY:
        return BlockKind.INLINE_LEAF if fields.codec in LEAF_CODECS else BlockKind.INLINE_NODE
    if fields.hash_code in (SHA2_256, BLAKE3) and len(fields.digest) == 32:
        return BlockKind.LEAF if fields.codec in LEAF_CODECS else BlockKind.NODE
    raise RemoteProtocolError(ErrorCode.UNSUPPORTED_CODEC, f"hash 0x{fields.hash_code:x} of {len(fields.digest)} bytes")


def codec_of(cid: Cid) -> int:
    """The codec that a CID announces. Raises ``RemoteProtocolError(invalid_cid)``."""
    if len(cid) == 36:
        if cid.startswith(_DAG_PB_SHA2_256):
            return DAG_PB
        if cid.startswith(_RAW_SHA2_256):
            return RAW
    return parts(cid).codec


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


class Loader:
    """Loads payloads out of a store, and not without end: a small DAG can name the same block a billion times."""

    def __init__(self, store: BlockStore) -> None:
        self._store = store
        self._n_visits = 0

    def __call__(self, cid: Cid) -> bytes:
        """As ``load`` does. Raises ``RemoteProtocolError(dag_too_large)`` beyond ``VISITS_MAX``."""
        if self._n_visits == VISITS_MAX:
            raise RemoteProtocolError(ErrorCode.DAG_TOO_LARGE, f"more than {VISITS_MAX} blocks, repetitions included")
        self._n_visits += 1
        return load(self._store, cid)


def not_held(cid: Cid) -> LocalProtocolError:
    return LocalProtocolError(ErrorCode.NOT_FOUND, f"the store lacks block {format_cid(cid)}")
