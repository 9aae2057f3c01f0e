import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval.errors import ErrorCode, RemoteProtocolError
from retrieval.gateway.formats import Format, Wish, wish_of

CAR = "application/vnd.ipld.car"
RAW = "application/vnd.ipld.raw"
BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8"


def wish(accept: str = "", **query: str) -> Wish:
    return wish_of({name.replace("_", "-"): value for name, value in query.items()}, accept)


def code_of(accept: str = "", **query: str) -> ErrorCode:
    with pytest.raises(RemoteProtocolError) as refused:
        wish(accept, **query)
    return refused.value.code


@pytest.mark.parametrize(
    ("accept", "formats"),
    [
        ("", (None,)),
        (BROWSER, (None,)),
        ("*/*", (None,)),
        (RAW, (Format.RAW,)),
        (f"{RAW}, {CAR}", (Format.RAW, Format.CAR)),
        (f"{RAW};q=0.1, {CAR};q=0.2", (Format.CAR, Format.RAW)),
        ("application/json, text/plain, */*", (Format.JSON, None)),
        ("application/vnd.ipld.dag-json", (Format.DAG_JSON,)),
        ("application/vnd.ipld.dag-cbor;q=1.0", (Format.DAG_CBOR,)),
        ("application/cbor", (Format.CBOR,)),
        (f"APPLICATION/VND.IPLD.RAW , {CAR};q=0", (Format.RAW,)),
        ("application/x-tar, */*;q=0.1", (None,)),
        ("application/vnd.ipfs.ipns-record, text/html", (None,)),
        (f"{CAR};version=2, {RAW}", (Format.RAW,)),
        ("what is this?", (None,)),
        (f"{RAW};q=lots, text/html", (None,)),
    ],
)
def test_accept_names_forms_and_what_people_see_is_one(accept: str, formats: tuple[Format | None, ...]) -> None:
    found = wish(accept)
    assert (found.formats, found.is_named_by_url) == (formats, False)
    assert found.likes_pages == ("text/html" in accept)


@pytest.mark.parametrize(
    "accept", ["application/x-tar", "application/vnd.ipfs.ipns-record", f"{CAR};version=2", "application/vnd.ipld.dag-pb"]
)
def test_a_form_that_only_others_serve_is_refused(accept: str) -> None:
    assert code_of(accept) is ErrorCode.UNSUPPORTED_FORMAT


@pytest.mark.parametrize("form", Format)
def test_the_address_has_the_last_word(form: Format) -> None:
    found = wish(f"{RAW}, {CAR}", format=form.value)
    assert (found.formats, found.is_named_by_url) == ((form,), True)


@pytest.mark.parametrize("name", ["tar", "ipns-record", "", "RAW", "html"])
def test_an_address_that_names_no_form_of_ours_is_refused(name: str) -> None:
    assert code_of(RAW, format=name) is ErrorCode.UNSUPPORTED_FORMAT


@pytest.mark.parametrize(
    ("accept", "query", "dups"),
    [
        (CAR, {}, "n"),
        (f"{CAR}; version=1; order=dfs; dups=y", {}, "y"),
        (f'{CAR};dups="y"', {}, "y"),
        (f"{CAR}; order=unk; dups=n", {}, "n"),
        ("", {"format": "car"}, "n"),
        (f"{CAR}; dups=y", {"format": "car"}, "y"),
        (f"{CAR}; dups=n", {"format": "car", "car_dups": "y"}, "y"),
        (f"{CAR}; dups=y; order=unk", {"format": "car", "car_dups": "n", "car_order": "dfs", "car_version": "1"}, "n"),
        (CAR, {"car_dups": "y"}, "y"),
    ],
)
def test_a_car_says_how_it_is_written(accept: str, query: dict[str, str], dups: str) -> None:
    assert wish(accept, **query).car_type == f"application/vnd.ipld.car; version=1; order=dfs; dups={dups}"


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ({"car_version": "2"}, ErrorCode.UNSUPPORTED_FORMAT),
        ({"car_order": "bfs"}, ErrorCode.MALFORMED_REQUEST),
        ({"car_dups": "yes"}, ErrorCode.MALFORMED_REQUEST),
    ],
)
def test_a_car_that_nobody_can_write_is_refused(query: dict[str, str], code: ErrorCode) -> None:
    assert code_of(format="car", **query) is code


def test_what_concerns_a_car_does_not_concern_a_block() -> None:
    assert wish(format="raw", car_order="bfs").formats == (Format.RAW,)


words = st.sampled_from([RAW, CAR, "text/html", "*/*", ";", ",", "q=", "0.5", "=", '"', " ", "dups", "y", "version", "\\", "\x00"])


@given(accept=st.lists(words, max_size=30).map("".join) | st.text(max_size=200))
def test_any_accept_is_answered_or_refused(accept: str) -> None:
    with contextlib.suppress(RemoteProtocolError):
        assert wish(accept).formats
