"""asyncio. A worker: the unmodified client of PyPI's ``x402`` buys a file in ranges, on a channel that its first request deposits into."""

from __future__ import annotations

import asyncio
import sys
import time
from typing import Any, Final

from benchmarks.processes import Json, answer_commands
from retrieval.identity import format_address, parse_address
from retrieval.payment.chain import DEVCHAIN
from retrieval.payment.evm import EvmChain
from retrieval.units import MIB

RANGE_BYTES: Final = 16 * MIB
MONEY: Final = 10 * 10**DEVCHAIN.token_decimals


def new_client(rpc: str) -> Any:
    """An HTTP client that pays by itself."""
    import httpx
    from eth_account import Account
    from x402 import x402Client
    from x402.http.clients import x402AsyncTransport
    from x402.mechanisms.evm.batch_settlement.client import BatchSettlementEvmScheme
    from x402.mechanisms.evm.signers import EthAccountSignerWithRPC

    account = Account.create()
    EvmChain(rpc).mint(parse_address(account.address), MONEY)
    client, network = x402Client(), f"eip155:{DEVCHAIN.chain_id}"
    client.register(network, BatchSettlementEvmScheme(EthAccountSignerWithRPC(account, rpc)))
    client.set_spend_controls({"allowed_assets": [{"network": network, "asset": format_address(DEVCHAIN.token)}]})
    return httpx.AsyncClient(transport=x402AsyncTransport(client), timeout=60)


async def fetch(http: Any, url: str, n_bytes: int) -> Json:
    """All of a file. Nothing is verified or kept."""
    received, began = 0, time.perf_counter()
    for first in range(0, n_bytes, RANGE_BYTES):
        last = min(first + RANGE_BYTES, n_bytes) - 1
        answer = await http.get(url, headers={"Range": f"bytes={first}-{last}"})
        assert answer.status_code == 206, answer.status_code
        received += len(answer.content)
    return {"n_bytes": received, "seconds": time.perf_counter() - began}


def main() -> None:
    loop = asyncio.new_event_loop()
    http = new_client(sys.argv[1])
    answer_commands(lambda command: loop.run_until_complete(fetch(http, command["url"], command["n_bytes"])))


if __name__ == "__main__":
    main()
