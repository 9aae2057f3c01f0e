"""RETRIEVAL_NATIVE decides which backend runs, and an operator hears of the slow one only when nobody asked for it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import retrieval

SHOW = "from retrieval import _native as n; print(n.BACKEND, n.NOTICE, n.decode_uvarint(b'\\x01'), sep='|')"


def show(wanted: str | None, *, path: Path | None = None) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "RETRIEVAL_NATIVE"}
    if wanted is not None:
        environment["RETRIEVAL_NATIVE"] = wanted
    if path is not None:
        environment["PYTHONPATH"] = str(path)
    # -P, so that the working folder does not come before PYTHONPATH.
    return subprocess.run([sys.executable, "-P", "-c", SHOW], env=environment, capture_output=True, text=True, check=False)


def without_extension(tmp_path: Path) -> Path:
    """A copy of the package as it is on a machine without a compiler."""
    native = Path(retrieval.__file__).parent / "_native"
    (tmp_path / "retrieval").mkdir()
    (tmp_path / "retrieval" / "__init__.py").touch()
    shutil.copytree(native, tmp_path / "retrieval" / "_native", ignore=shutil.ignore_patterns("*.so"))
    return tmp_path


def test_off_takes_the_pure_path_without_a_word() -> None:
    assert show("off").stdout.strip() == "pure|None|(1, 1)"


def test_require_takes_the_c_path(core: ModuleType) -> None:
    assert show("require").stdout.strip() == "c|None|(1, 1)"


def test_unset_takes_the_c_path_where_it_is_built(core: ModuleType) -> None:
    assert show(None).stdout.strip() == "c|None|(1, 1)"


def test_any_other_word_is_refused() -> None:
    assert "'maybe'; it may be 'require', 'off' or unset" in show("maybe").stderr


def test_unset_without_the_extension_takes_the_pure_path_and_says_so(tmp_path: Path) -> None:
    backend, notice, _ = show(None, path=without_extension(tmp_path)).stdout.strip().split("|")
    assert backend == "pure"
    assert "install a C compiler" in notice


def test_require_without_the_extension_refuses_to_run(tmp_path: Path) -> None:
    finished = show("require", path=without_extension(tmp_path))
    assert finished.returncode != 0
    assert "RETRIEVAL_NATIVE=require" in finished.stderr
