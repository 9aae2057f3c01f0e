"""The checks of /readyz: what each says when its thing is well, and when it is not; and that looking ends."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field, replace
from math import inf
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.lowlevel
import trio.testing
from chain_fixture import devchain  # noqa: F401
from retrieval_provider.config import Operator, ProviderSettings
from retrieval_provider.operator import health
from retrieval_provider.operator.health import Checks, Finding, Health, State, is_ready, to_json
from takings import Takings

from retrieval.errors import ErrorCode, RemoteProtocolError
from retrieval.home import Home
from retrieval.identity import EvmAddress
from retrieval.store.blocks import MemoryBlockStore
from retrieval.units import MIB

FREE_MIN = 4 * MIB
PATIENCE_S = 5
ADDRESSES = ("/ip4/127.0.0.1/tcp/4801",)


@dataclass
class Writer:
    """As far as it is looked at."""

    busy_since: float | None = None
    head_sequence: int = 12


@dataclass
class Process:
    lives: bool = True
    heard_at: float = inf


@dataclass
class Chain:
    """One that can be made to fall silent."""

    number: int = 100
    wei: int = 10**18
    is_down: bool = False
    calls: list[str] = field(default_factory=list)

    def block_number(self) -> int:
        return self._answer("block_number", self.number)

    def native_balance(self, owner: EvmAddress) -> int:
        return self._answer("native_balance", self.wei)

    def _answer(self, name: str, value: int) -> int:
        self.calls.append(name)
        if self.is_down:
            raise RemoteProtocolError(ErrorCode.RPC_UNAVAILABLE, "http://127.0.0.1:8545: ConnectionError")
        return value


@dataclass
class Settler:
    looked_at: float = 0.0
    lines: list[Any] = field(default_factory=list)

    def accounts(self) -> list[Any]:
        return self.lines


@dataclass
class Scene:
    """What the checks look at, each part of it well unless a test says otherwise."""

    folder: Path
    writer: Writer = field(default_factory=Writer)
    chain: Chain = field(default_factory=Chain)
    settler: Settler = field(default_factory=Settler)
    processes: tuple[Process, ...] = field(default_factory=lambda: (Process(), Process()))
    settings: ProviderSettings = field(default_factory=lambda: ProviderSettings(operator=Operator(free_space_min=FREE_MIN)))
    store: MemoryBlockStore = field(default_factory=MemoryBlockStore)
    now: float = 0.0

    def checks(self, *, sells: bool = True) -> Checks:
        home = Home(self.folder, "retrieval-provider")
        for path in (home.state_path, home.blocks_path):
            path.mkdir(exist_ok=True)
        return Checks(
            home,
            self.settings,
            store=self.store,
            writer=self.writer,  # type: ignore[arg-type]
            settler=self.settler if sells else None,  # type: ignore[arg-type]
            chain=self.chain if sells else None,
            receiver=EvmAddress(bytes(20)) if sells else None,
            addresses=ADDRESSES,
            workers=self.processes,  # type: ignore[arg-type]
            clock=lambda: self.now,
        )


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine is not what these tests are about."""
    monkeypatch.setattr(health, "CHECK_S", 30.0)


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


def found_in(scene: Scene, *, sells: bool = True) -> dict[str, Finding]:
    async def main() -> dict[str, Finding]:
        return await Health(scene.checks(sells=sells).all()).look()

    return trio.run(main)


def failing(scene: Scene) -> dict[str, str]:
    """What is not well, and what is said of it."""
    found = found_in(scene)
    assert is_ready(found) == all(each.state is not State.FAILING for each in found.values()) == to_json(found)["ready"]
    return {name: each.says for name, each in found.items() if each.state is not State.OK}


def test_when_all_is_well_each_check_says_so(scene: Scene) -> None:
    found = found_in(scene)
    assert list(found) == ["store", "listeners", "journal", "chain", "funds"]
    assert {each.state for each in found.values()} == {State.OK}
    assert all(each.says for each in found.values())


def test_who_sells_nothing_needs_no_chain(scene: Scene) -> None:
    scene.chain.is_down = True
    assert is_ready(found_in(scene, sells=False))
    assert scene.chain.calls == []


def test_a_chain_that_is_gone_is_named(scene: Scene) -> None:
    scene.chain.is_down = True
    said = failing(scene)
    assert list(said) == ["chain", "funds"]
    assert "chain.rpc" in said["chain"]


