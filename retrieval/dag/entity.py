"""What belongs to the one thing a path leads to: a file or a part of it, or a directory without its entries (IPIP-402, ``entity``).

Of a file every block is needed, or those that hold bytes of the range and the nodes above them; of a sharded directory every shard; of
anything else the one block.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from retrieval.cid import DAG_PB, Cid
from retrieval.dag import hamt, pb, unixfs
from retrieval.dag.block import BlockKind, codec_of, kind_of
from retrieval.dag.byterange import ByteRange
from retrieval.dag.filenode import FileNode, file_node, read_file_node
from retrieval.dag.links import Extent, PendingLink, links_of
from retrieval.dag.protobuf import malformed
from retrieval.dag.unixfs import NodeType, UnixfsNode
from retrieval.errors import ErrorCode, RemoteProtocolError

CUT_LINKS_MAX: Final = 1 << 20
"""Links remembered of nodes that lie across an end of the range: two nodes a level, each of at most ``pb.NODE_LINKS_MAX``."""


class Entity:
    """The links of one entity, node by node in depth-first order. Its methods raise ``RemoteProtocolError(malformed_block)``."""

    def __init__(self, byte_range: ByteRange | None) -> None:
        self._byte_range: Final = byte_range
        self._links: Callable[[PendingLink, bytes], list[PendingLink]] = self._begin
        self._part = Extent(0, 0)
        self._cut: dict[Cid, tuple[int, list[PendingLink]]] = {}
        """The size and links of nodes that were passed with less than all below them, relative to their beginning."""
        self._n_cut_links = 0

    def links(self, link: PendingLink, payload: bytes) -> list[PendingLink]:
        """Those of a node that has come, its own entity's only."""
        return self._links(link, payload)

    def links_again(self, link: PendingLink) -> list[PendingLink]:
        """Those of a block that has come before and is met again: none when all that belongs to it has come too.

        A file can hold one node twice, the first time cut by the beginning of the range and then whole.
        """
        if link.cid not in self._cut:
            return []
        assert link.extent is not None
        size, links = self._cut[link.cid]
        _check_size(size, link.extent)
        if self._part.holds(link.extent):
            self._n_cut_links -= len(links)
            del self._cut[link.cid]
        return self._select(links, link.extent.start)

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

    def _begin_file(self, terminal: PendingLink, payload: bytes, node: FileNode) -> list[PendingLink]:
        start, stop = (0, node.size) if self._byte_range is None else self._byte_range.resolve(node.size)
        if (start, stop) == (0, node.size):
            self._links = _all
            return _all(terminal, payload)
        if start == stop:
            return []
        self._part = Extent(start, stop - start)
        self._links = self._file_links
        return self._links_of_file_node(terminal._replace(extent=Extent(0, node.size)), node)

    def _file_links(self, link: PendingLink, payload: bytes) -> list[PendingLink]:
        return self._links_of_file_node(link, read_file_node(link.cid, payload))

    def _links_of_file_node(self, link: PendingLink, node: FileNode) -> list[PendingLink]:
        assert link.extent is not None
        _check_size(node.size, link.extent)
        links = [PendingLink(below.cid, kind_of(below.cid), below.tsize, extent) for below, extent in node.extents(0)]
        if link.kind is BlockKind.NODE and not self._part.holds(link.extent):
            self._remember(link.cid, node.size, links)
        return self._select(links, link.extent.start)

    def _remember(self, cid: Cid, size: int, links: list[PendingLink]) -> None:
        self._n_cut_links += len(links)
        if self._n_cut_links > CUT_LINKS_MAX:
            raise RemoteProtocolError(ErrorCode.DAG_TOO_LARGE, f"nodes across the ends of a range have more than {CUT_LINKS_MAX} links")
        self._cut[cid] = (size, links)

    def _select(self, links: Sequence[PendingLink], start: int) -> list[PendingLink]:
        """The links with bytes of the range below them, their node beginning at ``start`` of the file."""
        selected: list[PendingLink] = []
        for link in links:
            assert link.extent is not None
            extent = Extent(start + link.extent.start, link.extent.size)
            if extent.overlaps(self._part):
                selected.append(link._replace(extent=extent))
        return selected


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


def _check_size(size: int, extent: Extent) -> None:
    if size != extent.size:
        raise malformed(f"a file's node claims {size} bytes, the one above it {extent.size}")
