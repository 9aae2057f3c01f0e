"""What the journal says, a page at a time: deals, receipts and budgets, for programs.

Reads the state, so it runs in a thread.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from retrieval.deal import fold
from retrieval.deal.records import DealRecord, ReceiptRecord
from retrieval.errors import ErrorCode, RemoteProtocolError
from retrieval.identity import PeerId
from retrieval.ledger.state import StateView
from retrieval.wire.messages import DEAL_ID_SIZE, DealId

from ..receipts import bundle_of
from ..rows import Row, deal_row, receipt_row

PAGE_DEFAULT: Final = 50
PAGE_MAX: Final = 200
KNOWN: Final = ("limit", "before")
_LIMIT: Final = re.compile(r"[1-9][0-9]{0,5}", re.ASCII)
_DEAL_ID: Final = re.compile(rf"[0-9a-f]{{{2 * DEAL_ID_SIZE}}}", re.ASCII)


class Books:
    """The journal of one wallet."""

    def __init__(self, state: StateView, client: PeerId) -> None:
        self._state: Final = state
        self._client: Final = client

    def deals(self, query: Mapping[str, str]) -> Row:
        """A page of deals, the newest first. Raises ``RemoteProtocolError(malformed_request)``."""
        return self._page("deals", query, self._newest(), self._deal)

    def receipts(self, query: Mapping[str, str]) -> Row:
        """A page of receipts, the newest first, each checked. Raises ``RemoteProtocolError(malformed_request)``."""
        receipted = {deal_id for deal_id, _ in fold.scan(self._state, ReceiptRecord)}
        return self._page(
            "receipts", query, [each for each in self._newest() if each in receipted], lambda id: receipt_row(self._state, id, self._client)
        )

    def deal(self, text: str) -> Row:
        """One deal. Raises ``RemoteProtocolError(deal_unknown)``."""
        deal_id = _deal_id(text)
        if fold.get(self._state, DealRecord, deal_id) is None:
            raise _unknown(text)
        return self._deal(deal_id)

    def receipt(self, text: str) -> bytes:
        """A receipt as a file that ``receipts verify`` takes. Raises ``RemoteProtocolError``: ``deal_unknown``, ``receipt_unsigned``."""
        deal_id = _deal_id(text)
        if fold.get(self._state, ReceiptRecord, deal_id) is None:
            raise _unknown(text)
        bundle = bundle_of(self._state, deal_id, self._client)
        if bundle is None:
            raise RemoteProtocolError(ErrorCode.RECEIPT_UNSIGNED, "the provider never got the payment for it")
        return bundle.encode()

    def _newest(self) -> list[DealId]:
        found = sorted(fold.scan(self._state, DealRecord), key=lambda row: (row[1].opened_ms, row[0]), reverse=True)
        return [DealId(deal_id) for deal_id, _ in found]

    def _deal(self, deal_id: DealId) -> Row:
        deal = fold.get(self._state, DealRecord, deal_id)
        assert deal is not None
        return deal_row(self._state, deal_id, deal)

    def _page(self, name: str, query: Mapping[str, str], ids: Sequence[DealId], row: Callable[[DealId], Row]) -> dict[str, Any]:
        limit, start = _limit(query.get("limit")), 0
        if (before := query.get("before")) is not None:
            last = _deal_id(before)
            if last not in ids:
                raise _unknown(before)
            start = ids.index(last) + 1
        page = ids[start : start + limit]
        return {name: [row(deal_id) for deal_id in page], "next": page[-1].hex() if start + limit < len(ids) else None}


def _limit(text: str | None) -> int:
    if text is None:
        return PAGE_DEFAULT
    if _LIMIT.fullmatch(text) is None:
        raise RemoteProtocolError(ErrorCode.MALFORMED_REQUEST, "limit is a whole number above zero")
    return min(PAGE_MAX, int(text))


def _deal_id(text: str) -> DealId:
    if _DEAL_ID.fullmatch(text) is None:
        raise RemoteProtocolError(ErrorCode.MALFORMED_REQUEST, f"{text[:64]!r} is no deal id: {2 * DEAL_ID_SIZE} digits in hex")
    return DealId(bytes.fromhex(text))


def _unknown(text: str) -> RemoteProtocolError:
    return RemoteProtocolError(ErrorCode.DEAL_UNKNOWN, f"there is none with the id {text}")
