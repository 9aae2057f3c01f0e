from __future__ import annotations

import io

import pytest
from dag_builder import Builder
from retrieval_client.content import drop, held_of, keep, make_room
from retrieval_client.source import Source

from retrieval.dag.importer import Profile, import_stream
from retrieval.deal import fold
from retrieval.deal.records import DealRecord, Outcome, OutcomeRecord, record
from retrieval.errors import ErrorCode, LocalProtocolError
from retrieval.ledger.journal import Journal
from retrieval.ledger.state import MemoryStateStorage
from retrieval.store.blocks import MemoryBlockStore
from retrieval.units import KIB
from retrieval.wire.messages import DealId, Signed

SMALL = Profile(chunk_bytes=4 * KIB, links_per_node=8, directory_block_bytes_max=256 * KIB)
SIGNED = Signed(body=b"\0", signature=bytes(64))


def put(store: MemoryBlockStore, data: bytes) -> Source:
    return Source(root=import_stream(store, io.BytesIO(data), "file", SMALL).cid)


def chunks(first: int, n: int) -> bytes:
    """``n`` chunks that differ from each other, and overlap with those of a near ``first``."""
    return b"".join((first + i).to_bytes(4, "big") * KIB for i in range(n))


def deal(journal: Journal, name: bytes, source: Source, *, ended: bool) -> None:
    agreed = DealRecord(
        selection=source.selection, quote=SIGNED, accept=SIGNED, peer=bytes(38), line_key=bytes(32), opened_ms=0, expires_ms=0
    )  # fmt: skip
    deal_id = DealId(name.ljust(16, b"\0"))
    journal.append([record(deal_id, agreed)], 0)
    if ended:
        outcome = OutcomeRecord(outcome=Outcome.FAILED, code=0, n_bytes=0, n_blocks=0, amount=0, detail="", ended_ms=0)
        journal.append([record(deal_id, outcome)], 0)


@pytest.fixture
def store() -> MemoryBlockStore:
    return MemoryBlockStore(bytes_max=1 << 20)


@pytest.fixture
def journal() -> Journal:
    return Journal(MemoryStateStorage(), fold.reduce)


def test_dropping_deletes_every_block_of_a_source(store: MemoryBlockStore, journal: Journal) -> None:
    source = put(store, chunks(0, 20))
    assert drop(store, journal.state, held_of(store, source)) > 20
    assert store.bytes_used() == 0


def test_kept_content_stays_whole_when_what_it_shares_is_dropped(store: MemoryBlockStore, journal: Journal) -> None:
    kept, passing = put(store, chunks(0, 20)), put(store, chunks(10, 20))
    keep(store, kept, held_of(store, kept))
    drop(store, journal.state, held_of(store, passing))
    assert held_of(store, kept).complete
    assert not held_of(store, passing).complete


def test_blocks_of_an_open_deal_stay(store: MemoryBlockStore, journal: Journal) -> None:
    interrupted, passing = put(store, chunks(0, 20)), put(store, chunks(10, 20))
    deal(journal, b"open", interrupted, ended=False)
    deal(journal, b"over", passing, ended=True)
    drop(store, journal.state, held_of(store, passing))
    assert held_of(store, interrupted).complete


def test_the_blocks_that_prove_a_kept_path_stay(journal: Journal) -> None:
    dag = Builder()
    directory = dag.directory(("name", dag.raw(b"leaf")))
    kept, whole = Source(root=directory, path=("name",)), Source(root=directory)
    keep(dag.store, kept, held_of(dag.store, kept))
    drop(dag.store, journal.state, held_of(dag.store, whole))
    assert held_of(dag.store, kept).complete


def test_what_is_held_ends_at_the_first_missing_block(store: MemoryBlockStore) -> None:
    source = put(store, chunks(0, 20))
    whole = held_of(store, source)
    store.delete_many([whole.cids[7]])
    held = held_of(store, source)
    assert held.cids == whole.cids[:7]
    assert not held.complete


def test_room_is_made_from_what_ended_deals_left_behind(store: MemoryBlockStore, journal: Journal) -> None:
    left, wanted = put(store, chunks(0, 100)), put(store, chunks(200, 3))
    deal(journal, b"failed", left, ended=True)
    make_room(store, journal.state, store.bytes_max - 100 * KIB, [wanted])
    assert not held_of(store, left).complete
    assert held_of(store, wanted).complete


def test_a_store_that_stays_too_full_refuses(store: MemoryBlockStore, journal: Journal) -> None:
    kept = put(store, chunks(0, 100))
    keep(store, kept, held_of(store, kept))
    with pytest.raises(LocalProtocolError) as refused:
        make_room(store, journal.state, store.bytes_max, [kept])
    assert refused.value.code is ErrorCode.STORE_FULL
    assert held_of(store, kept).complete
