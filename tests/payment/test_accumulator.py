"""The running Merkle tree against the recursive definition of RFC 9162, section 2.1."""

from __future__ import annotations

import hashlib

import golden
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval.errors import ErrorCode, LocalProtocolError, RemoteProtocolError
from retrieval.payment.accumulator import EMPTY_ROOT, Accumulator, inclusion_proof, verify_inclusion

TREES = golden.load("accumulator")["trees"]
CIDS = [b"\x01\x55\x12\x20" + hashlib.sha256(bytes((n,))).digest() for n in range(130)]

leaves = st.lists(st.binary(max_size=40), max_size=70)
some_leaves = st.lists(st.binary(max_size=40), min_size=1, max_size=70)


def split(n_leaves: int) -> int:
    """The largest power of two below ``n_leaves``."""
    return 1 << (n_leaves - 1).bit_length() - 1


def recursive_root(cids: list[bytes]) -> bytes:
    match cids:
        case []:
            return hashlib.sha256(b"").digest()
        case [cid]:
            return hashlib.sha256(b"\x00" + cid).digest()
        case _:
            k = split(len(cids))
            return hashlib.sha256(b"\x01" + recursive_root(cids[:k]) + recursive_root(cids[k:])).digest()


def recursive_proof(index: int, cids: list[bytes]) -> list[bytes]:
    if len(cids) == 1:
        return []
    k = split(len(cids))
    if index < k:
        return [*recursive_proof(index, cids[:k]), recursive_root(cids[k:])]
    return [*recursive_proof(index - k, cids[k:]), recursive_root(cids[:k])]


def accumulated(cids: list[bytes]) -> Accumulator:
    accumulator = Accumulator()
    accumulator.append_many(cids)
    return accumulator


def assert_refused(cid: bytes, **claim: object) -> None:
    with pytest.raises(RemoteProtocolError) as refused:
        verify_inclusion(cid, **claim)
    assert refused.value.code is ErrorCode.BAD_RECEIPT


@pytest.mark.parametrize("tree", TREES, ids=lambda tree: tree["name"])
def test_roots_peaks_and_proofs_are_those_of_the_vectors(tree):
    cids = [bytes.fromhex(leaf) for leaf in tree["leaves"]]
    accumulator = Accumulator()
    assert accumulator.root().hex() == tree["roots"][0]
    for cid, root in zip(cids, tree["roots"][1:], strict=True):
        accumulator.append(cid)
        assert accumulator.root().hex() == root
    assert accumulator.to_bytes().hex() == tree["state"]
    for proof in tree["proofs"]:
        assert [node.hex() for node in inclusion_proof(cids, proof["index"])] == proof["hashes"]


def test_the_root_of_nothing_is_the_hash_of_nothing():
    assert Accumulator().root() == EMPTY_ROOT == hashlib.sha256(b"").digest()


@given(leaves)
def test_the_running_root_is_the_recursive_one(cids):
    accumulator = accumulated(cids)
    assert accumulator.root() == recursive_root(cids)
    assert accumulator.n_leaves == len(cids)


@given(leaves, leaves)
def test_a_stored_accumulator_goes_on_where_it_stopped(before, after):
    restored = Accumulator.from_bytes(accumulated(before).to_bytes())
    restored.append_many(after)
    assert restored.root() == recursive_root(before + after)


def test_a_copy_goes_its_own_way():
    accumulator = accumulated(CIDS[:5])
    twin = accumulator.copy()
    twin.append(CIDS[5])
    assert accumulator.root() == recursive_root(CIDS[:5])
    assert twin.root() == recursive_root(CIDS[:6])


def test_order_and_repetition_change_the_root():
    a, b = CIDS[:2]
    assert len({accumulated(cids).root() for cids in ([a, b], [b, a], [a, b, b], [a])}) == 4


@given(st.binary(max_size=200))
def test_any_stored_bytes_are_a_state_or_refused(stored):
    try:
        restored = Accumulator.from_bytes(stored)
    except LocalProtocolError as refused:
        if refused.code is not ErrorCode.JOURNAL_BROKEN:
            raise
    else:
        assert restored.to_bytes() == stored


@given(some_leaves, st.data())
def test_a_proof_is_the_recursive_one_and_leads_to_the_root(cids, data):
    index = data.draw(st.integers(0, len(cids) - 1))
    proof = inclusion_proof(cids, index)
    assert proof == recursive_proof(index, cids)
    verify_inclusion(cids[index], index=index, n_leaves=len(cids), proof=proof, root=recursive_root(cids))


@pytest.mark.parametrize("n_leaves", [1, 2, 3, 4, 7, 8, 9, 63, 64, 65, 130])
def test_every_block_of_a_deal_can_be_proven(n_leaves):
    cids = CIDS[:n_leaves]
    root = accumulated(cids).root()
    for index, cid in enumerate(cids):
        verify_inclusion(cid, index=index, n_leaves=n_leaves, proof=inclusion_proof(cids, index), root=root)


@given(st.integers(1, 40), st.data())
def test_a_proof_for_anything_else_is_refused(n_leaves, data):
    cids = CIDS[:n_leaves]
    root = accumulated(cids).root()
    index = data.draw(st.integers(0, n_leaves - 1))
    proof = inclusion_proof(cids, index)
    assert_refused(CIDS[n_leaves], index=index, n_leaves=n_leaves, proof=proof, root=root)
    assert_refused(cids[index], index=index, n_leaves=n_leaves, proof=[*proof, bytes(32)], root=root)
    assert_refused(cids[index], index=index, n_leaves=n_leaves, proof=proof, root=bytes(32))
    for other in (-1, n_leaves, *(at for at in range(n_leaves) if at != index)):
        assert_refused(cids[index], index=other, n_leaves=n_leaves, proof=proof, root=root)
    for missing in range(len(proof)):
        assert_refused(cids[index], index=index, n_leaves=n_leaves, proof=proof[:missing] + proof[missing + 1 :], root=root)


@given(st.integers(-1, 80), st.integers(0, 80), st.lists(st.binary(min_size=31, max_size=33), max_size=70))
def test_an_invented_proof_is_refused(index, n_leaves, proof):
    assert_refused(CIDS[0], index=index, n_leaves=n_leaves, proof=proof, root=bytes(32))


def test_a_node_cannot_be_passed_off_as_a_leaf():
    left, right = (hashlib.sha256(b"\x00" + cid).digest() for cid in CIDS[:2])
    root = accumulated(CIDS[:2]).root()
    assert_refused(left + right, index=0, n_leaves=1, proof=[], root=root)
    assert_refused(b"\x01" + left + right, index=0, n_leaves=1, proof=[], root=root)
