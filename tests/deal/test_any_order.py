"""Anything a client can say, on several sessions at once, while the chain moves and the node restarts: the journal takes every record."""

from __future__ import annotations

import dataclasses
import random

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pair import Pair, Prices
from test_hostile_client import signed_payment
from test_pair import add

from retrieval.deal.audit import check
from retrieval.deal.events import ChannelPresented, QueryReceived
from retrieval.deal.provider import Outgoing, ProviderSession, Wanted
from retrieval.deal.sale import Sale
from retrieval.deal.step import Step
from retrieval.errors import ErrorCode
from retrieval.ledger.transfers import open_reservations
from retrieval.store.blocks import Root
from retrieval.units import KIB
from retrieval.wire import shape
from retrieval.wire.messages import (
    Accept,
    Acceptance,
    Cancel,
    Error,
    Message,
    Pause,
    Payment,
    Present,
    Query,
    Resume,
    Scope,
    Selection,
)
from retrieval.wire.receipt import Receipt

WINDOW = 200 * KIB
ACTIONS = (
    *("query", "accept", "accept", "accept again", "serve", "serve", "pay", "pay", "pay part", "pay another", "cancel", "pause", "resume"),
    *("present", "open session", "close session", "error", "tick", "balance", "claim", "closing", "expire", "restart"),
)


class Crowd:
    """One client on up to three sessions, which says what it likes; the provider's books, and the chain."""

    def __init__(self, pair: Pair, root: Root) -> None:
        self.pair, self.root = pair, root
        self.sessions: list[ProviderSession] = []
        self.accepted: list[Acceptance] = []
        self.payments: list[Payment] = []
        self.delivered_bytes = 0
        self.n_queries = 0
        channel = pair.client.lines[pair.channel_id].channel
        assert channel is not None
        self.presentation = Present(config=channel.config, session_key=channel.session_key)
        self.open_session()

    @property
    def sales(self) -> list[Sale]:
        return list(self.pair.provider.books.sales.values())

    def act(self, action: str, n: int) -> None:
        pair, books = self.pair, self.pair.provider.books
        session = self.sessions[n % len(self.sessions)]
        sale = self.sales[n % len(self.sales)] if self.sales else None
        match action:
            case "query":
                self.n_queries += 1
                selection = Selection(root=self.root.cid, path=(), scope=Scope.ALL)
                self.say(session, Query(query_id=self.n_queries, selection=selection, cursor=n % 4))
            case "accept":
                for digest in list(books.quotes)[:1]:
                    spend_max = (1 << 40, 1 << 40, 30)[n % 3]
                    acceptance = Acceptance(
                        version=1, quote_digest=digest, channel_id=pair.channel_id, spend_max=spend_max, cursor=0, time=int(pair.now)
                    )
                    self.accepted.append(acceptance)
                    self.say_signed(session, acceptance)
            case "accept again" if self.accepted:
                acceptance = random.Random(n).choice(self.accepted)
                self.say_signed(session, dataclasses.replace(acceptance, cursor=(0, 1, n % 20, 1 << 40)[n % 4]))
            case "serve":
                self.serve(session)
            case "pay" | "pay part" if sale is not None and sale.in_flight:
                self.payments.append(self.payment(sale, part=action == "pay part"))
                self.say(session, self.payments[-1])
            case "pay another" if self.payments:
                self.say(session, self.payments[n % len(self.payments)])
            case "cancel" if sale is not None:
                self.say(session, Cancel(deal_id=sale.deal_id, code=ErrorCode.CANCELLED))
            case "pause" | "resume" if sale is not None:
                self.say(session, Pause(deal_id=sale.deal_id) if action == "pause" else Resume(deal_id=sale.deal_id))
            case "present":
                self.say(session, self.presentation)
            case "open session" if len(self.sessions) < 3:
                self.open_session()
            case "close session":
                self.carry_out(session, session.closed(pair.now))
                self.sessions.remove(session)
                if not self.sessions:
                    self.open_session()
            case "error":
                self.say(session, Error(code=ErrorCode.CANCELLED, detail=""))
            case "tick":
                pair.now += n % 20
                self.carry_out(session, session.tick(pair.now))
            case "balance" | "claim" | "closing":
                self.move_chain(action, n)
            case "expire":
                pair.now += 1800
                pair.provider.commit(books.expire(pair.now), pair.now)
            case "restart":
                pair.now += 0.01  # reservations of two runs are told apart by the millisecond they were made in
                pair.provider.restart(pair.now)
                self.sessions.clear()
                self.open_session()

    def move_chain(self, action: str, n: int) -> None:
        books = self.pair.provider.books
        line = books.lines.get(self.pair.channel_id)
        if line is None or line.channel is None:
            return
        changes: dict[str, dict[str, object]] = {
            "balance": {"balance": n * 40},
            "claim": {"total_claimed": min(line.best_amount, n * 5)},
            "closing": {"closing": n % 2 == 0, "withdraw_at": 5 * (n % 2 == 0)},
        }
        self.pair.now += 0.01
        seen = dataclasses.replace(line.channel, **changes[action])  # type: ignore[arg-type]
        self.pair.provider.commit(books.channel_seen(line.key, seen, self.pair.now), self.pair.now)

    def open_session(self) -> None:
        pair = self.pair
        session = ProviderSession(pair.provider.books, pair.client.key.peer_id, settlement=pair.provider.settlement, now=pair.now)
        self.sessions.append(session)
        hello = pair.client_session.start().messages[0]
        self.say(session, hello)
        self.say(session, self.presentation)

    def say(self, session: ProviderSession, message: Message) -> None:
        self.carry_out(session, session.receive(message, self.pair.now))

    def say_signed(self, session: ProviderSession, acceptance: Acceptance) -> None:
        body = shape.encode(acceptance)
        self.say(session, Accept(body=body, signature=self.pair.client.key.sign("accept", body)))

    def carry_out(self, session: ProviderSession, step: Step) -> None:
        pair = self.pair
        pair.provider.commit(step, pair.now)
        session.committed(step)
        for event in step.events:
            match event:
                case ChannelPresented(channel_id=channel_id):
                    deposit = pair.provider.deposits[pair.channel_id]
                    seen = session.channel_seen(channel_id, balance=deposit, total_claimed=0, withdraw_at=0, now=pair.now)
                    self.carry_out(session, seen)
                case QueryReceived(query=query):
                    pair.provider_session = session
                    self.carry_out(session, pair._quote(query.query_id, query.selection, query.deal_id))
                case _:
                    pass

    def serve(self, session: ProviderSession) -> None:
        store = self.pair.provider.store
        while (move := session.next_send(self.pair.now)) is not None:
            match move:
                case Step():
                    self.carry_out(session, move)
                case Wanted(cid=cid):
                    payload = store.get(cid)
                    assert payload is not None
                    self.carry_out(session, session.supply(move, None if move.size_only else payload, len(payload), self.pair.now))
                case Outgoing():
                    self.delivered_bytes += move.size

    def payment(self, sale: Sale, *, part: bool) -> Payment:
        """What an honest client would pay, had it received these blocks."""
        sent = list(sale.in_flight)[: 1 if part else None]
        reached = sale.accumulator.copy()
        reached.append_many([block.cid for block in sent])
        n_bytes = sale.position.n_bytes + sum(block.size for block in sent)
        amount = sale.line.best_amount + sale.rate.owed(n_bytes) - sale.position.deal_amount
        receipt = Receipt(
            deal_id=sale.deal_id,
            root=reached.root(),
            prev=sale.prev,
            n_bytes=n_bytes,
            n_blocks=sale.position.n_blocks + len(sent),
            deal_amount=sale.rate.owed(n_bytes),
            channel_amount=amount,
            sequence=sale.position.sequence + 1,
            time=int(self.pair.now),
        )
        return signed_payment(self.pair, receipt, amount)


