"""A trustless HTTP gateway as somebody to measure (ipfs/specs, "Trustless Gateway"): CARs or raw blocks, each held against its CID here.

The standard library's client and not an asynchronous one, since what is measured is a single exchange: connecting, asking and reading are
then separate calls, and nothing of ours runs between the socket and the hash. It runs in a worker thread. Foreign bytes raise only
``RemoteProtocolError``.
"""

from __future__ import annotations

import http.client
import io
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from enum import Enum
from functools import partial
from typing import BinaryIO, Final, TypeVar, cast
from urllib.parse import quote, urlsplit

import trio

from retrieval._native import BlockStatus
from retrieval.cid import Cid, format_cid, verify
from retrieval.dag.walk import Walk
from retrieval.errors import ErrorCode, LocalProtocolError, RemoteProtocolError
from retrieval.store.car import CarReader
from retrieval.units import MIB, format_size
from retrieval.wire.messages import BLOCK_SIZE_MAX

from ..source import Source
from .carried import carried_bytes
from .content import content_bytes
from .metrics import Run, Stopwatch
from .session import Keep

T = TypeVar("T")

EARLY_BYTES_MAX: Final = 64 * MIB
"""Blocks kept that came before their turn; gateways that promise an order have none."""
DUE_S: Final = 10.0  # for a connection, as for a dial (PROTOCOL.md, "Errors and deadlines")
_READ_BYTES: Final = 256 * 1024

_REFUSALS: Final = {
    402: ErrorCode.OVER_BUDGET,
    404: ErrorCode.NOT_FOUND,
    410: ErrorCode.NOT_FOUND,
    429: ErrorCode.RATE_LIMITED,
    503: ErrorCode.TOO_MANY_SESSIONS,
}
"""What a status other than 200 means; any other one is out of place."""


class Form(Enum):
    """How content is asked for."""

    CAR = "car"
    """All of it in one answer."""
    RAW = "raw"
    """Block by block, one answer after the other."""

    @property
    def media_type(self) -> str:
        return f"application/vnd.ipld.{self.value}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Gateway:
    """A ``Target``."""

    scheme: str
    host: str
    port: int | None
    """None takes the scheme's own."""
    prefix: str
    """Of every path, empty or beginning with a slash."""
    form: Form
    timeout_s: float
    """Without anything verified, the fetch has failed."""

    @classmethod
    def parse(cls, url: str, *, form: Form, timeout_s: float) -> Gateway:
        """Read ``http[s]://host[:port][/prefix]``. Raises ``LocalProtocolError(usage)``."""
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError as error:
            raise LocalProtocolError(ErrorCode.USAGE, f"{url[:64]!r} is not a URL: {error}") from error
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment or parts.username:
            raise LocalProtocolError(ErrorCode.USAGE, f"a gateway looks like https://gateway.example, not {url[:64]!r}")
        return cls(scheme=parts.scheme, host=parts.hostname, port=port, prefix=parts.path.rstrip("/"), form=form, timeout_s=timeout_s)

    async def prepare(self, sources: Sequence[Source], n_each: int) -> None:
        """Nothing is paid here."""

    @asynccontextmanager
    async def open(self, watch: Stopwatch) -> AsyncIterator[GatewaySession]:
        kind = http.client.HTTPSConnection if self.scheme == "https" else http.client.HTTPConnection
        connection = kind(self.host, self.port, timeout=min(DUE_S, self.timeout_s))
        try:
            await _in_thread(partial(_connect, connection))
            watch.connected()
            connection.sock.settimeout(self.timeout_s)
            connection.timeout = self.timeout_s
            yield GatewaySession(self, connection)
        finally:
            connection.close()


async def _in_thread(work: Callable[[], T]) -> T:
    """Let go of it when cancelled: its own deadlines end it."""
    return await trio.to_thread.run_sync(work, abandon_on_cancel=True)  # type: ignore[call-arg]  # mypy loses what stands behind *args


def _connect(connection: http.client.HTTPConnection) -> None:
    try:
        connection.connect()
    except OSError as error:  # TLS errors are among them
        raise RemoteProtocolError(ErrorCode.DIAL_FAILED, str(error)) from error


