import json

import pytest
from documents import documents, to_json
from foreign import fixtures
from hypothesis import given
from hypothesis import strategies as st

from retrieval.cid import RAW, cid_of, format_cid
from retrieval.dag import dag_cbor, dag_json, datamodel
from retrieval.dag.datamodel import Link, Value
from retrieval.errors import ErrorCode, RemoteProtocolError

LINK = format_cid(cid_of(RAW, b"x"))


def refuses(block: bytes) -> bool:
    with pytest.raises(RemoteProtocolError) as refused:
        dag_json.decode(block)
    return refused.value.code is ErrorCode.MALFORMED_BLOCK


@given(documents)
def test_what_is_written_is_read(document: Value) -> None:
    assert dag_json.decode(to_json(document)) == document


@given(st.binary(max_size=30) | st.text(alphabet='{}[]":,/\\ubytes0123ed8-. ', max_size=30).map(str.encode))
def test_other_bytes_raise_nothing_but_the_registered_error(block: bytes) -> None:
    try:
        dag_json.decode(block)
    except RemoteProtocolError as error:
        assert error.code is ErrorCode.MALFORMED_BLOCK  # noqa: PT017 (most bytes are refused, some are not)


def test_public_fixtures_are_read_as_their_twins_in_cbor() -> None:
    paths = fixtures("codec-fixtures/fixtures/*/*.dag-json")
    assert len(paths) > 100
    n_twins = 0
    for path in paths:
        document = dag_json.decode(path.read_bytes())
        for twin in path.parent.glob("*.dag-cbor"):
            assert dag_cbor.decode(twin.read_bytes()) == document, path.parent.name
            n_twins += 1
    assert n_twins > 100


def test_negative_fixtures_are_refused() -> None:
    for path in fixtures("codec-fixtures/negative-fixtures/dag-json/decode/*.json"):
        for case in json.loads(path.read_text()):
            assert refuses(bytes.fromhex(case["hex"])), case["name"]


def test_white_space_and_the_order_of_keys_are_left_as_they_stand() -> None:
    document = dag_json.decode(b' {\n "b" : [ 1 , 2.5 ] ,\t"a" : null } ')
    assert list(document.items()) == [("b", [1, 2.5]), ("a", None)]


@pytest.mark.parametrize(
    "block",
    [
        *("", "{", "[", "[1,]", "{'a':1}", "nul", "1 2", '"', '"\\', '"a\\"', '"\n"', "[1", '{"a"}', "\ufeff1", "01", "+1", ".5"),
        *("NaN", "Infinity", "-Infinity", "1e999", str(1 << 64), str(-(1 << 64) - 1), "1" * 5000),
        *('{"a":1,"a":1}', '{"/":1}', '{"/":null}', '{"/":[]}', '{"/":{}}', '{"/":{"bytes":1}}', '{"/":{"bytes":"","x":1}}'),
        *('{"/":""}', '{"/":"x"}', '{"/":"b"}', '{"/":"b1"}', '{"/":"z"}', '{"/":"z0"}', '{"/":"Qm"}', '{"/":"f0155"}'),
        *(f'{{"/":"{LINK.upper()}"}}', f'{{"/":"b{LINK[1:].upper()}"}}', f'{{"/":"{LINK}a"}}', f'{{"/":"{LINK}","x":1}}'),
        *('{"/":{"bytes":"YQ=="}}', '{"/":{"bytes":"Y"}}', '{"/":{"bytes":"Y Q"}}', '{"/":{"bytes":"__"}}', f'{{"/":"b{"a" * 600}"}}'),
        *('"\\ud800"', '["\\udfff\\ud800"]', '{"\\ud83d":1}', '{"a":{"b":["\\uDC00"]}}'),
    ],
)
def test_what_two_readers_could_take_differently_is_refused(block: str) -> None:
    assert refuses(block.encode())


def test_surrogates_in_pairs_are_text() -> None:
    assert dag_json.decode(b'["\\ud83d\\ude00"]') == ["\U0001f600"]


def test_links_may_be_in_base58() -> None:
    version_0 = dag_json.decode(b'{"/":"QmXg9Pp2ytZ14xgmQjYEiHjVjMFXzCVVEcRTWJBmLgR39V"}')
    assert format_cid(version_0.cid) == "QmXg9Pp2ytZ14xgmQjYEiHjVjMFXzCVVEcRTWJBmLgR39V"
    version_1 = dag_json.decode(b'{"/":"zdj7Wd8AMwqnhJGQCbFxBVodGSBG84TM7Hs1rcJuQMwTyfEDS"}')
    assert isinstance(version_1, Link)
    assert version_1.cid[0] == 1


def test_depth_and_values_are_limited() -> None:
    deepest = b"[" * datamodel.DEPTH_MAX + b"]" * datamodel.DEPTH_MAX
    assert dag_json.decode(deepest) != []
    assert refuses(b"[" + deepest + b"]")
    assert refuses(b'{"a":' * 100_000)
    assert refuses(b"[" + b"1," * datamodel.VALUES_MAX + b"1]")
    assert dag_json.decode(b'"' + b"[{," * datamodel.VALUES_MAX + b'"') == "[{," * datamodel.VALUES_MAX
    assert refuses(b"\xff")
    assert refuses(b" " * (3 << 20))


def test_a_text_of_nothing_but_escapes_is_read_once() -> None:
    assert refuses(b'"' + b'\\"' * (1 << 19))
    assert len(dag_json.decode(b'"' + b'\\"' * (1 << 19) + b'"')) == 1 << 19
