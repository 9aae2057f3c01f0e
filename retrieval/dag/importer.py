"""Files and directories into blocks, with the IPIP-499 profile ``unixfs-v1-2025``: same content, same root CID as Kubo and Helia.

CIDv1, sha2-256, raw leaves, chunks of 1 MiB, balanced trees of width 1024, directories sharded above 256 KiB. Content streams through:
memory holds one batch of blocks, one node's links a level, one directory's entries a level, and the CIDs seen. Neither modes nor times
are recorded; symlinks are recorded as they are and never followed; hidden files are files.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, Final

from retrieval.cid import DAG_PB, RAW, Cid, cid_of
from retrieval.dag import directory, pb, unixfs
from retrieval.dag.pb import PBLink
from retrieval.dag.unixfs import NodeType, UnixfsNode
from retrieval.dag.walk import BLOCKS_MAX
from retrieval.errors import ErrorCode, LocalProtocolError
from retrieval.store.batch import BatchWriter
from retrieval.store.blocks import BlockStore, Root

ENTRIES_MAX: Final = 1 << 20  # names of one directory, which are held in memory
DIRECTORY_DEPTH_MAX: Final = 64  # nested directories; each level of an export holds a descriptor


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """What decides a root CID besides the content (IPIP-499)."""

    chunk_bytes: int
    links_per_node: int
    directory_block_bytes_max: int
    """Size of a directory's one-block form above which it is sharded."""


UNIXFS_V1_2025: Final = Profile(chunk_bytes=1 << 20, links_per_node=1024, directory_block_bytes_max=256 << 10)


def import_path(store: BlockStore, path: str | os.PathLike[str], profile: Profile = UNIXFS_V1_2025) -> Root:
    """Put a file, symlink or directory into the store; returns its root, not yet pinned.

    Raises ``LocalProtocolError``: ``file_unreadable`` (also for sockets and devices), ``dag_too_large``, ``store_full``, ``disk_full``.
    Blocks written before an error stay, harmless and unpinned.
    """
    encoded = os.path.abspath(os.fsencode(path))
    importer = _Importer(store, profile)
    imported = importer.entry(encoded, os.path.basename(encoded), 0)
    return importer.root(imported, _shown(os.path.basename(encoded)))


def import_stream(store: BlockStore, stream: BinaryIO, name: str, profile: Profile = UNIXFS_V1_2025) -> Root:
    """Put what ``stream`` yields into the store as one file. Raises as ``import_path`` does."""
    importer = _Importer(store, profile)
    return importer.root(importer.file(stream), name)


@dataclass(frozen=True, slots=True)
class _Imported:
    """What a finished file, symlink or directory is to the node above it."""

    cid: Cid
    tsize: int
    """Bytes of its blocks, every repetition counted."""
    file_bytes: int


