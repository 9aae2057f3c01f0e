"""Looking for another way while a session lasts: which content is asked for again, so that its provider says how it is reached.

Its rule: a session searches a few times and ever more seldom, because each search takes the air of all who are near.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from retrieval.cid import Cid
from retrieval.radio.packet import RadioId

SEARCHES_MAX: Final = 2
"""Of one session."""
SEARCH_EVERY_S: Final = 60.0
"""Between the first and the second; then twice as long each time."""


@dataclass(slots=True)
class _Search:
    cid: Cid
    price_max: int
    n_done: int = 0
    due: float = 0.0


class Searches:
    """Those of one station, by session: the other node, and the session's number."""

    def __init__(self) -> None:
        self._searches: Final[dict[tuple[RadioId, int], _Search]] = {}

    def begin(self, session: tuple[RadioId, int], cid: Cid, price_max: int) -> None:
        """A session was opened for what its provider had quoted."""
        self._searches[session] = _Search(cid, price_max)

    def end(self, session: tuple[RadioId, int]) -> None:
        self._searches.pop(session, None)

    def due(self, session: tuple[RadioId, int], now: float) -> tuple[Cid, int] | None:
        """What to ask for, and the most to pay, where it is time to; counts as asked."""
        search = self._searches.get(session)
        if search is None or now < search.due or search.n_done == SEARCHES_MAX:
            return None
        search.due = now + SEARCH_EVERY_S * (1 << search.n_done)
        search.n_done += 1
        return search.cid, search.price_max
