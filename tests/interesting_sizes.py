"""Sizes of blocks and files at which something changes, and what changes there."""

from __future__ import annotations

from typing import Final

KIB: Final = 1 << 10
MIB: Final = 1 << 20

INTERESTING_SIZES: Final[dict[int, str]] = {
    0: "an empty block is a block",
    1: "the smallest payload",
    36: "as long as a CIDv1, so that the two can be taken for each other",
    127: "the longest length that fits one uvarint byte",
    128: "the shortest that needs two",
    4_036: "a payload that with its head in a segment fills one page",
    4_037: "one byte more, which takes a second page",
    16_383: "the longest length that fits two uvarint bytes",
    16_384: "the shortest that needs three",
    65_474: "the longest that a segment takes through the page cache, put alone",
    65_475: "one byte more, which is written past it",
    64 * KIB: "the control frame limit",
    256 * KIB: "the chunk size of older UnixFS profiles",
    MIB - 1: "a last leaf one byte short of a chunk",
    MIB: "the chunk size of unixfs-v1-2025",
    MIB + 1: "a file whose second leaf is one byte",
    2 * MIB: "the block limit",
}
"""Size in bytes → why it is here."""
