"""CAR files: blocks in a row behind a header (ipld/specs, "CARv1" and "CARv2").

Reads both versions from a stream, forwards only, and verifies each block before it hands it out; writes version 1. Foreign bytes raise
only ``RemoteProtocolError``: ``malformed_car``, or ``unsupported_codec`` for a block under a hash we cannot check.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import BinaryIO, Final

from retrieval import _native
from retrieval._native import BlockStatus
from retrieval.cid import CID_SIZE_MAX, Cid, format_cid, is_identity, verify
from retrieval.errors import ErrorCode, RemoteProtocolError
from retrieval.store.batch import BatchWriter
from retrieval.store.blocks import BlockStore
from retrieval.units import SIZE_BYTES_MAX
from retrieval.wire.messages import BLOCK_SIZE_MAX

HEADER_SIZE_MAX: Final = 64 << 10  # bytes; room for ROOTS_MAX roots
ROOTS_MAX: Final = 1024
SECTION_SIZE_MAX: Final = CID_SIZE_MAX + BLOCK_SIZE_MAX
LENGTH_SIZE_MAX: Final = 9  # bytes of a uvarint
PADDING_MAX: Final = 1 << 20  # bytes between a version 2 header and its data

_V2_HEADER_SIZE: Final = 40  # 16 of characteristics, then data offset, data size and index offset as little-endian uint64
_V2_PRAGMA_SIZE: Final = 11

# The header is DAG-CBOR: the major type stands in a head's top three bits, a CID is tag 42 over bytes that begin with a zero.
_UINT, _BYTES, _TEXT, _ARRAY, _MAP, _TAG = 0, 2, 3, 4, 5, 6
_CID_TAG: Final = 42


class CarReader:
    """A CAR being read: its roots at once, its blocks by iterating, each verified, in the file's order, repetitions included.

    Blocks under identity CIDs are checked and left out: their content is in the CID. Roots are what the file says; whether their
    blocks follow is for the caller to find out.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self._source = _Source(stream)
        version, roots = _read_header(self._source)
        if version == 2:
            self._source = _Source(stream, _read_v2_header(self._source))
            version, roots = _read_header(self._source)
        if version != 1:
            raise _malformed(f"version {version} is unknown")
        if roots is None:
            raise _malformed("the header has no roots")
        self.roots: tuple[Cid, ...] = roots

    def __iter__(self) -> Iterator[tuple[Cid, bytes]]:
        while (size := self._source.read_length()) is not None:
            if not 0 < size <= SECTION_SIZE_MAX:
                raise _malformed(f"a section has {size} bytes")
            cid, payload = _verified(self._source.read(size))
            if not is_identity(cid):
                yield cid, payload


def import_car(store: BlockStore, stream: BinaryIO) -> tuple[Cid, ...]:
    """Put a CAR's blocks into the store; returns its roots, not pinned and not known to be complete.

    Raises ``RemoteProtocolError`` as ``CarReader`` does, and ``LocalProtocolError`` as ``put_many`` does. What was read before an error
    may stay, verified and unpinned.
    """
    reader = CarReader(stream)
    writer = BatchWriter(store)
    for cid, payload in reader:
        writer.put(cid, payload)
    writer.flush()
    return reader.roots


def write_car(stream: BinaryIO, roots: Iterable[Cid], blocks: Iterable[tuple[Cid, bytes]]) -> int:
    """Write a CARv1 of blocks in the order given; returns how many there were."""
    stream.write(car_head(tuple(roots)))
    n_blocks = 0
    for cid, payload in blocks:
        stream.write(section_head(cid, len(payload)))
        stream.write(payload)
        n_blocks += 1
    return n_blocks


def car_head(roots: tuple[Cid, ...]) -> bytes:
    """What stands before the first section of a CARv1."""
    header = _encode_header(roots)
    return _native.encode_uvarint(len(header)) + header


def section_head(cid: Cid, payload_size: int) -> bytes:
    """What stands before the payload of a block."""
    return _native.encode_uvarint(len(cid) + payload_size) + cid


class _Source:
    """A stream read forwards, at most to ``size_bytes`` where that is known."""

    def __init__(self, stream: BinaryIO, size_bytes: int | None = None) -> None:
        self._stream = stream
        self._left = size_bytes

    def read(self, size: int) -> bytes:
        """Exactly ``size`` bytes."""
        data = self._read_some(size)
        if len(data) == size:
            return data
        parts = bytearray(data)
        while len(parts) < size:  # pipes and sockets may give less than asked for
            more = self._read_some(size - len(parts))
            if not more:
                raise _malformed("the file is cut short")
            parts += more
        return bytes(parts)

    def read_length(self) -> int | None:
        """The uvarint before a header or a section; None at the end of the file."""
        encoded = self._read_some(1)
        if not encoded:
            if self._left:
                raise _malformed("the file is cut short")
            return None
        while encoded[-1] >= 0x80 and len(encoded) < LENGTH_SIZE_MAX:
            encoded += self.read(1)
        try:
            return _native.decode_uvarint(encoded, 0)[0]
        except ValueError as error:
            raise _malformed(f"a length: {error}") from error

    def _read_some(self, size: int) -> bytes:
        data = self._stream.read(size if self._left is None else min(size, self._left))
        if self._left is not None:
            self._left -= len(data)
        return data


