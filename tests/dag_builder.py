"""DAGs made by hand, as other software (or nobody sane) would make them."""

from __future__ import annotations

import hashlib

from retrieval.cid import DAG_PB, IDENTITY, RAW, Cid, cid_of
from retrieval.dag import pb, unixfs
from retrieval.dag.pb import PBLink
from retrieval.dag.protobuf import varint
from retrieval.dag.unixfs import NodeType, UnixfsNode
from retrieval.store.blocks import MemoryBlockStore


class Builder:
    """Puts nodes into a store and names them."""

    def __init__(self) -> None:
        self.store = MemoryBlockStore()

    def raw(self, payload: bytes) -> Cid:
        return self.block(RAW, payload)

    def block(self, codec: int, payload: bytes) -> Cid:
        return self._put(cid_of(codec, payload), payload)

    def node(self, data: bytes | None, *children: Cid | tuple[str | bytes, Cid], version: int = 1) -> Cid:
        """A dag-pb node over data and links; a child with a name is a pair."""
        links = [PBLink(child, b"", 0) if isinstance(child, bytes) else PBLink(child[1], _encoded(child[0]), 0) for child in children]
        block = pb.encode(links, data)
        cid = cid_of(DAG_PB, block) if version == 1 else Cid(b"\x12\x20" + hashlib.sha256(block).digest())
        return self._put(cid, block)

    def file(self, *children: Cid, sizes: tuple[int, ...] = (), data: bytes | None = None, version: int = 1) -> Cid:
        filesize = sum(sizes) + len(data or b"")
        message = UnixfsNode(type=NodeType.FILE, data=data, filesize=filesize, blocksizes=sizes)
        return self.node(unixfs.encode(message), *children, version=version)

    def directory(self, *entries: tuple[str | bytes, Cid]) -> Cid:
        return self.node(unixfs.encode(UnixfsNode(type=NodeType.DIRECTORY)), *entries)

    def shard(self, *entries: tuple[str | bytes, Cid], fanout: int = 256, hash_type: int = unixfs.MURMUR3_X64_64) -> Cid:
        """A shard whose links have these names as they stand, slots included."""
        return self.node(unixfs.encode(UnixfsNode(type=NodeType.HAMT_SHARD, data=b"", hash_type=hash_type, fanout=fanout)), *entries)

    def symlink(self, target: bytes | None) -> Cid:
        return self.node(unixfs.encode(UnixfsNode(type=NodeType.SYMLINK, data=target)))

    def _put(self, cid: Cid, payload: bytes) -> Cid:
        self.store.put_many([(cid, payload)])
        return cid


def identity(payload: bytes, codec: int = RAW) -> Cid:
    """A CID that carries ``payload``."""
    return Cid(b"\x01" + varint(codec) + bytes((IDENTITY, len(payload))) + payload)


def _encoded(name: str | bytes) -> bytes:
    return name.encode() if isinstance(name, str) else name
