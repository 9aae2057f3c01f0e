"""Trio. The node's end of the socket between it and the processes that serve HTTP.

A line is a JSON object. A worker asks with ``{"id": …, "open": {…}}``, ``{"id": …, "estimate": {…}}`` or ``{"id": …, "receipt": order}``,
as many at once as it likes, and hears ``{"id": …, "ok": {…}}`` or ``{"id": …, "refused": {…}}``, in the order in which they are decided.
``{"close": order, "sent": bytes}`` says how an answer ended and hears nothing. Both ends are one version of this program and one user's:
lines have limits, and what does not parse ends the connection.

One rule: the connection answers for its orders. What a worker leaves open when it goes, or dies, is charged nothing.
"""

from __future__ import annotations

import base64
import json
import logging
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Final

import trio

from retrieval.cid import Cid
from retrieval.deal.tab import OrderId
from retrieval.errors import RetrievalError
from retrieval.gateway.problems import problem
from retrieval.payment.x402.offer import PAYMENT_REQUIRED
from retrieval.transport.control import Starting, listening_at

from .ask import LINE_MAX, Json, read_ask
from .counter import Counter, Estimate, Grant, Refusal

log: Final = logging.getLogger("retrieval.provider.http_credit")

SOCKET_NAME: Final = "http.sock"
ASKED_MAX: Final = 1_024
"""Questions of one worker that are being decided; beyond it the worker waits."""
_READ_SIZE: Final = 64 * 1024


async def serve_bridge(path: Path, counter: Counter, *, task_status: Starting = trio.TASK_STATUS_IGNORED) -> None:
    """Answer workers at ``path`` until cancelled; ``nursery.start`` returns once it listens.

    Raises ``LocalProtocolError(state_locked)``.
    """

    async def converse(stream: trio.SocketStream) -> None:
        await _Conversation(counter, stream).run()

    with listening_at(path) as listener:
        task_status.started()
        await trio.serve_listeners(converse, [listener])


class _Conversation:
    """One worker's connection."""

    def __init__(self, counter: Counter, stream: trio.SocketStream) -> None:
        self._counter: Final = counter
        self._stream: Final = stream
        self._turn: Final = trio.Lock()
        self._room: Final = trio.CapacityLimiter(ASKED_MAX)
        self._orders: Final[set[OrderId]] = set()

    async def run(self) -> None:
        try:
            with suppress(trio.BrokenResourceError):
                async with trio.open_nursery() as nursery:
                    async for line in _lines(self._stream):
                        message = json.loads(line)
                        if "close" in message:
                            self._close(OrderId(bytes.fromhex(message["close"])), message["sent"])
                        else:
                            await self._room.acquire_on_behalf_of(message["id"])
                            nursery.start_soon(self._answer, message)
        except* (ValueError, KeyError, TypeError):
            log.exception("a process that serves HTTP said what cannot be read")
        finally:
            for order_id in tuple(self._orders):
                self._close(order_id, 0)

    def _close(self, order_id: OrderId, sent_bytes: int) -> None:
        if order_id in self._orders:
            self._orders.discard(order_id)
            self._counter.close(order_id, sent_bytes)

    async def _answer(self, message: Json) -> None:
        try:
            with trio.CancelScope(shield=True):  # what was decided and is on disk is kept account of, whoever is still there to hear
                answer = await self._decide(message)
            async with self._turn:
                await self._stream.send_all(json.dumps({"id": message["id"], **answer}).encode() + b"\n")
        finally:
            self._room.release_on_behalf_of(message["id"])

    async def _decide(self, message: Json) -> Json:
        try:
            if "open" in message:
                grant = await self._counter.open(read_ask(message["open"]))
                if grant.order_id is not None:
                    self._orders.add(grant.order_id)
                return {"ok": _grant_json(grant)}
            if "receipt" in message:
                receipt = await self._counter.receipt(OrderId(bytes.fromhex(message["receipt"])))
                return {"ok": {"receipt": base64.b64encode(receipt.encode()).decode()}}
            asked = message["estimate"]
            estimate = self._counter.estimate(Cid(bytes.fromhex(asked["root"])), asked["n_bytes"])
            return {"ok": estimate_json(estimate, self._counter)}
        except Refusal as refusal:
            return {"refused": _refusal_json(refusal)}
        except RetrievalError as error:
            return {"refused": _refusal_json(Refusal(error, None))}


def estimate_json(estimate: Estimate, counter: Counter) -> Json:
    """What ``GET /v1/quote/{cid}`` shows: the price before anybody pays. Amounts are text, since JSON readers round large numbers."""
    token = counter.tariff.deployment
    accepts = counter.tariff.accepts(estimate.amount) if estimate.amount else ()
    return {
        "bytes_max": estimate.n_bytes,
        "amount_max": str(estimate.amount),
        "price_per_gib": str(estimate.rate.price_per_gib),
        "flat_fee": str(estimate.rate.flat_fee),
        "decimals": token.token_decimals,
        "symbol": token.token_symbol,
        "free_bytes_per_day": counter.free_per_day,
        "accepts": [requirements.to_json() for requirements in accepts],
    }


def _grant_json(grant: Grant) -> Json:
    return {"order": None if grant.order_id is None else grant.order_id.hex(), "headers": dict(grant.headers)}


def _refusal_json(refusal: Refusal) -> Json:
    """Status, headers and body of the answer that the client gets instead: a problem, and where paying helps, a 402 as x402 has it."""
    status, headers, body = problem(refusal.error)
    if refusal.required is not None:
        status = 402
        document: Json = json.loads(body) | refusal.required.to_json() | {"status": status}
        headers = {**headers, PAYMENT_REQUIRED: refusal.required.to_header()}
        body = json.dumps(document).encode()
    return {"status": status, "headers": dict(headers), "body": body.decode()}


async def _lines(stream: trio.SocketStream) -> AsyncIterator[bytes]:
    unread = bytearray()
    while True:
        while (end := unread.find(b"\n")) < 0:
            if len(unread) > LINE_MAX:
                raise ValueError(f"a line has more than {LINE_MAX} bytes")
            part = await stream.receive_some(_READ_SIZE)
            if not part:
                return
            unread += part
        yield bytes(unread[:end])
        del unread[: end + 1]
