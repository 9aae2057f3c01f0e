"""What a path leads to, for whoever shows content to people: its kind and size, read from the store.

The walk proves a path to somebody else; this only looks. Nothing is followed behind the entity's own block.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final

from retrieval.cid import CBOR, DAG_CBOR, DAG_JSON, DAG_PB, JSON, RAW, Cid
from retrieval.dag import pb, unixfs
from retrieval.dag.block import BlockKind, codec_of, inline_payload, kind_of, load, not_held
from retrieval.dag.filenode import FileNode, file_node
from retrieval.dag.protobuf import malformed
from retrieval.dag.unixfs import SYMLINK_TARGET_SIZE_MAX, NodeType
from retrieval.dag.walk import Walk
from retrieval.errors import ErrorCode, RemoteProtocolError
from retrieval.store.blocks import BlockStore
from retrieval.units import SIZE_BYTES_MAX
from retrieval.wire.messages import Scope


class EntityKind(Enum):
    """What stands at the end of a path."""

    FILE = "file"
    """UnixFS, of whatever layout."""
    RAW = "raw"
    """A single block of bytes: a file too, to most people."""
    DIRECTORY = "directory"
    SYMLINK = "symlink"
    DAG_PB = "dag-pb"
    """A node that is no UnixFS."""
    DAG_CBOR = "dag-cbor"
    DAG_JSON = "dag-json"
    CBOR = "cbor"
    JSON = "json"


_DOCUMENTS: Final = {
    RAW: EntityKind.RAW,
    DAG_CBOR: EntityKind.DAG_CBOR,
    DAG_JSON: EntityKind.DAG_JSON,
    CBOR: EntityKind.CBOR,
    JSON: EntityKind.JSON,
}
"""The kinds that a CID alone says."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reached:
    """Where a path ends. The block there has not been looked at."""

    cid: Cid
    remainder: tuple[str, ...]
    """The last names of the path, where they lead to a value inside the document ``cid``."""
    path_cids: tuple[Cid, ...]
    """The root, and what each name that stands for a link leads to (``X-Ipfs-Roots``)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolved(Reached):
    """What a path leads to."""

    kind: EntityKind
    size_bytes: int | None
    """Bytes of the file, as its root node claims; of the block where it is no UnixFS; of a symlink's target. None for directories."""
    target: bytes | None
    """Where a symlink points."""
    file: FileNode | None
    """The root node of a UnixFS file, for ``reader.pieces``."""

    @property
    def is_bytes(self) -> bool:
        """Whether ``reader.read_range`` reads it: a file, or a block that is shown as it is."""
        return self.kind not in (EntityKind.DIRECTORY, EntityKind.SYMLINK)


def resolve(store: BlockStore, root: Cid, path: Sequence[str] = ()) -> Resolved:
    """What a path leads to. Symlinks are not followed.

    Raises ``RemoteProtocolError`` as ``Walk`` does, and ``LocalProtocolError(not_found)`` where the store lacks a block of the path or the
    entity's own.
    """
    return look(store, reach(store, root, path))


def reach(store: BlockStore, root: Cid, path: Sequence[str] = ()) -> Reached:
    """Where a path ends; whether the store has that block too is not asked. Raises as ``resolve`` does."""
    walk = Walk(root, path, Scope.BLOCK)
    while walk.terminal is None:
        assert walk.expected is not None
        walk.advance(load(store, walk.expected))
    return Reached(cid=walk.terminal, remainder=walk.remainder, path_cids=tuple(walk.path_cids))


def look(store: BlockStore, reached: Reached) -> Resolved:
    """What stands where a path ends. Raises as ``resolve`` does."""
    kind, size_bytes, target, file = _look(store, reached.cid)
    return Resolved(
        cid=reached.cid,
        remainder=reached.remainder,
        path_cids=reached.path_cids,
        kind=kind,
        size_bytes=size_bytes,
        target=target,
        file=file,
    )


def _look(store: BlockStore, cid: Cid) -> tuple[EntityKind, int | None, bytes | None, FileNode | None]:
    """Kind, size, symlink target and file root."""
    inline = kind_of(cid) in (BlockKind.INLINE_LEAF, BlockKind.INLINE_NODE)
    if codec_of(cid) != DAG_PB:
        size_bytes = len(inline_payload(cid)) if inline else store.size(cid)
        if size_bytes is None:
            raise not_held(cid)
        return _DOCUMENTS[codec_of(cid)], size_bytes, None, None
    block = load(store, cid)
    node = pb.decode(block)
    content = unixfs.decode_any(node.data)
    if content is None or content.type is NodeType.METADATA:
        return EntityKind.DAG_PB, len(block), None, None
    if content.is_directory:
        return EntityKind.DIRECTORY, None, None, None
    if content.type is NodeType.SYMLINK:
        target = content.data or b""
        if not 0 < len(target) <= SYMLINK_TARGET_SIZE_MAX or b"\0" in target:
            raise malformed("a symlink's target is not a path")
        return EntityKind.SYMLINK, len(target), target, None
    file = file_node(node, content)
    if file.size > SIZE_BYTES_MAX:
        raise RemoteProtocolError(ErrorCode.DAG_TOO_LARGE, f"a file claims {file.size} bytes")
    return EntityKind.FILE, file.size, None, file
