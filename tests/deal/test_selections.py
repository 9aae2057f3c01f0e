"""Parts of content are sold like the whole: by path, scope and range."""

from __future__ import annotations

import pytest
from documents import to_cbor
from file_trees import Tree, file_trees
from hypothesis import given, settings
from hypothesis import strategies as st
from pair import Pair
from test_pair import add, check_books

from retrieval.cid import DAG_CBOR, RAW, Cid, cid_of
from retrieval.dag.byterange import ByteRange
from retrieval.dag.datamodel import Link
from retrieval.dag.reader import read_range
from retrieval.dag.walk import Walk, read
from retrieval.deal.purchase import Purchase
from retrieval.deal.states import PurchaseState
from retrieval.deal.terms import Rate
from retrieval.errors import ErrorCode, RemoteProtocolError
from retrieval.units import KIB
from retrieval.wire.messages import Scope

PRICE = Rate(price_per_gib=10_000)


def buy(pair: Pair, root: Cid, *, path: tuple[str, ...] = (), scope: Scope = Scope.ENTITY, byte_range: ByteRange | None = None) -> Purchase:
    pair.run()
    pair.present()
    purchase = pair.accept(pair.query(root, path=path, scope=scope, byte_range=byte_range))
    pair.run()
    pair.pass_time(1)
    return purchase


def test_a_range_costs_its_blocks_and_reads_as_that_slice() -> None:
    pair = Pair()
    root = add(pair, 5_000 * KIB)
    byte_range = ByteRange(first=-(1_000 * KIB), last=-(500 * KIB))
    purchase = buy(pair, root.cid, byte_range=byte_range)
    assert purchase.state is PurchaseState.DONE
    wanted = list(read(pair.provider.store, Walk(root.cid, (), Scope.ENTITY, byte_range)))
    assert purchase.paid.n_blocks == len(wanted) < root.n_blocks
    assert purchase.paid.n_bytes == sum(len(payload) for _, payload in wanted)
    assert purchase.paid.deal_amount == PRICE.owed(purchase.paid.n_bytes)
    start, stop = byte_range.resolve(5_000 * KIB)
    received = b"".join(read_range(pair.client.store, root.cid, start, stop))
    assert received == b"".join(read_range(pair.provider.store, root.cid, start, stop))
    assert len(received) == 500 * KIB + 1
    check_books(pair)


def test_a_range_that_breaks_off_is_taken_up_where_it_stood() -> None:
    pair = Pair(window_first=256 * KIB)
    root = add(pair, 5_000 * KIB)
    byte_range = ByteRange(first=100 * KIB, last=4_000 * KIB)
    pair.run()
    pair.present()
    purchase = pair.accept(pair.query(root.cid, scope=Scope.ENTITY, byte_range=byte_range))
    for _ in range(4):
        pair.deliver_to_provider()
        pair.serve()
        pair.deliver_to_client()
    assert not purchase.lifecycle.is_over
    assert purchase.verified_blocks > 0
    pair.cut()
    pair.connect()
    purchase = pair.finish(purchase.deal_id)
    pair.run()
    pair.pass_time(1)
    assert purchase.state is PurchaseState.DONE
    wanted = [cid for cid, _ in read(pair.provider.store, Walk(root.cid, (), Scope.ENTITY, byte_range))]
    assert [cid for cid, _ in read(pair.client.store, Walk(root.cid, (), Scope.ENTITY, byte_range))] == wanted
    check_books(pair)


def test_blocks_of_one_range_are_not_paid_again_in_the_next() -> None:
    pair = Pair()
    root = add(pair, 1_000 * KIB)
    first = buy(pair, root.cid, byte_range=ByteRange(last=200 * KIB))
    second = buy(pair, root.cid, byte_range=ByteRange(last=400 * KIB))
    both = Walk(root.cid, (), Scope.ENTITY, ByteRange(last=400 * KIB))
    for _ in read(pair.client.store, both):
        pass
    assert first.paid.n_bytes + second.paid.n_bytes == both.n_bytes


def test_a_path_through_documents_is_sold_with_its_proof() -> None:
    pair = Pair()
    file = add(pair, 100 * KIB)
    other, document = b"not asked for", to_cbor({"files": [{"film": Link(file.cid)}], "other": Link(cid_of(RAW, b"not asked for"))})
    root = cid_of(DAG_CBOR, document)
    pair.provider.store.put_many([(root, document), (cid_of(RAW, other), other)])
    purchase = buy(pair, root, path=("files", "0", "film"), scope=Scope.ALL)
    assert purchase.state is PurchaseState.DONE
    assert purchase.paid.n_blocks == file.n_blocks + 1
    assert pair.client.store.get(cid_of(RAW, other)) is None


@settings(max_examples=25)
@given(tree=file_trees(), first=st.integers(-20, 20), last=st.none() | st.integers(-20, 20))
def test_any_range_of_any_layout_is_delivered(tree: Tree, first: int, last: int | None) -> None:
    pair = Pair()
    tree.put(pair.provider.store)
    byte_range = ByteRange(first=first, last=last)
    wanted = list(read(pair.provider.store, Walk(tree.cid, (), Scope.ENTITY, byte_range)))
    if not wanted:
        return  # it is carried in the CID
    purchase = buy(pair, tree.cid, byte_range=byte_range)
    assert purchase.state is PurchaseState.DONE
    assert purchase.paid.n_blocks == len(wanted)
    start, stop = byte_range.resolve(len(tree.content))
    if start < stop:
        assert b"".join(read_range(pair.client.store, tree.cid, start, stop)) == tree.content[start:stop]


@pytest.mark.parametrize("scope", [Scope.BLOCK, Scope.ALL])
def test_a_range_of_another_scope_is_no_walk(scope: Scope) -> None:
    pair = Pair()
    root = add(pair, KIB).cid
    with pytest.raises(RemoteProtocolError) as refused:
        pair.query(root, scope=scope, byte_range=ByteRange())
    assert refused.value.code is ErrorCode.UNSUPPORTED_SCOPE
