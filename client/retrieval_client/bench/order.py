"""Trio. One call of the verb: whom to measure with what, within which limits, and where what was verified goes."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, closing, contextmanager
from dataclasses import dataclass
from typing import Final

from retrieval.errors import ErrorCode, LocalProtocolError
from retrieval.home import Home
from retrieval.settings import load
from retrieval.store.blocks import BlockStore
from retrieval.store.disk import DiskBlockStore
from retrieval.store.lmdb import LmdbStateStorage

from ..config import ClientSettings
from ..content import drop, held_of, keep
from ..source import Source
from .gateway import Form, Gateway
from .rounds import Measured, measure
from .session import Keep, Target, forget

URL_SCHEMES: Final = ("http://", "https://")
TIMEOUT_S: Final = 60.0
"""Without progress, where there is no home whose ``fetch.timeout`` says it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What one call is to do."""

    target: str
    """A provider's multiaddr, or a gateway's URL."""
    sources: tuple[Source, ...]
    runs: int
    form: Form | None = None
    """How a gateway is asked; None asks for CARs."""
    spend_max: int | None = None
    """For all fetches together; None leaves it to the wallet's ``per_fetch``, which caps each of them too."""
    timeout_s: float | None = None
    keep: bool = False

    def __post_init__(self) -> None:
        if not self.is_gateway and self.form is not None:
            raise LocalProtocolError(ErrorCode.USAGE, "--format is for gateways; a provider of this protocol has one way to send")
        if self.is_gateway and self.spend_max is not None:
            raise LocalProtocolError(ErrorCode.USAGE, "--max-spend is for providers of this protocol; nothing is paid to a gateway")

    @property
    def is_gateway(self) -> bool:
        return self.target.lower().startswith(URL_SCHEMES)


async def carry_out(home: Home, order: Order, *, on_fetch: Callable[[Measured], None]) -> list[Measured]:
    """Measure. Raises ``LocalProtocolError``; what fails on the other side is counted in what is returned."""
    async with _target(home, order) as target:
        with _kept(home, order) as keeping:
            return await measure(target, order.sources, runs=order.runs, keep=keeping, on_fetch=on_fetch)


@asynccontextmanager
async def _target(home: Home, order: Order) -> AsyncIterator[Target]:
    if order.is_gateway:
        timeout_s = TIMEOUT_S if order.timeout_s is None else order.timeout_s
        yield Gateway.parse(order.target, form=order.form or Form.CAR, timeout_s=timeout_s)
        return
    from .provider import Budget, open_provider  # with libp2p and the wallet, which a gateway never waits for

    settings = _settings(home)
    per_fetch = settings.wallet.per_fetch
    budget = Budget(fetch_max=per_fetch, left=per_fetch if order.spend_max is None else order.spend_max)
    timeout_s = settings.fetch.timeout if order.timeout_s is None else order.timeout_s
    async with open_provider(home, settings, order.target, budget=budget, timeout_s=timeout_s) as provider:
        yield provider


@contextmanager
def _kept(home: Home, order: Order) -> Iterator[Keep]:
    """What of the sources is whole when this ends stays in the home's store, pinned; the rest leaves it."""
    if not order.keep:
        yield forget
        return
    with closing(DiskBlockStore(home.require().blocks_path, bytes_max=_settings(home).store.bytes_max)) as store:
        try:
            yield store.put_many
        finally:
            _settle(home, store, order.sources)


def _settle(home: Home, store: BlockStore, sources: Sequence[Source]) -> None:
    for source in sources:
        held = held_of(store, source)
        if held.complete:
            keep(store, source, held)
            continue
        with closing(LmdbStateStorage.open_readonly(home.state_path)) as state:
            drop(store, state, held)


def _settings(home: Home) -> ClientSettings:
    return load(ClientSettings, home.require().config_path, os.environ, {})[0]
