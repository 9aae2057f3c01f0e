"""Either side ends in the middle of a transfer: the same `get` completes, and everything is paid once."""

from __future__ import annotations

import filecmp
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from gate import Gate
from processes import DEPOSIT, WINDOW_FIRST, Program, Provider, open_market, write_file

from retrieval.devchain.children import Child
from retrieval.errors import Exit
from retrieval.units import MIB

FILE_BYTES = 20 * MIB
KILLS_AFTER = (64 * 1024, 5 * MIB, 9 * MIB)  # bytes that passed since the last kill: within the first block, and further on
PATIENCE_S = "30"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stall:
    """A serving provider with one file, and a client with a channel to it."""

    provider: Provider
    client: Program
    file: Path
    root: str
    price: int

    def get(self, gate: Gate, output: Path) -> Child:
        return self.client.start("get", self.root, "--from", self.provider.at(gate.port), "-o", output, "--timeout", PATIENCE_S)


@pytest.fixture(scope="module")
def stall(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stall]:
    folder = tmp_path_factory.mktemp("market")
    file = write_file(folder / "film.bin", FILE_BYTES, seed=21)
    with open_market(folder) as market:
        market.start_chain()
        client, provider = market.new_client(), market.new_provider()
        root = provider.run("add", file)["root"]
        provider.serve()
        client.run("fund", DEPOSIT, "--provider", provider.address)
        price = int(client.run("quote", root, "--from", provider.address)["total"])
        yield Stall(provider=provider, client=client, file=file, root=root, price=price)


@pytest.fixture
def gate(stall: Stall) -> Iterator[Gate]:
    with Gate(stall.provider.port) as gate:
        yield gate


def assert_journals_check(stall: Stall) -> None:
    checks = [program.start("journal", "check") for program in (stall.provider, stall.client)]
    assert [check.result()["ok"] for check in checks] == [True, True]


def test_a_provider_killed_again_and_again_is_paid_once(stall: Stall, gate: Gate, tmp_path: Path) -> None:
    earned_before = int(stall.provider.run("status")["earned"])
    gate.hold_after(KILLS_AFTER[0])
    get = stall.get(gate, tmp_path / "out")
    for n_bytes in (*KILLS_AFTER[1:], None):
        get.wait_until(lambda: gate.is_holding, "ended, or got nothing more")
        stall.provider.serving.kill()
        gate.cut()
        if n_bytes is None:
            gate.open()
        else:
            gate.hold_after(n_bytes)
        stall.provider.serve()
    got = get.result()
    assert filecmp.cmp(tmp_path / "out", stall.file, shallow=False)
    assert (got["verified"], int(got["paid"])) == (True, stall.price)
    assert int(stall.provider.run("status")["earned"]) - earned_before == stall.price
    assert_journals_check(stall)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGKILL, -signal.SIGKILL), (signal.SIGINT, Exit.RESUMABLE)])
def test_a_client_that_was_ended_goes_on_where_it_was_and_pays_once(
    stall: Stall, gate: Gate, tmp_path: Path, number: signal.Signals, status: int
) -> None:
    earned_before = int(stall.provider.run("status")["earned"])
    gate.hold_after(9 * MIB)
    get = stall.get(gate, tmp_path / "out")
    get.wait_until(lambda: gate.is_holding, "ended, or got nothing more")
    segments = stall.client.home / "blocks" / "segments"
    get.wait_until(lambda: sum(path.stat().st_size for path in segments.iterdir()) >= WINDOW_FIRST, "did not store the first window")
    assert get.end(number) == status
    gate.cut()
    gate.open()
    got = stall.get(gate, tmp_path / "out").result()
    assert filecmp.cmp(tmp_path / "out", stall.file, shallow=False)
    assert got["resumed_bytes"] >= WINDOW_FIRST
    assert (got["verified"], int(got["paid"])) == (True, stall.price)
    assert int(stall.provider.run("status")["earned"]) - earned_before == stall.price
    assert_journals_check(stall)


def test_a_provider_that_was_stopped_and_started_knows_what_it_earned_and_claimed(stall: Stall, tmp_path: Path) -> None:
    stall.client.run("get", stall.root, "--from", stall.provider.address, "-o", tmp_path / "out")
    before = stall.provider.run("status")
    assert stall.provider.serving.stop() == 0
    stall.provider.serve()
    after = stall.provider.run("status")
    assert after["earned"] == after["claimed"] == before["earned"]
