"""A client and a provider in memory: both machines, both journals, one clock that the test turns.

Messages cross as the bytes they would be on a stream, so that framing and CBOR are in every test. ``Wire`` lets a test cut, drop,
repeat or alter what passes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from retrieval.cid import Cid
from retrieval.dag.byterange import ByteRange
from retrieval.dag.walk import Walk
from retrieval.deal import fold, postings
from retrieval.deal.books import ProviderBooks
from retrieval.deal.client import ClientSession
from retrieval.deal.events import ChannelPresented, Event, QueryReceived, SessionFailed
from retrieval.deal.offer import Offer
from retrieval.deal.provider import Outgoing, ProviderSession, Wanted
from retrieval.deal.purchase import Purchase
from retrieval.deal.records import ChannelRecord, DealRecord, LineRecord, OutcomeRecord, ReceiptRecord
from retrieval.deal.spending import SpendingLine
from retrieval.deal.step import Step
from retrieval.errors import ErrorCode, LocalProtocolError, RemoteProtocolError, RetrievalError
from retrieval.identity import EvmAddress, EvmKey, PeerKey
from retrieval.ledger.journal import Journal
from retrieval.ledger.state import MemoryStateStorage
from retrieval.ledger.transfers import open_reservations
from retrieval.payment.channel import ChannelConfig, ChannelId, ChannelTerms, channel_id, session_domain, sign_session_key
from retrieval.payment.voucher import VoucherSigner
from retrieval.store.blocks import MemoryBlockStore
from retrieval.units import MIB
from retrieval.wire.framing import FrameDecoder, block_head, encode_frame
from retrieval.wire.messages import (
    DealId,
    Present,
    Scope,
    Selection,
    SessionKeyFields,
    Settlement,
)

CHAIN_ID = 31337
CONTRACT = EvmAddress(b"\x40" * 20)
TOKEN = EvmAddress(b"\x70" * 20)
START = 1_800_000_000.0
QUEUE_BYTES = MIB


@dataclass
class Prices:
    price_per_gib: int = 10_000
    flat_fee: int = 0
    lifetime_s: int = 3600
    block_size_max: int = MIB
    slack: int = 0
    """How far above the content's bytes and blocks quotes are: not exact, as for content that was not measured whole."""

    @property
    def is_free(self) -> bool:
        return self.price_per_gib == 0 and self.flat_fee == 0


class Party:
    """What the two sides have in common: a store, a journal and what their pump would do."""

    def __init__(self, storage: MemoryStateStorage | None = None, store: MemoryBlockStore | None = None) -> None:
        self.storage = storage or MemoryStateStorage()
        self.journal = Journal(self.storage, fold.reduce)
        self.store = store or MemoryBlockStore()
        self.events: list[Event] = []
        self.fail_commits = False

    def commit(self, step: Step, now: float) -> None:
        self.store.put_many(step.blocks)
        self.events.extend(step.news)
        if step.records:
            if self.fail_commits:
                raise LocalProtocolError(ErrorCode.DISK_FULL)
            self.journal.append(step.records, int(now * 1000))
        self.events.extend(step.events)


class ProviderParty(Party):
    def __init__(
        self,
        *,
        key: PeerKey,
        wallet: EvmKey,
        prices: Prices,
        storage: MemoryStateStorage | None = None,
        store: MemoryBlockStore | None = None,
        window_first: int = 4 * MIB,
        window_max: int = 64 * MIB,
    ) -> None:
        super().__init__(storage, store)
        self.key, self.wallet, self.prices = key, wallet, prices
        self.window_first, self.window_max = window_first, window_max
        self.terms = ChannelTerms(
            receiver=wallet.address,
            receiver_authorizer=wallet.address,
            token=TOKEN,
            chain_id=CHAIN_ID,
            contract=CONTRACT,
            withdraw_delay_min_s=86_400,
            withdraw_delay_max_s=2_592_000,
            deposit_min=1,
        )
        self.deposits: dict[bytes, int] = {}
        self.withdrawing: dict[bytes, int] = {}
        self.n_nonces = 0
        self.answers_queries = True
        self.restart(START)

    @property
    def settlement(self) -> Settlement:
        terms = self.terms
        return Settlement(
            chain_id=terms.chain_id,
            contract=terms.contract,
            token=terms.token,
            collector=EvmAddress(b"\x50" * 20),
            receiver=terms.receiver,
            receiver_authorizer=terms.receiver_authorizer,
            withdraw_delay_min_s=terms.withdraw_delay_min_s,
            withdraw_delay_max_s=terms.withdraw_delay_max_s,
            deposit_min=terms.deposit_min,
            confirmations=0,
            decimals=6,
            symbol="USD",
        )

    def restart(self, now: float) -> None:
        """As after a kill: everything but the journal and the store is gone."""
        self.journal = Journal(self.storage, fold.reduce)
        self.books = ProviderBooks(
            self.key,
            channel_terms=self.terms,
            window_first=self.window_first,
            window_max=self.window_max,
            tables=fold.load_tables(self.storage),
        )
        self.commit(self.books.start(), now)


