"""UnixFS: what a dag-pb node's data says about files, directories and symlinks (ipfs/specs, "UnixFS").

The message stands in the data of a dag-pb node. Mode and mtime are understood and kept, never applied: a root CID should not depend
on the clock of whoever imported it. Unknown fields are skipped, as in the other readers, so that later additions stay readable.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache
from typing import Final

from retrieval.dag import pb
from retrieval.dag.protobuf import BYTES, FIXED32, VARINT, bytes_field, malformed, read_fields, read_varint, varint_field
from retrieval.errors import RemoteProtocolError

MURMUR3_X64_64: Final = 0x22  # multicodec of the only hash UnixFS directories use
HAMT_FANOUT_MAX: Final = 1024  # slots of a shard, as in boxo
REMEMBERED_SIZE_MIN: Final = 256  # bytes; the sizes of some sixty links
REMEMBERED_SIZE_MAX: Final = 16 << 10  # and of some three thousand
SYMLINK_TARGET_SIZE_MAX: Final = 4095  # bytes; PATH_MAX less its NUL

# Field numbers of Data and of its time.
_TYPE, _DATA, _FILESIZE, _BLOCKSIZES, _HASH_TYPE, _FANOUT, _MODE, _MTIME = range(1, 9)
_SECONDS, _NANOS = 1, 2


class NodeType(IntEnum):
    RAW = 0
    """File bytes in a dag-pb leaf: old importers."""
    DIRECTORY = 1
    FILE = 2
    METADATA = 3
    SYMLINK = 4
    HAMT_SHARD = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class UnixfsNode:
    """One UnixFS message; None is a field that is absent on the wire."""

    type: NodeType
    data: bytes | None = None
    filesize: int | None = None
    """Bytes of file below this node, its own included. A claim of whoever made the block."""
    blocksizes: tuple[int, ...] = ()
    """Bytes of file below each link, in the order of the links."""
    hash_type: int | None = None
    fanout: int | None = None
    mode: int | None = None
    mtime: tuple[int, int] | None = None
    """Seconds since 1970 and nanoseconds."""

    @property
    def is_file(self) -> bool:
        return self.type in (NodeType.FILE, NodeType.RAW)

    @property
    def is_directory(self) -> bool:
        return self.type in (NodeType.DIRECTORY, NodeType.HAMT_SHARD)


def encode(node: UnixfsNode) -> bytes:
    """The message in the form every importer writes: fields by number, block sizes unpacked."""
    out = [varint_field(_TYPE, node.type)]
    if node.data is not None:
        out.append(bytes_field(_DATA, node.data))
    if node.filesize is not None:
        out.append(varint_field(_FILESIZE, node.filesize))
    out.extend(varint_field(_BLOCKSIZES, size) for size in node.blocksizes)
    if node.hash_type is not None:
        out.append(varint_field(_HASH_TYPE, node.hash_type))
    if node.fanout is not None:
        out.append(varint_field(_FANOUT, node.fanout))
    if node.mode is not None:
        out.append(varint_field(_MODE, node.mode))
    if node.mtime is not None:
        seconds, nanos = node.mtime
        time = varint_field(_SECONDS, seconds & (1 << 64) - 1)
        if nanos:
            time += bytes((_NANOS << 3 | FIXED32,)) + nanos.to_bytes(4, "little")
        out.append(bytes_field(_MTIME, time))
    return b"".join(out)


def decode(message: bytes) -> UnixfsNode:
    """Read a UnixFS message, remembered as dag-pb's nodes are. Raises ``RemoteProtocolError(malformed_block)``."""
    return _decode_remembered(message) if REMEMBERED_SIZE_MIN <= len(message) <= REMEMBERED_SIZE_MAX else _decode(message)


def _decode(message: bytes) -> UnixfsNode:
    numbers: dict[int, int] = {}
    data: bytes | None = None
    blocksizes: list[int] = []
    mtime: tuple[int, int] | None = None
    for number, wire_type, a, b in read_fields(message, 0, len(message)):
        if number > _MTIME:
            continue
        if number == _BLOCKSIZES:
            blocksizes.extend(_blocksizes(message, wire_type, a, b))
            if len(blocksizes) > pb.NODE_LINKS_MAX:
                raise malformed(f"a node has more than {pb.NODE_LINKS_MAX} block sizes")
        elif number in (_DATA, _MTIME):
            if wire_type != BYTES:
                raise malformed(f"UnixFS field {number} has wire type {wire_type}")
            if number == _DATA:
                data = message[a:b]
            else:
                mtime = _decode_mtime(message, a, b)
        else:
            if wire_type != VARINT:
                raise malformed(f"UnixFS field {number} has wire type {wire_type}")
            numbers[number] = a  # a repeated field: the last one counts, as protobuf says
    if _TYPE not in numbers:
        raise malformed("a UnixFS node has no type")
    if numbers[_TYPE] not in NodeType._value2member_map_:
        raise malformed(f"UnixFS type {numbers[_TYPE]} is unknown")
    return UnixfsNode(
        type=NodeType(numbers[_TYPE]),
        data=data,
        filesize=numbers.get(_FILESIZE),
        blocksizes=tuple(blocksizes),
        hash_type=numbers.get(_HASH_TYPE),
        fanout=numbers.get(_FANOUT),
        mode=numbers.get(_MODE),
        mtime=mtime,
    )


_decode_remembered: Final = lru_cache(pb.REMEMBERED_MAX)(_decode)


def decode_any(message: bytes | None) -> UnixfsNode | None:
    """Read a node's data as UnixFS, or None where it is something else: dag-pb also carries other formats, which is no fault."""
    try:
        return None if message is None else decode(message)
    except RemoteProtocolError:
        return None


def decode_block(block: bytes) -> tuple[pb.PBNode, UnixfsNode]:
    """Read a dag-pb block that must hold UnixFS. Raises ``RemoteProtocolError(malformed_block)``."""
    node = pb.decode(block)
    if node.data is None:
        raise malformed("the node holds no UnixFS data")
    return node, decode(node.data)


def _blocksizes(message: bytes, wire_type: int, a: int, b: int) -> Iterator[int]:
    """Block sizes one by one as every importer writes them, or packed, as protobuf lets a writer choose."""
    if wire_type == VARINT:
        yield a
    elif wire_type == BYTES:
        while a < b:
            value, a = read_varint(message, a, b)
            yield value
    else:
        raise malformed(f"UnixFS block sizes have wire type {wire_type}")


def _decode_mtime(message: bytes, start: int, end: int) -> tuple[int, int]:
    seconds = nanos = 0
    for number, wire_type, a, b in read_fields(message, start, end):
        if number == _SECONDS and wire_type == VARINT:
            seconds = a - (1 << 64) if a >> 63 else a  # an int64 below zero is written as its two's complement
        elif number == _NANOS and wire_type == FIXED32:
            nanos = int.from_bytes(message[a:b], "little")
    return seconds, nanos
