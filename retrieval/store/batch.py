"""Writes to a block store in batches, so that a transaction carries a few MiB and memory stays bounded."""

from __future__ import annotations

from typing import Final

from retrieval.cid import Cid
from retrieval.store.blocks import BlockStore

BATCH_BYTES: Final = 4 << 20  # payload bytes of one transaction: amortises the commit, stays in the cache
BATCH_BLOCKS: Final = 4096  # small blocks: bounds the bookkeeping of a batch, too


class BatchWriter:
    """Collects blocks for ``store.put_many``. What was not flushed is not written."""

    def __init__(self, store: BlockStore) -> None:
        self._store = store
        self._blocks: list[tuple[Cid, bytes]] = []
        self._n_bytes = 0

    def put(self, cid: Cid, payload: bytes) -> None:
        """Take a verified block. Raises what ``put_many`` raises when the batch is full."""
        self._blocks.append((cid, payload))
        self._n_bytes += len(payload)
        if self._n_bytes >= BATCH_BYTES or len(self._blocks) == BATCH_BLOCKS:
            self.flush()

    def flush(self) -> None:
        """Write what was collected."""
        if self._blocks:
            self._store.put_many(self._blocks)
            self._blocks, self._n_bytes = [], 0
