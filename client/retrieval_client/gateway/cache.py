"""Threads. The block store of a gateway, as a cache: what was used longest ago makes room for what comes.

One rule: what a request reads, what a fetch brings and has brought, what is kept and what an open deal is about stays; and nothing is
dropped after somebody has seen that it is here. So who uses a source says so first, ``settle``s, and looks then.

What may go is found by looking at what is there, so a restart forgets nothing but the order in which it was used.
"""

from __future__ import annotations

import itertools
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final, TypeVar

from retrieval._native import Buffer
from retrieval.cid import Cid
from retrieval.ledger.state import StateView
from retrieval.store.blocks import BlockStore, Root

from ..content import cids_of, drop_until, droppable, require_room, room
from ..source import Source

T = TypeVar("T")

RECENT_MAX: Final = 4096
"""Sources that are remembered; what was used before them goes first."""
AHEAD_FRACTION: Final = 32
"""Once something must go, this part of the store is emptied beyond what is needed: looking at everything is dear."""


class _Through(BlockStore):
    """A store that hands everything on, but for writing blocks."""

    def __init__(self, store: BlockStore) -> None:
        self.store: Final = store

    def get(self, cid: Cid) -> bytes | None:
        return self.store.get(cid)

    def size(self, cid: Cid) -> int | None:
        return self.store.size(cid)

    def view_many(self, cids: Sequence[Cid], use: Callable[[Sequence[memoryview | None]], T]) -> T:
        return self.store.view_many(cids, use)

    def cids(self) -> list[Cid]:
        return self.store.cids()

    def root(self, cid: Cid) -> Root | None:
        return self.store.root(cid)

    def roots(self) -> Iterator[Root]:
        return self.store.roots()

    def bytes_used(self) -> int:
        return self.store.bytes_used()

    @property
    def bytes_max(self) -> int:
        return self.store.bytes_max

    def delete_many(self, cids: Iterable[Cid]) -> int:
        raise AssertionError("what may go is for the cache to say")

    def pin(self, root: Root) -> None:
        self.store.pin(root)

    def unpin(self, cid: Cid) -> bool:
        return self.store.unpin(cid)

    def sync(self) -> None:
        self.store.sync()


class Cache(_Through):
    """Of all that run in one gateway; any thread."""

    def __init__(self, store: BlockStore, state: StateView) -> None:
        super().__init__(store)
        self._state: Final = state
        self._numbers: Final = itertools.count()
        self._books: Final = threading.Lock()
        """For the three below; held for a moment."""
        self._in_use: Final[dict[int, Source]] = {}
        self._recent: Final = OrderedDict[bytes, Source]()
        self._places: Final[set[Place]] = set()
        self._making: Final = threading.Lock()
        """For whoever makes room: one at a time."""
        self._changing: Final = threading.Lock()
        """For what is written while room is made, and what is dropped."""
        self._came: set[Cid] | None = None
        """What was written since somebody began to make room."""

    def use(self, source: Source) -> int:
        """Keep what of a source is here, from the next ``settle`` until it is ``leave``d by this number."""
        digest = source.selection.digest
        with self._books:
            number = next(self._numbers)
            self._in_use[number] = source
            self._recent[digest] = source
            self._recent.move_to_end(digest)
            if len(self._recent) > RECENT_MAX:
                self._recent.popitem(last=False)
        return number

    def settle(self) -> None:
        """Wait until what was chosen to go before this call is gone; in a thread."""
        with self._changing:
            pass

    def leave(self, number: int) -> None:
        with self._books:
            del self._in_use[number]

    def place(self) -> Place:
        """For a fetch, which ``give_back``s it."""
        place = Place(self)
        with self._books:
            self._places.add(place)
        return place

    def put_many(self, blocks: Iterable[tuple[Cid, Buffer]]) -> None:
        """As a store; room was made before."""
        batch = list(blocks)
        with self._changing:
            if self._came is not None:
                self._came.update(cid for cid, _ in batch)
            self.store.put_many(batch)

    # of places

    def forget(self, place: Place) -> None:
        with self._books:
            self._places.discard(place)

    def reserve(self, place: Place, n_bytes: int) -> None:
        """Have room for ``n_bytes`` more that nobody else takes. Raises ``LocalProtocolError(store_full)``."""
        with self._making:
            self._make_room(place, n_bytes)
            place.reserved_bytes = n_bytes

    def put_unreserved(self, place: Place, blocks: Iterable[tuple[Cid, Buffer]]) -> None:
        """As ``put_many``, where nobody may have made room. Raises ``LocalProtocolError(store_full)``."""
        batch = list(blocks)
        with self._making:
            place.brought.update(cid for cid, _ in batch)
            self._make_room(place, sum(len(payload) for _, payload in batch))
            self.put_many(batch)

    def _make_room(self, place: Place, n_bytes: int) -> None:
        with self._books:
            reserved = sum(each.reserved_bytes for each in self._places if each is not place)
        if room(self.store) >= n_bytes + reserved:
            return
        with self._changing:
            self._came = set()
        with self._books:
            in_use, recent = dict(self._in_use), [*self._recent.values()]
        try:
            enough = n_bytes + reserved + self.store.bytes_max // AHEAD_FRACTION
            doomed = droppable(self.store, self._state, in_use.values(), recent)
            drop_until(self.store, doomed, enough, lambda cids: self._drop(cids, in_use))
        finally:
            self._came = None
        require_room(self.store, n_bytes, reserved_bytes=reserved)

    def _drop(self, cids: Sequence[Cid], known: dict[int, Source]) -> None:
        """But for what is used, was written or belongs to a fetch since it was chosen; ``known`` is what was in use then."""
        with self._changing:
            assert self._came is not None
            with self._books:
                new = [source for number, source in self._in_use.items() if number not in known]
                brought = [each.brought for each in self._places]
            spared = self._came.union(*brought, *(cids_of(self.store, source) for source in new))
            self.store.delete_many([cid for cid in cids if cid not in spared])


class Place(_Through):
    """What one fetch may bring. The store as it sees it, where it cannot say before how much it will bring."""

    def __init__(self, cache: Cache) -> None:
        super().__init__(cache.store)
        self.reserved_bytes = 0
        """Room that is here, and nobody else's."""
        self.brought: Final[set[Cid]] = set()
        """Written through this: blocks behind a gap are of no source yet."""
        self._cache: Final = cache
        self._verified_bytes = 0

    def make_room(self, n_bytes: int, verified_bytes: int) -> None:
        """For ``n_bytes`` beyond those that are verified. Raises ``LocalProtocolError(store_full)``."""
        self._verified_bytes = verified_bytes
        self._cache.reserve(self, n_bytes)

    def moved(self, verified_bytes: int) -> None:
        """What came needs no room any more."""
        came, self._verified_bytes = verified_bytes - self._verified_bytes, verified_bytes
        self.reserved_bytes = max(0, self.reserved_bytes - max(0, came))

    def give_back(self) -> None:
        self._cache.forget(self)

    def put_many(self, blocks: Iterable[tuple[Cid, Buffer]]) -> None:
        self._cache.put_unreserved(self, blocks)
