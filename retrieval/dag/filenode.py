"""A node of a UnixFS file: the bytes it holds itself, and which bytes are below each of its links.

Any layout is read: raw leaves, dag-pb leaves, data in interior nodes, balanced and trickle trees. A node's own bytes come before those
of its links (ipfs/specs, "UnixFS").
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from retrieval.cid import DAG_PB, RAW, Cid
from retrieval.dag import pb, unixfs
from retrieval.dag.block import codec_of
from retrieval.dag.links import Extent
from retrieval.dag.pb import PBLink
from retrieval.dag.protobuf import malformed
from retrieval.dag.unixfs import UnixfsNode


@dataclass(frozen=True, slots=True, kw_only=True)
class FileNode:
    """One block of a file."""

    own_bytes: bytes
    links: tuple[PBLink, ...] = ()
    link_sizes: tuple[int, ...] = ()
    """File bytes below each link, as the node claims."""
    size: int
    """File bytes of the node and all below it, as it claims."""

    def extents(self, start: int = 0) -> Iterator[tuple[PBLink, Extent]]:
        """Each link with the place of what is below it, in a file where this node begins at ``start``.

        Raises ``RemoteProtocolError(malformed_block)`` when the node's sizes contradict each other.
        """
        if len(self.link_sizes) != len(self.links):
            raise malformed(f"a file's node has {len(self.links)} links and {len(self.link_sizes)} block sizes")
        at = start + len(self.own_bytes)
        if sum(self.link_sizes) != start + self.size - at:
            raise malformed(f"the block sizes of a file's node do not add up to the {self.size} bytes it claims")
        for link, size in zip(self.links, self.link_sizes, strict=True):
            yield link, Extent(at, size)
            at += size


def read_file_node(cid: Cid, payload: bytes) -> FileNode:
    """A block of a file. Raises ``RemoteProtocolError(malformed_block)`` when it is no part of one."""
    codec = codec_of(cid)
    if codec == RAW:
        return FileNode(own_bytes=payload, size=len(payload))
    if codec == DAG_PB:
        node = pb.decode(payload)
        content = unixfs.decode_any(node.data)
        if content is not None and content.is_file:
            return file_node(node, content)
    raise malformed("a file contains something that is no file")


def file_node(node: pb.PBNode, content: UnixfsNode) -> FileNode:
    """The part of a file that a dag-pb node holds."""
    assert content.is_file
    own_bytes = content.data or b""
    size = content.filesize if content.filesize is not None else len(own_bytes) + sum(content.blocksizes)
    return FileNode(own_bytes=own_bytes, links=node.links, link_sizes=content.blocksizes, size=size)
