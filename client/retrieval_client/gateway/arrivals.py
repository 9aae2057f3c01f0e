"""Threads. A store that waits: a block that is on its way is read as soon as it is verified.

One rule: a reader waits for a block only while it can still come. What an errand brings comes in the order of a walk, so whether a block is
among what is left is known, and a reader that looks beyond (to guess a type from a file's first bytes, when its last ones are wanted) goes
on at once.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final, TypeVar

from retrieval._native import Buffer
from retrieval.cid import Cid
from retrieval.dag.block import BlockKind
from retrieval.dag.reader import RawPart
from retrieval.dag.walk import fast_forward
from retrieval.errors import ErrorCode, LocalProtocolError, RetrievalError
from retrieval.gateway.bodies import SO_FAR, Piece
from retrieval.store.blocks import BlockStore, Root

from ..source import Source

T = TypeVar("T")


class Arrivals:
    """What one errand brings: told by whoever runs it, waited for by whoever reads."""

    def __init__(self, store: BlockStore, source: Source) -> None:
        """Raises as ``Walk`` does."""
        self.store: Final = store
        self._changed: Final = threading.Condition()
        self._n_changes = 0
        self._is_over = False
        self._failure: RetrievalError | None = None
        self._turn: Final = threading.Lock()
        """For the walk, which stands before the first block that is not here."""
        self._walk: Final = source.walk()
        self._is_broken = False
        """Whether the walk has ended in an error, which the errand will meet too."""

    def came(self) -> None:
        """More blocks are in the store, or a reader has left."""
        with self._changed:
            self._n_changes += 1
            self._changed.notify_all()

    def end(self, failure: RetrievalError | None) -> None:
        """Nothing more comes. Readers that miss a block are told why."""
        with self._changed:
            if not self._is_over:
                self._is_over, self._failure = True, failure
                self._changed.notify_all()

    def is_all_here(self) -> bool:
        """Whether everything that was to come is in the store."""
        with self._turn:
            self._catch_up()
            return self._walk.done and not self._is_broken

    def wait_for(self, cid: Cid, is_wanted: Callable[[], bool]) -> bool:
        """Block until ``cid`` is in the store; False when it will not come.

        Raises what the errand failed of, and ``LocalProtocolError(cancelled)`` when nobody wants it any more.
        """
        while True:
            with self._changed:
                seen, is_over, failure = self._n_changes, self._is_over, self._failure
            if not is_wanted():
                raise LocalProtocolError(ErrorCode.CANCELLED, "whoever asked has left")
            if self.store.size(cid) is not None:
                return True
            if is_over:
                if failure is not None:
                    raise failure.with_traceback(None)
                return False
            if not self._may_come(cid):
                return self.store.size(cid) is not None  # it may just have come
            with self._changed:
                while self._n_changes == seen and not self._is_over:
                    self._changed.wait()

    def _may_come(self, cid: Cid) -> bool:
        with self._turn:
            self._catch_up()
            if self._is_broken or self._walk.terminal is None:
                return True
            for link in self._walk.pending():
                # Below a node that is here already, and that the walk has not come to, there may be anything.
                if link.cid == cid or (link.kind is BlockKind.NODE and self.store.size(link.cid) is not None):
                    return True
            return False

    def _catch_up(self) -> None:
        if not self._is_broken:
            try:
                fast_forward(self.store, self._walk)
            except RetrievalError:  # the errand meets it too, and says it to whoever waits
                self._is_broken = True


class AwaitingStore:
    """The reading side of a ``BlockStore`` for one request."""

    def __init__(self, arrivals: Arrivals) -> None:
        self._arrivals: Final = arrivals
        self._store: Final = arrivals.store
        self._is_wanted = True

    def abandon(self) -> None:
        """Whoever asked has left: threads that wait for their blocks give up."""
        self._is_wanted = False
        self._arrivals.came()

    def is_here(self, cid: Cid) -> bool:
        """Whether a block can be read without waiting."""
        return self._store.size(cid) is not None

    def get(self, cid: Cid) -> bytes | None:
        payload = self._store.get(cid)
        return self._store.get(cid) if payload is None and self._wait(cid) else payload

    def size(self, cid: Cid) -> int | None:
        size_bytes = self._store.size(cid)
        return self._store.size(cid) if size_bytes is None and self._wait(cid) else size_bytes

    def view_many(self, cids: Sequence[Cid], use: Callable[[Sequence[memoryview | None]], T]) -> T:
        for cid in cids:
            if not self.is_here(cid):
                self._wait(cid)
        return self._store.view_many(cids, use)

    def root(self, cid: Cid) -> Root | None:
        return self._store.root(cid)

    def roots(self) -> Iterator[Root]:
        return self._store.roots()

    def cids(self) -> list[Cid]:
        return self._store.cids()

    def bytes_used(self) -> int:
        return self._store.bytes_used()

    @property
    def bytes_max(self) -> int:
        return self._store.bytes_max

    def put_many(self, blocks: Iterable[tuple[Cid, Buffer]]) -> None:
        raise AssertionError("a reader writes nothing")

    def delete_many(self, cids: Iterable[Cid]) -> int:
        raise AssertionError("a reader writes nothing")

    def pin(self, root: Root) -> None:
        raise AssertionError("a reader writes nothing")

    def unpin(self, cid: Cid) -> bool:
        raise AssertionError("a reader writes nothing")

    def sync(self) -> None:
        raise AssertionError("a reader writes nothing")

    def _wait(self, cid: Cid) -> bool:
        return self._arrivals.wait_for(cid, lambda: self._is_wanted)


def as_they_come(store: AwaitingStore, pieces: Iterator[Piece]) -> Iterator[Piece]:
    """Pieces, with a word to send what there is wherever the next one is not here yet."""
    for piece in pieces:
        if isinstance(piece, RawPart) and not store.is_here(piece.cid):
            yield SO_FAR
        yield piece
