"""The program `retrieval-provider`: hold content, serve it to whoever pays, and get paid.

One rule: a verb imports what it needs when it runs, so that --help is instant and a free provider never loads a chain's libraries.
"""

from __future__ import annotations

import shutil
import sys
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final

import click

from retrieval.console import Console, Progress, common_options, run, verb
from retrieval.home import Home

if TYPE_CHECKING:
    from retrieval.store.lmdb import LmdbStateStorage

PROGRAM: Final = "retrieval-provider"
EARNINGS_BY: Final = ("deal", "receipt", "cid", "payer", "day", "hour")

RPC = click.option("--rpc", metavar="URL", help="JSON-RPC of the chain you are paid on, in place of chain.rpc.")


def main() -> None:
    """The entry point."""
    sys.exit(run(cli, program=PROGRAM))


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="retrieval-market-node")
@common_options
def cli() -> None:
    """Hold content, serve it to whoever pays, and get paid."""


@cli.command()
@click.option("--rpc", metavar="URL", default="", help="JSON-RPC of the chain to be paid on; without one, content is served free only.")
@verb
def init(console: Console, home: Home, rpc: str) -> None:
    """Set up a home: keys, stores, config.toml.

    On the development chain it also takes gas money for the receiver.
    """
    from retrieval.identity import format_address, format_peer_id

    from . import screens
    from .new_home import create_home

    made = create_home(home, rpc=rpc)
    result = {
        "home": str(home.path),
        "peer_id": format_peer_id(made.peer_id),
        "receiver": format_address(made.receiver),
        "rpc": rpc or None,
        "gas_wei": str(made.gas_wei),
        "gas_transaction": None if made.gift is None else f"0x{made.gift.hex()}",
    }
    console.emit(result, table=lambda: screens.new_home(result))


@cli.command()
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="PATH…")
@click.option("--car", is_flag=True, help="The paths are CAR files: import their blocks and pin their roots.")
@verb
def add(console: Console, home: Home, paths: tuple[Path, ...], car: bool) -> None:
    """Import files, directories or CARs, and pin them.

    From then on they can be quoted and sold; a running provider needs no restart.
    """
    from retrieval.cid import format_cid

    from . import content, screens
    from .config import load_settings

    settings, _ = load_settings(home)
    rows: list[dict[str, object]] = []
    try:
        for path in paths:
            with (
                content.content_lock(home, alone=False),
                Progress(console, path.name, content.size_on_disk(path)) as progress,
                closing(
                    content.WatchedStore(
                        home.blocks_path, bytes_max=settings.store.bytes_max, on_put=lambda n_bytes: progress.update(n_bytes, None)
                    )
                ) as store,
            ):
                roots = content.add_car(store, path) if car else [content.add_path(store, path)]
            for root in roots:
                row = {
                    "root": format_cid(root.cid),
                    "bytes": root.file_bytes,
                    "blocks": root.n_blocks,
                    "block_bytes": root.n_bytes,
                    "path": str(path),
                }
                rows.append(row)
                if console.json:
                    console.emit(row, table=lambda: "")
    finally:
        if rows and not console.json:
            console.emit(rows, table=lambda: screens.added(rows))


@cli.command()
@verb
def ls(console: Console, home: Home) -> None:
    """Show what is pinned, and what it costs."""
    from retrieval.cid import format_cid
    from retrieval.store.disk import DiskBlockStore

    from . import screens
    from .config import load_settings
    from .pricing import PriceList

    settings, _ = load_settings(home)
    with (
        closing(_state(home)) as state,
        closing(DiskBlockStore(home.blocks_path, bytes_max=settings.store.bytes_max, readonly=True)) as store,
    ):
        prices = PriceList(state, settings.price)
        rows = [
            {
                "root": format_cid(root.cid),
                "name": root.name,
                "bytes": root.file_bytes,
                "blocks": root.n_blocks,
                "block_bytes": root.n_bytes,
                "price_per_gib": str(prices.of(root.cid).price_per_gib),
                "flat_fee": str(prices.of(root.cid).flat_fee),
            }
            for root in store.roots()
        ]
    console.emit(rows, table=lambda: screens.pinned(rows))