class _Importer:
    """One import: the blocks it made, each counted once."""

    def __init__(self, store: BlockStore, profile: Profile) -> None:
        self._profile = profile
        self._writer = BatchWriter(store)
        self._seen: set[Cid] = set()
        self._n_bytes = 0

    def root(self, imported: _Imported, name: str) -> Root:
        self._writer.flush()
        return Root(cid=imported.cid, name=name, n_bytes=self._n_bytes, n_blocks=len(self._seen), file_bytes=imported.file_bytes)

    def entry(self, path: bytes, shown: bytes, depth: int) -> _Imported:
        """Import whatever ``path`` is; ``shown`` names it in errors, relative to where the import began."""
        try:
            mode = os.lstat(path).st_mode
            if stat.S_ISREG(mode):
                with open(path, "rb", opener=_open_unfollowed) as stream:
                    return self.file(stream)
            if stat.S_ISLNK(mode):
                return self.symlink(os.readlink(path))
            names = _names(path) if stat.S_ISDIR(mode) else None
        except OSError as error:
            raise _unreadable(shown, error.strerror or "cannot be read") from error
        if names is None:
            raise _unreadable(shown, "is neither a file, a directory nor a symlink")
        return self.directory(path, names, shown, depth)

    def file(self, stream: BinaryIO) -> _Imported:
        """Import a file as a balanced tree over its chunks; a file of one chunk is that chunk."""
        levels: list[list[_Imported]] = [[]]  # finished nodes that still want a parent, leaves first
        for chunk in _chunks(stream, self._profile.chunk_bytes):
            self._append(levels, 0, _Imported(self._put(RAW, chunk), len(chunk), len(chunk)))
        level = 0
        while level < len(levels) - 1 or len(levels[level]) > 1:
            self._close(levels, level)  # the last node of a level may have a single link: a tree has one depth everywhere
            level += 1
        return levels[level][0]

    def symlink(self, target: bytes) -> _Imported:
        block = pb.encode((), unixfs.encode(UnixfsNode(type=NodeType.SYMLINK, data=target)))
        return _Imported(self._put(DAG_PB, block), len(block), 0)

    def directory(self, path: bytes, names: list[bytes], shown: bytes, depth: int) -> _Imported:
        if depth == DIRECTORY_DEPTH_MAX:
            raise LocalProtocolError(ErrorCode.DAG_TOO_LARGE, f"directories are nested more than {DIRECTORY_DEPTH_MAX} deep")
        links: list[PBLink] = []
        file_bytes = 0
        for name in names:
            imported = self.entry(os.path.join(path, name), os.path.join(shown, name), depth + 1)
            links.append(PBLink(imported.cid, name, imported.tsize))
            file_bytes += imported.file_bytes
        link = directory.build(links, self._put, self._profile.directory_block_bytes_max)
        assert link.tsize is not None
        return _Imported(link.cid, link.tsize, file_bytes)

    def _append(self, levels: list[list[_Imported]], level: int, node: _Imported) -> None:
        """Add a finished node to its level, closing the level first when it is full."""
        if level == len(levels):
            levels.append([])
        if len(levels[level]) == self._profile.links_per_node:
            self._close(levels, level)
        levels[level].append(node)

    def _close(self, levels: list[list[_Imported]], level: int) -> None:
        """Make one node of a level's children and hand it to the level above."""
        children, levels[level] = levels[level], []
        sizes = tuple(child.file_bytes for child in children)
        data = unixfs.encode(UnixfsNode(type=NodeType.FILE, filesize=sum(sizes), blocksizes=sizes))
        block = pb.encode((PBLink(child.cid, b"", child.tsize) for child in children), data)
        node = _Imported(self._put(DAG_PB, block), len(block) + sum(child.tsize for child in children), sum(sizes))
        self._append(levels, level + 1, node)

    def _put(self, codec: int, payload: bytes) -> Cid:
        cid = cid_of(codec, payload)
        if cid not in self._seen:
            if len(self._seen) == BLOCKS_MAX:
                raise LocalProtocolError(ErrorCode.DAG_TOO_LARGE, f"the content has more than {BLOCKS_MAX} distinct blocks")
            self._seen.add(cid)
            self._n_bytes += len(payload)
            self._writer.put(cid, payload)
        return cid


def _chunks(stream: BinaryIO, chunk_bytes: int) -> Iterator[bytes]:
    """The stream cut into chunks, only the last one short; a stream of nothing is one empty chunk."""
    n_chunks = 0
    while True:
        chunk = stream.read(chunk_bytes)
        while 0 < len(chunk) < chunk_bytes and (more := stream.read(chunk_bytes - len(chunk))):
            chunk += more  # a pipe gives less than asked for before it ends
        if not chunk and n_chunks:
            return
        yield chunk
        n_chunks += 1
        if len(chunk) < chunk_bytes:
            return


def _names(path: bytes) -> list[bytes]:
    names: list[bytes] = []
    with os.scandir(path) as found:
        for item in found:
            if len(names) == ENTRIES_MAX:
                raise LocalProtocolError(ErrorCode.DAG_TOO_LARGE, f"a directory has more than {ENTRIES_MAX} names")
            names.append(item.name)
    return sorted(names)


def _open_unfollowed(path: str, flags: int) -> int:
    # The path was a regular file a moment ago; should it have become a symlink or a pipe, fail instead of following or hanging.
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK)


def _unreadable(shown: bytes, why: str) -> LocalProtocolError:
    return LocalProtocolError(ErrorCode.FILE_UNREADABLE, f"{_shown(shown)}: {why}")


def _shown(name: bytes) -> str:
    """A name as text that can be stored and printed, whatever bytes it has."""
    return name.decode(errors="replace")
