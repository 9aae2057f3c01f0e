"""dag-pb: the codec of nodes with named, sized links (ipld/specs, "DAG-PB").

``encode`` writes the one canonical form: links before data on the wire, links sorted by the bytes of their names, equal names in
the order given. ``decode`` takes every form the specification allows and refuses the rest with
``RemoteProtocolError(malformed_block)``: unknown fields, a link without a CID, fields of a link out of order or twice, data between
links. The names of links stay bytes: file systems do not promise UTF-8, and neither do other importers.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from retrieval import _native
from retrieval.cid import CID_SIZE_MAX, Cid
from retrieval.dag.protobuf import BYTES, VARINT, bytes_field, malformed, read_varint, varint, varint_field
from retrieval.wire.messages import BLOCK_SIZE_MAX

NODE_LINKS_MAX: Final = 1 << 16  # links of one node; 2 MiB hold 61,000 of the smallest sha2-256 links
LINK_NAME_SIZE_MAX: Final = 1024  # bytes; file systems stop at 255, a HAMT shard puts a few before that
TSIZE_MAX: Final = (1 << 63) - 1
REMEMBERED_MAX: Final = 16  # nodes, of which each takes up to 2 MB
REMEMBERED_SIZE_MIN: Final = 4 << 10
REMEMBERED_SIZE_MAX: Final = 128 << 10
"""Bytes of a node worth remembering: reading a thousand links takes 3 ms. The root of a file of 2 GiB in chunks of 1 MiB has 104 KiB."""

# Field numbers of PBNode and PBLink.
_NODE_DATA, _NODE_LINKS = 1, 2
_LINK_HASH, _LINK_NAME, _LINK_TSIZE = 1, 2, 3


@dataclass(frozen=True, slots=True)
class PBLink:
    """One link. A name or size that is absent on the wire is None, which encodes differently from an empty or zero one."""

    cid: Cid
    name: bytes | None = b""
    tsize: int | None = 0
    """Cumulative size in bytes of what is linked, every repetition counted. A claim of whoever made the block."""


@dataclass(frozen=True, slots=True)
class PBNode:
    links: tuple[PBLink, ...] = ()
    data: bytes | None = None


def encode(links: Iterable[PBLink], data: bytes | None) -> bytes:
    """The canonical block of a node."""
    out = [bytes_field(_NODE_LINKS, encode_link(link)) for link in sorted(links, key=_name)]
    if data is not None:
        out.append(bytes_field(_NODE_DATA, data))
    return b"".join(out)


def encode_link(link: PBLink) -> bytes:
    """A PBLink message without the head that stands before it in a node."""
    out = bytes_field(_LINK_HASH, link.cid)
    if link.name is not None:
        out += bytes_field(_LINK_NAME, link.name)
    if link.tsize is not None:
        out += varint_field(_LINK_TSIZE, link.tsize)
    return out


def encoded_link_size(link: PBLink) -> int:
    """Bytes that the link adds to its node's block."""
    size = len(encode_link(link))
    return 1 + len(varint(size)) + size


def decode(block: bytes) -> PBNode:
    """Read a dag-pb block. Raises ``RemoteProtocolError(malformed_block)``.

    What was read last is remembered: who sends or fetches a file in parts comes back to its upper nodes for each of them.
    """
    return _decode_remembered(block) if REMEMBERED_SIZE_MIN <= len(block) <= REMEMBERED_SIZE_MAX else _decode(block)


def _decode(block: bytes) -> PBNode:
    end = len(block)
    if end > BLOCK_SIZE_MAX:
        raise malformed(f"a node of {end} bytes is above the limit of {BLOCK_SIZE_MAX}")
    links: list[PBLink] = []
    data: bytes | None = None
    links_ended = False
    at = 0
    while at < end:
        key, at = read_varint(block, at, end)
        number, wire_type = key >> 3, key & 7
        if wire_type != BYTES or number not in (_NODE_DATA, _NODE_LINKS):
            raise malformed(f"a PBNode has no field {number} of wire type {wire_type}")
        size, at = read_varint(block, at, end)
        if size > end - at:
            raise malformed("a field of the node is cut short")
        if number == _NODE_LINKS:
            if links_ended:
                raise malformed("data stands between links")
            if len(links) == NODE_LINKS_MAX:
                raise malformed(f"a node has more than {NODE_LINKS_MAX} links")
            links.append(_decode_link(block, at, at + size))
        else:
            if data is not None:
                raise malformed("the node has two data fields")
            data = block[at : at + size]
            links_ended = bool(links)  # data may come first or last, never in between
        at += size
    return PBNode(tuple(links), data)


_decode_remembered: Final = lru_cache(REMEMBERED_MAX)(_decode)


def _decode_link(block: bytes, at: int, end: int) -> PBLink:
    cid: Cid | None = None
    name: bytes | None = None
    tsize: int | None = None
    last_number = 0
    while at < end:
        key, at = read_varint(block, at, end)
        number, wire_type = key >> 3, key & 7
        if number <= last_number:
            raise malformed("the fields of a link are repeated or out of order")
        last_number = number
        value, at = read_varint(block, at, end)
        if number == _LINK_TSIZE and wire_type == VARINT:
            if value > TSIZE_MAX:
                raise malformed("the size of a link is above 63 bits")
            tsize = value
            continue
        if wire_type != BYTES or number not in (_LINK_HASH, _LINK_NAME):
            raise malformed(f"a PBLink has no field {number} of wire type {wire_type}")
        if value > end - at:
            raise malformed("a field of a link is cut short")
        if number == _LINK_HASH:
            cid = _checked_cid(block[at : at + value])
        else:
            if value > LINK_NAME_SIZE_MAX:
                raise malformed(f"the name of a link has {value} bytes")
            name = block[at : at + value]
        at += value
    if cid is None:
        raise malformed("a link has no CID")
    return PBLink(cid, name, tsize)


def _checked_cid(cid: bytes) -> Cid:
    if len(cid) > CID_SIZE_MAX:
        raise malformed(f"the CID of a link has {len(cid)} bytes")
    try:
        end = _native.parse_cid(cid, 0)[4]
    except ValueError as error:
        raise malformed(f"the CID of a link: {error}") from error
    if end != len(cid):
        raise malformed("bytes follow the CID of a link")
    return Cid(cid)


def _name(link: PBLink) -> bytes:
    return link.name or b""
