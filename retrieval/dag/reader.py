"""The bytes of a file, or of a part of it, block by block.

Only blocks that hold wanted bytes are loaded, and the nodes above them. A part is checked against every size claimed on the way to it,
so that nobody takes bytes of one place for those of another; of a file read whole only the whole size must be true.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple, TypeVar

from retrieval.cid import DAG_PB, RAW, Cid
from retrieval.dag import pb, unixfs
from retrieval.dag.block import BlockKind, Loader, codec_of, kind_of
from retrieval.dag.directory import LoadBlock
from retrieval.dag.filenode import FileNode, file_node, read_file_node
from retrieval.dag.links import Extent
from retrieval.dag.protobuf import malformed
from retrieval.dag.unixfs import NodeType
from retrieval.errors import ErrorCode, RemoteProtocolError
from retrieval.store.blocks import BlockStore

Bytes = TypeVar("Bytes", bytes, memoryview)

FILE_DEPTH_MAX: Final = 64  # nodes from a file's root to its leaves; a balanced file of 1 TiB needs 3, a trickle one about 20


class RawPart(NamedTuple):
    """Wanted bytes of a raw block that nobody has loaded yet. (A tuple: one is made for each leaf of a file.)"""

    cid: Cid
    start: int = 0
    stop: int | None = None
    """None is the end of the block."""
    block_size: int | None = None
    """What the nodes above claim of the whole block; None where nobody has to be believed."""

    def cut(self, block: Bytes) -> Bytes:
        """The wanted bytes out of the block. Raises ``RemoteProtocolError(malformed_block)`` when it has another size than claimed."""
        if self.block_size is not None and len(block) != self.block_size:
            raise malformed(f"a file's node claims {len(block)} bytes, the one above it {self.block_size}")
        return block[self.start : self.stop]


def read_range(store: BlockStore, cid: Cid, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
    """The bytes from ``start`` to before ``stop`` (None: the end) of what ``read_root`` takes for a file, as far as it has them.

    Raises ``LocalProtocolError(not_found)`` for a block that the store lacks, and ``RemoteProtocolError`` (``malformed_block``,
    ``dag_too_large``, ``unsupported_codec``).
    """
    load = Loader(store)
    return chunks(load, read_root(cid, load(cid)), start, stop)


def read_root(cid: Cid, block: bytes) -> FileNode:
    """The root of a file. A block that is no UnixFS counts as a file of its own bytes.

    Raises ``RemoteProtocolError(malformed_block)`` for directories and symlinks.
    """
    if codec_of(cid) != DAG_PB:
        return FileNode(own_bytes=block, size=len(block))
    node = pb.decode(block)
    content = unixfs.decode_any(node.data)
    if content is None or content.type is NodeType.METADATA:
        return FileNode(own_bytes=block, size=len(block))
    if not content.is_file:
        raise malformed("this is no file")
    return file_node(node, content)


def chunks(load: LoadBlock, root: FileNode, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
    """As ``read_range``, of a root that was read before."""
    wanted_bytes = max(0, min(root.size if stop is None else stop, root.size) - start)
    n_bytes = 0
    for piece in pieces(load, root, start, stop):
        chunk = piece.cut(load(piece.cid)) if isinstance(piece, RawPart) else piece
        n_bytes += len(chunk)
        if n_bytes > wanted_bytes:
            raise malformed(f"a file is longer than the {root.size} bytes it claims")
        if chunk:
            yield chunk
    if n_bytes != wanted_bytes:
        raise malformed(f"a file has {n_bytes} bytes and claims {wanted_bytes}")


def pieces(load: LoadBlock, root: FileNode, start: int = 0, stop: int | None = None) -> Iterator[bytes | RawPart]:
    """What ``chunks`` reads, with its raw blocks left where they are.

    Whoever takes a file from here compares what it comes to with what the root claims.
    """
    assert start >= 0
    stop = root.size if stop is None else min(stop, root.size)
    if start == 0 and stop == root.size:
        yield from _pieces(load, root, None)
    elif start < stop:
        yield from _pieces(load, root, Extent(start, stop - start))


def _pieces(load: LoadBlock, root: FileNode, part: Extent | None) -> Iterator[bytes | RawPart]:
    """A node's own bytes first, then those of its links in order. ``part`` is None for all of it."""
    node, extent = root, None if part is None else Extent(0, root.size)
    open_links: list[Iterator[tuple[Cid, Extent | None]]] = []
    while True:
        if own_bytes := _overlap(node.own_bytes, extent, part):
            yield own_bytes
        open_links.append(_below(node, extent, part))
        while True:
            following = _next(open_links)
            if following is None:
                return
            if len(open_links) == FILE_DEPTH_MAX:
                raise RemoteProtocolError(ErrorCode.DAG_TOO_LARGE, f"a file is deeper than {FILE_DEPTH_MAX} nodes")
            cid, extent = following
            if kind_of(cid) is not BlockKind.LEAF or codec_of(cid) != RAW:
                break
            yield _raw_part(cid, extent, part)
        node = read_file_node(cid, load(cid))
        if extent is not None and node.size != extent.size:
            raise malformed(f"a file's node claims {node.size} bytes, the one above it {extent.size}")


def _below(node: FileNode, extent: Extent | None, part: Extent | None) -> Iterator[tuple[Cid, Extent | None]]:
    """The links that lead to wanted bytes."""
    if extent is None or part is None:
        return ((link.cid, None) for link in node.links)
    return ((link.cid, below) for link, below in node.extents(extent.start) if below.overlaps(part))


def _overlap(own_bytes: bytes, extent: Extent | None, part: Extent | None) -> bytes:
    """The wanted ones of a node's own bytes, which stand at the beginning of its extent."""
    if extent is None or part is None:
        return own_bytes
    return own_bytes[max(0, part.start - extent.start) : max(0, part.stop - extent.start)]


def _raw_part(cid: Cid, extent: Extent | None, part: Extent | None) -> RawPart:
    if extent is None or part is None:
        return RawPart(cid)
    return RawPart(cid, max(0, part.start - extent.start), min(extent.size, part.stop - extent.start), extent.size)


def _next(open_links: list[Iterator[tuple[Cid, Extent | None]]]) -> tuple[Cid, Extent | None] | None:
    while open_links:
        following = next(open_links[-1], None)
        if following is not None:
            return following
        open_links.pop()
    return None
