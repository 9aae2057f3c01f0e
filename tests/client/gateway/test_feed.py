"""Events for those who listen: in order, resumed by id, and never at the cost of anybody else."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import aclosing

from hypothesis import given
from hypothesis import strategies as st
from retrieval_client.gateway.feed import KEPT, Feed
from retrieval_client.gateway.happenings import Happening

RUN = "0123abcd"
PATIENCE_S = 20


def happening(n: int) -> Happening:
    return Happening(name="progress", data={"n": n})


async def heard(feed: Feed, last_id: str | None, n_parts: int) -> list[str]:
    """The next parts that somebody hears, comments left out."""
    parts: list[str] = []
    async with aclosing(_parts(feed, last_id)) as listening, asyncio.timeout(PATIENCE_S):
        async for part in listening:
            if not part.startswith(":"):
                parts.append(part)
            if len(parts) == n_parts:
                break
    return parts


async def _parts(feed: Feed, last_id: str | None) -> AsyncIterator[str]:
    async for part in feed.parts(last_id):
        yield part.decode()


def numbers(parts: list[str]) -> list[int]:
    return [json.loads(part.partition("data: ")[2])["n"] for part in parts]


def test_who_was_away_goes_on_behind_the_last_it_heard() -> None:
    async def main() -> list[str]:
        feed = Feed(RUN)
        await feed.tell(map(happening, range(10)))
        return await heard(feed, f"{RUN}-4", 6)

    parts = asyncio.run(main())
    assert numbers(parts) == [4, 5, 6, 7, 8, 9]
    assert parts[0].startswith(f"id: {RUN}-5\nevent: progress\n")


def test_who_reads_too_slowly_is_told_how_many_it_missed() -> None:
    async def main() -> list[str]:
        feed = Feed(RUN)
        await feed.tell(map(happening, range(KEPT + 100)))
        return await heard(feed, f"{RUN}-20", 2)

    gap, first = asyncio.run(main())
    assert gap == 'event: gap\ndata: {"missed": 80}\n\n'
    assert numbers([first]) == [100]


def test_who_is_new_hears_what_happens_from_now_on() -> None:
    async def main() -> list[str]:
        feed = Feed(RUN)
        await feed.tell([happening(0)])
        listening = asyncio.ensure_future(heard(feed, None, 1))
        for _ in range(10):  # turns of the loop, in which it gets to where it waits
            await asyncio.sleep(0)
        await feed.tell([happening(1)])
        return await listening

    assert numbers(asyncio.run(main())) == [1]


@given(st.text(max_size=40) | st.from_regex(r"[0-9a-f]{8}-[0-9]{1,18}", fullmatch=True))
def test_whatever_stands_for_an_id_is_gone_on_from_or_is_a_gap(last_id: str) -> None:
    async def main() -> list[str]:
        feed = Feed(RUN)
        await feed.tell(map(happening, range(3)))
        return await heard(feed, last_id, 1)

    if last_id.strip() in (f"{RUN}-{n}" for n in range(3)):
        return
    if last_id.strip() == f"{RUN}-3":
        return
    (part,) = asyncio.run(main())
    assert part == 'event: gap\ndata: {"missed": null}\n\n' or last_id.startswith(RUN)
