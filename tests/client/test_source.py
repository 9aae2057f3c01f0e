from __future__ import annotations

import pytest
from retrieval_client.source import Source

from retrieval.cid import RAW, cid_of, format_cid
from retrieval.dag.byterange import ByteRange
from retrieval.errors import ErrorCode, RemoteProtocolError
from retrieval.wire.messages import Scope

CID = cid_of(RAW, b"content")
TEXT = format_cid(CID)


@pytest.mark.parametrize("text", [TEXT, f"/ipfs/{TEXT}", f"ipfs://{TEXT}", f"{TEXT}/", f"  {TEXT}\n"])
def test_a_cid_is_read_however_people_write_it(text: str) -> None:
    assert Source.parse(text) == Source(root=CID)


@pytest.mark.parametrize("text", [f"{TEXT}/docs/a.txt", f"ipfs://{TEXT}/docs/a.txt", f"/ipfs/{TEXT}//docs/a.txt/"])
def test_a_path_follows_the_cid(text: str) -> None:
    assert Source.parse(text) == Source(root=CID, path=("docs", "a.txt"))


def test_what_is_written_reads_back_as_the_same() -> None:
    source = Source(root=CID, path=("docs", "a.txt"))
    assert Source.parse(str(source)) == source
    assert Source.of(source.selection) == source


@pytest.mark.parametrize("byte_range", [None, ByteRange(), ByteRange(first=-5), ByteRange(first=3, last=-2)])
def test_a_part_is_selected_and_walked_as_such(byte_range: ByteRange | None) -> None:
    source = Source(root=CID, path=(), scope=Scope.ENTITY, byte_range=byte_range)
    assert Source.of(source.selection) == source
    assert source.walk().upcoming(1) == [CID]


def test_a_range_of_everything_is_no_selection() -> None:
    with pytest.raises(RemoteProtocolError) as refused:
        Source(root=CID, byte_range=ByteRange()).walk()
    assert refused.value.code is ErrorCode.UNSUPPORTED_SCOPE


@pytest.mark.parametrize(
    ("text", "code"), [("", ErrorCode.INVALID_CID), ("film.mp4", ErrorCode.INVALID_CID), (f"{TEXT}/../x", ErrorCode.INVALID_PATH)]
)
def test_what_is_no_source_is_refused(text: str, code: ErrorCode) -> None:
    with pytest.raises(RemoteProtocolError) as refused:
        Source.parse(text)
    assert refused.value.code is code


def test_content_is_called_by_its_last_name_and_else_by_its_cid() -> None:
    assert Source(root=CID, path=("docs", "a.txt")).name == "a.txt"
    assert Source(root=CID).name == TEXT
