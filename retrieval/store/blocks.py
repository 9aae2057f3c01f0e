"""The port of the block store, and its smallest implementation.

A store maps CIDs to blocks and knows its limit. It does not verify: whoever puts a block has checked it (the data path verifies in
batches, before it writes). A root is a CID somebody asked to keep; its totals make quotes exact.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from retrieval._native import Buffer
from retrieval.cid import Cid
from retrieval.errors import ErrorCode, LocalProtocolError

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Root:
    """Pinned content: its CID, what it is called here, and the totals of its distinct blocks."""

    cid: Cid
    name: str
    n_bytes: int
    """Payload bytes of all distinct blocks of the DAG, interior nodes included: what a retrieval of it is charged for."""
    n_blocks: int
    file_bytes: int
    """Size of the file, or the sum of the files of the directory."""


class BlockStore(Protocol):
    """What the DAG, the provider and the client ask of a store. Every call is synchronous and may be made from any thread."""

    def get(self, cid: Cid) -> bytes | None:
        """The block's payload, or None."""
        ...

    def size(self, cid: Cid) -> int | None:
        """The payload's length in bytes without reading it, or None."""
        ...

    def view_many(self, cids: Sequence[Cid], use: Callable[[Sequence[memoryview | None]], T]) -> T:
        """What ``use`` makes of the payloads of ``cids``, in their order, None where a block is not held.

        They are shown where they lie, and are dead when ``use`` returns: hash, copy or encrypt inside, and write nothing to this store.
        """
        ...

    def put_many(self, blocks: Iterable[tuple[Cid, Buffer]]) -> None:
        """Write verified blocks, all or none; those already held are left alone. Payloads are read during the call and not after it.

        Raises ``LocalProtocolError(store_full)`` before writing anything when the store would grow above ``bytes_max``, and
        ``disk_full`` when the disk is full.
        """
        ...

    def delete_many(self, cids: Iterable[Cid]) -> int:
        """Drop blocks; returns how many were held."""
        ...

    def pin(self, root: Root) -> None: ...
    def unpin(self, cid: Cid) -> bool: ...
    def root(self, cid: Cid) -> Root | None: ...
    def roots(self) -> Iterator[Root]: ...

    def cids(self) -> list[Cid]:
        """Every block held, in no order."""
        ...

    def bytes_used(self) -> int:
        """Payload bytes held."""
        ...

    @property
    def bytes_max(self) -> int: ...

    def sync(self) -> None:
        """Make what was put durable."""
        ...


class MemoryBlockStore:
    """A store in a dict, for tests and for content that is not kept."""

    def __init__(self, *, bytes_max: int = 1 << 40) -> None:
        self._blocks: dict[Cid, bytes] = {}
        self._roots: dict[Cid, Root] = {}
        self._bytes_used = 0
        self._bytes_max = bytes_max

    def get(self, cid: Cid) -> bytes | None:
        return self._blocks.get(cid)

    def size(self, cid: Cid) -> int | None:
        payload = self._blocks.get(cid)
        return None if payload is None else len(payload)

    def view_many(self, cids: Sequence[Cid], use: Callable[[Sequence[memoryview | None]], T]) -> T:
        return use_views([self._blocks.get(cid) for cid in cids], use)

    def put_many(self, blocks: Iterable[tuple[Cid, Buffer]]) -> None:
        fresh = {cid: bytes(payload) for cid, payload in blocks if cid not in self._blocks}
        grown = self._bytes_used + sum(map(len, fresh.values()))
        if grown > self._bytes_max:
            raise LocalProtocolError(ErrorCode.STORE_FULL, f"{grown} bytes would be above the limit of {self._bytes_max}")
        self._blocks.update(fresh)
        self._bytes_used = grown

    def delete_many(self, cids: Iterable[Cid]) -> int:
        dropped = [self._blocks.pop(cid) for cid in cids if cid in self._blocks]
        self._bytes_used -= sum(map(len, dropped))
        return len(dropped)

    def pin(self, root: Root) -> None:
        self._roots[root.cid] = root

    def unpin(self, cid: Cid) -> bool:
        return self._roots.pop(cid, None) is not None

    def root(self, cid: Cid) -> Root | None:
        return self._roots.get(cid)

    def roots(self) -> Iterator[Root]:
        return iter(sorted(self._roots.values(), key=lambda root: root.cid))

    def cids(self) -> list[Cid]:
        return [*self._blocks]

    def bytes_used(self) -> int:
        return self._bytes_used

    @property
    def bytes_max(self) -> int:
        return self._bytes_max

    def sync(self) -> None:
        """Nothing to do: memory has no disk behind it."""


def use_views(payloads: Sequence[Buffer | None], use: Callable[[Sequence[memoryview | None]], T]) -> T:
    """Show payloads to ``use``, and take the views back when it returns."""
    views = [None if payload is None else memoryview(payload) for payload in payloads]
    try:
        return use(views)
    finally:
        for view in views:
            if view is not None:
                view.release()
