"""Worker processes: one JSON line in, one JSON line out, their CPU time and memory read from outside.

Its rule: what is measured runs in processes of its own, one a role, and what measures them does not touch a byte of the content.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Timer
from typing import Any, Final, TypeAlias

ROOT: Final = Path(__file__).resolve().parent.parent
READY_TIMEOUT_S: Final = 60.0  # the first start after an installation also compiles every import
ANSWER_TIMEOUT_S: Final = 600.0  # the slowest peer needs half a minute for 1 GiB on an idle machine
END_TIMEOUT_S: Final = 20.0
STDERR_TAIL: Final = 4096  # characters shown of what a failed worker said
_TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")

Json: TypeAlias = dict[str, Any]  # what JSON holds is only known to whoever asked for it


class WorkerFailed(Exception):
    """A worker ended, or did not answer in time."""


class Worker:
    """A running module that answers. Made by ``start_worker``."""

    def __init__(self, command: Sequence[str], stderr: Path) -> None:
        self._command: Final = list(command)
        self._stderr: Final = stderr
        with stderr.open("wb") as errors:
            self._process: Final = subprocess.Popen(
                self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True, cwd=ROOT, start_new_session=True
            )
        self.ready: Json = {}

    @property
    def pid(self) -> int:
        return self._process.pid

    def ask(self, *, timeout_s: float = ANSWER_TIMEOUT_S, **command: object) -> Json:
        """Send a command and return its answer. Raises ``WorkerFailed``."""
        self.tell(**command)
        return self.hear(timeout_s)

    def tell(self, **command: object) -> None:
        """Send a command without waiting; ``hear`` returns its answer."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(command) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError as error:
            raise self._failure("ended") from error

    def hear(self, timeout_s: float = ANSWER_TIMEOUT_S) -> Json:
        """The next answer. Raises ``WorkerFailed``; a worker that is late is ended."""
        assert self._process.stdout is not None
        timer = Timer(timeout_s, self._process.kill)
        timer.start()
        try:
            line = self._process.stdout.readline()
        finally:
            timer.cancel()
        if not line.endswith("\n"):
            raise self._failure("ended without an answer")
        answer: Json = json.loads(line)
        return answer

    def close(self) -> None:
        """Close its input and wait for its end; it is killed when that takes long."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        try:
            self._process.wait(END_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()

    def _failure(self, happened: str) -> WorkerFailed:
        tail = self._stderr.read_text(errors="replace")[-STDERR_TAIL:]
        return WorkerFailed(f"`{' '.join(self._command)}` {happened}\n{tail}".rstrip())


@contextmanager
def start_worker(module: str, *arguments: str | Path, within: Sequence[str] = ()) -> Iterator[Worker]:
    """Run ``python -m module arguments`` while the block runs, ready to answer. ``within`` are words to put before the command."""
    with tempfile.TemporaryDirectory(prefix="worker-") as folder:
        worker = Worker([*within, sys.executable, "-m", module, *map(str, arguments)], Path(folder, "stderr"))
        try:
            worker.ready = worker.hear(READY_TIMEOUT_S)
            yield worker
        finally:
            worker.close()


def say(**answer: object) -> None:
    """A worker's side: one answer."""
    print(json.dumps(answer), flush=True)


def answer_commands(answer: Callable[[Json], Json]) -> None:
    """A worker's side: say that it is ready, then answer commands until the input ends."""
    say(ready=True)
    for line in sys.stdin:
        say(**answer(json.loads(line)))


def cpu_seconds(pid: int) -> float:
    """User and system time of a process so far, all its threads, without its children."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S


def anonymous_bytes(pid: int) -> int:
    """Memory that is the process's own: resident, without pages of mapped files (``RssAnon`` and ``RssShmem``, not ``RssFile``).

    Shared memory that has no file counts: a buffer made by ``mmap(-1)`` is nobody else's.
    """
    fields = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return sum(int(fields[name].split()[0]) for name in ("RssAnon", "RssShmem")) * 1024
