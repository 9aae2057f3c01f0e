"""The block store of both programs: segments on the disk, each block written once, and an index of them."""

from retrieval.store.disk.store import DiskBlockStore

__all__ = ["DiskBlockStore"]
