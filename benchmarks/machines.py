"""A provider's machines and their clients in memory, their messages the bytes they would be on a stream.

No socket, no thread and no clock: what is left is the protocol itself. The provider's journal is where the benchmark puts it.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Final

from retrieval.cid import Cid
from retrieval.dag.importer import Profile, import_stream
from retrieval.dag.walk import Walk
from retrieval.deal import fold
from retrieval.deal.books import ProviderBooks
from retrieval.deal.client import ClientSession
from retrieval.deal.events import ChannelPresented, QueryReceived, Quoted
from retrieval.deal.offer import Offer
from retrieval.deal.provider import Outgoing, ProviderSession, Wanted
from retrieval.deal.records import ChannelRecord
from retrieval.deal.spending import SpendingLine
from retrieval.deal.step import NOTHING, Step
from retrieval.identity import EvmKey, PeerKey
from retrieval.ledger.journal import Journal
from retrieval.ledger.state import StateStorage
from retrieval.payment.chain import DEVCHAIN
from retrieval.payment.channel import ChannelConfig, ChannelTerms, channel_id, session_domain, sign_session_key
from retrieval.payment.voucher import VoucherSigner
from retrieval.store.blocks import MemoryBlockStore
from retrieval.units import KIB
from retrieval.wire.framing import Block, FrameDecoder, block_head, encode_frame, new_buffer
from retrieval.wire.messages import Message, Present, Scope, Selection, SessionKeyFields, Settlement

NOW: Final = 1_800_000_000.0
BLOCK_BYTES: Final = KIB
WINDOW_BYTES: Final = 8 * KIB
"""With a payment every quarter of it, so that little content makes many payments."""
PRICE_PER_GIB: Final = 10_000_000_000  # so that every block costs something
DEPOSIT: Final = 1_000_000_000
DELAY_MIN_S: Final = 86_400
DELAY_MAX_S: Final = 2_592_000
SMALL_BLOCKS: Final = Profile(chunk_bytes=BLOCK_BYTES, links_per_node=16, directory_block_bytes_max=BLOCK_BYTES)


class Shop:
    """A provider with one root, whose sessions share books and journal."""

    def __init__(self, storage: StateStorage, n_bytes: int) -> None:
        self.key: Final = PeerKey.generate()
        self._receiver: Final = EvmKey.generate()
        self.journal: Final = Journal(storage, fold.reduce)
        self.store: Final = MemoryBlockStore()
        content = b"".join(index.to_bytes(8, "big") * (BLOCK_BYTES // 8) for index in range(n_bytes // BLOCK_BYTES))
        self.root: Final = import_stream(self.store, io.BytesIO(content), "content", SMALL_BLOCKS)
        self.terms: Final = ChannelTerms(
            receiver=self._receiver.address,
            receiver_authorizer=self._receiver.address,
            token=DEVCHAIN.token,
            chain_id=DEVCHAIN.chain_id,
            contract=DEVCHAIN.contract,
            withdraw_delay_min_s=DELAY_MIN_S,
            withdraw_delay_max_s=DELAY_MAX_S,
            deposit_min=1,
        )
        self.books: Final = ProviderBooks(
            self.key,
            channel_terms=self.terms,
            window_first=WINDOW_BYTES,
            window_max=WINDOW_BYTES,
            tables=fold.load_tables(storage),
        )
        self.append(self.books.start())

    @property
    def settlement(self) -> Settlement:
        """What quotes say of how to pay."""
        return Settlement(
            chain_id=DEVCHAIN.chain_id,
            contract=DEVCHAIN.contract,
            token=DEVCHAIN.token,
            collector=DEVCHAIN.collector,
            receiver=self.terms.receiver,
            receiver_authorizer=self.terms.receiver_authorizer,
            withdraw_delay_min_s=DELAY_MIN_S,
            withdraw_delay_max_s=DELAY_MAX_S,
            deposit_min=1,
            confirmations=0,
            decimals=DEVCHAIN.token_decimals,
            symbol=DEVCHAIN.token_symbol,
        )

    @property
    def offer(self) -> Offer:
        return Offer(
            price_per_gib=PRICE_PER_GIB,
            flat_fee=0,
            n_bytes=self.root.n_bytes,
            n_blocks=self.root.n_blocks,
            exact=True,
            block_size_max=BLOCK_BYTES * 2,
            lifetime_s=3600,
        )

    def append(self, step: Step) -> None:
        """Commit a Step's records in a transaction of their own."""
        self.journal.append(step.records, int(NOW * 1000))


