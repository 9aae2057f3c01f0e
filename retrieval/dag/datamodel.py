"""Documents as values: what a path leads to inside one, and what it links to (ipld/specs, "Data Model").

A document is a tree of maps and lists whose leaves are scalars, bytes or links. ``dag_cbor`` and ``dag_json`` read blocks into it; what
both formats share is here, their limits too, since both sides of a deal must agree on what is too large.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from retrieval import _native
from retrieval.cid import CID_SIZE_MAX, Cid
from retrieval.dag.protobuf import malformed

DEPTH_MAX: Final = 128  # maps and lists inside each other; a reader takes two Python frames for each
VALUES_MAX: Final = 1 << 17
"""Values of one document, map keys not counted: decoding the largest takes about a tenth of a second."""

Value: TypeAlias = Any
"""None, bool, int, float, str, bytes, ``Link``, list of values, or dict of str to value."""


@dataclass(frozen=True, slots=True)
class Link:
    """A link to another block."""

    cid: Cid


def link_to(cid: bytes) -> Link:
    """The link of a document's binary CID. Raises ``RemoteProtocolError(malformed_block)`` unless it is exactly one CID."""
    if len(cid) > CID_SIZE_MAX:
        raise malformed(f"the CID of a link has {len(cid)} bytes")
    try:
        end = _native.parse_cid(cid, 0)[4]
    except ValueError as error:
        raise malformed(f"the CID of a link: {error}") from error
    if end != len(cid):
        raise malformed("bytes follow the CID of a link")
    return Link(Cid(cid))


def child(value: Value, name: str) -> Value:
    """What stands under ``name`` in a map, or at that index in a list. Raises ``KeyError`` where nothing does."""
    if isinstance(value, dict):
        return value[name]
    if isinstance(value, list) and _is_index(name) and int(name) < len(value):
        return value[int(name)]
    raise KeyError(name)


def links_in(value: Value) -> Iterator[Link]:
    """The links of a value in the order of the document, depth first."""
    if isinstance(value, Link):
        yield value
    elif isinstance(value, list | dict):
        open_values = [iter(value.values() if isinstance(value, dict) else value)]
        while open_values:
            for inner in open_values[-1]:
                if isinstance(inner, Link):
                    yield inner
                elif isinstance(inner, list | dict):
                    open_values.append(iter(inner.values() if isinstance(inner, dict) else inner))
                    break
            else:
                open_values.pop()


def _is_index(name: str) -> bool:
    """Whether a name is an index in its one decimal form."""
    return name.isascii() and name.isdecimal() and (name == "0" or name[0] != "0") and len(name) <= len(str(VALUES_MAX))
