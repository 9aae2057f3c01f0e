"""Keys, ids and signatures against golden vectors and against the libraries other people use."""

from __future__ import annotations

import subprocess
import sys

import golden
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval.errors import ErrorCode, LocalProtocolError, RemoteProtocolError
from retrieval.identity import (
    EvmAddress,
    EvmKey,
    PeerId,
    PeerKey,
    assert_fast_signatures,
    format_address,
    format_peer_id,
    keccak256,
    parse_address,
    parse_peer_id,
    peer_id_of,
    public_key_of,
    recover_address,
    verify_peer,
)

VECTORS = golden.load("identity")
ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
PEER = PeerKey.from_seed(bytes(range(32)))
WALLET = EvmKey.from_secret(bytes(range(1, 33)))
DIGEST = keccak256(b"a digest")


def refusal_of_signature(digest: bytes, signature: bytes) -> str:
    with pytest.raises(RemoteProtocolError) as refused:
        recover_address(digest, signature)
    assert refused.value.code is ErrorCode.BAD_SIGNATURE
    return refused.value.detail


# peers


@pytest.mark.parametrize("vector", VECTORS["peers"], ids=lambda vector: vector["text"][-6:])
def test_a_peer_key_has_the_id_and_makes_the_signatures_of_the_vectors(vector):
    key = PeerKey.from_seed(bytes.fromhex(vector["seed"]))
    assert key.peer_id.hex() == vector["peer_id"]
    assert key.seed.hex() == vector["seed"]
    for signed in vector["signatures"]:
        body, signature = bytes.fromhex(signed["body"]), bytes.fromhex(signed["signature"])
        assert key.sign(signed["kind"], body) == signature
        verify_peer(key.peer_id, signed["kind"], body, signature)


@pytest.mark.parametrize("vector", VECTORS["peers"], ids=lambda vector: vector["text"][-6:])
def test_a_peer_id_is_written_in_base58_and_read_in_every_form(vector):
    peer_id = bytes.fromhex(vector["peer_id"])
    assert format_peer_id(PeerId(peer_id)) == vector["text"]
    assert {parse_peer_id(vector[form]) for form in ("text", "text_cid_base36", "text_cid_base32")} == {peer_id}


def test_libp2p_gives_the_same_key_the_same_peer_id():
    ed25519 = pytest.importorskip("libp2p.crypto.ed25519")
    peer = pytest.importorskip("libp2p.peer.id")
    theirs = peer.ID.from_pubkey(ed25519.create_new_key_pair(PEER.seed).public_key)
    assert theirs.to_bytes() == PEER.peer_id
    assert str(theirs) == format_peer_id(PEER.peer_id)


@pytest.mark.parametrize("text", VECTORS["peer_id_texts_refused"])
def test_other_keys_and_other_texts_are_no_peer_ids(text):
    with pytest.raises(RemoteProtocolError) as refused:
        parse_peer_id(text)
    assert refused.value.code is ErrorCode.UNSUPPORTED_KEY


@given(st.text(max_size=140))
def test_any_text_is_a_peer_id_or_refused_with_one_error(text):
    try:
        peer_id = parse_peer_id(text)
    except RemoteProtocolError as refused:
        if refused.code is not ErrorCode.UNSUPPORTED_KEY:
            raise
    else:
        assert peer_id_of(public_key_of(peer_id)) == peer_id


@given(st.binary(min_size=32, max_size=32))
def test_a_peer_id_survives_being_shown_and_read(public_key):
    peer_id = peer_id_of(public_key)
    assert parse_peer_id(format_peer_id(peer_id)) == peer_id


@pytest.mark.parametrize("peer_id", [b"", PEER.peer_id[:-1], PEER.peer_id + b"\0", b"\x12\x20" + bytes(32), bytes(38)])
def test_a_signature_of_anything_but_an_ed25519_peer_is_refused(peer_id):
    with pytest.raises(RemoteProtocolError) as refused:
        verify_peer(PeerId(peer_id), "quote", b"body", bytes(64))
    assert refused.value.code is ErrorCode.UNSUPPORTED_KEY


