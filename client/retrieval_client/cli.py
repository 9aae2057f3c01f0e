"""The program `retrieval-client`: fetch content by CID, verify it, pay for exactly what arrived, and prove it.

One rule: a verb imports what it needs when it runs, so that --help is instant and free content never loads a chain's libraries.
"""

from __future__ import annotations

import os
import sys
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final

import click

from retrieval.console import Console, common_options, run, verb
from retrieval.home import Home

if TYPE_CHECKING:
    from retrieval.identity import PeerId
    from retrieval.store.lmdb import LmdbStateStorage

    from .config import ClientSettings
    from .source import Source

PROGRAM: Final = "retrieval-client"

FROM_HELP = "A multiaddr that ends in /p2p/ and a peer id, or a gateway's URL."
FROM = click.option("--from", "provider", required=True, metavar="ADDR|URL", help=FROM_HELP)
FROM_OR_RADIO = click.option("--from", "provider", default="", metavar="ADDR|URL", help=FROM_HELP)


def main() -> None:
    """The entry point."""
    sys.exit(run(cli, program=PROGRAM))


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="retrieval-market-node")
@common_options
def cli() -> None:
    """Fetch content by CID, verify every block, and pay for exactly what arrived."""


@cli.command()
@click.option("--rpc", metavar="URL", default="", help="JSON-RPC of the chain to pay on; without one, only free content can be fetched.")
@verb
def init(console: Console, home: Home, rpc: str) -> None:
    """Make keys and config.toml. On the development chain, also take test dollars and gas money."""
    from retrieval.identity import format_address, format_peer_id

    from . import screens
    from .new_home import set_up

    made = set_up(home, rpc)
    result = {
        "home": str(home.path),
        "peer_id": format_peer_id(made.peer_id),
        "address": format_address(made.address),
        "rpc": rpc or None,
        "chain_id": made.chain_id,
        "minted": str(made.minted),
        "gas_from": None if made.gas_from is None else format_address(made.gas_from),
        "per_fetch": str(made.per_fetch),
    }
    console.emit(result, table=lambda: screens.new_home(result))


@cli.command()
@click.argument("amount", nargs=-1, required=True)
@click.option("--provider", required=True, metavar="ADDR|URL", help="A multiaddr that ends in /p2p/ and a peer id, or a gateway's URL.")
@click.option("--cid", metavar="CID[/PATH]", help="Of a gateway: content that has a price there, where most of it has none.")
@verb
def fund(console: Console, home: Home, amount: tuple[str, ...], provider: str, cid: str | None) -> None:
    """Open a payment channel with a provider, or top it up: `fund 1 USD --provider ADDR`."""
    import trio

    from retrieval.payment.evm import EvmChain
    from retrieval.units import USD_DECIMALS, parse_amount

    from . import screens
    from .funding import fund as fund_peer
    from .web.address import is_gateway, parse_gateway
    from .web.funding import INLINE
    from .web.funding import fund as fund_gateway

    settings, deposit = _settings(home), parse_amount(" ".join(amount), decimals=USD_DECIMALS)
    if is_gateway(provider):
        gateway, priced = parse_gateway(provider), cid or INLINE
        funded = trio.run(lambda: fund_gateway(home, settings, gateway, deposit, open_chain=EvmChain, cid=priced))
    else:
        funded = trio.run(lambda: fund_peer(home, settings, provider, deposit, open_chain=EvmChain))
    result = {
        "channel_id": funded.channel_id.hex(),
        "provider": provider,
        "deposited": str(deposit),
        "sent": funded.sent,
        "balance": str(funded.balance),
        "left": str(funded.left),
        "confirmed": funded.confirmed,
        "seconds": funded.seconds,
    }
    console.emit(result, table=lambda: screens.funded(result))


