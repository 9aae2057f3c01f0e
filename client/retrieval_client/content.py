"""Content in the client's store: what of a source is held, what is kept, and what may go.

The rule: blocks of kept content and of open deals stay, whatever else is fetched, written or dropped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from retrieval.cid import Cid
from retrieval.dag.measure import measured_root
from retrieval.dag.walk import fast_forward
from retrieval.deal import fold
from retrieval.deal.records import DealRecord, HttpPurchaseRecord
from retrieval.errors import ErrorCode, LocalProtocolError, RetrievalError
from retrieval.ledger.state import StateView
from retrieval.store.blocks import BlockStore, Root
from retrieval.units import format_size
from retrieval.wire.messages import Selection

from .source import Source

DROP_BATCH: Final = 1024  # blocks deleted in one transaction


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """What of a source is in the store, from its first block on."""

    cids: tuple[Cid, ...]
    n_bytes: int
    terminal: Cid | None
    """What the path leads to, once its blocks are here."""
    complete: bool

    @property
    def n_blocks(self) -> int:
        return len(self.cids)


def held_of(store: BlockStore, source: Source) -> Held:
    """Look at everything of a source that the store holds. Raises as ``Walk`` does."""
    walk = source.walk()
    cids = []
    while (cid := walk.expected) is not None and fast_forward(store, walk, 1):
        cids.append(cid)
    return Held(cids=tuple(cids), n_bytes=walk.n_bytes, terminal=walk.terminal, complete=walk.done)


def keep(store: BlockStore, source: Source, held: Held) -> None:
    """Pin what is held, under the name it was asked for by: its path's blocks stay as well."""
    assert held.terminal is not None
    root = measured_root(store, held.terminal, str(source))
    store.pin(root)


def drop(store: BlockStore, state: StateView, held: Held) -> int:
    """Delete blocks that nothing else needs; returns how many."""
    return _delete(store, set(held.cids) - set(_needed(store, state)))


def make_room(store: BlockStore, state: StateView, n_bytes: int, in_use: Iterable[Source]) -> None:
    """Make sure that ``n_bytes`` more fit, dropping what nothing needs where need be: before anything is paid.

    What is ``in_use`` stays, whether or not a deal for it is open. Raises ``LocalProtocolError(store_full)``.
    """
    if room(store) < n_bytes:
        drop_until(store, droppable(store, state, in_use), n_bytes, store.delete_many)
    require_room(store, n_bytes)


def droppable(store: BlockStore, state: StateView, in_use: Iterable[Source], recent: Iterable[Source] = ()) -> Iterator[Cid]:
    """Blocks that nothing needs, in the order in which to do without them. None that is put from now on is among them.

    What nobody remembers goes first: it came for nothing, or in a part that broke off, and was not used lately. Then what was bought, and
    last what was used ``recent``ly, the oldest of each first. Of one source the end goes first: a later fetch goes on behind what is left.
    """
    held = store.cids()  # before anything is looked at: what comes meanwhile stays
    seen = {*_needed(store, state), *(cid for source in in_use for cid in cids_of(store, source))}
    remembered: list[list[Cid]] = []
    for source in (*reversed([*recent]), *map(Source.of, _bought(state))):
        own = [cid for cid in dict.fromkeys(cids_of(store, source)) if cid not in seen]
        seen.update(own)
        remembered.append(own)
    yield from (cid for cid in held if cid not in seen)
    for own in reversed(remembered):
        yield from reversed(own)


def drop_until(store: BlockStore, doomed: Iterable[Cid], n_bytes: int, delete: Callable[[Sequence[Cid]], object]) -> None:
    """Have blocks deleted, as few as will do, until ``n_bytes`` more fit or there are none left."""
    batch: list[Cid] = []
    batch_bytes = 0
    for cid in doomed:
        batch.append(cid)
        batch_bytes += store.size(cid) or 0
        if len(batch) == DROP_BATCH or room(store) + batch_bytes >= n_bytes:
            delete(batch)
            if room(store) >= n_bytes:
                return
            batch, batch_bytes = [], 0
    delete(batch)


def room(store: BlockStore) -> int:
    """How many bytes more fit; less than none where the limit was lowered."""
    return store.bytes_max - store.bytes_used()


def require_room(store: BlockStore, n_bytes: int, *, reserved_bytes: int = 0) -> None:
    """Raises ``LocalProtocolError(store_full)``."""
    if (left := room(store) - reserved_bytes) < n_bytes:
        shown = f"{format_size(n_bytes)} may come, {format_size(max(0, left))} of {format_size(store.bytes_max)} are free"
        raise LocalProtocolError(ErrorCode.STORE_FULL, shown)


def _bought(state: StateView) -> list[Selection]:
    """What was ever paid for, over libp2p and over HTTP, the newest first."""
    deals = ((deal.opened_ms, deal.selection) for _, deal in fold.scan(state, DealRecord))
    purchases = ((purchase.bought_ms, purchase.selection) for _, purchase in fold.scan(state, HttpPurchaseRecord))
    return [selection for _, selection in sorted((*deals, *purchases), key=lambda row: row[0], reverse=True)]


def _needed(store: BlockStore, state: StateView) -> Iterator[Cid]:
    """The blocks of everything kept and of every open deal."""
    for root in store.roots():
        yield from cids_of(store, _source_of(root))
    for deal_id in fold.open_deals(state):
        deal = fold.get(state, DealRecord, deal_id)
        assert deal is not None
        yield from cids_of(store, Source.of(deal.selection))


def _source_of(root: Root) -> Source:
    """Where kept content came from: ``keep`` wrote it into the name."""
    return Source.parse(root.name)


def cids_of(store: BlockStore, source: Source) -> tuple[Cid, ...]:
    """The blocks of a source that are here, from its first one on."""
    try:
        return held_of(store, source).cids
    except RetrievalError:  # a provider sold us a DAG that breaks off here; there is nothing behind it
        return ()


def _delete(store: BlockStore, cids: Iterable[Cid]) -> int:
    doomed = list(cids)
    return sum(store.delete_many(doomed[start : start + DROP_BATCH]) for start in range(0, len(doomed), DROP_BATCH))
