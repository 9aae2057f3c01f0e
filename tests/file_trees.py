"""Files of every layout that other software makes, and of some that none does, beside a plain model of what they hold."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from dag_builder import identity
from hypothesis import strategies as st

from retrieval.cid import DAG_PB, RAW, Cid, cid_of, is_identity
from retrieval.dag import pb, unixfs
from retrieval.dag.pb import PBLink
from retrieval.dag.unixfs import NodeType, UnixfsNode
from retrieval.store.blocks import MemoryBlockStore


@dataclass(frozen=True, slots=True)
class Tree:
    """One node of a file."""

    cid: Cid
    block: bytes
    own_bytes: bytes
    children: tuple[Tree, ...] = ()

    @property
    def content(self) -> bytes:
        return self.own_bytes + b"".join(child.content for child in self.children)

    @property
    def tsize(self) -> int:
        return len(self.block) + sum(child.tsize for child in self.children)

    def put(self, store: MemoryBlockStore) -> None:
        if not is_identity(self.cid):
            store.put_many([(self.cid, self.block)])
        for child in self.children:
            child.put(store)

    def visits(self, start: int, stop: int, at: int = 0, *, with_empty: bool = True) -> Iterator[Cid]:
        """The blocks that the bytes from ``start`` to ``stop`` need, every repetition, in the order of a naive reader.

        Below a node that is wanted whole everything is wanted, with ``with_empty`` also what holds no bytes.
        """
        if not is_identity(self.cid):
            yield self.cid
        is_whole = start <= at and at + len(self.content) <= stop
        at += len(self.own_bytes)
        for child in self.children:
            end = at + len(child.content)
            if (is_whole and with_empty) or (at < end and at < stop and start < end):
                yield from child.visits(start, stop, at, with_empty=with_empty)
            at = end


def leaf(content: bytes, layout: str) -> Tree:
    """A leaf: ``raw`` and ``identity`` bare, the others in dag-pb."""
    if layout == "raw":
        return Tree(cid_of(RAW, content), content, content)
    if layout == "identity":
        return Tree(identity(content), b"", content)
    kind = NodeType.RAW if layout == "old" else NodeType.FILE
    block = pb.encode((), unixfs.encode(UnixfsNode(type=kind, data=content, filesize=len(content))))
    return Tree(identity(block, DAG_PB) if layout == "identity node" else cid_of(DAG_PB, block), block, content)


def node(children: tuple[Tree, ...], own_bytes: bytes = b"") -> Tree:
    """An interior node, with bytes of its own if need be."""
    sizes = tuple(len(child.content) for child in children)
    message = UnixfsNode(type=NodeType.FILE, data=own_bytes or None, filesize=len(own_bytes) + sum(sizes), blocksizes=sizes)
    block = pb.encode([PBLink(child.cid, b"", child.tsize) for child in children], unixfs.encode(message))
    return Tree(cid_of(DAG_PB, block), block, own_bytes, children)


@st.composite
def file_trees(draw: st.DrawFn) -> Tree:
    """A file of at most some hundred bytes. Nodes are taken from a small pool, so that many appear more than once."""
    layouts = st.sampled_from(["raw", "file", "old", "identity", "identity node"])
    pool = [leaf(draw(st.binary(max_size=6)), draw(layouts)) for _ in range(draw(st.integers(1, 5)))]
    for _ in range(draw(st.integers(0, 5))):
        children = tuple(draw(st.lists(st.sampled_from(pool[-6:]), min_size=1, max_size=4)))
        made = node(children, draw(st.binary(max_size=4)) if draw(st.booleans()) else b"")
        if len(made.content) <= 400:
            pool.append(made)
    return pool[-1]