@cli.command()
@click.argument("cid")
@click.option("--force", is_flag=True, help="Also while deals for it are open; they will fail.")
@verb
def rm(console: Console, home: Home, cid: str, force: bool) -> None:
    """Unpin content and drop what only it needed.

    Refused while a deal for it is open.
    """
    from retrieval.cid import format_cid, parse_cid
    from retrieval.store.disk import DiskBlockStore

    from . import content, screens
    from .config import load_settings

    settings, _ = load_settings(home)
    root = parse_cid(cid)
    with (
        content.content_lock(home, alone=True),
        closing(_state(home)) as state,
        closing(DiskBlockStore(home.blocks_path, bytes_max=settings.store.bytes_max)) as store,
    ):
        n_blocks, n_bytes = content.remove(store, root, in_use=content.roots_in_use(state), force=force)
    result = {"root": format_cid(root), "removed_blocks": n_blocks, "removed_bytes": n_bytes}
    console.emit(result, table=lambda: screens.removed(result))


@cli.command()
@click.argument("cid", required=False, metavar="[CID|default]")
@click.argument("amount", nargs=-1, metavar="[X/GiB]")
@click.option("--flat-fee", metavar="X", help="What a deal costs besides, once a day for the same content and payer.")
@verb
def price(console: Console, home: Home, cid: str | None, amount: tuple[str, ...], flat_fee: str | None) -> None:
    """Show prices, or set one.

    For example `price default 0.01 USD/GiB`. It counts from the next quote on; agreed deals keep theirs.
    """
    from retrieval.cid import format_cid, parse_cid

    from . import screens
    from .commands import set_price
    from .config import load_settings
    from .pricing import PriceList, repriced

    settings, _ = load_settings(home)
    subject = None if cid in (None, "default") else parse_cid(cid)
    if amount or flat_fee is not None:
        with closing(_state(home)) as state:
            prices = PriceList(state, settings.price)
            wanted = repriced(prices.default if subject is None else prices.of(subject), " ".join(amount), flat_fee)
        set_price(home, subject, wanted)
    with closing(_state(home)) as state:
        prices = PriceList(state, settings.price)
        found = [("default", prices.default)] + [(format_cid(root), own) for root, own in prices.own().items()]
        if cid is not None:
            found = [("default", prices.default)] if subject is None else [(format_cid(subject), prices.of(subject))]
    rows = [{"cid": name, "price_per_gib": str(each.price_per_gib), "flat_fee": str(each.flat_fee)} for name, each in found]
    console.emit(rows, table=lambda: screens.prices(rows))


@cli.command()
@click.option("--listen", multiple=True, metavar="MULTIADDR", help="Where clients reach this provider, in place of serve.listen.")
@click.option("--http", multiple=True, metavar="MULTIADDR", help="Where the HTTP gateway listens, in place of http.listen.")
@click.option("--operator", multiple=True, metavar="MULTIADDR", help="Where your page and /metrics are, in place of operator.listen.")
@click.option("--radio", metavar="PORT", help="The serial port of a radio board to serve over as well, in place of radio.port.")
@RPC
@verb
def serve(
    console: Console,
    home: Home,
    listen: tuple[str, ...],
    http: tuple[str, ...],
    operator: tuple[str, ...],
    radio: str | None,
    rpc: str | None,
) -> None:
    """Serve, take payment, and claim it.

    Ctrl-C tells the clients, claims, and ends; a second one ends at once.
    """
    import trio

    from .config import load_settings
    from .foreground import serve as serve_in_foreground

    flags = {
        "serve.listen": listen or None,
        "http.listen": http or None,
        "operator.listen": operator or None,
        "radio.port": radio,
        "chain.rpc": rpc,
    }
    settings, _ = load_settings(home, flags)
    trio.run(serve_in_foreground, console, home, settings)


@cli.command()
@verb
def status(console: Console, home: Home) -> None:
    """Show what it is, holds and has earned."""
    from . import screens
    from .config import load_settings
    from .overview import overview

    settings, _ = load_settings(home)
    result = overview(home, settings)
    console.emit(result, table=lambda: screens.status(result))