@settings(max_examples=80, suppress_health_check=[HealthCheck.too_slow])
@given(actions=st.lists(st.tuples(st.sampled_from(ACTIONS), st.integers(0, 200)), min_size=10, max_size=80))
def test_the_journal_takes_whatever_order_things_happen_in(actions: list[tuple[str, int]]) -> None:
    pair = Pair(window_first=WINDOW, window_max=WINDOW, prices=Prices(price_per_gib=1_000_000, block_size_max=64 * KIB), deposit=4_000)
    root = add(pair, 700 * KIB)
    pair.run()
    pair.present()
    crowd = Crowd(pair, root)
    n_restarts = 0
    for action, n in actions:
        crowd.act(action, n)
        n_restarts += action == "restart"
        books = pair.provider.books
        reserved = sum(sale.reserved_amount for sale in books.sales.values())
        assert sum(transfer.amount for transfer in open_reservations(pair.provider.storage)) == reserved
        served = [sale for session in crowd.sessions for sale in session._turns]
        assert len(served) == len({sale.deal_id for sale in served}), "no deal is served twice"
        assert all(sale.is_cut_off or sale in served for sale in books.sales.values()), "no deal is forgotten"
        line = books.lines.get(pair.channel_id)
        if line is not None:
            # A restart without a farewell forgets what left, but for one first window a deal.
            assert crowd.delivered_bytes <= 2 * line.paid_bytes + line.window + line.window_first + n_restarts * WINDOW
    for session in crowd.sessions:
        crowd.carry_out(session, session.closed(pair.now))
    check(pair.provider.storage)
