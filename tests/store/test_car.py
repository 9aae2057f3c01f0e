import io
import json
from collections.abc import Callable
from typing import BinaryIO

import pytest
from blake3 import blake3
from content import content
from foreign import fixtures
from hypothesis import given
from hypothesis import strategies as st
from refusals import may_refuse

from retrieval.cid import DAG_PB, IDENTITY, RAW, Cid, cid_of, parse_cid
from retrieval.errors import ErrorCode, LocalProtocolError, RemoteProtocolError
from retrieval.store.blocks import MemoryBlockStore
from retrieval.store.car import HEADER_SIZE_MAX, ROOTS_MAX, SECTION_SIZE_MAX, CarReader, import_car, write_car

BLOCKS = [(cid_of(RAW, payload), payload) for payload in (b"", b"one", b"two" * 100)]
ROOT = BLOCKS[0][0]
HEADER = bytes.fromhex("3a a2 65 726f6f7473 81 d82a 5825 00") + ROOT + bytes.fromhex("67 76657273696f6e 01")
V2_PRAGMA = bytes.fromhex("0aa16776657273696f6e02")


def car(roots: list[Cid] | None = None, blocks: list[tuple[Cid, bytes]] | None = None) -> bytes:
    stream = io.BytesIO()
    write_car(stream, [ROOT] if roots is None else roots, BLOCKS if blocks is None else blocks)
    return stream.getvalue()


def car_v2(inner: bytes, *, padding: int = 0, size: int | None = None, offset: int | None = None, after: bytes = b"index") -> bytes:
    numbers = (51 + padding if offset is None else offset, len(inner) if size is None else size, 0)
    return V2_PRAGMA + bytes(16) + b"".join(n.to_bytes(8, "little") for n in numbers) + bytes(padding) + inner + after


def read(data: bytes) -> tuple[tuple[Cid, ...], list[tuple[Cid, bytes]]]:
    reader = CarReader(io.BytesIO(data))
    return reader.roots, list(reader)


def refused(data: bytes) -> RemoteProtocolError:
    with pytest.raises(RemoteProtocolError) as error:
        read(data)
    return error.value


class Trickling(io.RawIOBase):
    """Gives one byte at a time, as a pipe may."""

    def __init__(self, data: bytes) -> None:
        self._stream = io.BytesIO(data)

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        return self._stream.read(min(size, 1))


def test_a_header_has_the_bytes_other_writers_give_it() -> None:
    assert car(blocks=[]) == HEADER


payloads = st.lists(st.binary(max_size=300), max_size=6)


@given(payloads, st.sampled_from([RAW, DAG_PB]), st.integers(0, 3))
def test_a_car_reads_back(given_payloads: list[bytes], codec: int, n_roots: int) -> None:
    blocks = [(cid_of(codec, payload), payload) for payload in given_payloads]
    roots = [cid_of(RAW, bytes((n,))) for n in range(n_roots)]
    assert read(car(roots, blocks)) == (tuple(roots), blocks)


@given(payloads, st.integers(0, 100))
def test_a_version_2_file_reads_as_what_it_wraps(given_payloads: list[bytes], padding: int) -> None:
    inner = car(blocks=[(cid_of(RAW, payload), payload) for payload in given_payloads])
    assert read(car_v2(inner, padding=padding)) == read(inner)


def test_a_stream_may_give_bytes_one_by_one() -> None:
    for data in (car(), car_v2(car(), padding=9)):
        reader = CarReader(Trickling(data))  # type: ignore[arg-type]
        assert list(reader) == BLOCKS


def test_as_many_roots_as_allowed_fit_the_header() -> None:
    roots = [cid_of(RAW, n.to_bytes(2, "big")) for n in range(ROOTS_MAX)]
    assert read(car(roots, []))[0] == tuple(roots)


def test_blocks_under_identity_cids_are_checked_and_left_out() -> None:
    inline = (Cid(bytes((1, RAW, IDENTITY, 3)) + b"abc"), b"abc")
    assert read(car(blocks=[inline, *BLOCKS]))[1] == BLOCKS
    assert refused(car(blocks=[(inline[0], b"abd")])).code is ErrorCode.MALFORMED_CAR


