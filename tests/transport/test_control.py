"""The control socket: verbs, errors, limits, deep homes and dead processes."""

from __future__ import annotations

import json
import socket
import stat
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock, trio_test

from retrieval.errors import ErrorCode, LocalProtocolError, RemoteProtocolError
from retrieval.transport.control import (
    ANSWER_MAX,
    CONNECTIONS_MAX,
    REQUEST_MAX,
    REQUEST_TIMEOUT_S,
    Json,
    Verb,
    call_control,
    serve_control,
)


async def double(args: Json) -> Json:
    return {"n": args["n"] * 2}


async def refuse(args: Json) -> Json:
    raise RemoteProtocolError(ErrorCode.RPC_UNAVAILABLE, "connection refused")


async def stumble(args: Json) -> Json:
    raise ZeroDivisionError


async def ramble(args: Json) -> Json:
    return {"text": "x" * ANSWER_MAX}


async def linger(args: Json) -> Json:
    await trio.sleep_forever()
    raise AssertionError("unreachable")


VERBS = {"double": double, "refuse": refuse, "stumble": stumble, "ramble": ramble, "linger": linger}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "control.sock"


@asynccontextmanager
async def serving(path: Path, verbs: Mapping[str, Verb] = VERBS) -> AsyncIterator[None]:
    async with trio.open_nursery() as nursery:
        await nursery.start(serve_control, path, verbs)
        yield
        nursery.cancel_scope.cancel()


async def call(path: Path, verb: str, args: Json | None = None, timeout_s: float = 10) -> Json:
    return await trio.to_thread.run_sync(partial(call_control, path, verb, args or {}, timeout_s))


async def call_fails(path: Path, verb: str, args: Json | None = None, timeout_s: float = 10) -> LocalProtocolError:
    with pytest.raises(LocalProtocolError) as caught:
        await call(path, verb, args, timeout_s)
    return caught.value


async def open_raw(path: Path) -> trio.SocketStream:
    return await trio.open_unix_socket(path)


async def say(path: Path, request: bytes) -> Json:
    """The answer to bytes that no client of ours would send."""
    stream = await open_raw(path)
    await stream.send_all(request)
    answer = b""
    while not answer.endswith(b"\n"):
        part = await stream.receive_some()
        assert part
        answer += part
    await stream.aclose()
    return dict(json.loads(answer))


@trio_test
async def test_a_verb_is_answered(path: Path) -> None:
    async with serving(path):
        assert await call(path, "double", {"n": 2**80}) == {"n": 2**81}


@trio_test
async def test_one_connection_may_ask_again(path: Path) -> None:
    async with serving(path):
        stream = await open_raw(path)
        await stream.send_all(b'{"verb": "double", "args": {"n": 1}}\n{"verb": "double", "args": {"n": 2}}\n')
        answers = b""
        while answers.count(b"\n") < 2:
            answers += await stream.receive_some()
        await stream.aclose()
    assert answers == b'{"ok": {"n": 2}}\n{"ok": {"n": 4}}\n'


@trio_test
async def test_only_the_owner_may_connect_and_nothing_is_left_behind(path: Path) -> None:
    home = trio.Path(path.parent)
    async with serving(path):
        assert stat.S_IMODE((await trio.Path(path).stat()).st_mode) == 0o600
    assert list(await home.iterdir()) == []


@trio_test
async def test_an_error_of_the_registry_comes_through_as_itself(path: Path) -> None:
    async with serving(path):
        error = await call_fails(path, "refuse")
        answer = await say(path, b'{"verb": "refuse", "args": {}}\n')

    assert (error.code, error.detail) == (ErrorCode.RPC_UNAVAILABLE, "connection refused")
    assert answer["error"] == {
        "code": 414,
        "label": "rpc_unavailable",
        "detail": "connection refused",
        "hint": error.row.hint,
    }


