"""The client's gateway in a thread of this process, on a home of its own, and whoever asks it."""

from __future__ import annotations

import json
import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import trio
from http_door import Caller, Reply
from retrieval_client.config import ClientSettings
from retrieval_client.funding import fund
from retrieval_client.gateway.app import Served
from retrieval_client.gateway.serve import Gateway, open_gateway
from retrieval_client.web.address import provider_of
from retrieval_provider.node import Node

from retrieval.deal import fold
from retrieval.deal.records import DealRecord, TokenRecord
from retrieval.errors import ErrorCode, RemoteProtocolError
from retrieval.home import Home
from retrieval.payment.evm import EvmChain
from retrieval.settings import load

PATIENCE_S = 30
DAY_S = 86_400
DOLLAR = 1_000_000


@dataclass(slots=True, kw_only=True)
class Running:
    """A gateway that runs, and its one visitor."""

    gateway: Gateway
    caller: Caller
    token: trio.lowlevel.TrioToken
    served: list[Served] = field(default_factory=list)

    @property
    def authority(self) -> str:
        return f"127.0.0.1:{self.caller.port}"

    def ask(self, method: str, target: str, *, token: str = "", host: str | None = None, **headers: str) -> Reply:
        """``headers`` are written with underscores."""
        allowed = {"Authorization": f"Bearer {token}"} if token else {}
        return self.caller.ask(method, target, **({} if host is None else {"Host": host}), **allowed, **headers)

    def get(self, target: str, *, token: str = "", **headers: str) -> Reply:
        return self.ask("GET", target, token=token, **headers)

    def json(self, target: str, *, token: str = "", **headers: str) -> Any:
        """What it answers in JSON."""
        reply = self.get(target, token=token, **headers)
        assert reply.status == 200, reply
        return json.loads(reply.body)

    def deals(self) -> list[tuple[bytes, DealRecord]]:
        return list(fold.scan(self.gateway.wallet.state, DealRecord))

    def tokens(self) -> list[tuple[bytes, TokenRecord]]:
        return list(fold.scan(self.gateway.wallet.state, TokenRecord))

    def set_back(self, provider: str) -> None:
        """Have a provider tried after the others."""
        failure = RemoteProtocolError(ErrorCode.DIAL_FAILED)
        trio.from_thread.run_sync(self.gateway.market.set_back, provider_of(provider), failure, trio_token=self.token)

    def until_idle(self) -> None:
        """Until no fetch runs."""

        async def look() -> None:
            with trio.fail_after(PATIENCE_S):
                for errand in self.gateway.errands.running:
                    await errand.ended.wait()

        trio.from_thread.run(look, trio_token=self.token)

    def revoke(self, token_id: str) -> None:
        trio.from_thread.run(self.gateway.keys.revoke, token_id, trio_token=self.token)

    def new_token(
        self,
        scope: str = "read,retrieve,spend",
        *,
        cap: int = DOLLAR,
        per_request: int = DOLLAR,
        origins: tuple[str, ...] = (),
        name: str = "",
    ) -> str:
        if "spend" not in scope:
            cap = 0
        order: dict[str, Any] = {
            "scope": scope, "cap": cap, "per_request": per_request, "origins": origins, "lifetime_s": DAY_S, "name": name
        }  # fmt: skip
        row = trio.from_thread.run(self.gateway.keys.make, order, trio_token=self.token)
        return str(row["token"])


def funded(home: Home, node: Node) -> None:
    """Open a channel with a provider."""
    settings, _ = load(ClientSettings, home.config_path, {}, {})
    trio.run(lambda: fund(home, settings, node.addresses[0], DOLLAR, open_chain=EvmChain))


@contextmanager
def open_counter(home: Home) -> Iterator[Running]:
    """A gateway that serves while the block runs."""
    settings, _ = load(ClientSettings, home.config_path, {}, {})
    opened: queue.Queue[tuple[Running, Callable[[], None]] | BaseException] = queue.Queue()

    async def main() -> None:
        served: list[Served] = []
        async with open_gateway(home, settings, listen="127.0.0.1:0", allow_remote=False, on_served=served.append) as gateway:
            stopping, token = trio.Event(), trio.lowlevel.current_trio_token()
            port = int(gateway.url.rpartition(":")[2])
            running = Running(gateway=gateway, caller=Caller(port=port), token=token, served=served)
            opened.put((running, lambda: token.run_sync_soon(stopping.set)))
            await stopping.wait()

    def serve() -> None:
        try:
            trio.run(main)
        except BaseException as error:
            opened.put(error)
            raise

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        found = opened.get(timeout=PATIENCE_S)
        if isinstance(found, BaseException):
            raise found
        running, stop = found
        try:
            yield running
        finally:
            stop()
    finally:
        thread.join()