class ClientParty(Party):
    def __init__(
        self, *, key: PeerKey, wallet: EvmKey, storage: MemoryStateStorage | None = None, store: MemoryBlockStore | None = None
    ) -> None:
        super().__init__(storage, store)
        self.key, self.wallet = key, wallet
        self.signer = VoucherSigner(wallet, CHAIN_ID, CONTRACT)
        self.lines: dict[bytes, SpendingLine] = {}

    def line(self, key: bytes) -> SpendingLine:
        return self.lines.setdefault(key, SpendingLine(key=key))

    def restart(self, now: float) -> None:
        """As after a kill."""
        self.journal = Journal(self.storage, fold.reduce)
        stale = [postings.void(reservation.id) for reservation in open_reservations(self.storage)]
        self.journal.append(stale, int(now * 1000))
        self.lines = {}
        for key, row in fold.scan(self.storage, LineRecord):
            line = self.line(key)
            line.best, line.paid_bytes = row.best, row.paid_bytes
        for key, channel in fold.scan(self.storage, ChannelRecord):
            self.line(key).channel = channel


@dataclass
class Wire:
    """What is on its way in one direction. A test may look at it and change it."""

    alter: Callable[[bytes], bytes] = lambda data: data
    queue: list[bytes] = field(default_factory=list)

    def send(self, data: bytes) -> None:
        self.queue.append(self.alter(data))

    def take(self) -> Iterator[bytes]:
        while self.queue:
            yield self.queue.pop(0)


