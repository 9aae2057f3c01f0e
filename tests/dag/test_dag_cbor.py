import json

import pytest
from dag_builder import identity
from documents import documents, to_cbor
from foreign import fixtures
from hypothesis import given
from hypothesis import strategies as st

from retrieval.cid import DAG_CBOR, RAW, cid_of
from retrieval.dag import dag_cbor, datamodel
from retrieval.dag.datamodel import Link, Value
from retrieval.errors import ErrorCode, RemoteProtocolError

LINK = cid_of(RAW, b"x")


def refuses(block: bytes) -> bool:
    with pytest.raises(RemoteProtocolError) as refused:
        dag_cbor.decode(block)
    return refused.value.code is ErrorCode.MALFORMED_BLOCK


@given(documents)
def test_what_the_library_writes_is_read(document: Value) -> None:
    assert dag_cbor.decode(to_cbor(document)) == document


@given(
    st.binary(max_size=40) | documents.map(to_cbor).flatmap(lambda block: st.tuples(st.just(block), st.binary(max_size=3)).map(b"".join))
)
def test_what_is_accepted_has_no_other_encoding(block: bytes) -> None:
    try:
        document = dag_cbor.decode(block)
    except RemoteProtocolError:
        return
    assert to_cbor(document) == block


def test_public_fixtures_are_read_and_keep_their_cids() -> None:
    paths = fixtures("codec-fixtures/fixtures/*/*.dag-cbor")
    assert len(paths) > 100
    for path in paths:
        assert cid_of(DAG_CBOR, to_cbor(dag_cbor.decode(path.read_bytes()))) == cid_of(DAG_CBOR, path.read_bytes()), path.parent.name


@pytest.mark.parametrize(
    "block",
    [
        "", "1800", "190017", "1a0000ffff", "1b00000000ffffffff", "3817", "5800", "7803616263", "9801f6", "b801616100",  # not the shortest
        "5f4161ff", "7f6161ff", "9fff", "bfff",  # indefinite
        "f7", "f0", "f8ff", "e0", "ff", "1c", "1f", "fc",  # other simple values, reserved heads
        "f90000", "fa00000000", "fb7ff8000000000000", "fb7ff0000000000000", "fbfff0000000000000", "fb0000",  # floats
        "c100", "c249010000000000000000", "d82b4100", "d82a00", "d82a40", "d82a4100", "d82a4101",  # tags
        "d82a582500" + LINK.hex() + "00", "d82a582600" + LINK.hex() + "00", "d82a582501" + LINK.hex(),
        "a10000", "a1410000", "a2616100616100", "a2616200616100", "a262616100616200", "a26161000000",  # keys
        "61ff", "62c080", "63eda080", "a161ff00",  # no UTF-8
        "0000", "8100" + "00", "41", "6161" + "61", "82f6", "a16161", "9a00ffffff", "ba00ffffff", "5b7fffffffffffffff",
    ],
)  # fmt: skip
def test_what_is_not_strict_is_refused(block: str) -> None:
    assert refuses(bytes.fromhex(block))


def test_negative_fixtures_are_refused() -> None:
    for path in fixtures("codec-fixtures/negative-fixtures/dag-cbor/decode/*.json"):
        for case in json.loads(path.read_text()):
            assert refuses(bytes.fromhex(case["hex"])), case["name"]


def test_depth_and_values_are_limited() -> None:
    assert dag_cbor.decode(b"\x81" * datamodel.DEPTH_MAX + b"\xf6") != []
    assert refuses(b"\x81" * (datamodel.DEPTH_MAX + 1) + b"\xf6")
    most = datamodel.VALUES_MAX - 1
    assert len(dag_cbor.decode(b"\x9a" + most.to_bytes(4, "big") + bytes(most))) == most
    assert refuses(b"\x9a" + (most + 1).to_bytes(4, "big") + bytes(most + 1))
    assert refuses(bytes(3 << 20))


def test_a_link_may_carry_its_content() -> None:
    assert dag_cbor.decode(to_cbor(Link(identity(b"hi")))) == Link(identity(b"hi"))