class Customer:
    """A client with a funded channel, and its session with a shop; both ends of the stream are here."""

    def __init__(self, shop: Shop) -> None:
        self._shop: Final = shop
        self._key: Final = PeerKey.generate()
        wallet = EvmKey.generate()
        signer = VoucherSigner(wallet, DEVCHAIN.chain_id, DEVCHAIN.contract)
        self.machine: Final = ClientSession(self._key, shop.key.peer_id, signer=signer, now=NOW)
        self.serving: Final = ProviderSession(shop.books, self._key.peer_id, settlement=shop.settlement, now=NOW)
        self._to_client: Final = _Ear()
        self._to_shop: Final = _Ear()
        self._line: Final = self._fund(wallet)
        self._exchange(self.machine.start())

    def query_frame(self) -> bytes:
        """A new query for the root, as it leaves the client."""
        _, step = self.machine.query(self._selection, self._walk, now=NOW)
        return _frames(step)

    def answer(self, frame: bytes) -> bytes:
        """The provider's part: a query's frame to its signed quote's frame."""
        reply = b""
        for message in self._to_shop.hear(frame):
            assert not isinstance(message, list)
            step = self.serving.receive(message, NOW)
            (event,) = step.events
            assert isinstance(event, QueryReceived)
            reply += _frames(self.serving.quote(event.query.query_id, self._shop.offer, nonce=bytes(16), now=NOW))
        return reply

    def accept(self) -> None:
        """Show the channel, agree on a deal for the root."""
        assert self._line.channel is not None
        channel = self._line.channel
        self._exchange(self.machine.present(Present(config=channel.config, session_key=channel.session_key)))
        for message in self._to_client.hear(self.answer(self.query_frame())):
            assert not isinstance(message, list)
            (quoted,) = self.machine.receive(message, NOW).events
            assert isinstance(quoted, Quoted)
            _, step = self.machine.accept(quoted.query_id, self._line, spend_max=DEPOSIT, now=NOW)
            self._exchange(step)

    def next_payments(self) -> bytes:
        """Let the provider send what the window allows, and the client verify it; gives the frames with which it pays."""
        paying = NOTHING
        while (sending := self.serving.next_send(NOW)) is not None:
            match sending:
                case Step() as step:
                    self._commit(step)
                case Wanted(cid=cid) as wanted:
                    payload = self._shop.store.get(cid)
                    assert payload is not None
                    self._commit(self.serving.supply(wanted, payload, len(payload), NOW))
                case Outgoing(deal_id, index, cid, size):
                    payload = self._shop.store.get(cid)
                    assert payload is not None
                    for blocks in self._to_client.hear(block_head(deal_id, index, cid, size) + payload):
                        assert isinstance(blocks, list)
                        paying += self.machine.receive_blocks(blocks, NOW)
        return _frames(paying)

    def take(self, frames: bytes) -> Step:
        """The provider's part: decode what the client paid with, and check it. Its records are not committed yet."""
        taken = NOTHING
        for message in self._to_shop.hear(frames):
            assert not isinstance(message, list)
            taken += self.serving.receive(message, NOW)
        return taken

    def _exchange(self, step: Step) -> None:
        """Carry messages to and fro until both are silent."""
        while step.messages:
            answering = self.take(_frames(step))
            self._commit(answering)
            for event in answering.events:
                if isinstance(event, ChannelPresented):
                    seen = self.serving.channel_seen(event.channel_id, balance=DEPOSIT, total_claimed=0, withdraw_at=0, now=NOW)
                    self._commit(seen)
                    answering += seen
            step = NOTHING
            for message in self._to_client.hear(_frames(answering)):
                assert not isinstance(message, list)
                step += self.machine.receive(message, NOW)

    def _commit(self, step: Step) -> None:
        self._shop.append(step)
        self.serving.committed(step)

    def _fund(self, wallet: EvmKey) -> SpendingLine:
        terms = self._shop.terms
        config = ChannelConfig(
            payer=wallet.address,
            payer_authorizer=wallet.address,
            receiver=terms.receiver,
            receiver_authorizer=terms.receiver_authorizer,
            token=terms.token,
            withdraw_delay_s=DELAY_MIN_S,
            salt=bytes(32),
        )
        channel = channel_id(config, DEVCHAIN.chain_id, DEVCHAIN.contract)
        domain = session_domain(DEVCHAIN.chain_id, DEVCHAIN.contract)
        key = sign_session_key(wallet, domain, channel_id=channel, peer_id=self._key.peer_id, expires_at=int(NOW) + DELAY_MAX_S)
        funded = ChannelRecord(
            config=config.to_bytes(),
            chain_id=DEVCHAIN.chain_id,
            contract=DEVCHAIN.contract,
            peer=self._shop.key.peer_id,
            session_key=SessionKeyFields(
                channel_id=key.channel_id, peer_id=key.peer_id, expires_at=key.expires_at, signature=key.signature
            ),
            balance=DEPOSIT,
            total_claimed=0,
            closing=False,
            withdraw_at=0,
            address="",
        )
        line = SpendingLine(key=channel)
        line.channel_seen(funded, NOW)
        return line

    @property
    def _selection(self) -> Selection:
        return Selection(root=self._shop.root.cid, path=(), scope=Scope.ALL)

    @property
    def _walk(self) -> Walk:
        return Walk(Cid(self._shop.root.cid))


class _Ear:
    """One end of a stream, read as the pump reads it: into one of two buffers, in turns. What it gives is used before the next call."""

    def __init__(self) -> None:
        self._decoder: Final = FrameDecoder()
        self._spare = new_buffer()

    def hear(self, data: bytes) -> Iterator[Message | list[Block]]:
        self._decoder.room[: len(data)] = data
        self._decoder.received(len(data))
        frames = self._decoder.cut(self._spare)
        self._spare = frames.buffer
        return frames.decode()


def _frames(step: Step) -> bytes:
    return b"".join(map(encode_frame, step.messages))
