"""Blocks of transfers under way, appended to one file: the fastest place on a disk that survives a kill.

The file is a magic line, then records ``CID size (1 byte) ‖ CID ‖ payload size (4 bytes, big-endian) ‖ payload``. Nothing is synced: a
process that dies loses nothing, and a machine that dies loses what the kernel had not written, which can be fetched again. Opening
reads and hashes the whole file and cuts it off at the first record that is not whole and right, so a torn write cannot be taken for a
block. An LMDB environment pays an ``fdatasync`` for each commit instead: of a transfer of 1 GiB it was most of the time.

One process opens the file at a time: whoever holds the home's state.
"""

from __future__ import annotations

import errno
import os
import struct
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Final, NamedTuple

from retrieval._native import BlockStatus, Buffer
from retrieval.cid import CID_SIZE_MAX, Cid, verify
from retrieval.home import file_error
from retrieval.units import MIB
from retrieval.wire.messages import BLOCK_SIZE_MAX

MAGIC: Final = b"retrieval/segment/1\n"
WASTE_BYTES_MAX: Final = 64 * MIB
"""Dead bytes that may lie in the file beside live ones before it is written anew."""
_PARTS_MAX: Final = 512  # buffers in one system call; Linux takes 1,024
_SIZE: Final = struct.Struct(">I")


class _Place(NamedTuple):
    """Where a payload lies in the file."""

    offset: int
    size: int


class SegmentFile:
    """Every call is synchronous and may be made from any thread."""

    def __init__(self, path: Path) -> None:
        """Open or make the file. Raises ``LocalProtocolError``: ``file_unreadable``, ``disk_full``."""
        self._path: Final = path
        self._turn: Final = threading.Lock()
        self._places: dict[Cid, _Place] = {}
        self._live_bytes = 0
        try:
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise file_error(error, path) from error
        self._end = self._recover()

    def get(self, cid: Cid) -> bytes | None:
        with self._turn:
            place = self._places.get(cid)
            return None if place is None else os.pread(self._file, place.size, place.offset)

    def size(self, cid: Cid) -> int | None:
        place = self._places.get(cid)
        return None if place is None else place.size

    def put_many(self, blocks: Iterable[tuple[Cid, Buffer]]) -> None:
        """Append verified blocks; those already here are left alone. Raises ``LocalProtocolError(disk_full)``; then none is here."""
        with self._turn:
            fresh = {cid: payload for cid, payload in blocks if cid not in self._places}
            parts: list[Buffer] = []
            places: dict[Cid, _Place] = {}
            end = self._end
            for cid, payload in fresh.items():
                head = bytes((len(cid),)) + cid + _SIZE.pack(len(payload))
                places[cid] = _Place(end + len(head), len(payload))
                parts += (head, payload)
                end += len(head) + len(payload)
            self._append(parts, end)
            self._places |= places
            self._live_bytes += sum(place.size for place in places.values())

    def delete_many(self, cids: Iterable[Cid]) -> int:
        """Forget blocks; returns how many were here. Their room comes back when the last one goes, or when it is worth a rewrite."""
        with self._turn:
            places = [place for cid in cids if (place := self._places.pop(cid, None)) is not None]
            self._live_bytes -= sum(place.size for place in places)
            if not self._places:
                self._truncate(len(MAGIC))
            elif self._end - self._live_bytes > max(WASTE_BYTES_MAX, self._live_bytes):
                self._rewrite()
            return len(places)

    def cids(self) -> list[Cid]:
        """Everything here, in the order it came."""
        with self._turn:
            return list(self._places)

    def bytes_used(self) -> int:
        """Payload bytes here."""
        return self._live_bytes

    def sync(self) -> None:
        """Make what was put durable."""
        os.fdatasync(self._file)

    def close(self) -> None:
        os.close(self._file)

    def _append(self, parts: list[Buffer], end: int) -> None:
        """Write all of it, or nothing."""
        at = self._end
        try:
            for start in range(0, len(parts), _PARTS_MAX):
                batch = parts[start : start + _PARTS_MAX]
                n_written = os.pwritev(self._file, batch, at)
                if n_written < sum(map(len, batch)):  # a regular file takes all, or there is no room for it
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                at += n_written
        except OSError as error:
            os.ftruncate(self._file, self._end)
            raise file_error(error, self._path) from error
        self._end = end

    def _truncate(self, end: int) -> None:
        os.ftruncate(self._file, end)
        self._end = end

    def _recover(self) -> int:
        """Read the file from its beginning and cut it off behind the last record that is whole and right."""
        size = os.fstat(self._file).st_size
        if os.pread(self._file, len(MAGIC), 0) != MAGIC:
            os.ftruncate(self._file, 0)
            os.pwrite(self._file, MAGIC, 0)
            return len(MAGIC)
        at = len(MAGIC)
        while at < size:
            head = os.pread(self._file, 1 + CID_SIZE_MAX + _SIZE.size, at)
            cid_end = 1 + head[0]
            if not 0 < head[0] <= CID_SIZE_MAX or len(head) < cid_end + _SIZE.size:
                break
            cid = Cid(head[1:cid_end])
            (payload_size,) = _SIZE.unpack_from(head, cid_end)
            place = _Place(at + cid_end + _SIZE.size, payload_size)
            if payload_size > BLOCK_SIZE_MAX:
                break
            payload = os.pread(self._file, payload_size, place.offset)
            if len(payload) < payload_size or verify(cid, payload) is not BlockStatus.OK:
                break
            self._places[cid] = place
            self._live_bytes += payload_size
            at = place.offset + payload_size
        os.ftruncate(self._file, at)
        return at

    def _rewrite(self) -> None:
        """Leave the dead bytes behind."""
        fresh_path = self._path.with_suffix(".new")
        fresh_path.unlink(missing_ok=True)
        fresh = SegmentFile(fresh_path)
        for cid, place in self._places.items():
            fresh.put_many([(cid, os.pread(self._file, place.size, place.offset))])
        os.replace(fresh_path, self._path)
        os.close(self._file)
        self._file, self._end, self._places = fresh._file, fresh._end, fresh._places