@cli.command("operator")
@click.option("--renew", is_flag=True, help="Make a new token; the old one, and whoever came in with it, are out.")
@verb
def operator_page(console: Console, home: Home, renew: bool) -> None:
    """Show the address of your page, with the token that opens it.

    It is served where `serve --operator` or operator.listen says.
    """
    from . import screens
    from .commands import ask_status
    from .operator.token import ensure_token, renew_token

    token = renew_token(home.require()) if renew else ensure_token(home.require())
    live = ask_status(home)
    result = {"serving": live is not None, "urls": [] if live is None else live["operator"], "token": token}
    console.emit(result, table=lambda: screens.operator(result))


@cli.command()
@click.option("--by", type=click.Choice(EARNINGS_BY), default="deal", show_default=True, help="What makes a row.")
@click.option("--csv", "as_csv", is_flag=True, help="Write CSV.")
@verb
def earnings(console: Console, home: Home, by: str, as_csv: bool) -> None:
    """Show what was earned, by what, and how it was claimed.

    Each receipt is traced to the voucher that paid it and to the claim that brought it home; --json shows every id whole.
    """
    from retrieval.deal import fold
    from retrieval.ledger.journal import Journal

    from . import screens
    from .earnings import Statement, deal_rows, grouped_rows, receipt_row

    home.require()
    with closing(_state(home)) as state:
        statement = Statement(Journal(state, fold.reduce))
        receipts = list(statement.read())
    match by:
        case "deal":
            rows = deal_rows(statement)
        case "receipt":
            rows = [receipt_row(payout) for payout in receipts]
        case _:
            rows = grouped_rows(statement, by)
    if as_csv:
        screens.write_csv(console.stdout, rows)
    else:
        console.emit(rows, table=lambda: screens.earnings(rows, by, width=shutil.get_terminal_size().columns))


@cli.command()
@click.argument("channel", required=False)
@RPC
@verb
def claim(console: Console, home: Home, channel: str | None, rpc: str | None) -> None:
    """Claim what vouchers promise, and settle it.

    Of all channels, or of the one whose id begins with CHANNEL. A running provider does it in its own name.
    """
    from . import screens
    from .commands import claim as claim_channels
    from .config import load_settings

    settings, _ = load_settings(home, {"chain.rpc": rpc})
    result = claim_channels(home, settings, channel)
    console.emit(result, table=lambda: screens.claimed(result))


@cli.group()
@common_options
def radio() -> None:
    """Show what the radio does; be paid for what it carries for others, and pay others for what they carry."""


@radio.command("status")
@verb
def radio_status(console: Console, home: Home) -> None:
    """Show airtime, the nodes that are heard and what ways to them cost, receipts, and what relays are owed."""
    from .radio import screens
    from .radio.status import radio_status as ask

    result = ask(home)
    console.emit(result, table=lambda: screens.status(result))


@radio.command("claim")
@click.argument("origin", metavar="PEER_ID")
@click.option("-o", "--out", required=True, type=click.Path(path_type=Path), metavar="FILE", help="Where to write it.")
@verb
def radio_claim(console: Console, home: Home, origin: str, out: Path) -> None:
    """Write what a node owes our relay into a file, for its `retrieval-client radio settle`, or a provider's."""
    from retrieval.console import facts
    from retrieval.home import replace_file
    from retrieval.identity import parse_peer_id
    from retrieval.wire import shape

    from .radio.claims import claim_on

    with closing(_state(home)) as state:
        claim = claim_on(state, parse_peer_id(origin))
    replace_file(out, shape.encode(claim), mode=0o644)
    result = {"path": str(out), "receipts": len(claim.receipts), "channel": claim.channel_id.hex()}
    console.emit(result, table=lambda: facts({name: str(value) for name, value in result.items()}))


@radio.command("book")
@click.argument("file", type=click.File("rb"), metavar="FILE")
@verb
def radio_book(console: Console, home: Home, file: BinaryIO) -> None:
    """Book the voucher in a file that came back for a claim."""
    from retrieval.console import facts

    from .config import load_settings
    from .radio.claims import FILE_SIZE_MAX
    from .radio.verbs import book_carriages

    settings, _ = load_settings(home)
    result = book_carriages(home, settings, file.read(FILE_SIZE_MAX))
    console.emit(result, table=lambda: facts({name: str(value) for name, value in result.items()}))


