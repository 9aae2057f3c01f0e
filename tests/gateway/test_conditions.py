import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval.dag.byterange import ByteRange
from retrieval.gateway.conditions import OutsideContent, has_it, part_of, wanted_bytes
from retrieval.units import SIZE_BYTES_MAX

ETAG = '"bafy.raw"'


@pytest.mark.parametrize("field", [ETAG, f"W/{ETAG}", f'"a", "b" ,{ETAG}', "*", " * ", f'W/"x",W/{ETAG}'])
def test_a_tag_that_is_named_is_had(field: str) -> None:
    assert has_it(field, ETAG)
    assert has_it(field, f"W/{ETAG}")


@pytest.mark.parametrize("field", ["", "bafy.raw", '"bafy"', '"bafy.raw', '"*"', "a, b"])
def test_another_tag_is_not_had(field: str) -> None:
    assert not has_it(field, ETAG)


@pytest.mark.parametrize(
    ("field", "part"),
    [
        ("", None),
        ("bytes=0-0", (0, 1)),
        ("bytes=6-16", (6, 17)),
        ("bytes=6-", (6, 31)),
        ("bytes=-3", (28, 31)),
        ("bytes=-99", (0, 31)),
        ("bytes=0-99", (0, 31)),
        ("bytes=6-16,0-4", (6, 17)),
        ("Bytes = 1-2", (1, 3)),
        ("bytes=5-2", None),
        ("bytes=a-b", None),
        ("bytes=-", None),
        ("blocks=0-1", None),
        ("bytes=٣-٤", None),
        (f"bytes=0-{'9' * 20}", None),
    ],
)
def test_a_range_is_what_overlaps_the_content(field: str, part: tuple[int, int] | None) -> None:
    assert wanted_bytes(field, "", ETAG, 31) == part


@pytest.mark.parametrize("field", ["bytes=31-", "bytes=99-100", "bytes=-0"])
def test_a_range_behind_the_end_says_where_the_end_is(field: str) -> None:
    with pytest.raises(OutsideContent) as refused:
        wanted_bytes(field, "", ETAG, 31)
    assert refused.value.size_bytes == 31


def test_a_range_of_something_else_is_no_range() -> None:
    assert wanted_bytes("bytes=0-1", ETAG, ETAG, 31) == (0, 2)
    assert wanted_bytes("bytes=0-1", '"other"', ETAG, 31) is None
    assert wanted_bytes("bytes=0-1", f"W/{ETAG}", ETAG, 31) is None  # a weak tag promises no equal bytes (RFC 9110, 13.1.5)


@given(field=st.text(max_size=40) | st.from_regex(r"bytes=[0-9]{0,4}-[0-9]{0,4}(,[0-9]-)?", fullmatch=True), size=st.integers(0, 2000))
def test_any_range_lies_inside_or_outside(field: str, size: int) -> None:
    try:
        part = wanted_bytes(field, "", ETAG, size)
    except OutsideContent:
        return
    assert part is None or 0 <= part[0] < part[1] <= size


@pytest.mark.parametrize(
    ("field", "part"),
    [
        ("", None),
        ("bytes=0-99", ByteRange(first=0, last=99)),
        ("bytes=100-", ByteRange(first=100)),
        ("bytes=-100", ByteRange(first=-100)),
        ("bytes=-0", ByteRange(first=0, last=0)),
        ("bytes=5-9,20-30", ByteRange(first=5, last=9)),
        ("bytes=9-5", None),
        ("lines=1-2", None),
        ("bytes=1-2-3", None),
        ("bytes=9999999999999999999-", ByteRange(first=SIZE_BYTES_MAX)),
        ("bytes=0-9999999999999999999", ByteRange(first=0, last=SIZE_BYTES_MAX)),
    ],
)
def test_a_part_is_known_before_the_size_is(field: str, part: ByteRange | None) -> None:
    assert part_of(field) == part


@given(st.from_regex(r"bytes=([0-9]{0,5}-[0-9]{0,5})(,[0-9]{1,3}-)?", fullmatch=True), st.integers(1, 1 << 16))
def test_a_part_has_the_bytes_that_the_range_has_once_the_size_is_known(field: str, size: int) -> None:
    try:
        wanted = wanted_bytes(field, "", '"x"', size)
    except OutsideContent:
        return
    part = part_of(field)
    assert (part.resolve(size) if part is not None else None) == wanted
