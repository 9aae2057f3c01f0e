"""A store that waits: readers get blocks as they come, and wait for none that will not."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import pytest
from dag_builder import Builder
from hypothesis import given, settings
from hypothesis import strategies as st
from retrieval_client.gateway.arrivals import Arrivals, AwaitingStore, as_they_come
from retrieval_client.source import Source

from retrieval.cid import DAG_PB, RAW, cid_of
from retrieval.dag.byterange import ByteRange
from retrieval.dag.reader import RawPart, read_range
from retrieval.dag.walk import Walk, read
from retrieval.errors import ErrorCode, LocalProtocolError, RemoteProtocolError, RetrievalError
from retrieval.gateway.bodies import SO_FAR
from retrieval.store.blocks import MemoryBlockStore
from retrieval.wire.messages import Scope

T = TypeVar("T")
CHUNK = 1000
N_CHUNKS = 12
PATIENCE_S = 20


def chunk(n: int) -> bytes:
    return random.Random(n).randbytes(CHUNK)


class Film:
    """A file of two levels, elsewhere; and a store here, to which its blocks come when a test says so."""

    def __init__(self, byte_range: ByteRange | None = None) -> None:
        dag = Builder()
        leaves = [dag.raw(chunk(n)) for n in range(N_CHUNKS)]
        halves = [dag.file(*leaves[at : at + 6], sizes=(CHUNK,) * 6) for at in (0, 6)]
        self.root = dag.file(*halves, sizes=(6 * CHUNK,) * 2)
        self.leaves = leaves
        self.content = b"".join(map(chunk, range(N_CHUNKS)))
        self.here = MemoryBlockStore()
        self.source = Source(root=self.root, scope=Scope.ENTITY, byte_range=byte_range)
        self.arrivals = Arrivals(self.here, self.source)
        self.reader = AwaitingStore(self.arrivals)
        self._coming = read(dag.store, Walk(self.root, (), Scope.ENTITY, byte_range))

    def come(self, n_blocks: int = 1 << 20) -> None:
        for _, (cid, payload) in zip(range(n_blocks), self._coming, strict=False):
            self.here.put_many([(cid, payload)])
        self.arrivals.came()


@pytest.fixture
def threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(4)


def lazily(film: Film) -> Iterator[bytes]:
    yield from read_range(film.reader, film.root)


def waits(future: Future[T]) -> bool:
    """Whether it is not done; what is about to be done is soon."""
    return not future.done()


def code_of(work: Callable[[], object]) -> ErrorCode:
    with pytest.raises(RetrievalError) as failed:
        work()
    return failed.value.code


def test_a_reader_gets_each_block_as_soon_as_it_comes(threads: ThreadPoolExecutor) -> None:
    film = Film()
    reading = lazily(film)
    first = threads.submit(next, reading)
    film.come(2)
    assert waits(first)
    film.come(1)
    assert first.result(PATIENCE_S) == chunk(0)
    rest = threads.submit(lambda: b"".join(reading))
    film.come()
    assert rest.result(PATIENCE_S) == film.content[CHUNK:]


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(1, 5), max_size=15), st.integers(0, N_CHUNKS * CHUNK - 1), st.integers(1, 4 * CHUNK))
def test_whatever_comes_when_readers_see_the_content(steps: list[int], first: int, length: int) -> None:
    film = Film(ByteRange(first=first, last=first + length - 1))
    with ThreadPoolExecutor(2) as threads:
        readings = [threads.submit(lambda: b"".join(read_range(film.reader, film.root, first, first + length))) for _ in range(2)]
        for n_blocks in steps:
            film.come(n_blocks)
        film.come()
        film.arrivals.end(None)
        assert {reading.result(PATIENCE_S) for reading in readings} == {film.content[first : first + length]}


def test_nobody_waits_for_what_does_not_come() -> None:
    """The type of a file is told by its first bytes, also where its last ones are wanted: that must not hold up the answer."""
    film = Film(ByteRange(first=10 * CHUNK))
    film.come(2)
    assert film.reader.get(film.leaves[0]) is None
    assert film.reader.size(cid_of(RAW, b"of something else")) is None
    assert film.reader.view_many([film.leaves[0]], list) == [None]


def test_below_a_node_that_was_here_before_anything_may_come(threads: ThreadPoolExecutor) -> None:
    film = Film()
    held = Film()
    held.come()
    film.here.put_many([(cid, held.here.get(cid) or b"") for cid, _ in read(held.here, Walk(film.root)) if cid not in film.leaves])
    last = threads.submit(film.reader.get, film.leaves[-1])
    film.come(4)
    assert waits(last)
    film.come()
    assert last.result(PATIENCE_S) == chunk(N_CHUNKS - 1)


def test_a_fetch_that_fails_fails_its_readers(threads: ThreadPoolExecutor) -> None:
    film = Film()
    film.come(3)
    reading = threads.submit(lambda: b"".join(read_range(film.reader, film.root)))
    film.arrivals.end(RemoteProtocolError(ErrorCode.CORRUPT_BLOCK))
    assert code_of(lambda: reading.result(PATIENCE_S)) is ErrorCode.CORRUPT_BLOCK
    assert film.reader.get(film.leaves[0]) == chunk(0)


def test_a_fetch_that_ended_without_a_block_does_not_have_it() -> None:
    film = Film()
    film.arrivals.end(None)
    assert film.reader.get(film.root) is None


def test_who_leaves_wakes_its_own_threads_only(threads: ThreadPoolExecutor) -> None:
    film = Film()
    other = AwaitingStore(film.arrivals)
    leaving, staying = threads.submit(film.reader.get, film.root), threads.submit(other.get, film.root)
    film.reader.abandon()
    assert code_of(lambda: leaving.result(PATIENCE_S)) is ErrorCode.CANCELLED
    assert waits(staying)
    film.come()
    assert staying.result(PATIENCE_S) is not None


def test_everything_is_here_when_the_walk_is_done() -> None:
    film = Film()
    film.come(5)
    assert not film.arrivals.is_all_here()
    film.come()
    assert film.arrivals.is_all_here()


def test_content_that_is_broken_is_left_to_the_fetch_to_tell(threads: ThreadPoolExecutor) -> None:
    broken = cid_of(DAG_PB, b"\xff not a node")
    here = MemoryBlockStore()
    arrivals = Arrivals(here, Source(root=broken, path=("a",)))
    here.put_many([(broken, b"\xff not a node")])
    waiting = threads.submit(AwaitingStore(arrivals).get, cid_of(RAW, b"below it"))
    arrivals.came()
    assert waits(waiting)
    arrivals.end(RemoteProtocolError(ErrorCode.MALFORMED_BLOCK))
    assert code_of(lambda: waiting.result(PATIENCE_S)) is ErrorCode.MALFORMED_BLOCK


def test_a_body_says_where_it_would_have_to_wait() -> None:
    film = Film()
    film.come(3)
    pieces = list(as_they_come(film.reader, iter([b"head", RawPart(film.leaves[0]), RawPart(film.leaves[1])])))
    assert pieces == [b"head", RawPart(film.leaves[0]), SO_FAR, RawPart(film.leaves[1])]


def test_a_reader_writes_nothing() -> None:
    reader = Film().reader
    for write in (lambda: reader.put_many([]), lambda: reader.delete_many([]), lambda: reader.sync()):
        with pytest.raises(AssertionError):
            write()


def test_an_abandoned_reader_is_told_so_even_for_what_is_here() -> None:
    film = Film()
    film.reader.abandon()
    with pytest.raises(LocalProtocolError):
        film.reader.get(film.root)
