import pytest
from hypothesis import given
from hypothesis import strategies as st
from refusals import may_refuse

from retrieval.dag import pb, unixfs
from retrieval.dag.unixfs import NodeType, UnixfsNode
from retrieval.errors import ErrorCode, RemoteProtocolError

uint64 = st.integers(0, (1 << 64) - 1)
nodes = st.builds(
    UnixfsNode,
    type=st.sampled_from(NodeType),
    data=st.none() | st.binary(max_size=30),
    filesize=st.none() | uint64,
    blocksizes=st.lists(uint64, max_size=5).map(tuple),
    hash_type=st.none() | uint64,
    fanout=st.none() | uint64,
    mode=st.none() | st.integers(0, (1 << 32) - 1),
    mtime=st.none() | st.tuples(st.integers(-(1 << 62), 1 << 62), st.integers(0, 999_999_999)),
)


@given(nodes)
def test_a_message_reads_back(node: UnixfsNode) -> None:
    assert unixfs.decode(unixfs.encode(node)) == node


def test_an_empty_directory_is_two_bytes() -> None:
    assert unixfs.encode(UnixfsNode(type=NodeType.DIRECTORY)) == b"\x08\x01"


def test_packed_block_sizes_are_understood() -> None:
    assert unixfs.decode(b"\x08\x02\x22\x03\x01\x80\x01").blocksizes == (1, 128)


def test_unknown_fields_are_skipped() -> None:
    assert unixfs.decode(b"\x08\x01\x4a\x03abc\x50\x07").type is NodeType.DIRECTORY


@pytest.mark.parametrize(
    ("message", "why"),
    [
        (b"", "no type"),
        (b"\x08\x06", "type 6"),
        (b"\x0a\x01\x00", "wire type 2"),
        (b"\x08\x02\x10\x05", "wire type 0"),
        (b"\x08\x02\x12\x05abc", "cut short"),
        (b"\x08\x02\x21" + bytes(8), "wire type 1"),
        (b"\x08\x02\x13", "wire type 3"),
        (b"\x08\x02" + b"\x20\x01" * (pb.NODE_LINKS_MAX + 1), "block sizes"),
    ],
)
def test_malformed_messages_are_refused_with_the_reason(message: bytes, why: str) -> None:
    with pytest.raises(RemoteProtocolError) as refused:
        unixfs.decode(message)
    assert refused.value.code is ErrorCode.MALFORMED_BLOCK
    assert why in refused.value.detail


@given(st.binary(max_size=60))
def test_no_bytes_raise_anything_else(message: bytes) -> None:
    with may_refuse(ErrorCode.MALFORMED_BLOCK):
        unixfs.decode(message)


def test_a_node_without_data_holds_no_unixfs() -> None:
    with pytest.raises(RemoteProtocolError):
        unixfs.decode_block(pb.encode((), None))
