"""What a block links to, whatever its codec, in the order in which links are followed: that of the node, or of the document."""

from __future__ import annotations

from typing import NamedTuple

from retrieval.cid import DAG_CBOR, DAG_JSON, DAG_PB, Cid
from retrieval.dag import dag_cbor, dag_json, pb
from retrieval.dag.block import BlockKind, codec_of, kind_of
from retrieval.dag.datamodel import Value, links_in


class Extent(NamedTuple):
    """A stretch of a file."""

    start: int
    size: int

    @property
    def stop(self) -> int:
        return self.start + self.size

    def overlaps(self, other: Extent) -> bool:
        """Whether they have a byte in common."""
        return self.size > 0 and other.size > 0 and self.start < other.stop and other.start < self.stop

    def holds(self, other: Extent) -> bool:
        """Whether all of the other lies in this one."""
        return self.start <= other.start and other.stop <= self.stop


class PendingLink(NamedTuple):
    """A link that has been read and not yet followed. (A tuple: one is made for each block delivered.)"""

    cid: Cid
    kind: BlockKind
    tsize: int | None
    """Bytes of the blocks that are wanted from here on down, as claimed."""
    extent: Extent | None = None
    """Where the bytes below it lie in their file, when only some of them are wanted; None when all are."""


def links_of(cid: Cid, payload: bytes) -> list[PendingLink]:
    """All links of a node or document. Raises ``RemoteProtocolError`` (``malformed_block``, ``unsupported_codec``)."""
    if codec_of(cid) == DAG_PB:
        return [PendingLink(link.cid, kind_of(link.cid), link.tsize) for link in pb.decode(payload).links]
    return links_of_value(document(cid, payload))


def cids_of(cid: Cid, payload: bytes) -> list[Cid]:
    """What a node or document links to, whether it can be walked or not. Raises ``RemoteProtocolError(malformed_block)``."""
    if codec_of(cid) == DAG_PB:
        return [link.cid for link in pb.decode(payload).links]
    return [link.cid for link in links_in(document(cid, payload))]


def links_of_value(value: Value) -> list[PendingLink]:
    """The links of a document, or of a part of one. They claim no sizes. Raises ``RemoteProtocolError(unsupported_codec)``."""
    return [PendingLink(link.cid, kind_of(link.cid), None) for link in links_in(value)]


def document(cid: Cid, payload: bytes) -> Value:
    """What a DAG-CBOR or DAG-JSON block holds. Raises ``RemoteProtocolError(malformed_block)``."""
    codec = codec_of(cid)
    assert codec in (DAG_CBOR, DAG_JSON)
    return dag_cbor.decode(payload) if codec == DAG_CBOR else dag_json.decode(payload)
