"""The project's programs as child processes: started with their output in files, waited for with deadlines, ended with whoever began them.

One rule: no child outlives the ``Children`` it was started in, and nothing is waited for without a deadline. The demo and the
end-to-end tests run the programs through here, as a script would: piped, so that results and errors are lines of JSON.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Final, TypeAlias

from retrieval.errors import Exit

PROGRAMS: Final = {
    "retrieval-devchain": "retrieval.devchain.cli",
    "retrieval-provider": "retrieval_provider.cli",
    "retrieval-client": "retrieval_client.cli",
}
"""Name to module; each has a ``main``."""

READY_TIMEOUT_S: Final = 60.0  # the first start after an installation also compiles every import
RESULT_TIMEOUT_S: Final = 60.0
END_TIMEOUT_S: Final = 20.0  # a provider drains its sessions (5 s) and claims before it leaves
POLL_S: Final = 0.01
STDERR_TAIL: Final = 4096  # characters shown of what a failed child said
NATIVE_VARIABLE: Final = "RETRIEVAL_NATIVE"

Json: TypeAlias = dict[str, Any]  # what JSON holds is only known to whoever asked for it
Condition: TypeAlias = Callable[[], bool]


class ChildFailed(Exception):
    """A child process ended with an error, or did not do in time what it was asked."""

    def __init__(self, child: Child, happened: str) -> None:
        error = child.error
        said = f"{error['detail']}\n  try: {error['hint']}" if error else child.stderr[-STDERR_TAIL:]
        super().__init__(f"`{child.command}` {happened}: {said}".strip(": \n"))
        self.child: Final = child


class Child:
    """One running or ended program."""

    def __init__(self, program: str, arguments: Sequence[str], output: Path) -> None:
        """Start it; ``output`` is the path of its output files, to which ``.out`` and ``.err`` are added."""
        self.command: Final = " ".join((program, *arguments))
        self._stdout: Final = output.with_suffix(".out")
        self._stderr: Final = output.with_suffix(".err")
        with self._stdout.open("wb") as stdout, self._stderr.open("wb") as stderr:
            # A session of its own: Ctrl-C reaches whoever started it, who then ends its children in their order.
            self._process: Final = subprocess.Popen(
                [sys.executable, "-P", "-c", f"from {PROGRAMS[program]} import main; main()", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                env=_environment(os.environ),
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def status(self) -> int | None:
        """Exit status, negative for a signal; None while it runs."""
        return self._process.poll()

    @property
    def stdout(self) -> str:
        return self._stdout.read_text(errors="replace")

    @property
    def stderr(self) -> str:
        return self._stderr.read_text(errors="replace")

    @property
    def results(self) -> list[Json]:
        """The whole lines of JSON it has written so far."""
        return [json.loads(line) for line in self.stdout.splitlines(keepends=True) if line.endswith("\n")]

    @property
    def error(self) -> Json:
        """What its failure report says: ``code``, ``label``, ``detail``, ``hint`` and so on; empty when there is none."""
        for line in reversed(self.stderr.splitlines()):
            if line.startswith('{"error"'):
                return dict(json.loads(line)["error"])
        return {}

    def ready(self, *, timeout_s: float = READY_TIMEOUT_S) -> Json:
        """The line in which a server says that it can be used. Raises ``ChildFailed``."""
        self.wait_until(lambda: "\n" in self.stdout, "did not become ready", timeout_s=timeout_s)
        return self.results[0]

    def result(self, *, timeout_s: float = RESULT_TIMEOUT_S) -> Json:
        """What a command that succeeds writes. Raises ``ChildFailed`` when it fails, or is not done in time."""
        status = self.wait(timeout_s=timeout_s)
        if status != Exit.OK:
            raise ChildFailed(self, f"failed with exit status {status}")
        if not self.results:
            raise ChildFailed(self, "said nothing")
        return self.results[0]

    def wait(self, *, timeout_s: float = RESULT_TIMEOUT_S) -> int:
        """Exit status, once it has ended. Raises ``ChildFailed`` when that takes longer."""
        try:
            return self._process.wait(timeout_s)
        except subprocess.TimeoutExpired as error:
            raise ChildFailed(self, f"did not end within {timeout_s:g} s") from error

    def wait_until(self, condition: Condition, otherwise: str, *, timeout_s: float = RESULT_TIMEOUT_S) -> None:
        """Until ``condition`` holds. Raises ``ChildFailed``, saying ``otherwise``, when the child ends first or the time is up."""
        deadline = time.monotonic() + timeout_s
        while not condition():
            if self.status is not None and not condition():
                raise ChildFailed(self, f"{otherwise}: it ended with exit status {self.status}")
            if time.monotonic() > deadline:
                raise ChildFailed(self, f"{otherwise} within {timeout_s:g} s")
            time.sleep(POLL_S)

    def stop(self, *, timeout_s: float = END_TIMEOUT_S) -> int:
        """Ask it to end, and wait until it has. Raises ``ChildFailed`` when it does not."""
        return self.end(signal.SIGTERM, timeout_s=timeout_s)

    def kill(self) -> None:
        """``kill -9``: it gets no chance to put anything in order."""
        self.end(signal.SIGKILL, timeout_s=END_TIMEOUT_S)

    def end(self, number: signal.Signals, *, timeout_s: float = END_TIMEOUT_S) -> int:
        """Send a signal, unless it has ended, and wait until it has. Raises ``ChildFailed`` when it does not."""
        self._process.send_signal(number)
        return self.wait(timeout_s=timeout_s)


class Children:
    """A context manager within which children live. ``folder`` receives what they write."""

    def __init__(self, folder: Path) -> None:
        self._folder: Final = folder
        self._children: Final[list[Child]] = []

    def __enter__(self) -> Children:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """End what still runs, the youngest first: a provider needs its chain to claim. Impatient after a failure."""
        for child in reversed(self._children):
            try:
                child.stop(timeout_s=END_TIMEOUT_S if error is None else END_TIMEOUT_S / 4)
            except ChildFailed:
                child.kill()
            except BaseException:  # a second Ctrl-C: there is no time left for anybody
                for remaining in self._children:
                    remaining.kill()
                raise

    def start(self, program: str, *arguments: str | Path) -> Child:
        """Start a program without waiting for anything."""
        output = self._folder / f"{len(self._children):02}-{program}"
        with _uninterrupted():
            child = Child(program, [str(argument) for argument in arguments], output)
            self._children.append(child)
        return child

    def run(self, program: str, *arguments: str | Path, timeout_s: float = RESULT_TIMEOUT_S) -> Json:
        """Run a command to its end and return its result. Raises ``ChildFailed``."""
        return self.start(program, *arguments).result(timeout_s=timeout_s)


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Hold an interruption back until the block is done: a child that was born and not yet noted would outlive us."""
    held_back: list[int] = []
    numbers = (signal.SIGINT, signal.SIGTERM)
    handlers = [signal.signal(number, lambda caught, frame: held_back.append(caught)) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, handlers, strict=True):
            signal.signal(number, handler)
        for caught in held_back:
            signal.raise_signal(caught)


def _environment(ours: Mapping[str, str]) -> dict[str, str]:
    """Ours without what would configure the programs from outside: a run looks the same on every machine."""
    return {name: value for name, value in ours.items() if not name.startswith("RETRIEVAL_") or name == NATIVE_VARIABLE}
