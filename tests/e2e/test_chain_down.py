"""The chain goes away and comes back: content is served and paid for all the while, and claimed afterwards."""

from __future__ import annotations

from pathlib import Path

from processes import DEPOSIT, open_market, write_file

from retrieval.errors import ErrorCode, Exit
from retrieval.units import MIB


def test_a_funded_channel_pays_without_a_chain_and_is_claimed_when_it_is_back(tmp_path: Path) -> None:
    file = write_file(tmp_path / "film.bin", 3 * MIB, seed=31)
    state = tmp_path / "chain.state"
    with open_market(tmp_path) as market:
        chain = market.start_chain("--state", state)
        client, provider = market.new_client(), market.new_provider()
        root = provider.run("add", file)["root"]
        provider.serve()
        client.run("fund", DEPOSIT, "--provider", provider.address)
        price = int(client.run("quote", root, "--from", provider.address)["total"])

        chain.kill()
        got = client.run("get", root, "--from", provider.address, "-o", tmp_path / "out")
        assert (got["verified"], int(got["paid"])) == (True, price)
        refused = provider.fail("claim")
        assert (refused.status, refused.error["label"]) == (Exit.PAYMENT, ErrorCode.RPC_UNAVAILABLE.label)
        assert provider.run("status")["unclaimed"] == got["paid"]

        market.start_chain("--state", state, "--port", market.rpc.rpartition(":")[2])
        claimed = provider.run("claim")
        assert claimed["claimed"] == claimed["settled"] == got["paid"]
        assert provider.run("status")["unclaimed"] == "0"
