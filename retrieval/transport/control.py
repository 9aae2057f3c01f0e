"""Trio: the control socket of a home, where the process that holds the home's state takes orders from short commands.

Its rule: one request is one line of JSON, ``{"verb", "args"}``, and so is its answer, ``{"ok": {…}}`` or ``{"error": {"code", "label",
"detail", "hint"}}``; whoever may open the home's files may give orders, and nobody else (mode 0600). The asking side is synchronous and
starts no event loop, because a command that only asks should take no longer than asking.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import stat
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final, Protocol, TypeAlias

import trio

from retrieval.errors import ErrorCode, LocalProtocolError, RetrievalError

SOCKET_PATH_MAX: Final = 107  # bytes of a Unix socket's path, less its final zero (unix(7))
REQUEST_MAX: Final = 64 * 1024  # bytes of one line
ANSWER_MAX: Final = 16 * 1024 * 1024  # bytes of one line; a statement of 10,000 deals takes about 4 MiB
CONNECTIONS_MAX: Final = 16
REQUEST_TIMEOUT_S: Final = 10.0  # for the next request of a connection, and for taking an answer
CALL_TIMEOUT_S: Final = 10.0
_READ_SIZE: Final = 64 * 1024

Json: TypeAlias = dict[str, Any]  # what JSON holds is only known to the verb
Verb: TypeAlias = Callable[[Json], Awaitable[Json]]

_log = logging.getLogger(__name__)


class Starting(Protocol):
    """Whom to tell that the socket is open: what ``nursery.start`` passes on."""

    def started(self) -> None: ...


async def serve_control(path: Path, verbs: Mapping[str, Verb], *, task_status: Starting = trio.TASK_STATUS_IGNORED) -> None:
    """Answer requests at ``path`` until cancelled; ``nursery.start`` returns once it listens.

    What a killed process left at ``path`` is replaced. A verb runs to its end even when whoever asked has gone away. Raises
    ``LocalProtocolError(state_locked)`` when a living process answers there.
    """
    room = trio.CapacityLimiter(CONNECTIONS_MAX)

    async def converse(stream: trio.SocketStream) -> None:
        try:
            room.acquire_nowait()
        except trio.WouldBlock:
            _log.warning("control: connection refused, %d are open", CONNECTIONS_MAX)
            return
        try:
            await _answer_requests(stream, verbs)
        except (trio.BrokenResourceError, trio.TooSlowError):
            return  # whoever asked has gone away, or sleeps
        finally:
            room.release()

    with listening_at(path) as listener:
        task_status.started()
        await trio.serve_listeners(converse, [listener])


@contextmanager
def listening_at(path: Path) -> Iterator[trio.SocketListener]:
    """A socket that only this user reaches, for as long as the block runs.

    What a killed process left at ``path`` is replaced. Raises ``LocalProtocolError(state_locked)`` when a living process answers there.
    """
    listening, inode = _listen(path)
    try:
        yield trio.SocketListener(trio.socket.from_stdlib_socket(listening))
    finally:
        _remove(path, inode)


def call_control(path: Path, verb: str, args: Json, timeout_s: float = CALL_TIMEOUT_S) -> Json:
    """Ask the process that serves ``path``, and wait for its answer. Blocks: not for use inside an event loop.

    Raises the error that it answered with, as ``LocalProtocolError``, and ``LocalProtocolError(control_unavailable)`` when nobody
    answers in time, or not in this protocol.
    """
    request = json.dumps({"verb": verb, "args": args}).encode() + b"\n"
    if len(request) > REQUEST_MAX:
        raise LocalProtocolError(ErrorCode.USAGE, f"the request has {len(request)} bytes, the limit is {REQUEST_MAX}")
    deadline = time.monotonic() + timeout_s
    try:
        with _connect(path, timeout_s) as connection:
            connection.sendall(request)
            line = _read_line(connection, deadline)
    except TimeoutError as error:
        raise _unavailable(f"no answer within {timeout_s:g} s") from error
    except (FileNotFoundError, ConnectionRefusedError) as error:
        raise _unavailable("no process serves this home") from error
    except OSError as error:
        raise _unavailable(error.strerror or str(error)) from error
    return _read_answer(line)


# The serving side.


async def _answer_requests(stream: trio.SocketStream, verbs: Mapping[str, Verb]) -> None:
    unread = bytearray()
    while True:
        with trio.fail_after(REQUEST_TIMEOUT_S):
            while (end := unread.find(b"\n")) < 0 and len(unread) <= REQUEST_MAX:
                part = await stream.receive_some(_READ_SIZE)
                if not part:
                    return
                unread += part
        if end < 0 or end >= REQUEST_MAX:
            too_long = LocalProtocolError(ErrorCode.USAGE, f"a request has at most {REQUEST_MAX} bytes")
            await _send(stream, _error_answer(too_long))
            return
        line = bytes(unread[:end])
        del unread[: end + 1]
        await _send(stream, await _answer(line, verbs))


async def _send(stream: trio.SocketStream, answer: bytes) -> None:
    with trio.fail_after(REQUEST_TIMEOUT_S):
        await stream.send_all(answer)


async def _answer(line: bytes, verbs: Mapping[str, Verb]) -> bytes:
    try:
        verb, args = _read_request(line)
        if verb not in verbs:
            raise LocalProtocolError(ErrorCode.USAGE, f"there is no verb {verb[:40]!r} here")
        answer = json.dumps({"ok": await verbs[verb](args)}).encode() + b"\n"
        if len(answer) > ANSWER_MAX:
            raise LocalProtocolError(ErrorCode.INTERNAL, f"the answer has {len(answer)} bytes, the limit is {ANSWER_MAX}")
    except RetrievalError as error:
        return _error_answer(error)
    except Exception:  # noqa: BLE001 — a fault in one verb must not end the process that serves
        _log.exception("control: a request failed inside")
        return _error_answer(LocalProtocolError(ErrorCode.INTERNAL, "the request failed; the log of the serving process says how"))
    return answer


def _read_request(line: bytes) -> tuple[str, Json]:
    try:
        request = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise LocalProtocolError(ErrorCode.USAGE, "the request is not JSON") from error
    match request:
        case {"verb": str(verb), "args": dict(args), **rest} if not rest:
            return verb, args
    raise LocalProtocolError(ErrorCode.USAGE, 'a request is {"verb": "…", "args": {…}}')


def _error_answer(error: RetrievalError) -> bytes:
    row = {"code": int(error.code), "label": error.code.label, "detail": error.detail, "hint": error.row.hint}
    return json.dumps({"error": row}).encode() + b"\n"


def _listen(path: Path) -> tuple[socket.socket, int]:
    """A socket that listens at ``path``, and the inode by which its file is known again."""
    _remove_stale(path)
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with short_name(path) as name:
            listening.bind(name)
        path.chmod(0o600)  # in time: until listen(), whoever connects is refused
        listening.listen(CONNECTIONS_MAX)
        listening.setblocking(False)
    except OSError as error:
        listening.close()
        raise LocalProtocolError(ErrorCode.FILE_UNREADABLE, f"{path.name}: {error.strerror or error}") from error
    return listening, path.lstat().st_ino


def _remove(path: Path, inode: int) -> None:
    with suppress(FileNotFoundError):
        if path.lstat().st_ino == inode:
            path.unlink()


def _remove_stale(path: Path) -> None:
    """Make room for a new socket, if nobody listens at the old one."""
    try:
        if not stat.S_ISSOCK(path.lstat().st_mode):
            return  # not ours to remove; binding will fail and say so
        _connect(path, CALL_TIMEOUT_S).close()
    except FileNotFoundError:
        return
    except ConnectionRefusedError:
        path.unlink(missing_ok=True)
        return
    raise LocalProtocolError(ErrorCode.STATE_LOCKED, f"another process answers at {path.name}")


# The asking side.


def _connect(path: Path, timeout_s: float) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.settimeout(timeout_s)
        with short_name(path) as name:
            connection.connect(name)
    except BaseException:
        connection.close()
        raise
    return connection


def _read_line(connection: socket.socket, deadline: float) -> bytes:
    """One line, without its end. Raises ``TimeoutError`` past the deadline, which is a time of ``time.monotonic``."""
    line = bytearray()
    while not line.endswith(b"\n"):
        left_s = deadline - time.monotonic()
        if left_s <= 0:
            raise TimeoutError
        connection.settimeout(left_s)
        part = connection.recv(_READ_SIZE)
        if not part:
            raise _unavailable("it hung up without an answer")
        line += part
        if len(line) > ANSWER_MAX:
            raise _unavailable(f"its answer is longer than {ANSWER_MAX} bytes")
    return bytes(line[:-1])


def _read_answer(line: bytes) -> Json:
    try:
        answer = json.loads(line)
        match answer:
            case {"ok": dict(ok)}:
                return ok
            case {"error": {"code": int(code), "detail": str(detail)}}:
                raise LocalProtocolError(ErrorCode(code), detail)
    except (ValueError, RecursionError) as error:
        raise _unavailable("its answer cannot be read") from error
    raise _unavailable("its answer is in another format")


def _unavailable(why: str) -> LocalProtocolError:
    return LocalProtocolError(ErrorCode.CONTROL_UNAVAILABLE, why)


@contextmanager
def short_name(path: Path) -> Iterator[str]:
    """A name for ``path`` that fits a socket address: a deep home is reached through an open descriptor of it (Linux)."""
    if len(os.fsencode(path)) <= SOCKET_PATH_MAX:
        yield str(path)
        return
    directory = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{directory}/{path.name}"
    finally:
        os.close(directory)
