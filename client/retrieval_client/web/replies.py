"""Trio. What a gateway says besides content: its refusals, its offers and its quotes, read as a stranger's words.

Errors of its own (``application/problem+json`` with our registry's code) are taken at their word as to which rule was met; from others the
status tells as much as it can.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Final

from retrieval.errors import ErrorCode, RemoteProtocolError
from retrieval.gateway.formats import CAR_TYPE
from retrieval.payment.rate import Rate
from retrieval.payment.x402.fields import Fields
from retrieval.payment.x402.offer import ACCEPTS_MAX, PAYMENT_REQUIRED, PaymentRequired, Requirements, Scheme
from retrieval.units import KIB, SIZE_BYTES_MAX

from .connection import Answer, Connection
from .http1 import malformed

REPLY_SIZE_MAX: Final = 256 * KIB
"""Bytes of an answer that is no content."""
RETRY_AFTER_MAX_S: Final = 3_600
_DECIMALS_MAX: Final = 36

HEADERS: Final = {"Accept-Encoding": "identity", "User-Agent": "retrieval-client"}
CAR_HEADERS: Final = {**HEADERS, "Accept": f"{CAR_TYPE}; version=1; order=dfs; dups=n"}

_BY_STATUS: Final = {
    400: ErrorCode.MALFORMED_REQUEST,
    401: ErrorCode.UNAUTHORIZED,
    402: ErrorCode.PAYMENT_REQUIRED,
    404: ErrorCode.NOT_FOUND,
    406: ErrorCode.UNSUPPORTED_FORMAT,
    410: ErrorCode.NOT_FOUND,
    429: ErrorCode.RATE_LIMITED,
    451: ErrorCode.NOT_FOUND,
    502: ErrorCode.TRANSFER_TRUNCATED,
    503: ErrorCode.TOO_MANY_SESSIONS,
    504: ErrorCode.TRANSFER_TRUNCATED,
}
"""What a status means where nothing else says more; any other one is out of place."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WebQuote:
    """What content costs at a gateway that says so before anybody pays. Nothing in it is signed."""

    bytes_max: int
    """Of the answer, a CAR."""
    amount_max: int
    rate: Rate
    decimals: int
    symbol: str
    free_bytes_per_day: int
    """What each address may have for nothing; the amount is what it comes to once that is used up."""
    accepts: tuple[Requirements, ...]

    @property
    def batch(self) -> Requirements | None:
        """What it asks of a channel."""
        return next((each for each in self.accepts if each.scheme is Scheme.BATCH), None)


def require_car(answer: Answer) -> None:
    """Raises ``RemoteProtocolError(unexpected_message)`` for a body that is no plain CAR."""
    head = answer.head
    if head.media_type != CAR_TYPE or head.headers.get("content-encoding", "identity") != "identity":
        raise RemoteProtocolError(ErrorCode.UNEXPECTED_MESSAGE, f"it answered with {head.media_type[:64]!r}, no {CAR_TYPE}")


async def refusal(answer: Answer) -> RemoteProtocolError:
    """What an answer that is no content says, as an error."""
    head = answer.head
    try:
        said = _object(await answer.read(REPLY_SIZE_MAX))
    except RemoteProtocolError:
        said = {}
    label, detail = said.get("code"), said.get("detail")
    known = ErrorCode.__members__.get(label.upper()) if isinstance(label, str) else None
    code = known or _BY_STATUS.get(head.status, ErrorCode.UNEXPECTED_MESSAGE)
    shown = "".join(letter for letter in detail if letter.isprintable()) if isinstance(detail, str) else ""
    return RemoteProtocolError(code, shown or f"it answered with status {head.status}", retry_after_s=_retry_after(head.headers))


async def payment_required(answer: Answer) -> tuple[PaymentRequired, RemoteProtocolError]:
    """The offer of a 402, and what it says was wrong. Raises ``RemoteProtocolError``, also where it offers nothing that we can read."""
    header = answer.head.headers.get(PAYMENT_REQUIRED.lower())
    said = await refusal(answer)
    if header is None:
        raise said
    return PaymentRequired.from_header(header), said


async def quote(connection: Connection, address: str) -> WebQuote | None:
    """What ``GET /ipfs/{address}`` would cost; None at a gateway that has no such question.

    Raises ``RemoteProtocolError``: that of the connection, ``not_found`` and others that say what is wrong with the content, and
    ``malformed_payment`` for a quote that cannot be read.
    """
    answer = await connection.ask(f"/v1/quote/{address}", HEADERS)
    if answer.head.status != 200:
        said = await refusal(answer)
        if answer.head.status not in _NO_SUCH_QUESTION:
            raise said
        return None
    quoted = Fields(_object(await answer.read(REPLY_SIZE_MAX)), "")
    accepts = [entry for entry in quoted.many("accepts", ACCEPTS_MAX) if entry.text("scheme") in _SCHEMES]
    is_priced = quoted.has("price_per_gib")
    return WebQuote(
        bytes_max=quoted.integer("bytes_max", SIZE_BYTES_MAX),
        amount_max=quoted.amount("amount_max"),
        rate=Rate(price_per_gib=quoted.amount("price_per_gib"), flat_fee=quoted.amount("flat_fee")) if is_priced else Rate(price_per_gib=0),
        decimals=quoted.integer("decimals", _DECIMALS_MAX) if is_priced else 0,
        symbol=quoted.text("symbol") if is_priced else "",
        free_bytes_per_day=quoted.integer("free_bytes_per_day", SIZE_BYTES_MAX) if quoted.has("free_bytes_per_day") else 0,
        accepts=tuple(map(Requirements.read, accepts)),
    )


def _object(body: bytes) -> dict[str, Any]:
    """A JSON object. Raises ``RemoteProtocolError(malformed_message)``."""
    try:
        found = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise malformed("an answer is not JSON") from error
    if not isinstance(found, dict):
        raise malformed("an answer is no JSON object")
    return found


def _retry_after(headers: Any) -> int | None:
    text = headers.get("retry-after", "")
    return min(int(text), RETRY_AFTER_MAX_S) if text.isascii() and text.isdigit() and len(text) < 10 else None


_NO_SUCH_QUESTION: Final = (400, 404, 405, 501)
_SCHEMES: Final = frozenset(scheme.value for scheme in Scheme)
