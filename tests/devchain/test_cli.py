"""The program as others run it: one JSON line, a chain that answers, an end when told, and a state that outlives it."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from chain_fixture import rpc

from retrieval.devchain.database import ChainDatabase
from retrieval.errors import Exit
from retrieval.payment.chain import DEVCHAIN

PROGRAM = [sys.executable, "-c", "from retrieval.devchain.cli import main; main()"]
END_TIMEOUT_S = 20


@contextmanager
def running(*options: str) -> Iterator[tuple[subprocess.Popen[str], dict[str, Any]]]:
    """The program on a free port, and what it says when it is ready."""
    process = subprocess.Popen([*PROGRAM, "--port", "0", *options], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield process, json.loads(process.stdout.readline())
    finally:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


def end(process: subprocess.Popen[str], number: signal.Signals) -> tuple[int, str]:
    """Exit status, and what was printed after the first line."""
    process.send_signal(number)
    rest, _ = process.communicate(timeout=END_TIMEOUT_S)
    return process.returncode, rest


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_prints_one_json_line_and_ends_cleanly_when_told(number: signal.Signals) -> None:
    with running() as (process, ready):
        assert (ready["event"], ready["chain_id"], len(ready["accounts"])) == ("ready", DEVCHAIN.chain_id, 10)
        assert rpc(ready["rpc"], "eth_accounts") == [account["address"] for account in ready["accounts"]]
        assert all(rpc(ready["rpc"], "eth_getCode", address, "latest") != "0x" for address in ready["contracts"].values())
        assert end(process, number) == (0, "")


def test_a_state_file_outlives_kill_9(tmp_path: Path) -> None:
    state = str(tmp_path / "chain.state")
    with running("--state", state) as (process, ready):
        sender, to = (account["address"] for account in ready["accounts"][:2])
        sent = [rpc(ready["rpc"], "eth_sendTransaction", {"from": sender, "to": to, "value": "0x1"}) for _ in range(3)]
        rpc(ready["rpc"], "evm_increaseTime", 1_000_000)
        head = rpc(ready["rpc"], "eth_getBlockByNumber", "latest", False)
        process.kill()
        process.wait()
    with running("--state", state) as (process, ready):
        assert rpc(ready["rpc"], "eth_getBlockByNumber", "latest", False) == head
        assert [rpc(ready["rpc"], "eth_getTransactionReceipt", each)["status"] for each in sent] == ["0x1"] * 3
        assert rpc(ready["rpc"], "eth_getTransactionCount", sender, "latest") == "0x3"
        rpc(ready["rpc"], "evm_mine")
        mined = rpc(ready["rpc"], "eth_getBlockByNumber", "latest", False)
        assert int(mined["timestamp"], 16) - int(head["timestamp"], 16) >= 1_000_000 - 3


def test_a_state_file_in_use_or_of_another_kind_ends_with_the_reason(tmp_path: Path) -> None:
    text = tmp_path / "notes.txt"
    text.write_text("not a chain\n" * 100)
    held = tmp_path / "chain.state"
    with contextlib.closing(ChainDatabase(held)):
        for path, status, words in ((held, Exit.INTERNAL, "locked"), (text, Exit.USAGE, "not a database")):
            done = subprocess.run([*PROGRAM, "--port", "0", "--state", str(path)], capture_output=True, text=True, timeout=60, check=False)
            assert (done.returncode, done.stdout) == (status, "")
            assert words in done.stderr
            assert "try:" in done.stderr


def test_on_a_terminal_it_shows_tables(tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    process = subprocess.Popen([*PROGRAM, "--port", "0"], stdout=theirs, env={**os.environ, "COLUMNS": "160", "TERM": "dumb"})
    os.close(theirs)
    shown = b""
    while b"Ready." not in shown:
        shown += os.read(ours, 4096)
    process.send_signal(signal.SIGINT)
    assert process.wait(END_TIMEOUT_S) == 0
    os.close(ours)
    assert b"http://127.0.0.1:" in shown
    assert b"event" not in shown
