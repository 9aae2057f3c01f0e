"""The order in which the blocks of a DAG are delivered, known alike to both sides of a deal.

Depth first, links in the order of their node or document, each distinct CID once, at its first appearance; the blocks that prove a path
come first. That is a CAR in the order ``dfs`` without duplicates (IPIP-412). Identity CIDs carry their content and are never delivered,
but their links are followed. A ``Walk`` knows no store and no socket: it names the block that must come next, and learns what follows
from that block's payload.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from retrieval.cid import DAG_PB, Cid
from retrieval.dag import directory, pb
from retrieval.dag.block import BlockKind, codec_of, inline_payload, kind_of, load
from retrieval.dag.byterange import ByteRange
from retrieval.dag.datamodel import Link, Value, child
from retrieval.dag.entity import Entity
from retrieval.dag.links import PendingLink, document, links_of, links_of_value
from retrieval.dag.path import encode_path
from retrieval.dag.protobuf import malformed
from retrieval.errors import ErrorCode, RemoteProtocolError
from retrieval.store.blocks import BlockStore
from retrieval.wire.messages import Scope, Selection

BLOCKS_MAX: Final = 1 << 20
"""Distinct blocks of one walk: a TiB in chunks of 1 MiB, and about 130 MB of CIDs remembered."""
LINKS_PENDING_MAX: Final = 1 << 21
"""Links read and not yet followed, so that nested wide nodes cannot fill the memory."""
DEPTH_MAX: Final = 1024  # nodes from the root to a leaf


@dataclass(slots=True)
class _Frame:
    """The links of one node, and how many were followed."""

    links: list[PendingLink]
    n_followed: int = 0


class Walk:
    """One delivery: which block must come next, and how much has come.

    Raises ``RemoteProtocolError`` from the constructor and ``advance``: ``invalid_path``, ``unsupported_scope`` (a range in another scope
    than ``entity``), ``unsupported_codec``, ``invalid_cid``, ``path_not_found``, ``malformed_block``, ``dag_too_large``. After an error
    the walk is over.
    """

    def __init__(
        self,
        root: Cid,
        path: Sequence[str] = (),
        scope: Scope = Scope.ALL,
        byte_range: ByteRange | None = None,
        *,
        repeats: bool = False,
        blocks_max: int = BLOCKS_MAX,
    ) -> None:
        """With ``repeats`` a block comes at each of its appearances, as in a CAR with ``dups=y``."""
        if byte_range is not None and scope is not Scope.ENTITY:
            raise RemoteProtocolError(ErrorCode.UNSUPPORTED_SCOPE, f"a range goes with the scope 'entity', not with {scope.name.lower()!r}")
        self.terminal: Cid | None = None
        """What the path leads to; None until its blocks have come."""
        self.remainder: tuple[str, ...] = ()
        """The last names of the path, where they lead to a value inside the terminal document."""
        self.path_cids = [root]
        """The root, and what each name of the path that stands for a link leads to."""
        self.n_blocks = 0
        self.n_bytes = 0
        """Payload bytes of the blocks that have come."""
        self._next: PendingLink | None = None
        self._names = encode_path(path)[::-1]  # names still to be resolved, the next one last
        self._shard_level = 0
        self._scope = scope
        self._entity = Entity(byte_range) if scope is Scope.ENTITY else None
        self._repeats = repeats
        self._blocks_max = blocks_max
        self._seen: set[Cid] = set()
        self._frames: list[_Frame] = []
        self._n_pending = 0
        self._arrive(root)

    @classmethod
    def of(cls, selection: Selection) -> Walk:
        """The walk of a selection on the wire, at its beginning."""
        return cls(Cid(selection.root), selection.path, Scope(selection.scope), ByteRange.of(selection))

    @property
    def expected(self) -> Cid | None:
        """The CID of the block that must come next; None when everything has come."""
        return None if self._next is None else self._next.cid

    @property
    def done(self) -> bool:
        return self._next is None

    @property
    def is_everything(self) -> bool:
        """Whether all that the terminal links to belongs to the walk, as far as its blocks have come."""
        return self._scope is Scope.ALL if self._entity is None else self._entity.is_whole

    @property
    def needs_payload(self) -> bool:
        """Whether the next block's links decide what follows; if not, its size is enough (``skip``)."""
        return self._next is not None and self._next.kind is BlockKind.NODE and (self.terminal is None or self._scope is not Scope.BLOCK)

    def advance(self, payload: bytes | memoryview) -> None:
        """The expected block has come, verified."""
        link = self._next
        assert link is not None
        if self.terminal is None:
            following = self._resolve(link.cid, bytes(payload))
            self._count(len(payload))
            self._arrive(following)
            return
        if self.needs_payload:
            self._descend(link, bytes(payload))
        self._count(len(payload))
        self._settle()

    def skip(self, size_bytes: int) -> None:
        """The expected block counts as come, unread: only where ``needs_payload`` is false."""
        assert self._next is not None
        assert not self.needs_payload
        self._count(size_bytes)
        self._settle()

    def upcoming(self, n: int) -> list[Cid]:
        """The next CIDs, at most ``n``, as far as they are certain without another payload: what to read ahead or send as a batch."""
        assert n > 0
        cids: list[Cid] = []
        ahead: set[Cid] = set()
        for link in self.pending():
            if link.kind is BlockKind.INLINE_NODE or link.cid in self._seen:
                break
            if link.kind is not BlockKind.INLINE_LEAF and link.cid not in ahead:
                cids.append(link.cid)
                if not self._repeats:
                    ahead.add(link.cid)
            if link.kind is BlockKind.NODE or len(cids) == n:
                break
        return cids

    def pending(self) -> Iterator[PendingLink]:
        """What was read and has not come, in order and from the expected block on. One CID may stand there several times.

        A node that came may stand there too, when a range cut what is below it at its first place.
        """
        if self._next is not None:
            yield self._next
        for frame in reversed(self._frames):
            for index in range(frame.n_followed, len(frame.links)):
                link = frame.links[index]
                if link.cid not in self._seen or (self._entity is not None and self._entity.was_cut(link.cid)):
                    yield link

    def _arrive(self, following: Cid | None) -> None:
        """Go to ``following``, where the path has led so far; None when it ended inside a document, whose links are open by now."""
        while following is not None and self._names:
            kind = kind_of(following)
            if kind is BlockKind.NODE:
                self._next = PendingLink(following, kind, None)
                return
            if kind is not BlockKind.INLINE_NODE:
                raise self._path_not_found("a file has no names below it")
            following = self._resolve(following, inline_payload(following))
        if following is not None:
            self.terminal = following
            self._open([PendingLink(following, kind_of(following), None)])
        self._settle()

    def _resolve(self, cid: Cid, payload: bytes) -> Cid | None:
        """Where the next names lead from the block ``payload``; None when the path ends inside it."""
        if codec_of(cid) != DAG_PB:
            if self._shard_level:
                raise malformed("a directory shard leads to something else")
            return self._resolve_in_document(cid, document(cid, payload))
        found = directory.find(pb.decode(payload), self._names[-1], self._shard_level)
        if found is None:
            raise self._path_not_found("no such name")
        link, is_entry = found
        if is_entry:
            self._names.pop()
            self._shard_level = 0
            self.path_cids.append(link.cid)
        else:
            self._shard_level += 1
        return link.cid

    def _resolve_in_document(self, cid: Cid, value: Value) -> Cid | None:
        inside: list[str] = []
        while self._names and not isinstance(value, Link):
            inside.append(self._names[-1].decode("utf-8", "surrogateescape"))
            try:
                value = child(value, inside[-1])
            except KeyError as error:
                raise self._path_not_found("no such name") from error
            self._names.pop()
        if isinstance(value, Link):
            if inside:
                self.path_cids.append(value.cid)
            return value.cid
        self.terminal = cid
        self.remainder = tuple(inside)
        if self._scope is Scope.ALL:
            self._open(links_of_value(value))
        return None

    def _path_not_found(self, why: str) -> RemoteProtocolError:
        return RemoteProtocolError(ErrorCode.PATH_NOT_FOUND, f"{self._names[-1].decode(errors='replace')[:64]!r}: {why}")

    def _settle(self) -> None:
        """Find the next block that must come, past what was delivered or is carried inline."""
        while self._frames:
            frame = self._frames[-1]
            if frame.n_followed == len(frame.links):
                self._frames.pop()
                continue
            link = frame.links[frame.n_followed]
            frame.n_followed += 1
            self._n_pending -= 1
            if link.kind is BlockKind.INLINE_LEAF:
                continue
            if link.cid in self._seen:
                if self._entity is not None and (links := self._entity.links_again(link)):
                    self._open(links)
                continue
            if link.kind is BlockKind.INLINE_NODE:
                if self._scope is not Scope.BLOCK:
                    self._descend(link, inline_payload(link.cid))
                continue
            self._next = link
            return
        self._next = None

    def _descend(self, link: PendingLink, payload: bytes) -> None:
        """Read a node's links, to be followed next."""
        self._open(links_of(link.cid, payload) if self._entity is None else self._entity.links(link, payload))

    def _open(self, links: list[PendingLink]) -> None:
        """Follow these links next."""
        self._n_pending += len(links)
        if self._n_pending > LINKS_PENDING_MAX:
            raise RemoteProtocolError(ErrorCode.DAG_TOO_LARGE, f"more than {LINKS_PENDING_MAX} links are open")
        if len(self._frames) == DEPTH_MAX:
            raise RemoteProtocolError(ErrorCode.DAG_TOO_LARGE, f"deeper than {DEPTH_MAX} nodes")
        self._frames.append(_Frame(links))

    def _count(self, size_bytes: int) -> None:
        assert self._next is not None
        if self.n_blocks == self._blocks_max:
            raise RemoteProtocolError(ErrorCode.DAG_TOO_LARGE, f"more than {self._blocks_max} blocks")
        if not self._repeats:
            self._seen.add(self._next.cid)
        self.n_blocks += 1
        self.n_bytes += size_bytes


def read(store: BlockStore, walk: Walk) -> Iterator[tuple[Cid, bytes]]:
    """The blocks of a walk out of a store, in order. Raises ``LocalProtocolError(not_found)`` at the first one that is missing."""
    while (cid := walk.expected) is not None:
        payload = load(store, cid)
        walk.advance(payload)
        yield cid, payload


def fast_forward(store: BlockStore, walk: Walk, n_blocks: int = BLOCKS_MAX) -> int:
    """Take the walk past its next blocks, at most ``n_blocks``, while the store holds them; returns how many that were.

    Leaves are not read, only measured, so a resumed transfer finds its place fast.
    """
    for n_passed in range(n_blocks):
        if walk.expected is None or not _pass_held(store, walk, walk.expected):
            return n_passed
    return n_blocks


def _pass_held(store: BlockStore, walk: Walk, cid: Cid) -> bool:
    if walk.needs_payload:
        payload = store.get(cid)
        if payload is not None:
            walk.advance(payload)
        return payload is not None
    size_bytes = store.size(cid)
    if size_bytes is not None:
        walk.skip(size_bytes)
    return size_bytes is not None
