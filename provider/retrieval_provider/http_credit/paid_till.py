"""asyncio. The till of a worker that sells: it asks the node over one socket, many questions at a time.

One rule: no node, no sale. While the node cannot be reached, what has a price is answered with an error, and what was open is the node's
to forgive.
"""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from retrieval.cid import Cid
from retrieval.errors import ErrorCode, LocalProtocolError
from retrieval.payment.x402.payment import PAYMENT_SIGNATURE
from retrieval.transport.control import short_name
from retrieval.transport.libp2p.address import address_prefix
from retrieval.wire.messages import Scope, Selection

from ..http.till import NO_PRICE, Gift, Order, Refused, Sale
from .ask import LINE_MAX, Ask, Json, ask_json

log: Final = logging.getLogger("retrieval.provider.http_credit")

ANSWER_S: Final = 180.0
"""How long the node may take: a deposit is mined in the meantime, by a facilitator that asks a slow chain."""
FREE_KNOWN_S: Final = 2.0
"""How long the node's word that a root has no price is good for: free content is not held up, and a new price counts soon."""
FREE_KNOWN_MAX: Final = 4_096
PAYMENT_OLD_NAME: Final = "x-payment"
"""What the header was called in x402 version 1; some clients send version 2 under it."""
UNKNOWN_CLIENT: Final = "?"


class PaidTill:
    """Implements ``retrieval_provider.http.till.Till``. Belongs to one event loop."""

    def __init__(self, path: Path) -> None:
        """``path`` is the node's socket."""
        self._path: Final = path
        self._ids: Final = itertools.count(1)
        self._waiting: Final[dict[int, asyncio.Future[Json]]] = {}
        self._free_until: Final[dict[Cid, float]] = {}
        """Roots without a price, by the loop's clock; the one heard of last stands last."""
        self._connecting: Final = asyncio.Lock()
        self._writer: asyncio.StreamWriter | None = None
        self._listening: asyncio.Task[None] | None = None

    async def open(self, order: Order) -> Sale:
        """Raises ``Refused`` with what the client gets instead, and ``LocalProtocolError(control_unavailable)``."""
        now = asyncio.get_running_loop().time()
        if self._free_until.get(order.root, 0.0) > now:
            return Gift()
        answer = await self._ask({"open": ask_json(await _ask_of(order))})
        if answer["order"] is None:
            self._remember_free(order.root, now + FREE_KNOWN_S)
        return _PaidSale(self, answer["headers"], answer["order"])

    async def quote(self, order: Order | None) -> Mapping[str, object]:
        return NO_PRICE if order is None else await self._ask({"estimate": ask_json(await _ask_of(order))})

    async def receipt(self, order_id: bytes) -> bytes:
        answer = await self._ask({"receipt": order_id.hex()})
        return base64.b64decode(answer["receipt"])

    def ended(self, order_id: str, sent_bytes: int) -> None:
        """Tell how an answer ended. Nobody waits for it: a node that cannot be told has forgiven it."""
        if self._writer is not None:
            self._writer.write(json.dumps({"close": order_id, "sent": sent_bytes}).encode() + b"\n")

    async def close(self) -> None:
        """Hang up."""
        if self._listening is not None:
            self._listening.cancel()
            await asyncio.wait([self._listening])

    def _remember_free(self, root: Cid, until: float) -> None:
        self._free_until.pop(root, None)
        self._free_until[root] = until
        if len(self._free_until) > FREE_KNOWN_MAX:
            del self._free_until[next(iter(self._free_until))]

    async def _ask(self, question: Json) -> Json:
        writer = await self._connected()
        question_id = next(self._ids)
        waiting = self._waiting[question_id] = asyncio.get_running_loop().create_future()
        try:
            writer.write(json.dumps({"id": question_id, **question}).encode() + b"\n")
            async with asyncio.timeout(ANSWER_S):
                await writer.drain()
                answer = await waiting
        except (TimeoutError, OSError) as error:
            raise _unavailable() from error
        finally:
            waiting.cancel()
        if (refused := answer.get("refused")) is not None:
            raise Refused(refused["status"], refused["headers"], refused["body"].encode())
        granted: Json = answer["ok"]
        return granted

    async def _connected(self) -> asyncio.StreamWriter:
        async with self._connecting:
            if self._writer is None:
                try:
                    with short_name(self._path) as name:
                        reader, self._writer = await asyncio.open_unix_connection(name, limit=LINE_MAX)
                except OSError as error:
                    raise _unavailable() from error
                self._listening = asyncio.create_task(self._listen(reader, self._writer))
            return self._writer

    async def _listen(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async for line in reader:
                answer = json.loads(line)
                waiting = self._waiting.pop(answer["id"])
                if not waiting.done():
                    waiting.set_result(answer)
                elif (order_id := answer.get("ok", {}).get("order")) is not None:
                    self.ended(order_id, 0)  # the client went away while it was being decided
        except (OSError, ValueError) as error:
            log.warning("the node hung up: %s", error)
        finally:
            self._writer = None
            writer.close()
            for waiting in self._waiting.values():
                if not waiting.done():
                    waiting.set_exception(ConnectionResetError())
            self._waiting.clear()


@dataclass(frozen=True, slots=True)
class _PaidSale:
    """An answer that the node let go; without an ``order_id`` it was free."""

    till: PaidTill
    headers: Mapping[str, str]
    order_id: str | None

    async def ended(self, sent_bytes: int, *, is_whole: bool) -> None:
        if self.order_id is not None:
            self.till.ended(self.order_id, sent_bytes)


async def _ask_of(order: Order) -> Ask:
    headers = order.headers
    byte_range = order.byte_range
    return Ask(
        prefix=address_prefix(order.client) if order.client else UNKNOWN_CLIENT,
        target=order.target,
        selection=Selection(
            root=order.root,
            # A name that is no text was sent as it lies in the store; a receipt shows it as readers of text do.
            path=tuple(name.encode("utf-8", "surrogateescape").decode("utf-8", "replace") for name in order.path),
            scope=order.scope if order.form is not None else Scope.ENTITY,
            range_start=None if byte_range is None else byte_range.first,
            range_end=None if byte_range is None else byte_range.last,
        ),
        n_bytes=await order.weigh() if order.n_bytes is None else order.n_bytes,
        payment=headers.get(PAYMENT_SIGNATURE.lower(), headers.get(PAYMENT_OLD_NAME)),
    )


def _unavailable() -> LocalProtocolError:
    return LocalProtocolError(ErrorCode.CONTROL_UNAVAILABLE, "the node does not answer its HTTP worker")
