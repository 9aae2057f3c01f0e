"""The stores on disk: the only door to ``lmdb``.

``blocks/`` may be opened by several processes and may lose its last blocks with the machine; ``state/`` has one writer, and loses nothing
it has acknowledged.
"""

from retrieval.store.lmdb.blocks import LmdbBlockStore
from retrieval.store.lmdb.lock import StateLock
from retrieval.store.lmdb.state import LmdbStateStorage

__all__ = ["LmdbBlockStore", "LmdbStateStorage", "StateLock"]