@cli.command()
@click.argument("cid", metavar="CID[/PATH]")
@FROM
@verb
def quote(console: Console, home: Home, cid: str, provider: str) -> None:
    """Ask what it would cost, and sign nothing."""
    import trio

    from . import screens
    from .funding import quote as ask_quote
    from .rows import offer_row
    from .source import Source
    from .web.address import is_gateway, parse_gateway
    from .web.funding import quote as ask_gateway
    from .web.receipts import quote_row

    settings, source = _settings(home), Source.parse(cid)
    if is_gateway(provider):
        gateway = parse_gateway(provider)
        price = quote_row(source, gateway, trio.run(ask_gateway, gateway, source), per_fetch=settings.wallet.per_fetch)
        console.emit(price, table=lambda: screens.price(price))
        return
    offer = trio.run(lambda: ask_quote(home, settings, source, provider))
    result = offer_row(source, provider, offer, per_fetch=settings.wallet.per_fetch)
    console.emit(result, table=lambda: screens.offer(result))


@cli.command()
@click.argument("cid", metavar="CID[/PATH]")
@FROM_OR_RADIO
@click.option("--radio", metavar="PORT", help="Look for it on the air instead, with the radio board on this serial port.")
@click.option("-o", "--out", type=click.Path(path_type=Path), metavar="PATH", help="Where to write it; else here, under its own name.")
@click.option("--max-spend", metavar="X", help="The most it may cost, such as '0.01 USD'; wallet.per_fetch holds all the same.")
@click.option("--timeout", "timeout_s", type=click.FloatRange(min=0), metavar="S", help="Seconds without progress before it gives up.")
@click.option("--keep", is_flag=True, help="Keep the blocks, so that the next get of it costs nothing.")
@click.option("--car", is_flag=True, help="Write a CAR of the verified blocks instead of the file or directory.")
@verb
def get(
    console: Console,
    home: Home,
    cid: str,
    provider: str,
    radio: str | None,
    out: Path | None,
    max_spend: str | None,
    timeout_s: float | None,
    keep: bool,
    car: bool,
) -> None:
    """Fetch a file or directory, verify it, and pay for what arrived. The same command resumes what was cut off."""
    from retrieval.units import USD_DECIMALS, parse_amount

    from . import screens
    from .api import Order
    from .foreground import fetch_in_foreground
    from .rows import retrieval_row
    from .source import Source

    if bool(provider) == (radio is not None):
        raise click.UsageError("name a provider with --from, or a port with --radio")
    source = Source.parse(cid)
    order = Order(
        source=source,
        provider=provider,
        radio=radio,
        out=out or default_target(source, car),
        as_car=car,
        keep=keep,
        spend_max=None if max_spend is None else parse_amount(max_spend, decimals=USD_DECIMALS),
        timeout_s=timeout_s,
    )
    result = retrieval_row(fetch_in_foreground(console, home, order))
    console.emit(result, table=lambda: screens.retrieved(result))


@cli.command()
@click.argument("target", metavar="ADDR|URL")
@click.option("--cid", "cids", multiple=True, required=True, metavar="CID[/PATH]", help="What to fetch; may be given several times.")
@click.option("--runs", type=click.IntRange(1, 1000), default=3, show_default=True, help="How often; a run is a cold and a warm fetch.")
@click.option("--format", "form", type=click.Choice(("car", "raw")), help="What to ask a gateway for: a CAR (default), or block by block.")
@click.option(
    "--max-spend", metavar="X", help="The most it may cost in all, else as much as one get; wallet.per_fetch holds for each fetch."
)
@click.option(
    "--timeout", "timeout_s", type=click.FloatRange(min=0), metavar="S", help="Seconds without progress until a fetch has failed."
)
@click.option("--keep", is_flag=True, help="Keep the blocks; else they are dropped once verified.")
@verb
def bench(
    console: Console,
    home: Home,
    target: str,
    cids: tuple[str, ...],
    runs: int,
    form: str | None,
    max_spend: str | None,
    timeout_s: float | None,
    keep: bool,
) -> None:
    """Measure a provider (ADDR) or a trustless HTTP gateway (URL): fetch content again and again, cold and warm, and verify every block."""
    from retrieval.units import USD_DECIMALS, parse_amount

    from .bench.foreground import measure_in_foreground
    from .bench.gateway import Form
    from .bench.order import Order
    from .bench.report import row_of, view_of
    from .source import Source

    order = Order(
        target=target,
        sources=tuple(dict.fromkeys(map(Source.parse, cids))),
        runs=runs,
        form=None if form is None else Form(form),
        spend_max=None if max_spend is None else parse_amount(max_spend, decimals=USD_DECIMALS),
        timeout_s=timeout_s,
        keep=keep,
    )
    measured = measure_in_foreground(console, home, order)
    rows = [row_of(target, each) for each in measured]
    console.emit(rows, table=lambda: view_of(rows))
    for each in measured:
        if each.last_error is not None and not each.runs:
            raise each.last_error  # a source of which no fetch succeeded


