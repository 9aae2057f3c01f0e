"""A provider's home with a past: payers, contents, two days of sales over libp2p and HTTP, a claim, and what came after it.

The channels are real ones of the development chain, the vouchers are signed by their payers and every sum is booked, so that a node can be
run on the home and will claim what is left. What deals said on the wire is made up.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import trio
from shop import Shop
from takings import Payer, Takings, new_payer

from retrieval.cid import Cid
from retrieval.deal import postings
from retrieval.deal.records import DealRecord, HttpChannelRecord, Outcome, OutcomeRecord, ReceiptRecord, record
from retrieval.deal.tab import OrderId
from retrieval.home import read_secret
from retrieval.identity import EvmKey, PeerKey
from retrieval.payment.chain import DEVCHAIN
from retrieval.payment.rate import Rate
from retrieval.payment.voucher import VoucherSigner
from retrieval.store.lmdb import LmdbStateStorage
from retrieval.units import MIB
from retrieval.wire.messages import Scope, Selection, Signed, SignedReceipt, VoucherFields
from retrieval.wire.receipt import NO_RECEIPT, Receipt

HOUR_MS = 3_600_000
DEPOSIT = 40_000_000
RATE = Rate(price_per_gib=1_000_000)
NAMES = ("lectures.tar", "holiday.mp4", "planet-2026.osm.pbf", "album.flac", "thesis.pdf", "photos", "weights.safetensors", "podcast.ogg")
BUSY_HOURS = (2, 1, 1, 1, 1, 2, 4, 6, 8, 9, 9, 10, 11, 10, 9, 9, 10, 12, 14, 15, 13, 10, 7, 4)
"""How busy each hour of a day is."""


@dataclass(slots=True)
class History:
    """A journal that is being written, at the times that it tells."""

    shop: Shop
    seed: int = 1
    takings: Takings = field(init=False)
    roots: list[Cid] = field(default_factory=list)
    now_ms: int = 0
    _source: random.Random = field(init=False)
    _n: int = 0

    def write(self, *, now_ms: int, hours: int = 46, n_payers: int = 6) -> None:
        """Two days up to ``now_ms``, and one payer who has begun to leave."""
        home, self._source = self.shop.home, random.Random(self.seed)
        print(f"history from seed {self.seed}")
        self.roots = [self.shop.add(path).cid for path in self._files()]
        receiver = EvmKey.from_secret(read_secret(home.receiver_key_path).reveal())
        peer = PeerKey.from_seed(read_secret(home.identity_key_path).reveal())
        with closing(LmdbStateStorage.open(home.state_path, command="test")) as state:
            self.takings = Takings(url=self.shop.rpc, receiver=receiver, peer=peer, state=state)  # type: ignore[arg-type]
            self.now_ms = now_ms - hours * HOUR_MS
            over_libp2p = [self.takings.open_channel(deposit=DEPOSIT) for _ in range(n_payers)]
            over_http = [self._open_http_channel() for _ in range(n_payers // 2)]
            for hour in range(hours):
                for at_ms in sorted(self._source.sample(range(HOUR_MS), BUSY_HOURS[(self.now_ms // HOUR_MS) % 24] * 2)):
                    self._sell(over_libp2p, over_http, (now_ms - (hours - hour) * HOUR_MS) + at_ms)
                if hour == hours - 8:
                    trio.run(self._claim)
                self.now_ms = now_ms - (hours - hour - 1) * HOUR_MS
        leaving = over_libp2p[1]
        self.takings.evm.initiate_withdraw(leaving.config, DEPOSIT - self.takings.line(leaving).best_amount, sender=leaving.key)

    def _files(self) -> Iterator[Path]:
        for name in NAMES:
            path = self.shop.folder / name
            path.write_bytes(self._source.randbytes(self._source.randrange(MIB // 8, 2 * MIB)))
            yield path

    def _sell(self, over_libp2p: list[Payer], over_http: list[Payer], at_ms: int) -> None:
        """One sale: a few payers, and a few contents, are far busier than the others."""
        self.now_ms, source = at_ms, self._source
        root = self.roots[min(int(source.expovariate(0.5)), len(self.roots) - 1)]
        if source.random() < 0.3:
            self._sell_over_http(over_http[min(int(source.expovariate(1.0)), len(over_http) - 1)], root)
        else:
            self._sell_deal(over_libp2p[min(int(source.expovariate(0.6)), len(over_libp2p) - 1)], root)

    def _sell_deal(self, payer: Payer, root: Cid) -> None:
        line, signed = self.takings.line(payer), Signed(body=b"x", signature=bytes(64))
        deal_id, client = self._id(), self.takings.channel(payer).peer
        deal = DealRecord(
            selection=Selection(root=root, path=(), scope=Scope.ALL),
            quote=signed,
            accept=signed,
            peer=client,
            line_key=line.key,
            opened_ms=self.now_ms,
            expires_ms=self.now_ms + HOUR_MS,
        )
        records = [record(deal_id, deal)]
        n_bytes = amount = 0
        for sequence in range(1, self._source.randrange(2, 6)):
            n_bytes += self._source.randrange(4 * MIB, 90 * MIB)
            increase = RATE.owed(n_bytes) - amount
            amount += increase
            total = line.best_amount + increase
            receipt = Receipt(
                deal_id=deal_id,
                root=bytes(32),
                prev=NO_RECEIPT,
                n_bytes=n_bytes,
                n_blocks=sequence,
                deal_amount=amount,
                channel_amount=total,
                sequence=sequence,
                time=0,
            )
            reservation = postings.reserve(line.key, deal_id, ordinal=sequence, now_ms=self.now_ms, amount=increase)
            line.best = self._voucher(payer, total)
            records += [
                record(deal_id, ReceiptRecord(receipt=SignedReceipt(body=receipt.encode(), signature=bytes(64)))),
                postings.transfer_record(reservation),
                postings.post(reservation, amount=increase),
            ]
        outcome = Outcome.DONE if self._source.random() < 0.93 else Outcome.CANCELLED
        ended = OutcomeRecord(
            outcome=outcome, code=0, n_bytes=n_bytes, n_blocks=1, amount=amount, done=None, detail="", ended_ms=self.now_ms
        )
        self.takings.journal.append([*records, line.to_record(), record(deal_id, ended)], self.now_ms)

    def _sell_over_http(self, payer: Payer, root: Cid) -> None:
        tab, order_id = self.takings.books.tabs[payer.channel], OrderId(self._id())
        n_bytes = self._source.randrange(MIB, 120 * MIB)
        voucher = self._voucher(payer, tab.due + RATE.owed(n_bytes))
        order, records = tab.open(
            order_id, Selection(root=root, path=(), scope=Scope.ENTITY), RATE, n_bytes, is_fee_due=False, voucher=voucher
        )
        _, charged = tab.close(order.id, n_bytes)
        self.takings.journal.append([*records, *charged], self.now_ms)

    def _open_http_channel(self) -> Payer:
        takings = self.takings
        payer = new_payer(takings.receiver.address)
        takings.evm.mint(payer.key.address, DEPOSIT)
        takings.evm.send_gas(payer.key.address)
        takings.evm.deposit(payer.config, DEPOSIT, payer=payer.key, sender=payer.key)
        seen = HttpChannelRecord(
            config=payer.config.to_bytes(),
            chain_id=DEVCHAIN.chain_id,
            contract=DEVCHAIN.contract,
            balance=DEPOSIT,
            total_claimed=0,
            closing=False,
            withdraw_at=0,
        )
        takings.append(*takings.books.channel_seen(payer.channel, seen, 0.0).records)
        return payer

    def _voucher(self, payer: Payer, amount: int) -> VoucherFields:
        signed = VoucherSigner(payer.key, DEVCHAIN.chain_id, DEVCHAIN.contract).sign(payer.channel, amount)
        return VoucherFields(channel_id=payer.channel, amount=amount, signature=signed.signature)

    async def _claim(self) -> None:
        async with self.takings.settler(clock=lambda: self.now_ms / 1000) as settler:
            await settler.claim()

    def _id(self) -> bytes:
        self._n += 1
        return self._n.to_bytes(4, "big") + self._source.randbytes(12)