@pytest.mark.parametrize("version", [1, 2])
def test_foreign_cars_hold_what_their_description_says(version: int) -> None:
    (path,) = fixtures(f"ipld/specs/transport/car/fixture/carv{version}-basic/*.car")
    told = json.loads(path.with_suffix(".json").read_text())
    roots, blocks = read(path.read_bytes())
    assert list(roots) == [parse_cid(root["/"]) for root in told["header"]["roots"]]
    assert [(cid, len(payload)) for cid, payload in blocks] == [
        (parse_cid(block["cid"]["/"]), block["blockLength"]) for block in told["blocks"]
    ]


def test_every_foreign_car_reads_and_reads_back_as_we_write_it() -> None:
    for path in fixtures("**/*.car"):
        roots, blocks = read(path.read_bytes())
        assert blocks, path.name
        assert read(car(list(roots), blocks)) == (roots, blocks), path.name


def test_an_import_fills_the_store_in_batches() -> None:
    class Noting(MemoryBlockStore):
        batches: list[int] = []  # noqa: RUF012

        def put_many(self, blocks: object) -> None:
            kept = list(blocks)  # type: ignore[call-overload]
            self.batches.append(sum(len(payload) for _, payload in kept))
            super().put_many(kept)

    blocks = [(cid_of(RAW, payload), payload) for payload in (bytes((n,)) * (1 << 20) for n in range(9))]
    store = Noting()
    assert import_car(store, io.BytesIO(car(blocks=blocks))) == (ROOT,)
    assert store.batches == [4 << 20, 4 << 20, 1 << 20]
    assert all(store.get(cid) == payload for cid, payload in blocks)


def test_a_full_store_refuses_an_import() -> None:
    with pytest.raises(LocalProtocolError) as error:
        import_car(MemoryBlockStore(bytes_max=5), io.BytesIO(car()))
    assert error.value.code is ErrorCode.STORE_FULL


def section(data: bytes) -> bytes:
    """The section of these bytes, with its length."""
    size = len(data)
    length = bytearray()
    while size > 0x7F:
        length.append(size & 0x7F | 0x80)
        size >>= 7
    return bytes(length) + bytes((size,)) + data