@cli.command()
@click.option("--offline", is_flag=True, help="Show what the journal has, without asking the chain.")
@verb
def channels(console: Console, home: Home, offline: bool) -> None:
    """Show every channel: what it holds, what was promised and claimed, what is left."""
    import time

    from retrieval.payment.evm import EvmChain

    from . import screens
    from .rows import channel_rows
    from .wallet import open_wallet
    from .web import receipts as web
    from .web.leaving import refresh_all

    settings = _settings(home)
    if settings.chain.rpc and not offline:
        with open_wallet(home, settings, command=f"{PROGRAM} channels", now=time.time()) as wallet:
            known = [line for line in wallet.lines.values() if line.channel is not None]
            chain = EvmChain(settings.chain.rpc)
            wallet.refresh(chain, known, now=time.time())
            refresh_all(wallet, chain, now=time.time())
    with closing(_state(home)) as state:
        rows = [*channel_rows(state), *web.channel_rows(state)]
    console.emit(rows, table=lambda: screens.channels(rows))


@cli.command()
@click.argument("channel")
@verb
def close(console: Console, home: Home, channel: str) -> None:
    """Take what is left out of the channel whose id begins with CHANNEL. It takes two runs, with the channel's delay between them."""
    import time

    from retrieval.errors import ErrorCode, LocalProtocolError
    from retrieval.payment.evm import EvmChain

    from . import screens
    from .leaving import find_channel, leave
    from .rows import closing_row
    from .wallet import open_wallet
    from .web.leaving import leave_web

    settings = _settings(home)
    if not settings.chain.rpc:
        raise LocalProtocolError(ErrorCode.CONFIG_INVALID, "chain.rpc is empty, and money needs a chain")
    with open_wallet(home, settings, command=f"{PROGRAM} close", now=time.time()) as wallet:
        channel_id = find_channel(wallet.state, channel)
        go = leave_web if channel_id in wallet.web_channels else leave
        result = closing_row(channel_id, wallet.key.address, go(wallet, EvmChain(settings.chain.rpc), channel_id, now=time.time()))
    console.emit(result, table=lambda: screens.closing(result))


@cli.command()
@click.option("--csv", "as_csv", is_flag=True, help="Write the deals as CSV.")
@verb
def statement(console: Console, home: Home, as_csv: bool) -> None:
    """Show what was paid, to whom, for what; and that it adds up to what was promised."""
    from . import screens
    from .rows import channel_sums, deal_rows

    with closing(_state(home)) as state:
        deals = list(deal_rows(state))
        result = {"deals": deals, "channels": list(channel_sums(state, deals)), "paid": str(sum(int(deal["paid"]) for deal in deals))}
    if as_csv:
        screens.write_csv(console.stdout, deals)
    else:
        console.emit(result, table=lambda: screens.statement(result))


@cli.group()
@common_options
def receipts() -> None:
    """List, check and hand out receipts: what proves a delivery to anybody, offline."""


@cli.group()
@common_options
def radio() -> None:
    """Pay relays for carrying over the radio."""


