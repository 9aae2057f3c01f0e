"""Somebody who types commands of the provider's program, which run in this process as in one of their own."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from retrieval_provider.cli import PROGRAM, cli

from retrieval.console import run
from retrieval.home import Home


@dataclass(slots=True, kw_only=True)
class Operator:
    """Somebody at a shell, with one provider's home."""

    path: Path
    capture: pytest.CaptureFixture[str]

    @property
    def home(self) -> Home:
        return Home(self.path, PROGRAM)

    def type(self, *arguments: str | Path) -> list[dict[str, Any]]:
        """The lines of a command that succeeds."""
        status, rows, error = self.try_to(*arguments)
        assert status == 0, error
        return rows

    def fail(self, *arguments: str | Path) -> tuple[int, dict[str, Any]]:
        """Exit status and error of one that does not."""
        status, _, error = self.try_to(*arguments)
        assert status != 0
        return status, error

    def try_to(self, *arguments: str | Path) -> tuple[int, list[dict[str, Any]], dict[str, Any]]:
        status, out, err = self.read(*arguments)
        errors = [json.loads(line)["error"] for line in err.splitlines() if line.startswith('{"error"')]
        return status, [json.loads(line) for line in out.splitlines()], errors[-1] if errors else {}

    def read(self, *arguments: str | Path) -> tuple[int, str, str]:
        """Exit status, and what it wrote to stdout and stderr."""
        self.capture.readouterr()
        status = run(cli, program=PROGRAM, arguments=["--home", str(self.path), *map(str, arguments)])
        said = self.capture.readouterr()
        return status, said.out, said.err
