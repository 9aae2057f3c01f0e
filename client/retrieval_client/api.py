"""The library: a CID in one line, within a budget."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from contextlib import AsyncExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import trio

from retrieval.cid import format_cid
from retrieval.dag.exporter import check_target, export
from retrieval.dag.walk import read
from retrieval.errors import ErrorCode, LocalProtocolError
from retrieval.home import Home, file_error
from retrieval.payment.evm import EvmChain
from retrieval.settings import load
from retrieval.store.blocks import BlockStore
from retrieval.store.car import write_car
from retrieval.store.disk import DiskBlockStore
from retrieval.transport.libp2p import open_host
from retrieval.transport.writer import open_writer, steady_clock

from .config import ClientSettings
from .content import Held, drop, held_of, keep
from .fetch import Fetch, Progress, Wanted, own_sessions
from .receipts import bundle_of, receipt_status
from .source import Source
from .unwrap import one_error
from .wallet import Wallet, open_wallet_in_turn
from .web.address import GatewayAddress, provider_of
from .web.fetch import WebFetch, WebWanted

PROGRAM: Final = "retrieval-client"

OnProgress = Callable[[Progress], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Retrieval:
    """What a fetch came to. Amounts are in the token's smallest unit."""

    root: str
    path: str | None
    """Where the content was written; None when it was left in the store."""
    bytes: int
    """Of the file, of all files of the directory, or of the CAR; of all blocks where nothing was written."""
    blocks: int
    verified: bool
    paid: int
    """For its deals in all, earlier sessions included; 0 when everything was here already."""
    receipt_verified: bool
    """Whether every deal of it left a receipt with the provider's countersignature that checks without chain, network or blocks."""
    ttfb_ms: float | None
    """From the call to the first verified block, less ``channel_open_ms``; None when no block had to come."""
    seconds: float
    deal_id: str | None
    """The last deal of it; None when there was none."""
    resumed_bytes: int
    """Of blocks, already here when the call began: not fetched, not paid again."""
    channel_open_ms: float
    """Spent on the chain before the transfer, not part of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What one call is to do.

    Raises ``LocalProtocolError(unsupported_scope)`` for a part of content that is to be kept, or written as files: that would fail for its
    missing blocks, after all of it was paid.
    """

    source: Source
    provider: str
    """Multiaddr with ``/p2p/``, or the URL of a gateway; of no meaning over the radio."""
    out: Path | None
    """Where to write; None leaves the blocks in the store."""
    as_car: bool = False
    keep: bool = False
    spend_max: int | None = None
    """None leaves it to the wallet's ``per_fetch``, which also caps it."""
    timeout_s: float | None = None
    """None takes ``fetch.timeout``."""
    radio: str | None = None
    """The serial port of a radio board, where the content is to be looked for on the air."""

    def __post_init__(self) -> None:
        as_files = self.out is not None and not self.as_car
        if not self.source.is_everything and (self.keep or as_files):
            raise LocalProtocolError(ErrorCode.UNSUPPORTED_SCOPE, "a part of content can only be written as a CAR, and is not kept")


def get(
    cid: str,
    provider: str,
    *,
    out: str | os.PathLike[str] | None = None,
    max_spend: int = 0,
    home: str | os.PathLike[str] | None = None,
    timeout_s: float | None = None,
    keep: bool = False,
    on_progress: OnProgress = lambda progress: None,
) -> Retrieval:
    """Fetch ``cid`` (or ``cid/path``) from the provider at a multiaddr or the gateway at a URL, for at most ``max_spend``.

    ``max_spend`` is in the token's smallest unit, over all deals of this call; 0 leaves it to the wallet's ``per_fetch``, and no figure
    lifts it above that. With ``out`` the file or directory is written there, and its blocks are dropped unless ``keep``; without it
    they stay in the home's store, kept. Raises ``RetrievalError``, never a group of exceptions.
    """

    async def run() -> Retrieval:
        return await aget(cid, provider, out=out, max_spend=max_spend, home=home, timeout_s=timeout_s, keep=keep, on_progress=on_progress)

    with one_error():
        return trio.run(run)


async def aget(
    cid: str,
    provider: str,
    *,
    out: str | os.PathLike[str] | None = None,
    max_spend: int = 0,
    home: str | os.PathLike[str] | None = None,
    timeout_s: float | None = None,
    keep: bool = False,
    on_progress: OnProgress = lambda progress: None,
) -> Retrieval:
    """``get`` for Trio."""
    if max_spend < 0:
        raise LocalProtocolError(ErrorCode.INVALID_AMOUNT, "a budget is not negative")
    order = Order(
        source=Source.parse(cid),
        provider=provider,
        out=Path(out) if out is not None else None,
        keep=keep or out is None,
        spend_max=max_spend or None,
        timeout_s=timeout_s,
    )
    return await retrieve(Home.locate(PROGRAM, home, os.environ), order, on_progress=on_progress)


