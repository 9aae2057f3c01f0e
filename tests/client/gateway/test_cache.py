"""What goes when room is wanted, and what never does: in memory, by example and by random histories."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest
from dag_builder import Builder
from hypothesis import given, settings
from hypothesis import strategies as st
from retrieval_client.content import held_of, keep, room
from retrieval_client.gateway.cache import Cache
from retrieval_client.source import Source

from retrieval.cid import Cid
from retrieval.errors import ErrorCode, LocalProtocolError
from retrieval.ledger.state import MemoryStateStorage
from retrieval.store.blocks import MemoryBlockStore
from retrieval.wire.messages import Scope

LEAF_BYTES = 100
N_LEAVES = 6
N_FILES = 8


def _film(number: int) -> tuple[Source, dict[Cid, bytes]]:
    """A file whose first leaf is that of the file before it too, so that what goes may be a part of what stays."""
    dag = Builder()
    leaves = [dag.raw(bytes([number // 2, 0]) * (LEAF_BYTES // 2))]
    leaves += [dag.raw(bytes([number, n]) * (LEAF_BYTES // 2)) for n in range(1, N_LEAVES)]
    root = dag.file(*leaves, sizes=(LEAF_BYTES,) * N_LEAVES)
    return Source(root=root), {cid: payload for cid in dag.store.cids() if (payload := dag.store.get(cid)) is not None}


FILMS = [_film(number) for number in range(N_FILES)]
SIZE = sum(map(len, FILMS[0][1].values()))
BYTES_MAX = 3 * SIZE + LEAF_BYTES


@dataclass(slots=True)
class Gateway:
    """A cache, and fetches as the gateway makes them."""

    store: MemoryBlockStore = field(default_factory=lambda: MemoryBlockStore(bytes_max=BYTES_MAX))
    cache: Cache = field(init=False)

    def __post_init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        """With the same store, and nothing else."""
        self.cache = Cache(self.store, MemoryStateStorage())

    @contextmanager
    def using(self, number: int) -> Iterator[Source]:
        source, _ = FILMS[number]
        used = self.cache.use(source)
        self.cache.settle()
        try:
            yield source
        finally:
            self.cache.leave(used)

    def missing(self, number: int) -> list[tuple[Cid, bytes]]:
        source, blocks = FILMS[number]
        held = held_of(self.store, source).cids
        order = [*_walked(number)]
        assert tuple(order[: len(held)]) == held
        return [(cid, blocks[cid]) for cid in order[len(held) :]]

    def fetch_free(self, number: int) -> None:
        """From a gateway that does not say how much will come."""
        with self.using(number):
            place = self.cache.place()
            try:
                for block in self.missing(number):
                    place.put_many([block])
            finally:
                place.give_back()

    def fetch_quoted(self, number: int) -> None:
        """From somebody who says before how much will come."""
        with self.using(number):
            blocks, verified = self.missing(number), 0
            place = self.cache.place()
            try:
                place.make_room(sum(len(payload) for _, payload in blocks), 0)
                for cid, payload in blocks:
                    self.cache.put_many([(cid, payload)])
                    place.moved(verified := verified + len(payload))
            finally:
                place.give_back()

    def holds(self, number: int) -> bool:
        return held_of(self.store, FILMS[number][0]).complete


def _walked(number: int) -> tuple[Cid, ...]:
    source, blocks = FILMS[number]
    whole = MemoryBlockStore()
    whole.put_many(blocks.items())
    return held_of(whole, source).cids


@pytest.fixture
def gateway() -> Gateway:
    return Gateway()


def test_free_content_without_any_record_makes_room_for_what_is_bought(gateway: Gateway) -> None:
    for number in range(6):
        gateway.fetch_free(number)
    assert room(gateway.store) < SIZE
    gateway.fetch_quoted(7)
    assert gateway.holds(7)


def test_what_was_used_longest_ago_goes_first(gateway: Gateway) -> None:
    for number in (0, 2, 4):
        gateway.fetch_free(number)
    with gateway.using(0):
        pass
    gateway.fetch_quoted(6)
    assert [gateway.holds(number) for number in (0, 2, 4, 6)] == [True, False, True, True]


def test_what_was_there_before_a_restart_goes_before_what_was_used_since(gateway: Gateway) -> None:
    for number in (0, 2, 4):
        gateway.fetch_free(number)
    gateway.restart()
    with gateway.using(0):
        pass
    gateway.fetch_quoted(6)
    assert gateway.holds(0)
    assert gateway.holds(6)


def test_blocks_behind_a_gap_go_too_once_nobody_fetches(gateway: Gateway) -> None:
    _, blocks = FILMS[0]
    place = gateway.cache.place()
    place.put_many((cid, blocks[cid]) for cid in _walked(0)[3:])
    place.give_back()
    gateway.restart()
    for number in (2, 4, 6):
        gateway.fetch_quoted(number)
    assert [gateway.holds(number) for number in (2, 4, 6)] == [True] * 3


def test_blocks_behind_a_gap_stay_while_they_are_fetched(gateway: Gateway) -> None:
    _, blocks = FILMS[0]
    place = gateway.cache.place()
    late = _walked(0)[3:]
    place.put_many((cid, blocks[cid]) for cid in late)
    for number in (2, 4, 6):
        gateway.fetch_quoted(number)
    assert all(gateway.store.size(cid) is not None for cid in late)


def test_kept_content_stays_and_what_does_not_fit_is_refused(gateway: Gateway) -> None:
    for number in (0, 2, 4):
        gateway.fetch_quoted(number)
        source, _ = FILMS[number]
        keep(gateway.store, source, held_of(gateway.store, source))
    with pytest.raises(LocalProtocolError) as refused:
        gateway.fetch_quoted(6)
    assert refused.value.code is ErrorCode.STORE_FULL
    assert [gateway.holds(number) for number in (0, 2, 4)] == [True] * 3


def test_what_is_read_stays_with_all_that_leads_to_it(gateway: Gateway) -> None:
    for number in (0, 2, 4):
        gateway.fetch_free(number)
    with gateway.using(0), gateway.using(2):
        gateway.fetch_quoted(6)
        assert gateway.holds(0)
        assert gateway.holds(2)


def test_what_goes_takes_nothing_from_what_was_used_later(gateway: Gateway) -> None:
    gateway.fetch_free(0)
    gateway.fetch_free(1)  # which has its first leaf from it
    gateway.fetch_free(4)
    gateway.fetch_quoted(6)
    assert [gateway.holds(number) for number in (0, 1, 4, 6)] == [False, True, True, True]


def test_a_part_of_a_file_keeps_its_leaves_when_another_part_goes(gateway: Gateway) -> None:
    root, blocks = FILMS[0][0].root, FILMS[0][1]
    gateway.store.put_many((cid, blocks[cid]) for cid in _walked(0))
    head, whole = Source(root=root, scope=Scope.BLOCK), FILMS[0][0]
    for source in (head, whole):
        gateway.cache.leave(gateway.cache.use(source))
    for number in (2, 4):
        gateway.fetch_quoted(number)
    assert gateway.holds(0)


def test_room_that_one_fetch_reserved_is_no_room_for_another(gateway: Gateway) -> None:
    first, second, third, fourth = (gateway.cache.place() for _ in range(4))
    for place in (first, second, third):
        place.make_room(SIZE, 0)
    with pytest.raises(LocalProtocolError) as refused:
        fourth.make_room(SIZE, 0)
    assert refused.value.code is ErrorCode.STORE_FULL
    with pytest.raises(LocalProtocolError):
        fourth.put_many(FILMS[0][1].items())
    first.give_back()
    fourth.make_room(SIZE, 0)
    fourth.put_many(FILMS[0][1].items())


def test_what_has_come_is_reserved_no_longer(gateway: Gateway) -> None:
    resumed = 50
    place = gateway.cache.place()
    place.make_room(SIZE, resumed)
    place.moved(resumed + 200)
    assert place.reserved_bytes == SIZE - 200
    place.moved(resumed + 10 * SIZE)
    assert place.reserved_bytes == 0


def test_what_was_seen_to_be_here_is_here_until_it_is_left_whoever_makes_room_meanwhile(gateway: Gateway) -> None:
    all_read = threading.Event()

    def fetch(numbers: tuple[int, ...]) -> None:
        for number in itertools.chain.from_iterable(itertools.repeat(numbers)):
            if all_read.is_set():
                return
            try:
                gateway.fetch_quoted(number)
            except LocalProtocolError as error:  # as long as others have all the room
                if error.code is not ErrorCode.STORE_FULL:
                    raise

    def read() -> int:
        n_lost = 0
        for number in range(200):
            with gateway.using(number % N_FILES):
                if gateway.holds(number % N_FILES):
                    n_lost += not all(gateway.holds(number % N_FILES) for _ in range(30))
        return n_lost

    with ThreadPoolExecutor(4) as threads:
        fetching = [threads.submit(fetch, numbers) for numbers in ((0, 2, 5), (4, 6, 7))]
        reading = [threads.submit(read) for _ in range(2)]
        try:
            assert [each.result() for each in reading] == [0, 0]
        finally:
            all_read.set()
        for each in fetching:
            each.result()


HISTORIES = st.lists(st.tuples(st.sampled_from(["free", "quoted", "look", "keep", "read", "end", "restart"]), st.integers(0, N_FILES - 1)))


@settings(max_examples=150, deadline=None)
@given(HISTORIES)
def test_whatever_happens_what_is_kept_and_what_is_read_stays_and_the_rest_makes_room(history: list[tuple[str, int]]) -> None:
    gateway = Gateway()
    kept: set[int] = set()
    reading: dict[int, int] = {}
    for verb, number in history:
        source, _ = FILMS[number]
        try:
            match verb:
                case "free":
                    gateway.fetch_free(number)
                case "quoted":
                    gateway.fetch_quoted(number)
                case "look":
                    with gateway.using(number):
                        pass
                case "keep" if gateway.holds(number):
                    keep(gateway.store, source, held_of(gateway.store, source))
                    kept.add(number)
                case "read" if gateway.holds(number) and number not in reading:
                    reading[number] = gateway.cache.use(source)
                case "end" if number in reading:
                    gateway.cache.leave(reading.pop(number))
                case "restart" if not reading:
                    gateway.restart()
        except LocalProtocolError as error:
            if error.code is not ErrorCode.STORE_FULL:
                raise
            staying = {cid for each in {*kept, *reading, number} for cid in _walked(each)}
            assert sum(len(_payload(cid)) for cid in staying) > BYTES_MAX, "it was refused though there was something to drop"
        else:
            assert verb not in ("free", "quoted") or gateway.holds(number)
        assert all(map(gateway.holds, {*kept, *reading}))
        assert gateway.store.bytes_used() <= BYTES_MAX


def _payload(cid: Cid) -> bytes:
    return next(blocks[cid] for _, blocks in FILMS if cid in blocks)
