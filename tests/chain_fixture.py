"""Chains to test against. Take a fixture into a test module with ``from chain_fixture import devchain  # noqa: F401``.

`devchain` is the project's own development chain; `chain_url` runs a test on it and again on anvil, where anvil is found through
``ANVIL_BIN`` or ``PATH``. Both hold the same contracts, accounts and clock calls.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from retrieval.devchain import start
from retrieval.devchain.genesis import BALANCE_WEI, CONTRACTS, funded_keys
from retrieval.identity import format_address
from retrieval.payment.contracts import load_artifact

ANVIL_START_LINES = 200


@pytest.fixture(scope="session")
def devchain() -> Iterator[str]:
    """The RPC URL of a development chain, one for the whole run; a test makes its own keys and channels on it."""
    with start() as chain:
        yield chain.rpc


@pytest.fixture(scope="session", params=["devchain", "anvil"])
def chain_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """The RPC URL of each kind of chain in turn."""
    if request.param == "devchain":
        yield request.getfixturevalue("devchain")
        return
    binary = os.environ.get("ANVIL_BIN") or shutil.which("anvil")
    if binary is None:
        pytest.skip("anvil is neither on PATH nor named by ANVIL_BIN")
    with running_anvil(binary) as url:
        yield url


def rpc(url: str, method: str, *params: Any) -> Any:
    """The result of one JSON-RPC request; an error answer fails the test."""
    reply = rpc_reply(url, {"jsonrpc": "2.0", "id": 1, "method": method, "params": list(params)})
    assert "error" not in reply, reply
    return reply["result"]


def rpc_reply(url: str, body: Any) -> Any:
    """What the server answers to a JSON body."""
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as response:
        return json.load(response)


@contextmanager
def running_anvil(binary: str) -> Iterator[str]:
    """An anvil with our genesis put into it."""
    process = subprocess.Popen([binary, "--port", "0", "--chain-id", "31337"], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        for line in (process.stdout.readline() for _ in range(ANVIL_START_LINES)):
            if listening := re.search(r"Listening on (\S+)", line):
                break
        else:
            pytest.fail("anvil did not say where it listens")
        url = f"http://{listening[1]}"
        for name, address in CONTRACTS.items():
            rpc(url, "anvil_setCode", format_address(address), "0x" + load_artifact(name).runtime_code.hex())
        for key in funded_keys():
            rpc(url, "anvil_setBalance", format_address(key.address), hex(BALANCE_WEI))
        yield url
    finally:
        process.terminate()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()
