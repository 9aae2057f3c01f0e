"""Trio. Buying in a session that is open already: query, accept, and the blocks as they come.

``get`` dials for every fetch; the benchmarks of warm latency and of many clients need what lies below it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from retrieval_client.conversation import Conversation, as_error
from retrieval_client.source import Source
from retrieval_client.wallet import Wallet

from retrieval.deal.events import BlocksVerified, DealEnded, Refused, SessionFailed
from retrieval.deal.records import Outcome
from retrieval.deal.spending import SpendingLine
from retrieval.identity import PeerId
from retrieval.transport.writer import Clock
from retrieval.wire.messages import Quote


@dataclass(frozen=True, slots=True, kw_only=True)
class Bought:
    """One deal, in seconds from the query."""

    quoted_s: float
    first_s: float
    """To the first verified block."""
    ended_s: float
    """To the countersignature of its last receipt."""
    n_bytes: int


async def buy(
    conversation: Conversation,
    provider: PeerId,
    source: Source,
    *,
    clock: Clock,
    wallet: Wallet | None = None,
    on_bytes: Callable[[int], None] = lambda n_bytes: None,
) -> Bought:
    """Fetch ``source`` whole; without a wallet it must be free. Raises ``RetrievalError``."""
    began = clock()
    quoted = await conversation.ask_quote(source.selection, source.walk(), price_per_gib_max=None, now=began)
    quoted_at = clock()
    if wallet is None:
        line = SpendingLine(key=provider)
    else:
        line = await _line_for(conversation, provider, wallet, quoted.quote, clock)
    purchase, step = conversation.machine.accept(quoted.query_id, line, spend_max=quoted.quote.amount_max, now=clock())
    conversation.say(step)
    first_at, n_bytes = 0.0, 0
    while True:
        match await conversation.hear():
            case BlocksVerified() as verified:
                first_at = first_at or clock()
                n_bytes += verified.n_bytes
                on_bytes(verified.n_bytes)
            case DealEnded(outcome=outcome, deal_id=deal_id) if deal_id == purchase.deal_id:
                assert outcome is Outcome.DONE
                return Bought(quoted_s=quoted_at - began, first_s=first_at - began, ended_s=clock() - began, n_bytes=n_bytes)
            case Refused() | SessionFailed() as failed:
                raise as_error(failed)


async def _line_for(conversation: Conversation, provider: PeerId, wallet: Wallet, quote: Quote, clock: Clock) -> SpendingLine:
    """The channel that was funded beforehand; shown once, adopted as the provider knows it."""
    assert quote.settlement is not None
    line = wallet.channel_with(provider, quote.settlement)
    assert line is not None
    if quote.channel is None:
        await conversation.present(wallet.presentation(line, needed_until=clock() + quote.lifetime_s, now=clock()))
    return line
