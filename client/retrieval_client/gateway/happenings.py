"""What happens in the gateway, as programs hear of it.

Pure. A happening is a name and an object of JSON: amounts are strings of integers in the token's smallest unit, ids are hex.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from retrieval.cid import format_cid
from retrieval.errors import RetrievalError
from retrieval.wire.messages import DealId

from ..fetch import Progress
from ..source import Source


@dataclass(frozen=True, slots=True, kw_only=True)
class Happening:
    """Something that happened."""

    name: str
    data: Mapping[str, object]


def progressed(source: Source, deals: Sequence[DealId], progress: Progress) -> Happening:
    """More of a fetch is here, or was paid."""
    return Happening(
        name="progress",
        data={
            **_subject(source, deals),
            "verified_bytes": progress.verified_bytes,
            "total_bytes": progress.total_bytes,
            "paid": str(progress.spent),
            "trouble": progress.trouble or None,
        },
    )


def ended(source: Source, deals: Sequence[DealId], spent: int, failure: RetrievalError | None) -> Happening:
    """A fetch is over."""
    return Happening(
        name="ended",
        data={**_subject(source, deals), "paid": str(spent), "error": None if failure is None else failure.code.label},
    )


def quoted(source: Source, provider: str, amount_max: int) -> Happening:
    """A provider said what it asks."""
    return Happening(name="quote", data={**_subject(source, ()), "provider": provider, "amount_max": str(amount_max)})


def _subject(source: Source, deals: Sequence[DealId]) -> dict[str, object]:
    return {"cid": format_cid(source.root), "path": "/".join(source.path), "deal_id": deals[-1].hex() if deals else None}
