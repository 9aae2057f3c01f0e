"""What is on its way into a client's store: written without a sync, and moved behind when it is kept."""

from .layered import LayeredBlockStore
from .segment import SegmentFile

__all__ = ["LayeredBlockStore", "SegmentFile"]
