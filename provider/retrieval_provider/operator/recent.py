"""What went wrong lately: warnings of the log, sessions and deals that failed. For a person who looks; a restart forgets it."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from retrieval.deal.events import DealEnded, Event, SessionFailed
from retrieval.deal.records import Outcome
from retrieval.errors import DETAIL_MAX, ErrorCode
from retrieval.identity import PeerId, format_peer_id

KEPT_MAX: Final = 50
LOGGER: Final = "retrieval"
EXPECTED: Final = frozenset({ErrorCode.TRANSFER_TRUNCATED, ErrorCode.CANCELLED, ErrorCode.SHUTTING_DOWN})
"""How sessions end every day."""


class Recent(logging.Handler):
    """The last of them, the oldest first."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.found: Final = deque[dict[str, Any]](maxlen=KEPT_MAX)

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Hear the log while the block runs."""
        logger = logging.getLogger(LOGGER)
        logger.addHandler(self)
        try:
            yield
        finally:
            logger.removeHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        self._add(record.created, record.levelname.lower(), record.getMessage())

    def tell(self, peer: PeerId, event: Event) -> None:
        """Hear what happened in a session."""
        match event:
            case SessionFailed(code=code) if code not in EXPECTED:
                self._add(time.time(), "session", f"{format_peer_id(peer)}: {code.label}. {event.detail}")
            case DealEnded(outcome=Outcome.FAILED):
                label = "failed" if event.code is None else event.code.label
                self._add(time.time(), "deal", f"{format_peer_id(peer)}, deal {event.deal_id.hex()}: {label}. {event.detail}")
            case _:
                pass

    def _add(self, at: float, kind: str, says: str) -> None:
        self.found.append({"time": at, "kind": kind, "says": says[: 2 * DETAIL_MAX]})
