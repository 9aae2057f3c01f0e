"""What of a verified block is file content."""

from __future__ import annotations

from retrieval._native import Buffer
from retrieval.cid import DAG_PB, parts
from retrieval.dag import pb, unixfs


def content_bytes(cid: bytes, payload: Buffer) -> int:
    """Bytes that the block adds to a file, 0 for one that only names others. Raises ``RemoteProtocolError(malformed_block)``."""
    size = memoryview(payload).nbytes
    if parts(cid).codec != DAG_PB:
        return size
    node = unixfs.decode_any(pb.decode(bytes(payload)).data)
    return len(node.data or b"") if node is not None and node.is_file else 0
