"""The dapp module in Node: programs that end, and one process that answers many questions, for tests that ask hundreds."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import pytest
from dapp_pages import DAPP

TIMEOUT_S: Final = 60
PROGRAM: Final = DAPP.parents[1] / "tests" / "dapp" / "worker.mjs"


def run_node(source: str, told: object) -> Any:
    """What a program for Node prints; skips the test where there is no Node."""
    if (node := shutil.which("node")) is None:
        pytest.skip("there is no node here")
    program = f"import {{ text }} from 'node:stream/consumers'\nconst told = JSON.parse(await text(process.stdin))\n{source}"
    ended = subprocess.run(
        [node, "--input-type=module", "--eval", program],
        input=json.dumps(told),
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout)


class Worker:
    """One Node. Options are those of the module."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._stdin: Final = process.stdin
        self._stdout: Final = process.stdout

    def ask(self, verb: str, what: str, **options: Any) -> dict[str, Any]:
        self._stdin.write(json.dumps({"verb": verb, "what": what, "options": options}) + "\n")
        self._stdin.flush()
        answer: dict[str, Any] = json.loads(self._stdout.readline())
        return answer

    def get(self, what: str, **options: Any) -> bytes:
        """The content of what must be there."""
        answer = self.ask("retrieve", what, **options)
        assert "hex" in answer, answer
        return bytes.fromhex(answer["hex"])

    def code(self, what: str, verb: str = "retrieve", **options: Any) -> str:
        """The label of what must fail."""
        answer = self.ask(verb, what, **options)
        assert "code" in answer, answer
        print(answer["message"])
        return str(answer["code"])


@contextmanager
def open_worker() -> Iterator[Worker]:
    """A worker while the block runs; skips the test where there is no Node."""
    if (node := shutil.which("node")) is None:
        pytest.skip("there is no node here")
    process = subprocess.Popen([node, PROGRAM, DAPP / "retrieval.js"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        yield Worker(process)
    finally:
        assert process.stdin is not None
        process.stdin.close()
        process.kill()
        process.wait()
