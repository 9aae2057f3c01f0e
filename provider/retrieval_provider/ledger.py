"""A provider's money, opened from its home: journal, books and the receiver's key, as `serve` and a lone `claim` both need them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from retrieval.deal import fold
from retrieval.deal.books import ProviderBooks
from retrieval.errors import RetrievalError
from retrieval.home import Home, read_secret
from retrieval.identity import EvmKey, PeerKey
from retrieval.ledger.journal import APPEND_MAX, Journal
from retrieval.ledger.state import StateStorage, StateView
from retrieval.payment.chain import Chain, Deployment
from retrieval.payment.channel import WITHDRAW_DELAY_MAX_S, ChannelTerms
from retrieval.transport.writer import Clock, JournalWriter

from .config import ProviderSettings
from .lookout import Lookout
from .settlement import Claimed, Settler


@dataclass(frozen=True, slots=True, kw_only=True)
class Ledger:
    """Open for writing, by the one process that holds the state."""

    journal: Journal
    books: ProviderBooks
    receiver: EvmKey | None
    """None where nothing is sold."""

    def settler(
        self,
        chain: Chain,
        writer: JournalWriter,
        settings: ProviderSettings,
        *,
        clock: Clock,
        on_claimed: Callable[[Claimed], None] = lambda claimed: None,
        on_held_up: Callable[[RetrievalError], None] = lambda error: None,
    ) -> Settler:
        """What watches this ledger's channels. Only for one that was opened with a deployment."""
        assert self.receiver is not None
        return Settler(
            chain,
            Lookout(chain, confirmations=settings.chain.confirmations),
            self.books,
            self.journal.state,
            writer,
            self.receiver,
            clock=clock,
            poll_s=settings.chain.poll,
            claim_above=settings.chain.claim_above,
            on_claimed=on_claimed,
            on_held_up=on_held_up,
        )


def open_ledger(home: Home, settings: ProviderSettings, state: StateStorage, *, deployment: Deployment | None, now: float) -> Ledger:
    """The books as the last run left them, with what it had set aside released. ``deployment`` is None where nothing is sold.

    Raises ``LocalProtocolError``: ``journal_broken``, ``secret_exposed``, ``config_invalid``, ``file_unreadable``.
    """
    receiver = None if deployment is None else EvmKey.from_secret(read_secret(home.receiver_key_path).reveal())
    terms = None
    if deployment is not None and receiver is not None:
        terms = ChannelTerms(
            receiver=receiver.address,
            receiver_authorizer=receiver.address,
            token=deployment.token,
            chain_id=deployment.chain_id,
            contract=deployment.contract,
            withdraw_delay_min_s=settings.chain.withdraw_delay,
            withdraw_delay_max_s=WITHDRAW_DELAY_MAX_S,
            deposit_min=settings.chain.deposit_min,
        )
    journal = Journal(state, fold.reduce)
    books = restore_books(home, settings, state, terms)
    stale = books.start().records
    for start in range(0, len(stale), APPEND_MAX):
        journal.append(stale[start : start + APPEND_MAX], int(now * 1000))
    return Ledger(journal=journal, books=books, receiver=receiver)


def restore_books(home: Home, settings: ProviderSettings, state: StateView, terms: ChannelTerms | None = None) -> ProviderBooks:
    """The books that a state holds, to be read or, after ``start``, to be carried on."""
    return ProviderBooks(
        PeerKey.from_seed(read_secret(home.identity_key_path).reveal()),
        channel_terms=terms,
        window_first=settings.credit.window_first,
        window_max=settings.credit.window_max,
        tables=fold.load_tables(state),
    )
