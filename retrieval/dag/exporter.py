"""A UnixFS DAG out of a block store onto the disk, whatever importer made it.

Content appears whole or not at all: it is written beside its target under a temporary name, synced, then renamed. Names come from
strangers, so each is created relative to its own directory's descriptor, exclusively, without following symlinks; symlinks are
written last-hand, as content, and nothing is ever written through one.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from retrieval.cid import DAG_PB, Cid
from retrieval.dag import directory, pb, unixfs
from retrieval.dag.block import Loader, codec_of
from retrieval.dag.filenode import FileNode, file_node
from retrieval.dag.importer import DIRECTORY_DEPTH_MAX
from retrieval.dag.path import is_plain_name
from retrieval.dag.pb import PBNode
from retrieval.dag.protobuf import malformed
from retrieval.dag.reader import chunks
from retrieval.dag.unixfs import SYMLINK_TARGET_SIZE_MAX, NodeType, UnixfsNode
from retrieval.errors import ErrorCode, LocalProtocolError, RemoteProtocolError
from retrieval.staging import DIRECT_BYTES_MIN, Staging, open_direct
from retrieval.store.blocks import BlockStore

EXPORT_BYTES_MAX: Final = 1 << 42
"""File bytes of one export, 4 TiB. A small DAG can name the same block a billion times."""

_CONTENT: Final = b"content"  # what is being written, inside its temporary directory


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """What was written."""

    path: Path
    n_files: int
    file_bytes: int


def check_target(target: Path) -> None:
    """Whether an export could be put at ``target``, as far as can be known before the content is: ask before paying.

    Files replace files. Directories are never replaced, nor mixed into, unless empty. Raises ``LocalProtocolError(file_unreadable)``.
    """
    parent = target.absolute().parent
    try:
        if target.is_dir() and not target.is_symlink():
            if any(target.iterdir()):
                raise _unwritable(target, "is a directory that is not empty")
        elif not parent.is_dir():
            raise _unwritable(parent, "is not a directory")
        if not os.access(parent, os.W_OK | os.X_OK):
            raise _unwritable(parent, "cannot be written")
    except OSError as error:
        raise _unwritable(target, error.strerror or "cannot be read") from error


def export(store: BlockStore, root: Cid, target: Path, *, bytes_max: int = EXPORT_BYTES_MAX) -> Exported:
    """Write the file, directory or symlink ``root`` to ``target``. A root that is no UnixFS is written as the bytes of its block.

    Raises ``LocalProtocolError`` (``file_unreadable``, ``disk_full``, ``not_found`` for a block the store lacks) and
    ``RemoteProtocolError`` (``malformed_block``, ``dag_too_large``, ``unsupported_codec``). After an error nothing is left behind.
    """
    target = target.absolute()
    check_target(target)
    try:
        place = Path(tempfile.mkdtemp(prefix=".retrieval-", dir=target.parent))
        try:
            export = _Export(store, bytes_max)
            export.write(place, root)
            os.rename(place / _CONTENT.decode(), target)
            _sync_directory(target.parent)
        finally:
            shutil.rmtree(place, ignore_errors=True)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise LocalProtocolError(ErrorCode.DISK_FULL, f"while writing {target.name}") from error
        raise _unwritable(target, error.strerror or "cannot be written") from error
    return Exported(path=target, n_files=export.n_files, file_bytes=export.file_bytes)


class _Export:
    """One export and its limits."""

    def __init__(self, store: BlockStore, bytes_max: int) -> None:
        self.n_files = 0
        self.file_bytes = 0
        self._load = Loader(store)
        self._bytes_max = bytes_max
        self._staging = Staging()

    def write(self, place: Path, root: Cid) -> None:
        """Write ``root`` as ``content`` into the empty directory ``place``, synced."""
        place_fd = os.open(place, os.O_RDONLY | os.O_DIRECTORY)
        try:
            self._write_entry(place_fd, _CONTENT, root, 0)
        finally:
            os.close(place_fd)

    def _write_entry(self, parent_fd: int, name: bytes, cid: Cid, depth: int) -> None:
        block = self._load(cid)
        node = pb.decode(block) if codec_of(cid) == DAG_PB else pb.PBNode()
        content = unixfs.decode_any(node.data)
        if content is not None and content.is_directory:
            self._write_directory(parent_fd, name, node, content, depth)
        elif content is not None and content.type is NodeType.SYMLINK:
            _write_symlink(parent_fd, name, content.data or b"")
        else:
            of_bytes = FileNode(own_bytes=block, size=len(block))
            root = file_node(node, content) if content is not None and content.is_file else of_bytes
            self._write_file(parent_fd, name, root, synced=depth == 0)

    def _write_file(self, parent_fd: int, name: bytes, root: FileNode, *, synced: bool) -> None:
        with _creating(name):
            fd = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o666, dir_fd=parent_fd)
        with open(fd, "wb") as file:
            direct = open_direct(fd) if root.size >= DIRECT_BYTES_MIN else None
            if direct is None:
                file.writelines(self._counted(chunks(self._load, root)))
            else:
                with direct:
                    self._staging.write(fd, direct.fileno(), self._counted(chunks(self._load, root)), 0)
                os.ftruncate(fd, root.size)  # behind it is padding
            if synced:
                file.flush()
                os.fsync(fd)
        self.n_files += 1

    def _counted(self, content: Iterator[bytes]) -> Iterator[bytes]:
        for chunk in content:
            self.file_bytes += len(chunk)
            if self.file_bytes > self._bytes_max:
                raise RemoteProtocolError(ErrorCode.DAG_TOO_LARGE, f"more than {self._bytes_max} bytes of files")
            yield chunk

    def _write_directory(self, parent_fd: int, name: bytes, node: PBNode, content: UnixfsNode, depth: int) -> None:
        if depth == DIRECTORY_DEPTH_MAX:
            raise RemoteProtocolError(ErrorCode.DAG_TOO_LARGE, f"directories are nested more than {DIRECTORY_DEPTH_MAX} deep")
        with _creating(name):
            os.mkdir(name, 0o777, dir_fd=parent_fd)
        fd = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=parent_fd)
        try:
            for entry in directory.entries(self._load, node.links, content):
                assert entry.name is not None
                if not is_plain_name(entry.name):
                    raise malformed(f"a directory has an entry called {entry.name[:64]!r}")
                self._write_entry(fd, entry.name, entry.cid, depth + 1)
        finally:
            os.close(fd)
        if depth == 0:
            os.sync()  # one call for all files: a sync for each would take longer than the transfer


def _write_symlink(parent_fd: int, name: bytes, target: bytes) -> None:
    if not 0 < len(target) <= SYMLINK_TARGET_SIZE_MAX or b"\0" in target:
        raise malformed("a symlink's target is not a path")
    with _creating(name):
        os.symlink(target, name, dir_fd=parent_fd)


@contextlib.contextmanager
def _creating(name: bytes) -> Iterator[None]:
    try:
        yield
    except FileExistsError as error:
        raise malformed(f"a directory has two entries called {name[:64]!r}") from error


def _sync_directory(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _unwritable(path: Path, why: str) -> LocalProtocolError:
    return LocalProtocolError(ErrorCode.FILE_UNREADABLE, f"{path}: {why}")