MALFORMED: dict[str, Callable[[], bytes]] = {
    "nothing": lambda: b"",
    "text": lambda: b"this is not a CAR at all",
    "no header length": lambda: b"\x80",
    "a header of no bytes": lambda: b"\x00",
    "a header longer than the file": lambda: b"\x3a\xa2",
    "a header above the limit": lambda: section(bytes(HEADER_SIZE_MAX + 1)),
    "a length without end": lambda: b"\xff" * 20,
    "a length that is not minimal": lambda: b"\x80\x00" + HEADER,
    "version 42 without roots": lambda: section(bytes.fromhex("a1 67 76657273696f6e 182a")),
    "version 42 with roots": lambda: HEADER[:-1].replace(b"\x3a", b"\x3b", 1) + b"\x18\x2a",
    "version 1 without roots": lambda: section(bytes.fromhex("a1 67 76657273696f6e 01")),
    "no version": lambda: section(bytes.fromhex("a1 65 726f6f7473 80")),
    "no keys": lambda: section(b"\xa0"),
    "a key twice": lambda: section(bytes.fromhex("a2 67 76657273696f6e 01 67 76657273696f6e 01")),
    "an unknown key": lambda: section(bytes.fromhex("a2 63 666f6f 01 67 76657273696f6e 01")),
    "three keys": lambda: section(bytes.fromhex("a3 65 726f6f7473 80 67 76657273696f6e 01 63 666f6f 01")),
    "roots that are no CIDs": lambda: section(bytes.fromhex("a2 65 726f6f7473 81 01 67 76657273696f6e 01")),
    "a root under another tag": lambda: HEADER.replace(b"\xd8\x2a", b"\xd8\x2b"),
    "a root without its zero byte": lambda: HEADER.replace(b"\x58\x25\x00", b"\x58\x25\x01"),
    "a root that is cut short": lambda: HEADER.replace(b"\x58\x25\x00\x01\x55\x12\x20", b"\x58\x25\x00\x01\x55\x12\x21"),
    "a root with something behind it": lambda: HEADER.replace(b"\x58\x25\x00\x01\x55\x12\x20", b"\x58\x25\x00\x01\x55\x12\x1f"),
    "a number that is not minimal": lambda: section(bytes.fromhex("a2 65 726f6f7473 80 67 76657273696f6e 1801")),
    "an indefinite map": lambda: section(bytes.fromhex("bf 67 76657273696f6e 01 ff")),
    "bytes behind the header's map": lambda: section(HEADER[1:] + b"\x00"),
    "more roots than allowed": lambda: section(bytes.fromhex("a2 65 726f6f7473 9a 00ffffff 67 76657273696f6e 01")),
    "a section of no bytes": lambda: car() + b"\x00",
    "a section above the limit": lambda: car() + section(bytes(SECTION_SIZE_MAX + 1)),
    "a section longer than the file": lambda: car() + section(BLOCKS[2][0] + BLOCKS[2][1])[:-1],
    "a length cut short": lambda: car() + b"\x80",
    "a section without a CID": lambda: car() + section(b"\x01\x55"),
    "a section with an unknown CID version": lambda: car() + section(b"\x02" + ROOT[1:]),
    "a corrupt block": lambda: car(blocks=[(ROOT, b"not empty")]),
    "a corrupt block at the end": lambda: car(blocks=[*BLOCKS, (ROOT, b"not empty")]),
    "a block above the limit": lambda: car(blocks=[(cid_of(RAW, bytes((2 << 20) + 1)), bytes((2 << 20) + 1))]),
    "a version 2 pragma alone": lambda: V2_PRAGMA,
    "a corrupt pragma": lambda: V2_PRAGMA[:-1] + b"\x03" + car_v2(car())[11:],
    "a version 2 header cut short": lambda: car_v2(b"", after=b"")[:-1],
    "data before its header": lambda: car_v2(car(), offset=50),
    "data far away": lambda: car_v2(car(), offset=1 << 60),
    "data of no bytes": lambda: car_v2(car(), size=0),
    "data of more bytes than there are": lambda: car_v2(car(), size=1 << 20, after=b""),
    "data of endless bytes": lambda: car_v2(car(), size=(1 << 64) - 1),
    "data that ends inside a section": lambda: car_v2(car(), size=len(car()) - 1),
    "version 2 inside version 2": lambda: car_v2(car_v2(car())),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_files_raise_one_kind_of_error(name: str) -> None:
    assert refused(MALFORMED[name]()).code is ErrorCode.MALFORMED_CAR


def test_a_block_under_blake3_is_verified() -> None:
    cid = b"\x01\x55\x1e\x20" + blake3(b"payload").digest()
    assert read(car() + section(cid + b"payload"))[1][-1] == (cid, b"payload")
    assert refused(car() + section(cid + b"other")).code is ErrorCode.MALFORMED_CAR


def test_a_hash_we_cannot_check_is_refused() -> None:
    blake2 = car() + section(b"\x01\x55\xa0\xe4\x02\x20" + bytes(32) + b"payload")
    truncated = car() + section(b"\x01\x55\x12\x10" + ROOT[4:20])
    assert refused(blake2).code is refused(truncated).code is ErrorCode.UNSUPPORTED_CODEC


def test_a_cut_file_is_never_taken_for_a_whole_one() -> None:
    data, ends = car(), set()
    at = len(HEADER)
    for cid, payload in BLOCKS:
        ends.add(at)
        at += len(section(cid + payload))
    for size in range(len(data)):
        if size in ends:  # between sections a CARv1 cannot tell; whoever reads it compares with the DAG
            continue
        assert refused(data[:size]).code is ErrorCode.MALFORMED_CAR


@given(st.data())
def test_altered_files_raise_nothing_else(data: st.DataObject) -> None:
    original = data.draw(st.sampled_from([car(), car_v2(car(), padding=3)]))
    altered = bytearray(original)
    for _ in range(data.draw(st.integers(1, 4))):
        altered[data.draw(st.integers(0, len(altered) - 1))] = data.draw(st.integers(0, 255))
    with may_refuse(ErrorCode.MALFORMED_CAR, ErrorCode.UNSUPPORTED_CODEC):
        read(bytes(altered))


@given(st.binary(max_size=200))
def test_no_bytes_raise_anything_else(data: bytes) -> None:
    with may_refuse(ErrorCode.MALFORMED_CAR, ErrorCode.UNSUPPORTED_CODEC):
        read(data)


def test_a_file_is_read_as_it_comes(tmp_path: object) -> None:
    class Refusing(io.BytesIO):
        """Fails when more is asked for than one section needs."""

        def read(self, size: int | None = -1) -> bytes:
            assert size is not None
            assert 0 <= size <= SECTION_SIZE_MAX
            return super().read(size)

    stream: BinaryIO = Refusing(car(blocks=[(cid_of(RAW, payload), payload) for payload in (content({"size": 9000, "fill": "counter"}),)]))
    assert len(list(CarReader(stream))) == 1