class GatewaySession:
    """A ``Session`` on one connection, which the other side may close and we then open anew."""

    def __init__(self, gateway: Gateway, connection: http.client.HTTPConnection) -> None:
        self._gateway: Final = gateway
        self._connection: Final = connection
        self._carried_before = 0
        """By TCP, before the fetch that runs; what connecting took belongs to the first one."""

    async def fetch(self, source: Source, watch: Stopwatch, keep: Keep) -> Run:
        return await _in_thread(partial(self._fetch, source, watch, keep))

    def _fetch(self, source: Source, watch: Stopwatch, keep: Keep) -> Run:
        arriving = _Arriving(source.walk(), watch, keep)
        with _as_registered(self._gateway.timeout_s):
            (self._fetch_car if self._gateway.form is Form.CAR else self._fetch_raw)(source, arriving)
        return watch.stop(carried_bytes=self._carried_bytes())

    def _carried_bytes(self) -> int | None:
        """Not known where the gateway closes the connection behind its answer: the count is gone with it."""
        carried = None if self._connection.sock is None else carried_bytes(self._connection.sock)
        before, self._carried_before = self._carried_before, carried or 0
        return None if carried is None else carried - before

    def _fetch_car(self, source: Source, arriving: _Arriving) -> None:
        path = "/".join((format_cid(source.root), *(quote(name, safe="") for name in source.path)))
        with self._ask(f"/ipfs/{path}?format=car&dag-scope=all", arriving.watch, "; version=1; order=dfs; dups=n") as body:
            try:
                for cid, payload in CarReader(cast(BinaryIO, body)):
                    arriving.take(cid, payload)
            except RemoteProtocolError as error:
                if error.code is not ErrorCode.MALFORMED_CAR:
                    raise
                raise RemoteProtocolError(ErrorCode.CORRUPT_BLOCK, error.detail) from error  # the row speaks of a file of ours
        if not arriving.walk.done:
            raise RemoteProtocolError(ErrorCode.TRANSFER_TRUNCATED, "the CAR ends before its DAG does")

    def _fetch_raw(self, source: Source, arriving: _Arriving) -> None:
        while (cid := arriving.walk.expected) is not None:
            with self._ask(f"/ipfs/{format_cid(cid)}?format=raw", arriving.watch) as body:
                payload = body.read(BLOCK_SIZE_MAX + 1)
                if len(payload) > BLOCK_SIZE_MAX:
                    raise RemoteProtocolError(ErrorCode.BLOCK_TOO_LARGE)
            if verify(cid, payload) is not BlockStatus.OK:
                raise RemoteProtocolError(ErrorCode.CORRUPT_BLOCK, format_cid(cid))
            arriving.take(cid, payload)

    @contextmanager
    def _ask(self, path: str, watch: Stopwatch, parameters: str = "") -> Iterator[io.BufferedReader]:
        """The body of an answer that is what was asked for."""
        gateway = self._gateway
        headers = {"Accept": gateway.form.media_type + parameters, "Accept-Encoding": "identity", "User-Agent": "retrieval-client bench"}
        self._connection.request("GET", gateway.prefix + path, headers=headers)
        with self._connection.getresponse() as response:
            if response.status != http.client.OK:
                code = _REFUSALS.get(response.status, ErrorCode.UNEXPECTED_MESSAGE)
                raise RemoteProtocolError(code, f"it answered with status {response.status}")
            kind = response.headers.get_content_type()
            if kind != gateway.form.media_type or response.headers.get("Content-Encoding", "identity") != "identity":
                raise RemoteProtocolError(ErrorCode.UNEXPECTED_MESSAGE, f"it answered with {kind[:64]}, no {gateway.form.media_type}")
            yield io.BufferedReader(_Body(response, watch, gateway.timeout_s), _READ_BYTES)


class _Body(io.RawIOBase):
    """An answer's bytes. An end before the announced one raises ``transfer_truncated``, and no progress ``TimeoutError``."""

    def __init__(self, response: http.client.HTTPResponse, watch: Stopwatch, timeout_s: float) -> None:
        self._response: Final = response
        self._watch: Final = watch
        self._timeout_s: Final = timeout_s

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # what a BufferedReader hands out
        if self._watch.idle_s > self._timeout_s:  # sending what verifies nothing is as good as silence
            raise TimeoutError
        n_read = self._response.readinto(buffer)
        if not n_read and self._response.length:
            raise RemoteProtocolError(ErrorCode.TRANSFER_TRUNCATED, f"{format_size(self._response.length)} of the answer are missing")
        return n_read


class _Arriving:
    """Verified blocks on their way through a walk: in its order, or nearly so."""

    def __init__(self, walk: Walk, watch: Stopwatch, keep: Keep) -> None:
        self.walk: Final = walk
        self.watch: Final = watch
        self._keep: Final = keep
        self._passed: Final[set[Cid]] = set()
        self._early: Final[dict[Cid, bytes]] = {}
        self._early_bytes = 0

    def take(self, cid: Cid, payload: bytes) -> None:
        """A block that matches its CID. Raises ``RemoteProtocolError``, also what ``Walk.advance`` raises."""
        if cid in self._passed or cid in self._early:
            return
        if cid != self.walk.expected:
            self._early[cid] = payload
            self._early_bytes += len(payload)
            if self._early_bytes > EARLY_BYTES_MAX:
                raise RemoteProtocolError(ErrorCode.UNEXPECTED_BLOCK, f"{format_size(self._early_bytes)} came out of their order")
            return
        self._advance(cid, payload)
        while (following := self.walk.expected) is not None and (early := self._early.pop(following, None)) is not None:
            self._early_bytes -= len(early)
            self._advance(following, early)

    def _advance(self, cid: Cid, payload: bytes) -> None:
        self.walk.advance(payload)
        self._passed.add(cid)
        self.watch.verified(content_bytes(cid, payload))
        self._keep([(cid, payload)])


@contextmanager
def _as_registered(timeout_s: float) -> Iterator[None]:
    """What the standard library says of a connection, in the registry's words."""
    try:
        yield
    except TimeoutError as error:
        raise RemoteProtocolError(ErrorCode.TRANSFER_STALLED, f"nothing more for {timeout_s:.0f} s") from error
    except (OSError, http.client.IncompleteRead) as error:
        raise RemoteProtocolError(ErrorCode.TRANSFER_TRUNCATED, str(error)) from error
    except http.client.HTTPException as error:
        raise RemoteProtocolError(ErrorCode.MALFORMED_MESSAGE, repr(error)) from error
