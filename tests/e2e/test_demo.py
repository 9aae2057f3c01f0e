"""`make demo` as its caller sees it: the last line, the exit status, and nothing left behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from processes import write_file

from retrieval.units import MIB, ceil_div

DEMO = [sys.executable, "-m", "retrieval.devchain.demo"]
TIMEOUT_S = 120
END_TIMEOUT_S = 30
KEYS = {"root", "bytes", "blocks", "verified", "paid", "claimed", "receipt_verified", "ttfb_ms", "seconds"}


def environment(folder: Path, **more: str) -> dict[str, str]:
    return os.environ | {"TMPDIR": str(folder)} | more


@pytest.fixture
def temporary(tmp_path: Path) -> Path:
    """Where the demo makes its folder, so that a test sees whether it is gone."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    return folder


def test_the_last_line_says_what_the_sale_of_a_file_came_to(tmp_path: Path, temporary: Path) -> None:
    file = write_file(tmp_path / "film.bin", 3 * MIB + 5, seed=1)
    ended = subprocess.run(
        [*DEMO, file],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment(temporary),
        timeout=TIMEOUT_S,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout
    outcome = json.loads(ended.stdout.splitlines()[-1])
    assert set(outcome) == KEYS
    assert (outcome["bytes"], outcome["blocks"]) == (3 * MIB + 5, 5)
    assert outcome["verified"] is outcome["receipt_verified"] is True
    assert outcome["paid"] == outcome["claimed"] == str(ceil_div((3 * MIB + 5) * 10_000, 1 << 30))
    assert 0 < outcome["ttfb_ms"] <= outcome["seconds"] * 1000
    assert not list(temporary.iterdir())


def test_a_directory_is_sold_without_the_c_extension_too(tmp_path: Path, temporary: Path) -> None:
    album = tmp_path / "album"
    (album / "empty").mkdir(parents=True)
    sizes = {"first": 0, "second": 5, "third": 2 * MIB}
    for seed, (name, size) in enumerate(sizes.items()):
        write_file(album / name, size, seed=seed)
    (album / "link").symlink_to("second")
    ended = subprocess.run(
        [*DEMO, album], capture_output=True, text=True, env=environment(temporary, RETRIEVAL_NATIVE="off"), timeout=TIMEOUT_S, check=False
    )
    assert ended.returncode == 0, ended.stderr
    (line,) = ended.stdout.splitlines()
    assert json.loads(line)["bytes"] == sum(sizes.values())


def test_a_path_that_is_not_there_is_named(temporary: Path) -> None:
    ended = subprocess.run(
        [*DEMO, "no/such/file"], capture_output=True, text=True, env=environment(temporary), timeout=TIMEOUT_S, check=False
    )
    assert ended.returncode != 0
    assert "no/such/file" in ended.stderr
    assert not ended.stdout


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_demo_that_is_interrupted_takes_its_processes_and_files_with_it(temporary: Path, number: signal.Signals) -> None:
    demo = subprocess.Popen(DEMO, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment(temporary))
    try:
        assert demo.stderr is not None
        for line in demo.stderr:
            if "answers at" in line:
                break
        children = psutil.Process(demo.pid).children(recursive=True)
        demo.send_signal(number)
        printed, _ = demo.communicate(timeout=END_TIMEOUT_S)
    finally:
        demo.kill()
        demo.wait()
    assert children
    assert (demo.returncode, printed) == (1, "")
    assert not [child for child in children if child.is_running()]
    assert not list(temporary.iterdir())