class Pair:
    """One session between the two, or one after another."""

    def __init__(
        self,
        *,
        prices: Prices | None = None,
        deposit: int = 10_000_000,
        window_first: int = 4 * MIB,
        window_max: int = 64 * MIB,
        seed: int = 1,
    ) -> None:
        seeds = (seed * 4 + n for n in range(1, 5))
        keys = [next(seeds).to_bytes(32, "big") for _ in range(4)]
        self.now = START
        self.provider = ProviderParty(
            key=PeerKey.from_seed(keys[0]),
            wallet=EvmKey.from_secret(keys[1]),
            prices=prices or Prices(),
            window_first=window_first,
            window_max=window_max,
        )
        self.client = ClientParty(key=PeerKey.from_seed(keys[2]), wallet=EvmKey.from_secret(keys[3]))
        self.config = ChannelConfig(
            payer=self.client.wallet.address,
            payer_authorizer=self.client.wallet.address,
            receiver=self.provider.terms.receiver,
            receiver_authorizer=self.provider.terms.receiver_authorizer,
            token=TOKEN,
            withdraw_delay_s=86_400,
            salt=bytes(32),
        )
        self.channel_id: ChannelId = channel_id(self.config, CHAIN_ID, CONTRACT)
        self.provider.deposits[self.channel_id] = deposit
        self.connect()

    # the session

    def connect(self) -> None:
        """A new session over new wires, a moment later."""
        self.now += 0.01
        self.to_provider, self.to_client = Wire(), Wire()
        self.provider_decoder, self.client_decoder = FrameDecoder(), FrameDecoder()
        free = self.provider.prices.is_free
        self.provider_session = ProviderSession(
            self.provider.books, self.client.key.peer_id, settlement=None if free else self.provider.settlement, now=self.now
        )
        self.client_session = ClientSession(self.client.key, self.provider.key.peer_id, signer=self.client.signer, now=self.now)
        self.serving = True
        self.client_step(self.client_session.start())

    def cut(self) -> None:
        """The connection breaks: what is on its way is lost, both sides notice."""
        self.to_provider.queue.clear()
        self.to_client.queue.clear()
        self.client_step(self.client_session.closed(self.now), deliver=False)
        self.provider_step(self.provider_session.closed(self.now), deliver=False)

    def client_step(self, step: Step, *, deliver: bool = True) -> None:
        self.client.commit(step, self.now)
        if deliver:
            for message in step.messages:
                self.to_provider.send(encode_frame(message))

    def provider_step(self, step: Step, *, deliver: bool = True) -> None:
        self.provider.commit(step, self.now)
        self.provider_session.committed(step)
        if deliver:
            for message in step.messages:
                self.to_client.send(encode_frame(message))
        for event in step.events:
            self._answer(event)

    def _answer(self, event: Event) -> None:
        match event:
            case QueryReceived(query=query) if self.provider.answers_queries:
                self.provider_step(self._quote(query.query_id, query.selection, query.deal_id))
            case ChannelPresented(channel_id=presented):
                self.provider_step(
                    self.provider_session.channel_seen(
                        presented,
                        balance=self.provider.deposits.get(presented, 0),
                        total_claimed=0,
                        withdraw_at=self.provider.withdrawing.get(presented, 0),
                        now=self.now,
                    )
                )
            case _:
                pass

    def _quote(self, query_id: int, selection: Selection | None, deal: bytes | None) -> Step:
        prices, store = self.provider.prices, self.provider.store
        if selection is None:
            ended = fold.get(self.provider.storage, OutcomeRecord, deal or b"")
            if ended is None or ended.done is None:
                return self.provider_session.refuse_query(query_id, RemoteProtocolError(ErrorCode.DEAL_UNKNOWN))
            return self.provider_session.answer_done(query_id, ended.done)
        walk = Walk.of(selection)
        try:
            while walk.expected is not None:
                payload = store.get(walk.expected)
                if payload is None:
                    raise RemoteProtocolError(ErrorCode.NOT_FOUND)
                walk.advance(payload)
        except RetrievalError as error:
            return self.provider_session.refuse_query(query_id, error)
        self.provider.n_nonces += 1
        offer = Offer(
            price_per_gib=prices.price_per_gib,
            flat_fee=prices.flat_fee,
            n_bytes=walk.n_bytes + prices.slack,
            n_blocks=walk.n_blocks + prices.slack,
            exact=prices.slack == 0,
            block_size_max=prices.block_size_max,
            lifetime_s=prices.lifetime_s,
        )
        return self.provider_session.quote(query_id, offer, nonce=self.provider.n_nonces.to_bytes(16, "big"), now=self.now)

    # moving bytes

    def deliver_to_provider(self) -> bool:
        moved = False
        for data in self.to_provider.take():
            moved = True
            self._feed_provider(data)
        return moved

    def _feed_provider(self, data: bytes) -> None:
        try:
            for item in self.provider_decoder.feed(data):
                if isinstance(item, list):
                    raise RemoteProtocolError(ErrorCode.UNEXPECTED_MESSAGE, "a client sends no blocks")
                self.provider_step(self.provider_session.receive(item, self.now))
        except RemoteProtocolError as error:
            self.provider_step(self.provider_session.fail(error, self.now))

    def deliver_to_client(self) -> bool:
        moved = False
        for data in self.to_client.take():
            moved = True
            try:
                for item in self.client_decoder.feed(data):
                    if isinstance(item, list):
                        self.client_step(self.client_session.receive_blocks(item, self.now))
                    else:
                        self.client_step(self.client_session.receive(item, self.now))
            except RemoteProtocolError as error:
                self.client_step(self.client_session.fail(error, self.now))
        return moved

    def serve(self) -> bool:
        """Send what the windows allow, up to what the transport would queue."""
        queued = sum(map(len, self.to_client.queue))
        moved = False
        while queued < QUEUE_BYTES:
            match self.provider_session.next_send(self.now):
                case None:
                    break
                case Step() as step:
                    self.provider_step(step)
                case Wanted() as wanted:
                    payload = self.provider.store.get(wanted.cid)
                    size = -1 if payload is None else len(payload)
                    self.provider_step(self.provider_session.supply(wanted, None if wanted.size_only else payload, size, self.now))
                case Outgoing() as block:
                    sent_payload = self.provider.store.get(block.cid)
                    assert sent_payload is not None
                    data = block_head(block.deal_id, block.index, block.cid, block.size) + sent_payload
                    self.to_client.send(data)
                    queued += len(data)
            moved = True
        return moved

    def run(self, rounds_max: int = 10_000) -> None:
        """Move everything that can move without time passing."""
        for _ in range(rounds_max):
            moved = self.deliver_to_provider()
            moved |= self.serve()
            moved |= self.deliver_to_client()
            if not moved:
                return
        raise AssertionError("the machines never came to rest")

    def run_provider_only(self) -> None:
        """Let the provider read and send while the client does nothing."""
        while self.deliver_to_provider() or self.serve():
            pass

    def pass_time(self, seconds: float) -> None:
        """Let the clock reach deadlines in turn, up to ``seconds`` from now."""
        end = self.now + seconds
        while True:
            dues = [
                due
                for due in (self.client_session.next_deadline(), self.provider_session.next_deadline())
                if due is not None and due <= end
            ]
            if not dues:
                break
            self.now = max(self.now, min(dues))
            self.client_step(self.client_session.tick(self.now))
            self.provider_step(self.provider_session.tick(self.now))
            self.run()
        self.now = end

    def pass_time_client_only(self, seconds: float) -> None:
        """Let the client's deadlines pass while the provider is silent."""
        end = self.now + seconds
        while (due := self.client_session.next_deadline()) is not None and due <= end:
            self.now = max(self.now, due)
            self.client_step(self.client_session.tick(self.now))
        self.now = end

    # what a client program would do

    def present(self) -> None:
        domain = session_domain(CHAIN_ID, CONTRACT)
        expires_at = int(self.now) + 30 * 86_400
        key = sign_session_key(
            self.client.wallet, domain, channel_id=self.channel_id, peer_id=self.client.key.peer_id, expires_at=expires_at
        )
        fields = SessionKeyFields(channel_id=key.channel_id, peer_id=key.peer_id, expires_at=key.expires_at, signature=key.signature)
        channel = ChannelRecord(
            config=self.config.to_bytes(),
            chain_id=CHAIN_ID,
            contract=CONTRACT,
            peer=self.provider.key.peer_id,
            session_key=fields,
            balance=self.provider.deposits[self.channel_id],
            total_claimed=0,
            closing=False,
            withdraw_at=0,
            address="",
        )
        self.client_step(self.client.line(self.channel_id).channel_seen(channel, self.now))
        self.client_step(self.client_session.present(Present(config=self.config.to_bytes(), session_key=fields)))
        self.run()

    def query(self, root: Cid, *, path: tuple[str, ...] = (), scope: Scope = Scope.ALL, byte_range: ByteRange | None = None) -> int:
        first, last = (byte_range.first, byte_range.last) if byte_range is not None else (None, None)
        selection = Selection(root=root, path=path, scope=scope, range_start=first, range_end=last)
        walk = Walk.of(selection)
        while walk.expected is not None and (payload := self.client.store.get(walk.expected)) is not None:
            walk.advance(payload)
        query_id, step = self.client_session.query(selection, walk, now=self.now)
        self.client_step(step)
        self.run()
        return query_id

    def accept(self, query_id: int, *, spend_max: int = 1 << 60) -> Purchase:
        line_key = self.provider.key.peer_id if self.provider.prices.is_free else self.channel_id
        purchase, step = self.client_session.accept(query_id, self.client.line(line_key), spend_max=spend_max, now=self.now)
        self.client_step(step)
        return purchase

    def finish(self, deal: DealId) -> Purchase:
        """What a client program does after a break: find the deal on disk, step over what is here, go on."""
        agreed = fold.get(self.client.storage, DealRecord, deal)
        assert agreed is not None
        receipt = fold.get(self.client.storage, ReceiptRecord, deal)
        walk = Walk.of(agreed.selection)
        line = self.client.line(agreed.line_key)
        purchase = line.purchases.pop(deal, None)
        purchase = Purchase.restore(deal, agreed, receipt.receipt if receipt else None, line, walk)
        while walk.expected is not None and (payload := self.client.store.get(walk.expected)) is not None:
            purchase.hold(payload, len(payload))
        if purchase.walk.done:
            self.client_step(self.client_session.ask_done(purchase, now=self.now))
            self.run()
            if purchase.lifecycle.is_over:
                return purchase
        self.client_step(self.client_session.take_up(purchase, now=self.now))
        return purchase

    def failures(self) -> list[tuple[str, ErrorCode]]:
        """The session failures each side told, in order."""
        sides = (("client", self.client), ("provider", self.provider))
        return [(name, event.code) for name, party in sides for event in party.events if isinstance(event, SessionFailed)]
