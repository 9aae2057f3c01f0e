"""asyncio. The program `retrieval-devchain`: runs the development chain until it is told to end.

One rule: a program that reads us gets one JSON line when the chain is usable, a person gets tables.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from pathlib import Path
from typing import Any

import click

from retrieval.devchain.server import PORT_DEFAULT, DevchainServer
from retrieval.errors import LocalProtocolError


@click.command()
@click.option("--port", type=click.IntRange(0, 65535), default=PORT_DEFAULT, show_default=True, help="On 127.0.0.1; 0 takes a free one.")
@click.option("--state", type=click.Path(path_type=Path, dir_okay=False), help="File that keeps the chain over restarts.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON line when ready, on a terminal too.")
def main(port: int, state: Path | None, as_json: bool) -> None:
    """Run a local chain with funded accounts and the project's contracts in place. Ctrl-C ends it.

    Everybody knows its keys, and its dollars are worth nothing: use them here only.
    """
    try:
        asyncio.run(_run(port, state, as_json=as_json or not sys.stdout.isatty()))
    except LocalProtocolError as error:
        click.echo(f"error: {error}\n  try: {error.row.hint}", err=True)
        sys.exit(error.row.exit_status)


async def _run(port: int, state: Path | None, *, as_json: bool) -> None:
    ending = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, ending.set)
    async with DevchainServer(port=port, state=state) as server:
        facts = ready_facts(server.rpc)
        if as_json:
            click.echo(json.dumps(facts))
        else:
            _show(facts, state)
        sys.stdout.flush()
        await ending.wait()


def ready_facts(rpc: str) -> dict[str, Any]:
    """What a program that started the chain wants to know. `Any`, as it is one JSON object."""
    from retrieval.devchain.genesis import CONTRACTS, funded_keys
    from retrieval.identity import format_address
    from retrieval.payment.chain import DEVCHAIN

    return {
        "event": "ready",
        "rpc": rpc,
        "chain_id": DEVCHAIN.chain_id,
        "accounts": [{"address": format_address(key.address), "private_key": "0x" + key.secret.hex()} for key in funded_keys()],
        "contracts": {name: format_address(address) for name, address in CONTRACTS.items()},
        "token": {
            "address": format_address(DEVCHAIN.token),
            "name": DEVCHAIN.token_name,
            "symbol": DEVCHAIN.token_symbol,
            "decimals": DEVCHAIN.token_decimals,
        },
    }


def _show(facts: dict[str, Any], state: Path | None) -> None:
    from rich.console import Console
    from rich.table import Table

    from retrieval.devchain.genesis import BALANCE_WEI

    console = Console(highlight=False)
    console.print(f"[bold]RPC[/bold]    {facts['rpc']}    [bold]chain id[/bold] {facts['chain_id']}")
    console.print(f"[bold]state[/bold]  {state if state is not None else 'in memory; gone when this ends (--state FILE keeps it)'}")
    contracts = Table("contract", "address", title="Contracts", title_justify="left")
    for name, address in facts["contracts"].items():
        contracts.add_row(name, address)
    accounts = Table("account", "private key", title=f"Accounts, {BALANCE_WEI // 10**18:,} ETH each at the start", title_justify="left")
    for account in facts["accounts"]:
        accounts.add_row(account["address"], account["private_key"])
    console.print(contracts, accounts)
    console.print("Ready. Ctrl-C ends it. Never use these keys on another chain.")