@radio.command("fund")
@click.argument("amount", metavar="AMOUNT")
@click.option("--relay", metavar="ID", help="A relay that was heard, by its radio id or peer id.")
@click.option("--operator", metavar="ADDRESS", help="The address that relays name to be paid.")
@RPC
@verb
def radio_fund(console: Console, home: Home, amount: str, relay: str | None, operator: str | None, rpc: str | None) -> None:
    """Set money aside for the operator of relays that carry what is sent from here, such as '1 USD'.

    It comes from the address that receives what is earned. How much relays may be promised, radio.relay_budget says.
    """
    from retrieval.console import facts
    from retrieval.units import USD_DECIMALS, parse_amount

    from .config import load_settings
    from .radio.purse import find_relay
    from .radio.verbs import fund_relay

    if (relay is None) == (operator is None):
        raise click.UsageError("name a relay with --relay, or an address with --operator")
    settings, _ = load_settings(home, {"chain.rpc": rpc})
    wanted = parse_amount(amount, decimals=USD_DECIMALS)
    with closing(_state(home)) as state:
        found = find_relay(state, relay=relay, operator=operator)
    result = fund_relay(home, settings, found, wanted)
    console.emit(result, table=lambda: facts({name: str(value) for name, value in result.items()}))


@radio.command("settle")
@click.argument("file", type=click.File("rb"), metavar="FILE")
@click.option("-o", "--out", required=True, type=click.Path(path_type=Path), metavar="FILE", help="Where to write the voucher.")
@verb
def radio_settle(console: Console, home: Home, file: BinaryIO, out: Path) -> None:
    """Pay what a relay's operator claims, as far as receipts prove it and the channel goes, and write a voucher for its `radio book`."""
    from retrieval.console import facts
    from retrieval.home import replace_file

    from .config import load_settings
    from .radio.claims import FILE_SIZE_MAX, settlement_of
    from .radio.verbs import settle_claim

    settings, _ = load_settings(home)
    answer = settle_claim(home, settings, file.read(FILE_SIZE_MAX))
    replace_file(out, answer, mode=0o644)
    settlement = settlement_of(answer)
    promised = settlement.voucher.amount if settlement.voucher is not None else 0
    result = {"path": str(out), "packets": len(settlement.paid), "promised": str(promised)}
    console.emit(result, table=lambda: facts({name: str(value) for name, value in result.items()}))


@cli.group()
@common_options
def journal() -> None:
    """Check or export the journal."""


@journal.command("check")
@verb
def journal_check(console: Console, home: Home) -> None:
    """Prove that journal, state and sums agree."""
    from retrieval.deal.audit import check

    from . import screens

    home.require()
    with closing(_state(home)) as state:
        audit = check(state)
    result = {
        "ok": True,
        "entries": audit.n_entries,
        "head": audit.head.hex(),
        "deals": audit.n_deals,
        "deals_open": audit.n_open,
        "channels": audit.n_channels,
        "earned": str(audit.promised - audit.spent),
        "claimed": str(audit.claimed - audit.drawn),
        "paid": str(audit.spent),
    }
    console.emit(result, table=lambda: screens.audit(result))


@journal.command("export")
@verb
def journal_export(console: Console, home: Home) -> None:
    """Write every entry as a JSON line.

    They are whole: whoever holds them can recompute every hash.
    """
    from retrieval.deal import fold
    from retrieval.ledger.journal import Journal, export_lines

    home.require()
    with closing(_state(home)) as state:
        for line in export_lines(Journal(state, fold.reduce).iterate()):
            console.stdout.write(line + "\n")


@cli.group()
@common_options
def config() -> None:
    """Show the settings."""


@config.command("show")
@verb
def config_show(console: Console, home: Home) -> None:
    """Show every setting, and where it comes from."""
    from . import screens
    from .config import load_settings, shown_settings

    settings, origins = load_settings(home)
    rows = shown_settings(settings, origins)
    console.emit(rows, table=lambda: screens.settings(rows))


def _state(home: Home) -> LmdbStateStorage:
    """The state, to be read beside whoever writes it."""
    from retrieval.store.lmdb import LmdbStateStorage

    return LmdbStateStorage.open_readonly(home.require().state_path)
