"""Parts of content, fetched by the real client from a provider in this process."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import trio
from retrieval_client.api import Order, retrieve
from retrieval_client.source import Source
from shop import Shop

from retrieval.cid import RAW, cid_of
from retrieval.dag.byterange import ByteRange
from retrieval.dag.reader import read_range
from retrieval.errors import ErrorCode, LocalProtocolError
from retrieval.store.blocks import MemoryBlockStore
from retrieval.store.car import CarReader
from retrieval.units import MIB
from retrieval.wire.messages import Scope

ROOT = cid_of(RAW, b"film")
PARTS = (
    Source(root=ROOT, scope=Scope.BLOCK),
    Source(root=ROOT, scope=Scope.ENTITY),
    Source(root=ROOT, scope=Scope.ENTITY, byte_range=ByteRange(first=0, last=9)),
)


@pytest.mark.parametrize("source", PARTS, ids=["block", "entity", "range"])
def test_a_part_is_neither_kept_nor_written_as_files_and_that_is_said_before_it_is_ordered(source: Source) -> None:
    for out, as_car, keeps in ((None, False, True), (Path("part"), False, False), (Path("part.car"), True, True)):
        with pytest.raises(LocalProtocolError) as refused:
            Order(source=source, provider="anybody", out=out, as_car=as_car, keep=keeps)
        assert refused.value.code is ErrorCode.UNSUPPORTED_SCOPE
    Order(source=source, provider="anybody", out=Path("part.car"), as_car=True)
    Order(source=source, provider="anybody", out=None)


def test_a_range_comes_as_a_car_of_its_blocks_alone(tmp_path: Path) -> None:
    shop = Shop(folder=tmp_path, prices={"price.default": "0 USD/GiB"})
    film = os.urandom(12 * MIB + 5)
    (tmp_path / "film.bin").write_bytes(film)
    root, home = shop.add(tmp_path / "film.bin"), shop.client()
    source = Source(root=root.cid, scope=Scope.ENTITY, byte_range=ByteRange(first=-(2 * MIB), last=-MIB))

    async def main() -> None:
        async with shop.opened() as node:
            order = Order(source=source, provider=node.addresses[0], out=tmp_path / "part.car", as_car=True, keep=False)
            got = await retrieve(home, order)
            assert (got.verified, got.receipt_verified) == (True, True)
            assert 2 * MIB < got.bytes < 4 * MIB

    trio.run(main)
    received = MemoryBlockStore()
    with open(tmp_path / "part.car", "rb") as file:
        received.put_many(CarReader(file))
    start, stop = len(film) - 2 * MIB, len(film) - MIB + 1
    assert b"".join(read_range(received, root.cid, start, stop)) == film[start:stop]
