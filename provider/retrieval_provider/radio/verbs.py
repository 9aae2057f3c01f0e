"""Trio. What operators of relays and their origins settle: asked of the running `serve`, or done here when nobody serves.

One rule: both ways end in the same function, and one such verb is at work at a time, since each reads a line before it writes it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Final

import trio

from retrieval.deal.books import ProviderBooks
from retrieval.errors import ErrorCode, LocalProtocolError, RetrievalError
from retrieval.home import Home
from retrieval.identity import EvmKey, PeerId, assert_fast_signatures, format_address, format_peer_id, parse_peer_id
from retrieval.ledger.state import StateView
from retrieval.payment.chain import DEVCHAIN, Chain
from retrieval.payment.channel import ChannelId
from retrieval.payment.voucher import VoucherSigner
from retrieval.radio.account import Claim, RelayAccount
from retrieval.store.lmdb import LmdbStateStorage
from retrieval.transport.control import Json, Verb
from retrieval.transport.writer import Clock, JournalWriter, open_writer, steady_clock
from retrieval.wire import shape

from ..commands import ask_or_do
from ..config import ProviderSettings
from ..ledger import open_ledger
from ..lookout import Lookout
from . import claims
from .purse import Purse, account_of

if TYPE_CHECKING:
    from ..node import Node  # a command that only asks does not wait for the transport

FUND_TIMEOUT_S: Final = 600.0
"""For a deposit asked of a running provider: a transaction of a slow chain."""
ASK_TIMEOUT_S: Final = 30.0


class Clerk:
    """What the verbs stand on, in a running node or alone. ``account`` is the station's, where one is on the air."""

    def __init__(
        self,
        settings: ProviderSettings,
        books: ProviderBooks,
        receiver: EvmKey | None,
        state: StateView,
        writer: JournalWriter,
        clock: Clock,
        account: RelayAccount | None,
    ) -> None:
        self._settings: Final = settings
        self._books: Final = books
        self._receiver: Final = receiver
        self._state: Final = state
        self._writer: Final = writer
        self._clock: Final = clock
        self._account: Final = account
        self._turn: Final = trio.Lock()

    async def book(self, args: Json) -> Json:
        """Take on the channel of a settlement, where the chain has more to say of it than we know, and book its voucher."""
        settlement, now = claims.settlement_of(bytes.fromhex(args["settlement"])), self._clock()
        async with self._turn:
            channel = claims.unseen_channel(self._books, settlement, now=now)
            if channel is not None:
                lookout = Lookout(self._chain(), confirmations=self._settings.chain.confirmations)
                (seen,) = await lookout.look([ChannelId(channel.session_key.channel_id)])
                await self._writer.commit(claims.adopt(self._books, channel, seen, now=now).records)
            step = claims.book(self._books, self._state, settlement)
            await self._writer.commit(step.records)
        return {"records": len(step.records)}

    async def fund(self, args: Json) -> Json:
        """Open a channel to a relay's operator, or top it up."""
        async with self._turn:
            funded = await self._purse().fund(self._chain(), parse_peer_id(args["relay"]), int(args["amount"]))
        return {
            "channel_id": funded.channel_id.hex(),
            "operator": format_address(funded.operator),
            "balance": str(funded.balance),
            "left": str(funded.left),
            "sent": funded.sent,
        }

    async def settle(self, args: Json) -> Json:
        """Pay what a claim proves."""
        claim = shape.decode(Claim, bytes.fromhex(args["claim"]))
        async with self._turn:
            settlement = await self._purse().settle(claim)
        return {"settlement": shape.encode(settlement).hex()}

    def _purse(self) -> Purse:
        key, terms = self._receiver, self._books.channel_terms
        if key is None or terms is None:
            raise LocalProtocolError(ErrorCode.CONFIG_INVALID, "this provider runs without chain.rpc, and pays nobody")
        account = self._account
        if account is None:
            signer = VoucherSigner(key, terms.chain_id, terms.contract)
            account = account_of(self._books.key, signer, self._state, now=self._clock())
        return Purse(key, self._books.key, terms, account, self._state, self._writer, self._clock)

    def _chain(self) -> Chain:
        if not self._settings.chain.rpc:
            raise LocalProtocolError(ErrorCode.CONFIG_INVALID, "chain.rpc is empty: name the chain in config.toml")
        from retrieval.payment.evm import EvmChain

        return EvmChain(self._settings.chain.rpc)


def verbs_of(node: Node, settings: ProviderSettings) -> Mapping[str, Verb]:
    """What a running node answers at its control socket of the radio."""
    from .status import status_of

    service = node.service
    account = None if node.desk is None else node.desk.station.account
    clerk = Clerk(settings, service.books, node.receiver, service.state, service.writer, service.clock, account)

    async def status(args: Json) -> Json:
        return {"radio": None if node.desk is None else status_of(node.desk, service)}

    return {"radio": status, "radio-book": clerk.book, "radio-fund": clerk.fund, "radio-settle": clerk.settle}


def book_carriages(home: Home, settings: ProviderSettings, settlement: bytes) -> Json:
    """Book a voucher that came for what our relay carried. Raises ``RetrievalError`` as ``claims.unseen_channel`` and ``book`` do."""
    return _do(home, settings, "radio-book", {"settlement": settlement.hex()}, lambda clerk: clerk.book, timeout_s=ASK_TIMEOUT_S)


def fund_relay(home: Home, settings: ProviderSettings, relay: PeerId, amount: int) -> Json:
    """Set money aside for the operator of a relay. Raises ``RetrievalError`` as ``Purse.fund`` does."""
    args = {"relay": format_peer_id(relay), "amount": str(amount)}
    return _do(home, settings, "radio-fund", args, lambda clerk: clerk.fund, timeout_s=FUND_TIMEOUT_S)


def settle_claim(home: Home, settings: ProviderSettings, claim: bytes) -> bytes:
    """Pay what a claim proves; gives the encoded settlement. Raises ``RetrievalError`` as ``Purse.settle`` does."""
    answer = _do(home, settings, "radio-settle", {"claim": claim.hex()}, lambda clerk: clerk.settle, timeout_s=ASK_TIMEOUT_S)
    return bytes.fromhex(answer["settlement"])


def _do(
    home: Home,
    settings: ProviderSettings,
    verb: str,
    args: Json,
    of: Callable[[Clerk], Callable[[Json], Awaitable[Json]]],
    *,
    timeout_s: float,
) -> Json:
    def here(state: LmdbStateStorage) -> Json:
        assert_fast_signatures()
        outcome = trio.run(run, state)
        if isinstance(outcome, RetrievalError):
            raise outcome
        return outcome

    async def run(state: LmdbStateStorage) -> Json | RetrievalError:
        clock = steady_clock()
        ledger = open_ledger(home, settings, state, deployment=DEVCHAIN if settings.chain.rpc else None, now=clock())
        async with open_writer(ledger.journal, clock) as writer:
            try:
                return await of(Clerk(settings, ledger.books, ledger.receiver, state, writer, clock, None))(args)
            except RetrievalError as error:
                return error  # raised outside, where no nursery wraps it in a group

    return ask_or_do(home, verb, args, here, timeout_s=timeout_s)
