import base64
import hashlib

import pytest
from foreign import fixtures
from hypothesis import given
from hypothesis import strategies as st
from multiformats import CID
from refusals import may_refuse

from retrieval._native import BlockStatus
from retrieval.cid import DAG_PB, IDENTITY, RAW, SHA2_256, Cid, cid_of, format_cid, is_identity, parse_cid, parts, verify
from retrieval.errors import ErrorCode, RemoteProtocolError

BLAKE3_OF = {
    0: "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262",
    1: "2d3adedff11b61f14c886e35afa036736dcd87a74d27b5c1510225d0f592e213",
    1024: "42214739f095a406f3fc83deb889744ac00df831c10daa55189b5d121c855af7",
    1025: "d00278ae47eb27b34faecf67b4fe263f82d5412916c1ffd97c8cb7fb814b8444",
}
"""Of inputs of some lengths that count up modulo 251: BLAKE3's own test_vectors.json. One more byte than 1024 begins a tree."""
EMPTY_FILE = "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku"

cids = st.one_of(
    st.binary(max_size=200).map(lambda payload: cid_of(RAW, payload)),
    st.binary(max_size=200).map(lambda payload: cid_of(DAG_PB, payload)),
    st.binary(max_size=200).map(lambda payload: Cid(b"\x12\x20" + hashlib.sha256(payload).digest())),
    st.binary(max_size=64).map(lambda payload: Cid(bytes((1, RAW, IDENTITY, len(payload))) + payload)),
)


@given(cids)
def test_multiformats_reads_our_text_as_the_same_cid(cid: Cid) -> None:
    assert bytes(CID.decode(format_cid(cid))) == cid


@given(cids)
def test_multiformats_and_the_core_take_a_cid_apart_alike(cid: Cid) -> None:
    theirs, ours = CID.decode(bytes(cid)), parts(cid)
    assert (ours.version, ours.codec, ours.hash_code) == (theirs.version, theirs.codec.code, theirs.hashfun.code)
    assert ours.digest == theirs.raw_digest
    assert is_identity(cid) == (theirs.hashfun.name == "identity")


@given(cids)
def test_text_reads_back_as_the_same_cid(cid: Cid) -> None:
    assert parse_cid(format_cid(cid)) == cid


@given(cids, st.sampled_from(["base16", "base32", "base32upper", "base36", "base58btc", "base64url"]))
def test_any_multibase_is_understood(cid: Cid, base: str) -> None:
    decoded = CID.decode(bytes(cid))
    text = str(decoded) if decoded.version == 0 else decoded.encode(base)
    assert parse_cid(text) == cid


def test_the_empty_file_has_its_well_known_name() -> None:
    assert format_cid(cid_of(RAW, b"")) == EMPTY_FILE
    assert parse_cid(f"ipfs://{EMPTY_FILE}") == parse_cid(f"/ipfs/{EMPTY_FILE}") == cid_of(RAW, b"")


def test_version_0_is_shown_without_a_multibase_letter() -> None:
    assert format_cid(Cid(b"\x12\x20" + hashlib.sha256(b"").digest())).startswith("Qm")


def test_a_cid_of_an_unknown_codec_can_be_shown() -> None:
    assert format_cid(Cid(b"\x01\xff\xff\x03\x12\x20" + bytes(32))).startswith("b")


@pytest.mark.parametrize(
    "text",
    ["", "   ", "hello", "Qm", EMPTY_FILE[:-1], EMPTY_FILE + "a", "z" + EMPTY_FILE, "b" * 600, "bafk reih", "baaaa", "水"],
)
def test_what_is_no_cid_is_refused(text: str) -> None:
    with pytest.raises(RemoteProtocolError) as refused:
        parse_cid(text)
    assert refused.value.code is ErrorCode.INVALID_CID


@given(st.one_of(st.text(max_size=80), st.text("0179fvtTbBcCkKhHzZmMuUpF/=-_", max_size=80)))
def test_no_text_raises_anything_else(text: str) -> None:
    with may_refuse(ErrorCode.INVALID_CID):
        parse_cid(text)


@given(st.binary(max_size=60))
def test_no_bytes_raise_anything_else(data: bytes) -> None:
    with may_refuse(ErrorCode.INVALID_CID):
        parts(data)


def test_names_of_foreign_fixtures_are_the_cids_of_their_content() -> None:
    for path in fixtures("codec-fixtures/fixtures/*/*.dag-pb"):
        cid = parse_cid(path.stem)
        assert parts(cid).hash_code == SHA2_256
        assert cid == cid_of(DAG_PB, path.read_bytes())
        assert base64.b32decode(path.stem[1:].upper() + "=" * (-len(path.stem[1:]) % 8)) == cid


@pytest.mark.parametrize("size", BLAKE3_OF)
def test_a_payload_is_held_against_its_blake3_digest(size: int) -> None:
    payload, digest = bytes(at % 251 for at in range(size)), bytes.fromhex(BLAKE3_OF[size])
    assert verify(b"\x01\x55\x1e\x20" + digest, payload) is BlockStatus.OK
    assert verify(b"\x01\x55\x1e\x20" + digest, memoryview(payload + b"!")) is BlockStatus.CORRUPT


@given(cids)
def test_a_payload_is_what_its_cid_says_or_is_not(cid: Cid) -> None:
    assert verify(cid, b"another payload") is BlockStatus.CORRUPT
    if is_identity(cid):
        assert verify(cid, parts(cid).digest) is BlockStatus.OK


def test_a_truncated_digest_or_another_hash_cannot_be_verified() -> None:
    digest = bytes.fromhex(BLAKE3_OF[0])
    for multihash in (b"\x1e\x10" + digest[:16], b"\x1e\x21" + digest + b"\x26", b"\x13\x20" + digest):
        assert verify(b"\x01\x55" + multihash, b"") is BlockStatus.UNSUPPORTED_HASH
    assert verify(b"\x01\x55\x1e", b"") is BlockStatus.MALFORMED