@radio.command("settle")
@click.argument("file", type=click.File("rb"), metavar="FILE")
@click.option("-o", "--out", required=True, type=click.Path(path_type=Path), metavar="FILE", help="Where to write the voucher.")
@verb
def radio_settle(console: Console, home: Home, file: BinaryIO, out: Path) -> None:
    """Pay what a relay's operator claims, as far as receipts prove it, and write a voucher for its `retrieval-provider radio book`."""
    import time

    from retrieval.console import facts
    from retrieval.home import replace_file
    from retrieval.wire import shape

    from .relays import FILE_SIZE_MAX, settle

    settlement = settle(home, _settings(home), file.read(FILE_SIZE_MAX), now=time.time())
    replace_file(out, shape.encode(settlement), mode=0o644)
    promised = settlement.voucher.amount if settlement.voucher is not None else 0
    result = {"path": str(out), "packets": len(settlement.paid), "promised": str(promised)}
    console.emit(result, table=lambda: facts({name: str(value) for name, value in result.items()}))


@receipts.command("list")
@verb
def receipts_list(console: Console, home: Home) -> None:
    """Show every deal's last receipt, those of answers over HTTP, and what a check of each says."""
    from . import screens
    from .rows import receipt_rows
    from .web.receipts import purchase_rows

    with closing(_state(home)) as state:
        rows = [*receipt_rows(state, _peer_id(home)), *purchase_rows(state)]
    console.emit(rows, table=lambda: screens.receipts(rows))


@receipts.command("verify")
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="FILE…")
@click.option("--allow-unsigned", is_flag=True, help="Succeed although the provider has not countersigned.")
@verb
def receipts_verify(console: Console, home: Home, files: tuple[Path, ...], allow_unsigned: bool) -> None:
    """Check receipt files. Needs no chain, no network, no blocks and no home."""
    from retrieval.errors import ErrorCode, LocalProtocolError
    from retrieval.payment.http_receipt import SaleReceipt, verify_sale
    from retrieval.payment.receipt import verify_bundle

    from . import screens
    from .receipts import read_bundle
    from .rows import sale_row, verified_row

    unsigned = []
    for file in files:
        bundle = read_bundle(file)
        if isinstance(bundle, SaleReceipt):
            row = sale_row(str(file), verify_sale(bundle))
            console.emit(row, table=partial(screens.sale, row, apart=len(files) > 1))
            continue
        proven = verify_bundle(bundle)
        console.emit(row := verified_row(str(file), proven), table=partial(screens.proof, row, apart=len(files) > 1))
        if not proven.countersigned:
            unsigned.append(str(file))
    if unsigned and not allow_unsigned:
        raise LocalProtocolError(ErrorCode.RECEIPT_UNSIGNED, ", ".join(unsigned))


@receipts.command("export")
@click.argument("deals", nargs=-1, metavar="[DEAL_ID…]")
@click.option(
    "-o", "--out", type=click.Path(path_type=Path), default=Path(), metavar="PATH",
    help="A directory, by default this one; or for one deal a file name that ends in .receipt.cbor.",
)  # fmt: skip
@verb
def receipts_export(console: Console, home: Home, deals: tuple[str, ...], out: Path) -> None:
    """Write receipts as files that anybody can check: of the deals named, else of all."""
    from . import screens
    from .web.receipts import export_all

    with closing(_state(home)) as state:
        rows = export_all(state, _peer_id(home), deals, out)
    console.emit(rows, table=lambda: screens.exported(rows))


@cli.group()
@common_options
def journal() -> None:
    """Check the journal: everything that moved money or promises."""


@journal.command("check")
@verb
def journal_check(console: Console, home: Home) -> None:
    """Replay the journal and compare it with the live state, then check that all sums agree."""
    from retrieval.deal.audit import check

    from . import screens
    from .rows import audit_row

    with closing(_state(home)) as state:
        result = audit_row(check(state))
    console.emit(result, table=lambda: screens.audit(result))


