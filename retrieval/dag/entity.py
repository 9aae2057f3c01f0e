"""What belongs to the one thing a path leads to: a file or a part of it, or a directory without its entries (IPIP-402, ``entity``).

Of a file every block is needed, or those that hold bytes of the range and the nodes above them; of a sharded directory every shard; of
anything else the one block.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from retrieval.cid import DAG_PB, Cid
from retrieval.dag import hamt, pb, unixfs
from retrieval.dag.block import BlockKind, codec_of, kind_of
from retrieval.dag.byterange import ByteRange
from retrieval.dag.filenode import FileNode, file_node, read_file_node
from retrieval.dag.links import Extent, PendingLink, links_of
from retrieval.dag.pb import PBLink
from retrieval.dag.protobuf import malformed
from retrieval.dag.unixfs import NodeType, UnixfsNode
from retrieval.errors import ErrorCode, RemoteProtocolError
from retrieval.wire.messages import BLOCK_SIZE_MAX

CUT_LINKS_MAX: Final = 1 << 20
"""Links remembered of nodes that lie across an end of the range: two nodes a level, each of at most ``pb.NODE_LINKS_MAX``."""
CUT_BYTES_MAX: Final = 8 * BLOCK_SIZE_MAX
"""Unwanted bytes in blocks that the ends of a range run through: a leaf at both ends, and three nodes above each that hold bytes too."""


class Entity:
    """The links of one entity, node by node in depth-first order. Its methods raise ``RemoteProtocolError(malformed_block)``."""

    def __init__(self, byte_range: ByteRange | None) -> None:
        self._byte_range: Final = byte_range
        self._links: Callable[[PendingLink, bytes], list[PendingLink]] = self._begin
        self._part: _FilePart | None = None

    def links(self, link: PendingLink, payload: bytes) -> list[PendingLink]:
        """Those links of a node that has come which belong to the entity."""
        return self._links(link, payload)

    @property
    def is_whole(self) -> bool:
        """Whether it is a file of which everything is wanted, known once its first block has come."""
        return self._links is _all

    def was_cut(self, cid: Cid) -> bool:
        """Whether ``links_again`` may give links."""
        return self._part is not None and self._part.was_cut(cid)

    def links_again(self, link: PendingLink) -> list[PendingLink]:
        """The same of a block that has come before and is met again: none when all that belongs to it has come too."""
        return self._part.links_again(link) if self._part is not None else []

    def _begin(self, terminal: PendingLink, payload: bytes) -> list[PendingLink]:
        """The terminal block says what the entity is."""
        if codec_of(terminal.cid) != DAG_PB:
            return []
        node = pb.decode(payload)
        content = unixfs.decode_any(node.data)
        if content is None:
            return []
        if content.type is NodeType.HAMT_SHARD:
            self._links = _shards
            return _shard_links(node, content)
        return self._begin_file(terminal, payload, file_node(node, content)) if content.is_file else []

    def _begin_file(self, terminal: PendingLink, payload: bytes, root: FileNode) -> list[PendingLink]:
        if self._byte_range is not None:
            start, stop = self._byte_range.resolve(root.size)
            if start == stop:
                return []
            if stop - start < root.size:
                self._part = _FilePart(Extent(start, stop - start))
                self._links = self._part.links
                return self._part.links(terminal._replace(extent=Extent(0, root.size)), payload)
        self._links = _all
        return _all(terminal, payload)


class _FilePart:
    """The links of a file that lead to bytes of one part.

    A link has an extent where an end of the part cuts what is below it; else all that is below it is wanted. A file can hold one node
    several times, first cut by the beginning of the part and then whole, so the links of nodes that were cut are remembered.
    """

    def __init__(self, part: Extent) -> None:
        self._part: Final = part
        self._cut: dict[Cid, FileNode] = {}
        self._n_cut_links = 0

    def links(self, link: PendingLink, payload: bytes) -> list[PendingLink]:
        """Those of a node that has come."""
        if link.extent is None:
            return _all(link, payload)
        node = read_file_node(link.cid, payload)
        if link.kind is BlockKind.NODE:
            self._n_cut_links += len(node.links)
            if self._n_cut_links > CUT_LINKS_MAX:
                raise RemoteProtocolError(ErrorCode.DAG_TOO_LARGE, f"nodes cut by a range have more than {CUT_LINKS_MAX} links")
            self._cut[link.cid] = node
        return self._wanted(node, link.extent)

    def was_cut(self, cid: Cid) -> bool:
        return cid in self._cut

    def links_again(self, link: PendingLink) -> list[PendingLink]:
        """Those of a node that came before."""
        cut = self._cut.get(link.cid)
        if cut is None:
            return []
        if link.extent is not None:
            return self._wanted(cut, link.extent)
        self._n_cut_links -= len(cut.links)
        del self._cut[link.cid]
        return [_pending(link) for link in cut.links]

    def _wanted(self, node: FileNode, extent: Extent) -> list[PendingLink]:
        """The links of a node at this place of the file that lead to bytes of the part."""
        if node.size != extent.size:
            raise malformed(f"a file's node claims {node.size} bytes, the one above it {extent.size}")
        wanted: list[PendingLink] = []
        for link, below in node.extents(extent.start):
            if below.overlaps(self._part):
                wanted.append(_pending(link) if self._part.holds(below) else self._cut_link(_pending(link), below))
        return wanted

    def _cut_link(self, link: PendingLink, below: Extent) -> PendingLink:
        """A link with less below it than its node claims: what is unwanted stays away, but for the blocks that an end runs through."""
        unwanted_bytes = below.size - (min(below.stop, self._part.stop) - max(below.start, self._part.start))
        tsize = None if link.tsize is None else min(link.tsize, max(0, link.tsize - unwanted_bytes) + CUT_BYTES_MAX)
        return link._replace(extent=below, tsize=tsize)


def _pending(link: PBLink) -> PendingLink:
    return PendingLink(link.cid, kind_of(link.cid), link.tsize)


def _all(link: PendingLink, payload: bytes) -> list[PendingLink]:
    return links_of(link.cid, payload)


def _shards(link: PendingLink, payload: bytes) -> list[PendingLink]:
    node, content = unixfs.decode_block(payload)
    if content.type is not NodeType.HAMT_SHARD:
        raise malformed("a directory shard leads to something else")
    return _shard_links(node, content)


def _shard_links(node: pb.PBNode, content: UnixfsNode) -> list[PendingLink]:
    """The links to further shards."""
    shard = hamt.read_shard(content)
    links = [PendingLink(link.cid, kind_of(link.cid), link.tsize) for link in node.links if not shard.entry_name(link)]
    if any(codec_of(link.cid) != DAG_PB for link in links):
        raise malformed("a directory shard leads to something else")
    return links
