"""Trio. A provider in the foreground: says when it is usable and what happens, and goes when it is asked to.

One rule: a program that reads us gets the ready line first, and events only if it asked for them; a person sees the sums move.
"""

from __future__ import annotations

import logging
import signal
from collections import deque
from collections.abc import AsyncIterator
from functools import partial
from typing import Final

import trio

from retrieval.cid import Cid, format_cid
from retrieval.console import Console, facts, show_amount
from retrieval.console.live import LiveView
from retrieval.deal import fold
from retrieval.deal.events import DealEnded, Event, PaymentTaken, SessionFailed, SessionReady
from retrieval.deal.records import DealRecord
from retrieval.errors import ErrorCode
from retrieval.home import Home
from retrieval.identity import PeerId, format_peer_id
from retrieval.transport.control import Json, serve_control

from . import screens
from .commands import claimed_json, verbs_of
from .config import ProviderSettings
from .figures import figures_of
from .node import Node, open_node
from .operator.opening import open_page, url_with_token
from .operator.token import read_token
from .settlement import Claimed

log: Final = logging.getLogger("retrieval.provider")

STOP_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)
REDRAW_S: Final = 0.5
RATE_SAMPLES: Final = 5
"""Of one redraw each: the rate shown is that of the last two seconds."""
RECENT_DEALS: Final = 5


async def serve(console: Console, home: Home, settings: ProviderSettings) -> None:
    """Serve until SIGINT or SIGTERM; then tell the sessions, claim, and return. A second signal ends the process at once."""
    narrator = Narrator(console)
    async with open_node(home, settings, listener=narrator.tell, on_claimed=narrator.tell_claimed) as node:
        shown = open_page(home, settings, peer_id=format_peer_id(node.peer_id), tally=node.service.tally)
        async with trio.open_nursery() as nursery, shown as pages:
            await nursery.start(partial(serve_control, home.control_path, verbs_of(node, settings, pages)))
            with trio.open_signal_receiver(*STOP_SIGNALS) as signals:
                narrator.say_ready(node, settings, home, pages)
                if not console.json:
                    nursery.start_soon(_draw, console, node, narrator)
                await _first(signals)
            nursery.cancel_scope.cancel()
        # What is on disk survives any end, so whoever is in a hurry need not wait for the chain.
        for number in STOP_SIGNALS:
            signal.signal(number, signal.SIG_DFL)
        narrator.is_stopping = True
        console.note("Stopping: telling the clients, claiming what is earned. Once more ends at once.")


class Narrator:
    """Tells what happens: to a script in JSON, to the log in lines, to the screen as the last few deals."""

    def __init__(self, console: Console) -> None:
        self._console: Final = console
        self._is_read = console.json and console.verbose
        self.is_stopping = False
        """The screen is no longer redrawn, so that what is said stays."""
        self.ended: Final = deque[tuple[PeerId, DealEnded]](maxlen=RECENT_DEALS)

    def say_ready(self, node: Node, settings: ProviderSettings, home: Home, pages: tuple[str, ...]) -> None:
        """``pages`` are the addresses of the operator's page. A person gets one that opens it; a script's output goes who knows where."""
        ready = {
            "event": "ready",
            "peer_id": format_peer_id(node.peer_id),
            "addresses": list(node.addresses),
            "urls": list(node.urls),
            "operator": list(pages),
            "rpc": settings.chain.rpc or None,
        }
        shown = {
            "peer": format_peer_id(node.peer_id),
            "addresses": "\n".join(node.addresses),
            "gateway": "\n".join(node.urls) or "off",
            "your page": "\n".join(url_with_token(url, read_token(home)) for url in pages) or "off",
            "paid on": settings.chain.rpc or "nothing: all content is free",
        }
        self._console.emit(ready, table=lambda: facts(shown))

    def tell(self, peer: PeerId, event: Event) -> None:
        name = format_peer_id(peer)
        match event:
            case SessionReady():
                self._emit("session_opened", peer=name, agent=event.agent)
            case PaymentTaken():
                self._emit("payment", peer=name, deal_id=event.deal_id.hex(), bytes=event.n_bytes, amount=str(event.amount))
                log.debug("%s deal %s paid %d for %d bytes", name, event.deal_id.hex(), event.amount, event.n_bytes)
            case DealEnded():
                self.ended.append((peer, event))
                outcome = event.outcome.name.lower()
                self._emit(
                    "deal_ended",
                    peer=name,
                    deal_id=event.deal_id.hex(),
                    outcome=outcome,
                    error=None if event.code is None else event.code.label,
                    bytes=event.n_bytes,
                    blocks=event.n_blocks,
                    amount=str(event.amount),
                )
                log.info(
                    "%s deal %s ended %s: %d bytes in %d blocks, earned %d",
                    *(name, event.deal_id.hex(), outcome, event.n_bytes, event.n_blocks, event.amount),
                )
            case SessionFailed():
                self._emit("session_ended", peer=name, error=event.code.label, detail=event.detail)
                if event.code is not ErrorCode.TRANSFER_TRUNCATED:
                    log.info("%s session ended: %s %s", name, event.code.label, event.detail)
            case _:
                pass

    def tell_claimed(self, claimed: Claimed) -> None:
        self._emit("claimed", **claimed_json(claimed))
        if self.is_stopping and claimed.claimed:
            self._console.note(f"Claimed {show_amount(claimed.claimed)}; {show_amount(claimed.settled)} reached the receiver.")

    def _emit(self, event: str, **values: object) -> None:
        if self._is_read:
            try:
                self._console.emit({"event": event, **values}, table=lambda: "")
            except BrokenPipeError:
                self._is_read = False  # whoever listened has gone; serving goes on


async def _first(signals: AsyncIterator[int]) -> None:
    async for _ in signals:
        return


async def _draw(console: Console, node: Node, narrator: Narrator) -> None:
    traffic = node.service.traffic
    sent = deque([traffic.sent_bytes], maxlen=RATE_SAMPLES)
    with LiveView(console) as view:
        while True:
            await trio.sleep(REDRAW_S)
            sent.append(traffic.sent_bytes)
            now = {
                "sessions": len(node.sessions),
                "sent_bytes": traffic.sent_bytes,
                "bytes_per_s": (sent[-1] - sent[0]) / (REDRAW_S * (len(sent) - 1)),
                **figures_of(node.service.books).to_json(),
            }
            view.show(*screens.serving(now, [_recent(node, peer, ended) for peer, ended in narrator.ended]))


def _recent(node: Node, peer: PeerId, ended: DealEnded) -> Json:
    deal = fold.get(node.service.state, DealRecord, ended.deal_id)
    return {
        "root": format_cid(Cid(deal.selection.root)) if deal else "",
        "peer": format_peer_id(peer),
        "bytes": ended.n_bytes,
        "amount": str(ended.amount),
        "outcome": ended.outcome.name.lower(),
    }
