import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval.gateway.media import OCTETS, SNIFFED_BYTES, media_type_by_beginning, media_type_by_name


@pytest.mark.parametrize(
    ("name", "media_type"),
    [
        ("a.html", "text/html; charset=utf-8"),
        ("a.TXT", "text/plain; charset=utf-8"),
        ("photo.jpeg", "image/jpeg"),
        ("photo.webp", "image/webp"),
        ("film.mp4", "video/mp4"),
        ("a.json", "application/json"),
        ("module.wasm", "application/wasm"),
        ("archive.tar.gz", "application/gzip"),
        ("README", None),
        ("what.neverheard", None),
        ("javascript:alert(1)", None),
    ],
)
def test_a_name_tells_what_a_file_is(name: str, media_type: str | None) -> None:
    assert media_type_by_name(name) == media_type


@pytest.mark.parametrize(
    ("head", "media_type"),
    [
        (b"", "text/plain; charset=utf-8"),
        (b"hello", "text/plain; charset=utf-8"),
        ("Grüße".encode()[:3], "text/plain; charset=utf-8"),  # a letter cut in two
        (b"\x89PNG\r\n\x1a\nrest", "image/png"),
        (b"\0\0\0\x20ftypisom", "video/mp4"),
        (b"RIFF\0\0\0\0WEBPVP8 ", "image/webp"),
        (b"%PDF-1.7", "application/pdf"),
        (b"  <!DOCTYPE html><html>", "text/html; charset=utf-8"),
        (b"<?xml version='1.0'?><svg xmlns='x'>", "image/svg+xml"),
        (b"<?xml version='1.0'?><rss>", "text/xml; charset=utf-8"),
        (b'{"hello": "world"}', "application/json"),
        (b'{"hello": ', "text/plain; charset=utf-8"),
        (b"{not json}", "text/plain; charset=utf-8"),
        (b"[" * 600, "text/plain; charset=utf-8"),
        (b"\x00\x01\x02", OCTETS),
        (b"\xff\xfe\xfd", OCTETS),
    ],
)
def test_without_a_name_the_beginning_tells(head: bytes, media_type: str) -> None:
    assert media_type_by_beginning(head, is_whole=True) == media_type


def test_the_beginning_of_a_long_json_text_is_enough() -> None:
    assert media_type_by_beginning(b'[{"a": 1}, ' * 60, is_whole=False) == "application/json"


@given(head=st.binary(max_size=SNIFFED_BYTES), is_whole=st.booleans())
def test_anything_is_called_something(head: bytes, is_whole: bool) -> None:
    assert "/" in media_type_by_beginning(head, is_whole=is_whole)