def test_a_chain_that_hangs_takes_no_thread_from_the_other_checks(scene: Scene) -> None:
    hangs = threading.Event()
    scene.chain.block_number = lambda: int(hangs.wait())  # type: ignore[method-assign]

    async def main() -> None:
        checks = scene.checks()
        for _ in range(health.CALLS_MAX + 1):
            with trio.move_on_after(0.02):
                await checks.chain()
        with trio.fail_after(PATIENCE_S):
            assert (await checks.storage()).state is State.OK

    try:
        trio.run(main)
    finally:
        hangs.set()


def test_channels_that_nobody_looked_at_for_long_are_old(scene: Scene) -> None:
    scene.now = 4.0 * scene.settings.chain.poll + 1
    assert list(failing(scene)) == ["chain"]


def test_the_lag_counts_blocks_since_the_last_look(scene: Scene) -> None:
    async def main() -> None:
        checks = scene.checks()
        await checks.chain()
        assert checks.chain_lag_blocks == 0
        scene.chain.number += 7
        await checks.chain()
        assert checks.chain_lag_blocks == 7
        scene.settler.looked_at = 1.0
        scene.chain.number += 2
        await checks.chain()
        assert checks.chain_lag_blocks == 2, "at the look the newest known block was two before"
        scene.chain.is_down = True
        await checks.chain()
        assert checks.chain_lag_blocks is None

    trio.run(main)


def test_without_gas_money_it_says_where_to_send_some(scene: Scene) -> None:
    scene.chain.wei = 0
    said = failing(scene)
    assert list(said) == ["funds"]
    assert "0x0000000000000000000000000000000000000000" in said["funds"]


def test_a_full_disk_fails(scene: Scene) -> None:
    scene.settings = replace(scene.settings, operator=Operator(free_space_min=1 << 62))
    assert "free some" in failing(scene)["store"]


def test_a_folder_that_cannot_be_written_to_fails(scene: Scene) -> None:
    checks = scene.checks()
    Home(scene.folder, "retrieval-provider").state_path.rmdir()

    async def main() -> None:
        found = await checks.storage()
        assert found.state is State.FAILING
        assert "No such file or directory" in found.says

    trio.run(main)


def test_a_store_that_is_nearly_full_is_a_warning(scene: Scene) -> None:
    scene.store = MemoryBlockStore(bytes_max=0)
    found = found_in(scene)
    assert found["store"].state is State.WARNING
    assert is_ready(found)


def test_a_fallen_http_process_fails(scene: Scene) -> None:
    scene.processes[1].lives = False
    assert "1 of 2 HTTP processes serve" in failing(scene)["listeners"]


def test_a_silent_http_process_fails(scene: Scene) -> None:
    async def main() -> None:
        scene.processes[0].heard_at = trio.current_time() - health.SILENT_S / 2
        assert (await scene.checks().listeners()).state is State.OK
        scene.processes[0].heard_at = trio.current_time() - health.SILENT_S - 1
        found = await scene.checks().listeners()
        assert found.state is State.FAILING
        assert "1 of 2 HTTP processes serve: one has said nothing for" in found.says

    trio.run(main)


def test_a_commit_that_hangs_fails(scene: Scene) -> None:
    async def main() -> None:
        scene.writer.busy_since = trio.current_time() - health.COMMIT_DUE_S - 1
        found = await scene.checks().journal()
        assert found.state is State.FAILING

    trio.run(main)


def test_a_closing_channel_with_money_in_it_is_a_warning(scene: Scene, devchain: str) -> None:  # noqa: F811
    takings = Takings(url=devchain)
    payer = takings.open_channel()
    takings.take(payer, 50_000)
    line = takings.line(payer)
    line.channel = replace(takings.channel(payer), closing=True)
    scene.settler.lines.append(line)
    found = found_in(scene)
    assert "something in 1 channel" in found["funds"].says
    assert found["funds"].state is State.WARNING
    assert is_ready(found)


def test_a_look_is_shared_and_ends_whatever_hangs() -> None:
    looks: list[str] = []

    async def well() -> Finding:
        looks.append("well")
        await trio.lowlevel.checkpoint()
        return Finding(State.OK, "it is well")

    async def hangs() -> Finding:
        looks.append("hangs")
        await trio.sleep_forever()
        raise AssertionError

    async def main() -> None:
        found = Health({"well": well, "hangs": hangs})
        async with trio.open_nursery() as nursery:
            for _ in range(20):
                nursery.start_soon(found.look)
        assert sorted(looks) == ["hangs", "well"]
        last = await found.look()
        assert [each.state for each in last.values()] == [State.OK, State.FAILING]

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