@trio_test
async def test_a_fault_inside_is_logged_and_the_next_request_served(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with serving(path):
        assert (await call_fails(path, "stumble")).code is ErrorCode.INTERNAL
        assert (await call_fails(path, "ramble")).code is ErrorCode.INTERNAL
        assert await call(path, "double", {"n": 1}) == {"n": 2}
    assert "ZeroDivisionError" in caplog.text


@pytest.mark.parametrize(
    "request_line",
    [
        b"",
        b"nonsense",
        b"\xff\xfe",
        b"[" * 50_000,
        b"[]",
        b'{"verb": "double"}',
        b'{"verb": 1, "args": {}}',
        b'{"verb": "double", "args": []}',
        b'{"verb": "double", "args": {}, "more": 1}',
        b'{"verb": "unheard-of", "args": {}}',
        b"x" * REQUEST_MAX,
    ],
    ids=lambda line: line[:40].decode("latin-1"),
)
@trio_test
async def test_what_is_not_a_request_is_a_usage_error(path: Path, request_line: bytes) -> None:
    async with serving(path):
        answer = await say(path, request_line + b"\n")
        assert await call(path, "double", {"n": 1}) == {"n": 2}

    assert answer["error"]["code"] == ErrorCode.USAGE


def test_a_request_above_the_limit_is_not_sent(path: Path) -> None:
    with pytest.raises(LocalProtocolError) as caught:
        call_control(path, "double", {"n": "9" * REQUEST_MAX})
    assert caught.value.code is ErrorCode.USAGE


def test_nobody_serving_is_said_so(path: Path) -> None:
    with pytest.raises(LocalProtocolError) as caught:
        call_control(path, "double", {})
    assert caught.value.code is ErrorCode.CONTROL_UNAVAILABLE
    assert "no process serves" in caught.value.detail


@trio_test
async def test_a_verb_that_takes_too_long_is_said_so(path: Path) -> None:
    async with serving(path):
        error = await call_fails(path, "linger", timeout_s=0.05)
    assert error.code is ErrorCode.CONTROL_UNAVAILABLE
    assert "within 0.05 s" in error.detail


@pytest.mark.parametrize(
    "answer", [b"", b"half an ans", b"nonsense\n", b"[]\n", b'{"error": {"code": 31337, "detail": ""}}\n', b'{"ok": 1}\n']
)
@trio_test
async def test_an_answer_that_cannot_be_read_is_said_so(path: Path, answer: bytes) -> None:
    async def misbehave(stream: trio.SocketStream) -> None:
        await stream.receive_some()
        await stream.send_all(answer)

    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listening.bind(str(path))
    listening.listen()
    async with trio.open_nursery() as nursery:
        listener = trio.SocketListener(trio.socket.from_stdlib_socket(listening))
        nursery.start_soon(trio.serve_listeners, misbehave, [listener])
        error = await call_fails(path, "double")
        nursery.cancel_scope.cancel()
    assert error.code is ErrorCode.CONTROL_UNAVAILABLE


@trio_test
async def test_connections_beyond_the_limit_are_refused_until_one_ends(path: Path) -> None:
    async with serving(path):
        streams = [await open_raw(path) for _ in range(CONNECTIONS_MAX)]
        refused = await open_raw(path)
        assert await refused.receive_some() == b""
        for stream in (refused, *streams):
            await stream.aclose()
        await trio.testing.wait_all_tasks_blocked()
        assert await call(path, "double", {"n": 1}) == {"n": 2}


@trio_test
async def test_a_connection_that_asks_nothing_is_ended(path: Path, autojump_clock: MockClock) -> None:
    async with serving(path):
        started = trio.current_time()
        stream = await open_raw(path)
        assert await stream.receive_some() == b""
        await stream.aclose()
    assert trio.current_time() - started == pytest.approx(REQUEST_TIMEOUT_S, abs=0.1)


@trio_test
async def test_a_home_deeper_than_a_socket_address_works(tmp_path: Path) -> None:
    home = tmp_path.joinpath(*["a-rather-long-directory-name"] * 8)
    home.mkdir(parents=True)
    async with serving(home / "control.sock"):
        assert await call(home / "control.sock", "double", {"n": 1}) == {"n": 2}
    assert list(home.iterdir()) == []


@trio_test
async def test_a_second_server_does_not_displace_a_living_one(path: Path) -> None:
    async with serving(path):
        with pytest.raises(LocalProtocolError) as caught:
            await serve_control(path, VERBS)
        assert await call(path, "double", {"n": 1}) == {"n": 2}
    assert caught.value.code is ErrorCode.STATE_LOCKED


@trio_test
async def test_a_file_that_is_no_socket_is_left_alone(path: Path) -> None:
    await trio.Path(path).write_text("precious")
    with pytest.raises(LocalProtocolError) as caught:
        await serve_control(path, VERBS)
    assert caught.value.code is ErrorCode.FILE_UNREADABLE
    assert await trio.Path(path).read_text() == "precious"


KILLED_SERVER = """
import sys, pathlib, trio
from retrieval.transport.control import serve_control

async def main():
    async with trio.open_nursery() as nursery:
        await nursery.start(serve_control, pathlib.Path(sys.argv[1]), {})
        sys.stdout.write("ready\\n")
        sys.stdout.flush()

trio.run(main)
"""


@trio_test
async def test_what_a_killed_process_left_is_replaced(path: Path) -> None:
    process = await trio.lowlevel.open_process([sys.executable, "-c", KILLED_SERVER, str(path)], stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        assert await process.stdout.receive_some() == b"ready\n"
    finally:
        process.kill()
        await process.wait()
    assert await trio.Path(path).exists()
    assert "no process serves" in (await call_fails(path, "double")).detail

    async with serving(path):
        assert await call(path, "double", {"n": 1}) == {"n": 2}
