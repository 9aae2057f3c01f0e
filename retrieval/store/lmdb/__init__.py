"""Small records on disk: the only door to ``lmdb``.

The index of ``blocks/`` may be opened by several processes, and a machine that dies may lose its last commits; ``state/`` has one writer,
and loses nothing it has acknowledged.
"""

from retrieval.store.lmdb.index import BlockIndex
from retrieval.store.lmdb.lock import StateLock
from retrieval.store.lmdb.state import LmdbStateStorage

__all__ = ["BlockIndex", "LmdbStateStorage", "StateLock"]
