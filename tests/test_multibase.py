"""Bases: what is read and written here is what the multiformats package reads and writes."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multiformats import multibase as reference

from retrieval.multibase import decode, to_base32, to_base58

CID_V1 = "bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy"
PEER = "12D3KooWD3eckifWpRn9wQpMG9R9hX3sD158z7EqHWmweQAJU5SA"
LETTERS = "bzBZfkumQ1" + "".join(chr(code) for code in range(32, 127)) + "é="


@given(st.binary(max_size=64) | st.binary(max_size=8).map(lambda data: bytes(4) + data))
def test_bytes_are_written_as_the_package_writes_them_and_read_back(data: bytes) -> None:
    assert "z" + to_base58(data) == reference.encode(data, "base58btc")
    assert "b" + to_base32(data) == reference.encode(data, "base32")
    assert decode("z" + to_base58(data)) == decode("b" + to_base32(data)) == data


@pytest.mark.parametrize("base", ["base16", "base32upper", "base36", "base58flickr", "base64url"])
@given(data=st.binary(max_size=40))
def test_the_other_bases_are_read_too(base: str, data: bytes) -> None:
    assert decode(reference.encode(data, base)) == data


@given(
    st.text(LETTERS, max_size=60) | st.sampled_from("bz").flatmap(lambda base: st.text(LETTERS, max_size=20).map(lambda text: base + text))
)
def test_what_the_package_refuses_is_refused(text: str) -> None:
    try:
        expected = bytes(reference.decode(text))
    except (ValueError, LookupError):
        with pytest.raises((ValueError, LookupError)):
            decode(text)
    else:
        assert decode(text) == expected


def test_common_spellings_do_not_load_the_package() -> None:
    program = (
        "import sys; from retrieval.cid import format_cid, parse_cid; from retrieval.identity import format_peer_id, parse_peer_id\n"
        f"assert format_cid(parse_cid({CID_V1!r})) == {CID_V1!r}; assert format_peer_id(parse_peer_id({PEER!r})) == {PEER!r}\n"
        "sys.exit('multiformats' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