@pytest.mark.parametrize(
    ("kind", "body", "signature"),
    [
        ("receipt", b"body", PEER.sign("quote", b"body")),
        ("quote", b"bodY", PEER.sign("quote", b"body")),
        ("quote", b"body", PeerKey.from_seed(bytes(32)).sign("quote", b"body")),
        ("quote", b"body", PEER.sign("quote", b"body")[:-1]),
        ("quote", b"body", PEER.sign("quote", b"body") + b"\0"),
        ("quote", b"body", b""),
        ("quote", b"body", bytes(64)),
    ],
    ids=["another kind", "another body", "another key", "short", "long", "none", "zeros"],
)
def test_a_peer_signature_counts_for_its_key_kind_and_body_only(kind, body, signature):
    with pytest.raises(RemoteProtocolError) as refused:
        verify_peer(PEER.peer_id, kind, body, signature)
    assert refused.value.code is ErrorCode.BAD_SIGNATURE


@given(st.integers(0, 511))
def test_a_peer_signature_with_any_bit_flipped_is_refused(bit):
    signature = (int.from_bytes(PEER.sign("quote", b"body"), "big") ^ 1 << bit).to_bytes(64, "big")
    with pytest.raises(RemoteProtocolError) as refused:
        verify_peer(PEER.peer_id, "quote", b"body", signature)
    assert refused.value.code is ErrorCode.BAD_SIGNATURE


def test_a_key_of_a_small_order_point_verifies_nothing():
    neutral = PeerId(peer_id_of(b"\x01" + bytes(31)))
    with pytest.raises(RemoteProtocolError) as refused:
        verify_peer(neutral, "quote", b"body", b"\x01" + bytes(63))
    assert refused.value.code is ErrorCode.BAD_SIGNATURE


# EVM accounts


@pytest.mark.parametrize("vector", VECTORS["keccak256"], ids=lambda vector: f"{len(vector['message']) // 2} bytes")
def test_keccak_is_the_one_of_the_evm(vector):
    assert keccak256(bytes.fromhex(vector["message"])).hex() == vector["digest"]


@pytest.mark.parametrize("vector", VECTORS["evm"], ids=lambda vector: vector["address"])
def test_an_evm_key_has_the_address_and_makes_the_signature_of_the_vector(vector):
    key = EvmKey.from_secret(bytes.fromhex(vector["secret"]))
    digest, signature = bytes.fromhex(vector["digest"]), bytes.fromhex(vector["signature"])
    assert format_address(key.address) == vector["address"]
    assert key.secret.hex() == vector["secret"]
    assert key.sign_digest(digest) == signature
    assert recover_address(digest, signature) == key.address


@given(st.integers(1, ORDER - 1), st.binary(min_size=32, max_size=32))
def test_the_account_that_signed_is_recovered(secret, digest):
    key = EvmKey.from_secret(secret.to_bytes(32, "big"))
    signature = key.sign_digest(digest)
    assert recover_address(digest, signature) == key.address
    assert signature[64] in (27, 28)
    assert int.from_bytes(signature[32:64], "big") <= ORDER // 2


def test_the_twin_of_a_signature_with_a_high_s_is_refused():
    signature = WALLET.sign_digest(DIGEST)
    high_s = ORDER - int.from_bytes(signature[32:64], "big")
    twin = signature[:32] + high_s.to_bytes(32, "big") + bytes((55 - signature[64],))
    assert "out of range" in refusal_of_signature(DIGEST, twin)


@pytest.mark.parametrize("size", [0, 64, 66, 130])
def test_a_signature_of_another_length_is_refused(size):
    assert "65 bytes" in refusal_of_signature(DIGEST, WALLET.sign_digest(DIGEST)[:64].ljust(size, b"\x1b")[:size])


@pytest.mark.parametrize("v", [0, 1, 26, 29, 30, 255])
def test_a_signature_with_another_v_is_refused(v):
    assert "neither 27 nor 28" in refusal_of_signature(DIGEST, WALLET.sign_digest(DIGEST)[:64] + bytes((v,)))


@pytest.mark.parametrize(("r", "s"), [(0, 0), (0, 1), (1, 0), (ORDER, 1), (1, ORDER), (2**256 - 1, 1)])
def test_a_signature_with_numbers_outside_the_group_is_refused(r, s):
    assert "out of range" in refusal_of_signature(DIGEST, r.to_bytes(32, "big") + s.to_bytes(32, "big") + b"\x1b")


