import pytest
from documents import documents
from hypothesis import given

from retrieval.cid import RAW, cid_of
from retrieval.dag.datamodel import Link, Value, child, link_to, links_in
from retrieval.errors import ErrorCode, RemoteProtocolError

A, B, C = (Link(cid_of(RAW, name)) for name in (b"a", b"b", b"c"))


def naive(value: Value) -> list[Link]:
    if isinstance(value, Link):
        return [value]
    inner = value if isinstance(value, list) else value.values() if isinstance(value, dict) else ()
    return [link for below in inner for link in naive(below)]


@given(documents)
def test_links_come_in_the_order_of_the_document(document: Value) -> None:
    assert list(links_in(document)) == naive(document)


def test_repeated_links_repeat() -> None:
    assert list(links_in({"x": [B, {"y": A}, B], "w": C})) == [B, A, B, C]
    assert list(links_in("x")) == []


def test_names_lead_through_maps_and_lists() -> None:
    document = {"a": [10, {"0": "x"}], "": 1, "0": 2}
    assert child(document, "0") == 2
    assert child(document, "") == 1
    assert child(child(document, "a"), "0") == 10
    assert child(child(child(document, "a"), "1"), "0") == "x"


@pytest.mark.parametrize("name", ["2", "-1", "00", "01", "+1", " 1", "1.0", "", "a", "²", "١", "9" * 100])
def test_a_list_has_no_other_names_than_its_indices(name: str) -> None:
    with pytest.raises(KeyError):
        child([1, 2], name)


@pytest.mark.parametrize("value", [None, True, 1, "text", b"bytes", 1.5, A])
def test_nothing_stands_below_a_scalar(value: Value) -> None:
    with pytest.raises(KeyError):
        child(value, "0")


@pytest.mark.parametrize("cid", [b"", b"\x01", A.cid + b"\0", A.cid[:-1], bytes(200)])
def test_bytes_that_are_no_cid_are_no_link(cid: bytes) -> None:
    with pytest.raises(RemoteProtocolError) as refused:
        link_to(cid)
    assert refused.value.code is ErrorCode.MALFORMED_BLOCK
