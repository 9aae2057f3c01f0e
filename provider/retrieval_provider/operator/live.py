"""Trio. What is going on in a node now, told to who shows it: transfers, sums, gauges. An answer is bounded, and costs a walk of the books.

These are verbs of the control socket, and change nothing.
"""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import version
from itertools import islice
from typing import TYPE_CHECKING, Final

from retrieval.cid import Cid, format_cid
from retrieval.deal.sale import Sale
from retrieval.identity import EvmAddress, PeerId, format_address, format_peer_id
from retrieval.payment.channel import ChannelConfig
from retrieval.transport.control import Json, Verb

from ..figures import figures_of
from ..settlement import Account
from . import metrics
from .health import State, to_json
from .tally import Tally

if TYPE_CHECKING:
    from ..node import Node

TRANSFERS_MAX: Final = 100
"""Transfers that an answer names, of each kind; beyond that they are counted."""
COST_SHARE: Final = 50
"""Telling takes at most one part in so many of a node's time."""
DISTRIBUTION: Final = "retrieval-market-node"


def verbs_of(node: Node) -> Mapping[str, Verb]:
    """What a node answers about itself."""

    told, counted = Frugal(lambda: _live(node)), Frugal(lambda: _counts(node))

    async def live(args: Json) -> Json:
        return told.now()

    async def health(args: Json) -> Json:
        return to_json(await node.health.look())

    async def counts(args: Json) -> Json:
        found = await node.health.look()
        tally = node.service.tally
        for name, each in found.items():
            tally.set(metrics.READY, float(each.state is not State.FAILING), name)
        return counted.now()

    return {"live": live, "health": health, "counts": counts}


class Frugal:
    """An answer that is made anew as often as it may cost: a walk of large books must not hold up who is being served."""

    def __init__(self, make: Callable[[], Json], clock: Callable[[], float] = time.perf_counter) -> None:
        self._make: Final = make
        self._clock: Final = clock
        self._made: Json | None = None
        self._good_until = 0.0

    def now(self) -> Json:
        """The answer, made now unless the last one was dear."""
        begun = self._clock()
        if self._made is None or begun >= self._good_until:
            self._made = self._make()
            ended = self._clock()
            self._good_until = ended + (ended - begun) * (COST_SHARE - 1)
        return self._made


def _counts(node: Node) -> Json:
    _set_gauges(node, node.service.tally)
    return node.service.tally.to_json()


def _live(node: Node) -> Json:
    books, tally = node.service.books, node.service.tally
    served = [sale for sale in books.sales.values() if sale.turns is not None]
    over_http = [each for worker in node.workers for each in _of_worker(worker.now, id(worker))]
    return {
        "time": time.time(),
        "sessions": len(node.sessions),
        "requests": _requests(node),
        "sent_bytes": {over: int(tally.sum_of(metrics.BYTES, "out", over)) for over in ("libp2p", "http")},
        "transfers": [*map(_of_sale, islice(served, TRANSFERS_MAX)), *over_http[:TRANSFERS_MAX]],
        "n_transfers": len(served) + len(over_http),
        "errors": list(node.recent.found),
        **figures_of(books).to_json(),
    }


def _of_sale(sale: Sale) -> Json:
    channel = sale.line.channel
    return {
        "id": sale.deal_id.hex(),
        "over": "libp2p",
        "client": format_peer_id(PeerId(sale.deal.peer)),
        "payer": None if channel is None else format_address(EvmAddress(ChannelConfig.from_bytes(channel.config).payer)),
        "root": format_cid(Cid(sale.deal.selection.root)),
        "bytes": sale.sent_bytes,
        "bytes_max": sale.quote.n_bytes,
        "unpaid_bytes": sale.unpaid_bytes,
        "since": sale.deal.opened_ms / 1000,
    }


def _of_worker(now: Json, worker: int) -> Iterator[Json]:
    """An answer over HTTP is paid for before it leaves."""
    for each in now.get("live", ()):
        yield each | {"id": f"{worker:x}-{each['id']}", "over": "http", "unpaid_bytes": 0}


def _requests(node: Node) -> int:
    return sum(int(worker.now.get("requests", 0)) for worker in node.workers)


def _set_gauges(node: Node, tally: Tally) -> None:
    """Gauges are looked up when somebody wants to know."""
    books, store = node.service.books, node.service.store
    figures = figures_of(books)
    asset = "none" if node.service.settlement is None else node.service.settlement.symbol
    accounts: tuple[Account, ...] = (*books.lines.values(), *books.tabs.values())
    held = sum(each.channel.balance - each.channel.total_claimed for each in accounts if each.channel is not None)
    for metric, value in ((metrics.EARNED, figures.earned), (metrics.UNCLAIMED, figures.unclaimed), (metrics.CHANNEL_BALANCE, held)):
        tally.set(metric, value, asset)
    tally.set(metrics.UNPAID_BYTES, figures.at_risk_bytes)
    tally.set(metrics.CHANNELS, figures.channels - figures.closing, "open")
    tally.set(metrics.CHANNELS, figures.closing, "closing")
    tally.set(metrics.CHAIN_LAG_BLOCKS, node.checks.chain_lag_blocks)
    tally.set(metrics.CONNECTIONS, len(node.sessions), "libp2p")
    tally.set(metrics.CONNECTIONS, _requests(node), "http")
    tally.set(metrics.STORE_BYTES, store.bytes_used())
    tally.set(metrics.STORE_BYTES_MAX, store.bytes_max)
    tally.set(metrics.BUILD_INFO, 1, version(DISTRIBUTION), platform.python_version())
