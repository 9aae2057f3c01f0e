"""Trio. The process that shows the operator's page, as the node runs it."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from dataclasses import asdict, dataclass
from typing import Any, Final

import trio

from retrieval.console import logging_now
from retrieval.home import Home

from ..config import ProviderSettings
from ..http.workers import Worker, listening_on, url_of
from .tally import Tally
from .token import ensure_token

log: Final = logging.getLogger("retrieval.provider.operator")

MODULE: Final = "retrieval_provider.operator.worker"


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """What the process is told when it starts, as one line of JSON."""

    home: str
    program: str
    peer_id: str
    sockets: tuple[int, ...]
    store_bytes_max: int
    price_per_gib: int
    flat_fee: int
    """What is asked where nothing was set by command."""
    log_level: str
    log_form: str

    def encode(self) -> bytes:
        return json.dumps(asdict(self)).encode() + b"\n"

    @classmethod
    def decode(cls, line: bytes) -> Assignment:
        """What ``encode`` made, by the same version of this program."""
        told: dict[str, Any] = json.loads(line)
        return cls(**(told | {"sockets": tuple(told["sockets"])}))


@asynccontextmanager
async def open_page(home: Home, settings: ProviderSettings, *, peer_id: str, tally: Tally) -> AsyncIterator[tuple[str, ...]]:
    """Show the page while the block runs; gives the URLs at which, without the token. Where ``operator.listen`` is empty it does nothing.

    Raises ``LocalProtocolError``: ``usage`` for an address that cannot be listened on, ``internal`` when the process does not become
    usable, and as ``ensure_token``.
    """
    if not settings.operator.listen:
        yield ()
        return
    ensure_token(home)
    with ExitStack() as opened:
        sockets = [opened.enter_context(listening_on(text)) for text in settings.operator.listen]
        level, form = logging_now()
        assignment = Assignment(
            home=str(home.path),
            program=home.program,
            peer_id=peer_id,
            sockets=tuple(each.fileno() for each in sockets),
            store_bytes_max=settings.store.bytes_max,
            price_per_gib=settings.price.default,
            flat_fee=settings.price.flat_fee,
            log_level=level,
            log_form=form,
        )
        worker = Worker(MODULE, assignment, tally)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(worker.run)
            await worker.usable.wait()
            urls = tuple(map(url_of, sockets))
            log.info("the operator's page is at %s", ", ".join(urls))
            try:
                yield urls
            finally:
                nursery.cancel_scope.cancel()


def url_with_token(url: str, token: str) -> str:
    """What opens the page with one click."""
    return f"{url}/?token={token}"
