"""The accumulator of a deal: an RFC 9162 Merkle tree over the delivered CIDs, in delivery order.

A leaf is ``SHA-256(0x00 ‖ binary CID)``, a node ``SHA-256(0x01 ‖ left ‖ right)``, the empty tree ``SHA-256("")``. Its running state is
the *peaks*, the roots of the perfect subtrees from left to right, one for each bit set in the number of leaves; so appending costs two
hashes on average and 5 million blocks need less than 23 peaks. With the CIDs at hand, anyone can prove later that one was delivered.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import Final

from retrieval.errors import ErrorCode, LocalProtocolError, RemoteProtocolError

HASH_SIZE: Final = 32
EMPTY_ROOT: Final = hashlib.sha256(b"").digest()
PROOF_HASHES_MAX: Final = 64  # a tree of 2^64 leaves

_COUNT_SIZE: Final = 8  # bytes of the leaf count in front of the peaks


class Accumulator:
    """The running tree of one deal."""

    __slots__ = ("_n_leaves", "_peaks")

    def __init__(self) -> None:
        self._n_leaves = 0
        self._peaks: list[bytes] = []

    @property
    def n_leaves(self) -> int:
        return self._n_leaves

    def append(self, cid: bytes) -> None:
        """Add the CID of one more delivered block."""
        node = _leaf_hash(cid)
        subtrees = self._n_leaves
        while subtrees & 1:
            node = _node_hash(self._peaks.pop(), node)
            subtrees >>= 1
        self._peaks.append(node)
        self._n_leaves += 1

    def append_many(self, cids: Iterable[bytes]) -> None:
        for cid in cids:
            self.append(cid)

    def root(self) -> bytes:
        """The Merkle tree hash of what was appended so far, 32 bytes."""
        if not self._peaks:
            return EMPTY_ROOT
        *larger, root = self._peaks
        for peak in reversed(larger):
            root = _node_hash(peak, root)
        return root

    def copy(self) -> Accumulator:
        """A second accumulator that goes on from here on its own."""
        twin = Accumulator()
        twin._n_leaves, twin._peaks = self._n_leaves, self._peaks.copy()
        return twin

    def to_bytes(self) -> bytes:
        """The state for the journal: the number of leaves as 8 bytes big-endian, then the peaks, largest subtree first."""
        return self._n_leaves.to_bytes(_COUNT_SIZE, "big") + b"".join(self._peaks)

    @classmethod
    def from_bytes(cls, encoded: bytes) -> Accumulator:
        """Go on from a stored state. Raises ``LocalProtocolError(journal_broken)`` when it is none."""
        restored = cls()
        restored._n_leaves = int.from_bytes(encoded[:_COUNT_SIZE], "big")
        if len(encoded) != _COUNT_SIZE + HASH_SIZE * restored._n_leaves.bit_count():
            raise LocalProtocolError(ErrorCode.JOURNAL_BROKEN, "the stored peaks of an accumulator do not match its number of leaves")
        restored._peaks = [encoded[at : at + HASH_SIZE] for at in range(_COUNT_SIZE, len(encoded), HASH_SIZE)]
        return restored

    def __repr__(self) -> str:
        return f"Accumulator({self._n_leaves} leaves, root {self.root().hex()})"


def inclusion_proof(cids: Sequence[bytes], index: int) -> list[bytes]:
    """The hashes from the leaf at ``index`` up to the root of all ``cids`` (RFC 9162, section 2.1.3.1)."""
    assert 0 <= index < len(cids)
    level = [_leaf_hash(cid) for cid in cids]
    proof = []
    while len(level) > 1:
        sibling = index ^ 1
        if sibling < len(level):
            proof.append(level[sibling])
        pairs = [_node_hash(level[left], level[left + 1]) for left in range(0, len(level) - 1, 2)]
        level = pairs + level[2 * len(pairs) :]  # a last one without a partner moves up as it is
        index >>= 1
    return proof


def verify_inclusion(cid: bytes, *, index: int, n_leaves: int, proof: Sequence[bytes], root: bytes) -> None:
    """Check that ``cid`` was the block at ``index`` (from 0) of ``n_leaves`` delivered ones (RFC 9162, section 2.1.3.2).

    ``n_leaves`` and ``root`` come from a signed receipt. Raises ``RemoteProtocolError(bad_receipt)``.
    """
    if not 0 <= index < n_leaves or len(proof) > PROOF_HASHES_MAX or any(len(sibling) != HASH_SIZE for sibling in proof):
        raise RemoteProtocolError(ErrorCode.BAD_RECEIPT, "this is no inclusion proof for that position")
    node, at, last = _leaf_hash(cid), index, n_leaves - 1
    for sibling in proof:
        if last == 0:
            raise RemoteProtocolError(ErrorCode.BAD_RECEIPT, "the inclusion proof is too long")
        if at & 1 or at == last:
            node = _node_hash(sibling, node)
            while not at & 1:  # skip the levels at which this subtree, the last of its row, had no partner
                at, last = at >> 1, last >> 1
        else:
            node = _node_hash(node, sibling)
        at, last = at >> 1, last >> 1
    if last or node != root:
        raise RemoteProtocolError(ErrorCode.BAD_RECEIPT, "the inclusion proof does not lead to the root")


def _leaf_hash(cid: bytes) -> bytes:
    return hashlib.sha256(b"\0" + cid).digest()


def _node_hash(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\1" + left + right).digest()
