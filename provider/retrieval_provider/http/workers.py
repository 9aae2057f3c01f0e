"""Trio. The processes of the HTTP door, seen from the node: started with it, started again when one falls, ended with it.

The node opens the listening sockets and keeps them, so that a port is known before a process runs, and connections wait while one is
replaced. A worker lives as long as its standard input: it ends with the node, also when the node is killed.
"""

from __future__ import annotations

import json
import logging
import re
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Protocol

import trio

from retrieval.console import logging_now
from retrieval.errors import ErrorCode, LocalProtocolError
from retrieval.gateway.guests import networks
from retrieval.home import Home

from ..config import ProviderSettings
from ..operator.metrics import PROCESS_RESTARTS
from ..operator.tally import Tally

log: Final = logging.getLogger("retrieval.provider.http")

MODULE: Final = "retrieval_provider.http.worker"
READY: Final = b"ready\n"
READY_S: Final = 30.0
"""How long a worker may take to be usable the first time: it loads aiohttp, on a machine that may be busy."""
END_S: Final = 5.0
"""How long workers may take to end what they are sending, once they are told to go."""
RESTART_S: Final = 0.5
RESTART_MAX_S: Final = 30.0
"""The pause before a worker that fell is started again, and what it doubles to."""
STEADY_S: Final = 60.0
"""A worker that lived this long had no fault from its birth."""
LINE_MAX: Final = 256 << 10
"""Bytes of what a process says at once: it names some dozens of transfers."""
_READ_SIZE: Final = 64 << 10
BACKLOG: Final = 1024  # connections that wait while all workers are busy or being replaced