@cli.command()
@click.option("--listen", metavar="HOST:PORT", help="Where to answer, else gateway.listen; port 0 takes a free one.")
@click.option("--allow-remote", is_flag=True, help="Let others reach it: they can use what is free, and whatever a token of theirs allows.")
@verb
def gateway(console: Console, home: Home, listen: str | None, allow_remote: bool) -> None:
    """Serve content at http://127.0.0.1:4803/ipfs/CID: from the cache, from free providers, or bought within a token's budget."""
    import trio

    from .gateway.foreground import serve

    settings = _settings(home)
    trio.run(lambda: serve(console, home, settings, listen=listen or settings.gateway.listen, allow_remote=allow_remote))


@cli.group()
@common_options
def token() -> None:
    """Make, list and revoke tokens: what a program shows to the gateway to be served more than what is free."""


@token.command("new")
@click.option("--name", default="", help="What to call it in lists.")
@click.option("--scope", default="read", show_default=True, help="What it allows: read, retrieve, spend; several with commas between them.")
@click.option("--cap", metavar="X", default="0 USD", help="The most it may spend in all, such as '5 USD'.")
@click.option("--per-request", metavar="X", help="The most it may spend for one request, else wallet.per_fetch, which holds all the same.")
@click.option("--origin", "origins", multiple=True, metavar="URL", help="A web page it is good for, such as https://app.example; else any.")
@click.option("--expires", metavar="T", default="30 d", show_default=True, help="How long it is good.")
@verb
def token_new(
    console: Console, home: Home, name: str, scope: str, cap: str, per_request: str | None, origins: tuple[str, ...], expires: str
) -> None:
    """Make a token, and show it once."""
    from retrieval.units import USD_DECIMALS, parse_amount

    from . import screens
    from .gateway.commands import new
    from .gateway.keys import parse_lifetime

    settings = _settings(home)
    limit = settings.wallet.per_fetch if per_request is None else parse_amount(per_request, decimals=USD_DECIMALS)
    order = {
        "name": name,
        "scope": scope,
        "cap": parse_amount(cap, decimals=USD_DECIMALS),
        "per_request": limit,
        "origins": list(origins),
        "lifetime_s": parse_lifetime(expires),
    }
    result = new(home, settings, order)
    console.emit(result, table=lambda: screens.new_token(result))


@token.command("list")
@verb
def token_list(console: Console, home: Home) -> None:
    """Show every token's limits, what it has spent, and whether it is good. The tokens themselves are kept nowhere."""
    from . import screens
    from .gateway.commands import listed

    rows = listed(home)
    console.emit(rows, table=lambda: screens.tokens(rows))


@token.command("revoke")
@click.argument("token_id", metavar="ID")
@verb
def token_revoke(console: Console, home: Home, token_id: str) -> None:
    """End the token whose id begins with ID, at once."""
    from . import screens
    from .gateway.commands import revoke

    result = revoke(home, _settings(home), token_id)
    console.emit(result, table=lambda: screens.tokens([result]))


def default_target(source: Source, as_car: bool) -> Path:
    """Where a fetch writes when nobody says: here, under the content's own name, and over nothing that could be something else."""
    from retrieval.errors import ErrorCode, LocalProtocolError

    target = Path(source.name + (".car" if as_car else ""))
    if source.path and os.path.lexists(target):
        raise LocalProtocolError(ErrorCode.FILE_UNREADABLE, f"{target} exists already; name another place with -o")
    return target


def _settings(home: Home) -> ClientSettings:
    from retrieval.settings import load

    from .config import ClientSettings

    return load(ClientSettings, home.require().config_path, os.environ, {})[0]


def _state(home: Home) -> LmdbStateStorage:
    """The state, to be read beside whoever writes it."""
    from retrieval.store.lmdb import LmdbStateStorage

    return LmdbStateStorage.open_readonly(home.require().state_path)


def _peer_id(home: Home) -> PeerId:
    from retrieval.home import read_secret
    from retrieval.identity import PeerKey

    return PeerKey.from_seed(read_secret(home.require().identity_key_path).reveal()).peer_id
