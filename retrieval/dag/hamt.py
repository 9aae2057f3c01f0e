"""The hash trie behind large UnixFS directories (ipfs/specs, "UnixFS", HAMTDirectory).

A name's murmur3-x64-64 hash, read as a big-endian number from its top bits, gives one slot a level. A link is named after its slot in
upper-case hexadecimal; the entry's own name follows, and when nothing follows the link leads to a shard one level further down.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import mmh3

from retrieval.dag.pb import PBLink, PBNode
from retrieval.dag.protobuf import malformed
from retrieval.dag.unixfs import HAMT_FANOUT_MAX, MURMUR3_X64_64, NodeType, UnixfsNode
from retrieval.errors import ErrorCode, LocalProtocolError

HASH_BITS: Final = 64
_HASH_MASK: Final = (1 << HASH_BITS) - 1
_FANOUT_MIN: Final = 8  # the bitfield counts whole bytes
_SLOT: Final = re.compile(rb"[0-9A-F]+")


@dataclass(frozen=True, slots=True)
class Shard:
    """How one shard numbers its slots."""

    fanout: int

    @property
    def bits(self) -> int:
        """Bits of the hash that one level consumes."""
        return self.fanout.bit_length() - 1

    @property
    def prefix_size(self) -> int:
        """Hexadecimal digits that stand before each name."""
        return len(f"{self.fanout - 1:X}")

    @property
    def levels_max(self) -> int:
        return HASH_BITS // self.bits

    def slot(self, name: bytes, level: int) -> int:
        """The slot of ``name`` in a shard ``level`` steps below the directory's root."""
        shift = HASH_BITS - self.bits * (level + 1)
        return (name_hash(name) >> shift) & (self.fanout - 1)

    def prefix(self, slot: int) -> bytes:
        return f"{slot:0{self.prefix_size}X}".encode()

    def slot_of(self, link: PBLink) -> int:
        """The slot a link stands in, as its name says. Raises ``RemoteProtocolError(malformed_block)``."""
        prefix = (link.name or b"")[: self.prefix_size]
        if _SLOT.fullmatch(prefix) is None or (slot := int(prefix, 16)) >= self.fanout:
            raise malformed("a link of a directory shard has no slot")
        return slot

    def entry_name(self, link: PBLink) -> bytes:
        """The directory entry's name that a link carries; empty when the link leads to another shard."""
        if link.name is None or len(link.name) < self.prefix_size:
            raise malformed("a link of a directory shard has no slot")
        return link.name[self.prefix_size :]


def name_hash(name: bytes) -> int:
    hashed: int = mmh3.hash64(name)[0]  # seed 0; a signed integer
    return hashed & _HASH_MASK


def read_shard(unixfs: UnixfsNode) -> Shard:
    """The numbering of a shard. Raises ``RemoteProtocolError(malformed_block)`` for a hash or fan-out nobody uses."""
    assert unixfs.type is NodeType.HAMT_SHARD
    fanout = unixfs.fanout or 0
    if unixfs.hash_type != MURMUR3_X64_64:
        raise malformed(f"a directory shard uses hash {unixfs.hash_type}")
    if not _FANOUT_MIN <= fanout <= HAMT_FANOUT_MAX or fanout & (fanout - 1):
        raise malformed(f"a directory shard has a fan-out of {fanout}")
    return Shard(fanout)


def find(node: PBNode, shard: Shard, name: bytes, level: int) -> PBLink | None:
    """The link to follow for ``name``: to the entry, or (when its ``entry_name`` is empty) to the next shard."""
    if level >= shard.levels_max:
        raise malformed("a directory's shards go deeper than its hash")
    prefix = shard.prefix(shard.slot(name, level))
    wanted = (prefix, prefix + name)
    return next((link for link in node.links if link.name in wanted), None)


def group_by_slot(links: Iterable[PBLink], shard: Shard, level: int) -> dict[int, list[PBLink]]:
    """Entries by their slot at one level. Raises ``LocalProtocolError(dag_too_large)`` when names collide in all their bits."""
    if level >= shard.levels_max:
        raise LocalProtocolError(ErrorCode.DAG_TOO_LARGE, "two names of a directory have the same murmur3 hash")
    slots: dict[int, list[PBLink]] = {}
    for link in links:
        assert link.name is not None
        slots.setdefault(shard.slot(link.name, level), []).append(link)
    return slots


def bitfield(slots: Iterable[int]) -> bytes:
    """The used slots as a big-endian number without leading zero bytes."""
    used = 0
    for slot in slots:
        used |= 1 << slot
    return used.to_bytes((used.bit_length() + 7) // 8, "big")
