"""What is asked for: everything that is missing, nothing twice, in requests that the gateway reads as they were meant."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from processes import write_file
from retrieval_client.source import Source
from retrieval_client.web.plan import ASK_BYTES, Ask, asks

from retrieval.cid import Cid
from retrieval.dag.byterange import ByteRange
from retrieval.dag.importer import import_path
from retrieval.dag.walk import Walk, fast_forward, read
from retrieval.gateway.ask import read_ask
from retrieval.store.blocks import MemoryBlockStore, Root
from retrieval.units import KIB, MIB
from retrieval.wire.messages import Scope


class Origin:
    """Where everything is, and what answers ask for."""

    def __init__(self, folder: Path) -> None:
        self.store = MemoryBlockStore()
        self.file: Root = import_path(self.store, write_file(folder / "film", 50 * MIB + 3, seed=1))
        below = folder / "all"
        (below / "empty").mkdir(parents=True)
        (below / "many").mkdir()
        write_file(below / "film", 40 * MIB, seed=2)
        write_file(below / "a page? 100%.html", 3 * KIB, seed=3)
        for number in range(30):
            write_file(below / "many" / str(number), number * KIB, seed=number)
        self.folder: Root = import_path(self.store, below)
        self.blocks = [cid for cid, _ in read(self.store, Walk(self.folder.cid))]

    def answer(self, ask: Ask) -> Iterator[tuple[Cid, bytes]]:
        return read(self.store, Walk(ask.root, ask.path, ask.scope, ask.byte_range))


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Origin:
    return Origin(tmp_path_factory.mktemp("origin"))


def served(origin: Origin, source: Source, held: MemoryBlockStore) -> list[Ask]:
    """Carry out a planning, each answer behind its request; gives the requests."""
    made: list[Ask] = []
    for ask in asks(held, source):
        assert ask is not None, "all that was asked for is here"
        assert len(made) < 1_000
        made.append(ask)
        held.put_many(origin.answer(ask))
    walk = source.walk()
    fast_forward(held, walk)
    assert walk.done
    return made


def test_a_file_is_asked_for_in_parts_that_meet(origin: Origin) -> None:
    made = served(origin, Source(root=origin.file.cid), MemoryBlockStore())
    assert [(ask.byte_range.first, ask.byte_range.last) for ask in made if ask.byte_range] == [
        (start, min(start + ASK_BYTES, 50 * MIB + 3) - 1) for start in range(0, 50 * MIB, ASK_BYTES)
    ]


def test_the_next_part_is_known_once_the_files_root_is_here(origin: Origin) -> None:
    held, planned = MemoryBlockStore(), None
    planned = asks(held, Source(root=origin.file.cid))
    first = next(planned)
    assert first is not None
    assert next(planned) is None
    [root, *_] = origin.answer(first)
    held.put_many([root])
    second = next(planned)
    assert second is not None
    assert second.byte_range == ByteRange(first=ASK_BYTES, last=2 * ASK_BYTES - 1)


@given(missing=st.sets(st.integers(0, 100), max_size=30), scope=st.sampled_from([Scope.ALL, Scope.ENTITY]))
@example(missing={0}, scope=Scope.ALL)
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_is_missing_comes_and_nothing_is_asked_for_twice(origin: Origin, missing: set[int], scope: Scope) -> None:
    gone = {origin.blocks[number % len(origin.blocks)] for number in missing}
    held = MemoryBlockStore()
    held.put_many((cid, payload) for cid in origin.blocks if cid not in gone and (payload := origin.store.get(cid)) is not None)
    made = served(origin, Source(root=origin.folder.cid, scope=scope), held)
    assert len(set(made)) == len(made)
    assert len(made) <= 2 * len(gone) + 1


@pytest.mark.parametrize("path", [(), ("film",), ("a page? 100%.html",), ("many", "7"), ("empty",)])
@pytest.mark.parametrize("scope", [Scope.ALL, Scope.ENTITY, Scope.BLOCK])
def test_a_gateway_reads_a_request_as_it_was_meant(origin: Origin, path: tuple[str, ...], scope: Scope) -> None:
    for ask in served(origin, Source(root=origin.folder.cid, path=path, scope=scope), MemoryBlockStore()):
        understood = read_ask(f"/ipfs/{ask.address}", {})
        assert (understood.root, understood.path, understood.scope, understood.byte_range) == (
            ask.root,
            ask.path,
            ask.scope,
            ask.byte_range,
        )


def test_nothing_is_asked_for_where_all_is_held(origin: Origin) -> None:
    assert list(asks(origin.store, Source(root=origin.folder.cid))) == []
