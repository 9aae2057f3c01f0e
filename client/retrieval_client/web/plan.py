"""What to ask a gateway for: parts of what is not held yet, in the order of the content, each of about ``ASK_BYTES``.

Pure over a store. A file is asked for in ranges, a small directory at once, a large one entry by entry: so what a gateway is paid for
before it delivered is one part, and what a cut can cost is the rest of one. Sizes are the claims of blocks that were verified, and only
divide the work: whether everything is here is found out by walking it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from retrieval.cid import Cid, format_cid
from retrieval.dag import directory
from retrieval.dag.block import VISITS_MAX, BlockKind, Loader, kind_of, load
from retrieval.dag.byterange import ByteRange
from retrieval.dag.filenode import FileNode, read_file_node
from retrieval.dag.importer import DIRECTORY_DEPTH_MAX
from retrieval.dag.links import Extent
from retrieval.dag.lookup import EntityKind, look, reach
from retrieval.dag.walk import Walk, fast_forward
from retrieval.errors import ErrorCode, LocalProtocolError, RemoteProtocolError
from retrieval.gateway.ask import content_path
from retrieval.store.blocks import BlockStore
from retrieval.units import MIB, floor_div
from retrieval.wire.messages import Scope, Selection

from ..source import Source

ASK_BYTES: Final = 16 * MIB
"""Of content, in one request: what is paid before it is here, and enough to send for a while."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """One request for blocks."""

    root: Cid
    path: tuple[str, ...]
    scope: Scope
    byte_range: ByteRange | None = None

    @property
    def selection(self) -> Selection:
        first, last = (None, None) if self.byte_range is None else (self.byte_range.first, self.byte_range.last)
        return Selection(root=self.root, path=self.path, scope=self.scope, range_start=first, range_end=last)

    @property
    def address(self) -> str:
        """What follows ``/ipfs/`` (IPIP-402, IPIP-412)."""
        query = f"format=car&dag-scope={self.scope.name.lower()}&car-order=dfs&car-dups=n"
        if self.byte_range is not None:
            query += f"&entity-bytes={self.byte_range}"
        return content_path(self.path, format_cid(self.root)).removeprefix("/ipfs/") + "?" + query

    @property
    def is_part(self) -> bool:
        """Whether others may bring more of the same file."""
        return self.byte_range is not None

    def walk(self) -> Walk:
        """A walk at its beginning: which blocks the answer must have, in their order; of a part, those of the whole file.

        Raises as ``Walk`` does.
        """
        return Walk(self.root, self.path, self.scope)


def asks(store: BlockStore, source: Source) -> Iterator[Ask | None]:
    """The requests that bring what of ``source`` is not held. None stands where more must arrive before the next one is known.

    Nothing is asked for twice; an answer that did not bring what it should leaves its part to the next planning. Raises as ``Walk`` does.
    """
    whole = Ask(root=source.root, path=source.path, scope=source.scope, byte_range=source.byte_range)
    if source.scope is Scope.BLOCK:
        if not _is_held(store, whole.walk()):
            yield whole
        return
    yield from _Planning(store, source.root).content(source.path, whole, 0)


class _Planning:
    """One planning of what is below a root."""

    def __init__(self, store: BlockStore, root: Cid) -> None:
        self._store: Final = store
        self._root: Final = root
        self._n_visits = 0

    def content(self, path: tuple[str, ...], whole: Ask, depth: int) -> Iterator[Ask | None]:
        """What one path leads to: ``whole`` of it."""
        if _is_held(self._store, whole.walk()):
            return
        first = self._range(path, self._first_part(whole.byte_range))
        is_asked = False
        while (found := self._look(path)) is None:
            yield None if is_asked else first
            is_asked = True
        cid, kind, file = found
        if kind is EntityKind.FILE:
            assert file is not None
            start, stop = (0, file.size) if whole.byte_range is None else whole.byte_range.resolve(file.size)
            asked = first.byte_range.resolve(file.size) if is_asked and first.byte_range is not None else (0, 0)
            yield from self._file(path, cid, file, range(start, stop), range(*asked))
        elif whole.scope is not Scope.ALL:
            if not is_asked:
                yield whole
        elif kind is EntityKind.DIRECTORY:
            yield from self._directory(path, cid, depth, is_asked=is_asked)
        elif not is_asked or not _is_held(self._store, whole.walk()):
            yield whole  # a document, of which nobody knows the size

    def _first_part(self, wanted: ByteRange | None) -> ByteRange:
        """Before anything is known of it: the beginning of a file, or of the part that is wanted."""
        if wanted is None:
            return ByteRange(first=0, last=ASK_BYTES - 1)
        if wanted.first < 0 or (wanted.last is not None and (wanted.last < 0 or wanted.last - wanted.first < ASK_BYTES)):
            return wanted
        return ByteRange(first=wanted.first, last=wanted.first + ASK_BYTES - 1)

    def _range(self, path: tuple[str, ...], byte_range: ByteRange) -> Ask:
        return Ask(root=self._root, path=path, scope=Scope.ENTITY, byte_range=byte_range)

    def _look(self, path: tuple[str, ...]) -> tuple[Cid, EntityKind, FileNode | None] | None:
        """What a path leads to; None while a block on the way, or at its end, is not here."""
        try:
            found = look(self._store, reach(self._store, self._root, path))
        except LocalProtocolError as error:
            if error.code is not ErrorCode.NOT_FOUND:
                raise
            return None
        return found.cid, found.kind, found.file

    # files

    def _file(self, path: tuple[str, ...], cid: Cid, file: FileNode, wanted: range, asked: range) -> Iterator[Ask | None]:
        """The parts of a file that are not here. They end where parts of every file end, so that two seldom share a block."""
        at = wanted.start
        while True:
            if at in asked:
                at = asked.stop
            missing = self._first_missing(cid, file.size, Extent(at, max(0, wanted.stop - at)))
            if missing is None:
                return
            if missing in asked:
                at = missing
                continue
            stop = min(wanted.stop, (floor_div(missing, ASK_BYTES) + 1) * ASK_BYTES)
            yield self._range(path, ByteRange(first=missing, last=stop - 1))
            at = stop

    def _first_missing(self, root: Cid, size: int, part: Extent) -> int | None:
        """Where in a part of a file the first block that is not here begins to matter."""
        unseen = [(root, Extent(0, size))]
        while unseen:
            cid, extent = unseen.pop()
            if not extent.overlaps(part):
                continue
            self._n_visits += 1
            if self._n_visits > VISITS_MAX:
                raise RemoteProtocolError(ErrorCode.DAG_TOO_LARGE, f"more than {VISITS_MAX} blocks, repetitions included")
            kind = kind_of(cid)
            if kind is BlockKind.INLINE_LEAF:
                continue
            if kind is BlockKind.LEAF:
                if self._store.size(cid) is None:
                    return max(part.start, extent.start)
                continue
            payload = load(self._store, cid) if kind is BlockKind.INLINE_NODE else self._store.get(cid)
            if payload is None:
                return max(part.start, extent.start)
            below = [(link.cid, place) for link, place in read_file_node(cid, payload).extents(extent.start) if place.overlaps(part)]
            unseen += reversed(below)
        return None

    # directories

    def _directory(self, path: tuple[str, ...], cid: Cid, depth: int, *, is_asked: bool) -> Iterator[Ask | None]:
        """A directory with everything below it."""
        if depth == DIRECTORY_DEPTH_MAX:
            raise RemoteProtocolError(ErrorCode.DAG_TOO_LARGE, f"directories are nested more than {DIRECTORY_DEPTH_MAX} deep")
        while not _is_held(self._store, Walk(cid, (), Scope.ENTITY)):
            yield None if is_asked else Ask(root=self._root, path=path, scope=Scope.ENTITY)
            is_asked = True
        entries = list(directory.list_entries(Loader(self._store), cid))
        if sum(entry.tsize if entry.tsize is not None else ASK_BYTES + 1 for entry in entries) <= ASK_BYTES:
            yield Ask(root=self._root, path=path, scope=Scope.ALL)
            return
        for entry in entries:
            if not _is_held(self._store, Walk(entry.cid)):
                yield from self._entry((*path, (entry.name or b"").decode("utf-8", "surrogateescape")), entry.cid, entry.tsize, depth + 1)

    def _entry(self, path: tuple[str, ...], cid: Cid, claimed: int | None, depth: int) -> Iterator[Ask | None]:
        whole = Ask(root=self._root, path=path, scope=Scope.ALL)
        try:
            whole.walk()
        except RemoteProtocolError as error:
            if error.code is not ErrorCode.INVALID_PATH:
                raise
            # A name that no address can say. By its own CID it may have another price, which is judged like any other.
            yield from _Planning(self._store, cid).content((), Ask(root=cid, path=(), scope=Scope.ALL), depth)
            return
        if claimed is not None and claimed <= ASK_BYTES:
            yield whole
        else:
            yield from self.content(path, whole, depth)


def _is_held(store: BlockStore, walk: Walk) -> bool:
    fast_forward(store, walk)
    return walk.done
