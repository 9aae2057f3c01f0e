"""Trio. What changes a provider's state from outside: asked of the running `serve`, or done here when nobody serves.

One rule: the process that holds the state's lock is the one that writes. Both ways end in the same function.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from typing import TYPE_CHECKING, Any, Final

import trio

from retrieval.cid import Cid
from retrieval.deal import fold
from retrieval.deal.records import DEFAULT_PRICE, PriceRecord, record
from retrieval.errors import ErrorCode, LocalProtocolError, RetrievalError
from retrieval.home import Home
from retrieval.identity import assert_fast_signatures
from retrieval.ledger.journal import Journal
from retrieval.payment.channel import ChannelId
from retrieval.store.lmdb import LmdbStateStorage
from retrieval.transport.control import Json, Verb, call_control
from retrieval.transport.writer import open_writer, steady_clock

from .config import ProviderSettings
from .figures import figures_of
from .ledger import open_ledger
from .pricing import is_free
from .settlement import Claimed, Settler

if TYPE_CHECKING:
    from .node import Node  # a command that only asks does not wait for the transport

CLAIM_TIMEOUT_S: Final = 600.0
"""For a claim asked of a running provider: a few transactions of a slow chain."""
ASK_TIMEOUT_S: Final = 10.0
STATUS_TIMEOUT_S: Final = 2.0
TURN_S: Final = 5.0
"""How long another command, which is no `serve`, may keep the state."""


def verbs_of(node: Node, settings: ProviderSettings, pages: tuple[str, ...]) -> Mapping[str, Verb]:
    """What a running node answers at its control socket; ``pages`` are the addresses of the operator's page."""
    from .operator import live
    from .radio import verbs as radio

    async def claim(args: Json) -> Json:
        if node.settler is None:
            raise _nothing_sold()
        return claimed_json(await node.settler.claim(_find_channel(node.settler, args.get("channel"))))

    async def price(args: Json) -> Json:
        subject, price = bytes.fromhex(args["subject"]), _price_of(args)
        if node.settler is None and not is_free(price):
            raise _nothing_sold()
        await node.service.writer.commit([record(subject, price)])
        return {}

    async def status(args: Json) -> Json:
        service = node.service
        return {
            "pid": os.getpid(),
            "addresses": list(node.addresses),
            "operator": list(pages),
            "rpc": settings.chain.rpc or None,
            "sessions": len(node.sessions),
            "sent_bytes": service.traffic.sent_bytes,
            **figures_of(service.books).to_json(),
        }

    verbs: dict[str, Verb] = {"claim": claim, "price": price, "status": status}
    return {**verbs, **live.verbs_of(node), **radio.verbs_of(node, settings)}


def set_price(home: Home, subject: Cid | None, price: PriceRecord) -> None:
    """Price a root, or with None all that has no price of its own, from the next quote on. Raises ``LocalProtocolError``."""
    key = DEFAULT_PRICE if subject is None else subject
    args = {"subject": key.hex(), "price_per_gib": str(price.price_per_gib), "flat_fee": str(price.flat_fee)}

    def here(state: LmdbStateStorage) -> Json:
        Journal(state, fold.reduce).append([record(key, price)], _now_ms())
        return {}

    ask_or_do(home, "price", args, here, timeout_s=ASK_TIMEOUT_S)


def claim(home: Home, settings: ProviderSettings, channel: str | None) -> Json:
    """Claim and settle: all channels, or the one whose id begins with ``channel``. Returns ``claimed_json``.

    Raises ``RetrievalError``: ``rpc_unavailable``, ``wrong_chain``, ``transaction_failed``, ``wallet_insufficient``, ``usage``.
    """
    return ask_or_do(
        home,
        "claim",
        {"channel": channel},
        lambda state: claimed_json(_claim_here(home, settings, state, channel)),
        timeout_s=CLAIM_TIMEOUT_S,
    )


def ask_status(home: Home) -> Json | None:
    """What the running provider says of itself, or None when none runs."""
    try:
        return call_control(home.control_path, "status", {}, STATUS_TIMEOUT_S)
    except LocalProtocolError as error:
        if error.code is not ErrorCode.CONTROL_UNAVAILABLE:
            raise
        return None


def claimed_json(claimed: Claimed) -> dict[str, Any]:
    return {
        "channels": [channel.hex() for channel in claimed.channels],
        "claimed": str(claimed.claimed),
        "settled": str(claimed.settled),
        "transactions": [f"0x{transaction.hex()}" for transaction in claimed.transactions],
    }


def ask_or_do(home: Home, verb: str, args: Json, here: Callable[[LmdbStateStorage], Json], *, timeout_s: float) -> Json:
    """What the running `serve` answers to a verb, or what ``here`` does with the state where nobody serves."""
    command = f"{home.program} {verb}"
    try:
        state = LmdbStateStorage.open(home.state_path, command=command)
    except LocalProtocolError as error:
        if error.code is not ErrorCode.STATE_LOCKED:
            raise
        try:
            return call_control(home.control_path, verb, args, timeout_s)
        except LocalProtocolError as unanswered:
            if unanswered.code is not ErrorCode.CONTROL_UNAVAILABLE or home.control_path.exists():
                raise
        state = LmdbStateStorage.open(home.state_path, command=command, wait_s=TURN_S)  # another short command had it
    with closing(state):
        return here(state)


def _claim_here(home: Home, settings: ProviderSettings, state: LmdbStateStorage, channel: str | None) -> Claimed:
    if not settings.chain.rpc:
        raise LocalProtocolError(ErrorCode.CONFIG_INVALID, "chain.rpc is empty: name the chain with --rpc")
    from retrieval.payment.evm import EvmChain

    assert_fast_signatures()
    chain = EvmChain(settings.chain.rpc)

    async def run() -> Claimed | RetrievalError:
        clock = steady_clock()
        ledger = open_ledger(home, settings, state, deployment=chain.deployment, now=clock())
        async with open_writer(ledger.journal, clock) as writer:
            settler = ledger.settler(chain, writer, settings, clock=clock)
            try:
                return await settler.claim(_find_channel(settler, channel))
            except RetrievalError as error:
                return error  # raised outside, where no nursery wraps it in a group

    outcome = trio.run(run)
    if isinstance(outcome, RetrievalError):
        raise outcome
    return outcome


def _find_channel(settler: Settler, begins_with: str | None) -> ChannelId | None:
    """The one channel whose id begins so, in hex. Raises ``LocalProtocolError(usage)``."""
    if begins_with is None:
        return None
    wanted = begins_with.lower().removeprefix("0x")
    found = [channel for channel in settler.channels() if channel.hex().startswith(wanted)]
    if len(found) != 1 or not wanted:
        known = "no channel's id begins" if not found else f"the ids of {len(found)} channels begin"
        raise LocalProtocolError(ErrorCode.USAGE, f"{known} with {begins_with[:66]!r}")
    return found[0]


def _price_of(args: Json) -> PriceRecord:
    return PriceRecord(price_per_gib=int(args["price_per_gib"]), flat_fee=int(args["flat_fee"]))


def _nothing_sold() -> LocalProtocolError:
    return LocalProtocolError(ErrorCode.CONFIG_INVALID, "this provider runs without chain.rpc and serves free content only")


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
