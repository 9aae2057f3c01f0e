"""What a provider holds: adding files, directories and CARs, and removing a root with what only it needed.

One rule: adding and removing exclude each other over all processes, because a block that is being added has no pin yet that would
keep a removal from taking it. Serving needs neither: a root can be quoted once it is pinned, and a block that is gone ends its deal.
"""

from __future__ import annotations

import fcntl
import logging
import os
import stat
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from retrieval._native import Buffer
from retrieval.cid import Cid, format_cid
from retrieval.dag.block import BlockKind, inline_payload, kind_of
from retrieval.dag.importer import import_path
from retrieval.dag.links import cids_of
from retrieval.dag.measure import measured_root
from retrieval.deal import fold
from retrieval.deal.records import DealRecord
from retrieval.errors import ErrorCode, LocalProtocolError, RemoteProtocolError
from retrieval.home import Home, file_error
from retrieval.ledger.state import StateView
from retrieval.store.blocks import BlockStore, Root
from retrieval.store.car import import_car
from retrieval.store.disk import DiskBlockStore

log: Final = logging.getLogger("retrieval.provider")

LOCK_NAME: Final = "content.lock"
DELETE_BATCH: Final = 4096
"""Blocks dropped in one transaction."""


class WatchedStore(DiskBlockStore):
    """A block store that counts what is put into it, for whoever shows progress."""

    def __init__(self, path: Path, *, bytes_max: int, on_put: Callable[[int], None]) -> None:
        """``on_put`` is told the payload bytes put so far, blocks that were held already included."""
        super().__init__(path, bytes_max=bytes_max)
        self._on_put: Final = on_put
        self._n_bytes = 0

    def put_many(self, blocks: Iterable[tuple[Cid, Buffer]]) -> None:
        batch = list(blocks)
        super().put_many(batch)
        self._n_bytes += sum(len(payload) for _, payload in batch)
        self._on_put(self._n_bytes)


@contextmanager
def content_lock(home: Home, *, alone: bool) -> Iterator[None]:
    """Keep adding (shared) and removing (``alone``) apart; waits for its turn. Raises ``LocalProtocolError(file_unreadable)``."""
    path = home.blocks_path / LOCK_NAME
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise file_error(error, path) from error
    try:
        kind = fcntl.LOCK_EX if alone else fcntl.LOCK_SH
        try:
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            log.warning("waiting for another `%s` on this home", "add` or `rm" if alone else "rm")
            fcntl.flock(descriptor, kind)
        yield
    finally:
        os.close(descriptor)


def add_path(store: BlockStore, path: Path) -> Root:
    """Import a file, symlink or directory and pin it. Raises as ``import_path``."""
    root = import_path(store, path)
    store.pin(root)
    store.sync()
    return root


def add_car(store: BlockStore, path: Path) -> list[Root]:
    """Import a CAR, each block verified, and pin its roots as far as they are whole.

    Raises ``RemoteProtocolError(malformed_car)``, ``LocalProtocolError``: ``not_found`` when a root's blocks are not all there,
    ``file_unreadable``, ``store_full``, ``disk_full``.
    """
    try:
        with open(path, "rb") as stream:
            cids = import_car(store, stream)
    except OSError as error:
        raise file_error(error, path) from error
    if not cids:
        raise RemoteProtocolError(ErrorCode.MALFORMED_CAR, "it names no root, so nothing of it could be asked for")
    roots = [measured_root(store, cid, path.name) for cid in dict.fromkeys(cids)]
    for root in roots:
        store.pin(root)
    store.sync()
    return roots


def size_on_disk(path: Path) -> int:
    """Bytes of all files below ``path``: what an import will read. What cannot be looked at counts nothing here; the import says so."""
    if not path.is_dir() or path.is_symlink():
        return _file_size(path)
    return sum(_file_size(Path(folder, name)) for folder, _, names in os.walk(path) for name in names)


def roots_in_use(state: StateView) -> Counter[Cid]:
    """What clients are being served, or may come back for: roots of deals without an outcome, each with how many there are."""
    deals = (fold.get(state, DealRecord, deal_id) for deal_id in fold.open_deals(state))
    return Counter(Cid(deal.selection.root) for deal in deals if deal is not None)


def remove(store: BlockStore, cid: Cid, *, in_use: Counter[Cid], force: bool = False) -> tuple[int, int]:
    """Unpin a root and drop the blocks that no other pin and no root in use needs; returns how many, and their bytes.

    The root's own block goes last and its pin after it, so a removal that was cut off can be repeated. Raises ``LocalProtocolError``:
    ``not_found`` when it is not pinned, ``content_in_use`` when it is in use itself, unless by ``force``.
    """
    if store.root(cid) is None:
        raise LocalProtocolError(ErrorCode.NOT_FOUND, f"{format_cid(cid)} is not pinned here; `ls` shows what is")
    if in_use[cid] and not force:
        raise LocalProtocolError(ErrorCode.CONTENT_IN_USE, f"{in_use[cid]} open deals of {format_cid(cid)}")
    doomed = dict.fromkeys(_below(store, cid))
    for other in ({root.cid for root in store.roots()} | set(in_use)) - {cid}:
        for needed in _below(store, other):
            doomed.pop(needed, None)
    order = list(reversed(doomed))
    used = store.bytes_used()
    n_blocks = sum(store.delete_many(order[start : start + DELETE_BATCH]) for start in range(0, len(order), DELETE_BATCH))
    store.unpin(cid)
    store.sync()
    return n_blocks, used - store.bytes_used()


def _below(store: BlockStore, root: Cid) -> Iterator[Cid]:
    """Every CID of a DAG that stands for a stored block, each after one that links to it; what is missing or broken has no links."""
    seen, waiting = {root}, [root]
    while waiting:
        cid = waiting.pop()
        try:
            kind = kind_of(cid)
            is_inline = kind in (BlockKind.INLINE_LEAF, BlockKind.INLINE_NODE)
            if not is_inline:
                yield cid
            payload = None if kind in (BlockKind.LEAF, BlockKind.INLINE_LEAF) else inline_payload(cid) if is_inline else store.get(cid)
            links = [] if payload is None else cids_of(cid, payload)
        except RemoteProtocolError:  # a codec we cannot walk, or bytes that are no node: nothing below it is served either
            continue
        fresh = [link for link in dict.fromkeys(links) if link not in seen]
        seen.update(fresh)
        waiting.extend(fresh)


def _file_size(path: Path) -> int:
    try:
        found = path.lstat()
    except OSError:
        return 0
    return found.st_size if stat.S_ISREG(found.st_mode) else 0
