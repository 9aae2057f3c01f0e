"""UnixFS directories, whether one block or a trie of shards.

Whoever reads a directory sees names and links; which of the two layouts carries them shows only in the blocks that are loaded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final

from retrieval.cid import DAG_PB, Cid
from retrieval.dag import hamt, pb, unixfs
from retrieval.dag.hamt import Shard
from retrieval.dag.pb import PBLink, PBNode
from retrieval.dag.protobuf import malformed
from retrieval.dag.unixfs import NodeType, UnixfsNode

_SHARD: Final = Shard(256)
_DIRECTORY_DATA: Final = unixfs.encode(UnixfsNode(type=NodeType.DIRECTORY))

PutBlock = Callable[[int, bytes], Cid]
"""Stores a block of this codec and names it."""
LoadBlock = Callable[[Cid], bytes]
"""Fetches a block's payload, or raises."""


def build(links: Sequence[PBLink], put: PutBlock, block_bytes_max: int) -> PBLink:
    """Store a directory of these entries, sharded where one block would be above ``block_bytes_max`` (IPIP-499, ``block-bytes``).

    Returns the nameless link to it, with its cumulative size.
    """
    size = len(pb.encode((), _DIRECTORY_DATA))
    for link in links:
        size += pb.encoded_link_size(link)
        if size > block_bytes_max:
            return _build_shard(links, 0, put)
    return _put_node(pb.encode(links, _DIRECTORY_DATA), links, put)


def _build_shard(entries: Sequence[PBLink], level: int, put: PutBlock) -> PBLink:
    links: list[PBLink] = []
    slots = hamt.group_by_slot(entries, _SHARD, level)
    for slot, members in slots.items():
        if len(members) == 1:
            only = members[0]
            assert only.name is not None
            links.append(PBLink(only.cid, _SHARD.prefix(slot) + only.name, only.tsize))
        else:
            below = _build_shard(members, level + 1, put)
            links.append(PBLink(below.cid, _SHARD.prefix(slot), below.tsize))
    data = unixfs.encode(
        UnixfsNode(type=NodeType.HAMT_SHARD, data=hamt.bitfield(slots), hash_type=unixfs.MURMUR3_X64_64, fanout=_SHARD.fanout)
    )
    return _put_node(pb.encode(links, data), links, put)


def _put_node(block: bytes, links: Sequence[PBLink], put: PutBlock) -> PBLink:
    return PBLink(put(DAG_PB, block), b"", len(block) + sum(link.tsize or 0 for link in links))


def find(node: PBNode, name: bytes, level: int) -> tuple[PBLink, bool] | None:
    """Look ``name`` up in one block of a directory, ``level`` shards below its root.

    Returns the link and whether it leads to the entry (else to the next shard); None when the name is not there or the node is no
    directory. Raises ``RemoteProtocolError(malformed_block)``.
    """
    content = unixfs.decode_any(node.data)
    if content is None:
        return None
    if content.type is NodeType.DIRECTORY and level == 0:
        link = next((link for link in node.links if link.name == name), None)
        return None if link is None else (link, True)
    if content.type is NodeType.HAMT_SHARD:
        shard = hamt.read_shard(content)
        link = hamt.find(node, shard, name, level)
        return None if link is None else (link, bool(shard.entry_name(link)))
    return None


def entries(load: LoadBlock, links: Sequence[PBLink], content: UnixfsNode) -> Iterator[tuple[bytes, Cid]]:
    """The names of a directory with what they lead to, in the order of its blocks; ``links`` and ``content`` are its root's.

    Names are as the blocks say, unchecked. Raises ``RemoteProtocolError(malformed_block)`` and what ``load`` raises.
    """
    if content.type is NodeType.HAMT_SHARD:
        yield from _shard_entries(load, links, content, 0)
    else:
        for link in links:
            yield link.name or b"", link.cid


def _shard_entries(load: LoadBlock, links: Sequence[PBLink], content: UnixfsNode, level: int) -> Iterator[tuple[bytes, Cid]]:
    shard = hamt.read_shard(content)
    if level >= shard.levels_max:
        raise malformed("a directory's shards go deeper than its hash")
    for link in links:
        name = shard.entry_name(link)
        if name:
            yield name, link.cid
            continue
        below, below_content = unixfs.decode_block(load(link.cid))
        if below_content.type is not NodeType.HAMT_SHARD:
            raise malformed("a directory shard leads to something else")
        yield from _shard_entries(load, below.links, below_content, level + 1)
