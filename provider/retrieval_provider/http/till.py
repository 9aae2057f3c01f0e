"""The port through which an answer is paid for, and its smallest implementation: everything is free.

An order is put to the till when all of an answer is known but its bytes, and before any byte leaves. What nobody is charged for never
comes here: HEAD, 304, 412, 416, redirects and errors.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol

from retrieval.cid import Cid
from retrieval.dag.byterange import ByteRange
from retrieval.errors import ErrorCode, RemoteProtocolError
from retrieval.gateway.formats import Format
from retrieval.wire.messages import Scope


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What a client is about to be sent."""

    client: str
    """Its IP address, as this process sees it."""
    headers: Mapping[str, str]
    """Of the request, by their names in small letters."""
    target: str
    """The address that was asked for, after the host."""
    root: Cid
    path: tuple[str, ...]
    form: Format | None
    """None is the content as people see it."""
    scope: Scope
    byte_range: ByteRange | None
    """Scope and range of a CAR."""
    n_bytes: int | None
    """Bytes of the body; None for a CAR, whose size is known when it has been sent."""
    weigh: Callable[[], Awaitable[int]]
    """The most that a body of unknown size can have. It takes some work, which counts as the client's. Raises ``RetrievalError``."""


class Sale(Protocol):
    """An order that may be sent."""

    @property
    def headers(self) -> Mapping[str, str]:
        """What the answer says of the payment."""
        ...

    async def ended(self, sent_bytes: int, *, is_whole: bool) -> None:
        """The body has left, or was cut after ``sent_bytes``. Called once for each sale, also when the client is gone."""
        ...


class Till(Protocol):
    """Decides what an order costs and whether it may go."""

    async def open(self, order: Order) -> Sale:
        """Raises ``Refused`` to answer something else, and ``RetrievalError``."""
        ...

    async def quote(self, order: Order | None) -> Mapping[str, object]:
        """What an order would cost, as JSON; None is one that nobody is charged for. Raises as ``open``."""
        ...

    async def receipt(self, order_id: bytes) -> bytes:
        """The file of a receipt for what an ended order came to. Raises as ``open``, ``deal_unknown`` among it."""
        ...


class Refused(Exception):
    """The order is not sent; the client gets this instead: a 402 that says how to pay."""

    def __init__(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        self.status = status
        self.headers = headers
        self.body = body
        super().__init__(status)


NO_PRICE: Final = {"bytes_max": 0, "amount_max": "0", "accepts": []}
"""The quote for what costs nothing."""


@dataclass(frozen=True, slots=True)
class Gift:
    """A sale that costs nothing."""

    headers: Mapping[str, str] = field(default_factory=dict)

    async def ended(self, sent_bytes: int, *, is_whole: bool) -> None:
        """Nothing to settle."""


class FreeTill:
    """Lets every order go."""

    async def open(self, order: Order) -> Sale:
        return Gift()

    async def quote(self, order: Order | None) -> Mapping[str, object]:
        return NO_PRICE

    async def receipt(self, order_id: bytes) -> bytes:
        raise RemoteProtocolError(ErrorCode.DEAL_UNKNOWN, "nothing is sold here")
