"""What an answer carries, as pieces: bytes that were made for it, and parts of blocks that stay in the store until they are sent.

Pure. Pieces are made as they are asked for, so an answer of any size takes the memory of a few of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from retrieval.cid import Cid
from retrieval.dag.block import BlockKind, Loader, inline_payload, kind_of, load, not_held
from retrieval.dag.byterange import ByteRange
from retrieval.dag.filenode import FileNode
from retrieval.dag.measure import totals
from retrieval.dag.reader import RawPart, pieces
from retrieval.dag.walk import Walk
from retrieval.store.blocks import BlockStore
from retrieval.store.car import car_head, section_head
from retrieval.wire.messages import Scope

Piece = bytes | RawPart

SO_FAR: Final = b""
"""A piece that holds nothing: what stands before it is worth sending now, since what follows is on its way here."""

SIZES_AT_ONCE: Final = 64
"""Blocks measured in one look at the index."""
CAR_HEAD_BYTES: Final = 256
CAR_SECTION_BYTES: Final = 84
"""At most: what a CAR begins with, and what stands around each block of it, a length and a CID."""


def block_pieces(cid: Cid, start: int, stop: int, block_size: int) -> Iterator[Piece]:
    """A part of one block."""
    if kind_of(cid) in (BlockKind.INLINE_LEAF, BlockKind.INLINE_NODE):
        yield inline_payload(cid)[start:stop]
    else:
        yield RawPart(cid, start, stop, block_size)


def file_pieces(store: BlockStore, root: FileNode, start: int, stop: int) -> Iterator[Piece]:
    """The bytes of a file from ``start`` to before ``stop``. What they come to is not checked here.

    Raises ``LocalProtocolError(not_found)``, ``RemoteProtocolError``: ``malformed_block``, ``dag_too_large``.
    """
    return pieces(Loader(store), root, start, stop)


def car_pieces(store: BlockStore, root: Cid, walk: Walk) -> Iterator[Piece]:
    """A CARv1 of a walk that is at its beginning. Raises as ``Walk`` does, and ``LocalProtocolError(not_found)``."""
    yield car_head((root,))
    while walk.expected is not None:
        run = walk.upcoming(SIZES_AT_ONCE)
        for cid, size in zip(run, store.view_many(run, _sizes), strict=True):
            assert cid == walk.expected
            if size is None:
                raise not_held(cid)
            if walk.needs_payload:
                payload = load(store, cid)
                yield section_head(cid, len(payload)) + payload
                walk.advance(payload)
            else:
                yield section_head(cid, size)
                yield RawPart(cid, 0, size, size)
                walk.skip(size)


def car_bytes_max(store: BlockStore, root: Cid, path: Sequence[str], scope: Scope, byte_range: ByteRange | None) -> int:
    """The most bytes that a CAR can have, from what may be looked at unpaid. Raises as ``measure.totals`` does."""
    weight = totals(store, root, path, scope, byte_range)
    return CAR_HEAD_BYTES + weight.n_bytes + weight.n_blocks * CAR_SECTION_BYTES


def _sizes(views: Sequence[memoryview | None]) -> list[int | None]:
    return [None if view is None else len(view) for view in views]