def _read_header(source: _Source) -> tuple[int, tuple[Cid, ...] | None]:
    """Version and, where it has them, roots."""
    size = source.read_length()
    if size is None or not 0 < size <= HEADER_SIZE_MAX:
        raise _malformed("there is no header" if size is None else f"the header has {size} bytes")
    return _HeaderParser(source.read(size)).parse()


def _read_v2_header(source: _Source) -> int:
    """Go to the version 1 data inside a version 2 file; returns its size. The index behind it is never read."""
    header = source.read(_V2_HEADER_SIZE)
    offset, size_bytes = int.from_bytes(header[16:24], "little"), int.from_bytes(header[24:32], "little")
    padding = offset - _V2_PRAGMA_SIZE - _V2_HEADER_SIZE
    if not 0 <= padding <= PADDING_MAX or not 0 < size_bytes <= SIZE_BYTES_MAX:
        raise _malformed(f"the data has {size_bytes} bytes at offset {offset}")
    source.read(padding)
    return size_bytes


def _verified(section: bytes) -> tuple[Cid, bytes]:
    """The block in a section, once its hash was checked."""
    try:
        _, _, hash_code, digest_start, end = _native.parse_cid(section, 0)
    except ValueError as error:
        raise _malformed(f"the CID of a block: {error}") from error
    cid, payload = Cid(section[:end]), section[end:]
    if len(payload) > BLOCK_SIZE_MAX:
        raise _malformed(f"a block has {len(payload)} bytes")
    status = verify(cid, payload)
    if status is BlockStatus.UNSUPPORTED_HASH:
        raise RemoteProtocolError(ErrorCode.UNSUPPORTED_CODEC, f"a block under hash 0x{hash_code:x} of {end - digest_start} bytes")
    if status is not BlockStatus.OK:
        raise _malformed(f"the block {format_cid(cid)} does not have the hash in its CID")
    return cid, payload


def _encode_header(roots: tuple[Cid, ...]) -> bytes:
    encoded = _head(_MAP, 2) + _encode_text("roots") + _head(_ARRAY, len(roots))
    for root in roots:
        encoded += _head(_TAG, _CID_TAG) + _head(_BYTES, len(root) + 1) + b"\0" + root
    return encoded + _encode_text("version") + _head(_UINT, 1)


def _encode_text(text: str) -> bytes:
    return _head(_TEXT, len(text)) + text.encode("ascii")


def _head(major: int, value: int) -> bytes:
    """The head of a DAG-CBOR item; headers hold nothing that needs more than two bytes of length."""
    assert value < 1 << 16
    if value < 24:
        return bytes((major << 5 | value,))
    if value < 1 << 8:
        return bytes((major << 5 | 24, value))
    return bytes((major << 5 | 25,)) + value.to_bytes(2, "big")


class _HeaderParser:
    """Reads ``{"roots": [CID…], "version": n}``, keys in either order, and nothing else."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def parse(self) -> tuple[int, tuple[Cid, ...] | None]:
        version: int | None = None
        roots: tuple[Cid, ...] | None = None
        for _ in range(self._expect(_MAP, 2)):
            key = self._take(self._expect(_TEXT, len("version")))
            if key == b"version" and version is None:
                version = self._expect(_UINT, (1 << 64) - 1)
            elif key == b"roots" and roots is None:
                roots = tuple(self._cid() for _ in range(self._expect(_ARRAY, ROOTS_MAX)))
            else:
                raise _malformed(f"the header has a key {key!r} too many")
        if version is None:
            raise _malformed("the header has no version")
        if self._at != len(self._data):
            raise _malformed("bytes follow the header's map")
        return version, roots

    def _cid(self) -> Cid:
        if self._expect(_TAG, _CID_TAG) != _CID_TAG:
            raise _malformed("a root is no CID")
        encoded = self._take(self._expect(_BYTES, CID_SIZE_MAX + 1))
        try:
            end = _native.parse_cid(encoded, 1)[4]
        except ValueError as error:
            raise _malformed(f"a root: {error}") from error
        if encoded[0] != 0 or end != len(encoded):
            raise _malformed("a root is no CID")
        return Cid(encoded[1:])

    def _expect(self, major: int, value_max: int) -> int:
        """The value of the next item's head, which must be of this type and written as short as can be."""
        first = self._take(1)[0]
        value = first & 0x1F
        if value >= 24:
            n_bytes = 1 << (value - 24)
            if n_bytes > 8:
                raise _malformed("the header is no DAG-CBOR")
            value = int.from_bytes(self._take(n_bytes), "big")
            if value < (24, 1 << 8, 0, 1 << 16, 0, 0, 0, 1 << 32)[n_bytes - 1]:
                raise _malformed("a number in the header is longer than it needs to be")
        if first >> 5 != major or value > value_max:
            raise _malformed("the header is not a map of roots and version")
        return value

    def _take(self, size: int) -> bytes:
        taken = self._data[self._at : self._at + size]
        if len(taken) < size:
            raise _malformed("the header is cut short")
        self._at += size
        return taken


def _malformed(detail: str) -> RemoteProtocolError:
    return RemoteProtocolError(ErrorCode.MALFORMED_CAR, detail)
