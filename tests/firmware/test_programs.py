"""Both programs over the firmware: its host build behind ptys, in simulated air that runs twenty times as fast as the clock."""

from __future__ import annotations

import ctypes
import os
import pty
from contextlib import closing
from pathlib import Path

import trio
from retrieval_client.api import Order, retrieve
from retrieval_client.source import Source
from retrieval_provider.config import ProviderSettings
from retrieval_provider.node import open_node
from retrieval_provider.radio.status import status_of
from shop import Shop

from retrieval.cid import format_cid
from retrieval.deal import fold
from retrieval.deal.records import AdvertRecord, PacketRecord
from retrieval.identity import peer_id_of
from retrieval.radio.codes import code16_up
from retrieval.radio.packet import radio_id
from retrieval.radio.proof import RelayReceipt
from retrieval.radio.regions import RELAY_BAND
from retrieval.settings import load
from retrieval.store.lmdb import LmdbStateStorage

SECOND_US = 1_000_000
HOUR_US = 3_700 * SECOND_US  # after which a board that was switched on may send
SPEED = 20
FEE = 11
DUE_S = 120.0


class Bench:
    """Three boards in a row, ``client``, ``relay`` and ``provider``: the outer two have a pty, the middle one only carries."""

    def __init__(self, folder: Path) -> None:
        from benchmarks.radio.host import Setup
        from benchmarks.radio.links import Links
        from benchmarks.radio.simulation import Simulation

        self._folder = folder
        self.simulation = Simulation(Links.line(["client", "relay", "provider"]))
        for name in ("client", "relay", "provider"):
            self.simulation.add(name)
        keys = self.simulation.boot({"relay": Setup(power_dbm=14, fee_code=code16_up(FEE), operator=bytes(19) + b"\x01")})
        self.relay_key = keys["relay"]
        self._run(HOUR_US)
        self._ends = {name: self._plug_in(name) for name in ("client", "provider")}

    def port(self, name: str) -> str:
        return str(self._folder / f"{name}-port")

    async def run(self) -> None:
        """Let time pass, and bytes with it, until cancelled."""
        async with trio.open_nursery() as nursery:
            for name, end in self._ends.items():
                nursery.start_soon(self._read, name, end)
            while True:
                await trio.sleep(0.01)
                self._run(SPEED * 10_000)

    async def _read(self, name: str, end: int) -> None:
        while True:
            await trio.lowlevel.wait_readable(end)
            self.simulation.nodes[name].feed(os.read(end, 4096))

    def _plug_in(self, name: str) -> int:
        end, ours = pty.openpty()
        Path(self.port(name)).symlink_to(os.ttyname(ours))
        os.set_blocking(end, False)

        def say(received: bytes) -> None:
            os.write(end, received)

        self.simulation.nodes[name].on_output = say
        return end

    def _run(self, duration_us: int) -> None:
        self.simulation.timeline.run(self.simulation.timeline.now_us + duration_us)


def test_a_file_crosses_a_relay_that_proves_what_it_carried(tmp_path: Path, relay: ctypes.CDLL) -> None:
    bench, shop = Bench(tmp_path), Shop(folder=tmp_path, prices={"price.default": "0 USD/GiB"})
    (tmp_path / "file").write_bytes(content := os.urandom(330))
    root, home = shop.add(tmp_path / "file"), shop.client()

    async def main() -> None:
        over_radio = {
            "radio.port": bench.port("provider"),
            "radio.relay": "false",
            "radio.relay_budget": "0.01 USD",
            "radio.charge_relays": "false",  # nobody has a channel here
        }
        settings, _ = load(ProviderSettings, shop.home.config_path, {}, over_radio)
        with trio.fail_after(DUE_S):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(bench.run)
                async with open_node(shop.home, settings) as node:
                    order = Order(
                        source=Source.parse(format_cid(root.cid)), provider="", radio=bench.port("client"), out=tmp_path / "bought"
                    )
                    bought = await retrieve(home, order)
                    assert bought.receipt_verified
                    status = status_of(node.desk, node.service)
                    assert status["board"] is not None
                    assert RELAY_BAND.budget_us in [band["budget_us"] for band in status["bands"]]
                nursery.cancel_scope.cancel()

    trio.run(main)
    assert (tmp_path / "bought").read_bytes() == content
    bench._run(180 * SECOND_US)
    receipts = [RelayReceipt.read(signed, peer_id_of(bench.relay_key)) for signed in bench.simulation.hosts["relay"].receipts.values()]
    carried = {one.packet for receipt in receipts for one in receipt.carried}
    with closing(LmdbStateStorage.open_readonly(home.state_path)) as state:
        promised = dict(fold.scan(state, PacketRecord))
        delivered = {hash_ for hash_, row in promised.items() if row.delivery}
        assert delivered
        assert delivered <= carried
        assert all(one.fee == FEE for receipt in receipts for one in receipt.carried)
        adverts = dict(fold.scan(state, AdvertRecord))
    assert set(adverts) <= {radio_id(bench.relay_key)}
    assert bench.simulation.findings() == []
