"""asyncio. The JSON-RPC front of the development chain: one HTTP address on the loopback interface.

One rule: the chain lives in one worker thread, so requests run one after the other and the event loop never waits for the EVM.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import re
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any, Final

from aiohttp import web

from retrieval.devchain.chain import DevelopmentChain
from retrieval.devchain.database import ChainDatabase
from retrieval.devchain.methods import INTERNAL_ERROR, INVALID_REQUEST, LIMIT_EXCEEDED, PARSE_ERROR, RpcError, answer
from retrieval.devchain.shapes import Json
from retrieval.errors import ErrorCode, LocalProtocolError

HOST: Final = "127.0.0.1"
PORT_DEFAULT: Final = 8545
REQUEST_SIZE_MAX: Final = 1 << 20  # bytes of one HTTP body
BATCH_MAX: Final = 100  # requests in one HTTP body
DEPTH_MAX: Final = 32  # of nested lists and objects; a batch of calls with access lists has 7
START_TIMEOUT_S: Final = 30
STOP_TIMEOUT_S: Final = 5

_STRING_OR_BRACKET: Final = re.compile(rb'"(?:[^"\\]|\\.)*"?|[\[\]{}]', re.DOTALL)  # an open string runs to the end: linear time

_log = logging.getLogger(__name__)


class DevchainServer:
    """A running server. `async with` it; `rpc` is its URL once inside."""

    def __init__(self, *, port: int = 0, state: Path | None = None) -> None:
        """`port` 0 takes a free one; `state` is the file that keeps the chain over restarts."""
        self._port: Final = port
        self._state: Final = state
        self._worker: Final = ThreadPoolExecutor(max_workers=1, thread_name_prefix="devchain")
        self._resources: Final = contextlib.AsyncExitStack()
        self.rpc = ""

    async def __aenter__(self) -> DevchainServer:
        """Raises ``LocalProtocolError``: ``usage`` when the port is taken, and what `ChainDatabase` and `DevelopmentChain` raise."""
        async with contextlib.AsyncExitStack() as opened:
            opened.callback(self._worker.shutdown)
            database = await self._in_worker(ChainDatabase, self._state)
            opened.push_async_callback(self._in_worker, database.close)
            self._chain = await self._in_worker(DevelopmentChain, database)
            application = web.Application(client_max_size=REQUEST_SIZE_MAX)
            application.router.add_post("/", self._post)
            runner = web.AppRunner(application, access_log=None)
            await runner.setup()
            opened.push_async_callback(runner.cleanup)
            try:
                await web.TCPSite(runner, HOST, self._port).start()
            except OSError as error:
                raise LocalProtocolError(ErrorCode.USAGE, f"port {self._port} of {HOST} cannot be taken: {error.strerror}") from error
            self.rpc = f"http://{HOST}:{runner.addresses[0][1]}"
            self._resources.push_async_exit(opened.pop_all())
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self._resources.aclose()

    async def _in_worker(self, function: Any, *arguments: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._worker, function, *arguments)

    async def _post(self, request: web.Request) -> web.Response:
        try:
            body = _load_json(await request.read())
        except web.HTTPRequestEntityTooLarge:
            return _json_response(_failure(None, RpcError(LIMIT_EXCEEDED, f"a request has at most {REQUEST_SIZE_MAX} bytes")), status=413)
        except ValueError:
            return _json_response(_failure(None, RpcError(PARSE_ERROR, "the request is not JSON")))
        if not isinstance(body, list):
            reply = await self._in_worker(self._reply, body)
            return web.Response(status=204) if reply is None else _json_response(reply)
        if not 0 < len(body) <= BATCH_MAX:
            return _json_response(_failure(None, RpcError(INVALID_REQUEST, f"a batch has 1 to {BATCH_MAX} requests")))
        replies = [reply for each in body if (reply := await self._in_worker(self._reply, each)) is not None]
        return _json_response(replies) if replies else web.Response(status=204)

    def _reply(self, request: Any) -> Json | None:
        """The answer to one request; None to a notification, which is a request without an id."""
        if not isinstance(request, dict) or not isinstance(request.get("method"), str):
            return _failure(None, RpcError(INVALID_REQUEST, "a request is an object with a method"))
        request_id, params = request.get("id"), request.get("params", [])
        try:
            if not isinstance(params, list):
                raise RpcError(INVALID_REQUEST, "params is a list")
            result = answer(self._chain, request["method"], params)
        except RpcError as error:
            reply = _failure(request_id, error)
        except Exception:  # noqa: BLE001 - one request must not take the chain down with it; the log has it
            _log.exception("devchain: %s failed", request["method"])
            reply = _failure(request_id, RpcError(INTERNAL_ERROR, "the development chain has a bug; see its log"))
        else:
            reply = {"jsonrpc": "2.0", "id": request_id, "result": result}
        return reply if "id" in request else None


class RunningDevchain:
    """A development chain in a thread of this process, for tests. Use it as a context manager, or call `stop`."""

    def __init__(self, *, port: int, state: Path | None) -> None:
        self._port: Final = port
        self._state: Final = state
        self._loop: Final = asyncio.new_event_loop()
        self._stopping: Final = asyncio.Event()
        self._ready: Final[Future[str]] = Future()
        self._thread: Final = threading.Thread(target=self._run, name="devchain-server", daemon=True)
        self._thread.start()
        self.rpc: Final = self._ready.result(START_TIMEOUT_S)

    def stop(self) -> None:
        """End it. A second call does nothing."""
        with contextlib.suppress(RuntimeError):  # the loop is closed already
            self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join(STOP_TIMEOUT_S)

    def __enter__(self) -> RunningDevchain:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    def _run(self) -> None:
        with contextlib.closing(self._loop):
            try:
                self._loop.run_until_complete(self._serve())
            except Exception as error:
                if self._ready.done():
                    raise
                self._ready.set_exception(error)  # it is raised where the chain was started

    async def _serve(self) -> None:
        async with DevchainServer(port=self._port, state=self._state) as server:
            self._ready.set_result(server.rpc)
            await self._stopping.wait()


def start(*, port: int = 0, state: Path | None = None) -> RunningDevchain:
    """Run a development chain in a thread; returns when it answers. Raises ``LocalProtocolError`` as `DevchainServer` does."""
    return RunningDevchain(port=port, state=state)


def _load_json(body: bytes) -> Any:
    """Read JSON of limited depth. Raises `ValueError`.

    py-evm raises Python's recursion limit to 100,000, and the C decoder overruns its stack long before it meets that.
    """
    depth = 0
    for token in _STRING_OR_BRACKET.finditer(body):
        depth += {b"[": 1, b"{": 1, b"]": -1, b"}": -1}.get(token[0], 0)
        if depth > DEPTH_MAX:
            raise ValueError(f"nested deeper than {DEPTH_MAX}")
    return json.loads(body)


def _failure(request_id: Any, error: RpcError) -> Json:
    return {"jsonrpc": "2.0", "id": request_id, "error": error.to_json()}


def _json_response(reply: Json | list[Json], status: int = 200) -> web.Response:
    return web.Response(text=json.dumps(reply), content_type="application/json", status=status)
