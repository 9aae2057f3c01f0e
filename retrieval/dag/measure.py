"""How much a delivery is: distinct blocks and their payload bytes, exact where that is cheap, else an upper bound that says so.

Sizes in blocks (``Tsize``, ``filesize``) are claims of whoever made them. They are used for a bound only where no better one exists,
and never called exact. A bound that turns out too low ends a deal early and costs nobody anything.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from retrieval.cid import DAG_PB, Cid
from retrieval.dag import directory, pb, unixfs
from retrieval.dag.block import BlockKind, Loader, codec_of, kind_of, not_held
from retrieval.dag.byterange import ByteRange
from retrieval.dag.filenode import file_node
from retrieval.dag.importer import DIRECTORY_DEPTH_MAX
from retrieval.dag.unixfs import NodeType
from retrieval.dag.walk import BLOCKS_MAX, Walk, fast_forward
from retrieval.errors import ErrorCode, RemoteProtocolError
from retrieval.store.blocks import BlockStore, Root
from retrieval.units import SIZE_BYTES_MAX
from retrieval.wire.messages import BLOCK_SIZE_MAX, Scope, Selection

VISITED_BLOCKS_MAX: Final = 1024  # blocks an unpaid question may make us look at (PROTOCOL.md, "Deals, resume, never pay twice")
LINK_SIZE_MIN: Final = 38  # bytes that a link to a sha2-256 block takes in its node: two heads and 34 bytes of CID


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """What a delivery comes to."""

    n_bytes: int
    """Payload bytes of distinct blocks."""
    n_blocks: int
    exact: bool
    """If not, both are upper bounds."""


def totals_of(store: BlockStore, selection: Selection) -> Totals:
    """As ``totals``, of a selection on the wire."""
    return totals(store, Cid(selection.root), selection.path, Scope(selection.scope), ByteRange.of(selection))


def totals(
    store: BlockStore,
    root: Cid,
    path: Sequence[str] = (),
    scope: Scope = Scope.ALL,
    byte_range: ByteRange | None = None,
    *,
    visited_blocks_max: int = VISITED_BLOCKS_MAX,
) -> Totals:
    """What delivering this selection comes to, from at most ``visited_blocks_max`` blocks of the store.

    A pinned root is known exactly. Raises as ``Walk`` does, and ``LocalProtocolError(not_found)`` where a visited block is missing.
    """
    pinned = store.root(root)
    if pinned is not None and not path and scope is Scope.ALL:
        return Totals(n_bytes=pinned.n_bytes, n_blocks=pinned.n_blocks, exact=True)
    walk = Walk(root, path, scope, byte_range)
    n_visited = fast_forward(store, walk, visited_blocks_max)
    if walk.expected is None:
        return Totals(n_bytes=walk.n_bytes, n_blocks=walk.n_blocks, exact=True)
    if n_visited < visited_blocks_max:
        raise not_held(walk.expected)
    if pinned is not None and not path and walk.is_everything:
        return Totals(n_bytes=pinned.n_bytes, n_blocks=pinned.n_blocks, exact=True)
    # No selection has more than its pinned root, and nothing served is more than the store.
    n_bytes_max = pinned.n_bytes if pinned is not None else store.bytes_used()
    n_blocks_max = pinned.n_blocks if pinned is not None else BLOCKS_MAX
    n_bytes, n_blocks = _claimed(walk) or (n_bytes_max, n_blocks_max)
    return Totals(n_bytes=min(n_bytes, n_bytes_max), n_blocks=min(n_blocks, n_blocks_max), exact=False)


def measured_root(store: BlockStore, cid: Cid, name: str) -> Root:
    """A root to pin, measured block by block: for content that we did not import ourselves (a CAR).

    Raises as ``Walk`` does, and ``LocalProtocolError(not_found)`` when a block of the DAG is missing.
    """
    walk = Walk(cid)
    fast_forward(store, walk)
    if walk.expected is not None:
        raise not_held(walk.expected)
    file_bytes = _FileBytes(store).of(cid, 0)
    if file_bytes > SIZE_BYTES_MAX:
        raise RemoteProtocolError(ErrorCode.DAG_TOO_LARGE, f"its files claim {file_bytes} bytes")
    return Root(cid=cid, name=name, n_bytes=walk.n_bytes, n_blocks=walk.n_blocks, file_bytes=file_bytes)


def _claimed(walk: Walk) -> tuple[int, int] | None:
    """Bytes and blocks as the links that were not visited claim them; None when one of them claims nothing."""
    n_bytes, n_blocks = walk.n_bytes, walk.n_blocks
    for link in {link.cid: link for link in walk.pending()}.values():
        if link.kind is BlockKind.INLINE_LEAF:
            continue
        if link.kind is BlockKind.LEAF:
            n_bytes += BLOCK_SIZE_MAX if link.tsize is None else min(link.tsize, BLOCK_SIZE_MAX)
            n_blocks += 1
            continue
        if not link.tsize:
            return None
        n_bytes += link.tsize
        n_blocks += 1 + link.tsize // LINK_SIZE_MIN  # each block below is named by a link in one of the bytes
    return n_bytes, n_blocks


class _FileBytes:
    """File sizes below a CID, as the files claim them; each CID is looked at once."""

    def __init__(self, store: BlockStore) -> None:
        self._store = store
        self._load = Loader(store)
        self._known: dict[Cid, int] = {}

    def of(self, cid: Cid, depth: int) -> int:
        if cid not in self._known:
            self._known[cid] = self._measure(cid, depth)
        return self._known[cid]

    def _measure(self, cid: Cid, depth: int) -> int:
        if kind_of(cid) is BlockKind.LEAF:
            size_bytes = self._store.size(cid)
            if size_bytes is None:
                raise not_held(cid)
            return size_bytes
        block = self._load(cid)
        node = pb.decode(block) if codec_of(cid) == DAG_PB else pb.PBNode()
        content = unixfs.decode_any(node.data)
        if content is None or content.type is NodeType.METADATA:
            return len(block)
        if content.is_directory:
            if depth == DIRECTORY_DEPTH_MAX:
                raise RemoteProtocolError(ErrorCode.DAG_TOO_LARGE, f"directories are nested more than {DIRECTORY_DEPTH_MAX} deep")
            return sum(self.of(entry.cid, depth + 1) for entry in directory.entries(self._load, node.links, content))
        if content.is_file:
            return file_node(node, content).size
        return 0