def test_an_r_that_is_no_point_of_the_curve_is_refused():
    assert refusal_of_signature(DIGEST, (5).to_bytes(32, "big") + (1).to_bytes(32, "big") + b"\x1b") == "no key makes this signature"


@given(st.binary(min_size=65, max_size=65))
def test_any_65_bytes_recover_an_address_or_are_refused(signature):
    try:
        address = recover_address(DIGEST, signature)
    except RemoteProtocolError as refused:
        if refused.code is not ErrorCode.BAD_SIGNATURE:
            raise
    else:
        assert len(address) == 20


@pytest.mark.parametrize("secret", [b"", bytes(31), bytes(32), bytes(33), ORDER.to_bytes(32, "big"), b"\xff" * 32])
def test_a_secret_outside_the_group_makes_no_key(secret):
    with pytest.raises(LocalProtocolError) as refused:
        EvmKey.from_secret(secret)
    assert refused.value.code is ErrorCode.CONFIG_INVALID


@pytest.mark.parametrize("seed", [b"", bytes(31), bytes(33), bytes(64)])
def test_a_seed_of_another_length_makes_no_key(seed):
    with pytest.raises(LocalProtocolError) as refused:
        PeerKey.from_seed(seed)
    assert refused.value.code is ErrorCode.CONFIG_INVALID


@pytest.mark.parametrize("text", VECTORS["eip55"])
def test_addresses_are_read_in_one_case_and_shown_with_their_checksum(text):
    address = parse_address(text)
    assert format_address(address) == text
    assert parse_address(text.lower()) == parse_address("0x" + text[2:].upper()) == address


@pytest.mark.parametrize(
    "text",
    [
        "",
        "0x",
        "0x" + "0" * 39,
        "0x" + "0" * 41,
        "00" * 20,
        "0x" + "0g" * 20,
        " 0x" + "00" * 20,
        "0x" + "٠" * 40,
        "0x5aaeb6053F3E94C9b9A09f33669435E7Ef1BeAed",
    ],
)
def test_a_mistyped_address_is_refused(text):
    with pytest.raises(LocalProtocolError) as refused:
        parse_address(text)
    assert refused.value.code is ErrorCode.INVALID_ADDRESS


@given(st.binary(min_size=20, max_size=20))
def test_an_address_survives_being_shown_and_read(address):
    assert parse_address(format_address(EvmAddress(address))) == address


# secrets and start-up


@pytest.mark.parametrize(("key", "secret"), [(PEER, PEER.seed), (WALLET, WALLET.secret)], ids=["peer", "evm"])
def test_no_key_shows_its_secret(key, secret):
    assert secret.hex() not in f"{key!r} {key} {[key]}"
    assert not hasattr(key, "__dict__")


def test_generated_keys_differ():
    assert PeerKey.generate().peer_id != PeerKey.generate().peer_id
    assert EvmKey.generate().address != EvmKey.generate().address


def test_signatures_are_fast_where_libsecp256k1_is_there():
    assert_fast_signatures()


def test_without_coincurve_a_node_still_has_an_identity_but_refuses_to_sell():
    program = """
import sys
sys.modules["coincurve"] = None  # as if it were not installed
from retrieval.errors import ErrorCode, LocalProtocolError
from retrieval.identity import PeerKey, assert_fast_signatures, verify_peer
key = PeerKey.generate()
verify_peer(key.peer_id, "quote", b"free", key.sign("quote", b"free"))
try:
    assert_fast_signatures()
except LocalProtocolError as refused:
    assert refused.code is ErrorCode.SLOW_SIGNATURES
    print("refused")
"""
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=False)
    assert ran.stdout == "refused\n", ran.stderr


def test_importing_the_door_loads_neither_the_evm_libraries_nor_multiformats():
    program = """
import sys
import retrieval.identity, retrieval.payment.voucher
print(sorted({"coincurve", "Crypto", "multiformats", "web3", "eth_account", "libp2p"} & set(sys.modules)))
"""
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=True)
    assert ran.stdout == "[]\n"
