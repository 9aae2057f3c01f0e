"""Trio. The counter: what an answer over HTTP costs, whether it may go, and what of it is charged when it has ended.

One rule: what lets an answer go is on disk before the worker hears of it. Cheap checks come first: price, allowance, sums, signatures,
then the chain, which is asked about a channel once, and about a transfer each time one comes.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import trio

from retrieval.cid import Cid
from retrieval.deal import fold
from retrieval.deal.books import ProviderBooks
from retrieval.deal.records import HttpChannelRecord, HttpSaleRecord
from retrieval.deal.tab import Order, OrderId, Tab
from retrieval.errors import ErrorCode, LocalProtocolError, RemoteProtocolError, RetrievalError
from retrieval.ledger.state import StateView
from retrieval.payment.channel import check_config, check_deposit
from retrieval.payment.http_receipt import SALE_RECEIPT, SaleReceipt, SaleStatement, VoucherProof, sign_sale
from retrieval.payment.rate import Rate
from retrieval.payment.voucher import verify_voucher
from retrieval.payment.x402.answer import PAYMENT_RESPONSE, Charge
from retrieval.payment.x402.batch import BatchPayment, verify_deposit
from retrieval.payment.x402.exact import VALID_BEFORE_MARGIN_S, ExactPayment, verify_exact
from retrieval.payment.x402.offer import PaymentRequired
from retrieval.payment.x402.payment import Payment
from retrieval.transport.writer import Clock, JournalWriter
from retrieval.units import AMOUNT_MAX
from retrieval.wire.messages import VoucherFields

from ..lookout import Lookout
from ..pricing import PriceList
from .allowance import Allowance
from .ask import Ask
from .facilitator import Facilitator
from .tariff import Tariff, sight_of
from .transfers import SIGHT_PAUSE_S, SIGHTS_MAX, Transfers

ORDERS_MAX: Final = 10_000
"""Answers under way at once, over all workers."""
LOOKS_PER_DAY: Final = 20_000
"""Channels and transfers that an address prefix can have us look up on the chain."""
DEPOSITS_PER_DAY: Final = 500
"""Deposits of an address prefix that we pay the gas for."""
CHAIN_CALLS_MAX: Final = 16
"""Threads that submit at the same time."""
KEPT_BY_PAYER: Final = "private, max-age=29030400, immutable"
"""The content is the same for ever, and what stands beside it in the headers is between the payer and us."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """The answer may go. Whoever has an ``order_id`` says how the answer ended."""

    order_id: OrderId | None = None
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """What an answer costs, to be shown before anybody pays."""

    rate: Rate
    n_bytes: int
    amount: int


class Refusal(Exception):
    """The answer may not go: what is wrong, and how to pay, where paying would help."""

    def __init__(self, error: RetrievalError, required: PaymentRequired | None) -> None:
        self.error: Final = error
        self.required: Final = None if error.code in _NOT_HELPED_BY_PAYING else required
        super().__init__(error, required)


@dataclass(frozen=True, slots=True)
class _Gift:
    """An answer out of the free allowance."""

    prefix: str
    n_bytes: int


class Counter:
    """One provider's. Owned by the thread that owns the books."""

    def __init__(
        self,
        *,
        books: ProviderBooks,
        prices: PriceList,
        writer: JournalWriter,
        lookout: Lookout,
        facilitator: Facilitator,
        transfers: Transfers,
        state: StateView,
        tariff: Tariff,
        free_per_day: int,
        clock: Clock,
    ) -> None:
        """``state`` is what ``writer`` writes; ``free_per_day`` is in bytes, for each address prefix."""
        self.tariff: Final = tariff
        self._books: Final = books
        self._prices: Final = prices
        self._writer: Final = writer
        self._lookout: Final = lookout
        self._facilitator: Final = facilitator
        self.transfers: Final = transfers
        self._state: Final = state
        self._clock: Final = clock
        self._free: Final = Allowance(free_per_day)
        self._looks: Final = Allowance(LOOKS_PER_DAY)
        self._deposits: Final = Allowance(DEPOSITS_PER_DAY)
        self._chain_calls: Final = trio.CapacityLimiter(CHAIN_CALLS_MAX)
        self._open: Final[dict[OrderId, Tab | _Gift]] = {}
        self._quiet = trio.Event()
        """Set while no answer is under way."""
        self._quiet.set()
        self._written = trio.Event()
        """Set once the last charge is on disk."""
        self._written.set()
        self._busy: Final[set[bytes]] = set()
        """Tabs for which the chain is being asked."""

    def estimate(self, root: Cid, n_bytes: int) -> Estimate:
        """What an answer of ``n_bytes`` from below a root costs. Raises ``LocalProtocolError(invalid_amount)``."""
        price = self._prices.of(root)
        rate = Rate(price_per_gib=price.price_per_gib, flat_fee=price.flat_fee)
        amount = rate.owed(n_bytes)
        if amount > AMOUNT_MAX:
            raise LocalProtocolError(ErrorCode.INVALID_AMOUNT, "the price is above what a voucher can carry")
        return Estimate(rate=rate, n_bytes=n_bytes, amount=amount)

    async def open(self, ask: Ask) -> Grant:
        """Decide on an answer. Raises ``Refusal``."""
        try:
            estimate = self.estimate(Cid(ask.selection.root), ask.n_bytes)
        except RetrievalError as error:
            raise Refusal(error, None) from error
        if estimate.amount == 0:
            return Grant(headers={})
        scheme, channel = None, b""
        try:
            if len(self._open) >= ORDERS_MAX:
                raise RemoteProtocolError(ErrorCode.RATE_LIMITED, "too many answers are under way", retry_after_s=1)
            if ask.payment is None:
                return self._give(ask, estimate)
            payment = Payment.from_header(ask.payment)
            scheme = payment.accepted.scheme
            match payment.payload:
                case BatchPayment() as paid:
                    channel = paid.voucher.channel_id
                    return await self._sell_from_channel(ask, estimate, payment, paid)
                case ExactPayment() as paid:
                    return await self._sell_for_transfer(ask, estimate, payment, paid)
        except RetrievalError as error:
            tab = self._books.tabs.get(channel)
            raise Refusal(error, self.tariff.required(ask.target, estimate.amount, error, scheme=scheme, tab=tab)) from error

    def close(self, order_id: OrderId, sent_bytes: int) -> int:
        """An answer has ended, whole or not: charge what left. Gives the amount, whose records are on their way to the disk."""
        opened = self._open.pop(order_id)
        if not self._open:
            self._quiet.set()
        now = self._clock()
        if isinstance(opened, _Gift):
            self._free.give_back(opened.prefix, max(0, opened.n_bytes - sent_bytes), _ms(now))
            return 0
        order = opened.orders[order_id]
        amount, records = opened.close(order_id, sent_bytes)
        if order.fee and sent_bytes:
            self._books.fee_charged(opened.key, order.selection.digest, now)
        self._written = self._writer.submit(records)
        return amount

    async def receipt(self, order_id: OrderId) -> SaleReceipt:
        """What an order came to once its answer had ended, whole or cut, signed anew: the receipt that left with its head said the most.

        Raises ``RemoteProtocolError(deal_unknown)`` while it is under way, where nothing of it left, and where it was free.
        """
        await self._written.wait()
        sale = None if order_id in self._open else fold.get(self._state, HttpSaleRecord, order_id)
        tab = None if sale is None else self._books.tabs.get(sale.tab)
        if sale is None or tab is None:
            raise RemoteProtocolError(ErrorCode.DEAL_UNKNOWN, "no answer that was paid for has ended under this id")
        channel, statement = tab.channel, self._statement(order_id, sale, tab)
        if channel is None:
            return sign_sale(self._books.key, statement, None)
        assert tab.best is not None, "a sale from a channel came with a voucher"
        return sign_sale(self._books.key, statement, VoucherProof(config=channel.config, contract=channel.contract, voucher=tab.best))

    def _statement(self, order_id: OrderId, sale: HttpSaleRecord, tab: Tab) -> SaleStatement:
        terms = self.tariff.terms
        return SaleStatement(
            order_id=order_id,
            selection=sale.selection,
            n_bytes=sale.n_bytes,
            price_per_gib=sale.price_per_gib,
            flat_fee=sale.flat_fee or 0,
            amount=sale.amount,
            payer=sale.payer,
            receiver=terms.receiver,
            chain_id=terms.chain_id,
            token=terms.token,
            channel_id=None if tab.channel is None else tab.key,
            channel_amount=None if tab.channel is None else tab.charged,
            transaction=b"",
            time=int(self._clock()),
        )

    async def settled(self) -> None:
        """Wait until no answer is under way and every charge is on disk."""
        while self._open:
            await self._quiet.wait()
        await self._written.wait()

    @property
    def free_per_day(self) -> int:
        """Bytes that an address prefix may have for nothing."""
        return self._free.per_day

    # without paying

    def _give(self, ask: Ask, estimate: Estimate) -> Grant:
        now_ms = _ms(self._clock())
        if not self._free.take(ask.prefix, estimate.n_bytes, now_ms):
            left = self._free.left(ask.prefix, now_ms)
            detail = f"{estimate.n_bytes} bytes; {left} of the free {self._free.per_day} a day are left for your address"
            raise RemoteProtocolError(ErrorCode.PAYMENT_REQUIRED, detail)
        order_id = _new_id()
        self._begin(order_id, _Gift(ask.prefix, estimate.n_bytes))
        return Grant(order_id=order_id, headers={})

    # from a channel

    async def _sell_from_channel(self, ask: Ask, estimate: Estimate, payment: Payment, paid: BatchPayment) -> Grant:
        channel, voucher_amount = paid.voucher.channel_id, paid.voucher.amount
        check_config(paid.config, self.tariff.terms, channel)
        line = self._books.lines.get(channel)
        if line is not None and line.channel is not None:
            raise RemoteProtocolError(ErrorCode.CHANNEL_UNACCEPTABLE, "it is spent from over libp2p; use another salt over HTTP")
        verify_voucher(paid.voucher, paid.config.payer_authorizer, self._books.settlement_domain)
        transaction = b""
        with self._alone(channel):
            tab = self._books.tabs.get(channel)
            if paid.deposit is not None:
                tab, transaction = await self._deposit(ask, estimate, payment, paid)
            elif tab is None or tab.channel is None or voucher_amount > tab.channel.balance:
                tab = await self._look(ask, paid)  # a channel we do not know, or that was topped up without us
        tab.check_count(voucher_amount, estimate.amount)
        tab.check_covered(voucher_amount)
        voucher = VoucherFields(channel_id=channel, amount=voucher_amount, signature=paid.voucher.signature)
        order = await self._sell(ask, estimate, tab, voucher)
        charge = Charge(
            payer=tab.payer,
            chain_id=self.tariff.deployment.chain_id,
            charged=order.price,
            transaction=transaction,
            channel=sight_of(tab, charged=order.charged_after),
        )
        proof = VoucherProof(config=paid.config.to_bytes(), contract=self.tariff.deployment.contract, voucher=voucher)
        return Grant(order_id=order.id, headers=self._papers(order, charge, proof))

    async def _look(self, ask: Ask, paid: BatchPayment, *, is_deposited: bool = True) -> Tab:
        """Ask the chain about a channel. With ``is_deposited`` it must hold something already."""
        channel = paid.voucher.channel_id
        self._count(self._looks, ask, 1)
        (state,) = await self._lookout.look([channel])
        if is_deposited:
            check_deposit(self.tariff.terms, balance=state.balance, withdraw_pending=state.withdraw_pending)
        tab = self._books.tabs.get(channel)
        if tab is None and state.total_claimed:
            # We lost our books of it, or it was another's: what its old vouchers promise cannot be told any more.
            raise RemoteProtocolError(ErrorCode.CHANNEL_UNACCEPTABLE, "it was claimed from before it was known here; use another salt")
        if tab is None and state.balance == 0:
            return Tab(key=channel)  # not kept: a channel that holds nothing costs nothing to make up
        seen = HttpChannelRecord(
            config=paid.config.to_bytes(),
            chain_id=self.tariff.deployment.chain_id,
            contract=self.tariff.deployment.contract,
            balance=state.balance,
            total_claimed=state.total_claimed,
            closing=state.withdraw_pending,
            withdraw_at=state.withdraw_finalizes_at(paid.config) or 0,
        )
        await self._writer.commit(self._books.channel_seen(channel, seen, self._clock()).records)
        return self._books.tabs[channel]

    async def _deposit(self, ask: Ask, estimate: Estimate, payment: Payment, paid: BatchPayment) -> tuple[Tab, bytes]:
        """Have a deposit mined that came with its first voucher; gives the channel as it is then, and the transaction."""
        deposit, config, channel, voucher_amount = paid.deposit, paid.config, paid.voucher.channel_id, paid.voucher.amount
        assert deposit is not None
        token, now_s = self.tariff.deployment, int(self._clock())
        if deposit.amount < self.tariff.deposit_min:
            raise RemoteProtocolError(ErrorCode.CHANNEL_UNFUNDED, f"a deposit is of at least {self.tariff.deposit_min}")
        if deposit.valid_after > now_s or deposit.valid_before < now_s + VALID_BEFORE_MARGIN_S:
            raise RemoteProtocolError(ErrorCode.PAYMENT_MISMATCH, "the deposit is not valid now")
        verify_deposit(deposit, config, channel, collector=token.collector, token_domain=token.token_domain)
        tab = self._books.tabs.get(channel) or await self._look(ask, paid, is_deposited=False)
        tab.check_count(voucher_amount, estimate.amount)
        balance = tab.channel.balance if tab.channel else 0
        if voucher_amount > balance + deposit.amount:
            raise RemoteProtocolError(ErrorCode.VOUCHER_OVER_DEPOSIT, f"{voucher_amount} of {balance + deposit.amount}")
        self._count(self._deposits, ask, 1)
        transaction = b""
        try:
            with trio.CancelScope(shield=True):  # the payer's money is on its way; the adapter's own deadlines bound it
                transaction = await trio.to_thread.run_sync(self._facilitator.settle, payment, limiter=self._chain_calls)
        except RetrievalError:
            tab = await self._look(ask, paid, is_deposited=False)
            if tab.channel is None or tab.channel.balance < voucher_amount:
                raise
            return tab, b""  # it was mined before: this payment came twice, or somebody else submitted it
        for _ in range(SIGHTS_MAX):
            tab = await self._look(ask, paid, is_deposited=False)
            if tab.channel is not None and tab.channel.balance >= voucher_amount:
                return tab, transaction
            await trio.sleep(SIGHT_PAUSE_S)
        raise RemoteProtocolError(ErrorCode.CHANNEL_UNFUNDED, "the deposit was submitted, and the chain does not show it yet")

    # for a transfer

    async def _sell_for_transfer(self, ask: Ask, estimate: Estimate, payment: Payment, paid: ExactPayment) -> Grant:
        wanted = self.tariff.exact_amount(estimate.amount)
        if paid.amount < wanted:
            raise RemoteProtocolError(ErrorCode.PAYMENT_MISMATCH, f"the transfer is of {paid.amount}, and {wanted} is the least")
        token = self.tariff.deployment
        verify_exact(paid, self.tariff.terms.receiver, token_domain=token.token_domain, now_s=int(self._clock()))
        with self._alone(paid.payer):
            self.transfers.require_unused(paid)
            self._count(self._looks, ask, 1)
            tab, transaction = await self.transfers.credit(payment, paid, enough=estimate.amount)
        order = await self._sell(ask, estimate, tab, None)
        charge = Charge(payer=paid.payer, chain_id=token.chain_id, charged=order.price, transaction=transaction, left=tab.credit)
        return Grant(order_id=order.id, headers=self._papers(order, charge, None))

    # both

    def _papers(self, order: Order, charge: Charge, channel: VoucherProof | None) -> dict[str, str]:
        """The headers that say what was charged, and prove it."""
        terms = self.tariff.terms
        statement = SaleStatement(
            order_id=order.id,
            selection=order.selection,
            n_bytes=order.n_bytes,
            price_per_gib=order.rate.price_per_gib,
            flat_fee=order.rate.flat_fee,
            amount=order.price,
            payer=charge.payer,
            receiver=terms.receiver,
            chain_id=terms.chain_id,
            token=terms.token,
            channel_id=None if channel is None else channel.voucher.channel_id,
            channel_amount=None if channel is None else order.charged_after,
            transaction=charge.transaction,
            time=int(self._clock()),
        )
        headers = {PAYMENT_RESPONSE: charge.to_header(), "Cache-Control": KEPT_BY_PAYER}
        if (receipt := sign_sale(self._books.key, statement, channel).to_header()) is not None:
            headers[SALE_RECEIPT] = receipt
        return headers

    async def _sell(self, ask: Ask, estimate: Estimate, tab: Tab, voucher: VoucherFields | None) -> Order:
        """Set the price aside, on disk."""
        is_fee_due = self._books.flat_fee_due(tab.key, ask.selection.digest, self._clock())
        order, records = tab.open(_new_id(), ask.selection, estimate.rate, estimate.n_bytes, is_fee_due=is_fee_due, voucher=voucher)
        self._begin(order.id, tab)
        await self._writer.commit(records)
        return order

    def _begin(self, order_id: OrderId, opened: Tab | _Gift) -> None:
        if not self._open:
            self._quiet = trio.Event()
        self._open[order_id] = opened

    @contextmanager
    def _alone(self, key: bytes) -> Iterator[None]:
        """Keep a second request of the same payer off while the chain is asked for the first."""
        if key in self._busy:
            raise RemoteProtocolError(ErrorCode.PAYMENT_IN_FLIGHT, "the chain is being asked about it", retry_after_s=1)
        self._busy.add(key)
        try:
            yield
        finally:
            self._busy.discard(key)

    def _count(self, allowance: Allowance, ask: Ask, n: int) -> None:
        if not allowance.take(ask.prefix, n, _ms(self._clock())):
            detail = f"the chain was asked {allowance.per_day} times today for your address"
            raise RemoteProtocolError(ErrorCode.RATE_LIMITED, detail, retry_after_s=60)


_NOT_HELPED_BY_PAYING: Final = frozenset(
    [ErrorCode.MALFORMED_PAYMENT, ErrorCode.RATE_LIMITED, ErrorCode.RPC_UNAVAILABLE, ErrorCode.WRONG_CHAIN, ErrorCode.INTERNAL]
)


def _new_id() -> OrderId:
    return OrderId(secrets.token_bytes(16))


def _ms(seconds: float) -> int:
    return int(seconds * 1000)