_LISTEN: Final = re.compile(r"/(ip4|ip6)/([0-9A-Fa-f.:]{1,45})/tcp/([0-9]{1,5})(?:/http)?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """What a worker is told when it starts, as one line of JSON."""

    blocks: str
    """The folder of the block store."""
    store_bytes_max: int
    sockets: tuple[int, ...]
    """Descriptors of the listening sockets."""
    requests_max: int
    requests_per_minute: int
    connections_max: int
    connections_per_prefix_max: int
    proxies: tuple[str, ...]
    denylist: str
    """The path of the file; empty where nothing is withheld."""
    peer_id: str
    http: tuple[str, ...]
    libp2p: tuple[str, ...]
    """What routing answers say of this provider."""
    till: str
    """The socket at which the node says what an answer costs; empty where nothing costs anything."""
    log_level: str
    log_form: str

    def encode(self) -> bytes:
        return json.dumps(asdict(self)).encode() + b"\n"

    @classmethod
    def decode(cls, line: bytes) -> Assignment:
        """What ``encode`` made, by the same version of this program."""
        told: dict[str, Any] = json.loads(line)
        return cls(**(told | {name: tuple(told[name]) for name in ("sockets", "proxies", "http", "libp2p")}))


@asynccontextmanager
async def open_workers(
    home: Home, settings: ProviderSettings, *, peer_id: str, libp2p: tuple[str, ...], till: Path | None = None, tally: Tally | None = None
) -> AsyncIterator[HttpDoor]:
    """Serve HTTP while the block runs. Where ``http.listen`` is empty it does nothing.

    ``libp2p`` are the addresses of the market, with the peer id; ``till`` is the socket at which prices are asked, None where all is
    free; what is counted is added to ``tally``. Raises ``LocalProtocolError``: ``usage`` for an address that cannot be listened on,
    ``internal`` when a worker does not become usable.
    """
    if not settings.http.listen:
        yield HttpDoor(urls=(), workers=())
        return
    networks(settings.http.proxies)  # to say now what processes would stumble over
    with ExitStack() as opened:
        sockets = [opened.enter_context(listening_on(text)) for text in settings.http.listen]
        level, form = logging_now()
        assignment = Assignment(
            blocks=str(home.blocks_path),
            store_bytes_max=settings.store.bytes_max,
            sockets=tuple(each.fileno() for each in sockets),
            requests_max=settings.http.requests_max,
            requests_per_minute=settings.http.requests_per_minute,
            connections_max=settings.http.connections_max,
            connections_per_prefix_max=settings.http.connections_per_prefix_max,
            proxies=settings.http.proxies,
            denylist=str(home.path / settings.serve.denylist) if settings.serve.denylist else "",
            peer_id=peer_id,
            http=settings.http.announce or tuple(map(_multiaddr_of, sockets)),
            libp2p=tuple(address.removesuffix(f"/p2p/{peer_id}") for address in libp2p),
            till="" if till is None else str(till),
            log_level=level,
            log_form=form,
        )
        async with trio.open_nursery() as nursery:
            workers = [Worker(MODULE, assignment, tally) for _ in range(settings.http.workers)]
            for worker in workers:
                nursery.start_soon(worker.run)
            for worker in workers:
                await worker.usable.wait()
            urls = tuple(map(url_of, sockets))
            log.info("HTTP is served on %s by %d processes", ", ".join(urls), len(workers))
            try:
                yield HttpDoor(urls=urls, workers=tuple(workers))
            finally:
                nursery.cancel_scope.cancel()


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpDoor:
    """The door, open."""

    urls: tuple[str, ...]
    workers: tuple[Worker, ...]


class Told(Protocol):
    """What a process is told when it starts."""

    @property
    def sockets(self) -> tuple[int, ...]: ...
    def encode(self) -> bytes: ...


class Worker:
    """One process after another, of which one runs at a time.

    On its standard output it says that it is usable, and from then on what it counted and what it does, a line of JSON each time.
    """

    def __init__(self, module: str, assignment: Told, tally: Tally | None = None) -> None:
        self.usable: Final = trio.Event()
        """Set once the first of them answers."""
        self.lives = False
        """Whether one runs now and is usable."""
        self.now: dict[str, Any] = {}
        """What the one that runs said last."""
        self.heard_at = 0.0
        """When that was, by Trio's clock."""
        self._module: Final = module
        self._assignment: Final = assignment
        self._tally: Final = tally or Tally()

    async def run(self) -> None:
        """Keep a process running until cancelled. Raises ``LocalProtocolError(internal)`` when the first does not become usable."""
        await self._live()
        if not self.usable.is_set():
            raise LocalProtocolError(ErrorCode.INTERNAL, f"{self._module} did not start")
        pause_s = RESTART_S
        while True:
            await trio.sleep(pause_s)
            born = trio.current_time()
            await self._live()
            pause_s = RESTART_S if trio.current_time() - born >= STEADY_S else min(2 * pause_s, RESTART_MAX_S)

    async def _live(self) -> None:
        """The life of one process."""
        process = await trio.lowlevel.open_process(
            [sys.executable, "-P", "-m", self._module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            pass_fds=self._assignment.sockets,
        )
        assert process.stdout is not None
        output = _Output(process.stdout)
        try:
            if await self._tell(process, output):
                self.usable.set()
                self.lives, self.heard_at = True, trio.current_time()
                await self._hear(output)
                self.lives = False
                self._tally.count(PROCESS_RESTARTS, self._module.split(".")[1])
                log.error("%s ended; another process takes its place", self._module)
        finally:
            self.lives = False
            with trio.CancelScope(shield=True):
                await self._end(process, output)
            self.now = {}

    async def _hear(self, output: _Output) -> None:
        """Take what it says until it ends, or says what cannot be read: strangers speak to it, and it has no claim on the node."""
        try:
            while line := await output.line():
                said = json.loads(line)
                if not isinstance(said, dict):
                    raise ValueError("it is no object")
                self.now, self.heard_at = said, trio.current_time()
                if (counted := self.now.get("counted")) is not None:
                    self._tally.add(counted)
        except (ValueError, KeyError, TypeError):
            log.exception("%s said what cannot be read", self._module)

    async def _tell(self, process: trio.Process, output: _Output) -> bool:
        """Give it its assignment; returns whether it became usable in time."""
        assert process.stdin is not None
        with trio.move_on_after(READY_S), suppress(trio.BrokenResourceError):  # it may be gone before it was told
            await process.stdin.send_all(self._assignment.encode())
            return await output.line() == READY
        return False

    async def _end(self, process: trio.Process, output: _Output) -> None:
        """Ask it to go by closing its input, hear what it still says, and see that it has gone."""
        assert process.stdin is not None
        assert process.stdout is not None
        await process.stdin.aclose()
        with trio.move_on_after(END_S):
            await self._hear(output)
            await process.wait()
        if process.returncode is None:
            log.warning("%s did not go within %g s and was killed", self._module, END_S)
            process.kill()
            await process.wait()
        await process.stdout.aclose()


class _Output:
    """What a process says, line by line."""

    def __init__(self, stream: trio.abc.ReceiveStream) -> None:
        self._stream: Final = stream
        self._unread = bytearray()

    async def line(self) -> bytes:
        """The next line with its end; nothing once the process has ended. Raises ``ValueError`` for one above ``LINE_MAX``."""
        while (end := self._unread.find(b"\n") + 1) == 0:
            if len(self._unread) > LINE_MAX:
                raise ValueError(f"a line has more than {LINE_MAX} bytes")
            part = await self._stream.receive_some(_READ_SIZE)
            if not part:
                return b""
            self._unread += part
        line = bytes(self._unread[:end])
        del self._unread[:end]
        return line


@contextmanager
def listening_on(text: str) -> Iterator[socket.socket]:
    """A listening socket. Raises ``LocalProtocolError(usage)``."""
    form = _LISTEN.fullmatch(text)
    if form is None:
        raise LocalProtocolError(ErrorCode.USAGE, f"cannot listen on {text}: write it like /ip4/127.0.0.1/tcp/4802")
    family = socket.AF_INET if form[1] == "ip4" else socket.AF_INET6
    with socket.socket(family, socket.SOCK_STREAM) as listening:
        try:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            listening.bind((form[2], int(form[3])))
            listening.listen(BACKLOG)
        except (OSError, OverflowError) as error:
            raise LocalProtocolError(ErrorCode.USAGE, f"cannot listen on {text}: {error}") from error
        listening.setblocking(False)
        yield listening


def _multiaddr_of(listening: socket.socket) -> str:
    host, port = listening.getsockname()[:2]
    return f"/{'ip4' if listening.family == socket.AF_INET else 'ip6'}/{host}/tcp/{port}/http"


def url_of(listening: socket.socket) -> str:
    host, port = listening.getsockname()[:2]
    return f"http://{host}:{port}" if listening.family == socket.AF_INET else f"http://[{host}]:{port}"