async def retrieve(home: Home, order: Order, *, on_progress: OnProgress = lambda progress: None) -> Retrieval:
    """Carry out an order. Raises ``RetrievalError``."""
    clock = steady_clock()
    began = clock()
    settings, _ = load(ClientSettings, home.require().config_path, os.environ, {})
    if order.out is not None:
        await trio.to_thread.run_sync(check_target, order.out)
    per_fetch = settings.wallet.per_fetch
    spend_max = per_fetch if order.spend_max is None else min(order.spend_max, per_fetch)
    timeout_s = settings.fetch.timeout if order.timeout_s is None else order.timeout_s
    provider = None if order.radio is not None else provider_of(order.provider)
    with one_error():
        async with open_wallet_in_turn(home, settings, command=f"{PROGRAM} get", now=began) as wallet:
            with closing(DiskBlockStore(home.blocks_path, bytes_max=settings.store.bytes_max)) as store:
                async with open_writer(wallet.journal, clock) as writer, AsyncExitStack() as until_delivered:
                    with wallet.shared(writer):
                        if order.radio is not None:
                            from .radio import RadioOrder, fetch_over_radio

                            aired = RadioOrder(port=order.radio, source=order.source, spend_max=spend_max, timeout_s=timeout_s)
                            tally = await fetch_over_radio(
                                aired, settings, wallet, store, writer, clock=clock, open_chain=EvmChain, on_progress=on_progress
                            )
                        elif isinstance(provider, GatewayAddress):
                            sought = WebWanted(source=order.source, provider=provider, spend_max=spend_max, timeout_s=timeout_s)
                            bought = WebFetch(wallet, store, writer, sought, clock=clock, open_chain=EvmChain, on_progress=on_progress)
                            await bought.run()
                            tally, is_proven = bought.tally, bought.are_receipts_verified
                        elif provider is not None:
                            wanted = Wanted(source=order.source, provider=provider, spend_max=spend_max, timeout_s=timeout_s)
                            host = await until_delivered.enter_async_context(open_host(wallet.peer_key.seed))
                            meet = own_sessions(host, wallet, store, writer, clock=clock)
                            fetch = Fetch(meet, wallet, store, writer, wanted, clock=clock, open_chain=EvmChain, on_progress=on_progress)
                            await fetch.run()
                            # The last words travel while the content is written.
                            parting = await until_delivered.enter_async_context(trio.open_nursery())
                            parting.start_soon(host.shut_down)
                            tally = fetch.tally
                    held, n_bytes = await trio.to_thread.run_sync(_deliver, store, wallet, order)
                if not isinstance(provider, GatewayAddress):
                    receipts = [receipt_status(bundle_of(wallet.state, deal, wallet.peer_key.peer_id)) for deal in tally.spent]
                    is_proven = bool(receipts) and all(status == "verified" for status in receipts)
    first_s = None if tally.first_verified_at is None else tally.first_verified_at - began - tally.channel_open_s
    return Retrieval(
        root=format_cid(order.source.root),
        path=str(order.out) if order.out is not None else None,
        bytes=n_bytes,
        blocks=held.n_blocks,
        verified=held.complete,
        paid=tally.spent_sum,
        receipt_verified=is_proven,
        ttfb_ms=None if first_s is None else round(first_s * 1000, 1),
        seconds=round(clock() - began, 3),
        deal_id=[*tally.spent][-1].hex() if tally.spent else None,
        resumed_bytes=tally.resumed_bytes,
        channel_open_ms=round(tally.channel_open_s * 1000, 1),
    )


def _deliver(store: BlockStore, wallet: Wallet, order: Order) -> tuple[Held, int]:
    """Write what was verified where it was wanted, then keep or drop its blocks; returns it, and how many bytes were written."""
    held = held_of(store, order.source)
    assert held.complete
    assert held.terminal is not None
    n_bytes = held.n_bytes
    if order.out is not None:
        n_bytes = _write_car(store, order.source, order.out) if order.as_car else export(store, held.terminal, order.out).file_bytes
    if order.keep:
        keep(store, order.source, held)
    else:
        drop(store, wallet.state, held)
    return held, n_bytes


def _write_car(store: BlockStore, source: Source, out: Path) -> int:
    """A CARv1 of the source's blocks in their order; it appears whole or not at all."""
    out = out.absolute()
    try:
        with tempfile.NamedTemporaryFile(prefix=".retrieval-", dir=out.parent) as file:
            write_car(file, (source.root,), read(store, source.walk()))  # type: ignore[arg-type]  # the wrapper of a binary file
            file.flush()
            os.fsync(file.fileno())
            n_bytes = file.tell()
            out.unlink(missing_ok=True)
            os.link(file.name, out)
    except OSError as error:
        raise file_error(error, out) from error
    return n_bytes
