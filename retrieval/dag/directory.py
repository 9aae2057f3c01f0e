"""UnixFS directories, whether one block or a trie of shards.

Whoever reads a directory sees names and links; which of the two layouts carries them shows only in the blocks that are loaded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final

from retrieval.cid import DAG_PB, Cid
from retrieval.dag import hamt, pb, unixfs
from retrieval.dag.block import codec_of
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


def list_entries(load: LoadBlock, cid: Cid) -> Iterator[PBLink]:
    """The entries of the directory ``cid``, as ``entries`` gives them. Raises ``RemoteProtocolError(malformed_block)`` if it is none."""
    if codec_of(cid) != DAG_PB:
        raise malformed("this is no directory")
    node, content = unixfs.decode_block(load(cid))
    if not content.is_directory:
        raise malformed("this is no directory")
    return entries(load, node.links, content)


def entries(load: LoadBlock, links: Sequence[PBLink], content: UnixfsNode) -> Iterator[PBLink]:
    """The entries of a directory, in the order of its blocks and as they are asked for; ``links`` and ``content`` are its root's.

    A link's name is the entry's, unchecked, and never None; its ``tsize`` a claim. Raises ``RemoteProtocolError(malformed_block)`` and
    what ``load`` raises.
    """
    if content.type is NodeType.HAMT_SHARD:
        yield from _Trie(load).entries(links, content, 0, 0)
    else:
        for link in links:
            yield PBLink(link.cid, link.name or b"", link.tsize)


class _Trie:
    """One sharded directory, read once. Each of its shards stands in one place, as its names' hashes say: a few blocks are a few visits."""

    def __init__(self, load: LoadBlock) -> None:
        self._load: Final = load
        self._shards: Final[set[Cid]] = set()

    def entries(self, links: Sequence[PBLink], content: UnixfsNode, level: int, hash_so_far: int) -> Iterator[PBLink]:
        """The entries below a shard. ``hash_so_far`` is how the hash of each of their names begins."""
        shard = hamt.read_shard(content)
        if level >= shard.levels_max:
            raise malformed("a directory's shards go deeper than its hash")
        slots_used = 0
        for link in links:
            name, slot = shard.entry_name(link), shard.slot_of(link)
            if slots_used >> slot & 1:
                raise malformed("a directory shard has two links in one slot")
            slots_used |= 1 << slot
            hash_here = hash_so_far << shard.bits | slot
            if name:
                if hamt.name_hash(name) >> (hamt.HASH_BITS - shard.bits * (level + 1)) != hash_here:
                    raise malformed(f"the entry {name[:64]!r} of a directory shard stands in another's slot")
                yield PBLink(link.cid, name, link.tsize)
            else:
                yield from self.entries(*self._shard(link.cid, content.fanout), level + 1, hash_here)

    def _shard(self, cid: Cid, fanout: int | None) -> tuple[Sequence[PBLink], UnixfsNode]:
        """A shard below the root."""
        if codec_of(cid) != DAG_PB:
            raise malformed("a directory shard leads to something else")
        if cid in self._shards:
            raise malformed("a directory has the same shard in two places")
        self._shards.add(cid)
        node, content = unixfs.decode_block(self._load(cid))
        if content.type is not NodeType.HAMT_SHARD:
            raise malformed("a directory shard leads to something else")
        if content.fanout != fanout:
            raise malformed("the shards of a directory differ in their fan-out")
        return node.links, content
