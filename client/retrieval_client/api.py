"""The library: a CID in one line, within a budget."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import trio

from retrieval.cid import format_cid, parse_cid
from retrieval.dag.exporter import Exported, check_target, export
from retrieval.dag.walk import Walk
from retrieval.deal import fold
from retrieval.deal.records import OutcomeRecord
from retrieval.errors import ErrorCode, LocalProtocolError
from retrieval.home import Home
from retrieval.settings import load
from retrieval.store.blocks import BlockStore
from retrieval.store.lmdb import LmdbBlockStore
from retrieval.transport.libp2p import open_host, parse_address
from retrieval.transport.writer import JournalWriter, steady_clock
from retrieval.wire.messages import Scope

from .config import ClientSettings
from .fetch import Fetch, Progress, Wanted
from .wallet import open_wallet

PROGRAM = "retrieval-client"


@dataclass(frozen=True, slots=True, kw_only=True)
class Retrieval:
    """What a fetch came to. Amounts are in the token's smallest unit."""

    root: str
    path: str | None
    """Where the content was written; None when it was left in the store."""
    bytes: int
    """Of the file, or of all files of the directory."""
    blocks: int
    verified: bool
    paid: int
    """For the deal in all, earlier sessions included."""
    receipt_verified: bool
    ttfb_ms: float | None
    """From the call to the first verified block; None when everything was here already."""
    seconds: float
    deal_id: str | None
    resumed_bytes: int
    """Already here when the call began: not fetched, not paid again."""
    channel_open_ms: float
    """Spent on the chain before the transfer, not part of it."""


def get(
    cid: str,
    provider: str,
    *,
    out: str | os.PathLike[str] | None = None,
    max_spend: int = 0,
    home: str | os.PathLike[str] | None = None,
    timeout_s: float | None = None,
    keep: bool = False,
    on_progress: Callable[[Progress], None] = lambda progress: None,
) -> Retrieval:
    """Fetch ``cid`` (optionally ``cid/path``) from the provider at a multiaddr, for at most ``max_spend``.

    ``max_spend`` is in the token's smallest unit; 0 leaves it to the wallet's ``per_fetch``. With ``out`` the file or directory is
    written there; without it the blocks stay in the home's store. Raises ``RetrievalError``.
    """

    async def run() -> Retrieval:
        return await aget(cid, provider, out=out, max_spend=max_spend, home=home, timeout_s=timeout_s, keep=keep, on_progress=on_progress)

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
    on_progress: Callable[[Progress], None] = lambda progress: None,
) -> Retrieval:
    """``get`` for Trio."""
    clock = steady_clock()
    began = clock()
    place = Home.locate(PROGRAM, home, os.environ).require()
    settings, _ = load(ClientSettings, place.config_path, os.environ, {})
    root_text, *path = cid.removeprefix("ipfs://").removeprefix("/ipfs/").strip("/").split("/")
    target = Path(out) if out is not None else None
    if target is not None:
        await trio.to_thread.run_sync(check_target, target)
    wanted = Wanted(
        root=parse_cid(root_text),
        path=tuple(path),
        scope=Scope.ALL,
        provider=parse_address(provider).peer_id,
        address=provider,
        spend_max=_spend_max(max_spend, settings),
        timeout_s=timeout_s if timeout_s is not None else settings.fetch.timeout,
    )
    opening = open_wallet(place, settings, command=f"{PROGRAM} get", now=clock())
    wallet = await trio.to_thread.run_sync(opening.__enter__)
    try:
        with closing(LmdbBlockStore(place.blocks_path, bytes_max=settings.store.bytes_max)) as store:
            async with trio.open_nursery() as nursery, open_host(wallet.peer_key.seed) as host:
                writer = JournalWriter(wallet.journal, clock)
                nursery.start_soon(writer.run)
                fetch = Fetch(host, wallet, store, writer, wanted, clock=clock, on_progress=on_progress)
                await fetch.run()
                nursery.cancel_scope.cancel()
            progress = fetch.progress
            exported = await trio.to_thread.run_sync(_write_out, store, wanted, target, keep)
            ended = fold.get(wallet.state, OutcomeRecord, progress.deal_id) if progress.deal_id else None
    finally:
        opening.__exit__(None, None, None)
    return Retrieval(
        root=format_cid(wanted.root),
        path=str(target) if target is not None else None,
        bytes=exported.file_bytes if exported is not None else progress.verified_bytes,
        blocks=progress.n_blocks,
        verified=True,
        paid=sum(progress.paid.values()),
        receipt_verified=ended is not None and ended.done is not None,
        ttfb_ms=None if progress.first_verified_at is None else round((progress.first_verified_at - began) * 1000, 1),
        seconds=round(clock() - began, 3),
        deal_id=progress.deal_id.hex() if progress.deal_id else None,
        resumed_bytes=progress.resumed_bytes,
        channel_open_ms=round(progress.channel_open_s * 1000, 1),
    )


def _spend_max(max_spend: int, settings: ClientSettings) -> int:
    """The lower of what the caller and the wallet's owner allow."""
    per_fetch = settings.wallet.per_fetch
    if max_spend < 0:
        raise LocalProtocolError(ErrorCode.INVALID_AMOUNT, "a budget is not negative")
    return min(max_spend, per_fetch) if max_spend else per_fetch


def _write_out(store: BlockStore, wanted: Wanted, target: Path | None, keep: bool) -> Exported | None:
    if target is None:
        return None
    walk = Walk(wanted.root, wanted.path, wanted.scope)
    cids = []
    while walk.expected is not None:
        cids.append(walk.expected)
        payload = store.get(walk.expected) if walk.needs_payload else None
        if payload is not None:
            walk.advance(payload)
        else:
            walk.skip(store.size(walk.expected) or 0)
    assert walk.terminal is not None
    exported = export(store, walk.terminal, target)
    if not keep:
        store.delete_many(cids)
    return exported
