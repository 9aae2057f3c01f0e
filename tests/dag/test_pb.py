import json

import pytest
from foreign import fixtures
from hypothesis import given
from hypothesis import strategies as st
from refusals import may_refuse

from retrieval.cid import DAG_PB, RAW, Cid, cid_of, parse_cid
from retrieval.dag import pb
from retrieval.dag.pb import PBLink, PBNode
from retrieval.errors import ErrorCode, RemoteProtocolError

CID = cid_of(RAW, b"")

links = st.builds(
    PBLink,
    st.binary(max_size=8).map(lambda payload: cid_of(DAG_PB, payload)),
    st.one_of(st.none(), st.binary(max_size=20)),
    st.one_of(st.none(), st.integers(0, pb.TSIZE_MAX)),
)


def refused(block: bytes) -> RemoteProtocolError:
    with pytest.raises(RemoteProtocolError) as error:
        pb.decode(block)
    assert error.value.code is ErrorCode.MALFORMED_BLOCK
    return error.value


@given(st.lists(links, max_size=8), st.one_of(st.none(), st.binary(max_size=40)))
def test_a_node_reads_back_with_its_links_sorted_by_name(given_links: list[PBLink], data: bytes | None) -> None:
    node = pb.decode(pb.encode(given_links, data))
    assert node == PBNode(tuple(sorted(given_links, key=lambda link: link.name or b"")), data)


@given(links)
def test_the_size_of_a_link_is_what_it_adds_to_a_block(link: PBLink) -> None:
    assert pb.encoded_link_size(link) == len(pb.encode([link], None))


def test_foreign_blocks_read_back_byte_for_byte() -> None:
    for path in fixtures("codec-fixtures/fixtures/*/*.dag-pb"):
        block = path.read_bytes()
        node = pb.decode(block)
        encoded = pb.encode(node.links, node.data)
        assert (encoded, cid_of(DAG_PB, encoded)) == (block, parse_cid(path.stem))


def test_foreign_blocks_hold_what_their_description_says() -> None:
    for path in fixtures("codec-fixtures/fixtures/dagpb_*/*.dag-pb"):
        node = pb.decode(path.read_bytes())
        told = json.loads(next(path.parent.glob("*.dag-json")).read_text())
        assert (node.data is None) == ("Data" not in told)
        for link, told_link in zip(node.links, told["Links"], strict=True):
            assert link.cid == parse_cid(told_link["Hash"]["/"])
            assert (link.name.decode() if link.name is not None else None) == told_link.get("Name")
            assert link.tsize == told_link.get("Tsize")


def test_foreign_negative_cases_are_refused() -> None:
    (path,) = fixtures("codec-fixtures/negative-fixtures/dag-pb/decode/edges.json")
    for case in json.loads(path.read_text()):
        refused(bytes.fromhex(case["hex"]))


def test_data_before_links_is_understood_though_we_write_it_last() -> None:
    canonical = pb.encode([PBLink(CID)], b"data")
    link_part, data_part = canonical[: -len(b"data") - 2], canonical[-len(b"data") - 2 :]
    assert pb.decode(data_part + link_part) == pb.decode(canonical)


@pytest.mark.parametrize(
    ("block", "why"),
    [
        (b"\x12", "cut short"),
        (b"\x12\x05", "cut short"),
        (b"\x0a\x80", "cut short"),
        (b"\x1a\x00", "no field 3"),
        (b"\x08\x01", "no field 1 of wire type 0"),
        (b"\x0a\x00\x0a\x00", "two data fields"),
        (b"\x12" + bytes((len(CID) + 4, 0x0A, len(CID))) + CID + b"\x0a\x00", "repeated or out of order"),
        (b"\x12" + bytes((len(CID) + 4, 0x12, 0, 0x0A, len(CID))) + CID, "repeated or out of order"),
        (b"\x12" + bytes((len(CID) + 3, 0x0A, len(CID) + 1)) + CID + b"\x00", "follow the CID"),
        (b"\x12" + bytes((len(CID) + 4, 0x0A, len(CID))) + CID + b"\x20\x01", "no field 4"),
        (b"\x12" + bytes((len(CID) + 12, 0x0A, len(CID))) + CID + b"\x18" + b"\xff" * 8 + b"\xff", "cut short"),
        (b"\x12" + bytes((len(CID) + 13, 0x0A, len(CID))) + CID + b"\x18" + b"\xff" * 9 + b"\x01", "63 bits"),
        (b"\x12" + bytes((len(CID) + 13, 0x0A, len(CID))) + CID + b"\x18" + b"\xff" * 9 + b"\x7f", "64 bits"),
        (b"\x80" * 11, "longer than 10 bytes"),
        (bytes(pb.BLOCK_SIZE_MAX + 1), "above the limit"),
        (pb.encode([PBLink(CID, b"n" * (pb.LINK_NAME_SIZE_MAX + 1))], None), "1025 bytes"),
        (pb.encode([PBLink(Cid(b"\x01\x55\x00\x7f" + bytes(127)))], None), "131 bytes"),
        (pb.encode([PBLink(Cid(b"\x01\x55\x00\x01\x00"), None, None)] * (pb.NODE_LINKS_MAX + 1), None), "more than 65536 links"),
    ],
)
def test_malformed_nodes_are_refused_with_the_reason(block: bytes, why: str) -> None:
    assert why in refused(block).detail


@given(st.lists(links, max_size=3), st.binary(max_size=10), st.data())
def test_altered_nodes_raise_nothing_else(given_links: list[PBLink], data: bytes, draw: st.DataObject) -> None:
    block = bytearray(pb.encode(given_links, data))
    for _ in range(draw.draw(st.integers(1, 4))):
        block[draw.draw(st.integers(0, len(block) - 1))] = draw.draw(st.integers(0, 255))
    with may_refuse(ErrorCode.MALFORMED_BLOCK):
        pb.decode(bytes(block[: draw.draw(st.integers(0, len(block)))]))


@given(st.binary(max_size=100))
def test_no_bytes_raise_anything_else(block: bytes) -> None:
    with may_refuse(ErrorCode.MALFORMED_BLOCK):
        pb.decode(block)
