import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval.cid import RAW, cid_of
from retrieval.dag.byterange import ByteRange
from retrieval.errors import ErrorCode, RemoteProtocolError
from retrieval.units import SIZE_BYTES_MAX
from retrieval.wire.messages import Scope, Selection

positions = st.integers(-12, 12)


@given(first=positions, last=st.none() | positions, size=st.integers(0, 10))
def test_a_range_is_what_overlaps_the_file(first: int, last: int | None, size: int) -> None:
    wanted = {
        at
        for at in range(size)
        if at >= (first if first >= 0 else size + first) and (last is None or at <= (last if last >= 0 else size + last))
    }
    start, stop = ByteRange(first=first, last=last).resolve(size)
    assert set(range(start, stop)) == wanted


@pytest.mark.parametrize(
    ("text", "byte_range"),
    [
        ("0:*", ByteRange()),
        ("0:0", ByteRange(last=0)),
        ("7:9", ByteRange(first=7, last=9)),
        ("-1024:*", ByteRange(first=-1024)),
        ("499:-1000", ByteRange(first=499, last=-1000)),
        ("-5:3", ByteRange(first=-5, last=3)),
        (f"-{SIZE_BYTES_MAX}:{SIZE_BYTES_MAX}", ByteRange(first=-SIZE_BYTES_MAX, last=SIZE_BYTES_MAX)),
    ],
)
def test_text_is_read_and_written(text: str, byte_range: ByteRange) -> None:
    assert ByteRange.parse(text) == byte_range
    assert str(byte_range) == text


@pytest.mark.parametrize(
    "text",
    [
        *("", ":", "0", "0:", ":5", "*:5", "*:*", "0:**", "+1:2", "1:+2", " 1:2", "1:2 ", "1:2\n", "0x1:2", "1.0:2", "١:٢", "--1:2"),
        *("5:4", "-4:-5", "1" * 20 + ":*", f"{SIZE_BYTES_MAX + 1}:*", f"0:-{SIZE_BYTES_MAX + 1}"),
    ],
)
def test_other_text_is_refused(text: str) -> None:
    with pytest.raises(RemoteProtocolError) as refused:
        ByteRange.parse(text)
    assert refused.value.code is ErrorCode.INVALID_RANGE


@pytest.mark.parametrize(
    ("start", "end", "byte_range"),
    [(None, None, None), (0, None, ByteRange()), (None, 5, ByteRange(last=5)), (-5, -1, ByteRange(first=-5, last=-1))],
)
def test_a_selection_names_its_range(start: int | None, end: int | None, byte_range: ByteRange | None) -> None:
    selection = Selection(root=cid_of(RAW, b""), path=(), scope=Scope.ENTITY, range_start=start, range_end=end)
    assert ByteRange.of(selection) == byte_range
