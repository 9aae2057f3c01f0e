"""The dapp module's types: the sources agree with the comments they carry, and with what ``index.d.ts`` declares to its users."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from dapp_pages import DAPP
from stock_peers import CHECKERS, SOURCES, folder_of

TIMEOUT_S = 120


def test_the_compiler_finds_the_sources_and_their_declarations_in_agreement(tmp_path: Path) -> None:
    built = folder_of("types")
    if not built.is_dir():
        pytest.skip("no TypeScript is built here (make interop-env)")
    if shutil.which("node") is None:
        pytest.skip("there is no node here")
    shutil.copytree(DAPP, tmp_path / "dapp")
    for name in ("tsconfig.json", "declared.ts"):
        shutil.copy(SOURCES / "types" / name, tmp_path)
    node, compiler = CHECKERS["types"].run
    checked = subprocess.run(
        [node, built / compiler, "--project", tmp_path], capture_output=True, text=True, timeout=TIMEOUT_S, check=False
    )
    assert (checked.returncode, checked.stdout) == (0, "")
