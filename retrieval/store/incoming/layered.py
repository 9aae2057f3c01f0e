"""A client's store: what is kept, and in front of it what is on its way.

New blocks go to the front, where writing costs no sync. Pinning is what keeps: it moves everything that has come so far behind, and
makes it durable.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final, TypeVar

from retrieval._native import Buffer
from retrieval.cid import Cid
from retrieval.errors import ErrorCode, LocalProtocolError
from retrieval.store.batch import BatchWriter
from retrieval.store.blocks import BlockStore, Root, use_views

from .segment import SegmentFile

T = TypeVar("T")


class LayeredBlockStore:
    """``BlockStore`` over two places. ``bytes_max`` of the kept store bounds both together."""

    def __init__(self, kept: BlockStore, incoming: SegmentFile) -> None:
        self._kept: Final = kept
        self._incoming: Final = incoming

    def get(self, cid: Cid) -> bytes | None:
        payload = self._incoming.get(cid)
        return self._kept.get(cid) if payload is None else payload

    def size(self, cid: Cid) -> int | None:
        size = self._incoming.size(cid)
        return self._kept.size(cid) if size is None else size

    def view_many(self, cids: Sequence[Cid], use: Callable[[Sequence[memoryview | None]], T]) -> T:
        return use_views([self.get(cid) for cid in cids], use)

    def put_many(self, blocks: Iterable[tuple[Cid, Buffer]]) -> None:
        fresh = {cid: payload for cid, payload in blocks if self.size(cid) is None}
        grown = self.bytes_used() + sum(map(len, fresh.values()))
        if grown > self.bytes_max:
            raise LocalProtocolError(ErrorCode.STORE_FULL, f"{grown} bytes would be above the limit of {self.bytes_max}")
        self._incoming.put_many(fresh.items())

    def delete_many(self, cids: Iterable[Cid]) -> int:
        doomed = list(cids)
        behind = [cid for cid in doomed if self._incoming.size(cid) is None]
        return self._incoming.delete_many(doomed) + (self._kept.delete_many(behind) if behind else 0)

    def pin(self, root: Root) -> None:
        writer, arrived = BatchWriter(self._kept), self._incoming.cids()
        for cid in arrived:
            payload = self._incoming.get(cid)
            assert payload is not None
            writer.put(cid, payload)
        writer.flush()
        self._kept.pin(root)
        self._kept.sync()
        self._incoming.delete_many(arrived)

    def unpin(self, cid: Cid) -> bool:
        return self._kept.unpin(cid)

    def root(self, cid: Cid) -> Root | None:
        return self._kept.root(cid)

    def roots(self) -> Iterator[Root]:
        return self._kept.roots()

    def bytes_used(self) -> int:
        return self._kept.bytes_used() + self._incoming.bytes_used()

    @property
    def bytes_max(self) -> int:
        return self._kept.bytes_max

    def sync(self) -> None:
        self._kept.sync()
        self._incoming.sync()
